//! One call, with a callback or waiting for its end.

use std::ffi::{c_char, c_void};
use std::time::Duration;

use crvideo_proto::code;

use super::super::args::{self, Versioned};
use super::super::error::{CRVideo_Err, text_of};
use super::super::guard::{calling, guard};
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
            let tell =
                move |done: &Done| calling(|| unsafe { callback(args::context_pointer(cookie), &R::show(done)) });
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
        let (mtime, watched) = match done.outcome {
            Ok(Answer::Sent { mtime, watched }) => (mtime, watched),
            _ => (0, false),
        };
        let struct_size = size_of::<Self>() as u32;
        Self { struct_size, err, mid: done.mid, mtime, text, recipient_results: watched.into(), reserved: 0 }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffi::{RTM_ENDPOINT_SIZE, RTM_ResultInit, RTM_TOKEN_SIZE};
    use std::ffi::CStr;
    use std::mem::MaybeUninit;
    use std::sync::Mutex;

    fn text(field: &[c_char]) -> &str {
        // SAFETY: that a field ends with a NUL is part of what is tested.
        unsafe { CStr::from_ptr(field.as_ptr()) }.to_str().unwrap()
    }

    fn failed(code: Code, text: &str) -> Done {
        Done { mid: 7, outcome: Err(Failure { code, text: text.to_owned() }) }
    }

    #[test]
    fn texts_are_cut_where_a_character_ends_and_always_end_with_a_nul() {
        assert_eq!(text(&field::<4>("abcdef")), "abc");
        assert_eq!(text(&field::<4>("añb")), "añ");
        assert_eq!(text(&field::<4>("ab漢")), "ab");
        assert_eq!(text(&field::<4>("a\0b")), "a");
        assert_eq!(text(&field::<1>("abc")), "");
    }

    #[test]
    fn every_result_shows_how_its_call_has_ended() {
        let shown = RTM_SendResult::show(&failed(200_041, "no member"));
        assert_eq!((shown.err, shown.mid, shown.mtime, text(&shown.text)), (200_041, 7, 0, "no member"));
        let sent = Done { mid: 7, outcome: Ok(Answer::Sent { mtime: 9, watched: true }) };
        let shown = RTM_SendResult::show(&sent);
        assert_eq!((shown.err, shown.mid, shown.mtime, text(&shown.text)), (0, 7, 9, ""));
        assert_eq!(shown.recipient_results, 1);
        let number = Done { mid: 0, outcome: Ok(Answer::Number(3)) };
        assert_eq!(RTM_Result::show(&number).number, 3);
        let long = ("t".repeat(RTM_TOKEN_SIZE - 1), "e".repeat(RTM_ENDPOINT_SIZE - 1));
        let answer = Answer::FileToken { token: long.0.clone(), endpoint: long.1.clone() };
        let shown = RTM_TokenResult::show(&Done { mid: 0, outcome: Ok(answer) });
        assert_eq!((text(&shown.token), text(&shown.endpoint)), (long.0.as_str(), long.1.as_str()));
    }

    #[test]
    fn a_list_goes_into_the_callers_memory_as_far_as_that_has_room() {
        let done = Done { mid: 0, outcome: Ok(Answer::Ids(vec![1, 2, 3])) };
        let mut memory = [7_i64; 4];
        for capacity in 0..=4 {
            memory.fill(7);
            let theirs = RTM_ListResult { ids: memory.as_mut_ptr(), capacity, ..RTM_ListResult::show(&done) };
            // SAFETY: there is room for `capacity` ids.
            let moved = unsafe { RTM_ListResult::show(&done).moved_to(&theirs) };
            assert_eq!((moved.ids, moved.capacity, moved.count), (memory.as_mut_ptr(), capacity, 3));
            let fits = capacity.min(3);
            assert!(memory[..fits] == [1, 2, 3][..fits] && memory[fits..].iter().all(|id| *id == 7));
        }
        let theirs = RTM_ListResult { ids: std::ptr::null_mut(), capacity: 9, ..RTM_ListResult::show(&done) };
        // SAFETY: there is no memory.
        assert_eq!(unsafe { RTM_ListResult::show(&done).moved_to(&theirs) }.count, 3);
    }

    fn fresh() -> RTM_Result {
        let mut result = MaybeUninit::uninit();
        // SAFETY: room for one result, which is filled.
        unsafe {
            RTM_ResultInit(result.as_mut_ptr());
            result.assume_init()
        }
    }

    #[test]
    fn a_call_that_waits_tells_every_end_in_its_result_also_that_it_was_refused() {
        let run_with = |result: *mut RTM_Result, end: Result<Option<Done>, Code>| {
            // SAFETY: one result, or NULL.
            unsafe { run(None, std::ptr::null_mut(), result, |reply| reply.map_or(end, |_| Err(code::INNER_ERR))) }
        };
        let mut result = fresh();
        assert_eq!(run_with(&mut result, Err(code::PARAM_ERR)), code::PARAM_ERR);
        assert_eq!((result.err, text(&result.text)), (code::PARAM_ERR, code::text(5).to_str().unwrap()));
        assert_eq!(run_with(&mut result, Ok(Some(failed(20_003, "late")))), 20_003);
        assert_eq!((result.err, text(&result.text)), (20_003, "late"));
        assert_eq!(run_with(&mut result, Ok(Some(Done { mid: 0, outcome: Ok(Answer::Number(1)) }))), 0);
        assert_eq!((result.err, result.number, text(&result.text)), (0, 1, ""));
        assert_eq!(run_with(std::ptr::null_mut(), Err(code::NOT_INIT)), code::NOT_INIT);
        // One from an older header is written as far as it goes.
        let mut older = fresh();
        older.text.fill(0x23);
        older.struct_size -= 1;
        assert_eq!(run_with(&mut older, Err(code::NOT_INIT)), code::PARAM_ERR);
        assert!(older.err == 0 && older.text.iter().all(|byte| *byte == 0x23));
    }

    unsafe extern "C-unwind" fn note(cookie: *mut c_void, result: *const RTM_Result) {
        // SAFETY: the test below passes a Mutex as cookie; the result lives until this returns.
        let (errs, result) = unsafe { (&*cookie.cast::<Mutex<Vec<Code>>>(), &*result) };
        errs.lock().unwrap().push(result.err);
    }

    #[test]
    fn a_callback_gets_its_cookie_and_the_result_and_none_comes_for_a_call_that_was_refused() {
        let errs = Mutex::new(Vec::<Code>::new());
        let cookie: *mut c_void = (&raw const errs).cast_mut().cast();
        let tell = |end: Option<Done>| {
            // SAFETY: the cookie is what `note` expects.
            unsafe {
                run(Some(note), cookie, std::ptr::null_mut::<RTM_Result>(), |reply| {
                    let Some(done) = end else { return Err(code::SEND_QUEUE_FULL) };
                    reply.unwrap()(&done);
                    Ok(None)
                })
            }
        };
        assert_eq!(tell(None), code::SEND_QUEUE_FULL);
        assert_eq!(tell(Some(failed(20_002, ""))), code::NOERR);
        assert_eq!(*errs.lock().unwrap(), [20_002]);
    }
}
