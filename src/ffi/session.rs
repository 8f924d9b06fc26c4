//! A session's life.

use std::ffi::{c_char, c_void};
use std::sync::Arc;
use std::time::Duration;

use crvideo_proto::code;

use super::args::{self, Versioned};
use super::callback::Callbacks;
use super::error::CRVideo_Err;
use super::guard::guard;
use super::queue::CRVideo_Queue;
use crate::client::{self, Code, Credential, LoginInfo, ServerAddress, SessionConfig, TlsMode, TlsSettings};

/// One user's login. 0 is never a session. A number is never used again: a call with a session that has been destroyed
/// returns `CRVideo_NOT_INIT`.
pub type CRVideo_Session = u64;

/// A user id has 1 to this many bytes of UTF-8, the NUL not counted; letter case counts.
pub const CRVIDEO_USER_ID_MAX: usize = 128;

/// Flag of `CRVideo_Config`: a received file is synced to the disk before its sender hears of success. Slower, and then
/// no power failure takes it back.
pub const CRVIDEO_CONFIG_DURABLE: u32 = 1;

/// A session's settings. Fill it by `CRVideo_ConfigInit`, then change what you like. In every number but `struct_size`
/// and `flags` a 0 means the default.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct CRVideo_Config {
    /// The size of this struct in bytes, as the caller knows it; `CRVideo_ConfigInit` sets it.
    pub struct_size: u32,
    /// `CRVIDEO_CONFIG_...` flags, or-ed.
    pub flags: u32,
    /// The queue that the session's events go to; 0: the library's own, served by its callback thread.
    pub queue: CRVideo_Queue,
    /// Where received files are put, a directory that exists, a path of up to 4,096 bytes; NULL: a private directory of
    /// the library's own below the system's temporary directory.
    pub download_dir: *const c_char,
    /// The largest buffer that is sent or taken, in bytes. Default: 104,857,600 (100 MiB).
    pub buffer_limit: u64,
    /// How many bytes of commands and buffers may wait for the callbacks before senders are held back. Default: 256
    /// MiB.
    pub inbound_limit: u64,
    /// How many bytes of commands and buffers may be accepted and not ended; above it a send returns
    /// `CRVideo_SEND_QUEUE_FULL`. Default: 256 MiB.
    pub outbound_limit: u64,
    /// How many sends may be accepted and not ended; above it a send returns `CRVideo_SEND_QUEUE_FULL`. Default:
    /// 65,536.
    pub task_limit: u32,
    /// How long a command may take, in milliseconds. Default: 30,000.
    pub cmd_timeout_ms: u32,
    /// How long a buffer or a file may go without progress that the target confirms, in milliseconds. Default: 60,000.
    pub transfer_timeout_ms: u32,
    /// How long the application may take to answer an offer, in milliseconds; after it the offer is refused.
    /// Default: 30,000.
    pub offer_timeout_ms: u32,
    /// After how many seconds a received file that is still where the library put it is deleted. Default: 86,400 (a
    /// day).
    pub file_ttl_s: u32,
    /// How many bytes of buffers and files the session sends in a second, all transfers together; what is below 16,384
    /// counts as that. Choose time-outs that fit. Default: no limit.
    pub max_send_bytes_per_s: u32,
    /// How many bytes of received files may be where the library put them, or be on their way there; the sender of one
    /// that would go beyond it hears `CRVideo_FILE_WRITE_ERR`. Files that you have moved away or deleted do not count, nor
    /// do those that you accept to a path of your own. Default: 0, no limit.
    pub download_quota: u64,
}

// SAFETY: repr(C), begins with its size, and any bytes are valid integers and pointers.
unsafe impl Versioned for CRVideo_Config {
    const FIRST_SIZE: usize = std::mem::offset_of!(Self, max_send_bytes_per_s) + size_of::<u32>();
}

/// Value of `tls` in `CRVideo_LoginInfo`: every connection is encrypted, but for those to loopback addresses (127.0.0.0/8
/// and ::1), which counts when the name has been resolved. The default.
pub const CRVIDEO_TLS_AUTO: u32 = 0;

/// Value of `tls` in `CRVideo_LoginInfo`: every connection is encrypted.
pub const CRVIDEO_TLS_ALWAYS: u32 = 1;

