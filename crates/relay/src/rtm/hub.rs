//! Who listens, and who is reached by a message.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use crvideo_proto::rtm::params::Fields;
use crvideo_proto::rtm::{code, number_of, one_way};
use tokio::runtime::Handle;
use tracing::warn;

use super::carrier::{Carrier, Flight};
use super::courier::Courier;
use super::files::Deliver;
use super::listening::Listening;
use super::methods::now_s;
use super::online::{EndUser, Online, User};
use super::outbox::Outbox;
use super::push::Push;
use super::rooms::Rooms;
use super::{Message, Refusal, Target};
use crate::core::Presence;
use crate::guard::{Budget, hold};
use crate::shared::unix_micros;
use crate::store::{CR, Directory, Draft, Group, Kind, Later, Messages};

/// Names a connection of the RTM dialect.
pub(super) type LinkId = u64;

/// How a server's connection is to listen from now on.
pub(super) enum Listen {
    /// To this, too.
    Add(Listening),
    /// To this no longer.
    Remove(Listening),
    /// To this alone.
    Set(Listening),
}

#[derive(Clone)]
struct Listener {
    out: Arc<Outbox>,
    listening: Arc<Listening>,
}

/// What is kept of one project.
#[derive(Default)]
struct Project {
    listeners: BTreeMap<LinkId, Listener>,
    rooms: Rooms,
}

impl Project {
    /// A user has come or gone: servers that listen to events hear of it.
    fn tell_event(&self, user: User, event: &str, endpoint: &str) {
        let mut payload = None;
        for listener in self.listeners.values().filter(|listener| listener.listening.hears(event)) {
            let make = || listener.out.hold(event_payload(user.project, event, user.id, now_s(), endpoint));
            listener.out.quest("pushevent", &[], payload.get_or_insert_with(make));
        }
    }
}

/// Who listens, and who is reached. The relay has one.
pub(crate) struct Hub {
    projects: Mutex<BTreeMap<i64, Project>>,
    directory: Arc<dyn Directory>,
    messages: Messages,
    courier: Arc<Courier>,
    online: Arc<Online>,
    /// What payloads are charged to that many are pushed.
    outboxes: Arc<Budget>,
    /// Presence is told on threads that may be none of the runtime's.
    runtime: Handle,
}

impl Deliver for Hub {
    fn deliver(&self, message: Message) -> Later<'_, Result<(), Refusal>> {
        Box::pin(self.send(message))
    }
}

