//! What comes in from C, checked: NULL, lengths, UTF-8, alignment.
//!
//! Each function that takes a raw pointer is unsafe; what its caller promises is what the header asks of C. What they
//! return is safe to use until the exported call returns.

use std::ffi::{c_char, c_void};
use std::mem::MaybeUninit;
use std::path::Path;
use std::ptr::NonNull;
use std::slice;
use std::time::Duration;

use crvideo_proto::code;
use crvideo_proto::id::{MAX_USER_ID, TaskId, is_user_id};

use super::path;
use super::send::CRVIDEO_TASK_ID_SIZE;
use crate::client::Code;

/// Longest path in bytes.
pub(super) const MAX_PATH: usize = 4096;

/// A struct that C fills, and that begins with a `uint32_t struct_size`.
///
/// # Safety
/// `#[repr(C)]`, its first field is that `u32`, and any bytes are a valid value of it.
pub(super) unsafe trait Versioned: Copy {
    /// Its size when it was first shipped, in bytes.
    const FIRST_SIZE: usize;
}

/// Copies what a struct's `struct_size` covers of it; fields behind that are zero. Its alignment does not matter.
///
/// # Safety
/// `from` is NULL or points to `struct_size` readable bytes.
pub(super) unsafe fn versioned<T: Versioned>(from: *const T) -> Result<T, Code> {
    if from.is_null() {
        return Err(code::PARAM_ERR);
    }
    // SAFETY: the struct begins with its u32 of size; it is read without regard to alignment.
    let size = unsafe { from.cast::<u32>().read_unaligned() } as usize;
    if size < T::FIRST_SIZE {
        return Err(code::PARAM_ERR);
    }
    let mut copy = MaybeUninit::<T>::zeroed();
    // SAFETY: the source is readable for `size` bytes, the target holds a T, and they do not overlap; whatever bytes
    // are copied, T is valid with them (Versioned).
    unsafe {
        let known = size.min(size_of::<T>());
        std::ptr::copy_nonoverlapping(from.cast::<u8>(), copy.as_mut_ptr().cast::<u8>(), known);
        Ok(copy.assume_init())
    }
}

/// Fills `size` bytes of a struct with that size and zeros; nothing when it is less than its first form.
///
/// # Safety
/// `place` is NULL or writable for `size` bytes. Its alignment does not matter.
pub(super) unsafe fn init_sized<T: Versioned>(place: *mut T, size: usize) {
    let Ok(told) = u32::try_from(size) else { return };
    if place.is_null() || size < T::FIRST_SIZE {
        return;
    }
    // SAFETY: the caller's promise; every struct begins with its u32 of size.
    unsafe {
        place.cast::<u8>().write_bytes(0, size);
        place.cast::<u32>().write_unaligned(told);
    }
}

/// Fills `size` bytes of a struct with `value`, and zeros behind it; nothing when it is less than its first form.
///
/// # Safety
/// `place` is NULL or writable for `size` bytes. Its alignment does not matter.
pub(super) unsafe fn init_sized_with<T: Versioned>(place: *mut T, size: usize, value: T) {
    if place.is_null() || size < T::FIRST_SIZE {
        return;
    }
    let known = size.min(size_of::<T>());
    // SAFETY: the caller's promise; `known` bytes are those of `value`, whose bytes may all be copied.
    unsafe {
        place.cast::<u8>().write_bytes(0, size);
        std::ptr::copy_nonoverlapping((&raw const value).cast::<u8>(), place.cast::<u8>(), known);
    }
}

/// The place of a struct that the library fills as far as its `struct_size` says, and what stands in it before; NULL is
/// `None`.
///
/// # Safety
/// `place` is NULL or points to `struct_size` readable and writable bytes until the exported call returns.
pub(super) unsafe fn versioned_out<T: Versioned>(place: *mut T) -> Result<Option<(VersionedOut<T>, T)>, Code> {
    let Some(there) = NonNull::new(place) else { return Ok(None) };
    // SAFETY: the caller's promise is the same.
    let before = unsafe { versioned(place.cast_const()) }?;
    // SAFETY: the struct begins with its u32 of size; it is read without regard to alignment.
    let size = unsafe { place.cast::<u32>().read_unaligned() } as usize;
    Ok(Some((VersionedOut { place: there, size }, before)))
}

