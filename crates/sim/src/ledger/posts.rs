//! Messages that servers send.

use std::collections::BTreeSet;

use bytes::Bytes;
use crvideo_proto::id::TaskId;

use super::{Ledger, Post};

impl Ledger {
    pub(crate) fn posted(&mut self, id: TaskId, project: i64, user: &'static str, data: Bytes) {
        self.saw("RTM messages");
        self.posts.insert(id, Post { project, user, data, seen_by: BTreeSet::new(), handled: false, got: false });
    }

    pub(super) fn rtm_came(&mut self, party: usize, user: (i64, &str), id: TaskId, data: &[u8]) {
        let Some(post) = self.posts.get_mut(&id) else {
            return self.violated(format!("party {party} hears RTM message {id:?}, which nobody sent"));
        };
        let again = !post.seen_by.insert(party);
        if again || (post.project, post.user) != user || post.data != data {
            self.violated(format!(
                "RTM message {id:?} came to party {party} of {user:?} (again: {again}) or with other content"
            ));
        }
    }

    pub(crate) fn rtm_handled(&mut self, id: TaskId) {
        if let Some(post) = self.posts.get_mut(&id) {
            post.handled = true;
        }
    }

    /// A session says that its application has handled a message.
    pub(crate) fn got(&mut self, id: TaskId, project: i64, user: &str) {
        let Some(post) = self.posts.get_mut(&id).filter(|it| (it.project, it.user) == (project, user)) else {
            return self.violated(format!("{user} of {project} confirms RTM message {id:?}, which nobody sent to him"));
        };
        post.got = true;
        if post.seen_by.is_empty() || !post.handled {
            self.violated(format!("RTM message {id:?} is confirmed, and nobody has handled it"));
        }
    }

    /// Whether every message has come to its user.
    pub(crate) fn all_got(&self) -> bool {
        self.posts.values().all(|post| post.got)
    }
}
