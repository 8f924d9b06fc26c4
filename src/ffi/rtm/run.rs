//! One call, with a callback or waiting for its end.

use std::ffi::{c_char, c_void};
use std::time::Duration;

use crvideo_proto::code;

use super::super::args::{self, Versioned};
use super::super::error::{CRVideo_Err, text_of};
use super::super::guard::guard;
use super::types::{RTM_CallOptions, RTM_ListResult, RTM_Result, RTM_SendResult, RTM_TEXT_SIZE, RTM_TokenResult};
use crate::client::Code;
use crate::client::rtm::{Answer, CallOptions, Callback, Done, Failure};

/// A struct of results.
pub(super) trait Shown: Versioned {
    /// A result as callbacks see it. Pointers in it are to `done`.
    fn show(done: &Done) -> Self;

    /// Makes it a result for the caller's own struct `place`.
    ///
    /// # Safety
    /// What `place` points to is as the header asks.
    unsafe fn moved_to(self, _place: &Self) -> Self {
        self
    }
}

/// Makes one call: with a callback it returns when the call is accepted, without one when it has ended, and fills
/// `result` if there is one. `call` reads the caller's other arguments, so that an error in them is told in the result.
///
/// # Safety
/// The callback may be called with `cookie` and a result; `result` is NULL or as the header asks.
pub(super) unsafe fn run<R: Shown + 'static>(
    callback: Option<unsafe extern "C-unwind" fn(*mut c_void, *const R)>,
    cookie: *mut c_void,
    result: *mut R,
    call: impl FnOnce(Option<Callback>) -> Result<Option<Done>, Code>,
) -> CRVideo_Err {
    guard(|| {
        if let Some(callback) = callback {
            let cookie = args::context(cookie);
            // SAFETY: the caller's promise is the same; the result lives until the function returns.
            let tell = move |done: &Done| unsafe { callback(args::context_pointer(cookie), &R::show(done)) };
            return call(Some(Box::new(tell))).map(drop);
        }
        // SAFETY: the caller's promise is the same.
        let place = unsafe { args::versioned_out(result) }?;
        let done = call(None).and_then(|done| done.ok_or(code::INNER_ERR)).unwrap_or_else(|code| {
            let text = text_of(code).to_string_lossy().into_owned();
            Done { mid: 0, outcome: Err(Failure { code, text }) }
        });
        if let Some((place, theirs)) = place {
            // SAFETY: what the caller's struct points to is as the header asks.
            place.put(unsafe { R::show(&done).moved_to(&theirs) });
        }
        done.outcome.map(drop).map_err(|failure| failure.code)
    })
}

/// # Safety
/// `options` is NULL or as the header asks.
pub(super) unsafe fn options(options: *const RTM_CallOptions) -> Result<CallOptions, Code> {
    if options.is_null() {
        return Ok(CallOptions::default());
    }
    // SAFETY: the caller's promise is the same.
    let RTM_CallOptions { timeout_ms, mid, .. } = unsafe { args::versioned(options) }?;
    let timeout = (timeout_ms != 0).then(|| Duration::from_millis(timeout_ms.into()));
    Ok(CallOptions { timeout, mid: (mid != 0).then_some(mid) })
}

/// A text in a field of a struct, cut where it does not fit.
fn field<const SIZE: usize>(text: &str) -> [c_char; SIZE] {
    let text = text.split('\0').next().unwrap_or_default();
    let end = text.floor_char_boundary(SIZE - 1);
    let mut field = [0; SIZE];
    for (place, byte) in field.iter_mut().zip(text.bytes().take(end)) {
        *place = byte as c_char;
    }
    field
}

fn err_and_text(done: &Done) -> (CRVideo_Err, [c_char; RTM_TEXT_SIZE]) {
    match &done.outcome {
        Ok(_) => (code::NOERR, [0; RTM_TEXT_SIZE]),
        Err(failure) => (failure.code, field(&failure.text)),
    }
}

impl Shown for RTM_Result {
    fn show(done: &Done) -> Self {
        let (err, text) = err_and_text(done);
        let number = if let Ok(Answer::Number(number)) = done.outcome { number } else { 0 };
        Self { struct_size: size_of::<Self>() as u32, err, number, text }
    }
}

impl Shown for RTM_SendResult {
    fn show(done: &Done) -> Self {
        let (err, text) = err_and_text(done);
        let mtime = if let Ok(Answer::Sent { mtime }) = done.outcome { mtime } else { 0 };
        Self { struct_size: size_of::<Self>() as u32, err, mid: done.mid, mtime, text }
    }
}

impl Shown for RTM_TokenResult {
    fn show(done: &Done) -> Self {
        let (err, text) = err_and_text(done);
        let (token, endpoint) = match &done.outcome {
            Ok(Answer::FileToken { token, endpoint }) => (token.as_str(), endpoint.as_str()),
            Ok(Answer::Token(token)) => (token.as_str(), ""),
            _ => ("", ""),
        };
        // The client takes no token and no endpoint that would not fit.
        Self { struct_size: size_of::<Self>() as u32, err, token: field(token), endpoint: field(endpoint), text }
    }
}

impl Shown for RTM_ListResult {
    fn show(done: &Done) -> Self {
        let (err, text) = err_and_text(done);
        let ids: &[i64] = if let Ok(Answer::Ids(ids)) = &done.outcome { ids } else { &[] };
        let (capacity, count) = (ids.len(), ids.len());
        Self { struct_size: size_of::<Self>() as u32, err, ids: ids.as_ptr().cast_mut(), capacity, count, text }
    }

    unsafe fn moved_to(self, place: &Self) -> Self {
        let fits = if place.ids.is_null() { 0 } else { self.count.min(place.capacity) };
        if fits > 0 {
            // SAFETY: the library has `count` ids, the caller's memory has room for `capacity` of them, and they do
            // not overlap. As bytes, because the caller's memory need not be aligned.
            unsafe {
                std::ptr::copy_nonoverlapping(
                    self.ids.cast_const().cast::<u8>(),
                    place.ids.cast::<u8>(),
                    fits * size_of::<i64>(),
                );
            }
        }
        Self { ids: place.ids, capacity: place.capacity, ..self }
    }
}
