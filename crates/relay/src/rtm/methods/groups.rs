//! Who is in a group.

use crvideo_proto::rtm::code;
use crvideo_proto::rtm::params::Fields;

use super::{Call, Outcome, some_users};
use crate::rtm::Refusal;
use crate::store::{Added, Bounds, Group};

/// Users that one quest adds or removes.
const MAX_CHANGED: usize = 100;
/// Groups of one user.
const MAX_GROUPS_OF_USER: usize = 10_000;

fn group(call: &Call<'_>) -> Result<Group, Refusal> {
    Ok(Group { project: call.project, id: call.params.int("gid")? })
}

/// `addgroupmembers`
pub(super) async fn add(call: &Call<'_>) -> Outcome {
    let (group, users) = (group(call)?, some_users(call.params, "uids", MAX_CHANGED)?);
    let members = call.gate.config.max_group_members;
    let bounds = Bounds { members, groups: MAX_GROUPS_OF_USER };
    match call.gate.directory.add_members(group, users, bounds).await? {
        Added::All => Ok(Fields::new()),
        Added::GroupFull => {
            let text = format!("group {} would have more than {members} members; nobody was added", group.id);
            Err(Refusal::new(code::GROUP_FULL, text))
        }
        Added::TooManyGroups(user) => {
            let text = format!("user {user} would be in more than {MAX_GROUPS_OF_USER} groups; nobody was added");
            Err(Refusal::new(code::TOO_MANY, text))
        }
    }
}

/// `delgroupmembers`
pub(super) async fn remove(call: &Call<'_>) -> Outcome {
    let (group, users) = (group(call)?, some_users(call.params, "uids", MAX_CHANGED)?);
    call.gate.directory.remove_members(group, users).await?;
    Ok(Fields::new())
}

/// `delgroup`
pub(super) async fn remove_all(call: &Call<'_>) -> Outcome {
    call.gate.directory.remove_group(group(call)?).await?;
    Ok(Fields::new())
}

/// `getgroupmembers`
pub(super) async fn members(call: &Call<'_>) -> Outcome {
    let members = call.gate.directory.members(group(call)?).await?;
    Ok(Fields::new().ints("uids", &members))
}

/// `getgroupcount`
pub(super) async fn count(call: &Call<'_>) -> Outcome {
    let count = call.gate.directory.count(group(call)?).await?;
    Ok(Fields::new().int("cn", count))
}

/// `isgroupmember`
pub(super) async fn is_member(call: &Call<'_>) -> Outcome {
    let ok = call.gate.directory.is_member(group(call)?, call.params.int("uid")?).await?;
    Ok(Fields::new().bool("ok", ok))
}

/// `getusergroups`
pub(super) async fn of_user(call: &Call<'_>) -> Outcome {
    let groups = call.gate.directory.groups_of(call.project, call.params.int("uid")?).await?;
    Ok(Fields::new().ints("gids", &groups))
}
