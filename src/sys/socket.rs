//! Socket calls that neither std nor mio offers.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd};

use bytes::BytesMut;

/// Seconds without traffic before the kernel probes a peer, and between probes.
const PROBE_S: libc::c_int = 20;
/// Probes without an answer before the connection counts as dead.
const PROBES: libc::c_int = 3;

/// Writes to a socket without ever raising SIGPIPE: a guest library must not kill its host.
pub fn send_vectored(socket: &impl AsFd, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    // SAFETY: an all-zero msghdr is a valid empty message.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    // `IoSlice` has the layout of iovec on Unix, and sendmsg does not write through it.
    message.msg_iov = slices.as_ptr().cast_mut().cast();
    message.msg_iovlen = slices.len() as _;
    // SAFETY: the message points to `slices`, which live through the call.
    let sent = unsafe { libc::sendmsg(socket.as_fd().as_raw_fd(), &message, libc::MSG_NOSIGNAL) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Lets the kernel notice a peer that vanished without a word.
pub fn keep_alive(socket: &impl AsFd) -> io::Result<()> {
    let fd = socket.as_fd().as_raw_fd();
    for (level, name, value) in [
        (libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1),
        (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, PROBE_S),
        (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, PROBE_S),
        (libc::IPPROTO_TCP, libc::TCP_KEEPCNT, PROBES),
    ] {
        let len = std::mem::size_of_val(&value) as libc::socklen_t;
        // SAFETY: the pointer is to an int that lives through the call, and `len` is its size.
        if unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), len) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Reads once from a socket into the spare room of a buffer, without filling that room with zeros first.
pub fn recv_into(socket: &impl AsFd, buffer: &mut BytesMut) -> io::Result<usize> {
    let spare = buffer.spare_capacity_mut();
    // SAFETY: the kernel writes at most `spare.len()` bytes into memory that is ours and needs no initial value.
    let read = unsafe { libc::recv(socket.as_fd().as_raw_fd(), spare.as_mut_ptr().cast(), spare.len(), 0) };
    let read = usize::try_from(read).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the kernel has just filled `read` bytes behind the present length, within the capacity.
    unsafe { buffer.set_len(buffer.len() + read) };
    Ok(read)
}
