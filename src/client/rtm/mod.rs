//! RTM server clients: what the C boundary calls. Functions take handles and are safe to call from any thread, event
//! handlers included, but for calls that wait.

mod shared;

pub use crvideo_proto::rtm::client::{
    Action, Answer, Change, Event, Failure, Listen, MAX_IDS, Outcome, Push, PushKind, PushedFile, Receipt, Standing,
    Target, TargetKind, UserEvent,
};
pub(super) use shared::Reply;
pub use shared::{Delivery, Done, Handler, Shared};

use std::any::Any;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crvideo_proto::code;
use crvideo_proto::name;
use crvideo_proto::rtm::client::{File, Message};
use crvideo_proto::rtm::mid::Mids;
use crvideo_proto::rtm::sign::FileHasher;
use crvideo_proto::rtm::{FILE_MTYPES, MAX_ATTRS, MAX_MESSAGE, MTYPES, code as rtm_code};
use zeroize::Zeroize;

use super::io::{self, Order, RtmOrder};
use super::names;
use super::queue;
use super::registry::{CLIENTS, Kind, new_handle};
use super::source::Source;
use super::{Code, ServerAddress, copy, queue_of};

/// How long a call may take unless something else is said.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// A client's settings.
pub struct Config {
    /// The event queue, 0 for the library's own.
    pub queue: u64,
    /// Project id.
    pub project: i64,
    /// The project's secret.
    pub secret: String,
    /// The gate's addresses, tried in turn.
    pub servers: Vec<ServerAddress>,
    /// How long a call may take.
    pub timeout: Duration,
}

