//! The command line and the environment. A flag goes before its environment variable, that before the
//! configuration file, and that before the default.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::{Parser, Subcommand};
use tracing_subscriber::filter::LevelFilter;
use zeroize::Zeroizing;

use crate::config::{Config, ConfigError, Project, parse_address, parse_seconds, push_secret};
use crate::file;
use crate::tokens::TokenArgs;

/// What else the program does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Mint a token for a user, as your backend does it: a JWT (HS256) on stdout, for tests.
    Token(TokenArgs),
    /// Ask a running relay who is there, end sessions, revoke tokens, show counters.
    #[cfg(unix)]
    Admin(crate::admin::commands::AdminArgs),
}

/// More development than production? Both are shown by example.
const EXAMPLES: &str = "\
EXAMPLES
  Try it: a free port, a project with a random secret; one line says when and where it is ready.
      crvideo-relay --dev

  Develop against a fixed port and a secret of your own.
      crvideo-relay --dev --listen 127.0.0.1:13400 --project 1:my-secret

  Serve: projects and limits in a file, numbers that must outlive a restart in a directory.
      crvideo-relay --config /etc/crvideo-relay.toml --data /var/lib/crvideo-relay

  The same from the environment, as containers like it.
      CRVIDEO_RELAY_LISTEN=127.0.0.1:13400 CRVIDEO_RELAY_PROJECTS=1:my-secret crvideo-relay

  Who is there? (docs/relay.md tells what else the operator can do.)
      crvideo-relay admin users --data /var/lib/crvideo-relay

  A token for a test.
      crvideo-relay token --project 1 --user alice --expires 1h --secret-file secret.txt
  Encrypt: clients then need the authority of the certificate, or have it from their system.
      crvideo-relay --listen 0.0.0.0:13400 --tls-cert /etc/crvideo/chain.pem --tls-key /etc/crvideo/key.pem ...

  Is it alive?
      crvideo-relay --dev --http 127.0.0.1:13480 &    curl http://127.0.0.1:13480/healthz

When it is ready it prints one line: crvideo-relay ready listen=ADDR:PORT project=PID ...
SIGTERM and SIGINT stop it: clients hear good-bye, and it exits with 0. SIGHUP reads the certificate again. A configuration error exits with 2.";

/// The server that crvideo clients talk to: it knows who is online and passes on what they send each other.
#[derive(Default, Parser)]
#[command(name = "crvideo-relay", version, after_help = EXAMPLES)]
pub struct Args {
    #[allow(missing_docs)]
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE", env = "CRVIDEO_RELAY_CONFIG")]
    pub config: Option<PathBuf>,

    /// Where clients connect; repeat it or separate by commas; port 0 takes a free one [default: 127.0.0.1:13400]
    #[arg(long, value_name = "ADDR:PORT", env = "CRVIDEO_RELAY_LISTEN", value_delimiter = ',')]
    pub listen: Vec<String>,

    /// Serve HTTP here: files that servers have sent, and GET /healthz [default: no HTTP, with --dev a free port]
    #[arg(long, value_name = "ADDR:PORT", env = "CRVIDEO_RELAY_HTTP")]
    pub http: Option<String>,

    /// Where servers with RTM SDKs connect, without encryption, because the SDKs have none [default: nowhere]
    #[arg(long, value_name = "ADDR:PORT", env = "CRVIDEO_RELAY_RTM")]
    pub rtm: Option<String>,

    /// Where users with RTM SDKs connect, without encryption as well [default: nowhere]
    #[arg(long, value_name = "ADDR:PORT", env = "CRVIDEO_RELAY_RTM_USERS")]
    pub rtm_users: Option<String>,

    /// Where RTM SDKs send files [default: where servers connect, or users]
    #[arg(long, value_name = "ADDR:PORT", env = "CRVIDEO_RELAY_RTM_FILES")]
    pub rtm_files: Option<String>,

    /// The address for files that RTM SDKs are told, no IPv6 [default: the one that they have connected to]
    #[arg(long, value_name = "HOST:PORT", env = "CRVIDEO_RELAY_RTM_FILE_ENDPOINT")]
    pub rtm_file_endpoint: Option<String>,

