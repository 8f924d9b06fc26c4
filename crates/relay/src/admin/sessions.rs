//! Who is there.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::{Failure, Office, bad, now_s};
use crate::core::SESSIONS_PAGE;

/// Our own dialect.
pub(super) const CR: &str = "cr";
/// The RTM dialect.
pub(super) const RTM: &str = "rtm";

/// Which sessions are asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    project: i64,
    #[serde(default)]
    dialect: Option<String>,
    /// Go on behind this user.
    #[serde(default)]
    after: Option<String>,
}

/// One user who is there.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Session {
    pub(super) project: i64,
    pub(super) user: String,
    pub(super) dialect: String,
    /// `None` while its link is lost.
    pub(super) address: Option<String>,
    /// Seconds since 1970.
    pub(super) since: u64,
    /// Seconds.
    pub(super) age: u64,
    /// 0 in the RTM dialect.
    pub(super) epoch: u64,
    /// Transfers that it sends.
    pub(super) transfers: usize,
}

/// A part of the list.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Page {
    pub(super) sessions: Vec<Session>,
    /// There are others behind these.
    pub(super) more: bool,
}

pub(super) async fn list(
    State(office): State<Office>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(Asked { project, dialect, after }) = asked.map_err(|rejection| bad(rejection.body_text()))?;
    office.check_project(project)?;
    let page = match dialect.as_deref().unwrap_or(CR) {
        CR => own(&office, project, after.as_deref()),
        RTM => rtm(&office, project, after.as_deref())?,
        other => return Err(bad(format!("the dialect {other:?} is unknown; give {CR} or {RTM}"))),
    };
    Ok(Json(page).into_response())
}

fn own(office: &Office, project: i64, after: Option<&str>) -> Page {
    let now = now_s();
    let (sessions, more) = office.shared.with(None, |core, _| core.list_sessions(project, after));
    let sessions = sessions.into_iter().map(|it| Session {
        project: it.project,
        user: it.user,
        dialect: CR.to_owned(),
        address: it.connection.and_then(|id| office.shared.address_of(id)).map(|address| address.to_string()),
        since: it.since,
        age: now.saturating_sub(it.since),
        epoch: it.epoch,
        transfers: it.transfers,
    });
    Page { sessions: sessions.collect(), more }
}

fn rtm(office: &Office, project: i64, after: Option<&str>) -> Result<Page, Failure> {
    let after = after.map(|user| user.parse().map_err(|_| bad("\"after\" is not a number"))).transpose()?;
    let now = now_s();
    let logins = office.gate.as_ref().map(|gate| gate.logins(project, after, SESSIONS_PAGE + 1)).unwrap_or_default();
    let more = logins.len() > SESSIONS_PAGE;
    let sessions = logins.into_iter().take(SESSIONS_PAGE).map(|it| Session {
        project,
        user: it.user.to_string(),
        dialect: RTM.to_owned(),
        address: Some(it.address),
        since: it.since,
        age: now.saturating_sub(it.since),
        epoch: 0,
        transfers: 0,
    });
    Ok(Page { sessions: sessions.collect(), more })
}
