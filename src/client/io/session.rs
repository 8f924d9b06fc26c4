//! One session on the io thread: its state machine, its files, its events.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crvideo_proto::code;
use crvideo_proto::frame::FrameReader;
use crvideo_proto::id::TaskId;
use crvideo_proto::name;
use crvideo_proto::out::OutQueue;
use crvideo_proto::session::{COMMAND_OVERHEAD, Config, Conn, Event as Told, Kind, Now, Output, Session, TransferCall};
use mio::Registry;

use super::super::Code;
use super::super::config::ServerAddress;
use super::super::event::{Event, TransferKind};
use super::super::fault;
use super::super::numbers::ByNumber;
use super::super::pool::FILES;
use super::super::private_dir;
use super::super::queue::{EventQueue, Item};
use super::super::quota::Quota;
use super::super::session::{After, Shared, Slot, Stage};
use super::super::sink::{Place, Sink};
use super::super::source::Source;
use super::links::{Link, Links, Machine, Tokens};
use super::{Context, Entry, LIVE, Login, Order, give};

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
pub struct SessionEntry {
    shared: Arc<Shared>,
    proto: Session,
    servers: Vec<ServerAddress>,
    links: Links,
    outgoing_by_task: HashMap<TaskId, Outgoing>,
    incoming_by_id: ByNumber<u64, Incoming>,
    path_by_id: ByNumber<u64, PathBuf>,
    slot_by_incoming: HashMap<(Arc<str>, TaskId), Arc<Slot>>,
    quota: Arc<Quota>,
    /// The result that is being handed over: a fault meanwhile must not lose it.
    untold: Option<Told>,
    /// The session is destroyed; its last event is given at this time at the latest.
    ends_at: Option<Duration>,
}

/// The result of a call, of which there must be exactly one, if that is what an output is about.
fn result_of(output: &Output) -> Option<Told> {
    let Output::Event(told) = output else { return None };
    let is_result = matches!(
        told,
        Told::LoginRslt { .. }
            | Told::LogoutRslt { .. }
            | Told::CommandRslt { .. }
            | Told::TransferRslt { .. }
            | Told::CancelRslt { .. }
            | Told::UsersRslt { .. }
            | Told::WatchRslt { .. }
    );
    is_result.then(|| told.clone())
}

fn link_of(conn: Conn) -> Link {
    match conn {
        Conn::Command => 0,
        Conn::Bulk => 1,
    }
}

fn conn_of(link: Link) -> Conn {
    if link == link_of(Conn::Command) { Conn::Command } else { Conn::Bulk }
}

impl Machine for Session {
    fn out(&mut self, link: Link) -> Option<&mut OutQueue> {
        Some(self.out(conn_of(link)))
    }

    fn reader(&mut self, link: Link) -> Option<&mut FrameReader> {
        Some(self.reader(conn_of(link)))
    }

    fn generation(&mut self, link: Link) -> u32 {
        self.generation(conn_of(link))
    }

    fn connected(&mut self, link: Link, now: Now) {
        self.connected(conn_of(link), now);
    }

    fn connect_failed(&mut self, link: Link, err: Code, now: Now) {
        self.connect_failed(conn_of(link), err, now);
    }

    fn closed(&mut self, link: Link, err: Code, now: Now) {
        self.closed(conn_of(link), err, now);
    }

    fn written(&mut self, link: Link, now: Now) {
        self.written(conn_of(link), now);
    }

    fn received(&mut self, link: Link, now: Now) {
        self.received(conn_of(link), now);
    }
}

