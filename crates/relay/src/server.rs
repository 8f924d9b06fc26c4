//! The relay as a running server: listeners, the timer, start and stop.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crvideo_proto::token::CLOCK_TOLERANCE_S;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tracing::{debug, info, warn};
use zeroize::Zeroizing;

use crate::admin::{self, Office};
use crate::config::{Config, ConfigError, STOP_DEADLINE};
use crate::connection::{self, Share};
use crate::core::{Core, Epochs, Refused};
use crate::epoch_file::{EpochFile, RENEW_EVERY, RESERVE_MICROS};
use crate::guard::{Crowd, Memory, Pace, Paces, Place, Spare};
use crate::http;
use crate::rtm::{Door, Gate, Keys, web_routes};
use crate::seldom::Seldom;
use crate::shared::{Shared, unix_micros};
use crate::store::{
    self, BlobError, Blobs, Database, Directory, LocalBlobs, MessageLimits, Messages, StoreError, Stores,
};
use crate::tls::{Tls, keep_fresh};

/// Connections that the kernel holds for us until we accept them.
const BACKLOG: i32 = 4096;
/// After an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// While it goes on failing, it is said once in this time.
const WARN_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// An expired file cannot be downloaded any more; its space is free after this time at the latest.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// Bulk connections carry no heart-beat; the kernel finds those whose client has vanished.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Why a relay does not start.
#[derive(Debug)]
pub enum StartError {
    /// The configuration cannot be used.
    Config(ConfigError),
    /// An address cannot be listened on.
    Listen(SocketAddr, io::Error),
    /// The data directory cannot be used.
    Data(std::path::PathBuf, io::Error),
    /// What is stored in the data directory cannot be used.
    Store(StoreError),
    /// The operator's socket cannot be made.
    Admin(std::path::PathBuf, io::Error),
    /// The system gives no threads or random numbers.
    System(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Config(error) => error.fmt(f),
            StartError::Listen(address, error) if error.kind() == io::ErrorKind::AddrInUse => {
                write!(
                    f,
                    "the address {address} is in use by another program; stop it or give another --listen, --http or --rtm"
                )
            }
            StartError::Listen(address, error) => {
                write!(f, "cannot listen on {address} ({error}); give another address")
            }
            StartError::Data(path, error) => {
                write!(
                    f,
                    "the data directory {path:?} cannot be used ({error}); make it writable or give another --data"
                )
            }
            StartError::Admin(path, error) => {
                write!(f, "the operator's socket {path:?} cannot be made ({error}); give a short path with --admin")
            }
            StartError::Store(error) => write!(f, "{error}; see to the data directory or give another --data"),
            StartError::System(error) => write!(f, "the system does not let the relay start ({error}); free resources"),
        }
    }
}

impl std::error::Error for StartError {}

impl From<ConfigError> for StartError {
    fn from(error: ConfigError) -> Self {
        StartError::Config(error)
    }
}

/// Where the RTM dialect is spoken.
#[derive(Debug, Clone, Copy, Default)]
struct RtmAddresses {
    servers: Option<SocketAddr>,
    users: Option<SocketAddr>,
    files: Option<SocketAddr>,
}

/// A running relay. Its tasks live in the tokio runtime that it was started in.
pub struct Relay {
    shared: Arc<Shared>,
    addresses: Vec<SocketAddr>,
    http: Option<SocketAddr>,
    encrypted: Vec<SocketAddr>,
    tls: Option<Arc<Tls>>,
    rtm: RtmAddresses,
    epochs: Option<EpochFile>,
    /// Says to the listeners and the timer that it is over.
    stop: watch::Sender<bool>,
    /// Closed when the last task that holds its other end has ended.
    tasks: mpsc::Receiver<()>,
}

