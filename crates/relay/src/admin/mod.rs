//! What an operator can ask of a running relay: JSON over HTTP on a socket that only he can open.
//!
//! * `socket`: that socket.
//! * `sessions`: who is there.
//! * `commands`: the program's own `crvideo-relay admin`, which asks on it.

#[cfg(unix)]
pub mod commands;
mod sessions;
#[cfg(unix)]
mod socket;
#[cfg(all(test, unix))]
mod tests;

use std::sync::Arc;

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tracing::{error, info};

use crate::rtm::Gate;
use crate::shared::{Shared, unix_micros};
use crate::store::{Directory, Revoked, RevokedId};

#[cfg(unix)]
pub(crate) use socket::{listen, serve};

/// A socket of the data directory has this name.
pub const SOCKET_NAME: &str = "admin.sock";
/// Longest id of a token that can be revoked, in bytes.
const MAX_TOKEN_ID: usize = 1_024;

/// What the operator's requests work on.
#[derive(Clone)]
pub(crate) struct Office {
    pub(crate) shared: Arc<Shared>,
    /// The RTM dialect, where it is served.
    pub(crate) gate: Option<Arc<Gate>>,
    /// Where revocations are kept, if anywhere.
    pub(crate) directory: Option<Arc<dyn Directory>>,
}

/// A request that cannot be served.
struct Failure(StatusCode, String);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

impl From<JsonRejection> for Failure {
    fn from(rejection: JsonRejection) -> Self {
        Failure(StatusCode::BAD_REQUEST, rejection.body_text())
    }
}

fn bad(text: impl Into<String>) -> Failure {
    Failure(StatusCode::BAD_REQUEST, text.into())
}

/// What is served on the operator's socket.
pub(crate) fn router(office: Office) -> Router {
    Router::new()
        .route("/v1/sessions", get(sessions::list))
        .route("/v1/counters", get(counters))
        .route("/v1/kick", post(kick))
        .route("/v1/revoke", post(revoke))
        .fallback(async || Failure(StatusCode::NOT_FOUND, "there is nothing here".to_owned()))
        .with_state(office)
}

/// Which user a request is about.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kick {
    pub(crate) project: i64,
    pub(crate) user: String,
}

/// Whose tokens, or which one, a request voids.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Revoke {
    pub(crate) project: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token_id: Option<String>,
    /// When that one expires by itself, in seconds since 1970; without it, it is remembered for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires: Option<u64>,
}

impl Office {
    fn check_project(&self, project: i64) -> Result<(), Failure> {
        let known = self.shared.with(None, |core, _| core.project_ids().contains(&project));
        let text = || format!("there is no project {project}");
        known.then_some(()).ok_or_else(|| Failure(StatusCode::NOT_FOUND, text()))
    }

    /// The gate and a user's number, if he can be there with RTM.
    fn rtm_user(&self, user: &str) -> Option<(&Arc<Gate>, i64)> {
        let number: i64 = user.parse().ok()?;
        Some((self.gate.as_ref()?, number)).filter(|_| number.to_string() == user)
    }
}

/// Ends a user's session and his RTM connection with code 10.
async fn kick(State(office): State<Office>, body: Result<Json<Kick>, JsonRejection>) -> Result<Response, Failure> {
    let Json(Kick { project, user }) = body?;
    office.check_project(project)?;
    let session = office.shared.with(None, |core, now| core.kick_out(project, &user, now));
    let rtm = office.rtm_user(&user).is_some_and(|(gate, number)| gate.kick_out(project, number));
    info!(project, ?user, ended = session | rtm, "the operator has kicked a user out");
    Ok(Json(json!({ "ended": session | rtm })).into_response())
}

