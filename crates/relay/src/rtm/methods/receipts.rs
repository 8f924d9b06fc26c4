//! What becomes of messages: `docs/wire.md` section 7.

use crvideo_proto::rtm::code;
use crvideo_proto::rtm::params::{Fields, ParamError};

use super::{Call, Outcome};
use crate::rtm::Refusal;
use crate::rtm::receipts::Receipts;
use crate::store::Watch;

impl Call<'_> {
    /// The watch that a quest carries, if any. What users say of it does not count.
    pub(super) fn watch(&self) -> Result<Option<Watch>, Refusal> {
        if self.user.is_some() || !self.params.has("watch") {
            return Ok(None);
        }
        let watch = self.params.bytes("watch")?;
        Ok(Some(Watch::try_from(watch.as_ref()).map_err(|_| ParamError::Type("watch"))?))
    }
}

/// `crreceipts`: from its answer on the connection gets what becomes of messages that carry the watch.
pub(super) async fn begin(call: &Call<'_>) -> Outcome {
    let watch = call.watch()?.ok_or(ParamError::Missing("watch"))?;
    let messages = call.gate.hub.messages();
    let store = messages.store_id().await?;
    let start = || Receipts::start(call.project, watch, messages.clone(), call.client.out.clone());
    if call.client.receipts(start).watch != watch {
        let text = "this connection has another watch already; open another one";
        return Err(Refusal::new(code::BAD_PARAM, text));
    }
    Ok(Fields::new().bytes("store", &store))
}
