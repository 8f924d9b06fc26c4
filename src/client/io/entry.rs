//! One session on the io thread: its state machine, its connections, its files.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crvideo_proto::code;
use crvideo_proto::id::TaskId;
use crvideo_proto::name;
use crvideo_proto::session::{
    COMMAND_OVERHEAD, CONNECT_DEADLINE, Config, Conn, Event as Told, Kind, Now, Output, Session, TransferCall,
};
use mio::{Registry, Token};

use super::super::Code;
use super::super::config::ServerAddress;
use super::super::event::{Event, TransferKind};
use super::super::names;
use super::super::queue::Item;
use super::super::session::{After, Shared, Slot, Stage};
use super::super::sink::{Place, Sink};
use super::super::source::Source;
use super::socket::{Connection, State};
use super::{Context, LIVE, Order, give};

/// Reads of one connection in one turn, before others get theirs.
const READS_A_TURN: usize = 16;
/// Program and version, told to the relay.
const AGENT: &str = concat!("libcrvideo/", env!("CARGO_PKG_VERSION"));

/// A transfer on its way out, as the shell sees it.
struct Outgoing {
    source: Arc<Source>,
    path: Option<Arc<PathBuf>>,
    /// Bytes that its reservation holds.
    reserved: u64,
    slot: Arc<Slot>,
}

/// A transfer on its way in, as the shell sees it.
struct Incoming {
    sink: Arc<Sink>,
    /// The file is in a directory of ours, and is removed when its time is over.
    expires: bool,
}

/// One session.
pub struct Entry {
    /// Stands in the list of sessions to look at.
    pub dirty: bool,
    /// Its place in the timers.
    pub timer: Option<Duration>,
    shared: Arc<Shared>,
    proto: Session,
    servers: Vec<ServerAddress>,
    /// Where the present command connection leads. The bulk connection must reach the same relay, and a name may stand
    /// for several.
    relay: Option<SocketAddr>,
    connections: [Option<Connection>; 2],
    next_attempt: u64,
    outgoing_by_task: HashMap<TaskId, Outgoing>,
    incoming_by_id: HashMap<u64, Incoming>,
    path_by_id: HashMap<u64, PathBuf>,
    slot_by_incoming: HashMap<(Arc<str>, TaskId), Arc<Slot>>,
    /// The session is destroyed; its last event is given at this time at the latest.
    ends_at: Option<Duration>,
}

/// A name has been looked up for a connection.
fn resolved((session, conn): (u64, Conn), attempt: u64, addresses: Vec<SocketAddr>) {
    give(Order::Resolved(session, conn, attempt, addresses));
}

/// The session that an order is for.
pub fn session_of(order: &Order) -> u64 {
    match order {
        Order::Attach(shared, _) => shared.handle(),
        Order::Login(session, ..)
        | Order::Logout(session, ..)
        | Order::Token(session, ..)
        | Order::Wants(session, ..)
        | Order::Command(session, ..)
        | Order::Transfer(session, ..)
        | Order::Cancel(session, ..)
        | Order::Accept(session, ..)
        | Order::Refuse(session, ..)
        | Order::CancelReceive(session, ..)
        | Order::Users(session, ..)
        | Order::Watch(session, ..)
        | Order::Receipt(session, ..)
        | Order::Destroy(session)
        | Order::Resolved(session, ..)
        | Order::Read(session, ..)
        | Order::Written(session, ..)
        | Order::Finished(session, ..)
        | Order::Aborted(session, ..) => *session,
    }
}

/// An order for a session that has ended. Whoever gave it has been told by the session's own last events, or
/// (results of file work) nobody waits for it.
pub fn give_up(order: Order) {
    log::debug!("an order came too late for session {:#x}", session_of(&order));
}

fn index(conn: Conn) -> usize {
    match conn {
        Conn::Command => 0,
        Conn::Bulk => 1,
    }
}

