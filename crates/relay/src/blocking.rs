//! A relay for tests and programs without a runtime of their own.

use std::net::SocketAddr;

use tokio::runtime::{Builder, Runtime};

use crate::config::Config;
use crate::server::{Relay, StartError};

/// A relay with a runtime of its own, stopped at the latest when it is dropped.
pub struct BlockingRelay {
    relay: Option<Relay>,
    runtime: Option<Runtime>,
    address: SocketAddr,
    http: Option<SocketAddr>,
    rtm: Option<SocketAddr>,
    rtm_users: Option<SocketAddr>,
    rtm_files: Option<SocketAddr>,
    project: i64,
    secret: String,
}

impl BlockingRelay {
    /// Starts a relay for development on a free loopback port.
    pub fn start_dev() -> Result<Self, StartError> {
        Self::start(Config::dev()?)
    }

    /// Starts a relay.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let first = config.projects.first();
        let project = first.map_or(0, |project| project.id);
        let secret = first.and_then(|project| project.secrets.first()).cloned().unwrap_or_default();
        let runtime = Builder::new_multi_thread().worker_threads(2).thread_name("crvideo-relay").enable_all().build();
        let runtime = runtime.map_err(StartError::System)?;
        let relay = runtime.block_on(Relay::start(config))?;
        let (address, http) = (relay.address(), relay.http_address());
        let (rtm, rtm_users, rtm_files) = (relay.rtm_address(), relay.rtm_users_address(), relay.rtm_files_address());
        let (relay, runtime) = (Some(relay), Some(runtime));
        Ok(Self { relay, runtime, address, http, rtm, rtm_users, rtm_files, project, secret })
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The HTTP address.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http
    }

    /// Where servers connect with RTM SDKs.
    pub fn rtm_address(&self) -> Option<SocketAddr> {
        self.rtm
    }

    /// Where users connect with RTM SDKs.
    pub fn rtm_users_address(&self) -> Option<SocketAddr> {
        self.rtm_users
    }

    /// Where RTM SDKs send files, if that is somewhere else.
    pub fn rtm_files_address(&self) -> Option<SocketAddr> {
        self.rtm_files
    }

    /// The first project's id.
    pub fn project(&self) -> i64 {
        self.project
    }

    /// The first project's first secret.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// Connections that are open.
    pub fn connections(&self) -> usize {
        self.relay.as_ref().map_or(0, Relay::connections)
    }

    /// Bytes of memory of all that is under way: what `guard.max_queued` bounds.
    pub fn memory_used(&self) -> u64 {
        self.relay.as_ref().map_or(0, Relay::memory_used)
    }

    /// Stops as SIGTERM does: clients hear good-bye first.
    pub fn stop(mut self) {
        self.shut_down();
    }

    /// Vanishes without a word, as a relay that is killed does.
    pub fn kill(mut self) {
        self.relay = None;
        self.runtime = None;
    }

    fn shut_down(&mut self) {
        if let (Some(relay), Some(runtime)) = (self.relay.take(), &self.runtime) {
            runtime.block_on(relay.stop());
        }
        self.runtime = None;
    }
}

impl Drop for BlockingRelay {
    fn drop(&mut self) {
        self.shut_down();
    }
}
