//! Who is there: `crfind`, `crpeer`, the list of users and its push.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use crvideo_proto::code;
use crvideo_proto::id::is_user_id;
use crvideo_proto::message::{self as msg, CLASS_BULK, CLASS_COMMANDS, PeerState};

use super::session::{Joined, Session};
use super::{ConnectionId, Core, MAX_ASKED, MAX_CORRESPONDENTS, Presence, SessionId, USERS_PAGE};

/// Both kinds of traffic.
const BOTH: u8 = CLASS_COMMANDS | CLASS_BULK;

impl Core {
    pub(super) fn find(&mut self, id: ConnectionId, session: SessionId, seq: u32, find: &msg::Find) {
        if !is_user_id(&find.user) {
            return self.refuse(id, seq, code::PARAM_ERR, "not a user id");
        }
        let Some((other, epoch, away)) = self.look_up(session, &find.user) else {
            let state = if self.ask_later(session, &find.user, 0) { PeerState::Away } else { PeerState::Gone };
            return self.answer(id, seq, &msg::FindAnswer { epoch: 0, state: state as u8 });
        };
        if !self.join(session, other) {
            return self.refuse(id, seq, code::SEND_QUEUE_FULL, "too many correspondents");
        }
        let state = if away { PeerState::Away } else { PeerState::On };
        self.answer(id, seq, &msg::FindAnswer { epoch, state: state as u8 });
    }

    /// The live session of a user in the project of `of`: its id, epoch, and whether it is away.
    pub(super) fn look_up(&self, of: SessionId, user: &str) -> Option<(SessionId, u64, bool)> {
        let project = self.projects.get(&self.sessions.get(&of)?.project)?;
        let id = *project.session_by_user.get(user)?;
        let session = self.sessions.get(&id)?;
        Some((id, session.epoch, session.command.is_none()))
    }

    /// Joins two sessions; `false` when one of them has too many correspondents.
    pub(super) fn join(&mut self, one: SessionId, other: SessionId) -> bool {
        let room = |id: SessionId, with: SessionId| {
            self.sessions.get(&id).is_some_and(|it| it.peers.len() < MAX_CORRESPONDENTS || it.peers.contains_key(&with))
        };
        if !room(one, other) || !room(other, one) {
            return false;
        }
        let joined = Joined { at: self.now.at, number: self.next_id() };
        for (id, with) in [(one, other), (other, one)] {
            if let Some(session) = self.sessions.get_mut(&id) {
                session.peers.entry(with).or_insert(joined);
            }
        }
        true
    }

    /// Whether users of an earlier run of the relay may still come back.
    pub(super) fn starting(&self) -> bool {
        self.now.at < self.settings.startup_grace
    }

    /// Remembers that a session of an earlier run wants to hear of a user who may still come back from it, too. For a
    /// session that is new with this run, who is not there is not there.
    pub(super) fn ask_later(&mut self, session: SessionId, user: &str, epoch: u64) -> bool {
        let adopted = self.sessions.get(&session).is_some_and(|it| it.adopted);
        if !self.starting() || !adopted || !is_user_id(user) {
            return false;
        }
        let Some(project) = self.sessions.get(&session).and_then(|it| self.projects.get_mut(&it.project)) else {
            return false;
        };
        let known = project.askers_by_user.get_mut(user).and_then(|askers| askers.get_mut(&session));
        if let Some(known) = known {
            *known = (*known).max(epoch);
            return true;
        }
        if self.asked >= MAX_ASKED {
            return false;
        }
        self.asked += 1;
        project.askers_by_user.entry(user.into()).or_default().insert(session, epoch);
        true
    }

    /// A user has logged in: those who asked for it hear of it.
    pub(super) fn came_back(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get(&id) else { return };
        let (user, epoch) = (session.user.clone(), session.epoch);
        let Some(project) = self.projects.get_mut(&session.project) else { return };
        let Some(askers) = project.askers_by_user.remove(&user) else { return };
        self.asked -= askers.len();
        for (asker, meant) in askers {
            if meant != 0 && meant != epoch {
                self.notice_of_end(asker, &user, meant, PeerState::Gone);
            }
            if self.sessions.contains_key(&asker) && self.join(asker, id) {
                self.notice(asker, id, PeerState::On, BOTH);
            }
        }
    }

    /// Users of an earlier run who have not come back are gone.
    pub(super) fn end_startup(&mut self) {
        let mut gone: Vec<(Arc<str>, BTreeMap<SessionId, u64>)> = Vec::new();
        for project in self.projects.values_mut() {
            gone.extend(std::mem::take(&mut project.askers_by_user));
        }
        self.asked = 0;
        for (user, askers) in gone {
            for (asker, epoch) in askers {
                self.notice_of_end(asker, &user, epoch, PeerState::Gone);
            }
        }
    }

