//! Who may come back as whom: the epochs of `docs/wire.md`, section 2.2.

use std::time::Duration;

use crvideo_proto::code;
use crvideo_proto::message as msg;

use super::desk::{Client, Desk, RESUME_WINDOW, Verdict, must};
use crate::plan::PROJECTS;

const HOUR_MICROS: i64 = 3_600_000_000;

pub(super) fn run() -> Verdict {
    let (alice, other) = logins()?;
    for first_is_later in [false, true] {
        restart(&alice, &other, first_is_later)?;
    }
    after_the_end(&alice, &other)?;
    kicked_out()?;
    tokens()
}

/// Two devices of one user.
fn logins() -> Result<(Client, Client), String> {
    let mut desk = Desk::new(0, 0);
    let mut one = desk.login("alice", 1)?;
    desk.cut(one.link);
    desk.resume(&mut one)?;
    // The same session has had an earlier epoch, and its login of then comes late.
    desk.must_be_superseded(&Client { epoch: one.epoch - 1, ..one.clone() }, "an earlier epoch of the same session")?;
    desk.must_be_superseded(&Client { name: [9; 16], ..one.clone() }, "the epoch of another session")?;
    let other = desk.login("alice", 2)?;
    must(other.epoch > one.epoch, || format!("epochs fall: {} after {}", other.epoch, one.epoch))?;
    let byes: Vec<i64> = desk.got::<msg::Bye>(one.link).iter().map(|bye| bye.code).collect();
    must(byes == [i64::from(code::KICKOUT_BY_RELOGIN)], || format!("who is superseded hears {byes:?}"))?;
    desk.must_be_superseded(&one, "somebody has logged in since")?;
    desk.logout(&other)?;
    desk.must_be_superseded(&one, "somebody had logged in since and is gone")?;
    let anew = desk.must_be_new(&other, "it has logged out")?;
    must(anew.epoch > other.epoch, || "an epoch is given twice".to_owned())?;
    desk.cut(anew.link);
    desk.pass(RESUME_WINDOW * 2);
    desk.must_be_new(&anew, "its resume window is over")?;
    Ok((one, other))
}

/// The relay has started again, its clock a little back, and both come back.
fn restart(earlier: &Client, later: &Client, later_first: bool) -> Verdict {
    let mut desk = Desk::new(-HOUR_MICROS / 2, 0);
    let mut later = later.clone();
    if later_first {
        desk.resume(&mut later)?;
    } else {
        let mut earlier = earlier.clone();
        desk.resume(&mut earlier)?;
        desk.resume(&mut later)?;
        let byes = desk.got::<msg::Bye>(earlier.link).len();
        must(byes == 1, || format!("who is superseded after a restart hears {byes} farewells"))?;
    }
    desk.must_be_superseded(earlier, "the later of two logins has come back after a restart")?;
    desk.cut(later.link);
    desk.resume(&mut later)?;
    let bob = desk.login("bob", 3)?;
    must(bob.epoch > later.epoch, || "a new epoch is below one of an earlier run of the relay".to_owned())?;
    let invented = Client { user: "carol", epoch: bob.epoch + 3 * HOUR_MICROS as u64, ..bob };
    desk.must_be_new(&invented, "no relay can have given this epoch").map(|_| ())
}

/// After a restart, an epoch ends again.
fn after_the_end(earlier: &Client, later: &Client) -> Verdict {
    let mut desk = Desk::new(0, 0);
    let mut later = later.clone();
    desk.resume(&mut later)?;
    desk.logout(&later)?;
    desk.must_be_superseded(earlier, "the later of two logins came back after a restart, and went")?;
    desk.must_be_new(&later, "it has logged out after a restart").map(|_| ())
}

/// Who is kicked out, by an operator or a server, does not come back by himself, also where his link is lost just then.
fn kicked_out() -> Verdict {
    let mut desk = Desk::new(0, 0);
    let one = desk.login("alice", 1)?;
    desk.cut(one.link);
    must(desk.core.kick_out(PROJECTS[0].id, "alice", desk.now), || "nobody is there to be kicked out".to_owned())?;
    desk.must_be_superseded(&one, "it has been kicked out while its link was lost")?;
    desk.login("alice", 1).map(|_| ())
}

/// A session ends with its token, and not before, also when it has come back.
fn tokens() -> Verdict {
    let mut desk = Desk::new(0, 0);
    let lasts = 100;
    let (client, _) = desk.enter("alice", [1; 16], 0, lasts)?;
    desk.pass(Duration::from_secs(lasts));
    must(!desk.is_closed(client.link), || "a session ended before its token".to_owned())?;
    desk.pass(Duration::from_secs(lasts));
    let byes: Vec<i64> = desk.got::<msg::Bye>(client.link).iter().map(|bye| bye.code).collect();
    must(byes == [i64::from(code::TOKEN_TIMEOUT)], || format!("who outlives his token hears {byes:?}"))
}
