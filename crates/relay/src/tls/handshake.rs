//! The beginning of an encrypted connection. Signing costs a processor more than everything else that a connection
//! does in minutes, so only a few connections do it at a time, and those who have connected before go on meanwhile.

use std::io;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::ServerConfig;
use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::warn;

use crate::seldom::Seldom;

/// Handshakes that may be computed at a time, for each core.
const HANDSHAKES_A_CORE: usize = 2;
/// Handshakes that may wait for that.
const MAX_WAITING: usize = 2_048;

/// The handshakes under way.
#[derive(Debug)]
pub(crate) struct Handshakes {
    places: Semaphore,
    waiting: AtomicUsize,
    crowded: Seldom,
}

/// One who waits. Whatever becomes of it, it is counted no more.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Handshakes {
    pub(super) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self {
            places: Semaphore::new(HANDSHAKES_A_CORE * cores),
            waiting: AtomicUsize::new(0),
            crowded: Seldom::default(),
        }
    }

    /// Lets a client begin. Its deadline is the caller's: dropped, nothing of it is left.
    pub(crate) async fn shake<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        config: Arc<ServerConfig>,
    ) -> io::Result<TlsStream<S>> {
        // A client who is slow to say what it wants takes nobody's place.
        let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        let accept = {
            if self.waiting.fetch_add(1, Ordering::Relaxed) >= MAX_WAITING {
                self.waiting.fetch_sub(1, Ordering::Relaxed);
                if self.crowded.now() {
                    warn!("connections are closed because {MAX_WAITING} others wait for their TLS handshakes");
                }
                return Err(io::ErrorKind::ResourceBusy.into());
            }
            let waiting = Waiting(&self.waiting);
            let place = self.places.acquire().await.map_err(io::Error::other)?;
            drop(waiting);
            let accept = start.into_stream(config);
            drop(place);
            accept
        };
        accept.await
    }
}

/// What to say about a handshake that has failed.
pub(crate) fn failure(error: &io::Error) -> &'static str {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidMessage(_)) => "closed: what came is not TLS; the client speaks plain text",
        Some(rustls::Error::AlertReceived(_)) => "closed: the client does not accept the certificate or the encryption",
        Some(_) => "closed: the TLS handshake failed",
        None => "the client went away during the TLS handshake",
    }
}