    /// How far the time in a quest of an RTM SDK may be from ours [default: 600]
    #[arg(long, value_name = "SECONDS", env = "CRVIDEO_RELAY_RTM_CLOCK_WINDOW")]
    pub rtm_clock_window: Option<String>,

    /// PEM file with private EC keys (secp256k1, prime256v1) for FPNN's own encryption, which old SDKs ask for by *key.
    /// It is insecure: it authenticates nothing [default: not offered]
    #[arg(long, value_name = "FILE", env = "CRVIDEO_RELAY_RTM_INSECURE_KEYS")]
    pub rtm_insecure_keys: Option<PathBuf>,

    /// What the addresses of files begin with, as clients reach the HTTP listener [default: http:// and its address]
    #[arg(long, value_name = "URL", env = "CRVIDEO_RELAY_PUBLIC_URL")]
    pub public_url: Option<String>,

    /// Directory for what must outlive a restart; made when missing [default: nothing is kept]
    #[arg(long, value_name = "DIR", env = "CRVIDEO_RELAY_DATA")]
    pub data: Option<PathBuf>,

    /// The operator's socket, for `crvideo-relay admin` [default: admin.sock in the data directory]
    #[arg(long, value_name = "FILE", env = "CRVIDEO_RELAY_ADMIN")]
    pub admin: Option<PathBuf>,

    /// A project and its secret; repeat it for more projects, or for a second secret of the same project.
    /// Other users of this machine can see it in the process list; a file or the environment hides it
    #[arg(long, value_name = "PID:SECRET")]
    pub project: Vec<String>,

    /// The same in one variable, separated by commas.
    #[arg(long, hide = true, value_name = "PID:SECRET,...", env = "CRVIDEO_RELAY_PROJECTS", hide_env_values = true)]
    pub projects: Option<String>,

    /// For development: 127.0.0.1, free ports (also for RTM) and a project with a random secret, unless given otherwise
    #[arg(long, env = "CRVIDEO_RELAY_DEV", value_parser = FalseyValueParser::new())]
    pub dev: bool,

    /// PEM file with the certificate and those that lead to its authority; the listeners for clients and HTTP that are
    /// not on loopback addresses are encrypted then. It is read again when it changes, and on SIGHUP
    #[arg(long, value_name = "FILE", env = "CRVIDEO_RELAY_TLS_CERT")]
    pub tls_cert: Option<PathBuf>,

    /// PEM file with the key of that certificate, not encrypted
    #[arg(long, value_name = "FILE", env = "CRVIDEO_RELAY_TLS_KEY")]
    pub tls_key: Option<PathBuf>,

    /// Encrypt on loopback addresses, too
    #[arg(long, env = "CRVIDEO_RELAY_TLS_LOOPBACK", value_parser = FalseyValueParser::new())]
    pub tls_loopback: bool,

    /// Listen without encryption on addresses that others can reach
    #[arg(long, env = "CRVIDEO_RELAY_ALLOW_PLAIN", value_parser = FalseyValueParser::new())]
    pub allow_plain: bool,

    /// Heart-beat of the connections [default: 20]
    #[arg(long, value_name = "SECONDS", env = "CRVIDEO_RELAY_HEARTBEAT")]
    pub heartbeat: Option<String>,

    /// How long a client whose link broke may come back and go on [default: 60]
    #[arg(long, value_name = "SECONDS", env = "CRVIDEO_RELAY_RESUME_WINDOW")]
    pub resume_window: Option<String>,

    /// How long after a start clients of the run before are waited for [default: 10, with --dev 0]
    #[arg(long, value_name = "SECONDS", env = "CRVIDEO_RELAY_STARTUP_GRACE")]
    pub startup_grace: Option<String>,

    /// off, error, warn, info, debug or trace; logs go to stderr [default: info]
    #[arg(long, value_name = "LEVEL", env = "CRVIDEO_RELAY_LOG")]
    pub log: Option<String>,
}

/// Secrets may stand among them.
impl std::fmt::Debug for Args {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Args(…)")
    }
}