impl Relay {
    /// Starts a relay; when this returns it accepts connections.
    pub async fn start(config: Config) -> Result<Relay, StartError> {
        config.check()?;
        let tls = Tls::load(&config.tls)?;
        let keys = config.rtm.insecure_keys.as_deref().map(read_keys).transpose()?;
        let (epochs, file) = open_epochs(&config)?;
        let listeners = config.listen.iter().map(|address| listen(*address, &config)).collect::<Result<Vec<_>, _>>()?;
        let http = config.http.map(|address| listen(address, &config)).transpose()?;
        let addresses: Vec<_> = listeners.iter().map(|(_, address)| *address).collect();
        let (rtm_listeners, rtm) = listen_rtm(&config)?;
        let mut core = Core::new(config.settings(), config.tenants(), epochs, Box::new(random));
        let stores = open_stores(&config, &mut core).await?;
        let shared = Arc::new(Shared::new(core));
        let guard = &config.guard;
        let crowd = Crowd::new(guard.address_connections, guard.address_before_login, guard.count_loopback);
        let paces = Paces::new(guard);
        let (stop, stopped) = watch::channel(false);
        let (alive, tasks) = mpsc::channel(1);
        let served = http
            .as_ref()
            .map(|(_, address)| http::Served { address: *address, encrypted: config.encrypts_http(address) });
        let of_http = served.filter(|served| served.encrypted).map(|served| served.address);
        let encrypted: Vec<_> =
            addresses.iter().copied().filter(|address| config.encrypts(address)).chain(of_http).collect();
        if tls.is_some() && encrypted.is_empty() {
            warn!("the certificate is of no use, because all listeners are on loopback addresses; see tls.loopback");
        }
        for (listener, address) in listeners {
            let tls = tls.clone().filter(|_| config.encrypts(&address));
            say_listening(address, "listening", tls.is_some());
            let (shared, alive, crowd, paces) = (shared.clone(), alive.clone(), crowd.clone(), paces.clone());
            let crowded = Seldom::default();
            let take = move |stream, from| {
                if let Some(place) = enter(&crowd, from) {
                    let pace = Pace::new(&paces, place.block());
                    take_in(&shared, stream, from, tls.clone(), Share { place, pace }, &alive, &crowded);
                }
            };
            tokio::spawn(accept(listener, stopped.clone(), take));
        }
        let (mut web, mut rtm_gate) = (None, None);
        if let (Some(files), Some(stores)) = (rtm.files.or(rtm.servers).or(rtm.users), stores.clone()) {
            let gate = Gate::new(&config, shared.clone(), stores, files, served, keys, (crowd.clone(), paces.clone()));
            for (listener, door) in rtm_listeners {
                let (gate, stopping, alive) = (gate.clone(), stopped.clone(), alive.clone());
                let take = move |stream, from| gate.take_in(stream, from, door, &stopping, &alive);
                tokio::spawn(accept(listener, stopped.clone(), take));
            }
            if rtm.users.is_some() {
                web = Some(web_routes(gate.clone(), stopped.clone(), alive.clone()));
            }
            tokio::spawn(gate.clone().keep_pinging(stopped.clone()));
            rtm_gate = Some(gate);
        }
        let messages = stores.as_ref().map(|stores| stores.messages.clone());
        let directory = stores.as_ref().map(|stores| stores.directory.clone());
        let blobs = stores.map(|stores| stores.blobs);
        if let Some((listener, address)) = http {
            let tls = tls.clone().filter(|_| config.encrypts_http(&address));
            say_listening(address, "HTTP", tls.is_some());
            let router = http::router(blobs.clone(), shared.memory()).merge(web.unwrap_or_default());
            let take = http_taker(router, tls, shared.memory().clone(), crowd.clone(), stopped.clone(), alive);
            tokio::spawn(accept(listener, stopped.clone(), take));
        }
        #[cfg(unix)]
        if let Some(path) = config.admin_socket() {
            let socket = admin::listen(&path).map_err(|error| StartError::Admin(path.clone(), error))?;
            info!(?path, "the operator's socket");
            let office = Office { shared: shared.clone(), gate: rtm_gate, directory: directory.clone() };
            tokio::spawn(admin::serve(socket, admin::router(office), stopped.clone()));
        }
        if let (Some(blobs), Some(messages)) = (blobs, messages) {
            tokio::spawn(keep_sweeping(blobs, messages, stopped.clone()));
        }
        tokio::spawn(keep_forgetting(shared.clone(), directory, stopped.clone()));
        tokio::spawn(shared.clone().keep_giving_back(stopped.clone()));
        tokio::spawn(keep_time(shared.clone(), stopped.clone()));
        if let Some(tls) = &tls {
            tokio::spawn(keep_fresh(tls.identity.clone(), stopped.clone()));
        }
        if let Some(file) = file.clone() {
            tokio::spawn(keep_reserving(shared.clone(), file, stopped));
        }
        let http = served.map(|served| served.address);
        Ok(Relay { shared, addresses, http, encrypted, tls, rtm, epochs: file, stop, tasks })
    }

