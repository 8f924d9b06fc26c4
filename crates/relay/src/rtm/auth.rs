//! Who signs a quest has a project's secret.

use std::collections::HashMap;
use std::time::Duration;

use crvideo_proto::rtm::code;
use crvideo_proto::rtm::params::Params;
use crvideo_proto::rtm::sign::is_request_sign;
use zeroize::Zeroize;

use super::Refusal;

/// Nobody finds secrets in memory that is used again.
impl Drop for Secrets {
    fn drop(&mut self) {
        self.secrets_by_project.values_mut().for_each(Zeroize::zeroize);
    }
}

/// The projects and their secrets.
pub(super) struct Secrets {
    secrets_by_project: HashMap<i64, Vec<String>>,
    /// Seconds by which the time of a signature may differ from ours.
    window_s: i64,
    /// Checked for projects that do not exist, so that they take as long as others.
    nobodys: Vec<String>,
}

impl Secrets {
    pub(super) fn new(projects: impl IntoIterator<Item = (i64, Vec<String>)>, window: Duration) -> Self {
        let window_s = i64::try_from(window.as_secs()).unwrap_or(i64::MAX);
        Self { secrets_by_project: projects.into_iter().collect(), window_s, nobodys: vec!["?".repeat(32)] }
    }

    /// The secret that a project's new tokens are signed with.
    pub(super) fn first(&self, project: i64) -> Option<&str> {
        self.secrets_by_project.get(&project)?.first().map(String::as_str)
    }

    /// The project that has signed a quest. The same signature may come any number of times: some SDKs make no others
    /// within a millisecond, and one sends the same quest again on a new connection.
    pub(super) fn project(&self, method: &str, params: &Params, now_s: i64) -> Result<i64, Refusal> {
        let (project, salt, ts): (i64, i64, i64) = (params.int("pid")?, params.int("salt")?, params.int("ts")?);
        let sign = params.bytes("sign")?;
        let known = self.secrets_by_project.get(&project);
        let secrets = known.unwrap_or(&self.nobodys).iter().map(String::as_str);
        let signed = is_request_sign(&sign, project, secrets, salt, method, ts);
        if !signed || known.is_none() {
            let text = format!("project {project} is unknown, or the signature is not that of its secret");
            return Err(Refusal::new(code::BAD_SIGN, text));
        }
        if ts.abs_diff(now_s) > self.window_s.unsigned_abs() {
            let text =
                format!("ts is {ts}, but it is {now_s} here; at most {} s of difference are allowed", self.window_s);
            return Err(Refusal::new(code::BAD_TS, text));
        }
        Ok(project)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use crvideo_proto::rtm::params::Fields;

    use super::*;

    /// A quest that a real SDK has signed.
    const GOLDEN: (i64, i64, i64, &str) =
        (11_000_001, 29_414_092_608_719_296, 1_795_293_738, "025BB9438443EF72DFF6CA3D9D7C8159");

    fn check(project: i64, salt: i64, ts: i64, sign: &str, method: &str, now: i64) -> Result<i64, i32> {
        let secrets =
            [(GOLDEN.0, vec!["an older one".to_owned(), "mock-secret-0000".to_owned()]), (7, vec!["s".into()])];
        let secrets = Secrets::new(secrets, Duration::from_secs(600));
        let fields = Fields::new().int("pid", project).int("salt", salt).int("ts", ts).text("sign", sign);
        let params = Params::read(fields.finish()).unwrap();
        secrets.project(method, &params, now).map_err(|refusal| refusal.code)
    }

    #[test]
    fn a_signature_of_a_real_sdk_is_good_within_the_window_of_the_clock() {
        let (project, salt, ts, sign) = GOLDEN;
        for (now, expected) in
            [(ts, Ok(project)), (ts - 600, Ok(project)), (ts + 600, Ok(project)), (ts + 601, Err(code::BAD_TS))]
        {
            assert_eq!(check(project, salt, ts, sign, "setlisten", now), expected);
        }
        assert_eq!(check(project, salt, ts, sign, "setlisten", i64::MIN), Err(code::BAD_TS));
    }

    #[test]
    fn whatever_differs_the_signature_is_bad() {
        let (project, salt, ts, sign) = GOLDEN;
        let bad = Err(code::BAD_SIGN);
        assert_eq!(check(project + 1, salt, ts, sign, "setlisten", ts), bad);
        assert_eq!(check(7, salt, ts, sign, "setlisten", ts), bad);
        assert_eq!(check(project, salt + 1, ts, sign, "setlisten", ts), bad);
        assert_eq!(check(project, salt, ts + 1, sign, "setlisten", ts), bad);
        assert_eq!(check(project, salt, ts, &sign[1..], "setlisten", ts), bad);
        assert_eq!(check(project, salt, ts, "", "setlisten", ts), bad);
        assert_eq!(check(project, salt, ts, sign, "addlisten", ts), bad);
    }
}
