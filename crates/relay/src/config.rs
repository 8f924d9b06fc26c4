//! What an operator can set.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use zeroize::Zeroize;

use crate::core::{Settings, Tenant};
use crate::guard::GuardSettings;
use crate::rtm::{FileSettings, RtmConfig};
use crate::tls::TlsConfig;

/// Where clients are expected when nothing is said about it.
pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 13_400);
/// A project has at most this many secrets: the present one and, while it is being replaced, the next.
pub const MAX_SECRETS: usize = 2;
/// The development project's id.
pub const DEV_PROJECT: i64 = 1;
/// Users of an earlier run are waited for no longer than this, whatever the resume window: a client tries again at
/// least every 12 s.
pub const MAX_STARTUP_GRACE: Duration = Duration::from_secs(20);
/// The time to flush last words when the relay stops.
pub const STOP_DEADLINE: Duration = Duration::from_secs(2);

/// One project, as it is configured.
#[derive(Clone, PartialEq, Eq)]
pub struct Project {
    /// Project id.
    pub id: i64,
    /// One secret, or two while one is being replaced.
    pub secrets: Vec<String>,
    /// Largest file in bytes, 0 for no limit.
    pub max_file_size: u64,
}

/// Nobody finds secrets in memory that is used again.
impl Drop for Project {
    fn drop(&mut self) {
        self.secrets.zeroize();
    }
}

/// Secrets never reach a log.
impl fmt::Debug for Project {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, secrets, max_file_size } = self;
        write!(f, "Project {{ id: {id}, secrets: {} hidden, max_file_size: {max_file_size} }}", secrets.len())
    }
}

/// Everything about a relay that can be set.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen for clients. Port 0 takes a free one.
    pub listen: Vec<SocketAddr>,
    /// Where to listen for HTTP, if at all.
    pub http: Option<SocketAddr>,
    /// Directory for what must outlive the process, if any.
    pub data: Option<PathBuf>,
    /// The operator's socket; without it that of the data directory, if there is one.
    pub admin: Option<PathBuf>,
    /// Who may log in.
    pub projects: Vec<Project>,
    /// Listen without encryption on other addresses than loopback.
    pub allow_plain: bool,
    /// Encryption.
    pub tls: TlsConfig,
    /// Threads that serve connections; 0: half as many as there are processors, and at least one.
    pub threads: usize,
    /// Connections in all.
    pub max_connections: usize,
    /// Connections on which nobody has logged in yet.
    pub max_before_login: usize,
    /// From accept to login.
    pub login_deadline: Duration,
    /// Heart-beat of the command connections.
    pub heartbeat: Duration,
    /// How long an epoch outlives its command connection.
    pub resume_window: Duration,
    /// How long after the start a user who is not here may still come back from an earlier run; `None` takes the
    /// resume window, at most [`MAX_STARTUP_GRACE`].
    pub startup_grace: Option<Duration>,
    /// A socket that takes nothing for this long while bytes wait is closed.
    pub stall_timeout: Duration,
    /// Soft limit of the bytes queued towards a session on its command connection.
    pub command_queue: usize,
    /// Soft limit of the bytes queued towards a session on its bulk connection.
    pub bulk_queue: usize,
    /// Limits for each address, connection, session and project.
    pub guard: GuardSettings,
    /// The RTM dialect.
    pub rtm: RtmConfig,
    /// Files that servers send through it.
    pub files: FileSettings,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec![DEFAULT_LISTEN],
            http: None,
            data: None,
            admin: None,
            projects: Vec::new(),
            allow_plain: false,
            tls: TlsConfig::default(),
            threads: 0,
            max_connections: 65_536,
            max_before_login: 32_768,
            login_deadline: Duration::from_secs(10),
            heartbeat: Duration::from_secs(20),
            resume_window: Duration::from_secs(60),
            startup_grace: None,
            stall_timeout: Duration::from_secs(30),
            command_queue: 1024 * 1024,
            bulk_queue: 4 * 1024 * 1024,
            guard: GuardSettings::default(),
            rtm: RtmConfig::default(),
            files: FileSettings::default(),
        }
    }
}