/// Value of `tls` in `CRVideo_LoginInfo`: nothing is encrypted. Everybody on the way can read and change everything, the
/// token as well.
pub const CRVIDEO_TLS_NEVER: u32 = 2;

/// Flag of `tls_flags` in `CRVideo_LoginInfo`: every certificate is taken. INSECURE: it protects against nobody who can
/// change what is on the way. Each login with it is a warning in the log.
pub const CRVIDEO_TLS_INSECURE_ANY_CERTIFICATE: u32 = 1;

/// Who logs in, and where. Fill it by `CRVideo_LoginInfoInit`, then set `project` to `secret`, but of `token` and
/// `secret` exactly one; what follows may stay as it is.
///
/// There is no way from encryption back to plain text: a server that cannot be reached or whose certificate cannot be
/// trusted as it is said here ends the login with `CRVideo_SSL_ERR`, and the log says which check failed. The name in
/// `servers` must stand in the certificate; an address must stand there as an IP address.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct CRVideo_LoginInfo {
    /// The size of this struct in bytes, as the caller knows it; `CRVideo_LoginInfoInit` sets it.
    pub struct_size: u32,
    /// The project's id, above 0.
    pub project: i32,
    /// Relay addresses that are tried in turn, `host:port,[v6]:port`; up to 4,096 bytes.
    pub servers: *const c_char,
    /// The user, 1 to `CRVIDEO_USER_ID_MAX` bytes of UTF-8.
    pub user_id: *const c_char,
    /// A token that the application's backend made for this user, up to 3,072 bytes; or NULL.
    pub token: *const c_char,
    /// The project's secret, up to 1,024 bytes, in a program that may be trusted with it; or NULL. The library makes
    /// tokens from it, and it does not leave the process.
    pub secret: *const c_char,
    /// Which connections are encrypted: `CRVIDEO_TLS_AUTO`, `CRVIDEO_TLS_ALWAYS` or `CRVIDEO_TLS_NEVER`.
    pub tls: u32,
    /// `CRVIDEO_TLS_INSECURE_...` flags, or-ed.
    pub tls_flags: u32,
    /// File in PEM form with the certificates of the authorities that are trusted instead of the system's, a path of up
    /// to 4,096 bytes, read at each login; or NULL: the system's.
    pub ca_file: *const c_char,
    /// The SHA-256 of the only public key that the relay may have (of its DER form, SubjectPublicKeyInfo), 64
    /// hexadecimal digits or base64, `sha256//` may stand before it; or NULL: any key. Without `ca_file` the key stands
    /// for the chain and the dates of the certificate, which may then be self-signed; with it both must be right.
    pub pinned_key: *const c_char,
}

// SAFETY: repr(C), begins with its size, and any bytes are valid integers and pointers.
unsafe impl Versioned for CRVideo_LoginInfo {
    const FIRST_SIZE: usize = std::mem::offset_of!(Self, secret) + size_of::<*const c_char>();
}

/// Fills a configuration with its size and the defaults; NULL is ignored. What was in it is overwritten, not read.
///
/// Any thread, callbacks included. The pointer is not touched after the call. In C and C++ the name is a macro for
/// `CRVideo_ConfigInitSized`; the function of this name fills the first form of the struct, which ended with
/// `max_send_bytes_per_s`.
// A program that was compiled with the first header has the first struct, so this symbol may never write more than
// that. When the struct grows, the header maps the name to a function that is also told the size.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn CRVideo_ConfigInit(config: *mut CRVideo_Config) {
    // SAFETY: NULL, or writable for the first form of a configuration.
    unsafe { CRVideo_ConfigInitSized(config, CRVideo_Config::FIRST_SIZE) }
}

/// Fills a configuration of `struct_size` bytes with that size and the defaults; NULL, and a size below that of its first
/// form, are ignored.
///
/// Any thread, callbacks included. The pointer is not touched after the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn CRVideo_ConfigInitSized(config: *mut CRVideo_Config, struct_size: usize) {
    let Ok(told) = u32::try_from(struct_size) else { return };
    let defaults = SessionConfig::default();
    // SAFETY: NULL, or writable for `struct_size` bytes.
    unsafe {
        args::init_sized_with(
            config,
            struct_size,
            CRVideo_Config {
                struct_size: told,
                flags: 0,
                queue: defaults.queue,
                download_dir: std::ptr::null(),
                buffer_limit: defaults.buffer_limit,
                inbound_limit: defaults.inbound_limit,
                outbound_limit: defaults.outbound_limit,
                task_limit: defaults.task_limit,
                cmd_timeout_ms: defaults.cmd_timeout.as_millis() as u32,
                transfer_timeout_ms: defaults.transfer_timeout.as_millis() as u32,
                offer_timeout_ms: defaults.offer_timeout.as_millis() as u32,
                file_ttl_s: defaults.file_ttl.as_secs() as u32,
                max_send_bytes_per_s: 0,
                download_quota: defaults.download_quota,
            },
        );
    }
}

