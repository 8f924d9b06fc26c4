//! The program `crvideo-relay`.
#![forbid(unsafe_code)]

mod log;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use crvideo_relay::args::{Args, Command};
use crvideo_relay::{Config, Relay, StartError, be_prompt};
use log::Log;
use tracing::info;
use tracing_subscriber::filter::LevelFilter;

/// The exit code for a configuration that cannot be used.
const BAD_CONFIGURATION: u8 = 2;

fn main() -> ExitCode {
    let mut args = Args::parse();
    if let Some(command) = args.command.take() {
        return finish(run_command(command));
    }
    let dev = args.dev;
    match args.resolve().map_err(StartError::Config).and_then(|(config, level)| run(config, level, dev)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // When even stderr is closed there is nobody to tell.
            let _ = writeln!(io::stderr(), "crvideo-relay: {error}");
            match error {
                StartError::Config(_) => ExitCode::from(BAD_CONFIGURATION),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn run_command(command: Command) -> Result<String, String> {
    match command {
        Command::Token(args) => args.run(),
        #[cfg(unix)]
        Command::Admin(args) => args.run(),
    }
}

/// Says what a command has to say, and how it went.
fn finish(outcome: Result<String, String>) -> ExitCode {
    match outcome {
        Ok(text) => {
            say_ready(text.trim_end());
            ExitCode::SUCCESS
        }
        Err(why) => {
            let _ = writeln!(io::stderr(), "crvideo-relay: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(config: Config, level: LevelFilter, dev: bool) -> Result<(), StartError> {
    let color = io::stderr().is_terminal();
    let log = Log::start(color).map_err(StartError::System)?;
    tracing_subscriber::fmt().with_max_level(level).with_writer(log.clone()).with_ansi(color).init();
    let done = serve(config, dev);
    log.finish();
    done
}

fn serve(config: Config, dev: bool) -> Result<(), StartError> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(config.worker_threads()).on_thread_start(be_prompt).enable_all();
    let runtime = builder.build().map_err(StartError::System)?;
    runtime.block_on(async {
        // Signals that come while the relay starts must stop it too.
        let mut signals = Signals::new().map_err(StartError::System)?;
        let ready = ready_line(&config, dev);
        let relay = Relay::start(config).await?;
        say_ready(&ready(&relay));
        while signals.next().await == Asked::ForTheCertificate {
            info!("reading the certificate again");
            relay.reload_certificate();
        }
        info!("stopping");
        relay.stop().await;
        Ok(())
    })
}

/// The line that says where the relay is. Only a development relay tells a secret.
fn ready_line(config: &Config, dev: bool) -> impl Fn(&Relay) -> String + use<> {
    let ids: Vec<_> = config.projects.iter().map(|project| project.id.to_string()).collect();
    let ids = ids.join(",");
    let first = config.projects.first();
    let secret = first.filter(|_| dev).and_then(|project| project.secrets.first().cloned());
    let first = first.map_or(0, |project| project.id);
    move |relay| {
        let addresses: Vec<_> = relay.addresses().iter().map(ToString::to_string).collect();
        let listen = addresses.join(",");
        let project = match &secret {
            Some(secret) => format!("project={first} secret={secret}"),
            None => format!("project={ids}"),
        };
        let http = relay.http_address().map(|address| format!(" http={address}")).unwrap_or_default();
        let rtm = relay.rtm_address().map(|address| format!(" rtm={address}")).unwrap_or_default();
        let users = relay.rtm_users_address().map(|address| format!(" rtm_users={address}")).unwrap_or_default();
        let files = relay.rtm_files_address().map(|address| format!(" rtm-files={address}")).unwrap_or_default();
        let encrypted: Vec<_> = relay.encrypted_addresses().iter().map(ToString::to_string).collect();
        let tls = if encrypted.is_empty() { String::new() } else { format!(" tls={}", encrypted.join(",")) };
        format!("crvideo-relay ready listen={listen} {project}{http}{rtm}{users}{files}{tls}")
    }
}

fn say_ready(line: &str) {
    let mut out = io::stdout().lock();
    // A relay whose starter does not read the line serves all the same.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// What a signal asks for.
#[derive(PartialEq, Eq)]
enum Asked {
    ToStop,
    #[cfg_attr(not(unix), allow(dead_code))]
    ForTheCertificate,
}

#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let [terminate, interrupt, hang_up] =
            [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
        Ok(Self { terminate: terminate?, interrupt: interrupt?, hang_up: hang_up? })
    }

    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::ToStop,
            _ = self.interrupt.recv() => Asked::ToStop,
            _ = self.hang_up.recv() => Asked::ForTheCertificate,
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> Asked {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
        Asked::ToStop
    }
}