impl Hub {
    pub(super) fn new(
        directory: Arc<dyn Directory>,
        messages: Messages,
        courier: Arc<Courier>,
        online: Arc<Online>,
        outboxes: Arc<Budget>,
    ) -> Self {
        Self { projects: Mutex::default(), directory, messages, courier, online, outboxes, runtime: Handle::current() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<i64, Project>> {
        // A panic in one connection's task must not end all others.
        self.projects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what a connection listens to in a project; returns whether it listens to anything.
    pub(super) fn listen(&self, project: i64, link: LinkId, out: &Arc<Outbox>, how: Listen) -> Result<bool, Refusal> {
        let mut projects = self.lock();
        let listeners = &mut projects.entry(project).or_default().listeners;
        let listener =
            listeners.entry(link).or_insert_with(|| Listener { out: out.clone(), listening: Arc::default() });
        let done = match how {
            Listen::Add(more) => Arc::make_mut(&mut listener.listening).add(more),
            Listen::Remove(less) => {
                Arc::make_mut(&mut listener.listening).remove(&less);
                Ok(())
            }
            Listen::Set(listening) => {
                listener.listening = Arc::new(listening);
                Ok(())
            }
        };
        let listens = !listener.listening.is_empty();
        if !listens {
            listeners.remove(&link);
        }
        done.map(|()| listens)
    }

    /// What has been sent.
    pub(super) fn messages(&self) -> &Messages {
        &self.messages
    }

    /// A connection has ended, and with it its listening.
    pub(super) fn forget(&self, link: LinkId) {
        for project in self.lock().values_mut() {
            project.listeners.remove(&link);
        }
    }

    /// Pings every connection that listens, and every user.
    pub(super) fn ping(&self) {
        let nothing = hold(&self.outboxes, Fields::new().finish());
        for end_user in self.online.all_end_users().iter().filter(|it| it.flight.is_open()) {
            end_user.out.quest("ping", &[], &nothing);
        }
        for listener in self.lock().values().flat_map(|project| project.listeners.values()) {
            listener.out.quest("ping", &[], &nothing);
        }
    }

    /// Runs `work` on a project's rooms.
    pub(super) fn rooms<R>(&self, project: i64, work: impl FnOnce(&mut Rooms) -> R) -> R {
        work(&mut self.lock().entry(project).or_default().rooms)
    }

    /// Sends a message to all whom it reaches. Servers may send as anybody, members or not.
    pub(crate) async fn send(&self, mut message: Message) -> Result<(), Refusal> {
        if let Target::Users(users) = &mut message.target {
            // Whoever is named twice is meant once.
            let mut seen = HashSet::with_capacity(users.len());
            users.retain(|user| seen.insert(*user));
        }
        let drafts = self.drafts(&message).await?;
        let there = drafts.iter().flat_map(|(_, users)| users);
        // Those who are there with our own dialect alone are the courier's.
        let there: Vec<(i64, u8)> = there.filter(|(_, by)| *by != CR || message.watch.is_some()).copied().collect();
        let courier = self.courier.clone();
        // Whoever hears of success may count on it: what is stored is delivered, also after a crash.
        let gone = self.messages.put_then(drafts, message.watch, move |sent| courier.send(sent)).await?;
        self.push_to_listeners(&message);
        if message.watch.is_some() {
            // Who has gone while it was stored was held for present.
            for (id, _) in there.iter().filter(|(_, by)| *by != 0) {
                let user = User { project: message.project, id: *id };
                if self.online.dialects(user) == 0 {
                    self.is_away(user);
                }
            }
        }
        let users: Vec<i64> = there.into_iter().map(|(user, _)| user).collect();
        for end_user in self.online.end_users(message.project, &users) {
            end_user.flight.look();
        }
        // A sender who is faster than the courier waits here.
        let _ = gone.await;
        Ok(())
    }

    /// What is to be stored of a message, and for whom. Users and members of groups get it at their next login at the
    /// latest; what is sent to a room or to everybody is for those who are there.
    async fn drafts(&self, message: &Message) -> Result<Vec<(Draft, Vec<(i64, u8)>)>, Refusal> {
        let draft = |kind, place| Draft {
            project: message.project,
            kind,
            place,
            from: message.from,
            mid: message.mid,
            mtype: message.mtype,
            mtime: message.mtime,
            body: message.body.clone(),
            attrs: message.attrs.clone(),
            blob: message.blob.clone(),
        };
        let project = message.project;
        let with_dialects = |users: Vec<i64>| self.online.dialects_of(project, users);
        // Whoever sends to many does not mean himself.
        let others = |mut users: Vec<(i64, u8)>| {
            users.retain(|(user, _)| *user != message.from);
            users
        };
        Ok(match &message.target {
            Target::User(user) => vec![(draft(Kind::User, *user), with_dialects(vec![*user]))],
            Target::Users(users) => {
                let users = with_dialects(users.clone());
                users.into_iter().map(|(user, by)| (draft(Kind::User, user), vec![(user, by)])).collect()
            }
            Target::Group(id) => {
                let members = self.directory.members(Group { project, id: *id }).await?;
                if members.is_empty() {
                    return Err(Refusal::new(code::GROUP_EMPTY, format!("group {id} has no members")));
                }
                vec![(draft(Kind::Group, *id), others(with_dialects(members)))]
            }
            Target::Room(room) => {
                let mut members = with_dialects(self.rooms(project, |rooms| rooms.members(*room)));
                members.retain(|(_, by)| *by != 0);
                vec![(draft(Kind::Room, *room), others(members))]
            }
            Target::Everyone => vec![(draft(Kind::Everyone, 0), others(self.online.all(project)))],
        })
    }

    /// Servers hear of what is sent to the users, groups and rooms that they listen to, and nothing of what is sent to
    /// everybody: a server has no push for it.
    fn push_to_listeners(&self, message: &Message) {
        let Some(push) = Push::of(message, &self.outboxes) else { return };
        // Ten thousand pushes to each take a while, in which others must not wait.
        let listeners = self.listeners(message.project);
        for Listener { out, listening } in &listeners {
            match &message.target {
                Target::User(user) => push.send(out, std::slice::from_ref(user), &listening.users),
                Target::Users(users) => push.send(out, users, &listening.users),
                Target::Group(group) => push.send(out, std::slice::from_ref(group), &listening.groups),
                Target::Room(room) => push.send(out, std::slice::from_ref(room), &listening.rooms),
                Target::Everyone => {}
            }
        }
    }

    fn listeners(&self, project: i64) -> Vec<Listener> {
        self.lock().get(&project).map(|project| project.listeners.values().cloned().collect()).unwrap_or_default()
    }

    /// A user of the core has come or gone. The core is locked, and must not be called.
    pub(super) fn on_presence(&self, presence: &Presence, from: Option<SocketAddr>) {
        let Some(id) = number_of(&presence.user) else { return };
        let user = User { project: presence.project, id };
        let mut projects = self.lock();
        let project = projects.entry(user.project).or_default();
        if presence.online {
            let endpoint = from.map(|from| from.to_string()).unwrap_or_default();
            if self.online.cr_has_come(user, endpoint.clone()) {
                project.tell_event(user, "login", &endpoint);
            }
        } else if let Some(endpoint) = self.online.cr_has_gone(user) {
            project.tell_event(user, "logout", &endpoint);
            self.is_away(user);
        }
        if !presence.online {
            self.courier.has_gone(user.project, user.id);
        }
        if let Some(end_user) = self.online.end_user(user).filter(|_| !presence.online) {
            end_user.flight.look_again();
        }
    }

    /// A user is not there any more, in no dialect: what was on its way to him is kept.
    fn is_away(&self, user: User) {
        let messages = self.messages.clone();
        self.runtime.spawn(async move {
            if let Err(error) = messages.away(user.project, user.id).await {
                warn!(user = user.id, %error, "senders cannot be told that messages wait for a user");
            }
        });
    }

    /// Who is online, in any dialect.
    pub(super) fn online(&self) -> &Online {
        &self.online
    }

    /// A user has logged in with RTM, and his earlier connection ends. Nothing is pushed before the flight is open.
    pub(super) fn log_in(
        &self,
        user: User,
        link: LinkId,
        out: &Arc<Outbox>,
        endpoint: String,
        token_id: Option<String>,
    ) -> Arc<Flight> {
        let flight = Arc::new(Flight::default());
        let since = unix_micros() / 1_000_000;
        let by =
            EndUser { link, out: out.clone(), flight: flight.clone(), endpoint: endpoint.clone(), since, token_id };
        let earlier = {
            let mut projects = self.lock();
            let project = projects.entry(user.project).or_default();
            let (earlier, first) = self.online.has_come(user, by);
            if earlier.is_some() {
                project.rooms.go(user.id);
            }
            if first {
                project.tell_event(user, "login", &endpoint);
            }
            earlier
        };
        if let Some(earlier) = earlier {
            end(&earlier);
        }
        let (messages, online) = (self.messages.clone(), self.online.clone());
        tokio::spawn(Carrier { flight: flight.clone(), out: out.clone(), messages, online, user }.run());
        flight
    }

    /// A user's connection has ended, or is about to.
    pub(super) fn log_out(&self, user: User, link: LinkId) {
        let gone = {
            let mut projects = self.lock();
            let project = projects.entry(user.project).or_default();
            let gone = self.online.has_gone(user, link);
            if let Some((gone, last)) = &gone {
                project.rooms.go(user.id);
                if *last {
                    project.tell_event(user, "logout", &gone.endpoint);
                }
            }
            gone
        };
        if let Some((gone, last)) = gone {
            gone.flight.close();
            if last {
                self.is_away(user);
            } else {
                self.courier.look_again(user.project, user.id);
            }
        }
    }

    /// Ends a user's RTM connection; `false` when there is none.
    pub(super) fn kick_out(&self, user: User) -> bool {
        let Some(end_user) = self.online.end_user(user) else { return false };
        end(&end_user);
        self.log_out(user, end_user.link);
        true
    }

    /// A server takes users out of a room: those who speak RTM are told.
    pub(super) fn kick_out_of_room(&self, project: i64, room: i64, users: &[i64]) {
        let left = self.rooms(project, |rooms| rooms.leave(room, users));
        let told = one_way("kickoutroom", Fields::new().int("rid", room));
        for end_user in self.online.end_users(project, &left) {
            end_user.out.frame(&told);
        }
    }
}

/// Tells a user that his connection ends, and ends it.
fn end(end_user: &EndUser) {
    end_user.out.frame(&one_way("kickout", Fields::new()));
    end_user.out.finish();
    end_user.flight.close();
}

fn event_payload(project: i64, event: &str, user: i64, now_s: i64, endpoint: &str) -> Bytes {
    let fields = Fields::new().int("pid", project).text("event", event).int("uid", user).int("time", now_s);
    fields.text("endpoint", endpoint).finish()
}
