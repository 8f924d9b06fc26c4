//! What a quest with a file asks for, checked as far as that goes without the file.

use std::collections::HashSet;

use crvideo_proto::name;
use crvideo_proto::rtm::attrs::Attrs;
use crvideo_proto::rtm::params::{ParamError, Params};
use crvideo_proto::rtm::{FILE_MTYPES, MAX_ATTRS, MTYPES, code};

use crate::rtm::{Refusal, Target};

/// Whose a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sender {
    pub(super) project: i64,
    pub(super) from: i64,
    pub(super) token: String,
}

impl Sender {
    /// The parameters that authorise a file.
    pub(super) fn read(params: &Params) -> Result<Self, ParamError> {
        Ok(Self { project: params.int("pid")?, from: params.int("from")?, token: params.text("token")? })
    }
}

/// A quest with a file, but for the file.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) target: Target,
    pub(super) mtype: i8,
    pub(super) mid: i64,
    pub(super) attrs: Attrs,
}

impl Request {
    /// Reads the parameters beside those of the sender and of the target.
    pub(super) fn read(target: Target, params: &Params) -> Result<Self, Refusal> {
        let mid = params.int("mid")?;
        let mtype: i64 = params.lenient_int("mtype")?;
        let mtype = check_mtype(mtype)?;
        let attrs = check_attrs(&params.text("attrs")?)?;
        Ok(Self { target, mtype, mid, attrs })
    }

    /// The file's name for people.
    pub(super) fn file_name(&self) -> String {
        let given = self.attrs.filename();
        match (given.is_empty(), self.attrs.ext()) {
            (false, _) => name::clean(&given),
            (true, "") => "file".to_owned(),
            (true, ext) => name::clean(&format!("file.{ext}")),
        }
    }
}

/// The target that a method names; a list has at most `max_targets` users. Other targets that stand beside it do not
/// count: some SDKs send several.
pub(super) fn target(method: &str, params: &Params, max_targets: usize) -> Result<Target, Refusal> {
    Ok(match method {
        "sendfile" => Target::User(params.int("to")?),
        "sendgroupfile" => Target::Group(params.int("gid")?),
        "sendroomfile" => Target::Room(params.int("rid")?),
        "broadcastfile" => Target::Everyone,
        _ => {
            let ids = params.ints("tos", max_targets)?;
            if ids.is_empty() {
                return Err(Refusal::new(code::EMPTY, "the list \"tos\" is empty"));
            }
            // Whoever is named twice is meant once, and the order of the list stays.
            let mut seen = HashSet::with_capacity(ids.len());
            Target::Users(ids.into_iter().filter(|id| seen.insert(*id)).collect())
        }
    })
}

fn check_mtype(mtype: i64) -> Result<i8, Refusal> {
    if !MTYPES.contains(&mtype) {
        let (low, high) = (MTYPES.start(), MTYPES.end());
        return Err(Refusal::new(code::BAD_MTYPE, format!("the mtype {mtype} is not from {low} to {high}")));
    }
    match i8::try_from(mtype) {
        Ok(small) if FILE_MTYPES.contains(&mtype) => Ok(small),
        _ => {
            let (low, high) = (FILE_MTYPES.start(), FILE_MTYPES.end());
            Err(Refusal::new(code::BAD_FILE_MTYPE, format!("the mtype {mtype} of a file is not from {low} to {high}")))
        }
    }
}

fn check_attrs(text: &str) -> Result<Attrs, Refusal> {
    if text.len() > MAX_ATTRS {
        let len = text.len();
        return Err(Refusal::new(code::TOO_LARGE, format!("the attrs have {len} bytes, more than {MAX_ATTRS}")));
    }
    Attrs::parse(text).ok_or_else(|| Refusal::new(code::BAD_PARAM, "the attrs are not a JSON object"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crvideo_proto::rtm::params::Fields;

    fn named(attrs: &str) -> String {
        let fields = Fields::new().int("to", 5).int("mid", 6).int("mtype", 50).text("attrs", attrs);
        Request::read(Target::Everyone, &Params::read(fields.finish()).unwrap()).unwrap().file_name()
    }

    #[test]
    fn every_file_has_a_name_that_harms_nobody() {
        assert_eq!(named(r#"{"rtm":{"ext":"txt","filename":"name"}}"#), "name.txt");
        assert_eq!(named(r#"{"rtm":{"ext":"txt"}}"#), "file.txt");
        assert_eq!(named(r#"{"ext":"bin","sign":"x"}"#), "file.bin");
        assert_eq!(named(r#"{"custom":"x"}"#), "file");
        assert_eq!(named(r#"{"rtm":{"ext":"../etc","filename":"../../a\u0000b"}}"#), "etc");
        // One SDK cuts the extension from the whole path.
        assert_eq!(named(r#"{"rtm":{"ext":"d/passwd"}}"#), "passwd");
    }
}