/// A place for a struct of the caller's size.
pub(super) struct VersionedOut<T> {
    place: NonNull<T>,
    size: usize,
}

impl<T: Versioned> VersionedOut<T> {
    /// Writes what the caller's struct has room for; its size stays as it is.
    pub(super) fn put(self, value: T) {
        let (head, known) = (size_of::<u32>(), self.size.min(size_of::<T>()));
        let from = (&raw const value).cast::<u8>();
        // SAFETY: the maker has promised that `size` bytes are writable; value has at least `known` bytes, of which
        // the first ones are its size.
        unsafe {
            let to = self.place.as_ptr().cast::<u8>();
            std::ptr::copy_nonoverlapping(from.add(head), to.add(head), known.saturating_sub(head));
        }
    }
}

/// The bytes of a NUL-terminated text of at most `max` bytes. Not more than `max + 1` bytes are looked at.
///
/// # Safety
/// `text` is NULL or NUL-terminated, or readable for `max + 1` bytes; it stays as it is until the call returns.
unsafe fn text_bytes<'a>(text: *const c_char, max: usize) -> Result<&'a [u8], Code> {
    if text.is_null() {
        return Err(code::PARAM_ERR);
    }
    let text = text.cast::<u8>();
    // SAFETY: every byte up to the first NUL or `max` is readable, and the search ends there.
    let len = (0..=max).find(|at| unsafe { text.add(*at).read() } == 0).ok_or(code::PARAM_ERR)?;
    // SAFETY: these `len` bytes have just been read.
    Ok(unsafe { slice::from_raw_parts(text, len) })
}

/// A UTF-8 text of 1 to `max` bytes.
///
/// # Safety
/// As the header says of texts.
pub(super) unsafe fn text<'a>(text: *const c_char, max: usize) -> Result<&'a str, Code> {
    // SAFETY: the caller's promise is the same.
    let bytes = unsafe { text_bytes(text, max) }?;
    std::str::from_utf8(bytes).ok().filter(|text| !text.is_empty()).ok_or(code::PARAM_ERR)
}

/// Like [`text`], but NULL is `None`.
///
/// # Safety
/// As the header says of texts.
pub(super) unsafe fn optional_text<'a>(pointer: *const c_char, max: usize) -> Result<Option<&'a str>, Code> {
    // SAFETY: the caller's promise is the same.
    if pointer.is_null() { Ok(None) } else { unsafe { text(pointer, max) }.map(Some) }
}

/// A UTF-8 text of up to `max` bytes; NULL is the empty one.
///
/// # Safety
/// As the header says of texts.
pub(super) unsafe fn text_or_empty<'a>(pointer: *const c_char, max: usize) -> Result<&'a str, Code> {
    if pointer.is_null() {
        return Ok("");
    }
    // SAFETY: the caller's promise is the same.
    let bytes = unsafe { text_bytes(pointer, max) }?;
    std::str::from_utf8(bytes).map_err(|_| code::PARAM_ERR)
}

/// A list of `count` values; with more than `max` of them it is `too_many`, and not looked at. NULL with 0 is legal.
///
/// # Safety
/// `values` is NULL or readable for `count` values, which may have any bytes. Their alignment does not matter.
pub(super) unsafe fn list<T: Copy>(values: *const T, count: usize, max: usize, too_many: Code) -> Result<Vec<T>, Code> {
    if count > max {
        return Err(too_many);
    }
    match (values.is_null(), count) {
        (_, 0) => Ok(Vec::new()),
        (true, _) => Err(code::PARAM_ERR),
        // SAFETY: not NULL, and readable for `count` values.
        (false, _) => Ok((0..count).map(|at| unsafe { values.add(at).read_unaligned() }).collect()),
    }
}

/// A user id.
///
/// # Safety
/// As the header says of texts.
pub(super) unsafe fn user_id<'a>(id: *const c_char) -> Result<&'a str, Code> {
    // SAFETY: the caller's promise is the same.
    let id = unsafe { text(id, MAX_USER_ID) }?;
    if is_user_id(id) { Ok(id) } else { Err(code::PARAM_ERR) }
}