impl Args {
    /// What the flags, the environment and the file add up to.
    pub fn resolve(self) -> Result<(Config, LevelFilter), ConfigError> {
        let mut config = if self.dev { Config::dev()? } else { Config::default() };
        let log = self.config.as_deref().map(|path| file::read(path, &mut config)).transpose()?.flatten();
        if !self.listen.is_empty() {
            let listen = self.listen.iter().map(|text| parse_address(text).map_err(|why| flag("--listen", &why)));
            config.listen = listen.collect::<Result<_, _>>()?;
        }
        if let Some(http) = &self.http {
            config.http = Some(parse_address(http).map_err(|why| flag("--http", &why))?);
        }
        let rtm = [
            ("--rtm", &self.rtm, &mut config.rtm.listen),
            ("--rtm-users", &self.rtm_users, &mut config.rtm.users),
            ("--rtm-files", &self.rtm_files, &mut config.rtm.files),
        ];
        for (name, text, address) in rtm {
            if let Some(text) = text {
                *address = Some(parse_address(text).map_err(|why| flag(name, &why))?);
            }
        }
        if let Some(text) = self.rtm_clock_window {
            let why = format!("{text:?} is not a whole number of seconds");
            let seconds = text.parse().map_err(|_| flag("--rtm-clock-window", &why))?;
            config.rtm.clock_window = Duration::from_secs(seconds);
        }
        config.rtm.insecure_keys = self.rtm_insecure_keys.or(config.rtm.insecure_keys);
        config.rtm.file_endpoint = self.rtm_file_endpoint.or(config.rtm.file_endpoint);
        config.files.public_url = self.public_url.or(config.files.public_url);
        config.data = self.data.or(config.data);
        config.admin = self.admin.or(config.admin);
        config.allow_plain |= self.allow_plain;
        config.tls.cert = self.tls_cert.or(config.tls.cert);
        config.tls.key = self.tls_key.or(config.tls.key);
        config.tls.loopback |= self.tls_loopback;
        let listed = self.projects.map(Zeroizing::new);
        let from_env = || listed.iter().flat_map(|list| list.split(',')).map(str::to_owned).collect();
        let given = Zeroizing::new(if self.project.is_empty() { from_env() } else { self.project });
        if !given.is_empty() {
            config.projects = projects(&given)?;
        }
        let times = [
            ("--heartbeat", self.heartbeat, &mut config.heartbeat),
            ("--resume-window", self.resume_window, &mut config.resume_window),
        ];
        for (name, text, time) in times {
            if let Some(text) = text {
                *time = seconds(name, &text)?;
            }
        }
        if let Some(text) = self.startup_grace {
            config.startup_grace = Some(seconds("--startup-grace", &text)?);
        }
        let level = level(self.log.or(log).as_deref())?;
        config.check()?;
        Ok((config, level))
    }
}

fn flag(name: &str, why: &dyn std::fmt::Display) -> ConfigError {
    ConfigError(format!("{name} (or its environment variable): {why}"))
}

fn seconds(name: &str, text: &str) -> Result<Duration, ConfigError> {
    let number = text.parse().map_err(|_| flag(name, &format_args!("{text:?} is not a number of seconds")))?;
    parse_seconds(number).map_err(|why| flag(name, &why))
}

fn level(text: Option<&str>) -> Result<LevelFilter, ConfigError> {
    let text = text.unwrap_or("info");
    text.parse().map_err(|_| {
        ConfigError(format!("the log level {text:?} is unknown; use off, error, warn, info, debug or trace"))
    })
}

