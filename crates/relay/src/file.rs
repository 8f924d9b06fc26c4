//! The configuration file: TOML, and for each mistake one sentence that names the line.

use std::fs;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;
use zeroize::Zeroizing;

use crate::config::{Config, ConfigError, Project, parse_address, parse_seconds, push_secret};
use crate::guard::Section as GuardSection;
use crate::rtm::{FilesSection, RtmConfig};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    listen: Option<Vec<Spanned<String>>>,
    http: Option<Spanned<String>>,
    data: Option<PathBuf>,
    admin: Option<PathBuf>,
    allow_plain: Option<bool>,
    log: Option<String>,
    #[serde(default)]
    tls: Tls,
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    guard: GuardSection,
    #[serde(default)]
    rtm: Rtm,
    #[serde(default)]
    files: FilesSection,
    #[serde(default)]
    project: Vec<Spanned<Tenant>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Tls {
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    loopback: Option<bool>,
    http: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Limits {
    threads: Option<usize>,
    max_connections: Option<usize>,
    max_before_login: Option<usize>,
    command_queue: Option<usize>,
    bulk_queue: Option<usize>,
    login_deadline: Option<Spanned<f64>>,
    heartbeat: Option<Spanned<f64>>,
    resume_window: Option<Spanned<f64>>,
    startup_grace: Option<Spanned<f64>>,
    stall_timeout: Option<Spanned<f64>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Rtm {
    listen: Option<Spanned<String>>,
    users: Option<Spanned<String>>,
    files: Option<Spanned<String>>,
    file_endpoint: Option<String>,
    insecure_keys: Option<PathBuf>,
    max_targets: Option<usize>,
    max_group_members: Option<usize>,
    max_connections: Option<usize>,
    max_strangers: Option<usize>,
    push_queue: Option<usize>,
    clock_window: Option<u64>,
    message_keep: Option<u64>,
    max_undelivered: Option<u32>,
    max_messages: Option<u32>,
    token_life: Option<u64>,
    idle_timeout: Option<Spanned<f64>>,
    stranger_time: Option<Spanned<f64>>,
    ping: Option<Spanned<f64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tenant {
    id: i64,
    secrets: Vec<String>,
    #[serde(default)]
    max_file_size: u64,
}

/// Text of a file and its name, for errors.
struct Source<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Source<'_> {
    fn error(&self, at: Option<Range<usize>>, what: impl std::fmt::Display) -> ConfigError {
        let path = self.path.display();
        let Some(at) = at else { return ConfigError(format!("{path}: {what}")) };
        let line = 1 + self.text.bytes().take(at.start).filter(|byte| *byte == b'\n').count();
        ConfigError(format!("{path}, line {line}: {what}"))
    }
}

impl Source<'_> {
    fn address(&self, text: &Spanned<String>, key: &str) -> Result<SocketAddr, ConfigError> {
        parse_address(text.get_ref()).map_err(|why| self.error(Some(text.span()), format_args!("{key}: {why}")))
    }

    fn time(&self, from: &Option<Spanned<f64>>, key: &str) -> Result<Option<Duration>, ConfigError> {
        let Some(seconds) = from else { return Ok(None) };
        let time = parse_seconds(*seconds.get_ref());
        time.map(Some).map_err(|why| self.error(Some(seconds.span()), format_args!("{key}: {why}")))
    }
}

/// Reads `path` into `config`; returns the log level if the file sets one.
pub(crate) fn read(path: &Path, config: &mut Config) -> Result<Option<String>, ConfigError> {
    let text = fs::read_to_string(path).map(Zeroizing::new).map_err(|error| {
        ConfigError(format!("the configuration file {} cannot be read ({error}); check --config", path.display()))
    })?;
    apply(&Source { path, text: &text }, config)
}

fn apply(source: &Source<'_>, config: &mut Config) -> Result<Option<String>, ConfigError> {
    let file: File = toml::from_str(source.text).map_err(|error| {
        let message = error.message().replace('\n', ", ");
        source.error(error.span(), format_args!("{message}; correct this line"))
    })?;
    let address = |text: &Spanned<String>, key| source.address(text, key);
    if let Some(listen) = &file.listen {
        config.listen = listen.iter().map(|text| address(text, "listen")).collect::<Result<_, _>>()?;
    }
    if let Some(http) = &file.http {
        config.http = Some(address(http, "http")?);
    }
    config.data = file.data.or(config.data.take());
    config.admin = file.admin.or(config.admin.take());
    config.allow_plain = file.allow_plain.unwrap_or(config.allow_plain);
    config.tls.cert = file.tls.cert.or(config.tls.cert.take());
    config.tls.key = file.tls.key.or(config.tls.key.take());
    config.tls.loopback = file.tls.loopback.unwrap_or(config.tls.loopback);
    config.tls.http = file.tls.http.unwrap_or(config.tls.http);
    apply_limits(source, &file.limits, config)?;
    apply_rtm(source, file.rtm, &mut config.rtm)?;
    file.files.apply(&mut config.files);
    file.guard.apply(&mut config.guard);
    if !file.project.is_empty() {
        config.projects = projects(source, file.project)?;
    }
    Ok(file.log)
}

fn apply_limits(source: &Source<'_>, limits: &Limits, config: &mut Config) -> Result<(), ConfigError> {
    let set = |to: &mut usize, from: Option<usize>| *to = from.unwrap_or(*to);
    set(&mut config.threads, limits.threads);
    set(&mut config.max_connections, limits.max_connections);
    set(&mut config.max_before_login, limits.max_before_login);
    set(&mut config.command_queue, limits.command_queue);
    set(&mut config.bulk_queue, limits.bulk_queue);
    let time = |from: &Option<Spanned<f64>>, key: &str| source.time(from, key);
    let or = |to: &mut Duration, from: Option<Duration>| *to = from.unwrap_or(*to);
    or(&mut config.login_deadline, time(&limits.login_deadline, "login_deadline")?);
    or(&mut config.heartbeat, time(&limits.heartbeat, "heartbeat")?);
    or(&mut config.resume_window, time(&limits.resume_window, "resume_window")?);
    or(&mut config.stall_timeout, time(&limits.stall_timeout, "stall_timeout")?);
    config.startup_grace = time(&limits.startup_grace, "startup_grace")?.or(config.startup_grace);
    Ok(())
}

fn apply_rtm(source: &Source<'_>, rtm: Rtm, config: &mut RtmConfig) -> Result<(), ConfigError> {
    for (text, key, to) in [
        (&rtm.listen, "rtm.listen", &mut config.listen),
        (&rtm.users, "rtm.users", &mut config.users),
        (&rtm.files, "rtm.files", &mut config.files),
    ] {
        if let Some(text) = text {
            *to = Some(source.address(text, key)?);
        }
    }
    config.insecure_keys = rtm.insecure_keys.or(config.insecure_keys.take());
    config.file_endpoint = rtm.file_endpoint.or(config.file_endpoint.take());
    let set = |to: &mut usize, from: Option<usize>| *to = from.unwrap_or(*to);
    set(&mut config.max_targets, rtm.max_targets);
    set(&mut config.max_group_members, rtm.max_group_members);
    set(&mut config.max_connections, rtm.max_connections);
    set(&mut config.max_strangers, rtm.max_strangers);
    set(&mut config.push_queue, rtm.push_queue);
    config.message_keep = rtm.message_keep.map_or(config.message_keep, Duration::from_secs);
    config.max_undelivered = rtm.max_undelivered.unwrap_or(config.max_undelivered);
    config.max_messages = rtm.max_messages.unwrap_or(config.max_messages);
    config.clock_window = rtm.clock_window.map_or(config.clock_window, Duration::from_secs);
    config.token_life = rtm.token_life.map_or(config.token_life, Duration::from_secs);
    let or = |to: &mut Duration, from: Option<Duration>| *to = from.unwrap_or(*to);
    or(&mut config.stranger_time, source.time(&rtm.stranger_time, "rtm.stranger_time")?);
    or(&mut config.idle_timeout, source.time(&rtm.idle_timeout, "rtm.idle_timeout")?);
    or(&mut config.ping, source.time(&rtm.ping, "rtm.ping")?);
    Ok(())
}

fn projects(source: &Source<'_>, tenants: Vec<Spanned<Tenant>>) -> Result<Vec<Project>, ConfigError> {
    let mut projects: Vec<Project> = Vec::new();
    for spanned in tenants {
        let span = spanned.span();
        let Tenant { id, secrets, max_file_size } = spanned.into_inner();
        let error = |what: &str| source.error(Some(span.clone()), format_args!("project {id} {what}"));
        if projects.iter().any(|project| project.id == id) {
            return Err(error("stands here a second time; put both secrets into one [[project]]"));
        }
        if secrets.is_empty() {
            return Err(error("has no secret; add one to its list of secrets"));
        }
        let mut project = Project { id, secrets: Vec::new(), max_file_size };
        for secret in secrets {
            push_secret(&mut project, secret).map_err(|why| error(&why))?;
        }
        projects.push(project);
    }
    Ok(projects)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::tls::TlsConfig;

    fn applied(text: &str) -> Result<Config, String> {
        let mut config = Config::default();
        let source = Source { path: Path::new("relay.toml"), text };
        apply(&source, &mut config).map_err(|error| error.0).and_then(|_| {
            config.check().map_err(|error| error.0)?;
            Ok(config)
        })
    }

    #[test]
    fn the_example_file_is_a_good_configuration() {
        let config = applied(include_str!("../crvideo-relay.example.toml")).unwrap();
        assert_eq!(config.projects.len(), 1);
        let default = Config::default();
        assert_eq!(format!("{:?}", config.settings()), format!("{:?}", default.settings()));
        assert_eq!(config.listen, default.listen);
        assert_eq!(config.tls, default.tls);
        assert_eq!(config.rtm, default.rtm);
        assert_eq!(config.files, default.files);
    }

    #[test]
    fn everything_can_be_set() {
        let config = applied(
            "listen = ['127.0.0.1:1', '[::1]:2']\nhttp = '127.0.0.1:3'\ndata = '/tmp/x'\nadmin = '/a'\nallow_plain = true\n\
             [tls]\ncert = '/c'\nkey = '/k'\nloopback = true\nhttp = false\n\
             [limits]\nthreads = 3\nmax_connections = 5\nmax_before_login = 4\ncommand_queue = 65536\nbulk_queue = 70000\n\
             login_deadline = 1.5\nheartbeat = 2\nresume_window = 3\nstartup_grace = 0\nstall_timeout = 4\n\
             [guard]\ncount_loopback = true\naddress_connections = 1\naddress_before_login = 2\naddress_uploads = 3\n\
             address_logins_per_s = 4\naddress_login_burst = 5\naddress_failures = 6\nuser_failures = 7\n\
             address_bytes_per_s = 8\nconnection_frames_per_s = 9\nconnection_bytes_per_s = 10\nproject_bytes_per_s = 11\n\
             session_transfers = 12\nproject_sessions = 13\nmax_queued = 14\n\
             [rtm]\nlisten = '127.0.0.1:4'\nusers = '127.0.0.1:8'\nfiles = '127.0.0.1:5'\nfile_endpoint = 'h:6'\nmax_targets = 7\n\
             insecure_keys = '/k'\n\
             max_group_members = 8\nmax_connections = 9\nmax_strangers = 10\npush_queue = 3000000\nclock_window = 11\n\
             message_keep = 12\nmax_undelivered = 13\nmax_messages = 14\n\
             token_life = 12\nidle_timeout = 13\nstranger_time = 14\nping = 1.5\n\
             [files]\npublic_url = 'https://h'\nmax_size = 1\nmax_chunked_size = 4\nkeep = 2\nproject_quota = 3\nmin_free_percent = 4\n\
             token_life = 60\nrequire_sign = true\nmax_uploading = 5\nmax_unauthorised = 6\n\
             [[project]]\nid = -7\nsecrets = ['one', 'two']\nmax_file_size = 9\n",
        )
        .unwrap();
        assert_eq!(config.listen, ["127.0.0.1:1".parse().unwrap(), "[::1]:2".parse().unwrap()]);
        assert_eq!(config.http, Some("127.0.0.1:3".parse().unwrap()));
        assert_eq!(config.data, Some("/tmp/x".into()));
        assert!(config.allow_plain);
        assert_eq!(config.admin_socket(), Some("/a".into()));
        let guard = crate::guard::GuardSettings {
            count_loopback: true,
            address_connections: 1,
            address_before_login: 2,
            address_uploads: 3,
            address_logins_per_s: 4,
            address_login_burst: 5,
            address_failures: 6,
            user_failures: 7,
            address_bytes_per_s: 8,
            connection_frames_per_s: 9,
            connection_bytes_per_s: 10,
            project_bytes_per_s: 11,
            session_transfers: 12,
            project_sessions: 13,
            max_queued: 14,
        };
        assert_eq!(config.guard, guard);
        let tls = TlsConfig { cert: Some("/c".into()), key: Some("/k".into()), loopback: true, http: false };
        assert_eq!(config.tls, tls);
        let rtm = RtmConfig {
            listen: Some("127.0.0.1:4".parse().unwrap()),
            users: Some("127.0.0.1:8".parse().unwrap()),
            files: Some("127.0.0.1:5".parse().unwrap()),
            file_endpoint: Some("h:6".into()),
            insecure_keys: Some("/k".into()),
            max_targets: 7,
            max_group_members: 8,
            max_connections: 9,
            max_strangers: 10,
            push_queue: 3_000_000,
            clock_window: Duration::from_secs(11),
            message_keep: Duration::from_secs(12),
            max_undelivered: 13,
            max_messages: 14,
            token_life: Duration::from_secs(12),
            idle_timeout: Duration::from_secs(13),
            stranger_time: Duration::from_secs(14),
            ping: Duration::from_millis(1_500),
        };
        assert_eq!(config.rtm, rtm);
        let files = crate::rtm::FileSettings {
            max_size: 1,
            max_chunked_size: 4,
            keep: Duration::from_secs(2),
            project_quota: 3,
            min_free_percent: 4,
            token_life: Duration::from_secs(60),
            require_sign: true,
            max_uploading: 5,
            max_unauthorised: 6,
            public_url: Some("https://h".to_owned()),
        };
        assert_eq!(config.files, files);
        assert_eq!((config.max_connections, config.max_before_login), (5, 4));
        assert_eq!(config.worker_threads(), 3);
        assert_eq!((config.command_queue, config.bulk_queue), (65536, 70000));
        assert_eq!(config.login_deadline, Duration::from_millis(1500));
        assert_eq!(config.startup_grace, Some(Duration::ZERO));
        assert_eq!(config.projects, [Project { id: -7, secrets: vec!["one".into(), "two".into()], max_file_size: 9 }]);
    }

    #[test]
    fn each_bad_line_is_named_with_its_cure() {
        let project = "[[project]]\nid = 1\nsecrets = ['s']\n";
        let cases = [
            ("lisen = []\n", "relay.toml, line 1: unknown field `lisen`"),
            ("\nlisten = 5\n", "relay.toml, line 2: invalid type"),
            ("listen = ['127.0.0.1:1',\n 'here']\n", "relay.toml, line 2: listen: \"here\" is not an address"),
            ("http = ':80'\n", "relay.toml, line 1: http: \":80\" is not an address"),
            ("[limits]\nheartbeat = -1\n", "relay.toml, line 2: heartbeat: -1 is not a number of seconds"),
            ("[limits]\nheartbeat = 1e99\n", "relay.toml, line 2: heartbeat: "),
            ("[limits]\nbulk_queue = -1\n", "relay.toml, line 2: invalid value"),
            ("[limits]\nspeed = 1\n", "relay.toml, line 2: unknown field `speed`"),
            ("[tls]\nchain = 'x'\n", "relay.toml, line 2: unknown field `chain`"),
            ("[files]\nkeep = -1\n", "relay.toml, line 2: invalid value"),
            ("[files]\nsize = 1\n", "relay.toml, line 2: unknown field `size`"),
            ("[rtm]\nlisten = 'x'\n", "relay.toml, line 2: rtm.listen: \"x\" is not an address"),
            ("[rtm]\nping = -1\n", "relay.toml, line 2: rtm.ping: -1 is not a number of seconds"),
            ("allow_plain = maybe\n", "relay.toml, line 1: "),
            ("x", "relay.toml, line 1: "),
        ];
        for (text, expected) in cases {
            let error = applied(&format!("{text}{project}")).unwrap_err();
            assert!(error.starts_with(expected), "{text:?} gives {error:?}");
            assert!(!error.contains('\n'), "{error:?} is more than one line");
        }
        let projects = [
            ("[[project]]\nsecrets = ['s']\n", "relay.toml, line 1: missing field `id`"),
            ("[[project]]\nid = 1\nsecrets = []\n", "relay.toml, line 1: project 1 has no secret"),
            ("[[project]]\nid = 1\nsecrets = ['']\n", "relay.toml, line 1: project 1 has an empty secret"),
            ("[[project]]\nid = 1\nsecrets = ['a','b','c']\n", "relay.toml, line 1: project 1 has more than 2 secrets"),
            (
                "[[project]]\nid = 1\nsecrets = ['a']\n[[project]]\nid = 1\nsecrets = ['b']\n",
                "relay.toml, line 4: project 1 stands here a second time",
            ),
        ];
        for (text, expected) in projects {
            let error = applied(text).unwrap_err();
            assert!(error.starts_with(expected), "{text:?} gives {error:?}");
        }
    }

    #[test]
    fn an_unreadable_file_is_named() {
        let error = read(Path::new("/nowhere/relay.toml"), &mut Config::default()).unwrap_err();
        assert!(error.0.contains("/nowhere/relay.toml cannot be read"), "{error}");
    }
}
