//! One WebSocket connection of a user with an RTM SDK: each message is one package.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use crvideo_proto::frame::{FrameError, HEADER_LEN, frame_len};
use crvideo_proto::rtm::reader::{MAX_PLAIN, Reader};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, warn};

use super::desk::{Desk, Door};
use super::files::Upload;
use super::gate::Gate;
use super::link::Reading;
use super::outbox::Next;
use crate::guard::{Share, Unused};

/// A message holds the largest package without a large file: head, sequence number and method beside the payload.
const MAX_MESSAGE: usize = MAX_PLAIN + HEADER_LEN + 4 + 255;
/// Bytes of one read.
const READ_BUFFER: usize = 8 * 1024;
/// The time for the last answers and the closing handshake.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Both ends of an HTTP connection: the client's address, and ours.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ends(pub(crate) [SocketAddr; 2]);

/// What requests for a WebSocket share.
#[derive(Clone)]
struct Entrance {
    gate: Arc<Gate>,
    stopped: watch::Receiver<bool>,
    /// Held as long as a connection is served.
    alive: mpsc::Sender<()>,
}

/// Where HTTP clients become users with a WebSocket.
pub(crate) fn routes(gate: Arc<Gate>, stopped: watch::Receiver<bool>, alive: mpsc::Sender<()>) -> axum::Router {
    // SDKs ask for `/service/websocket`, but whatever stands there is no more than a name.
    axum::Router::new().route("/service/{*name}", any(upgrade)).with_state(Entrance { gate, stopped, alive })
}

async fn upgrade(
    State(entrance): State<Entrance>,
    Extension(Ends(ends)): Extension<Ends>,
    Extension(unused): Extension<Arc<Unused>>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        // Methods over plain HTTP are not served; the answer says what is missing.
        Err(rejection) => return rejection.into_response(),
    };
    let Some((desk, place)) = entrance.gate.admit(ends, Door::Users) else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many connections; try again later\n").into_response();
    };
    let (stopped, alive, id) = (entrance.stopped, entrance.alive, desk.client.id);
    let upgrade = upgrade
        .max_message_size(MAX_MESSAGE)
        .max_frame_size(MAX_MESSAGE)
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .on_failed_upgrade(move |error| debug!(link = id, %error, "no WebSocket came of it"));
    let mut response = upgrade.on_upgrade(move |socket| async move {
        // A message of which a part has come waits where it is not seen; the socket below says how much was read.
        unused.begin(&desk.gate.core.memory().reading);
        Web { desk, socket, unused }.serve(stopped).await;
        drop((place, alive));
    });
    // The protocols that are asked for are given back as they are, as FPNN's own server does.
    if let Some(protocols) = headers.get(header::SEC_WEBSOCKET_PROTOCOL) {
        response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, protocols.clone());
    }
    response
}

/// Why a connection ends.
enum End {
    /// The client has closed it, or it is broken.
    Gone(Option<axum::Error>),
    /// The client takes nothing, or not as fast as it comes.
    NotTaken(&'static str),
    /// A message is not one package.
    NoPackage(Option<FrameError>),
    /// Nothing has come for too long.
    Silent,
    /// Everything is said, or the relay is stopping.
    Done,
}

struct Web {
    desk: Desk,
    socket: WebSocket,
    unused: Arc<Unused>,
}

/// What of the client's packages is under way.
struct Incoming {
    reader: Reader,
    upload: Option<Upload>,
    opened: Instant,
    heard: Instant,
    began: bool,
    /// How fast it may send.
    pace: Reading,
}

impl Web {
    /// Serves the connection to its end.
    async fn serve(mut self, mut stopped: watch::Receiver<bool>) {
        let now = Instant::now();
        let reader = self.desk.gate.files.reader();
        let pace = Reading::new(&self.desk);
        let mut incoming = Incoming { reader, upload: None, opened: now, heard: now, began: false, pace };
        let end = loop {
            if let Err(end) = self.step(&mut incoming, &mut stopped).await {
                break end;
            }
        };
        let (link, from) = (self.desk.client.id, self.desk.client.from);
        match end {
            End::Gone(error) => return debug!(link, %from, ?error, "the client has closed it, or it is broken"),
            End::NotTaken(why) => return warn!(link, %from, "closed because {why}"),
            End::NoPackage(error) => debug!(link, %from, ?error, "closed: a message was not one package"),
            End::Silent => debug!(link, %from, "closed: nothing has come for too long"),
            End::Done => debug!(link, %from, "closed by the relay"),
        }
        self.desk.client.out.finish();
        if timeout(LAST_WORDS, self.part()).await.is_err() {
            debug!(link, %from, "the last answers were not taken");
        }
    }