/// Reads `PID:SECRET` words. The secret is never repeated in an error.
fn projects(words: &[String]) -> Result<Vec<Project>, ConfigError> {
    let mut projects: Vec<Project> = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let parsed = word.split_once(':').and_then(|(id, secret)| Some((id.trim().parse::<i64>().ok()?, secret)));
        let Some((id, secret)) = parsed else {
            let why = format!("number {} is not of the form PID:SECRET, as in 1:my-secret", at + 1);
            return Err(flag("--project", &why));
        };
        let at = projects.iter().position(|project| project.id == id).unwrap_or_else(|| {
            projects.push(Project { id, secrets: Vec::new(), max_file_size: 0 });
            projects.len() - 1
        });
        if let Some(project) = projects.get_mut(at) {
            push_secret(project, secret.to_owned()).map_err(|why| flag("--project", &format!("project {id} {why}")))?;
        }
    }
    Ok(projects)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn resolve(words: &[&str]) -> Result<Config, String> {
        let args = Args::try_parse_from(std::iter::once(&"crvideo-relay").chain(words)).unwrap();
        args.resolve().map(|(config, _)| config).map_err(|error| error.0)
    }

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }

    #[test]
    fn dev_needs_nothing_and_takes_a_project() {
        let config = resolve(&["--dev"]).unwrap();
        assert_eq!(config.listen, ["127.0.0.1:0".parse().unwrap()]);
        assert_eq!(config.projects[0].secrets[0].len(), 64);
        let config = resolve(&["--dev", "--project", "7:a:b", "--project", "7:c", "--listen", "127.0.0.1:1,[::1]:2"]);
        let config = config.unwrap();
        assert_eq!(config.projects, [Project { id: 7, secrets: vec!["a:b".into(), "c".into()], max_file_size: 0 }]);
        assert_eq!(config.listen.len(), 2);
    }

    #[test]
    fn each_mistake_is_one_sentence_that_hides_secrets() {
        let cases: &[(&[&str], &str)] = &[
            (&[], "no project is configured"),
            (&["--project", "secret"], "number 1 is not of the form PID:SECRET"),
            (&["--project", "x:secret"], "number 1 is not of the form PID:SECRET"),
            (&["--project", "1:"], "project 1 has an empty secret"),
            (&["--project", "1:a", "--project", "1:b", "--project", "1:c"], "project 1 has more than 2 secrets"),
            (&["--dev", "--listen", "nonsense"], "\"nonsense\" is not an address"),
            (&["--dev", "--listen", "0.0.0.0:1"], "0.0.0.0:1 is not a loopback address"),
            (&["--dev", "--http", "[::]:1"], "[::]:1 is not a loopback address"),
            (&["--dev", "--rtm", "[::]:1"], "[::]:1 is not a loopback address"),
            (&["--dev", "--rtm-users", "[::]:1"], "[::]:1 is not a loopback address"),
            (&["--dev", "--rtm-users", "x"], "--rtm-users (or its environment variable): \"x\" is not an address"),
            (
                &["--dev", "--rtm-files", "here"],
                "--rtm-files (or its environment variable): \"here\" is not an address",
            ),
            (&["--dev", "--rtm-clock-window", "wide"], "\"wide\" is not a whole number of seconds"),
            (&["--dev", "--rtm-clock-window", "0"], "rtm.clock_window is below"),
            (&["--project", "1:a", "--rtm-files", "127.0.0.1:1"], "rtm.files needs rtm.listen"),
            (
                &["--dev", "--rtm-file-endpoint", "[::1]:1"],
                "rtm.file_endpoint \"[::1]:1\" is not of the form HOST:PORT",
            ),
            (&["--dev", "--tls-cert", "/c"], "a certificate (tls.cert) but no key"),
            (&["--dev", "--tls-key", "/k"], "a key (tls.key) but no certificate"),
            (&["--dev", "--tls-loopback"], "tls.loopback but no certificate"),
            (&["--dev", "--log", "loud"], "the log level \"loud\" is unknown"),
            (&["--dev", "--heartbeat", "often"], "\"often\" is not a number of seconds"),
            (&["--dev", "--heartbeat", "0"], "heartbeat is below"),
            (&["--dev", "--resume-window", "NaN"], "NaN is not a number of seconds"),
            (&["--dev", "--config", "/nowhere"], "/nowhere cannot be read"),
        ];
        for (words, expected) in cases {
            let error = resolve(words).unwrap_err();
            assert!(error.contains(expected), "{words:?} gives {error:?}");
            assert!(!error.contains('\n') && !error.contains("secret\""), "{error:?}");
        }
        assert!(resolve(&["--dev", "--listen", "0.0.0.0:1", "--allow-plain"]).is_ok());
        let pair = ["--dev", "--tls-cert", "/c", "--tls-key", "/k"];
        assert!(resolve(&[&pair[..], &["--listen", "0.0.0.0:1", "--http", "[::]:1"]].concat()).is_ok());
        let error = resolve(&[&pair[..], &["--rtm", "0.0.0.0:1"]].concat()).unwrap_err();
        assert!(error.contains("RTM SDKs cannot encrypt"), "{error}");
    }

    #[test]
    fn secrets_are_not_shown() {
        let config = resolve(&["--dev", "--project", "1:hush"]).unwrap();
        assert!(!format!("{config:?}").contains("hush"));
    }
}
