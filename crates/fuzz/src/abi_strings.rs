//! Any bytes as strings, lengths and sizes of structs, through the C boundary. Each string and struct has exactly the
//! memory that the caller promises, so that AddressSanitizer sees every byte that is read beyond it. Results are
//! compared with what the header says. Nothing here reaches a network: the session is not logged in, and the handle
//! that logs in is dead.
#![allow(unsafe_code, reason = "the boundary is C's")]

use std::ffi::{c_char, c_void};
use std::mem::offset_of;
use std::ptr::{null, null_mut};
use std::sync::OnceLock;

use crvideo::ffi::{
    CRVideo_AcceptTransfer, CRVideo_CancelReceive, CRVideo_CancelSend, CRVideo_Config, CRVideo_ConfigInitSized,
    CRVideo_Create, CRVideo_Destroy, CRVideo_Err, CRVideo_ErrText, CRVideo_GetUserStatus, CRVideo_Login,
    CRVideo_LoginInfo, CRVideo_LoginInfoInitSized, CRVideo_RefuseTransfer, CRVideo_SendBuffer, CRVideo_SendCmd,
    CRVideo_SendFile, CRVideo_SendOptions, CRVideo_SendOptionsInit, CRVideo_UpdateToken,
};

use crate::input::Input;

/// Numbers of the header.
const NOERR: CRVideo_Err = 0;
const PARAM_ERR: CRVideo_Err = 5;
const NOT_INIT: CRVideo_Err = 11;
const NOT_LOGIN: CRVideo_Err = 12;
const SENDCMD_LARGE: CRVideo_Err = 1_100;
const TRANSID_INVALID: CRVideo_Err = 1_104;
const CMD_MAX: usize = 65_536;
/// A number that is no session's.
const DEAD: u64 = 0x0100_0000_0000_ffff;

/// A text in memory of exactly its size, or NULL.
struct Text(Option<Box<[u8]>>);

impl Text {
    fn new(input: &mut Input<'_>) -> Self {
        let (kind, bytes) = (input.u8(), input.short());
        // Long ones, too, out of few bytes.
        let times = match kind % 16 {
            0 => return Self(None),
            1 => 40,
            2 => 5_000 / bytes.len().max(1),
            _ => 1,
        };
        Self(Some(bytes.repeat(times).into_iter().chain([0]).collect()))
    }

    fn pointer(&self) -> *const c_char {
        self.0.as_ref().map_or(null(), |bytes| bytes.as_ptr().cast())
    }

    /// The text as C sees it: up to the first NUL; `None` for NULL.
    fn seen(&self) -> Option<&[u8]> {
        self.0.as_deref().and_then(|bytes| bytes.split(|byte| *byte == 0).next())
    }

    fn is_utf8_of(&self, len: std::ops::RangeInclusive<usize>) -> bool {
        self.seen().is_some_and(|bytes| len.contains(&bytes.len()) && std::str::from_utf8(bytes).is_ok())
    }

    fn is_user_id(&self) -> bool {
        self.is_utf8_of(1..=128)
    }

    /// The text of a UUID (RFC 9562, section 4).
    fn is_uuid(&self) -> bool {
        self.seen().is_some_and(|bytes| {
            let fits = |(at, byte): (usize, &u8)| match at {
                8 | 13 | 18 | 23 => *byte == b'-',
                _ => byte.is_ascii_hexdigit(),
            };
            bytes.len() == 36 && bytes.iter().enumerate().all(fits)
        })
    }
}

/// A struct of which only the first `size` bytes are there.
struct Cut<T> {
    memory: Vec<u64>,
    whole: bool,
    kind: std::marker::PhantomData<T>,
}

impl<T: Copy> Cut<T> {
    /// `value` is a C struct that begins with its size, and whose first form had `first` bytes.
    fn new(value: T, first: usize, size: usize) -> Self {
        let whole = size_of::<T>();
        // The allocator is given whole words, and the size is rounded down to them, so it says so in the struct.
        let words = (size / 8).clamp(1, whole / 8 + 2);
        let mut memory = vec![0u64; words];
        let len = (words * 8).min(whole);
        // SAFETY: both are at least `len` bytes, do not overlap, and the copy is only used as bytes and by C's rules.
        unsafe { std::ptr::copy_nonoverlapping((&raw const value).cast::<u8>(), memory.as_mut_ptr().cast(), len) };
        let said = u32::try_from(words * 8).unwrap_or_default();
        memory[0] = memory[0] & !0xffff_ffff | u64::from(said);
        Self { memory, whole: words * 8 >= first, kind: std::marker::PhantomData }
    }

    fn bytes(&self) -> usize {
        self.memory.len() * 8
    }

    fn pointer(&self) -> *const T {
        self.memory.as_ptr().cast()
    }
}

