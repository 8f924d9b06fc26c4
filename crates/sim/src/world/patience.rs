//! Tokens and heart-beats: what must have happened by when.

use std::time::Duration;

use crvideo_proto::session::Conn;

use super::{START_MICROS, Way, World};
use crate::party::Stage;

/// How long before its use a token was made that does not last long, in seconds.
const TOKEN_AGE_S: u64 = 55;

impl World {
    /// A token for a party: one that does not last long, or, when all is healed, one that does.
    pub(crate) fn short_token(&mut self, party: usize) -> String {
        // The relay's tolerance lets a token live on for a minute after its time.
        let life = if self.healed { 100_000 } else { self.rng.between(5, 120) };
        let start = START_MICROS / 1_000_000;
        let expires = (start + self.now.as_secs() + life - TOKEN_AGE_S).max(start);
        let it = &mut self.parties[party];
        let lasts = Duration::from_secs(expires - start);
        it.latest_expires = Some(lasts);
        it.first_expires = Some(it.first_expires.map_or(lasts, |old| old.min(lasts)));
        it.expires = Some(it.expires.map_or(lasts, |old| old.max(lasts)));
        crvideo_proto::token::mint(it.project.id, it.user, expires, it.project.secret)
    }

    pub(super) fn renew(&mut self, party: usize) {
        if !self.parties[party].is_in() || self.parties[party].expires.is_none() {
            return;
        }
        if self.healed || self.parties[party].renews {
            let token = self.short_token(party);
            self.trace.note(14, party as u64, 0, || format!("party {party} renews its token"));
            self.parties[party].session.update_token(token);
            self.touch(party);
        }
    }

    /// A session ends because of its token only when that has run out.
    pub(super) fn token_was_refused(&mut self, party: usize) {
        let tolerance = Duration::from_secs(crvideo_proto::token::CLOCK_TOLERANCE_S);
        if self.ledger.may_be_revoked(party) {
            return;
        }
        // Who comes back shows the latest token. Over a link that stands, it may be on its way.
        let it = &self.parties[party];
        let shown = if self.ledger.is_line_off(party) { it.latest_expires } else { it.first_expires };
        let lasts = shown.map(|expires| expires.saturating_add(tolerance));
        // Seconds are counted in whole ones.
        if lasts.is_none_or(|lasts| self.now + Duration::from_secs(1) < lasts) {
            self.ledger.violated(format!("the session of party {party} ended with 18, and its token is good"));
        }
    }

    /// A session must not outlive its token by more than the tolerance.
    pub(crate) fn check_tokens(&mut self) {
        // Over a link that is frozen or broken the session cannot hear of its end.
        let it = &self.plan.weights;
        if it.cut + it.freeze + it.relay > 0 {
            return;
        }
        let grace = Duration::from_secs(crvideo_proto::token::CLOCK_TOLERANCE_S + 10);
        let overdue = self
            .parties
            .iter()
            .position(|it| it.is_in() && !it.destroyed && it.expires.is_some_and(|expires| expires + grace < self.now));
        if let Some(party) = overdue.filter(|party| !self.ledger.is_line_off(*party)) {
            self.ledger.violated(format!("the session of party {party} outlives its token"));
        }
    }

    pub(super) fn must_be_noticed(&mut self, link: u64, way: Way) {
        let Some(line) = self.links.get(&link) else { return };
        let (party, conn) = (line.party, line.conn);
        let pipe = if way == Way::Up { &line.up } else { &line.down };
        if !pipe.swallows() || conn != Conn::Command {
            return;
        }
        let unnoticed = match way {
            // A relay that stops closes all its connections, and looks at none of them any more.
            Way::Up => {
                let hub = self.hub.as_ref().filter(|hub| !hub.stopping);
                line.hub.is_some_and(|id| hub.is_some_and(|hub| hub.core.serves(id)))
            }
            Way::Down => {
                let here = self.parties[party].wired[0].is_some_and(|it| it.link == link && it.open && !it.given_up);
                here && self.parties[party].stage == Stage::In && !self.ledger.is_line_off(party)
            }
        };
        if unnoticed {
            let end = if way == Way::Up { "relay" } else { "client" };
            self.ledger.violated(format!("the {end} has not noticed in time that connection {link} is dead"));
        }
    }

    pub(super) fn must_be_closed(&mut self, link: u64) {
        let Some(line) = self.links.get(&link).filter(|line| line.up.swallows()) else { return };
        let hub = self.hub.as_ref().filter(|hub| !hub.stopping);
        if line.hub.is_some_and(|id| hub.is_some_and(|hub| hub.core.is_open(id))) {
            self.ledger.violated(format!("the relay has not closed in time connection {link}, which is dead"));
        }
    }
}
