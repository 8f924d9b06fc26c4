//! An encrypted socket whose buffers are charged.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

use super::patient::Patient;
use crate::guard::{Budget, Share};

/// A TLS connection, charged for what waits in it.
pub(super) struct Sealed {
    stream: TlsStream<Patient>,
    share: Share,
}

impl Sealed {
    pub(super) fn new(stream: TlsStream<Patient>, budget: &Arc<Budget>) -> Self {
        Self { stream, share: Share::of(budget) }
    }

    /// Charges what waits after something was done.
    fn settle<T>(&mut self, done: T) -> T {
        let (_, tls) = self.stream.get_mut();
        // Nothing new has come, so this only says how much waits; a connection that has failed is about to end.
        let waits = tls.process_new_packets();
        self.share.set(waits.map_or(0, |waits| waits.tls_bytes_to_write() + waits.plaintext_bytes_to_read()));
        done
    }
}

impl AsyncRead for Sealed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.settle(read)
    }
}

impl AsyncWrite for Sealed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.settle(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.settle(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.settle(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.settle(shut)
    }
}