    /// The first address that clients can connect to.
    pub fn address(&self) -> SocketAddr {
        self.addresses.first().copied().unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// All addresses that clients can connect to.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The HTTP address.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http
    }

    /// Those of all these addresses that are encrypted.
    pub fn encrypted_addresses(&self) -> &[SocketAddr] {
        &self.encrypted
    }

    /// Reads the certificate and its key again; connections that are there keep what they have. What is wrong is an
    /// error in the log. It reads files, and returns when that is done.
    pub fn reload_certificate(&self) {
        if let Some(tls) = &self.tls {
            tls.identity.reload_now();
        }
    }

    /// Where servers connect with RTM SDKs.
    pub fn rtm_address(&self) -> Option<SocketAddr> {
        self.rtm.servers
    }

    /// Where users connect with RTM SDKs.
    pub fn rtm_users_address(&self) -> Option<SocketAddr> {
        self.rtm.users
    }

    /// Where RTM SDKs send files, if that is somewhere else.
    pub fn rtm_files_address(&self) -> Option<SocketAddr> {
        self.rtm.files
    }

    /// Connections of clients that are open, those of the RTM dialect not counted.
    pub fn connections(&self) -> usize {
        self.shared.with(None, |core, _| core.connections())
    }

    /// Bytes of memory of all that is under way: what [`GuardSettings::max_queued`] bounds.
    ///
    /// [`GuardSettings::max_queued`]: crate::GuardSettings::max_queued
    pub fn memory_used(&self) -> u64 {
        self.shared.memory().used()
    }

    /// Says good-bye to all clients, flushes for a short while and closes everything.
    pub async fn stop(mut self) {
        let _ = self.stop.send(true);
        self.shared.with(None, |core, now| core.stop(now));
        if tokio::time::timeout(STOP_DEADLINE, self.tasks.recv()).await.is_err() {
            self.shared.with(None, |core, _| core.abandon());
            let _ = tokio::time::timeout(STOP_DEADLINE, self.tasks.recv()).await;
        }
        self.shared.stop_courier();
        let last = self.shared.with(None, |core, _| core.epochs().last());
        if let Some(Err(error)) = self.epochs.as_ref().map(|file| file.write(last)) {
            warn!(%error, "the epoch could not be written; the reservation of before holds");
        }
        info!("stopped");
    }
}

/// The keys for FPNN's own encryption.
fn read_keys(path: &Path) -> Result<Keys, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map(Zeroizing::new)
        .map_err(|error| ConfigError(format!("the file {path:?} of rtm.insecure_keys cannot be read: {error}")))?;
    let keys =
        Keys::parse(&text).map_err(|why| ConfigError(format!("the file {path:?} of rtm.insecure_keys {why}")))?;
    warn!(
        "FPNN's own encryption is offered to RTM clients; it protects against nobody who can change what is on the way"
    );
    Ok(keys)
}

