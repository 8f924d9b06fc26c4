//! The RTM gates: who is let in, and what all connections share.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crvideo_proto::rtm::code;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tracing::{debug, warn};

use super::Refusal;
use super::auth::Secrets;
use super::cipher::Keys;
use super::config::RtmConfig;
use super::courier::Courier;
use super::desk::{Client, Desk, Door};
use super::files::{self, Files};
use super::hub::Hub;
use super::link;
use super::online::{Online, User};
use super::outbox::Outbox;
use super::signatures::Signatures;
use crate::config::Config;
use crate::guard::{Crowd, Paces, Place};
use crate::http::Served;
use crate::seldom::Seldom;
use crate::shared::Shared;
use crate::store::{Directory, Stores};

/// A user who is there with the RTM dialect.
pub(crate) struct RtmLogin {
    /// His number.
    pub(crate) user: i64,
    /// Where he has come from.
    pub(crate) address: String,
    /// Since when, in seconds since 1970.
    pub(crate) since: u64,
}

/// What all connections of the RTM dialect share.
pub(crate) struct Gate {
    pub(super) config: RtmConfig,
    pub(super) secrets: Secrets,
    /// Keys for FPNN's own encryption, where the operator offers it.
    pub(super) keys: Option<Keys>,
    pub(super) hub: Arc<Hub>,
    pub(super) directory: Arc<dyn Directory>,
    pub(super) core: Arc<Shared>,
    pub(super) files: Arc<Files>,
    /// From accept to the first quest.
    pub(super) first_quest_deadline: Duration,
    /// A socket that takes or gives nothing for this long in the middle of something is closed.
    pub(super) stall_timeout: Duration,
    pub(super) bad_signs: Seldom,
    pub(super) signatures: Signatures,
    /// How fast connections are read.
    pub(super) paces: Arc<Paces>,
    /// Somebody is read more slowly than he sends.
    pub(super) slowed: Seldom,
    /// Where files are sent to.
    file_listener: SocketAddr,
    crowd: Crowd,
    /// Files under way from each address.
    uploads: Crowd,
    places: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    crowded: Seldom,
    last_id: AtomicU64,
}

impl Gate {
    /// A gate whose files are sent to `file_listener`, stored in `blobs` and downloaded from `http`.
    pub(crate) fn new(
        config: &Config,
        core: Arc<Shared>,
        stores: Stores,
        file_listener: SocketAddr,
        http: Option<Served>,
        keys: Option<Keys>,
        (crowd, paces): (Crowd, Arc<Paces>),
    ) -> Arc<Self> {
        let Stores { directory, blobs, messages } = stores;
        let online = Arc::new(Online::default());
        let courier = Courier::start(core.clone(), messages.clone(), blobs.clone(), online.clone());
        let hub = Arc::new(Hub::new(directory.clone(), messages, courier, online, core.memory().outboxes.clone()));
        // The core must not keep alive what keeps the core alive.
        let hears = Arc::downgrade(&hub);
        core.on_presence(Box::new(move |presence, from| {
            if let Some(hub) = hears.upgrade() {
                hub.on_presence(presence, from);
            }
        }));
        let projects = config.projects.iter().map(|project| (project.id, project.secrets.clone()));
        let rtm = config.rtm.clone();
        let files = Files::new(files::Parts {
            settings: &config.files,
            projects: config.projects.iter().map(|project| (project.id, project.max_file_size)).collect(),
            max_targets: rtm.max_targets,
            http,
            blobs,
            deliver: hub.clone(),
            memory: core.memory().uploads.clone(),
        });
        Arc::new(Self {
            secrets: Secrets::new(projects, rtm.clock_window),
            keys,
            hub,
            directory,
            core,
            files,
            first_quest_deadline: config.login_deadline,
            stall_timeout: config.stall_timeout,
            bad_signs: Seldom::default(),
            signatures: Signatures::new(&config.guard),
            paces,
            slowed: Seldom::default(),
            file_listener,
            crowd,
            uploads: Crowd::new(config.guard.address_uploads, 0, config.guard.count_loopback),
            places: Arc::new(Semaphore::new(rtm.max_connections)),
            strangers: Arc::new(Semaphore::new(rtm.max_strangers)),
            crowded: Seldom::default(),
            last_id: AtomicU64::new(0),
            config: rtm,
        })
    }