/// The session of all inputs; it is never logged in.
fn session() -> u64 {
    static SESSION: OnceLock<u64> = OnceLock::new();
    *SESSION.get_or_init(|| {
        let mut session = 0;
        // SAFETY: NULL is the default configuration, and the number may be written.
        let err = unsafe { CRVideo_Create(null(), &mut session) };
        assert_eq!(err, NOERR, "there is no session");
        session
    })
}

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let err = match input.below(10) {
        0 => send_command(&mut input),
        1 => send_buffer(&mut input),
        2 => send_file(&mut input),
        3 => cancel(&mut input),
        4 => decide(&mut input),
        5 => status(&mut input),
        6 => log_in(&mut input),
        7 => update(&mut input),
        8 => create(&mut input),
        _ => input.u32() as CRVideo_Err,
    };
    // SAFETY: the text is static and NUL-terminated.
    let text = unsafe { std::ffi::CStr::from_ptr(CRVideo_ErrText(err)) };
    assert!(!text.is_empty(), "{err} has no text");
}

fn expect(err: CRVideo_Err, good: bool, otherwise: CRVideo_Err) -> CRVideo_Err {
    assert_eq!(err, if good { otherwise } else { PARAM_ERR });
    err
}

/// Options with texts, and whether they are good.
struct Options {
    task: Text,
    name: Text,
    cut: Option<Cut<CRVideo_SendOptions>>,
}

impl Options {
    fn new(input: &mut Input<'_>) -> Self {
        let (task, name) = (Text::new(input), Text::new(input));
        let null = null();
        let mut options = CRVideo_SendOptions { struct_size: 0, timeout_ms: 0, task_id: null, display_name: null };
        // SAFETY: one struct of options.
        unsafe { CRVideo_SendOptionsInit(&mut options) };
        (options.task_id, options.display_name) = (task.pointer(), name.pointer());
        let size = usize::from(input.u8());
        let cut = (size != 0).then(|| Cut::new(options, size_of::<CRVideo_SendOptions>(), size));
        Self { task, name, cut }
    }

    fn pointer(&self) -> *const CRVideo_SendOptions {
        self.cut.as_ref().map_or(null(), Cut::pointer)
    }

    fn are_good(&self) -> bool {
        let Some(cut) = &self.cut else { return true };
        let task = self.task.0.is_none() || self.task.is_uuid();
        let name = self.name.0.is_none() || self.name.is_utf8_of(1..=255);
        cut.whole && task && name
    }
}

/// Content of a length that is promised, or NULL with any length.
fn content(input: &mut Input<'_>, most: usize) -> (Option<Box<[u8]>>, usize) {
    let len = usize::from(input.u16()) * (1 + usize::from(input.u8() & 1));
    let len = len.min(most);
    if input.u8() == 0 { (None, len) } else { (Some(vec![7; len].into()), len) }
}

/// Where a task's id goes: exactly as much as the header asks for.
fn task_out(input: &mut Input<'_>) -> Option<Box<[u8]>> {
    input.bool().then(|| vec![0x55; 37].into())
}

fn pointer_of(out: &mut Option<Box<[u8]>>) -> *mut c_char {
    out.as_mut().map_or(null_mut(), |bytes| bytes.as_mut_ptr().cast())
}

fn untouched(out: &Option<Box<[u8]>>) {
    assert!(out.as_ref().is_none_or(|bytes| bytes.iter().all(|byte| *byte == 0x55)), "a failed call has written");
}

fn send_command(input: &mut Input<'_>) -> CRVideo_Err {
    let (target, options, (data, len)) = (Text::new(input), Options::new(input), content(input, 2 * CMD_MAX));
    let mut out = task_out(input);
    let pointer = data.as_ref().map_or(null(), |data| data.as_ptr().cast::<c_void>());
    // SAFETY: texts are NUL-terminated, the content has its length, the struct its size.
    let err = unsafe {
        CRVideo_SendCmd(session(), target.pointer(), pointer, len, options.pointer(), null_mut(), pointer_of(&mut out))
    };
    untouched(&out);
    let there = data.is_some() || len == 0;
    let good = there && target.is_user_id() && options.are_good();
    if len > CMD_MAX && err == SENDCMD_LARGE {
        return err;
    }
    assert!(len <= CMD_MAX || err == PARAM_ERR, "a command of {len} bytes gives {err}");
    expect(err, good && len <= CMD_MAX, NOT_LOGIN)
}

fn send_buffer(input: &mut Input<'_>) -> CRVideo_Err {
    let (target, options, (data, len)) = (Text::new(input), Options::new(input), content(input, 2 * CMD_MAX));
    let mut out = task_out(input);
    let pointer = data.as_ref().map_or(null(), |data| data.as_ptr().cast::<c_void>());
    // SAFETY: as for a command.
    let err = unsafe {
        CRVideo_SendBuffer(
            session(),
            target.pointer(),
            pointer,
            len,
            options.pointer(),
            null_mut(),
            pointer_of(&mut out),
        )
    };
    untouched(&out);
    let there = data.is_some() || len == 0;
    expect(err, there && target.is_user_id() && options.are_good(), NOT_LOGIN)
}

