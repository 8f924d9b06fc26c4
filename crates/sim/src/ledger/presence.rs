//! Logins, links, and what sessions hear of other users.

use std::time::Duration;

use crvideo_proto::code;

use super::Ledger;

/// So many attempts to come back take longer than this, because the pauses between them grow.
const MANY_ATTEMPTS: u32 = 14;

const MANY_ATTEMPTS_IN: Duration = Duration::from_secs(12);

impl Ledger {
    pub(crate) fn asked(&mut self, party: usize, what: &'static str, cookie: usize) {
        self.questions.insert((party, what, cookie));
    }

    /// A login whose credential is bad: with which code it must fail.
    pub(crate) fn login_must_fail(&mut self, cookie: usize, err: i32) {
        self.refusal_by_cookie.insert(cookie, err);
    }

    /// An operator ends the session of a party's user.
    pub(crate) fn operator_ends(&mut self, party: usize) {
        self.operated.insert(party);
    }

    /// Whether an operator may have revoked the token of a party.
    pub(crate) fn may_be_revoked(&self, party: usize) -> bool {
        self.operated.contains(&party)
    }

    /// A session tries to make its connection to the relay. It must not do so all the time.
    pub(crate) fn tries_to_connect(&mut self, party: usize, now: Duration) {
        let (count, since) = self.attempts.entry(party).or_insert((0, now));
        *count += 1;
        let (count, time) = (*count, now - *since);
        if count > MANY_ATTEMPTS && time < MANY_ATTEMPTS_IN {
            self.violated(format!("party {party} has tried to connect {count} times within {time:?}"));
        }
    }

    /// With which code a party has lost its line last.
    pub(crate) fn last_line_off(&self, party: usize) -> Option<i32> {
        self.last_line_off.get(&party).map(|(err, _)| *err)
    }

    /// A question about users whose answer is known, because nobody comes or goes.
    pub(crate) fn asked_for_users(&mut self, party: usize, cookie: usize, expected: Vec<String>) {
        self.asked(party, "users", cookie);
        self.users_by_cookie.insert(cookie, expected);
    }

    pub(crate) fn watch_called(&mut self, party: usize, cookie: usize, on: bool) {
        self.asked(party, "watch", cookie);
        self.watch_by_cookie.insert(cookie, on);
    }

    /// Somebody has gone, and those who watch must have heard it.
    pub(crate) fn must_know_gone(&mut self, watcher: usize, user: &str) {
        let knows = self.statuses.get(&(watcher, user.to_owned())) == Some(&false);
        if self.watches.get(&watcher) == Some(&true) && !knows && !self.boxes {
            self.violated(format!("party {watcher} watches and has not heard that {user} is gone"));
        }
    }

    /// A party has logged out, or is destroyed.
    pub(crate) fn watches_no_more(&mut self, party: usize) {
        self.watches.remove(&party);
        self.forget_statuses(party);
    }

    /// Everybody is there and has been for a while: nobody may believe that somebody is gone.
    pub(crate) fn must_know_all_are_there(&mut self) {
        let wrong = self.statuses.iter().find(|((watcher, _), on)| self.watches.get(watcher) == Some(&true) && !**on);
        if let Some((watcher, user)) = wrong.filter(|_| !self.boxes).map(|(key, _)| key.clone()) {
            self.violated(format!("party {watcher} watches and has not heard that {user} is back"));
        }
    }

    /// A login has come to its end.
    pub(super) fn login_ended(&mut self, party: usize, err: i32, cookie: usize) {
        self.line_off.remove(&party);
        *self.spells.entry(party).or_default() += 1;
        self.attempts.remove(&party);
        self.forget_statuses(party);
        self.watches.insert(party, false);
        self.answered(party, "login", cookie);
        self.saw_times("logins with", Some(err), 1);
        let due = self.refusal_by_cookie.remove(&cookie);
        let by_credential = [
            code::NOERR,
            code::ANCTPSWD_ERR,
            code::TOKEN_AUTHINFOERR,
            code::TOKEN_APPIDNOTEXIST,
            code::TOKEN_AUTH_FAILED,
            code::TOKEN_NOTTOKENTYPE,
        ];
        let wrong = match due {
            Some(due) => err != due && (by_credential.contains(&err) || err == code::TOKEN_TIMEOUT),
            None => err != code::NOERR && by_credential.contains(&err),
        };
        if wrong {
            self.violated(format!("the login of party {party} ended with {err}; its credential is due {due:?}"));
        }
    }

    pub(super) fn forget_statuses(&mut self, party: usize) {
        self.statuses.retain(|(watcher, _), _| *watcher != party);
    }

    pub(super) fn users_are(&mut self, party: usize, err: i32, users: &[String], cookie: usize) {
        self.answered(party, "users", cookie);
        if !users.is_sorted_by(|one, next| one < next) {
            self.violated(format!("the users that party {party} hears of do not ascend: {users:?}"));
        }
        let Some(expected) = self.users_by_cookie.remove(&cookie) else { return };
        if err == code::NOERR && users != expected {
            self.violated(format!("party {party} hears that {users:?} are there, and there are {expected:?}"));
        }
    }

    pub(super) fn watch_ended(&mut self, party: usize, err: i32, cookie: usize) {
        let Some(on) = self.watch_by_cookie.remove(&cookie) else { return };
        self.forget_statuses(party);
        match err {
            code::NOERR => self.watches.insert(party, on),
            // The relay may have heard it all the same.
            _ => self.watches.remove(&party),
        };
    }

    pub(super) fn status_is(&mut self, party: usize, user: &str, online: bool) {
        self.saw("status news");
        let before = self.statuses.insert((party, user.to_owned()), online);
        if before == Some(online) && !self.boxes {
            self.violated(format!("party {party} hears twice in a row that {user} is there: {online}"));
        }
        // Who has not had the answer to a call may or may not watch.
        let unasked = self.watches.get(&party) == Some(&false) && self.watch_by_cookie.is_empty();
        if unasked && !self.boxes {
            self.violated(format!("party {party} hears of {user} and does not watch"));
        }
    }

    pub(super) fn answered(&mut self, party: usize, what: &'static str, cookie: usize) {
        if !self.questions.remove(&(party, what, cookie)) {
            self.violated(format!("I1: a {what} result to party {party} that nobody waits for"));
        }
    }
}
