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
    call.check_group(group.id).await?;
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
    call.check_group(group.id).await?;
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
    let group = group(call)?;
    call.check_group(group.id).await?;
    let members = call.gate.directory.members(group).await?;
    let fields = Fields::new().ints("uids", &members);
    if !wants_online(call)? {
        return Ok(fields);
    }
    Ok(fields.ints("onlines", &online(call, members)))
}

/// Newer users' SDKs also ask who of the members is online.
fn wants_online(call: &Call<'_>) -> Result<bool, Refusal> {
    Ok(call.params.opt_bool("online")?.unwrap_or_default())
}

fn online(call: &Call<'_>, users: Vec<i64>) -> Vec<i64> {
    let dialects = call.gate.hub.online().dialects_of(call.project, users);
    dialects.into_iter().filter(|(_, by)| *by != 0).map(|(user, _)| user).collect()
}

/// `getgroupcount`
pub(super) async fn count(call: &Call<'_>) -> Outcome {
    let group = group(call)?;
    let count = call.gate.directory.count(group).await?;
    let fields = Fields::new().int("cn", count);
    if !wants_online(call)? {
        return Ok(fields);
    }
    let online = online(call, call.gate.directory.members(group).await?).len();
    Ok(fields.int("online", i64::try_from(online).unwrap_or(i64::MAX)))
}

/// `isgroupmember`
pub(super) async fn is_member(call: &Call<'_>) -> Outcome {
    let ok = call.gate.directory.is_member(group(call)?, call.params.int("uid")?).await?;
    Ok(Fields::new().bool("ok", ok))
}

/// `getusergroups`
pub(super) async fn of_user(call: &Call<'_>) -> Outcome {
    let groups = call.gate.directory.groups_of(call.project, call.actor("uid")?).await?;
    Ok(Fields::new().ints("gids", &groups))
}
