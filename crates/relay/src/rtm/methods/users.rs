//! Tokens, who is online, kicking out.

use crvideo_proto::rtm::code;
use crvideo_proto::rtm::params::Fields;
use crvideo_proto::token;

use super::{Call, Outcome};
use crate::rtm::Refusal;
use crate::rtm::online::User;
use crate::store::Revoked;

/// Users in one question for who is online.
const MAX_ASKED: usize = 200;
/// Users of a project whose tokens were revoked.
const MAX_REVOCATIONS: usize = 1_000_000;

/// `gettoken`: a token like those that a backend can make by itself.
pub(super) fn get_token(call: &Call<'_>) -> Outcome {
    let user = call.params.int::<i64>("uid")?.to_string();
    let issued = call.gate.core.with(None, |core, now| core.issue_time(call.project, &user, now));
    let expires = issued.saturating_add(call.gate.config.token_life.as_secs());
    let secret = call.gate.secrets.first(call.project).unwrap_or_default();
    let token = token::issue(call.project, &user, issued, expires, secret);
    Ok(Fields::new().text("token", &token))
}

/// `removetoken`: every token of the user that was made so far is void, whoever has made it.
pub(super) async fn remove_token(call: &Call<'_>) -> Outcome {
    let project = call.project;
    let user = call.params.int::<i64>("uid")?.to_string();
    // The core goes first: should the disk fail, the error that is answered has left nothing open.
    let until = call.gate.core.with(None, |core, now| {
        let room = core.revocations(project) < MAX_REVOCATIONS;
        room.then(|| core.revoke(project, &user, now))
    });
    let Some(until) = until else {
        let text = format!("the tokens of more than {MAX_REVOCATIONS} users would be revoked");
        return Err(Refusal::new(code::TOO_MANY, text));
    };
    call.gate.directory.revoke(Revoked { project, user, until }).await?;
    Ok(Fields::new())
}

/// `kickout`: ends the user's session and his RTM connection, if there are any.
pub(super) fn kick_out(call: &Call<'_>) -> Outcome {
    let id: i64 = call.params.int("uid")?;
    call.gate.core.with(None, |core, now| core.kick_out(call.project, &id.to_string(), now));
    call.gate.hub.kick_out(User { project: call.project, id });
    Ok(Fields::new())
}

/// `getonlineusers`: those of the users who are online, in any dialect.
pub(super) fn online(call: &Call<'_>) -> Outcome {
    let users = call.gate.hub.online().dialects_of(call.project, call.params.ints("uids", MAX_ASKED)?);
    let online: Vec<i64> = users.into_iter().filter(|(_, by)| *by != 0).map(|(user, _)| user).collect();
    Ok(Fields::new().ints("uids", &online))
}
