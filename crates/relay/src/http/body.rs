//! A stored file's bytes on their way from the disk, a piece at a time.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tracing::warn;

use crate::guard::{Budget, Share, keep};
use crate::store::Content;

/// Bytes of one piece. The next one is read when this one has gone. Content is checked in parts of this size, so pieces
/// that end where parts do take no more memory than they are long.
const PIECE: u64 = 128 * 1024;

type Reading = Pin<Box<dyn Future<Output = io::Result<(Content, Bytes)>> + Send>>;

enum State {
    Idle(Content),
    Reading(Reading, Share),
    Done,
}

/// A part of a file, from `at` on.
pub(super) struct FileBody {
    state: State,
    at: u64,
    left: u64,
    budget: Arc<Budget>,
}

impl FileBody {
    pub(super) fn new(content: Content, at: u64, len: u64, budget: &Arc<Budget>) -> Self {
        Self { state: State::Idle(content), at, left: len, budget: budget.clone() }
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let (mut reading, share) = match std::mem::replace(&mut self.state, State::Done) {
            State::Idle(content) if self.left > 0 => {
                let len = usize::try_from(self.left.min(PIECE - self.at % PIECE)).unwrap_or_default();
                let mut share = Share::of(&self.budget);
                share.set(content.memory(self.at, len));
                (Box::pin(content.read(self.at, len)) as Reading, share)
            }
            State::Reading(reading, share) => (reading, share),
            State::Idle(_) | State::Done => return Poll::Ready(None),
        };
        let Poll::Ready(outcome) = reading.as_mut().poll(cx) else {
            self.state = State::Reading(reading, share);
            return Poll::Pending;
        };
        Poll::Ready(Some(match outcome {
            Ok((content, bytes)) => {
                self.at += bytes.len() as u64;
                self.left -= bytes.len() as u64;
                self.state = State::Idle(content);
                Ok(Frame::data(keep(bytes, share)))
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
