//! `crvideo-relay admin`: what an operator asks of a running relay, on its socket.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use clap::{Args, Parser, Subcommand};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::UnixStream;

use super::sessions::{CR, Page, RTM, Session};
use super::{Kick, Revoke, now_s};
use crate::config::Config;
use crate::file;
use crate::tokens::parse_life;

/// Largest answer.
const MAX_ANSWER: usize = 16 * 1024 * 1024;
/// A relay that has not answered by then does not work.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is asked, and of which relay.
#[derive(Debug, Parser)]
pub struct AdminArgs {
    #[command(flatten)]
    relay: Where,
    /// Print the answer as JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    asked: Asked,
}

/// Which relay is asked.
#[derive(Debug, Args)]
struct Where {
    /// The relay's socket.
    #[arg(long, global = true, value_name = "FILE", env = "CRVIDEO_RELAY_ADMIN")]
    socket: Option<PathBuf>,
    /// Its data directory, where the socket is by default.
    #[arg(long, global = true, value_name = "DIR", env = "CRVIDEO_RELAY_DATA")]
    data: Option<PathBuf>,
    /// Its configuration file, which names either.
    #[arg(long, global = true, value_name = "FILE", env = "CRVIDEO_RELAY_CONFIG")]
    config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Asked {
    /// Who is there: project, user, dialect, address, seconds since the login, epoch, transfers under way.
    Users {
        /// Project id.
        #[arg(long, value_name = "PID", allow_negative_numbers = true)]
        project: i64,
    },
    /// End the session of a user, who hears code 10 and does not come back by himself.
    Kick {
        /// Project id.
        #[arg(long, value_name = "PID", allow_negative_numbers = true)]
        project: i64,
        /// User id.
        #[arg(long, value_name = "UID")]
        user: String,
    },
    /// Void all tokens of a user that were made so far, or one token by its id; sessions that live by them end with
    /// code 18.
    Revoke {
        /// Project id.
        #[arg(long, value_name = "PID", allow_negative_numbers = true)]
        project: i64,
        /// User id.
        #[arg(long, value_name = "UID", required_unless_present = "token_id", conflicts_with = "token_id")]
        user: Option<String>,
        /// The token's id, its claim `jti`.
        #[arg(long, value_name = "ID")]
        token_id: Option<String>,
        /// In what time the token expires by itself, after which it need not be remembered: a number with s, m, h or
        /// d [default: never].
        #[arg(long, value_name = "TIME", requires = "token_id")]
        expires: Option<String>,
    },
    /// What the relay has counted since its start.
    Counters,
}

impl AdminArgs {
    /// Asks, and gives the answer to print, or in one sentence why there is none.
    pub fn run(self) -> Result<String, String> {
        let socket = self.relay.socket()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("the system gives no resources ({error})"))?;
        let asking = async {
            let timed_out = || format!("the relay at {} does not answer; see its log", socket.display());
            tokio::time::timeout(PATIENCE, ask(&Relay { socket: &socket }, self.asked, self.json))
                .await
                .unwrap_or_else(|_| Err(timed_out()))
        };
        runtime.block_on(asking)
    }
}

impl Where {
    fn socket(&self) -> Result<PathBuf, String> {
        let mut config = Config::default();
        if let (Some(path), None, None) = (&self.config, &self.socket, &self.data) {
            file::read(path, &mut config).map_err(|error| error.to_string())?;
        }
        config.admin = self.socket.clone().or(config.admin);
        config.data = self.data.clone().or(config.data);
        config.admin_socket().ok_or_else(|| "which relay? give --data, --socket or --config".to_owned())
    }
}