    /// Waits for one thing to happen, and does what follows.
    async fn step(&mut self, incoming: &mut Incoming, stopped: &mut watch::Receiver<bool>) -> Result<(), End> {
        let deadline = match incoming.began {
            true if self.desk.client.is_stranger() && incoming.upload.is_none() => {
                let config = &self.desk.gate.config;
                (incoming.heard + config.idle_timeout).min(incoming.opened + config.stranger_time)
            }
            true => incoming.heard + self.desk.gate.config.idle_timeout,
            false => incoming.opened + self.desk.gate.first_quest_deadline,
        };
        tokio::select! {
            message = self.socket.recv() => {
                let message = message.ok_or(End::Gone(None))?.map_err(|error| End::Gone(Some(error)))?;
                self.unused.used();
                incoming.heard = Instant::now();
                match message {
                    Message::Binary(bytes) => self.package(&bytes, incoming).await,
                    Message::Text(text) => self.package(text.as_bytes(), incoming).await,
                    // The pong is on its way already.
                    Message::Ping(_) | Message::Pong(_) => Ok(()),
                    Message::Close(_) => Err(End::Gone(None)),
                }
            }
            next = self.desk.client.out.next() => write(&self.desk, &mut self.socket, next).await,
            _ = stopped.changed() => Err(End::Done),
            () = sleep_until(deadline) => Err(End::Silent),
        }
    }

    /// Serves one package, and writes meanwhile: its answer may wait for others to be taken.
    async fn package(&mut self, bytes: &[u8], incoming: &mut Incoming) -> Result<(), End> {
        let whole = frame_len(bytes).map_err(|error| End::NoPackage(Some(error)))?;
        if whole != Some(bytes.len() as u64) {
            return Err(End::NoPackage(None));
        }
        incoming.began = true;
        (incoming.pace.frames, incoming.pace.bytes) = (1, bytes.len());
        let mut held = Share::of(&self.desk.gate.core.memory().reading);
        held.set(bytes.len());
        incoming.pace.slow_down(&self.desk).await;
        let Incoming { reader, upload, .. } = incoming;
        reader.feed(bytes);
        held.set(bytes.len() + reader.memory());
        let (desk, socket) = (&self.desk, &mut self.socket);
        let mut taking = pin!(async move {
            while let Some(event) = reader.next_event().map_err(|error| End::NoPackage(Some(error)))? {
                desk.take(event, upload).await;
            }
            Ok(())
        });
        loop {
            tokio::select! {
                taken = &mut taking => break taken?,
                next = desk.client.out.next() => write(desk, socket, next).await?,
            }
        }
        incoming.heard = Instant::now();
        Ok(())
    }

    /// Writes what is still to be said, and closes.
    async fn part(&mut self) {
        while let Next::Write(batch) = self.desk.client.out.next().await {
            if write(&self.desk, &mut self.socket, Next::Write(batch)).await.is_err() {
                return;
            }
        }
        if self.socket.send(Message::Close(None)).await.is_ok() {
            while let Some(Ok(_)) = self.socket.recv().await {}
        }
    }
}

/// Writes what waits: each package is one message.
async fn write(desk: &Desk, socket: &mut WebSocket, next: Next) -> Result<(), End> {
    let mut batch = match next {
        Next::Write(batch) => batch,
        Next::Done => return Err(End::Done),
        Next::Overflow => return Err(End::NotTaken("it does not take its pushes as fast as they come")),
    };
    while let Some(package) = batch.pop() {
        // The WebSocket copies it behind a head of its own.
        let mut copied = Share::of(&desk.gate.core.memory().outboxes);
        copied.set(package.len());
        match timeout(desk.gate.stall_timeout, socket.send(Message::Binary(package))).await {
            Ok(sent) => sent.map_err(|error| End::Gone(Some(error)))?,
            Err(_) => return Err(End::NotTaken("it has taken nothing while answers or pushes waited")),
        }
    }
    desk.client.out.written(&batch);
    Ok(())
}