/// Fills login information with its size and zeros; NULL is ignored. What was in it is overwritten, not read.
///
/// Any thread, callbacks included. The pointer is not touched after the call. In C and C++ the name is a macro for
/// `CRVideo_LoginInfoInitSized`; the function of this name fills the first form of the struct, which ended with
/// `secret`.
// See CRVideo_ConfigInit for what happens when the struct grows.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn CRVideo_LoginInfoInit(info: *mut CRVideo_LoginInfo) {
    // SAFETY: NULL, or writable for the first form of login information.
    unsafe { CRVideo_LoginInfoInitSized(info, CRVideo_LoginInfo::FIRST_SIZE) }
}

/// Fills login information of `struct_size` bytes with that size and zeros; NULL, and a size below that of its first
/// form, are ignored.
///
/// Any thread, callbacks included. The pointer is not touched after the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn CRVideo_LoginInfoInitSized(info: *mut CRVideo_LoginInfo, struct_size: usize) {
    // SAFETY: NULL, or writable for `struct_size` bytes.
    unsafe { args::init_sized(info, struct_size) }
}

/// Creates a session. `config` NULL means the defaults. Set callbacks next, then call `CRVideo_Login`; end it by
/// `CRVideo_Destroy`.
///
/// Any thread, callbacks included. `config` and its texts are not touched after the call; `session` is written on
/// success only. Errors: `CRVideo_PARAM_ERR` (`session` is NULL, the struct's size is too small, a flag is unknown, a
/// text is malformed, `download_dir` is no directory), `CRVideo_NOT_INIT` (no such queue),
/// `CRVideo_NETWORK_INITFAILED`, `CRVideo_OUTOF_MEM`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn CRVideo_Create(config: *const CRVideo_Config, session: *mut CRVideo_Session) -> CRVideo_Err {
    guard(|| {
        // SAFETY: what the caller's pointers must be is what is asked here.
        let (config, session) = unsafe { (session_config(config)?, args::out(session)?) };
        session.put(client::create_session(config, Arc::new(Callbacks::default()))?);
        Ok(())
    })
}

/// Ends a session, whatever it is doing. Every send that has not ended gets its terminal event; other events that have
/// not been handled, `Notify...` and progress among them, are discarded.
///
/// Any thread. Outside callbacks it returns when those events have been handled: with the library's own queue by its
/// callback thread, with a queue of the application's by this call itself. After that no callback of the session runs
/// or will run, and what its `user` pointers point to may be freed. Inside a callback (of whatever session) it returns
/// at once and the terminal events follow; the callback of `CRVideo_SetReleasedCallback` is then the last one. In both
/// cases every other call with this session returns `CRVideo_NOT_INIT` from now on. Errors: `CRVideo_NOT_INIT` (no such
/// session, or destroyed already).
#[unsafe(no_mangle)]
pub extern "C" fn CRVideo_Destroy(session: CRVideo_Session) -> CRVideo_Err {
    guard(|| client::destroy_session(session))
}

/// Logs in. When it returns `CRVideo_NOERR`, one `LoginRslt` event follows and says how it went; a first login is not
/// tried again by the library, but a link that is lost later is (`LineOff`, `LineOn`).
///
/// Any thread, callbacks included. `info` and its texts are not touched after the call. Errors: `CRVideo_PARAM_ERR`
/// (anything in `info` is missing, too long or malformed; both or none of `token` and `secret` are set; `ca_file` or
/// `pinned_key` together with `CRVIDEO_TLS_NEVER` or `CRVIDEO_TLS_INSECURE_ANY_CERTIFICATE`),
/// `CRVideo_LOGINSTATE_ERROR` (logged in already, or about to), `CRVideo_NOT_INIT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn CRVideo_Login(
    session: CRVideo_Session,
    info: *const CRVideo_LoginInfo,
    cookie: *mut c_void,
) -> CRVideo_Err {
    guard(|| {
        // SAFETY: what the caller's pointer must be is what is asked here.
        let info = unsafe { login_info(info) }?;
        client::login(session, info, args::context(cookie))
    })
}

