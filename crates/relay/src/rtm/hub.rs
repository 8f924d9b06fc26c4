//! Who listens, and who is reached by a message.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use crvideo_proto::rtm::code;
use crvideo_proto::rtm::number_of;
use crvideo_proto::rtm::params::Fields;

use super::courier::Courier;
use super::files::Deliver;
use super::listening::Listening;
use super::outbox::Outbox;
use super::push::Push;
use super::rooms::Rooms;
use super::{Message, Refusal, Target};
use crate::core::Presence;
use crate::store::{Directory, Draft, Group, Kind, Later, Messages};

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
    /// Where users who are online have logged in from.
    endpoint_by_user: BTreeMap<i64, String>,
}

/// Who listens, and who is reached. The relay has one.
pub(crate) struct Hub {
    projects: Mutex<BTreeMap<i64, Project>>,
    directory: Arc<dyn Directory>,
    messages: Messages,
    courier: Arc<Courier>,
}

impl Deliver for Hub {
    fn deliver(&self, message: Message) -> Later<'_, Result<(), Refusal>> {
        Box::pin(self.send(message))
    }
}

impl Hub {
    pub(super) fn new(directory: Arc<dyn Directory>, messages: Messages, courier: Arc<Courier>) -> Self {
        Self { projects: Mutex::default(), directory, messages, courier }
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

    /// Pings every connection that listens.
    pub(super) fn ping(&self) {
        let nothing = Fields::new().finish();
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
        let users: Vec<i64> = drafts.iter().flat_map(|(_, users)| users.iter().map(|(user, _)| *user)).collect();
        // Whoever hears of success may count on it: what is stored is delivered, also after a crash.
        self.messages.put(drafts).await?;
        self.push_to_listeners(&message);
        for user in users {
            self.courier.look(message.project, user);
        }
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
        // Whoever sends to many does not mean himself.
        let others =
            |users: Vec<i64>| users.into_iter().filter(|user| *user != message.from).map(|it| (it, 0)).collect();
        Ok(match &message.target {
            Target::User(user) => vec![(draft(Kind::User, *user), vec![(*user, 0)])],
            Target::Users(users) => users.iter().map(|user| (draft(Kind::User, *user), vec![(*user, 0)])).collect(),
            Target::Group(id) => {
                let members = self.directory.members(Group { project: message.project, id: *id }).await?;
                if members.is_empty() {
                    return Err(Refusal::new(code::GROUP_EMPTY, format!("group {id} has no members")));
                }
                vec![(draft(Kind::Group, *id), others(members))]
            }
            Target::Room(room) => {
                let mut members = self.rooms(message.project, |rooms| rooms.members(*room));
                members.retain(|user| self.courier.is_there(message.project, *user));
                vec![(draft(Kind::Room, *room), others(members))]
            }
            Target::Everyone => vec![(draft(Kind::Everyone, 0), others(self.online(message.project)))],
        })
    }

    /// Who is online, as far as the name is a number.
    fn online(&self, project: i64) -> Vec<i64> {
        let projects = self.lock();
        projects.get(&project).map(|it| it.endpoint_by_user.keys().copied().collect()).unwrap_or_default()
    }

    /// Servers hear of what is sent to the users, groups and rooms that they listen to, and nothing of what is sent to
    /// everybody: a server has no push for it.
    fn push_to_listeners(&self, message: &Message) {
        let Some(push) = Push::of(message) else { return };
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

    /// A user of the core has come or gone: servers that listen to events hear of those whose names are numbers.
    pub(super) fn on_presence(&self, presence: &Presence, from: Option<SocketAddr>, now_s: i64) {
        let Some(user) = number_of(&presence.user) else { return };
        let mut projects = self.lock();
        let project = projects.entry(presence.project).or_default();
        let (event, endpoint) = if presence.online {
            let endpoint = from.map(|from| from.to_string()).unwrap_or_default();
            project.endpoint_by_user.insert(user, endpoint.clone());
            ("login", endpoint)
        } else {
            ("logout", project.endpoint_by_user.remove(&user).unwrap_or_default())
        };
        let payload = event_payload(presence.project, event, user, now_s, &endpoint);
        for listener in project.listeners.values().filter(|listener| listener.listening.hears(event)) {
            listener.out.quest("pushevent", &[], &payload);
        }
    }
}

fn event_payload(project: i64, event: &str, user: i64, now_s: i64, endpoint: &str) -> Bytes {
    let fields = Fields::new().int("pid", project).text("event", event).int("uid", user).int("time", now_s);
    fields.text("endpoint", endpoint).finish()
}
