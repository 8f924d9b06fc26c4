//! A client's life.

use std::ffi::{c_char, c_void};
use std::sync::Arc;

use crvideo_proto::code;

use super::super::args::{self, Versioned};
use super::super::callback::{CRVideo_NoticeCallback, Slot};
use super::super::error::CRVideo_Err;
use super::super::guard::guard;
use super::super::queue::CRVideo_Queue;
use super::listen::{Ears, set};
use super::types::RTM_Client;
use crate::client::rtm::{self, Config, DEFAULT_TIMEOUT};
use crate::client::{Code, ServerAddress};

/// An RTM client's settings. Fill it by `RTM_ConfigInit`, then set `project`, `secret` and `endpoint`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct RTM_Config {
    /// The size of this struct in bytes, as the caller knows it; `RTM_ConfigInit` sets it.
    pub struct_size: u32,
    /// The project's id, above 0.
    pub project: i32,
    /// The queue on which callbacks run; 0: the library's own, served by its callback thread.
    pub queue: CRVideo_Queue,
    /// The project's secret, up to 1,024 bytes. It signs each call and does not leave the process.
    pub secret: *const c_char,
    /// The server gate's addresses, tried in turn, `host:port,[v6]:port`; up to 4,096 bytes.
    pub endpoint: *const c_char,
    /// How long a call may take, in milliseconds. Default: 30,000.
    pub timeout_ms: u32,
    /// Must be 0.
    pub reserved: u32,
}

// SAFETY: repr(C), begins with its size, and any bytes are valid integers and pointers.
unsafe impl Versioned for RTM_Config {
    const FIRST_SIZE: usize = std::mem::offset_of!(Self, reserved) + size_of::<u32>();
}

/// Fills a configuration with its size and the defaults; NULL is ignored. What was in it is overwritten, not read.
///
/// Any thread, callbacks included. The pointer is not touched after the call.
// See CRVideo_ConfigInit for what happens when the struct grows.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn RTM_ConfigInit(config: *mut RTM_Config) {
    // SAFETY: NULL, or writable for one configuration.
    if let Some(out) = unsafe { args::optional_out(config) } {
        out.put(RTM_Config {
            struct_size: size_of::<RTM_Config>() as u32,
            project: 0,
            queue: 0,
            secret: std::ptr::null(),
            endpoint: std::ptr::null(),
            timeout_ms: DEFAULT_TIMEOUT.as_millis() as u32,
            reserved: 0,
        });
    }
}

/// Creates an RTM client. Nothing is connected before its first call; a connection that is lost is made again when it
/// is needed. End it by `RTM_Destroy`.
///
/// Any thread, callbacks included. `config` and its texts are not touched after the call; `client` is written on success
/// only. Errors: `CRVideo_PARAM_ERR` (NULL, the struct's size is too small, anything in `config` is missing, too long or
/// malformed), `CRVideo_NOT_INIT` (no such queue), `CRVideo_NETWORK_INITFAILED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn RTM_Create(config: *const RTM_Config, client: *mut RTM_Client) -> CRVideo_Err {
    guard(|| {
        // SAFETY: what the caller's pointers must be is what is asked here.
        let (config, client) = unsafe { (read_config(config)?, args::out(client)?) };
        client.put(rtm::create(config, Arc::new(Ears::default()))?);
        Ok(())
    })
}

/// Ends a client, whatever it is doing. Each call that has not ended ends with `RTM_ERR_CANCELLED`: its callback is
/// called, or it returns. Pushes that have not been handled are discarded.
///
/// Any thread. Outside callbacks it returns when those callbacks have run: with the library's own queue on its callback
/// thread, with a queue of the application's in this call itself. After that no callback of the client runs or will run,
/// and what its cookies and `user` pointers point to may be freed. Inside a callback (of whatever client or session) it
/// returns at once and the callbacks follow; that of `RTM_SetReleasedCallback` is then the last one. In both cases every
/// other call with this client returns `CRVideo_NOT_INIT` from now on. Errors: `CRVideo_NOT_INIT` (no such client, or
/// destroyed already).
#[unsafe(no_mangle)]
pub extern "C" fn RTM_Destroy(client: RTM_Client) -> CRVideo_Err {
    guard(|| rtm::destroy(client))
}

/// Sets the function that is called last of all, when the client is destroyed and no other callback of it runs or will
/// run.
///
/// See `RTM_SetPushMsgCallback` for what holds for all setters.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn RTM_SetReleasedCallback(
    client: RTM_Client,
    cb: CRVideo_NoticeCallback,
    user: *mut c_void,
) -> CRVideo_Err {
    guard(|| set(client, |ears| ears.released = Slot::new(cb, user)))
}

/// Longest secret in bytes.
const MAX_SECRET: usize = 1024;
/// Longest list of endpoints in bytes.
const MAX_ENDPOINT: usize = 4096;

/// # Safety
/// `config` is NULL or as the header asks.
unsafe fn read_config(config: *const RTM_Config) -> Result<Config, Code> {
    // SAFETY: the caller's promise covers the struct and the texts that it points to.
    let (config, secret, endpoint) = unsafe {
        let config = args::versioned(config)?;
        (config, args::text(config.secret, MAX_SECRET)?, args::text(config.endpoint, MAX_ENDPOINT)?)
    };
    if config.project <= 0 || config.reserved != 0 {
        return Err(code::PARAM_ERR);
    }
    Ok(Config {
        queue: config.queue,
        project: config.project.into(),
        secret: secret.to_owned(),
        servers: ServerAddress::parse_list(endpoint).ok_or(code::PARAM_ERR)?,
        timeout: args::millis_or(config.timeout_ms, DEFAULT_TIMEOUT),
    })
}