impl Entry {
    /// A session that is not logged in.
    pub fn new(shared: Arc<Shared>, session_id: [u8; 16]) -> Self {
        LIVE.fetch_add(1, Ordering::SeqCst);
        let config = shared.config();
        let config = Config {
            command_timeout: config.cmd_timeout,
            transfer_timeout: config.transfer_timeout,
            offer_timeout: config.offer_timeout,
            buffer_limit: config.buffer_limit,
            inbound_limit: config.inbound_limit,
            agent: AGENT,
        };
        let [s0, s1, s2, s3, s4, s5, s6, s7, ..] = session_id;
        let seed = u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
        Self {
            dirty: false,
            timer: None,
            proto: Session::new(config, session_id, seed),
            shared,
            servers: Vec::new(),
            relay: None,
            connections: [None, None],
            next_attempt: 0,
            outgoing_by_task: HashMap::new(),
            incoming_by_id: HashMap::new(),
            path_by_id: HashMap::new(),
            slot_by_incoming: HashMap::new(),
            ends_at: None,
        }
    }

    // ---- orders -------------------------------------------------------------------------------------------

    /// Carries out an order of the application's, or takes a result of the pool's.
    pub fn carry_out(&mut self, order: Order, now: Now) {
        let proto = &mut self.proto;
        match order {
            Order::Login(_, identity, servers, cookie) => {
                self.servers = servers;
                proto.login(identity, cookie, now);
            }
            Order::Logout(_, cookie) => proto.logout(cookie, now),
            Order::Token(_, token) => proto.update_token(token),
            Order::Wants(_, offers, progress) => proto.set_wants(offers, progress),
            Order::Command(_, call) => proto.send_command(call, now),
            Order::Transfer(_, call, source, path) => self.send_transfer(call, source, path, now),
            Order::Cancel(_, task, cookie) => proto.cancel_send(task, cookie),
            Order::Accept(_, source, task, path) => self.accept(&source, task, path, now),
            Order::Refuse(_, source, task) => {
                proto.refuse(&source, task, now);
            }
            Order::CancelReceive(_, source, task) => {
                proto.cancel_receive(&source, task, now);
            }
            Order::Users(_, user, cookie) => proto.query_users(user, cookie),
            Order::Watch(_, on, cookie) => proto.watch_users(on, cookie),
            Order::Receipt(_, receipt) => {
                proto.handled_in_all(self.shared.handled());
                proto.receipt(receipt, now);
            }
            Order::Read(_, task, generation, Ok((data, hash))) => {
                proto.source_read(task, generation, data, hash, now);
            }
            Order::Read(_, task, _, Err(err)) => proto.source_failed(task, err, now),
            Order::Written(_, id, Ok(written)) => proto.sink_written(id, written, now),
            Order::Written(_, id, Err(err)) => proto.sink_failed(id, err, now),
            Order::Finished(_, id, Ok(())) => proto.sink_finished(id, now),
            Order::Finished(_, id, Err(err)) => proto.sink_failed(id, err, now),
            Order::Aborted(_, id) => {
                self.incoming_by_id.remove(&id);
                self.proto.sink_aborted(id, now);
            }
            Order::Attach(..) | Order::Destroy(_) | Order::Resolved(..) => {}
        }
    }

    fn send_transfer(&mut self, call: TransferCall, source: Arc<Source>, path: Option<Arc<PathBuf>>, now: Now) {
        let reserved = if call.kind == Kind::Buffer { call.size } else { 0 };
        self.outgoing_by_task.insert(call.task, Outgoing { source, path, reserved, slot: Arc::default() });
        self.proto.send_transfer(call, now);
    }

    fn accept(&mut self, source: &Arc<str>, task: TaskId, path: Option<PathBuf>, now: Now) {
        if let (Some(id), Some(path)) = (self.proto.receiving_id(source, task), path) {
            self.path_by_id.insert(id, path);
        }
        self.proto.accept(source, task, now);
    }

    /// Ends the session; its last event is given when its files are removed, or at `ends_at`.
    pub fn destroy(&mut self, now: Now, ends_at: Duration) {
        self.proto.shut_down(now);
        self.ends_at = Some(ends_at);
    }