/// Nobody finds the secret in memory that is used again.
impl Drop for Config {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

/// What can be set for one call.
#[derive(Debug, Clone, Copy, Default)]
pub struct CallOptions {
    /// Instead of the client's time-out.
    pub timeout: Option<Duration>,
    /// The caller's own message id.
    pub mid: Option<i64>,
}

/// Where a file's bytes are.
pub enum Content<'a> {
    /// In memory; they are copied.
    Memory(&'a [u8]),
    /// In a file.
    Path(&'a Path),
}

/// What is to be done when a call has ended; called once, where events are handled.
pub type Callback = Box<dyn FnOnce(&Done) + Send>;

/// Creates a client. Nothing is connected before the first call.
pub fn create(config: Config, handler: Arc<dyn Handler>) -> Result<u64, Code> {
    let queue = queue_of(config.queue)?;
    io::start()?;
    // Gates name their file gates as they like, later.
    names::ready()?;
    let seed = u64::from_le_bytes(random()?);
    let handle = new_handle(Kind::Rtm);
    queue.attach();
    let shared = Arc::new(Shared::new(handle, config, queue, handler));
    CLIENTS.insert(handle, shared.clone());
    io::give(Order::AttachRtm(shared, seed));
    Ok(handle)
}

/// Ends a client; calls that have not ended end with 20015. Inside a callback it returns at once and their ends follow;
/// elsewhere it returns when they have been handled.
pub fn destroy(client: u64) -> Result<(), Code> {
    let shared = CLIENTS.remove(client)?;
    shared.life().destroy();
    if !queue::inside_callback() {
        shared.life().queue().finish(shared.life());
    }
    Ok(())
}

/// Runs `change` on the handler given at creation, and returns when nothing of the client is being handled on another
/// thread by what was there before.
pub fn change_handler(client: u64, change: impl FnOnce(&dyn Any)) -> Result<(), Code> {
    let shared = CLIENTS.get(client)?;
    let handler: &dyn Handler = &**shared.handler();
    change(handler);
    shared.life().queue().wait_for_callback(client);
    Ok(())
}

/// Whether what is sent from now on is watched: a server that can tell what becomes of it at each recipient is asked to.
pub fn watch_recipients(client: u64, wanted: bool) -> Result<(), Code> {
    let shared = CLIENTS.get(client)?;
    let watch = if wanted { Some(random()?) } else { None };
    shared.life().give(Order::Rtm(client, Box::new(RtmOrder::Watch(watch))))
}

/// Sends a message.
pub fn send_message(
    client: u64,
    (from, target): (i64, Target),
    mtype: i64,
    body: &[u8],
    attrs: &str,
    options: CallOptions,
    callback: Option<Callback>,
) -> Result<Option<Done>, Code> {
    let shared = CLIENTS.get(client)?;
    check_target(&target)?;
    let mtype = mtype_within(&MTYPES, mtype, rtm_code::BAD_MTYPE)?;
    if body.len() > MAX_MESSAGE {
        return Err(rtm_code::MESSAGE_TOO_LARGE);
    }
    if attrs.len() > MAX_ATTRS {
        return Err(rtm_code::TOO_LARGE);
    }
    let mid = options.mid.map_or_else(new_mid, Ok)?;
    let charge = body.len() as u64;
    let attrs = attrs.to_owned();
    let prepare = || Ok((Action::Message(Message { from, target, mtype, mid, body: copy(body)?, attrs }), None));
    begin(&shared, charge, prepare, mid, options.timeout, callback)
}

/// A file to send, beside its content.
pub struct FileInfo<'a> {
    /// The name to show; `None` for the path's last part.
    pub name: Option<&'a str>,
    /// The application's own attributes.
    pub custom: Option<&'a str>,
}

/// Sends a file.
pub fn send_file(
    client: u64,
    (from, target): (i64, Target),
    mtype: i64,
    (content, info): (Content<'_>, FileInfo<'_>),
    options: CallOptions,
    callback: Option<Callback>,
) -> Result<Option<Done>, Code> {
    let shared = CLIENTS.get(client)?;
    check_target(&target)?;
    let mtype = mtype_within(&FILE_MTYPES, mtype, rtm_code::BAD_FILE_MTYPE)?;
    let mid = options.mid.map_or_else(new_mid, Ok)?;
    let shown = match (info.name, &content) {
        (Some(name), _) => name.to_owned(),
        (None, Content::Path(path)) => {
            path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
        }
        (None, Content::Memory(_)) => "file".to_owned(),
    };
    let custom = info.custom.map(str::to_owned);
    let mut file = File { from, target, mtype, mid, name: name::clean(&shown), custom, size: 0 };
    if file.attrs_len() > MAX_ATTRS {
        return Err(rtm_code::TOO_LARGE);
    }
    let charge = match &content {
        Content::Memory(bytes) => bytes.len() as u64,
        Content::Path(_) => 0,
    };
    let prepare = || {
        let source = match content {
            Content::Memory(bytes) => Source::memory(copy(bytes)?),
            Content::Path(path) => Source::file(path)?,
        };
        file.size = source.size();
        Ok((Action::File(file), Some(source)))
    };
    begin(&shared, charge, prepare, mid, options.timeout, callback)
}

/// Asks for anything but sending. With a callback it returns at once, without one it waits for the end.
pub fn call(
    client: u64,
    action: Action,
    options: CallOptions,
    callback: Option<Callback>,
) -> Result<Option<Done>, Code> {
    let shared = CLIENTS.get(client)?;
    match &action {
        Action::FileToken { target, .. } => check_target(target)?,
        Action::OnlineUsers { uids } | Action::AddGroupMembers { uids, .. } | Action::DelGroupMembers { uids, .. } => {
            check_ids(uids)?
        }
        Action::Listen { change, listen } => check_listen(*change, listen)?,
        _ => {}
    }
    begin(&shared, 0, || Ok((action, None)), 0, options.timeout, callback)
}

/// What is asked, and the bytes of a file.
type Prepared = (Action, Option<Arc<Source<FileHasher>>>);

/// Begins a call. What it takes in memory is charged before `prepare` copies it.
fn begin(
    shared: &Arc<Shared>,
    charge: u64,
    prepare: impl FnOnce() -> Result<Prepared, Code>,
    mid: i64,
    timeout: Option<Duration>,
    callback: Option<Callback>,
) -> Result<Option<Done>, Code> {
    // A callback that waits for the end of a call would wait for itself in PUMP mode, and hold up all others.
    if callback.is_none() && queue::inside_callback() {
        return Err(code::LOGINSTATE_ERROR);
    }
    shared.life().reserve(charge)?;
    let accept = || -> Result<_, Code> {
        let (reply, answer) = match callback {
            Some(callback) => (Reply::Callback(callback), None),
            None => {
                let (sender, receiver) = crossbeam_channel::bounded(1);
                (Reply::Waiter(sender), Some(receiver))
            }
        };
        let timeout = timeout.unwrap_or(shared.timeout());
        let (action, source) = prepare()?;
        let order = RtmOrder::Call { action, source, mid, timeout, charge, reply };
        shared.life().give(Order::Rtm(shared.life().handle(), Box::new(order)))?;
        Ok(answer)
    };
    let Some(answer) = accept().inspect_err(|_| shared.life().release(charge))? else { return Ok(None) };
    // The io thread ends every call, also when it fails itself; should it lose one, its end of the channel is gone.
    answer.recv().map(Some).map_err(|_| code::INNER_ERR)
}

fn mtype_within(range: &std::ops::RangeInclusive<i64>, mtype: i64, refusal: Code) -> Result<i8, Code> {
    i8::try_from(mtype).ok().filter(|_| range.contains(&mtype)).ok_or(refusal)
}

fn check_ids(ids: &[i64]) -> Result<(), Code> {
    match ids.len() {
        0 => Err(rtm_code::EMPTY),
        count if count > MAX_IDS => Err(rtm_code::TOO_MANY),
        _ => Ok(()),
    }
}

fn check_target(target: &Target) -> Result<(), Code> {
    if let Target::Users(uids) = target { check_ids(uids) } else { Ok(()) }
}

fn check_listen(change: Change, listen: &Listen) -> Result<(), Code> {
    let most = [listen.users.len(), listen.groups.len(), listen.rooms.len(), listen.events.len()];
    if most.iter().any(|count| *count > MAX_IDS) {
        return Err(rtm_code::TOO_MANY);
    }
    if listen.is_sound(change) { Ok(()) } else { Err(code::PARAM_ERR) }
}

fn random<const LEN: usize>() -> Result<[u8; LEN], Code> {
    let mut bytes = [0; LEN];
    getrandom::fill(&mut bytes).map_err(|_| code::INNER_ERR)?;
    Ok(bytes)
}

/// A message id that this process never gives again.
fn new_mid() -> Result<i64, Code> {
    static MIDS: Mutex<Option<Mids>> = Mutex::new(None);
    let mut mids = MIDS.lock().unwrap_or_else(PoisonError::into_inner);
    let mids = match &mut *mids {
        Some(mids) => mids,
        none => none.insert(Mids::new(u64::from_le_bytes(random()?))),
    };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Ok(mids.next(u64::try_from(now.as_millis()).unwrap_or_default()))
}