    /// Takes a connection in. `alive` is held as long as it is served.
    pub(crate) fn take_in(
        self: &Arc<Self>,
        stream: TcpStream,
        from: SocketAddr,
        door: Door,
        stopped: &watch::Receiver<bool>,
        alive: &mpsc::Sender<()>,
    ) {
        // A socket that has no address of ours any more is broken already; its task will find that out.
        let local = stream.local_addr().unwrap_or(self.file_listener);
        let Some((desk, place)) = self.admit([from, local], door) else { return };
        let (stopped, alive) = (stopped.clone(), alive.clone());
        tokio::spawn(async move {
            let core = desk.gate.core.clone();
            link::serve(desk, stream, stopped).await;
            core.has_ended();
            drop((place, alive));
        });
    }

    /// A desk for one more connection, and its place among all; `None` when there are too many.
    pub(super) fn admit(
        self: &Arc<Self>,
        [from, local]: [SocketAddr; 2],
        door: Door,
    ) -> Option<(Desk, OwnedSemaphorePermit)> {
        let place = self.places.clone().try_acquire_owned();
        let of_address = self.crowd.enter(from.ip());
        let (Ok(place), Ok(stranger), Some(of_address)) =
            (place, self.strangers.clone().try_acquire_owned(), of_address)
        else {
            debug!(%from, "refused");
            if self.crowded.now() {
                warn!(
                    %from,
                    "RTM connections are refused because there are too many, in all or from one address; see \
                     rtm.max_connections, rtm.max_strangers and guard.address_connections"
                );
            }
            return None;
        };
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        debug!(link = id, %from, ?door, "accepted");
        let out = Outbox::new(self.config.push_queue, self.core.memory());
        let client = Client::new(id, [from, local], door, out, stranger, of_address);
        Some((Desk { gate: self.clone(), client }, place))
    }

    /// A place for a file among those under way from one address.
    pub(super) fn upload_place(&self, from: SocketAddr) -> Option<Place> {
        let place = self.uploads.enter(from.ip());
        if place.is_none() && self.crowded.now() {
            warn!(%from, "files are refused because one address sends too many at once; see guard.address_uploads");
        }
        place
    }

    /// The RTM logins of a project's users behind one of them, by number, `most` of them at most.
    pub(crate) fn logins(&self, project: i64, after: Option<i64>, most: usize) -> Vec<RtmLogin> {
        let page = self.hub.online().page(project, after, most);
        page.into_iter().map(|(user, it)| RtmLogin { user, address: it.endpoint, since: it.since }).collect()
    }

    /// Ends the RTM connection of a user; `false` when there is none.
    pub(crate) fn kick_out(&self, project: i64, id: i64) -> bool {
        self.hub.kick_out(User { project, id })
    }

    /// Ends the RTM connections that live by a token; whether there was one.
    pub(crate) fn end_token(&self, project: i64, token_id: &str) -> bool {
        let all = self.hub.online().page(project, None, usize::MAX);
        let by_it = all.into_iter().filter(|(_, it)| it.token_id.as_deref() == Some(token_id));
        by_it.map(|(id, _)| self.kick_out(project, id)).fold(false, |any, ended| any | ended)
    }

    /// Connections of the RTM dialect.
    pub(crate) fn connections(&self) -> usize {
        self.config.max_connections.saturating_sub(self.places.available_permits())
    }

    /// Pings who listens and who has logged in, until the relay stops.
    pub(crate) async fn keep_pinging(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(self.config.ping) => self.hub.ping(),
                _ = stopped.changed() => return,
            }
        }
    }

    /// Where a client that has connected to `local` is to send files: as configured, else the address that it has
    /// reached us by.
    pub(super) fn file_endpoint(&self, local: SocketAddr) -> Result<String, Refusal> {
        if let Some(endpoint) = &self.config.file_endpoint {
            return Ok(endpoint.clone());
        }
        let listener = self.file_listener.ip().to_canonical();
        let ip = if listener.is_unspecified() { local.ip().to_canonical() } else { listener };
        match ip {
            IpAddr::V4(ip) => Ok(format!("{ip}:{}", self.file_listener.port())),
            IpAddr::V6(ip) => {
                let text = format!("clients cannot be told the IPv6 address {ip}; the operator must set file_endpoint");
                Err(Refusal::new(code::NOT_ENABLED, text))
            }
        }
    }
}