/// Logs out. Sends that have not ended end first, each with its terminal event; then one `LogoutRslt` event follows.
/// The session can log in again after that.
///
/// Any thread, callbacks included; it does not wait. Errors: `CRVideo_NOT_LOGIN`, `CRVideo_NOT_INIT`.
#[unsafe(no_mangle)]
pub extern "C" fn CRVideo_Logout(session: CRVideo_Session, cookie: *mut c_void) -> CRVideo_Err {
    guard(|| client::logout(session, args::context(cookie)))
}

/// Gives a session a newer token, best when `TokenWillExpire` asks for it (30 s before the end); nothing is
/// interrupted. Without one the session ends with `LineOff(CRVideo_TOKEN_TIMEOUT)`.
///
/// Any thread, callbacks included. `token` is not touched after the call. Errors: `CRVideo_PARAM_ERR`,
/// `CRVideo_NOT_LOGIN`, `CRVideo_NOT_INIT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn CRVideo_UpdateToken(session: CRVideo_Session, token: *const c_char) -> CRVideo_Err {
    guard(|| {
        // SAFETY: what the caller's pointer must be is what is asked here.
        let token = unsafe { args::text(token, MAX_TOKEN) }?;
        client::update_token(session, token)
    })
}

/// Longest token in bytes.
const MAX_TOKEN: usize = 3072;
/// Longest secret in bytes.
const MAX_SECRET: usize = 1024;
/// Longest list of servers in bytes.
const MAX_SERVERS: usize = 4096;
/// Longest pinned key in bytes.
const MAX_PIN: usize = 128;

/// # Safety
/// `config` is NULL or as the header asks.
unsafe fn session_config(config: *const CRVideo_Config) -> Result<SessionConfig, Code> {
    let defaults = SessionConfig::default();
    if config.is_null() {
        return Ok(defaults);
    }
    // SAFETY: the caller's promise covers the struct and the text that it points to.
    let (config, download_dir) = unsafe {
        let config = args::versioned(config)?;
        (config, args::optional_path(config.download_dir)?)
    };
    if config.flags & !CRVIDEO_CONFIG_DURABLE != 0 {
        return Err(code::PARAM_ERR);
    }
    let or = |value, default| if value == 0 { default } else { value };
    Ok(SessionConfig {
        queue: config.queue,
        download_dir: download_dir.map(Into::into),
        durable: config.flags & CRVIDEO_CONFIG_DURABLE != 0,
        buffer_limit: or(config.buffer_limit, defaults.buffer_limit),
        inbound_limit: or(config.inbound_limit, defaults.inbound_limit),
        outbound_limit: or(config.outbound_limit, defaults.outbound_limit),
        task_limit: if config.task_limit == 0 { defaults.task_limit } else { config.task_limit },
        cmd_timeout: args::millis_or(config.cmd_timeout_ms, defaults.cmd_timeout),
        transfer_timeout: args::millis_or(config.transfer_timeout_ms, defaults.transfer_timeout),
        offer_timeout: args::millis_or(config.offer_timeout_ms, defaults.offer_timeout),
        file_ttl: match config.file_ttl_s {
            0 => defaults.file_ttl,
            seconds => Duration::from_secs(seconds.into()),
        },
        max_send_bytes_per_s: config.max_send_bytes_per_s,
        download_quota: config.download_quota,
    })
}