fn random() -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).ok().map(|()| bytes)
}

fn open_epochs(config: &Config) -> Result<(Epochs, Option<EpochFile>), StartError> {
    let Some(path) = &config.data else {
        return Ok((Epochs::by_clock(unix_micros()), None));
    };
    let failed = |error| StartError::Data(path.clone(), error);
    let file = EpochFile::open(path).map_err(failed)?;
    let used = file.read().map_err(failed)?;
    let now = unix_micros();
    let ceiling = used.max(now).saturating_add(RESERVE_MICROS);
    file.write(ceiling).map_err(failed)?;
    Ok((Epochs::after(used, now, ceiling), Some(file)))
}

/// The stores, if anybody needs them: servers fill them, and what they stored before holds without them, too.
async fn open_stores(config: &Config, core: &mut Core) -> Result<Option<Stores>, StartError> {
    if config.data.is_none() && config.rtm.listen.is_none() && config.rtm.users.is_none() {
        return Ok(None);
    }
    let database = Database::open(config.data.as_deref()).map_err(StartError::Store)?;
    let blobs: Arc<dyn Blobs> = Arc::new(open_blobs(config, database.clone()).await?);
    let rtm = &config.rtm;
    let limits =
        MessageLimits { keep: rtm.message_keep, per_conversation: rtm.max_undelivered, per_project: rtm.max_messages };
    let messages = Messages::new(database.clone(), limits);
    messages.all_away().await.map_err(StartError::Store)?;
    let directory: Arc<dyn Directory> = Arc::new(database);
    for revoked in directory.revoked().await.map_err(StartError::Store)? {
        core.remember_revocation(revoked.project, &revoked.user, revoked.until);
    }
    for revoked in directory.revoked_ids().await.map_err(StartError::Store)? {
        core.remember_revoked_id(revoked.project, &revoked.id, revoked.expires);
    }
    Ok(Some(Stores { directory, blobs, messages }))
}

async fn open_blobs(config: &Config, database: Database) -> Result<LocalBlobs, StartError> {
    let (files, data) = (&config.files, config.data.as_deref());
    let limits = store::Limits {
        keep: files.keep,
        project_quota: files.project_quota,
        min_free_percent: files.min_free_percent,
    };
    LocalBlobs::open(data, database, limits).await.map_err(|error| {
        let failed = |error| StartError::Data(data.map_or_else(std::env::temp_dir, ToOwned::to_owned), error);
        match error {
            BlobError::Store(error) => StartError::Store(error),
            BlobError::Disk(error) => failed(error),
            BlobError::Full | BlobError::Quota(_) => failed(io::ErrorKind::StorageFull.into()),
        }
    })
}

/// Opens the listeners of the RTM dialect.
fn listen_rtm(config: &Config) -> Result<(Vec<(TcpListener, Door)>, RtmAddresses), StartError> {
    let mut addresses = RtmAddresses::default();
    let wanted = [
        (config.rtm.listen, Door::Servers, &mut addresses.servers),
        (config.rtm.users, Door::Users, &mut addresses.users),
        (config.rtm.files, Door::Files, &mut addresses.files),
    ];
    let mut listeners = Vec::new();
    for (wanted, door, opened) in wanted {
        if let Some(wanted) = wanted {
            let (listener, address) = listen(wanted, config)?;
            say_rtm(address, door);
            *opened = Some(address);
            listeners.push((listener, door));
        }
    }
    Ok((listeners, addresses))
}

fn say_listening(address: SocketAddr, what: &str, encrypted: bool) {
    info!(%address, encrypted, "{what}");
    if !encrypted && !address.ip().is_loopback() {
        warn!(%address, "{what} without encryption: everybody on the way can read and change it");
    }
}

