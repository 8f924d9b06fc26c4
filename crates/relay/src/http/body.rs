//! A stored file's bytes on their way from the disk, a piece at a time.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tracing::warn;

use crate::store::Content;

/// Bytes of one piece. The next one is read when this one has gone.
const PIECE: u64 = 128 * 1024;

type Reading = Pin<Box<dyn Future<Output = io::Result<(Content, Bytes)>> + Send>>;

enum State {
    Idle(Content),
    Reading(Reading),
    Done,
}

/// A part of a file, from `at` on.
pub(super) struct FileBody {
    state: State,
    at: u64,
    left: u64,
}

impl FileBody {
    pub(super) fn new(content: Content, at: u64, len: u64) -> Self {
        Self { state: State::Idle(content), at, left: len }
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let mut reading = match std::mem::replace(&mut self.state, State::Done) {
            State::Idle(content) if self.left > 0 => {
                let len = usize::try_from(self.left.min(PIECE)).unwrap_or_default();
                Box::pin(content.read(self.at, len)) as Reading
            }
            State::Reading(reading) => reading,
            State::Idle(_) | State::Done => return Poll::Ready(None),
        };
        let Poll::Ready(outcome) = reading.as_mut().poll(cx) else {
            self.state = State::Reading(reading);
            return Poll::Pending;
        };
        Poll::Ready(Some(match outcome {
            Ok((content, bytes)) => {
                self.at += bytes.len() as u64;
                self.left -= bytes.len() as u64;
                self.state = State::Idle(content);
                Ok(Frame::data(bytes))
            }
            Err(error) => {
                warn!(%error, "a stored file cannot be read; the download ends early");
                Err(error)
            }
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