/// # Safety
/// `info` is NULL or as the header asks.
unsafe fn login_info(info: *const CRVideo_LoginInfo) -> Result<LoginInfo, Code> {
    // SAFETY: the caller's promise covers the struct and the texts that it points to.
    let (project, servers, user, token, secret, tls) = unsafe {
        let info = args::versioned(info)?;
        let servers = args::text(info.servers, MAX_SERVERS)?;
        let user = args::user_id(info.user_id)?;
        let token = args::optional_text(info.token, MAX_TOKEN)?;
        (info.project, servers, user, token, args::optional_text(info.secret, MAX_SECRET)?, tls_settings(&info)?)
    };
    let credential = match (token, secret) {
        (Some(token), None) => Credential::Token(token.to_owned()),
        (None, Some(secret)) => Credential::Secret(secret.to_owned()),
        _ => return Err(code::PARAM_ERR),
    };
    if project <= 0 {
        return Err(code::PARAM_ERR);
    }
    let servers = ServerAddress::parse_list(servers).ok_or(code::PARAM_ERR)?;
    Ok(LoginInfo { servers, project: project.into(), user: user.to_owned(), credential, tls })
}

/// # Safety
/// `info` is as the header asks.
unsafe fn tls_settings(info: &CRVideo_LoginInfo) -> Result<TlsSettings, Code> {
    // SAFETY: the caller's promise covers the texts that it points to.
    let (ca_file, pinned_key) =
        unsafe { (args::optional_path(info.ca_file)?, args::optional_text(info.pinned_key, MAX_PIN)?) };
    let pinned_key = pinned_key.map(|text| TlsSettings::parse_pin(text).ok_or(code::PARAM_ERR)).transpose()?;
    let mode = match info.tls {
        CRVIDEO_TLS_AUTO => TlsMode::Auto,
        CRVIDEO_TLS_ALWAYS => TlsMode::Always,
        CRVIDEO_TLS_NEVER => TlsMode::Never,
        _ => return Err(code::PARAM_ERR),
    };
    let insecure = info.tls_flags & CRVIDEO_TLS_INSECURE_ANY_CERTIFICATE != 0;
    // Whoever says whom to trust, and then that it does not matter, has made a mistake.
    let contradiction = (insecure || mode == TlsMode::Never) && (ca_file.is_some() || pinned_key.is_some());
    if info.tls_flags & !CRVIDEO_TLS_INSECURE_ANY_CERTIFICATE != 0 || contradiction {
        return Err(code::PARAM_ERR);
    }
    Ok(TlsSettings { mode, ca_file: ca_file.map(Into::into), pinned_key, insecure })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn init() -> CRVideo_Config {
        // SAFETY: any bytes are valid in it.
        let mut config: CRVideo_Config = unsafe { std::mem::zeroed() };
        // SAFETY: one configuration.
        unsafe { CRVideo_ConfigInitSized(&mut config, size_of::<CRVideo_Config>()) };
        config
    }

    fn read(config: &CRVideo_Config) -> Result<SessionConfig, Code> {
        // SAFETY: one configuration, whose text, if any, is NUL-terminated.
        unsafe { session_config(config) }
    }

    #[test]
    fn null_and_a_fresh_and_a_zero_configuration_are_all_the_defaults() {
        // SAFETY: NULL is allowed.
        let of_null = unsafe { session_config(std::ptr::null()) };
        let zero = CRVideo_Config {
            buffer_limit: 0,
            inbound_limit: 0,
            outbound_limit: 0,
            task_limit: 0,
            cmd_timeout_ms: 0,
            transfer_timeout_ms: 0,
            offer_timeout_ms: 0,
            file_ttl_s: 0,
            ..init()
        };
        for config in [of_null, read(&init()), read(&zero)] {
            assert_eq!(format!("{config:?}"), format!("Ok({:?})", SessionConfig::default()));
        }
    }

    #[test]
    fn every_setting_arrives_where_it_belongs() {
        let config = CRVideo_Config {
            flags: CRVIDEO_CONFIG_DURABLE,
            queue: 1,
            download_dir: c"/tmp/x".as_ptr(),
            buffer_limit: 2,
            inbound_limit: 3,
            outbound_limit: 4,
            task_limit: 5,
            cmd_timeout_ms: 6,
            transfer_timeout_ms: 7,
            offer_timeout_ms: 8,
            file_ttl_s: 9,
            max_send_bytes_per_s: 10,
            download_quota: 11,
            ..init()
        };
        let config = read(&config).unwrap();
        assert_eq!((config.queue, config.durable, config.max_send_bytes_per_s), (1, true, 10));
        assert_eq!(config.download_quota, 11);
        assert_eq!(config.download_dir.unwrap().to_str(), Some("/tmp/x"));
        assert_eq!((config.buffer_limit, config.inbound_limit, config.outbound_limit, config.task_limit), (2, 3, 4, 5));
        assert_eq!(
            [config.cmd_timeout, config.transfer_timeout, config.offer_timeout].map(|time| time.as_millis()),
            [6, 7, 8]
        );
        assert_eq!(config.file_ttl.as_secs(), 9);
    }

    #[test]
    fn what_is_not_understood_in_a_configuration_is_refused() {
        let size = init().struct_size;
        let long = std::ffi::CString::new(vec![b'x'; 4097]).unwrap();
        for bad in [
            CRVideo_Config { struct_size: 0, ..init() },
            CRVideo_Config { struct_size: CRVideo_Config::FIRST_SIZE as u32 - 1, ..init() },
            CRVideo_Config { flags: 2, ..init() },
            CRVideo_Config { flags: u32::MAX, ..init() },
            CRVideo_Config { download_dir: c"".as_ptr(), ..init() },
            CRVideo_Config { download_dir: long.as_ptr(), ..init() },
        ] {
            assert_eq!(read(&bad).err(), Some(code::PARAM_ERR));
        }
        assert!(read(&CRVideo_Config { struct_size: size + 400, ..init() }).is_ok());
    }

    fn info() -> CRVideo_LoginInfo {
        let mut info = CRVideo_LoginInfo {
            struct_size: 0,
            project: 9,
            servers: std::ptr::dangling(),
            user_id: std::ptr::dangling(),
            token: std::ptr::dangling(),
            secret: std::ptr::dangling(),
            tls: 9,
            tls_flags: 9,
            ca_file: std::ptr::dangling(),
            pinned_key: std::ptr::dangling(),
        };
        // SAFETY: one struct.
        unsafe { CRVideo_LoginInfoInitSized(&mut info, size_of::<CRVideo_LoginInfo>()) };
        info.project = 7;
        info.servers = c"relay:13000,[::1]:13001".as_ptr();
        info.user_id = c"alice".as_ptr();
        info.token = c"a.b.c".as_ptr();
        info
    }

    fn read_login(info: &CRVideo_LoginInfo) -> Result<LoginInfo, Code> {
        // SAFETY: one struct, whose texts are NUL-terminated.
        unsafe { login_info(info) }
    }

    #[test]
    fn login_information_arrives_whole() {
        let login = read_login(&info()).unwrap();
        assert_eq!((login.project, login.user.as_str(), login.servers.len()), (7, "alice", 2));
        assert!(matches!(&login.credential, Credential::Token(token) if token == "a.b.c"));
        let by_secret = CRVideo_LoginInfo { token: std::ptr::null(), secret: c"s".as_ptr(), ..info() };
        assert!(matches!(&read_login(&by_secret).unwrap().credential, Credential::Secret(secret) if secret == "s"));
    }

    #[test]
    fn login_information_that_lacks_or_doubles_something_is_refused() {
        let null = std::ptr::null();
        let long = std::ffi::CString::new(vec![b'x'; 3073]).unwrap();
        for bad in [
            CRVideo_LoginInfo { struct_size: CRVideo_LoginInfo::FIRST_SIZE as u32 - 1, ..info() },
            CRVideo_LoginInfo { project: 0, ..info() },
            CRVideo_LoginInfo { project: -1, ..info() },
            CRVideo_LoginInfo { servers: null, ..info() },
            CRVideo_LoginInfo { servers: c"relay".as_ptr(), ..info() },
            CRVideo_LoginInfo { user_id: null, ..info() },
            CRVideo_LoginInfo { user_id: c"\xff".as_ptr(), ..info() },
            CRVideo_LoginInfo { token: null, ..info() },
            CRVideo_LoginInfo { token: c"".as_ptr(), ..info() },
            CRVideo_LoginInfo { token: long.as_ptr(), ..info() },
            CRVideo_LoginInfo { secret: c"s".as_ptr(), ..info() },
        ] {
            assert_eq!(read_login(&bad).err(), Some(code::PARAM_ERR));
        }
    }

    const PIN: &std::ffi::CStr = c"0b2b7b4b4f0f3c4f1f2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f7081";

    #[test]
    fn what_is_said_about_encryption_arrives() {
        assert_eq!(read_login(&info()).unwrap().tls, TlsSettings::default());
        let all = CRVideo_LoginInfo {
            tls: CRVIDEO_TLS_ALWAYS,
            ca_file: c"/ca.pem".as_ptr(),
            pinned_key: PIN.as_ptr(),
            ..info()
        };
        let tls = read_login(&all).unwrap().tls;
        assert_eq!((tls.mode, tls.insecure, tls.ca_file), (TlsMode::Always, false, Some("/ca.pem".into())));
        assert_eq!(tls.pinned_key.unwrap()[..2], [0x0b, 0x2b]);
        let never = CRVideo_LoginInfo { tls: CRVIDEO_TLS_NEVER, ..info() };
        assert_eq!(read_login(&never).unwrap().tls.mode, TlsMode::Never);
        let insecure = CRVideo_LoginInfo { tls_flags: CRVIDEO_TLS_INSECURE_ANY_CERTIFICATE, ..info() };
        assert!(read_login(&insecure).unwrap().tls.insecure);
    }

    #[test]
    fn encryption_that_is_not_understood_or_contradicts_itself_is_refused() {
        let (file, insecure) = (c"/ca.pem".as_ptr(), CRVIDEO_TLS_INSECURE_ANY_CERTIFICATE);
        for bad in [
            CRVideo_LoginInfo { tls: 3, ..info() },
            CRVideo_LoginInfo { tls_flags: 2, ..info() },
            CRVideo_LoginInfo { ca_file: c"".as_ptr(), ..info() },
            CRVideo_LoginInfo { pinned_key: c"abc".as_ptr(), ..info() },
            CRVideo_LoginInfo { tls: CRVIDEO_TLS_NEVER, ca_file: file, ..info() },
            CRVideo_LoginInfo { tls: CRVIDEO_TLS_NEVER, pinned_key: PIN.as_ptr(), ..info() },
            CRVideo_LoginInfo { tls_flags: insecure, ca_file: file, ..info() },
            CRVideo_LoginInfo { tls_flags: insecure, pinned_key: PIN.as_ptr(), ..info() },
        ] {
            assert_eq!(read_login(&bad).err(), Some(code::PARAM_ERR));
        }
    }

    #[test]
    fn a_program_that_knows_the_first_form_gets_no_byte_more_and_the_default() {
        // What stands behind its struct is not the library's.
        let mut room = info();
        (room.tls, room.ca_file) = (7, c"/not/there".as_ptr());
        // SAFETY: one struct, which has room for its first form.
        unsafe { CRVideo_LoginInfoInit(&mut room) };
        assert_eq!((room.struct_size as usize, room.tls), (CRVideo_LoginInfo::FIRST_SIZE, 7));
        assert!(room.servers.is_null() && !room.ca_file.is_null());
        let fresh = info();
        (room.project, room.servers, room.user_id, room.token) = (7, fresh.servers, fresh.user_id, fresh.token);
        assert_eq!(read_login(&room).unwrap().tls, TlsSettings::default());
        let before = room.struct_size as usize;
        // SAFETY: nothing is written.
        unsafe { CRVideo_LoginInfoInitSized(&mut room, before - 1) };
        assert_eq!(room.project, 7);
    }

    #[test]
    fn a_program_that_knows_the_first_configuration_gets_no_byte_more_and_no_quota() {
        let mut room = CRVideo_Config { download_quota: 7, ..init() };
        // SAFETY: one struct, which has room for its first form.
        unsafe { CRVideo_ConfigInit(&mut room) };
        assert_eq!((room.struct_size as usize, room.download_quota), (CRVideo_Config::FIRST_SIZE, 7));
        assert_eq!(read(&room).unwrap().download_quota, 0);
        room.task_limit = 7;
        // SAFETY: nothing is written.
        unsafe { CRVideo_ConfigInitSized(&mut room, CRVideo_Config::FIRST_SIZE - 1) };
        assert_eq!(room.task_limit, 7);
    }

    #[test]
    fn initialising_nothing_is_harmless() {
        // SAFETY: NULL is allowed.
        unsafe {
            CRVideo_ConfigInit(std::ptr::null_mut());
            CRVideo_LoginInfoInit(std::ptr::null_mut());
        }
    }

    #[test]
    fn the_headers_limit_of_user_ids_is_the_protocols() {
        assert_eq!(CRVIDEO_USER_ID_MAX, crvideo_proto::id::MAX_USER_ID);
    }
}
