//! HTTP: `GET /healthz` for the operator's tools, `/files/…` for those to whom files were sent,
//! and the connection on which a WebSocket of `/service/…` begins.
//!
//! * `download`: one stored file.
//! * `range`: which part of it is asked for.
//! * `label`: what it is called, and what it is.
//! * `body`: its bytes on their way from the disk.
//! * `patient`: a socket that gives up on a client who takes nothing.
//! * `sealed`: one that encrypts, whose buffers are charged.

mod body;
mod download;
mod label;
mod patient;
mod range;
mod sealed;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{debug, error};

use self::patient::Patient;
use self::sealed::Sealed;
use crate::guard::{Memory, Unused};
use crate::rtm::Ends;
use crate::store::{Blob, BlobId, Blobs};
use crate::tls::{self, Tls};

/// Connections that are served at once.
pub(crate) const MAX_CONNECTIONS: usize = 1_024;
/// A request's head has at most this many bytes.
const MAX_HEAD: usize = 16 * 1024;
/// A request's head must be here within this time, and so must the next one on the same connection.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// A client who takes nothing for so long loses the connection.
const STALL: Duration = Duration::from_secs(30);
/// Where stored files are.
const FILES: &str = "/files/";

/// Stored files, and the memory that they are charged to on their way.
#[derive(Clone)]
struct Shelf {
    blobs: Arc<dyn Blobs>,
    memory: Arc<Memory>,
}

/// What HTTP serves.
pub(crate) fn router(blobs: Option<Arc<dyn Blobs>>, memory: &Arc<Memory>) -> Router {
    let router = Router::new().route("/healthz", get(async || "ok\n")).fallback(not_found);
    match blobs {
        Some(blobs) => {
            let shelf = Shelf { blobs, memory: memory.clone() };
            router.merge(Router::new().route("/files/{*rest}", get(file)).with_state(shelf))
        }
        None => router,
    }
}

/// The path of a stored file. Its name is for people; the id alone decides.
pub(crate) fn path(blob: &Blob) -> String {
    format!("{FILES}{}/{}", blob.id.as_str(), label::percent_encoded(&blob.name))
}

/// Where HTTP is served, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) encrypted: bool,
}

/// Serves a connection to its end, encrypted where `tls` is given; when the relay stops, after the request under way.
pub(crate) async fn serve(
    stream: TcpStream,
    router: Router,
    tls: Option<Arc<Tls>>,
    memory: Arc<Memory>,
    mut stopped: watch::Receiver<bool>,
) {
    let ends = stream.peer_addr().and_then(|from| Ok(Ends([from, stream.local_addr()?])));
    let Ok(ends) = ends else { return debug!("an HTTP connection was gone before it was served") };
    let unused = Arc::new(Unused::default());
    let router = router.layer(Extension(ends)).layer(Extension(unused.clone()));
    let stream = Patient::new(stream, STALL, unused);
    let Some(tls) = tls else { return serve_requests(stream, router, stopped).await };
    let shaken = tokio::select! {
        shaken = timeout(HEAD_DEADLINE, tls.handshakes.shake(stream, tls.http.clone())) => shaken,
        _ = stopped.changed() => return,
    };
    let Ends([from, _]) = ends;
    match shaken {
        Ok(Ok(stream)) => serve_requests(Sealed::new(stream, &memory.tls), router, stopped).await,
        Ok(Err(error)) => debug!(%from, %error, "{}", tls::failure(&error)),
        Err(_) => debug!(%from, "closed: the TLS handshake of an HTTP client has not ended in time"),
    }
}

async fn serve_requests(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    mut stopped: watch::Receiver<bool>,
) {
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_DEADLINE).max_buf_size(MAX_HEAD);
    let service = TowerToHyperService::new(router);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service).with_upgrades());
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        if error.is_parse() {
            return debug!(%error, "an HTTP connection is closed: what came is not HTTP; TLS goes to another listener");
        }
        // What goes wrong here concerns the one who asked alone.
        debug!(%error, "an HTTP connection broke");
    }
}

async fn not_found() -> Response {
    (StatusCode::NOT_FOUND, "there is nothing here\n").into_response()
}

/// One stored file. What never was, what has expired and what cannot be a file look alike.
async fn file(State(shelf): State<Shelf>, uri: Uri, headers: HeaderMap) -> Response {
    let id = uri.path().strip_prefix(FILES).and_then(|rest| rest.split('/').next()).and_then(BlobId::parse);
    let Some(id) = id else { return not_found().await };
    match shelf.blobs.find(id).await {
        Ok(Some(blob)) => download::answer(&shelf, &blob, &headers).await,
        Ok(None) => not_found().await,
        Err(error) => {
            error!(%error, "a file could not be looked up");
            (StatusCode::INTERNAL_SERVER_ERROR, "the relay cannot use its store just now\n").into_response()
        }
    }
}