    /// Tells a session about the state of a live one; one that is away hears of it when it resumes.
    pub(super) fn notice(&mut self, to: SessionId, about: SessionId, state: PeerState, class: u8) {
        let Some(session) = self.sessions.get(&about) else { return };
        let news = msg::Peer { user: (*session.user).to_owned(), epoch: session.epoch, state: state as u8, class };
        match self.sessions.get_mut(&to) {
            Some(session) if session.command.is_none() => {
                session.missed.insert(about);
            }
            Some(_) => self.tell(to, &news),
            None => {}
        }
    }

    pub(super) fn notice_of_end(&mut self, to: SessionId, user: &Arc<str>, epoch: u64, state: PeerState) {
        match self.sessions.get_mut(&to) {
            Some(session) if session.command.is_none() => {
                session.missed_ends.push((user.clone(), epoch, state));
            }
            Some(_) => {
                let user = (**user).to_owned();
                self.tell(to, &msg::Peer { user, epoch, state: state as u8, class: BOTH });
            }
            None => {}
        }
    }

    pub(super) fn tell_what_was_missed(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let missed = std::mem::take(&mut session.missed);
        for (user, epoch, state) in std::mem::take(&mut session.missed_ends) {
            self.notice_of_end(id, &user, epoch, state);
        }
        for about in missed {
            let away = self.sessions.get(&about).is_some_and(|session| session.command.is_none());
            self.notice(id, about, if away { PeerState::Away } else { PeerState::On }, BOTH);
        }
    }

    pub(super) fn tell_peers(&mut self, about: SessionId, state: PeerState, class: u8) {
        let peers: Vec<_> = self.sessions.get(&about).into_iter().flat_map(|it| it.peers.keys().copied()).collect();
        // A session that is its own peer knows its own state.
        for peer in peers.into_iter().filter(|peer| *peer != about || class == CLASS_BULK) {
            self.notice(peer, about, state, class);
        }
    }

    pub(super) fn tell_peers_of_end(&mut self, id: SessionId, ended: &Session, state: PeerState) {
        for (peer, joined) in &ended.peers {
            let Some(session) = self.sessions.get_mut(peer) else { continue };
            let heard_all = !session.unheard.contains(&id);
            session.forget(id);
            // Only over two links that have been whole all the time has the peer got every answer.
            let whole = |session: &Session| session.command.is_some_and(|link| link < joined.number);
            // What the two had to do with each other before the relay was restarted is not known.
            let know_all = !(ended.adopted && session.adopted);
            let certain = heard_all && know_all && whole(ended) && whole(session);
            let state = if state == PeerState::Left && !certain { PeerState::Gone } else { state };
            // One that was joined while the peer was away never meant anything to it.
            let unknown = session.away_since.is_some_and(|since| joined.at > since);
            if !unknown {
                self.notice_of_end(*peer, &ended.user, ended.epoch, state);
            }
        }
    }

    pub(super) fn users(&mut self, id: ConnectionId, session: SessionId, seq: u32, quest: &msg::Users) {
        let Some(project) = self.sessions.get(&session).and_then(|it| self.projects.get(&it.project)) else { return };
        let after = quest.after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let answer = match &quest.user {
            Some(user) => {
                let user = project.online.get(user.as_str()).map(|user| (**user).to_owned());
                msg::UsersAnswer { users: user.into_iter().collect(), more: false }
            }
            None => {
                let mut names = project.online.range::<str, _>((after, Bound::Unbounded));
                let users = names.by_ref().take(USERS_PAGE).map(|user| (**user).to_owned()).collect();
                msg::UsersAnswer { users, more: names.next().is_some() }
            }
        };
        self.answer(id, seq, &answer);
    }

    pub(super) fn watch(&mut self, id: ConnectionId, session_id: SessionId, seq: u32, watch: &msg::Watch) {
        let Some(session) = self.sessions.get(&session_id) else { return };
        if let Some(project) = self.projects.get_mut(&session.project) {
            match watch.on {
                true => project.watchers.insert(session_id),
                false => project.watchers.remove(&session_id),
            };
        }
        self.answer(id, seq, &msg::Empty {});
    }

    /// Puts a name on the list of users or takes it off, and tells the watchers if that changes it.
    pub(super) fn set_online(&mut self, project_id: i64, user: &Arc<str>, online: bool) {
        let Some(project) = self.projects.get_mut(&project_id) else { return };
        let changed = if online { project.online.insert(user.clone()) } else { project.online.remove(user) };
        if !changed {
            return;
        }
        let session = project.session_by_user.get(user).filter(|_| online);
        let connection = session.and_then(|session| self.sessions.get(session)?.command);
        self.servers.note(Presence { project: project_id, user: user.clone(), online, connection });
        let watchers: Vec<_> = project.watchers.iter().copied().collect();
        let status = msg::Status { user: (**user).to_owned(), state: u8::from(online) };
        for watcher in watchers {
            self.tell(watcher, &status);
        }
    }
}
