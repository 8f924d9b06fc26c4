//! What a connection listens to.

use crvideo_proto::rtm::params::Fields;

use super::{Call, Outcome};
use crate::rtm::hub::Listen;
use crate::rtm::listening::Listening;

/// `addlisten`, `removelisten` and `setlisten`.
pub(super) fn change(call: &Call<'_>, method: &str) -> Outcome {
    let how = match method {
        "addlisten" => Listen::Add(Listening::read(call.params, false)?),
        "removelisten" => Listen::Remove(Listening::read(call.params, false)?),
        _ => Listen::Set(Listening::read(call.params, true)?),
    };
    let client = call.client;
    let listens = call.gate.hub.listen(call.project, client.id, &client.out, how)?;
    client.set_listening(listens);
    Ok(Fields::new())
}