/// Voids tokens, and ends the sessions that live by them with code 18.
async fn revoke(State(office): State<Office>, body: Result<Json<Revoke>, JsonRejection>) -> Result<Response, Failure> {
    let Json(Revoke { project, user, token_id, expires }) = body?;
    office.check_project(project)?;
    let ended = match (user, token_id) {
        (Some(user), None) if expires.is_none() => revoke_user(&office, project, user).await?,
        (None, Some(id)) => revoke_id(&office, project, id, expires).await?,
        (Some(_), None) => return Err(bad("\"expires\" belongs to \"token_id\"; leave it out")),
        _ => return Err(bad("give either \"user\" or \"token_id\"")),
    };
    Ok(Json(json!({ "ended": ended })).into_response())
}

async fn revoke_user(office: &Office, project: i64, user: String) -> Result<bool, Failure> {
    if !crvideo_proto::id::is_user_id(&user) {
        return Err(bad("\"user\" is not a user id"));
    }
    // The core goes first: should the disk fail, the error that is answered has left nothing open.
    let (until, session) =
        office.shared.with(None, |core, now| (core.revoke(project, &user, now), core.end_revoked(project, &user, now)));
    let rtm = office.rtm_user(&user).is_some_and(|(gate, number)| gate.kick_out(project, number));
    info!(project, ?user, ended = session | rtm, "the operator has revoked a user's tokens");
    if let Some(directory) = &office.directory {
        directory.revoke(Revoked { project, user, until }).await.map_err(not_kept)?;
    }
    Ok(session | rtm)
}

async fn revoke_id(office: &Office, project: i64, id: String, expires: Option<u64>) -> Result<bool, Failure> {
    if id.is_empty() || id.len() > MAX_TOKEN_ID {
        return Err(bad(format!("\"token_id\" is empty or longer than {MAX_TOKEN_ID} bytes")));
    }
    // SQLite knows signed numbers.
    let expires = expires.unwrap_or(u64::MAX).min(i64::MAX.unsigned_abs());
    let (before, room, after) = office
        .shared
        .with(None, |core, now| (core.sessions(), core.revoke_id(project, &id, expires, now), core.sessions()));
    if !room {
        return Err(Failure(StatusCode::INSUFFICIENT_STORAGE, "too many tokens are revoked already".to_owned()));
    }
    let rtm = office.gate.as_ref().is_some_and(|gate| gate.end_token(project, &id));
    info!(project, token_id = ?id, ended = before > after || rtm, "the operator has revoked a token");
    if let Some(directory) = &office.directory {
        directory.revoke_id(RevokedId { project, id, expires }).await.map_err(not_kept)?;
    }
    Ok(before > after || rtm)
}

fn not_kept(failure: crate::store::StoreError) -> Failure {
    error!(%failure, "a revocation holds until the relay stops, but could not be stored");
    let text = "it holds until the relay stops, but could not be stored; see the relay's log";
    Failure(StatusCode::INTERNAL_SERVER_ERROR, text.to_owned())
}

async fn counters(State(office): State<Office>) -> Response {
    let rtm = office.gate.as_ref().map_or(0, |gate| gate.connections());
    let memory = office.shared.memory();
    let counters = office.shared.with(None, |core, _| {
        let counters = core.counters();
        json!({
            "connections": core.connections(),
            "before_login": core.before_login(),
            "sessions": core.sessions(),
            "queued_bytes": core.queued_bytes(),
            "memory_used": memory.used(),
            "memory_queues": memory.queues.used(),
            "memory_rtm": memory.outboxes.used(),
            "memory_reading": memory.reading.used(),
            "memory_uploads": memory.uploads.used(),
            "memory_downloads": memory.downloads.used(),
            "memory_tls": memory.tls.used(),
            "rtm_connections": rtm,
            "logins": counters.logins,
            "logins_refused": counters.logins_refused,
            "kicked_out": counters.kicked_out,
            "frames": counters.frames,
        })
    });
    Json(counters).into_response()
}

/// Seconds since 1970.
fn now_s() -> u64 {
    unix_micros() / 1_000_000
}