impl Config {
    /// A relay for development: free loopback ports and a project with a random secret.
    pub fn dev() -> Result<Self, ConfigError> {
        let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Ok(Self {
            listen: vec![free],
            http: Some(free),
            rtm: RtmConfig { listen: Some(free), users: Some(free), ..RtmConfig::default() },
            projects: vec![Project { id: DEV_PROJECT, secrets: vec![random_secret()?], max_file_size: 0 }],
            ..Self::default()
        })
    }

    /// Says in one sentence why a relay cannot run like this.
    pub fn check(&self) -> Result<(), ConfigError> {
        let Some(project) = self.projects.first() else {
            return Err(ConfigError(
                "no project is configured; add a [[project]] to the configuration file, give --project PID:SECRET, \
                 or try --dev"
                    .to_owned(),
            ));
        };
        if self.listen.is_empty() {
            return Err(ConfigError("there is no address to listen on; give --listen ADDR:PORT".to_owned()));
        }
        self.tls.check()?;
        self.check_plain()?;
        if project.secrets.is_empty() {
            return Err(ConfigError(format!("project {} has no secret; give it one", project.id)));
        }
        self.rtm.check()?;
        self.files.check().map_err(ConfigError)?;
        self.check_limits()
    }

    /// Whether the listener of this address, for our own protocol, is encrypted.
    pub(crate) fn encrypts(&self, address: &SocketAddr) -> bool {
        self.tls.cert.is_some() && (self.tls.loopback || !address.ip().is_loopback())
    }

    /// Whether HTTP on this address is encrypted.
    pub(crate) fn encrypts_http(&self, address: &SocketAddr) -> bool {
        self.tls.http && self.encrypts(address)
    }

    /// Nothing is sent in plain text over a network unless the operator says so.
    fn check_plain(&self) -> Result<(), ConfigError> {
        if self.allow_plain {
            return Ok(());
        }
        let open = |address: &&SocketAddr| !address.ip().is_loopback();
        let cure = "is not a loopback address and there is no certificate; give one and its key by --tls-cert and \
                    --tls-key, or accept plain text with --allow-plain";
        if let Some(address) = self.listen.iter().filter(open).find(|address| !self.encrypts(address)) {
            return Err(ConfigError(format!("{address} {cure}")));
        }
        if let Some(address) = self.http.iter().filter(open).find(|address| !self.encrypts_http(address)) {
            return Err(ConfigError(match self.tls.cert {
                None => format!("{address} {cure}"),
                Some(_) => format!(
                    "{address} is not a loopback address and tls.http is off; listen on 127.0.0.1 behind a proxy, or \
                     accept plain text with --allow-plain"
                ),
            }));
        }
        let mut rtm = self.rtm.listen.iter().chain(&self.rtm.users).chain(&self.rtm.files);
        match rtm.find(open) {
            None => Ok(()),
            Some(address) => Err(ConfigError(format!(
                "{address} is not a loopback address and RTM SDKs cannot encrypt; listen on 127.0.0.1 behind a tunnel, \
                 or accept plain text with --allow-plain"
            ))),
        }
    }

    fn check_limits(&self) -> Result<(), ConfigError> {
        let times = [
            ("heartbeat", self.heartbeat),
            ("login_deadline", self.login_deadline),
            ("stall_timeout", self.stall_timeout),
        ];
        for (key, time) in times {
            if !(MIN_TIME..=MAX_TIME).contains(&time) {
                return Err(ConfigError(format!("{key} is below {MIN_TIME:?} or above {MAX_TIME:?}; correct it")));
            }
        }
        if self.resume_window > MAX_TIME {
            return Err(ConfigError(format!("resume_window is above {MAX_TIME:?}; make it shorter")));
        }
        for (key, bytes) in [("command_queue", self.command_queue), ("bulk_queue", self.bulk_queue)] {
            if bytes < MIN_QUEUE {
                return Err(ConfigError(format!("{key} is below {MIN_QUEUE} bytes; make it larger")));
            }
        }
        if self.threads > MAX_THREADS {
            return Err(ConfigError(format!("threads is above {MAX_THREADS}; make it smaller")));
        }
        if self.max_connections == 0 || self.max_before_login == 0 {
            return Err(ConfigError("max_connections or max_before_login is 0; make it larger".to_owned()));
        }
        Ok(())
    }