impl SessionEntry {
    /// A session that is not logged in.
    pub fn new(shared: Arc<Shared>, session_id: [u8; 16]) -> Self {
        LIVE.fetch_add(1, Ordering::SeqCst);
        let config = shared.config();
        let quota = Quota::new(config.download_quota);
        let config = Config {
            command_timeout: config.cmd_timeout,
            transfer_timeout: config.transfer_timeout,
            max_send_bytes_per_s: config.max_send_bytes_per_s.into(),
            offer_timeout: config.offer_timeout,
            buffer_limit: config.buffer_limit,
            inbound_limit: config.inbound_limit,
            agent: AGENT,
        };
        let [s0, s1, s2, s3, s4, s5, s6, s7, ..] = session_id;
        let seed = u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
        Self {
            proto: Session::new(config, session_id, seed),
            links: Links::new(shared.handle()),
            shared,
            servers: Vec::new(),
            outgoing_by_task: HashMap::new(),
            incoming_by_id: ByNumber::default(),
            path_by_id: ByNumber::default(),
            slot_by_incoming: HashMap::new(),
            quota,
            untold: None,
            ends_at: None,
        }
    }

    // ---- orders -------------------------------------------------------------------------------------------

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

    // ---- connections --------------------------------------------------------------------------------------

    fn connect(&mut self, conn: Conn, server: usize, context: &mut Context<'_>) {
        fault::point("io: connecting");
        let number = server + 1;
        let Some(ServerAddress { host, port }) = self.servers.get(server) else { return };
        log::debug!("session {:#x} connects to server {number}, {host:?} {port}", self.shared.handle());
        // The bulk connection must reach the same relay as the command connection, and a name may stand for several.
        let known = if conn == Conn::Bulk { self.links.peer(link_of(Conn::Command)) } else { None };
        self.links.connect(link_of(conn), (host, *port), known, context);
    }

    // ---- outputs ------------------------------------------------------------------------------------------