fn say_rtm(address: SocketAddr, door: Door) {
    let name = match door {
        Door::Servers => "RTM",
        Door::Users => "RTM users",
        Door::Files => "RTM files",
    };
    info!(%address, "{name}");
    if !address.ip().is_loopback() {
        warn!(%address, "RTM is not encrypted: everybody on the way can read it; keep it in a private network");
    }
}

fn listen(address: SocketAddr, config: &Config) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |error| StartError::Listen(address, error);
    let open = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // A restarted relay must get its port back while old connections are still being forgotten.
        #[cfg(unix)]
        socket.set_reuse_address(true)?;
        let twin = |other: &SocketAddr| other.is_ipv4() && other.port() == address.port();
        if address.is_ipv6() && config.listen.iter().any(twin) {
            socket.set_only_v6(true)?;
        }
        if INHERITED {
            set_options(SockRef::from(&socket))?;
        }
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        let listener = TcpListener::from_std(socket.into())?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    open().map_err(failed)
}

/// Accepts until the relay stops. No error ends it: whatever the kernel lacks now, it may have again later.
async fn accept(listener: TcpListener, mut stopped: watch::Receiver<bool>, take: impl Fn(TcpStream, SocketAddr)) {
    let mut warned: Option<Instant> = None;
    let spare = Spare::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.changed() => return,
        };
        match accepted {
            Ok((stream, from)) => {
                prepare(&stream, from);
                take(stream, from);
            }
            Err(error) if is_the_clients(&error) => debug!(%error, "a connection ended before it was accepted"),
            Err(error) => {
                if warned.is_none_or(|at| at.elapsed() >= WARN_AGAIN_AFTER) {
                    warn!(%error, "cannot accept connections for now; going on trying");
                    warned = Some(Instant::now());
                }
                // Who waits is told no; waiting for ever for a relay that is full helps nobody.
                spare.shed(&listener);
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Errors of `accept` that are about the one connection, not about the listener.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(error.kind(), Kind::ConnectionAborted | Kind::ConnectionReset | Kind::Interrupted | Kind::WouldBlock)
}

/// Linux gives a connection the options of its listener, so that it needs no calls of its own.
const INHERITED: bool = cfg!(target_os = "linux");

fn set_options(socket: SockRef<'_>) -> io::Result<()> {
    let keep_alive = TcpKeepalive::new().with_time(KEEP_ALIVE).with_interval(KEEP_ALIVE / 4);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&keep_alive)
}

fn prepare(stream: &TcpStream, from: SocketAddr) {
    if INHERITED {
        return;
    }
    if let Err(error) = set_options(SockRef::from(stream)) {
        // The client has gone already, or the system lacks the option: neither is a reason to refuse.
        debug!(%from, %error, "socket options");
    }
}

/// A place for a connection among those of its address.
fn enter(crowd: &Crowd, from: SocketAddr) -> Option<Place> {
    static CROWDED: Seldom = Seldom::new();
    let place = crowd.enter(from.ip());
    if place.is_none() {
        debug!(%from, "refused: too many connections from its address");
        if CROWDED.now() {
            warn!(
                %from,
                "connections are refused because there are too many from one address; see guard.address_connections \
                 and guard.address_before_login"
            );
        }
    }
    place
}

fn take_in(
    shared: &Arc<Shared>,
    stream: TcpStream,
    from: SocketAddr,
    tls: Option<Arc<Tls>>,
    share: Share,
    alive: &mpsc::Sender<()>,
    crowded: &Seldom,
) {
    match shared.open(from, share.place.block()) {
        Ok((id, notify)) => {
            debug!(connection = id, %from, "accepted");
            let (shared, alive) = (shared.clone(), alive.clone());
            tokio::spawn(async move {
                connection::serve(shared, stream, tls, id, notify, share).await;
                drop(alive);
            });
        }
        Err(Refused::Stopping) => debug!(%from, "refused: the relay is stopping"),
        Err(why) => {
            debug!(%from, ?why, "refused");
            if crowded.now() {
                warn!(
                    ?why,
                    "connections are refused because there are too many; see limits.max_connections and \
                     limits.max_before_login"
                );
            }
        }
    }
}