/// A path of 1 to 4096 bytes.
///
/// # Safety
/// As the header says of texts.
pub(super) unsafe fn path<'a>(path: *const c_char) -> Result<&'a Path, Code> {
    // SAFETY: the caller's promise is the same.
    let bytes = unsafe { text_bytes(path, MAX_PATH) }?;
    if bytes.is_empty() { Err(code::PARAM_ERR) } else { path::from_bytes(bytes) }
}

/// Like [`path`], but NULL is `None`.
///
/// # Safety
/// As the header says of texts.
pub(super) unsafe fn optional_path<'a>(pointer: *const c_char) -> Result<Option<&'a Path>, Code> {
    // SAFETY: the caller's promise is the same.
    if pointer.is_null() { Ok(None) } else { unsafe { path(pointer) }.map(Some) }
}

/// A task id in its text form.
///
/// # Safety
/// As the header says of texts.
pub(super) unsafe fn task_id(id: *const c_char) -> Result<TaskId, Code> {
    // SAFETY: the caller's promise is the same.
    let id = unsafe { text(id, CRVIDEO_TASK_ID_SIZE - 1) }?;
    TaskId::parse(id).ok_or(code::PARAM_ERR)
}

/// Content of `len` bytes; with more than `max` of them it is `too_large`, and not looked at. NULL with 0 is legal.
///
/// # Safety
/// `data` is NULL or readable for `len` bytes, which stay as they are until the call returns.
pub(super) unsafe fn content<'a>(data: *const c_void, len: usize, max: u64, too_large: Code) -> Result<&'a [u8], Code> {
    if u64::try_from(len).is_ok_and(|len| len > max) || isize::try_from(len).is_err() {
        return Err(too_large);
    }
    match (data.is_null(), len) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(code::PARAM_ERR),
        // SAFETY: not NULL, readable for `len` bytes, and `len` is not more than isize::MAX.
        (false, _) => Ok(unsafe { slice::from_raw_parts(data.cast::<u8>(), len) }),
    }
}

/// A time in milliseconds, of which 0 means `default`.
pub(super) fn millis_or(value: u32, default: Duration) -> Duration {
    if value == 0 { default } else { Duration::from_millis(value.into()) }
}

/// A place for a result. Its maker has promised that it may be written, so writing is safe; alignment does not matter.
pub(super) struct Out<T>(NonNull<T>);

impl<T> Out<T> {
    pub(super) fn put(self, value: T) {
        // SAFETY: the maker has promised that the place is writable until the exported call returns.
        unsafe { self.0.as_ptr().write_unaligned(value) }
    }
}

/// The place of a result, which must not be NULL.
///
/// # Safety
/// `place` is NULL or writable for a T until the exported call returns.
pub(super) unsafe fn out<T>(place: *mut T) -> Result<Out<T>, Code> {
    NonNull::new(place).map(Out).ok_or(code::PARAM_ERR)
}

/// The place of a result that the caller may not want.
///
/// # Safety
/// `place` is NULL or writable for a T until the exported call returns.
pub(super) unsafe fn optional_out<T>(place: *mut T) -> Option<Out<T>> {
    NonNull::new(place).map(Out)
}

/// The place for the text of a task id.
pub(super) struct TaskIdOut(Option<Out<[u8; CRVIDEO_TASK_ID_SIZE]>>);

impl TaskIdOut {
    pub(super) fn put(self, task: TaskId) {
        if let Some(out) = self.0 {
            out.put(task_id_text(task));
        }
    }
}

/// The place for the text of a task id, or NULL.
///
/// # Safety
/// `place` is NULL or writable for `CRVIDEO_TASK_ID_SIZE` bytes until the exported call returns.
pub(super) unsafe fn task_id_out(place: *mut c_char) -> TaskIdOut {
    // SAFETY: the caller's promise is the same.
    TaskIdOut(unsafe { optional_out(place.cast()) })
}

