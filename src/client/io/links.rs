//! The connections of one session or RTM client: making, reading, writing, ending them.

use std::net::{IpAddr, SocketAddr};

use crvideo_proto::code;
use crvideo_proto::frame::FrameReader;
use crvideo_proto::out::OutQueue;
use crvideo_proto::session::{CONNECT_DEADLINE, Now};
use mio::{Registry, Token};

use super::super::Code;
use super::super::config::TlsSettings;
use super::super::names;
use super::super::numbers::ByNumber;
use super::super::pool::FILES;
use super::super::tls::{self, Channel, Trust};
use super::socket::{Connection, State};
use super::{Context, Order, give};

/// Reads of one connection in one turn, before others get theirs.
const READS_A_TURN: usize = 16;
/// Bytes of them: moving so many takes less time than a command may wait.
const BYTES_A_TURN: usize = 512 * 1024;

/// Size of a read from a connection that takes nothing any more.
const LAST_WORDS: usize = 4 * 1024;

/// Names a connection within its owner.
pub type Link = u32;
/// Which connection of whom a socket is.
pub type Tokens = ByNumber<Token, (u64, Link)>;

/// A state machine, as its connections see it.
pub trait Machine {
    /// What waits to be written.
    fn out(&mut self, link: Link) -> Option<&mut OutQueue>;
    /// Takes what is read.
    fn reader(&mut self, link: Link) -> Option<&mut FrameReader>;
    /// Changes whenever the machine gives the connection up.
    fn generation(&mut self, link: Link) -> u32;
    /// The connection is there.
    fn connected(&mut self, link: Link, now: Now);
    /// The connection cannot be made.
    fn connect_failed(&mut self, link: Link, err: Code, now: Now);
    /// The connection has ended without the machine's doing.
    fn closed(&mut self, link: Link, err: Code, now: Now);
    /// The socket has taken bytes.
    fn written(&mut self, link: Link, now: Now);
    /// Bytes have been fed to the reader.
    fn received(&mut self, link: Link, now: Now);
}

/// A name has been looked up for a connection.
fn resolved((owner, link): (u64, Link), attempt: u64, addresses: Vec<SocketAddr>) {
    give(Order::Resolved(owner, link, attempt, addresses));
}

/// How connections are encrypted.
struct Security {
    settings: TlsSettings,
    /// Whom the session trusts, once that is loaded; why not, if it cannot be.
    trust: Option<Result<Trust, String>>,
    /// It is being loaded.
    loading: bool,
}

/// The connections. They are few, so a list of exactly as many places is the smallest and the fastest.
pub struct Links {
    owner: u64,
    connections: Vec<(Link, Connection)>,
    next_attempt: u64,
    /// `None` for those that are always in plain text.
    security: Option<Box<Security>>,
    /// Counts logins, so that what was loaded for an earlier one is told apart.
    login: u64,
}

impl Links {
    /// None yet.
    pub fn new(owner: u64) -> Self {
        Self { owner, connections: Vec::new(), next_attempt: 0, security: None, login: 0 }
    }

    /// How all connections from now on are encrypted. Whom to trust is loaded when it is needed first.
    pub fn secure_by(&mut self, settings: TlsSettings) {
        self.login += 1;
        self.security = Some(Box::new(Security { settings, trust: None, loading: false }));
    }

    /// Whom to trust has been loaded.
    pub fn trusted(&mut self, login: u64, trust: Result<Trust, String>) {
        if login == self.login
            && let Some(security) = &mut self.security
        {
            security.loading = false;
            security.trust = Some(trust);
        }
    }

    fn get(&self, link: Link) -> Option<&Connection> {
        self.connections.iter().find(|(other, _)| *other == link).map(|(_, connection)| connection)
    }

    fn get_mut(&mut self, link: Link) -> Option<&mut Connection> {
        self.connections.iter_mut().find(|(other, _)| *other == link).map(|(_, connection)| connection)
    }

    fn remove(&mut self, link: Link) -> Option<Connection> {
        let at = self.connections.iter().position(|(other, _)| *other == link)?;
        Some(self.connections.swap_remove(at).1)
    }