    fn output(&mut self, output: Output, context: &mut Context<'_>) {
        fault::point("io: an output");
        let session = self.shared.handle();
        match output {
            Output::Connect { conn, server } => self.connect(conn, server, context),
            Output::Close { conn } => {
                self.links.close(link_of(conn), &mut self.proto, context.registry, context.tokens);
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
        let sink = Sink::new(place, config.durable, self.quota.clone());
        sink.open(size, move |err| give(Order::Written(session, id, Err(err))));
        self.incoming_by_id.insert(id, Incoming { sink, expires });
    }

    // ---- events -------------------------------------------------------------------------------------------

    fn deliver(&mut self, event: Event, after: After) {
        self.shared.deliver(event, None, after);
        self.untold = None;
    }

    fn tell(&mut self, told: Told, context: &mut Context<'_>) {
        if self.untold.is_some() {
            fault::point("io: a result");
        }
        let plain = After::default;
        let ends = |bytes| After { ends_task: Some(bytes), ..After::default() };
        match told {
            Told::LoginRslt { err, cookie } => {
                let to = if err == code::NOERR { Stage::In } else { Stage::Out };
                self.shared.move_on(Stage::Entering, to);
                self.deliver(Event::LoginRslt { err, cookie }, plain());
            }
            Told::LogoutRslt { err, cookie } => {
                self.shared.move_on(Stage::Leaving, Stage::Out);
                self.deliver(Event::LogoutRslt { err, cookie }, plain());
            }
            Told::LineOff { err } => {
                if !self.proto.is_logged_in() {
                    self.shared.move_on(Stage::In, Stage::Out);
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
        let Some(outgoing) = self.outgoing_by_task.get(&task) else { return };
        let event = match (kind, outgoing.path.clone()) {
            (Kind::File, Some(path)) => Event::SendFileRlst { task, path, err, cookie },
            _ => Event::SendBufferRlst { task, err, cookie },
        };
        self.deliver(event, After { ends_task: Some(outgoing.reserved), ..After::default() });
        self.outgoing_by_task.remove(&task);
    }

    fn tell_incoming(&mut self, told: Told, context: &mut Context<'_>) {
        fault::point("io: something that comes in");
        match told {
            Told::Command { source, task, data, receipt } => {
                let charge = data.len() as u64 + COMMAND_OVERHEAD;
                self.deliver(
                    Event::NotifyCmdData { source, task, data },
                    After { charge, receipt: receipt.map(Box::new), ..After::default() },
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
                let after = After { receipt: Some(Box::new(receipt)), ..After::default() };
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
                let after = After { file: incoming.expires.then(|| path.clone().into()), ..After::default() };
                self.deliver(Event::NotifyFileData { source, task, path, name }, after);
            }
            Told::TransferEnded { source, task, err } => {
                self.incoming_over(&source, task);
                self.deliver(Event::NotifyCancelSend { source, task, err }, After::default());
            }
            Told::Rtm { message, receipt } => {
                let after = After { receipt: Some(Box::new(receipt)), ..After::default() };
                self.deliver(Event::NotifyRtmMessage { message }, after);
            }
            _ => {}
        }
    }

    fn incoming_over(&mut self, source: &Arc<str>, task: TaskId) {
        self.shared.incoming_ended(source, task);
        self.slot_by_incoming.remove(&(source.clone(), task));
    }
}

impl Entry for SessionEntry {
    fn carry_out(&mut self, order: &mut Option<Order>, now: Now) {
        fault::point("io: a session's order");
        let Some(order) = order.take() else { return };
        let proto = &mut self.proto;
        match order {
            Order::Login(_, login, cookie) => {
                let Login { identity, servers, tls } = *login;
                self.servers = servers;
                self.links.secure_by(tls);
                proto.login(identity, cookie, now);
            }
            Order::Logout(_, cookie) => proto.logout(cookie, now),
            Order::Token(_, token) => proto.update_token(token),
            Order::Wants(_, offers, progress) => proto.set_wants(offers, progress),
            Order::Command(_, call) => proto.send_command(call, now),
            Order::Transfer(_, call, source, path) => self.send_transfer(*call, source, path, now),
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
                proto.receipt(*receipt, now);
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
            Order::Attach(..) | Order::AttachRtm(..) | Order::Rtm(..) | Order::Destroy(_) => {}
            Order::Resolved(..) | Order::Trusted(..) => {}
        }
    }

    fn links(&mut self) -> &mut Links {
        &mut self.links
    }

    fn read(&mut self, link: Link, scratch: &mut [u8], now: Now) -> bool {
        self.proto.handled_in_all(self.shared.handled());
        self.links.read(link, &mut self.proto, scratch, now)
    }

    /// Events reach their queue before the bytes that acknowledge them reach the socket.
    fn drive(&mut self, context: &mut Context<'_>) {
        loop {
            if let Some(told) = self.untold.clone() {
                self.tell(told, context);
                self.untold = None;
            }
            while let Some(output) = self.proto.poll_output() {
                self.untold = result_of(&output);
                self.output(output, context);
                self.untold = None;
            }
            self.links.drive(&mut self.proto, context);
            // Connecting and writing may have moved the state machine on.
            if !self.proto.has_output() {
                break;
            }
        }
    }

    fn deadline(&self) -> Option<Duration> {
        [self.proto.deadline(), self.ends_at].into_iter().flatten().min()
    }

    fn timeout(&mut self, now: Now) {
        self.links.give_names_up(&mut self.proto, now);
        self.proto.timeout(now);
    }

    fn destroy(&mut self, now: Now, ends_at: Duration) {
        self.proto.shut_down(now);
        self.ends_at = Some(ends_at);
    }

    fn is_over(&self, now: Now) -> bool {
        self.ends_at.is_some_and(|at| at <= now.mono || self.proto.is_quiet())
    }

    fn queue(&self) -> &Arc<EventQueue> {
        self.shared.queue()
    }

    fn fail(&mut self, err: Code) {
        self.proto.fail(err);
    }

    fn close_all(&mut self, registry: &Registry, tokens: &mut Tokens) {
        self.links.close_all(&mut self.proto, registry, tokens);
    }

    fn descriptors_lost(&mut self, now: Now) {
        self.links.descriptors_lost(&mut self.proto, now);
    }

    fn last_word(&self) {
        let shared = self.shared.clone();
        let fence = move || shared.queue().push(Item::Fence(shared.clone()));
        if LIVE.fetch_sub(1, Ordering::SeqCst) > 1 {
            return fence();
        }
        // The last session takes the private directory with it, before whoever waits for its end goes on.
        FILES.run(move || {
            private_dir::remove_if_empty();
            fence();
        });
    }
}