/// A task id's text with its NUL.
pub(super) fn task_id_text(task: TaskId) -> [u8; CRVIDEO_TASK_ID_SIZE] {
    let mut text = [0; CRVIDEO_TASK_ID_SIZE];
    for (place, byte) in text.iter_mut().take(CRVIDEO_TASK_ID_SIZE - 1).zip(task.text()) {
        *place = byte;
    }
    text
}

/// The caller's context, as the number that the client carries.
pub(super) fn context(pointer: *mut c_void) -> usize {
    pointer.expose_provenance()
}

/// The caller's context again.
pub(super) fn context_pointer(context: usize) -> *mut c_void {
    std::ptr::with_exposed_provenance_mut(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq)]
    #[repr(C)]
    struct Grown {
        struct_size: u32,
        first: u32,
        added_later: u64,
    }
    // SAFETY: repr(C), begins with its size, integers only.
    unsafe impl Versioned for Grown {
        const FIRST_SIZE: usize = 8;
    }

    fn read(from: &[u8]) -> Result<Grown, Code> {
        // SAFETY: every test passes a slice of at least the size that it states.
        unsafe { versioned(from.as_ptr().cast()) }
    }

    fn bytes(size: u32, len: usize) -> Vec<u8> {
        let mut bytes = size.to_ne_bytes().to_vec();
        bytes.resize(len, 0xAA);
        bytes
    }

    #[test]
    fn a_struct_is_read_as_far_as_its_size_covers_it() {
        assert_eq!(read(&bytes(7, 16)), Err(code::PARAM_ERR));
        assert_eq!(read(&bytes(0, 16)), Err(code::PARAM_ERR));
        let first = read(&bytes(8, 8)).unwrap();
        assert_eq!((first.first, first.added_later), (0xAAAA_AAAA, 0));
        assert_eq!(read(&bytes(16, 16)).unwrap().added_later, 0xAAAA_AAAA_AAAA_AAAA);
        let larger = read(&bytes(40, 40)).unwrap();
        assert_eq!((larger.struct_size, larger.added_later), (40, 0xAAAA_AAAA_AAAA_AAAA));
    }

    #[test]
    fn a_misaligned_struct_is_read_as_well() {
        let mut shifted = vec![0];
        shifted.extend(bytes(16, 16));
        assert_eq!(read(&shifted[1..]), read(&bytes(16, 16)));
        // SAFETY: NULL is looked at as a number only.
        assert_eq!(unsafe { versioned::<Grown>(std::ptr::null()) }, Err(code::PARAM_ERR));
    }

    fn user(id: &[u8]) -> Result<&str, Code> {
        assert!(id.ends_with(b"\0"));
        // SAFETY: the line above.
        unsafe { user_id(id.as_ptr().cast()) }
    }

    #[test]
    fn a_user_id_has_1_to_128_bytes_of_utf8() {
        assert_eq!(user(b"bob\0"), Ok("bob"));
        assert_eq!(user(b"bob\0more\0"), Ok("bob"));
        assert_eq!(user("名前\0".as_bytes()), Ok("名前"));
        assert_eq!(user(b"\0"), Err(code::PARAM_ERR));
        assert_eq!(user(&[vec![b'x'; 128], vec![0]].concat()).map(str::len), Ok(128));
        assert_eq!(user(&[vec![b'x'; 129], vec![0]].concat()), Err(code::PARAM_ERR));
        assert_eq!(
            user("é".repeat(64).as_bytes().iter().copied().chain([0]).collect::<Vec<_>>().as_slice()).map(str::len),
            Ok(128)
        );
        // SAFETY: NULL is looked at as a number only.
        assert_eq!(unsafe { user_id(std::ptr::null()) }, Err(code::PARAM_ERR));
    }

    #[test]
    fn each_single_byte_text_is_taken_exactly_when_it_is_ascii() {
        for byte in 1..=u8::MAX {
            assert_eq!(user(&[byte, 0]).is_ok(), byte.is_ascii(), "{byte:#x}");
        }
    }

    #[test]
    fn a_truncated_utf8_text_is_refused_at_every_length() {
        let whole = "a£€𐍈".as_bytes();
        for len in 1..=whole.len() {
            let text = [&whole[..len], b"\0"].concat();
            assert_eq!(user(&text).is_ok(), matches!(len, 1 | 3 | 6 | 10), "{len}");
        }
    }

    #[test]
    fn a_text_without_an_end_is_not_read_past_its_limit() {
        // A box has no byte behind its last one that a sanitizer would let pass.
        let endless = vec![b'x'; 129].into_boxed_slice();
        // SAFETY: readable for the limit of 128 bytes and one more.
        assert_eq!(unsafe { user_id(endless.as_ptr().cast()) }, Err(code::PARAM_ERR));
    }

    #[test]
    fn a_paths_bytes_need_not_be_utf8_on_posix() {
        let gbk = b"/tmp/\xce\xc4\xbc\xfe\0";
        // SAFETY: NUL-terminated.
        let path = unsafe { path(gbk.as_ptr().cast()) };
        assert_eq!(path.is_ok(), cfg!(unix));
        assert_eq!(path.map(path::to_bytes).unwrap_or(&gbk[..9]), &gbk[..9]);
        // SAFETY: NUL-terminated.
        assert_eq!(unsafe { super::path(c"".as_ptr()) }, Err(code::PARAM_ERR));
        // SAFETY: NULL is looked at as a number only.
        assert_eq!(unsafe { optional_path(std::ptr::null()) }, Ok(None));
    }

    #[test]
    fn lengths_are_checked_before_the_bytes_are_touched() {
        let one = std::ptr::without_provenance::<c_void>(1);
        let null = std::ptr::null();
        let at = |data, len| {
            // SAFETY: what may not be read is refused by its length; that is what is tested.
            unsafe { content(data, len, 65_536, code::SENDCMD_LARGE) }
        };
        assert_eq!(at(null, 0), Ok(&[][..]));
        assert_eq!(at(one, 0), Ok(&[][..]));
        assert_eq!(at(null, 1), Err(code::PARAM_ERR));
        assert_eq!(at(null, 65_536), Err(code::PARAM_ERR));
        for len in [65_537, i32::MAX as usize, isize::MAX as usize, isize::MAX as usize + 1, usize::MAX] {
            assert_eq!(at(one, len), Err(code::SENDCMD_LARGE));
        }
        // SAFETY: refused by its length, although the limit would allow it.
        assert_eq!(unsafe { content(one, usize::MAX, u64::MAX, code::SENDBUFFER_LARGE) }, Err(code::SENDBUFFER_LARGE));
        assert_eq!(at(b"abc".as_ptr().cast(), 3), Ok(&b"abc"[..]));
    }

    #[test]
    fn a_task_id_is_read_and_written_in_its_text_form() {
        let text = c"00112233-4455-6677-8899-aabbccddeeff";
        // SAFETY: NUL-terminated.
        let task = unsafe { task_id(text.as_ptr()) }.unwrap();
        assert_eq!(task_id_text(task).as_slice(), text.to_bytes_with_nul());
        for bad in [c"", c"00112233-4455-6677-8899-aabbccddeef", c"00112233-4455-6677-8899-aabbccddeeff0", c"x"] {
            // SAFETY: NUL-terminated.
            assert_eq!(unsafe { task_id(bad.as_ptr()) }, Err(code::PARAM_ERR));
        }

        let mut place = [0x55_u8; CRVIDEO_TASK_ID_SIZE + 1];
        // SAFETY: 37 writable bytes.
        unsafe { task_id_out(place.as_mut_ptr().cast()) }.put(task);
        assert_eq!(&place[..CRVIDEO_TASK_ID_SIZE], text.to_bytes_with_nul());
        assert_eq!(place[CRVIDEO_TASK_ID_SIZE], 0x55);
        // SAFETY: NULL is looked at as a number only.
        unsafe { task_id_out(std::ptr::null_mut()) }.put(task);
    }

    #[test]
    fn a_result_may_be_written_to_a_misaligned_place() {
        let mut place = [0_u8; 9];
        // SAFETY: 8 writable bytes.
        let out = unsafe { out(place[1..].as_mut_ptr().cast::<u64>()) };
        out.ok().unwrap().put(u64::MAX);
        assert_eq!(place, [0, 255, 255, 255, 255, 255, 255, 255, 255]);
    }
}