    /// Whether everything of a destroyed session is done.
    pub fn is_over(&self, now: Now) -> bool {
        self.ends_at.is_some_and(|at| at <= now.mono || self.proto.is_quiet())
    }

    /// What gives the last word of a destroyed session.
    pub fn fence(&self) -> impl FnOnce() + Send + 'static {
        let shared = self.shared.clone();
        move || shared.queue().push(Item::Fence(shared.clone()))
    }

    /// Ends the session because of a fault.
    pub fn fail(&mut self, err: Code) {
        self.proto.fail(err);
    }

    /// When the session must be looked at again.
    pub fn deadline(&self) -> Option<Duration> {
        [self.proto.deadline(), self.ends_at].into_iter().flatten().min()
    }

    /// The deadline has passed.
    pub fn timeout(&mut self, now: Now) {
        for conn in [Conn::Command, Conn::Bulk] {
            // The state machine sees one deadline for looking a server up and connecting to it; only here it is known
            // which of them has taken so long.
            let late = |connection: &Connection| connection.resolve_by.is_some_and(|by| by <= now.mono);
            if self.connections[index(conn)].as_ref().is_some_and(late) {
                log::warn!("the name of a server was not resolved in time");
                self.connections[index(conn)] = None;
                self.proto.connect_failed(conn, code::NO_SERVERINFO, now);
            }
        }
        self.proto.timeout(now);
    }

    // ---- connections --------------------------------------------------------------------------------------

    /// A name has been resolved.
    pub fn resolved(&mut self, conn: Conn, attempt: u64, addresses: Vec<SocketAddr>) {
        let Some(connection) = &mut self.connections[index(conn)] else { return };
        if connection.attempt == attempt && matches!(connection.state, State::Resolving) {
            connection.state = State::Connecting(addresses.into());
            connection.resolve_by = None;
        }
    }

    /// The socket takes bytes again.
    pub fn writable(&mut self, conn: Conn) {
        if let Some(connection) = &mut self.connections[index(conn)] {
            connection.blocked = false;
        }
    }

    /// Reads what has come; whether there may be more.
    pub fn read(&mut self, conn: Conn, scratch: &mut [u8], now: Now) -> bool {
        let generation = self.proto.generation(conn);
        for _ in 0..READS_A_TURN {
            let Some(connection) = &mut self.connections[index(conn)] else { return false };
            if !matches!(connection.state, State::Open) || connection.given_up {
                return false;
            }
            match connection.read(scratch, self.proto.reader(conn)) {
                Ok(0) => {
                    self.lost(conn, code::FORCEDCLOSECONNECTION, now);
                    return false;
                }
                Ok(_) => {
                    self.proto.handled_in_all(self.shared.handled());
                    self.proto.received(conn, now);
                    if self.proto.generation(conn) != generation {
                        connection.given_up = true;
                        return false;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return false,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    log::info!("the connection to the relay broke: {error}");
                    self.lost(conn, code::SOCKETEXCEPTION, now);
                    return false;
                }
            }
        }
        true
    }

    /// The connection has ended without our doing.
    fn lost(&mut self, conn: Conn, err: Code, now: Now) {
        if let Some(connection) = &mut self.connections[index(conn)] {
            connection.given_up = true;
        }
        self.proto.closed(conn, err, now);
    }

    fn drop_connection(&mut self, conn: Conn, registry: &Registry, tokens: &mut HashMap<Token, (u64, Conn)>) {
        let Some(mut connection) = self.connections[index(conn)].take() else { return };
        if let Some(mut stream) = connection.stream.take() {
            tokens.remove(&connection.token);
            // The socket closes in any case.
            let _ = registry.deregister(&mut stream);
        }
    }

    /// Closes both connections.
    pub fn close_all(&mut self, registry: &Registry, tokens: &mut HashMap<Token, (u64, Conn)>) {
        for conn in [Conn::Command, Conn::Bulk] {
            self.flush_last(conn);
            self.drop_connection(conn, registry, tokens);
        }
    }

    /// One attempt to write what is queued, for a farewell.
    fn flush_last(&mut self, conn: Conn) {
        if let Some(connection) = &mut self.connections[index(conn)]
            && matches!(connection.state, State::Open)
            && !connection.given_up
        {
            let _ = connection.write(self.proto.out(conn));
        }
    }

    fn connect(&mut self, conn: Conn, server: usize, context: &mut Context<'_>) {
        self.drop_connection(conn, context.registry, context.conn_by_token);
        self.next_attempt += 1;
        let attempt = self.next_attempt;
        let mut connection = Connection::new(attempt);
        let number = server + 1;
        let Some(server) = self.servers.get(server).cloned() else { return };
        log::debug!(
            "session {:#x} connects to server {number}, {:?} {}",
            self.shared.handle(),
            server.host,
            server.port
        );
        let known = match server.host.parse::<IpAddr>() {
            Ok(ip) => Some(SocketAddr::new(ip, server.port)),
            Err(_) => self.relay.filter(|_| conn == Conn::Bulk),
        };
        if let Some(address) = known {
            connection.state = State::Connecting([address].into());
        } else {
            connection.resolve_by = Some(context.now.mono + CONNECT_DEADLINE);
            names::look_up(&server.host, (self.shared.handle(), conn), (server.port, attempt), resolved);
        }
        self.connections[index(conn)] = Some(connection);
    }

    /// Moves a connection that is being made forward.
    fn advance(&mut self, conn: Conn, context: &mut Context<'_>) {
        let Some(connection) = &mut self.connections[index(conn)] else { return };
        let State::Connecting(addresses) = &connection.state else { return };
        let none_found = connection.stream.is_none() && addresses.is_empty();
        let outcome = connection.outcome();
        match outcome {
            Some(Ok(())) => {
                connection.state = State::Open;
                if conn == Conn::Command {
                    self.relay = connection.stream.as_ref().and_then(|stream| stream.peer_addr().ok());
                }
                self.proto.connected(conn, context.now);
            }
            None if connection.stream.is_some() => {}
            _ => {
                if let Some(Err(error)) = outcome {
                    log::info!("cannot connect: {error}");
                }
                if let Some(mut stream) = connection.stream.take() {
                    context.conn_by_token.remove(&connection.token);
                    let _ = context.registry.deregister(&mut stream);
                }
                let token = Token(*context.next_token);
                *context.next_token += 1;
                if connection.try_next(context.registry, token) {
                    context.conn_by_token.insert(token, (self.shared.handle(), conn));
                } else {
                    self.connections[index(conn)] = None;
                    let err = if none_found { code::NO_SERVERINFO } else { code::CREATE_CONN_FAILED };
                    self.proto.connect_failed(conn, err, context.now);
                }
            }
        }
    }

    fn flush(&mut self, conn: Conn, context: &mut Context<'_>) {
        let Some(connection) = &mut self.connections[index(conn)] else { return };
        if !matches!(connection.state, State::Open) || connection.given_up || connection.blocked {
            return;
        }
        // What the state machine adds while there is room goes out in the same turn.
        while !self.proto.out(conn).is_empty() {
            match connection.write(self.proto.out(conn)) {
                Ok(0) => break,
                Ok(_) => self.proto.written(conn, context.now),
                Err(error) => {
                    log::info!("the connection to the relay broke: {error}");
                    return self.lost(conn, code::SOCKETEXCEPTION, context.now);
                }
            }
        }
    }

    // ---- outputs ------------------------------------------------------------------------------------------

    /// Carries out what the state machine wants, and writes what it has queued. Events reach their queue before the
    /// bytes that acknowledge them reach the socket.
    pub fn drive(&mut self, context: &mut Context<'_>) {
        loop {
            while let Some(output) = self.proto.poll_output() {
                self.output(output, context);
            }
            for conn in [Conn::Command, Conn::Bulk] {
                if self.connections[index(conn)].as_ref().is_some_and(|connection| connection.given_up) {
                    self.drop_connection(conn, context.registry, context.conn_by_token);
                }
                self.advance(conn, context);
                self.flush(conn, context);
            }
            // Connecting and writing may have moved the state machine on.
            if !self.proto.has_output() {
                break;
            }
        }
    }

    fn output(&mut self, output: Output, context: &mut Context<'_>) {
        let session = self.shared.handle();
        match output {
            Output::Connect { conn, server } => self.connect(conn, server, context),
            Output::Close { conn } => {
                self.flush_last(conn);
                self.drop_connection(conn, context.registry, context.conn_by_token);
            }
            Output::Event(told) => self.tell(told, context),
            Output::Read { task, offset, len, generation } => {
                if let Some(outgoing) = self.outgoing_by_task.get(&task) {
                    outgoing.source.read(offset, len, move |piece| give(Order::Read(session, task, generation, piece)));
                }
            }
            // The result event, which follows, still needs the entry.
            Output::CloseSource { .. } => {}
            Output::OpenSink { id, kind, size } => self.open_sink(id, kind, size),
            Output::Write { id, data } => {
                if let Some(incoming) = self.incoming_by_id.get(&id) {
                    incoming.sink.write(data, move |written| give(Order::Written(session, id, written)));
                }
            }
            Output::FinishSink { id, hash } => {
                if let Some(incoming) = self.incoming_by_id.get(&id) {
                    incoming.sink.finish(hash, move |done| give(Order::Finished(session, id, done)));
                }
            }
            Output::AbortSink { id } => match self.incoming_by_id.get(&id) {
                Some(incoming) => incoming.sink.abort(move || give(Order::Aborted(session, id))),
                None => give(Order::Aborted(session, id)),
            },
        }
    }

    fn open_sink(&mut self, id: u64, kind: Kind, size: u64) {
        let config = self.shared.config();
        let own_path = self.path_by_id.remove(&id);
        let expires = own_path.is_none() && kind == Kind::File;
        let place = match (kind, own_path, &config.download_dir) {
            (Kind::Buffer, ..) => Place::Memory,
            (_, Some(path), _) => Place::Path(path),
            (_, None, Some(dir)) => Place::Directory(dir.clone()),
            (_, None, None) => Place::Private,
        };
        let session = self.shared.handle();
        let sink = Sink::new(place, config.durable);
        sink.open(size, move |err| give(Order::Written(session, id, Err(err))));
        self.incoming_by_id.insert(id, Incoming { sink, expires });
    }

    // ---- events -------------------------------------------------------------------------------------------

    fn deliver(&self, event: Event, after: After) {
        self.shared.deliver(event, None, after);
    }

    fn tell(&mut self, told: Told, context: &mut Context<'_>) {
        let plain = After::default;
        let ends = |bytes| After { ends_task: Some(bytes), ..After::default() };
        match told {
            Told::LoginRslt { err, cookie } => {
                self.shared.set_stage(if err == code::NOERR { Stage::In } else { Stage::Out });
                self.deliver(Event::LoginRslt { err, cookie }, plain());
            }
            Told::LogoutRslt { err, cookie } => {
                self.shared.set_stage(Stage::Out);
                self.deliver(Event::LogoutRslt { err, cookie }, plain());
            }
            Told::LineOff { err } => {
                if !self.proto.is_logged_in() {
                    self.shared.set_stage(Stage::Out);
                }
                self.deliver(Event::LineOff { err }, plain());
            }
            Told::LineOn => self.deliver(Event::LineOn, plain()),
            Told::TokenWillExpire => self.deliver(Event::TokenWillExpire, plain()),
            Told::CommandRslt { task, err, cookie, size, chosen } => {
                if chosen {
                    self.shared.end(task);
                }
                self.deliver(Event::SendCmdRlst { task, err, cookie }, ends(size as u64));
            }
            Told::TransferRslt { task, kind, err, cookie } => self.transfer_ended(task, kind, err, cookie),
            Told::Progress { task, sent, total, cookie } => {
                let Some(outgoing) = self.outgoing_by_task.get(&task) else { return };
                let event = Event::SendProgress { task, sent, total, cookie };
                // The first event must be heard as it is; later ones share one place.
                if sent == 0 {
                    self.deliver(event, plain());
                } else if outgoing.slot.put(sent) {
                    self.shared.deliver(event, Some(outgoing.slot.clone()), plain());
                }
            }
            Told::CancelRslt { task, err, cookie } => {
                self.deliver(Event::CancelSendRlst { task, err, cookie }, ends(0));
            }
            Told::UserStatus { user, online } => {
                self.deliver(Event::UserStatus { user, online }, After { status: true, ..plain() });
            }
            Told::UsersRslt { err, users, cookie } => {
                self.deliver(Event::UserStatusRslt { err, users, cookie }, ends(0));
            }
            Told::WatchRslt { err, cookie } => self.deliver(Event::StatusPushRslt { err, cookie }, ends(0)),
            incoming => self.tell_incoming(incoming, context),
        }
    }

    fn transfer_ended(&mut self, task: TaskId, kind: Kind, err: i32, cookie: usize) {
        self.shared.end(task);
        let Some(outgoing) = self.outgoing_by_task.remove(&task) else { return };
        let event = match (kind, outgoing.path) {
            (Kind::File, Some(path)) => Event::SendFileRlst { task, path, err, cookie },
            _ => Event::SendBufferRlst { task, err, cookie },
        };
        self.deliver(event, After { ends_task: Some(outgoing.reserved), ..After::default() });
    }

    fn tell_incoming(&mut self, told: Told, context: &mut Context<'_>) {
        match told {
            Told::Command { source, task, data, receipt } => {
                let charge = data.len() as u64 + COMMAND_OVERHEAD;
                self.deliver(
                    Event::NotifyCmdData { source, task, data },
                    After { charge, receipt, ..After::default() },
                );
            }
            Told::Offer { source, task, kind, name, size } => {
                self.shared.incoming(source.clone(), task, true);
                let nameless = kind == Kind::Buffer && name.is_empty();
                let kind = if kind == Kind::Buffer { TransferKind::Buffer } else { TransferKind::File };
                let name = if nameless { name } else { name::clean(&name) };
                self.deliver(Event::TransferOffer { source, task, kind, name, size }, After::default());
            }
            Told::ReceiveProgress { source, task, received, total } => {
                let key = (source.clone(), task);
                let slot = self.slot_by_incoming.entry(key).or_default().clone();
                self.shared.incoming(source.clone(), task, false);
                if slot.put(received) {
                    let event = Event::ReceiveProgress { source, task, received, total };
                    self.shared.deliver(event, Some(slot), After::default());
                }
            }
            Told::Buffer { source, task, receipt, id } => {
                self.incoming_over(&source, task);
                let data = self.incoming_by_id.remove(&id).map(|incoming| incoming.sink.take_buffer());
                let after = After { receipt: Some(receipt), ..After::default() };
                self.deliver(Event::NotifyBufferData { source, task, data: data.unwrap_or_default() }, after);
            }
            Told::File { source, task, name, id } => {
                self.incoming_over(&source, task);
                let Some(incoming) = self.incoming_by_id.remove(&id) else { return };
                let path = incoming.sink.take_path();
                if incoming.expires {
                    let at = context.now.mono + self.shared.config().file_ttl;
                    context.expiring.entry(at).or_default().push(path.clone());
                }
                let name = name::clean(&name);
                let after = After { file: incoming.expires.then(|| path.clone()), ..After::default() };
                self.deliver(Event::NotifyFileData { source, task, path, name }, after);
            }
            Told::TransferEnded { source, task, err } => {
                self.incoming_over(&source, task);
                self.deliver(Event::NotifyCancelSend { source, task, err }, After::default());
            }
            Told::Rtm { message, receipt } => {
                let after = After { receipt: Some(receipt), ..After::default() };
                self.deliver(Event::NotifyRtmMessage { message: Arc::new(message) }, after);
            }
            _ => {}
        }
    }

    fn incoming_over(&mut self, source: &Arc<str>, task: TaskId) {
        self.shared.incoming_ended(source, task);
        self.slot_by_incoming.remove(&(source.clone(), task));
    }
}