    /// How many threads serve connections. The other half of the processors has enough to do: the kernel's side of every
    /// socket, the database, files, hashes, images. With as many threads as processors, they cost each other more in
    /// hand-overs than they gain.
    pub fn worker_threads(&self) -> usize {
        match self.threads {
            0 => (std::thread::available_parallelism().map_or(1, usize::from) / 2).max(1),
            threads => threads,
        }
    }

    /// Where the operator's socket is, if there is one.
    pub fn admin_socket(&self) -> Option<PathBuf> {
        self.admin.clone().or_else(|| Some(self.data.as_ref()?.join(crate::admin::SOCKET_NAME)))
    }

    pub(crate) fn settings(&self) -> Settings {
        let grace = self.startup_grace.unwrap_or(MAX_STARTUP_GRACE);
        Settings {
            max_connections: self.max_connections,
            max_before_login: self.max_before_login,
            login_deadline: self.login_deadline,
            heartbeat: self.heartbeat,
            resume_window: self.resume_window,
            startup_grace: grace.min(self.resume_window),
            stall_timeout: self.stall_timeout,
            command_queue: self.command_queue,
            bulk_queue: self.bulk_queue,
            guard: self.guard.clone(),
        }
    }

    pub(crate) fn tenants(&self) -> Vec<Tenant> {
        let tenant = |it: &Project| Tenant { id: it.id, secrets: it.secrets.clone(), max_file: it.max_file_size };
        self.projects.iter().map(tenant).collect()
    }
}

/// Every time that is not allowed to be zero is at least this long.
const MIN_TIME: Duration = Duration::from_millis(10);
/// No time is longer than this.
const MAX_TIME: Duration = Duration::from_secs(24 * 3600);
/// More threads than this are a slip of the pen.
const MAX_THREADS: usize = 1_024;
/// A queue takes at least this many bytes: one command of the largest size.
const MIN_QUEUE: usize = 64 * 1024;

/// Reads `ADDR:PORT`. Names are not resolved, because what a name means may change after the start.
pub(crate) fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let cure = "is not an address and a port; write it as 127.0.0.1:13400 or [::1]:13400";
    text.trim().parse().map_err(|_| format!("{text:?} {cure}"))
}

/// A number of seconds as a time.
pub(crate) fn parse_seconds(seconds: f64) -> Result<Duration, String> {
    let time = Duration::try_from_secs_f64(seconds).ok().filter(|time| *time <= MAX_TIME);
    time.ok_or_else(|| format!("{seconds} is not a number of seconds from 0 to {}; correct it", MAX_TIME.as_secs()))
}

/// Adds a secret to a project. What is said on failure follows the project's name.
pub(crate) fn push_secret(project: &mut Project, secret: String) -> Result<(), String> {
    if secret.is_empty() {
        return Err("has an empty secret; fill it in".to_owned());
    }
    if project.secrets.len() == MAX_SECRETS {
        return Err(format!("has more than {MAX_SECRETS} secrets; remove the oldest"));
    }
    project.secrets.push(secret);
    Ok(())
}

/// Why a configuration cannot be used: one sentence that says where, what and how to cure it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(pub String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

/// 32 random bytes in hexadecimal digits.
pub fn random_secret() -> Result<String, ConfigError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| ConfigError(format!("the system gives no random numbers ({error}); give --project")))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