    /// Their names, for walking through while they may come and go.
    fn names(&self) -> Vec<Link> {
        self.connections.iter().map(|(link, _)| *link).collect()
    }

    /// Where an open connection leads.
    pub fn peer(&self, link: Link) -> Option<SocketAddr> {
        self.get(link)?.stream.as_ref()?.peer_addr().ok()
    }

    /// Begins to connect; `known` is what is known of the name `host` already.
    pub fn connect(
        &mut self,
        link: Link,
        (host, port): (&str, u16),
        known: Option<SocketAddr>,
        context: &mut Context<'_>,
    ) {
        self.drop_connection(link, context.registry, context.tokens);
        self.next_attempt += 1;
        let attempt = self.next_attempt;
        let mut connection = Connection::new(attempt, (host, port));
        let known = host.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, port)).ok().or(known);
        if let Some(address) = known {
            connection.state = State::Connecting([address].into());
        } else {
            connection.resolve_by = Some(context.now.mono + CONNECT_DEADLINE);
            names::look_up(host, (self.owner, link), (port, attempt), resolved);
        }
        self.connections.reserve_exact(1);
        self.connections.push((link, connection));
    }

    /// A name has been resolved.
    pub fn resolved(&mut self, link: Link, attempt: u64, addresses: Vec<SocketAddr>) {
        let Some(connection) = self.get_mut(link) else { return };
        if connection.attempt == attempt && matches!(connection.state, State::Resolving) {
            connection.state = State::Connecting(addresses.into());
            connection.resolve_by = None;
        }
    }

    /// Gives up names that have not been resolved in time. The state machine sees one deadline for looking a server up
    /// and connecting to it; only here it is known which of them has taken so long.
    pub fn give_names_up(&mut self, machine: &mut impl Machine, now: Now) {
        let late = |connection: &Connection| connection.resolve_by.is_some_and(|by| by <= now.mono);
        for link in self.names() {
            if !self.get(link).is_some_and(late) {
                continue;
            }
            log::warn!("the name of a server was not resolved in time");
            self.remove(link);
            machine.connect_failed(link, code::NO_SERVERINFO, now);
        }
    }

    /// What `Poll` says of a socket: it takes bytes again, nothing comes behind what is there.
    pub fn ready(&mut self, link: Link, writable: bool, ending: bool) {
        if let Some(connection) = self.get_mut(link) {
            connection.blocked &= !writable;
            connection.ending |= ending;
        }
    }

    /// Reads what has come; whether there may be more.
    pub fn read(&mut self, link: Link, machine: &mut impl Machine, scratch: &mut [u8], now: Now) -> bool {
        let generation = machine.generation(link);
        let mut bytes = 0;
        for _ in 0..READS_A_TURN {
            if bytes >= BYTES_A_TURN {
                break;
            }
            let Some(connection) = self.get_mut(link) else { return false };
            if !matches!(connection.state, State::Open) || connection.given_up {
                return false;
            }
            let Some(reader) = machine.reader(link) else { return false };
            match connection.read(scratch, reader) {
                Ok(0) => {
                    self.lost(link, machine, code::FORCEDCLOSECONNECTION, now);
                    return false;
                }
                Ok(count) => {
                    bytes += count;
                    machine.received(link, now);
                    if machine.generation(link) != generation {
                        connection.given_up = true;
                        return false;
                    }
                    if connection.drained {
                        return false;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return false,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                    log::warn!("an encrypted connection is given up: {error}");
                    self.lost(link, machine, code::SSL_ERR, now);
                    return false;
                }
                Err(error) => {
                    log::info!("a connection broke: {error}");
                    self.lost(link, machine, code::SOCKETEXCEPTION, now);
                    return false;
                }
            }
        }
        true
    }

    /// The connection has ended without our doing.
    fn lost(&mut self, link: Link, machine: &mut impl Machine, err: Code, now: Now) {
        if let Some(connection) = self.get_mut(link) {
            connection.given_up = true;
        }
        machine.closed(link, err, now);
    }

    fn drop_connection(&mut self, link: Link, registry: &Registry, tokens: &mut Tokens) {
        let Some(mut connection) = self.remove(link) else { return };
        if let Some(mut stream) = connection.stream.take() {
            tokens.remove(&connection.token);
            // The socket closes in any case.
            let _ = registry.deregister(&mut *stream);
        }
    }

    /// The host has closed descriptors of ours, and perhaps these: what they led to is lost.
    pub fn descriptors_lost(&mut self, machine: &mut impl Machine, now: Now) {
        for link in self.names() {
            match self.get(link).map(|connection| connection.stream.is_some()) {
                Some(true) if self.get(link).is_some_and(|connection| matches!(connection.state, State::Open)) => {
                    self.lost(link, machine, code::CONNECTIONLOST, now);
                }
                Some(true) => {
                    self.remove(link);
                    machine.connect_failed(link, code::CONNECTIONLOST, now);
                }
                _ => {}
            }
        }
        // Before any other descriptor is opened, which could get the number of one of these.
        for (_, connection) in &mut self.connections {
            connection.stream = None;
        }
    }

    /// Closes a connection, after one attempt to write what is queued.
    pub fn close(&mut self, link: Link, machine: &mut impl Machine, registry: &Registry, tokens: &mut Tokens) {
        if let Some(Connection { state: State::Handshaking, server: (host, port), .. }) = self.get(link) {
            log::info!("the connection to {host:?} {port} is given up in the middle of the TLS handshake");
        }
        if let Some(connection) = self.get_mut(link)
            && matches!(connection.state, State::Open)
            && !connection.given_up
            && let Some(out) = machine.out(link)
        {
            let _ = connection.write(out);
            connection.end();
        }
        self.drop_connection(link, registry, tokens);
    }

    /// Closes all connections.
    pub fn close_all(&mut self, machine: &mut impl Machine, registry: &Registry, tokens: &mut Tokens) {
        for link in self.names() {
            self.close(link, machine, registry, tokens);
        }
    }

    /// Lets go what the machine has given up, moves on what is being made, and writes what is queued.
    pub fn drive(&mut self, machine: &mut impl Machine, context: &mut Context<'_>) {
        let mut at = 0;
        while let Some(link) = self.connections.get(at).map(|(link, _)| *link) {
            if self.get(link).is_some_and(|connection| connection.given_up) {
                self.drop_connection(link, context.registry, context.tokens);
            }
            self.advance(link, machine, context);
            self.secure(link, machine, context);
            self.flush(link, machine, context);
            // Where one has gone, another one has taken its place.
            at += usize::from(self.connections.get(at).is_some_and(|(other, _)| *other == link));
        }
    }

    /// Moves a connection that is being made forward.
    fn advance(&mut self, link: Link, machine: &mut impl Machine, context: &mut Context<'_>) {
        let Some(connection) = self.get_mut(link) else { return };
        let State::Connecting(addresses) = &connection.state else { return };
        let none_found = connection.stream.is_none() && addresses.is_empty();
        let outcome = connection.outcome();
        match outcome {
            Some(Ok(())) => self.reached(link, machine, context),
            None if connection.stream.is_some() => {}
            _ => {
                if let Some(Err(error)) = outcome {
                    log::info!("cannot connect: {error}");
                }
                if let Some(mut stream) = connection.stream.take() {
                    context.tokens.remove(&connection.token);
                    let _ = context.registry.deregister(&mut *stream);
                }
                let token = Token(*context.next_token);
                *context.next_token += 1;
                if connection.try_next(context.registry, token) {
                    context.tokens.insert(token, (self.owner, link));
                } else {
                    self.remove(link);
                    let err = if none_found { code::NO_SERVERINFO } else { code::CREATE_CONN_FAILED };
                    machine.connect_failed(link, err, context.now);
                }
            }
        }
    }

    /// The socket of a connection is there.
    fn reached(&mut self, link: Link, machine: &mut impl Machine, context: &mut Context<'_>) {
        let peer = self.peer(link).map(|address| address.ip());
        let encrypted = match (&self.security, peer) {
            (Some(security), Some(peer)) => tls::wanted(&security.settings, peer),
            // Where a connection leads is known as long as it is there.
            (Some(_), None) => true,
            (None, _) => false,
        };
        let Some(connection) = self.get_mut(link) else { return };
        if encrypted {
            connection.state = State::Trusting;
        } else {
            connection.state = State::Open;
            machine.connected(link, context.now);
        }
    }

    /// Moves the encryption of a connection forward.
    fn secure(&mut self, link: Link, machine: &mut impl Machine, context: &mut Context<'_>) {
        if self.get(link).is_some_and(|connection| matches!(connection.state, State::Trusting)) {
            match self.trust() {
                Some(Ok(trust)) => self.begin_handshake(link, &trust, machine, context),
                Some(Err(why)) => self.insecure(link, &why, machine, context),
                None => {}
            }
        }
        let Some(connection) = self.get_mut(link) else { return };
        if !matches!(connection.state, State::Handshaking) {
            return;
        }
        match connection.shake_hands() {
            Ok(false) => {}
            Ok(true) => {
                if let Some(channel) = &connection.channel {
                    log::debug!("the connection to {:?} is encrypted: {}", connection.server.0, channel.version());
                }
                connection.state = State::Open;
                // What has come behind the handshake may have been read already.
                context.unread.push((self.owner, link));
                machine.connected(link, context.now);
            }
            Err(why) => self.insecure(link, &why, machine, context),
        }
    }

    fn begin_handshake(&mut self, link: Link, trust: &Trust, machine: &mut impl Machine, context: &mut Context<'_>) {
        let Some(connection) = self.get_mut(link) else { return };
        match Channel::start(trust, &connection.server.0) {
            Ok(channel) => {
                connection.channel = Some(Box::new(channel));
                connection.state = State::Handshaking;
            }
            Err(why) => self.insecure(link, &why, machine, context),
        }
    }

    /// Whom to trust, if that is known; else it is being loaded now. What could not be loaded is tried again next time.
    fn trust(&mut self) -> Option<Result<Trust, String>> {
        let (owner, login) = (self.owner, self.login);
        let security = self.security.as_mut()?;
        if security.trust.as_ref().is_some_and(Result::is_err) {
            return security.trust.take();
        }
        if security.trust.is_some() {
            return security.trust.clone();
        }
        if !std::mem::replace(&mut security.loading, true) {
            let settings = security.settings.clone();
            FILES.run(move || give(Order::Trusted(owner, login, tls::load(&settings))));
        }
        None
    }

    /// A connection cannot be encrypted as it must be.
    fn insecure(&mut self, link: Link, why: &str, machine: &mut impl Machine, context: &mut Context<'_>) {
        if let Some(Connection { server: (host, port), .. }) = self.get(link) {
            log::error!("no encrypted connection to {host:?} {port}: {why}");
        }
        self.drop_connection(link, context.registry, context.tokens);
        machine.connect_failed(link, code::SSL_ERR, context.now);
    }

    fn flush(&mut self, link: Link, machine: &mut impl Machine, context: &mut Context<'_>) {
        let Some(connection) = self.get_mut(link) else { return };
        if !matches!(connection.state, State::Open) || connection.given_up || connection.blocked {
            return;
        }
        // What the state machine adds while there is room goes out in the same turn.
        while let Some(out) = machine.out(link)
            && (!out.is_empty() || connection.has_unsent())
        {
            match connection.write(out) {
                Ok(0) => break,
                Ok(_) => machine.written(link, context.now),
                Err(error) => {
                    log::info!("a connection broke: {error}");
                    return self.hear_out(link, machine, context.now);
                }
            }
        }
    }

    /// The other side takes nothing any more: what it has said before, perhaps why, is still to be read.
    fn hear_out(&mut self, link: Link, machine: &mut impl Machine, now: Now) {
        self.read(link, machine, &mut [0; LAST_WORDS], now);
        if self.get(link).is_some_and(|connection| !connection.given_up) {
            self.lost(link, machine, code::SOCKETEXCEPTION, now);
        }
    }
}
