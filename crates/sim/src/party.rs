//! A session with all that a shell has around it: its place in the world, its files, its application.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crvideo_proto::id::TaskId;
use crvideo_proto::session::{COMMAND_OVERHEAD, Config, Event, Kind, Receipt, Session};

use crate::files::{Sink, Source};
use crate::plan::Project;

/// What the calls of the application may assume, as in the library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Out,
    Entering,
    In,
    Leaving,
}

/// A connection as the session's shell sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wired {
    pub(crate) link: u64,
    pub(crate) open: bool,
    /// The session has given it up; it is closed before the turn ends.
    pub(crate) given_up: bool,
}

/// What waits for the application.
#[derive(Debug)]
pub(crate) enum Letter {
    Handle { charge: u64, receipt: Option<Receipt>, from: Option<Arc<str>> },
    Offer { source: Arc<str>, task: TaskId },
}

/// What an application does about offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manners {
    Accepts,
    Refuses,
    Ignores,
    AnyOfThese,
}

#[derive(Debug)]
pub(crate) struct Party {
    pub(crate) project: Project,
    pub(crate) user: &'static str,
    pub(crate) device: usize,
    pub(crate) session: Session,
    pub(crate) stage: Stage,
    pub(crate) wired: [Option<Wired>; 2],
    pub(crate) sources: BTreeMap<TaskId, Source>,
    pub(crate) sinks: BTreeMap<u64, Sink>,
    pub(crate) letters: VecDeque<Letter>,
    /// Bytes of commands handled, in all.
    pub(crate) handled: u64,
    pub(crate) asleep_until: Duration,
    pub(crate) reading: bool,
    pub(crate) manners: Manners,
    /// Bytes of sources that its session has asked for, in all.
    pub(crate) asked: u64,
    /// Its turn has been scheduled.
    pub(crate) turn: bool,
    /// When the session must be called.
    pub(crate) deadline: Option<Duration>,
    pub(crate) destroyed: bool,
    /// Its program is no more.
    pub(crate) vanished: bool,
    pub(crate) wants_offers: bool,
    /// The same of the one that expires first: what replaces it may never reach the relay.
    pub(crate) first_expires: Option<Duration>,
    /// When the token expires that was given last.
    pub(crate) latest_expires: Option<Duration>,
    /// When the last token that was given expires, in time since the start; `None` where the secret was given.
    pub(crate) expires: Option<Duration>,
    /// The application renews its token when it is told to.
    pub(crate) renews: bool,
}

impl Party {
    pub(crate) fn new(
        project: Project,
        user: &'static str,
        device: usize,
        config: Config,
        name: [u8; 16],
        seed: u64,
    ) -> Self {
        Self {
            project,
            user,
            device,
            session: Session::new(config, name, seed),
            stage: Stage::Out,
            wired: [None, None],
            sources: BTreeMap::new(),
            sinks: BTreeMap::new(),
            letters: VecDeque::new(),
            handled: 0,
            asleep_until: Duration::ZERO,
            reading: false,
            manners: Manners::Accepts,
            asked: 0,
            turn: false,
            deadline: None,
            destroyed: false,
            vanished: false,
            wants_offers: false,
            first_expires: None,
            latest_expires: None,
            expires: None,
            renews: true,
        }
    }

    /// Whether the application may use it.
    pub(crate) fn is_in(&self) -> bool {
        self.stage == Stage::In && !self.destroyed
    }

    /// Bytes of commands and buffers that come in or wait for the application.
    pub(crate) fn held(&self) -> u64 {
        let buffers = self.sinks.values().filter(|sink| sink.kind == Kind::Buffer && !sink.aborting);
        let waiting = self.letters.iter().map(|letter| match letter {
            Letter::Handle { receipt: Some(Receipt::Buffer { size }), .. } => *size,
            Letter::Handle { charge, .. } => *charge,
            Letter::Offer { .. } => 0,
        });
        buffers.map(|sink| sink.size).chain(waiting).sum()
    }

    /// Bytes of commands of one user that wait for the application.
    pub(crate) fn held_of(&self, user: &str) -> u64 {
        let charge = |letter: &Letter| match letter {
            Letter::Handle { charge, from: Some(from), .. } if **from == *user => *charge,
            _ => 0,
        };
        self.letters.iter().map(charge).sum()
    }

    /// Notes what an event means for the shell; the content of a finished sink comes back.
    pub(crate) fn note(&mut self, event: &Event) -> Option<Sink> {
        match event {
            Event::LoginRslt { err, .. } => self.stage = if *err == 0 { Stage::In } else { Stage::Out },
            Event::LogoutRslt { .. } => self.stage = Stage::Out,
            Event::LineOff { .. } if !self.session.is_logged_in() => self.stage = Stage::Out,
            Event::TransferRslt { task, .. } => {
                self.sources.remove(task);
            }
            Event::Command { source, data, receipt, .. } => {
                let charge = data.len() as u64 + COMMAND_OVERHEAD;
                let from = Some(source.clone());
                self.letters.push_back(Letter::Handle { charge, receipt: receipt.clone(), from });
            }
            Event::Buffer { id, receipt, .. } => {
                self.letters.push_back(Letter::Handle { charge: 0, receipt: Some(receipt.clone()), from: None });
                return self.sinks.remove(id);
            }
            Event::File { id, .. } => {
                self.letters.push_back(Letter::Handle { charge: 0, receipt: None, from: None });
                return self.sinks.remove(id);
            }
            Event::Rtm { receipt, .. } => {
                self.letters.push_back(Letter::Handle { charge: 0, receipt: Some(receipt.clone()), from: None });
            }
            Event::Offer { source, task, kind: Kind::Buffer | Kind::File, .. } => {
                self.letters.push_back(Letter::Offer { source: source.clone(), task: *task });
            }
            _ => {}
        }
        None
    }
}