/// What takes HTTP connections in, as long as there is room for one more.
fn http_taker(
    router: axum::Router,
    tls: Option<Arc<Tls>>,
    memory: Arc<Memory>,
    crowd: Crowd,
    stopped: watch::Receiver<bool>,
    alive: mpsc::Sender<()>,
) -> impl Fn(TcpStream, SocketAddr) {
    let (places, crowded) = (Arc::new(Semaphore::new(http::MAX_CONNECTIONS)), Seldom::default());
    move |stream, from| {
        let Some(mut of_address) = enter(&crowd, from) else { return };
        let Ok(place) = places.clone().try_acquire_owned() else {
            if crowded.now() {
                warn!("HTTP connections are refused because there are {} already", http::MAX_CONNECTIONS);
            }
            return;
        };
        let (router, tls, memory) = (router.clone(), tls.clone(), memory.clone());
        let (stopped, alive) = (stopped.clone(), alive.clone());
        tokio::spawn(async move {
            // A request that is served needs no login.
            of_address.trust();
            http::serve(stream, router, tls, memory, stopped).await;
            drop((place, of_address, alive));
        });
    }
}

/// Wakes the core when something is due.
async fn keep_time(shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    loop {
        let until = shared.sleep_until();
        let sleep = async {
            match until {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = sleep => shared.with(None, |core, now| core.tick(now)),
            () = shared.timer.notified() => {}
            _ = stopped.changed() => return,
        }
    }
}

/// Puts into quarantine what a crash has left behind, once, and removes what has expired, again and again.
async fn keep_sweeping(blobs: Arc<dyn Blobs>, messages: Messages, mut stopped: watch::Receiver<bool>) {
    let work = async {
        if let Err(error) = blobs.clear_orphans().await {
            warn!(%error, "what a crash may have left behind stays until the next start");
        }
        loop {
            if let Err(error) = blobs.sweep().await {
                warn!(%error, "expired files stay a little longer");
            }
            if let Err(error) = messages.sweep(i64::try_from(unix_micros() / 1_000).unwrap_or(i64::MAX)).await {
                warn!(%error, "old messages stay a little longer");
            }
            tokio::time::sleep(SWEEP_EVERY).await;
        }
    };
    tokio::select! {
        () = work => {}
        _ = stopped.changed() => {}
    }
}

/// Forgets the revocations of tokens that have expired, again and again.
async fn keep_forgetting(
    shared: Arc<Shared>,
    directory: Option<Arc<dyn Directory>>,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(SWEEP_EVERY) => {}
            _ = stopped.changed() => return,
        }
        shared.with(None, |core, now| core.sweep_revocations(now));
        let Some(directory) = &directory else { continue };
        let before = (unix_micros() / 1_000_000).saturating_sub(2 * CLOCK_TOLERANCE_S);
        if let Err(error) = directory.sweep_revoked_ids(before).await {
            warn!(%error, "revocations of tokens that have expired stay a little longer");
        }
    }
}

/// Keeps the reservation of epochs on disk ahead of what is used.
async fn keep_reserving(shared: Arc<Shared>, file: EpochFile, mut stopped: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(RENEW_EVERY) => {}
            _ = stopped.changed() => return,
        }
        let last = shared.with(None, |core, _| core.epochs().last());
        let ceiling = last.max(unix_micros()).saturating_add(RESERVE_MICROS);
        let to = file.clone();
        match tokio::task::spawn_blocking(move || to.write(ceiling)).await {
            Ok(Ok(())) => shared.with(None, |core, _| core.epochs().set_ceiling(ceiling)),
            Ok(Err(error)) => warn!(%error, "no epochs could be reserved on disk; going on with those of before"),
            Err(_) => return,
        }
    }
}
