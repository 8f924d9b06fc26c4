//! `filetoken`: leave to send a file, and where to.

use crvideo_proto::rtm::code;
use crvideo_proto::rtm::params::Fields;

use super::{Call, Outcome, some_users};
use crate::rtm::{Refusal, Target};

/// Answers with a token for one file, and the address of the file gate.
pub(super) async fn issue(call: &Call<'_>) -> Outcome {
    let from = call.actor("from")?;
    let target = target(call)?;
    match target {
        Target::User(_) => {}
        Target::Group(group) => call.check_group(group).await?,
        Target::Room(room) => call.check_room(room)?,
        Target::Users(_) | Target::Everyone if call.user.is_none() => {}
        Target::Users(_) | Target::Everyone => {
            let text = "users may send files to one user, a group or a room";
            return Err(Refusal::new(code::NO_PERMISSION, text));
        }
    }
    let endpoint = call.gate.file_endpoint(call.client.local)?;
    let token = call.gate.files.issue_token(call.project, from, &target, call.watch()?)?;
    let fields = Fields::new().text("token", &token).text("endpoint", &endpoint);
    // What libcrvideo can do beyond the SDKs, which pass over keys that they do not know.
    let most = i64::try_from(call.gate.files.max_chunked()).unwrap_or(i64::MAX);
    Ok(if most > 0 { fields.int("chunked", most) } else { fields })
}

/// The target that `cmd` names. One SDK sends the others along with the same number, another one has names of its own
/// for two commands.
fn target(call: &Call<'_>) -> Result<Target, Refusal> {
    let params = call.params;
    let cmd = params.text("cmd")?;
    Ok(match cmd.as_str() {
        "sendfile" => Target::User(params.int("to")?),
        "sendfiles" => Target::Users(some_users(params, "tos", call.gate.config.max_targets)?),
        "sendgroupfile" | "GroupFile" => Target::Group(params.int("gid")?),
        "sendroomfile" => Target::Room(params.int("rid")?),
        "broadcastfile" | "BroadcastFile" => Target::Everyone,
        _ => {
            let text = format!(
                "cmd is {cmd:?}, but must be sendfile, sendfiles, sendgroupfile, sendroomfile or broadcastfile"
            );
            return Err(Refusal::new(code::BAD_PARAM, text));
        }
    })
}