fn send_file(input: &mut Input<'_>) -> CRVideo_Err {
    let (target, options, path) = (Text::new(input), Options::new(input), Text::new(input));
    let mut out = task_out(input);
    // SAFETY: texts are NUL-terminated, the struct has its size.
    let err = unsafe {
        CRVideo_SendFile(
            session(),
            target.pointer(),
            path.pointer(),
            options.pointer(),
            null_mut(),
            pointer_of(&mut out),
        )
    };
    untouched(&out);
    let good = target.is_user_id() && options.are_good();
    assert!(matches!(err, PARAM_ERR | NOT_LOGIN) && (good || err == PARAM_ERR), "a file gives {err}");
    err
}

fn cancel(input: &mut Input<'_>) -> CRVideo_Err {
    let task = Text::new(input);
    // SAFETY: the text is NUL-terminated.
    let err = unsafe { CRVideo_CancelSend(session(), task.pointer(), null_mut()) };
    expect(err, task.is_uuid(), NOT_LOGIN)
}

fn decide(input: &mut Input<'_>) -> CRVideo_Err {
    let (source, task) = (Text::new(input), Text::new(input));
    // SAFETY: texts are NUL-terminated.
    let errs = unsafe {
        [
            CRVideo_AcceptTransfer(session(), source.pointer(), task.pointer(), null()),
            CRVideo_RefuseTransfer(session(), source.pointer(), task.pointer()),
            CRVideo_CancelReceive(session(), source.pointer(), task.pointer()),
        ]
    };
    for err in errs {
        expect(err, source.is_user_id() && task.is_uuid(), TRANSID_INVALID);
    }
    errs[0]
}

fn status(input: &mut Input<'_>) -> CRVideo_Err {
    let user = Text::new(input);
    // SAFETY: the text is NUL-terminated.
    let err = unsafe { CRVideo_GetUserStatus(session(), user.pointer(), null_mut()) };
    // NULL asks for everybody.
    expect(err, user.0.is_none() || user.is_user_id(), NOT_LOGIN)
}

fn update(input: &mut Input<'_>) -> CRVideo_Err {
    let token = Text::new(input);
    // SAFETY: the text is NUL-terminated.
    let err = unsafe { CRVideo_UpdateToken(session(), token.pointer()) };
    expect(err, token.is_utf8_of(1..=3_072), NOT_LOGIN)
}

fn log_in(input: &mut Input<'_>) -> CRVideo_Err {
    let [servers, user, token, secret] = [(); 4].map(|()| Text::new(input));
    let mut info = std::mem::MaybeUninit::<CRVideo_LoginInfo>::uninit();
    // SAFETY: one struct, which the call fills.
    let mut info = unsafe {
        CRVideo_LoginInfoInitSized(info.as_mut_ptr(), size_of::<CRVideo_LoginInfo>());
        info.assume_init()
    };
    info.project = input.u32() as i32;
    (info.servers, info.user_id) = (servers.pointer(), user.pointer());
    (info.token, info.secret) = (token.pointer(), secret.pointer());
    let cut = Cut::new(info, offset_of!(CRVideo_LoginInfo, tls), usize::from(input.u8()));
    // SAFETY: texts are NUL-terminated, the struct has its size.
    let err = unsafe { CRVideo_Login(DEAD, cut.pointer(), null_mut()) };
    let one = token.0.is_none() != secret.0.is_none();
    let proof = token.is_utf8_of(1..=3_072) || secret.is_utf8_of(1..=1_024);
    let good = cut.whole && info.project > 0 && user.is_user_id() && one && proof && servers.is_utf8_of(1..=4_096);
    assert!(matches!(err, PARAM_ERR | NOT_INIT) && (good || err == PARAM_ERR), "a login gives {err}");
    err
}

fn create(input: &mut Input<'_>) -> CRVideo_Err {
    let directory = Text::new(input);
    let mut config = std::mem::MaybeUninit::<CRVideo_Config>::uninit();
    // SAFETY: one configuration, which the call fills.
    let mut config = unsafe {
        CRVideo_ConfigInitSized(config.as_mut_ptr(), size_of::<CRVideo_Config>());
        config.assume_init()
    };
    config.flags = u32::from(input.u8());
    config.download_dir = directory.pointer();
    (config.buffer_limit, config.inbound_limit) = (input.u64(), input.u64());
    config.max_send_bytes_per_s = input.u32();
    let cut = Cut::new(config, size_of::<CRVideo_Config>(), usize::from(input.u8()));
    let mut session = 0;
    // SAFETY: the text is NUL-terminated, the struct has its size, and the number may be written.
    let err = unsafe { CRVideo_Create(cut.pointer(), &mut session) };
    assert!(matches!(err, NOERR | PARAM_ERR), "creating a session gives {err}");
    assert_eq!(err == NOERR, session != 0, "a session's number is written on success only");
    // The first form ended before the last field.
    let good = cut.bytes() >= std::mem::offset_of!(CRVideo_Config, download_quota) && config.flags <= 1;
    assert!(good || err == PARAM_ERR, "a bad configuration is taken");
    if err == NOERR {
        assert_eq!(CRVideo_Destroy(session), NOERR);
    }
    err
}