async fn ask(relay: &Relay<'_>, asked: Asked, json: bool) -> Result<String, String> {
    match asked {
        Asked::Users { project } => {
            let sessions = relay.sessions(project).await?;
            if json {
                return serde_json::to_string_pretty(&sessions).map_err(|error| error.to_string());
            }
            Ok(table(&sessions))
        }
        Asked::Kick { project, user } => {
            let answer: Value = relay.post("/v1/kick", &Kick { project, user }).await?;
            Ok(ended(&answer, json, "kicked out", "not there"))
        }
        Asked::Revoke { project, user, token_id, expires } => {
            let expires = match expires.as_deref().map(parse_life).transpose() {
                Ok(life) => life.map(|life| now_s().saturating_add(life)),
                Err(why) => return Err(format!("--expires: {why}")),
            };
            let answer: Value = relay.post("/v1/revoke", &Revoke { project, user, token_id, expires }).await?;
            Ok(ended(&answer, json, "revoked; a session has ended", "revoked; no session lived by it"))
        }
        Asked::Counters => {
            let counters: Value = relay.get("/v1/counters").await?;
            if json {
                return Ok(counters.to_string());
            }
            let mut lines = String::new();
            for (name, value) in counters.as_object().into_iter().flatten() {
                let _ = writeln!(lines, "{name}\t{value}");
            }
            Ok(lines)
        }
    }
}

fn ended(answer: &Value, json: bool, yes: &str, no: &str) -> String {
    match answer.get("ended") {
        _ if json => answer.to_string(),
        Some(Value::Bool(true)) => yes.to_owned(),
        _ => no.to_owned(),
    }
}

/// One line for each, in columns that are divided by tabs. A user's name is quoted where it could be taken for more.
fn table(sessions: &[Session]) -> String {
    let mut lines = "PROJECT\tUSER\tDIALECT\tADDRESS\tSECONDS\tEPOCH\tTRANSFERS\n".to_owned();
    for it in sessions {
        let plain = it.user.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"');
        let user = if plain { it.user.clone() } else { format!("{:?}", it.user) };
        let address = it.address.as_deref().unwrap_or("away");
        let (project, dialect, age, epoch, transfers) = (it.project, &it.dialect, it.age, it.epoch, it.transfers);
        let _ = writeln!(lines, "{project}\t{user}\t{dialect}\t{address}\t{age}\t{epoch}\t{transfers}");
    }
    lines
}

/// A running relay.
struct Relay<'a> {
    socket: &'a std::path::Path,
}

impl Relay<'_> {
    /// All who are there, page by page.
    async fn sessions(&self, project: i64) -> Result<Vec<Session>, String> {
        let mut all = Vec::new();
        for dialect in [CR, RTM] {
            let mut after = String::new();
            loop {
                let path = format!("/v1/sessions?project={project}&dialect={dialect}{after}");
                let page: Page = self.get(&path).await?;
                let last = page.sessions.last().map(|last| query_value(&last.user));
                all.extend(page.sessions);
                match last {
                    Some(last) if page.more => after = format!("&after={last}"),
                    _ => break,
                }
            }
        }
        Ok(all)
    }

    async fn get<A: DeserializeOwned>(&self, path: &str) -> Result<A, String> {
        self.send(Request::get(path), Body::empty()).await
    }

    async fn post<A: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<A, String> {
        let body = serde_json::to_vec(body).map_err(|error| error.to_string())?;
        self.send(Request::post(path).header(header::CONTENT_TYPE, "application/json"), Body::from(body)).await
    }

    async fn send<A: DeserializeOwned>(&self, request: axum::http::request::Builder, body: Body) -> Result<A, String> {
        let at = self.socket.display();
        let failed =
            |error: &dyn std::fmt::Display| format!("the relay at {at} cannot be asked ({error}); is it running?");
        let request = request.header(header::HOST, "relay").body(body).map_err(|error| failed(&error))?;
        let stream = UnixStream::connect(self.socket).await.map_err(|error| failed(&error))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
        let serving = tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(|error| failed(&error))?;
        let status = response.status();
        let answer = to_bytes(Body::new(response.into_body()), MAX_ANSWER).await.map_err(|error| failed(&error))?;
        serving.abort();
        if status == StatusCode::OK {
            return serde_json::from_slice(&answer)
                .map_err(|error| format!("the relay's answer makes no sense: {error}"));
        }
        let text: Option<Value> = serde_json::from_slice(&answer).ok();
        let text = text.as_ref().and_then(|text| text.get("error")?.as_str()).unwrap_or("it gives no reason");
        Err(format!("the relay refuses: {text}"))
    }
}

/// Text as the value of a query.
fn query_value(text: &str) -> String {
    text.bytes().fold(String::new(), |mut value, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => value.push(char::from(byte)),
            byte => {
                let _ = write!(value, "%{byte:02X}");
            }
        }
        value
    })
}
