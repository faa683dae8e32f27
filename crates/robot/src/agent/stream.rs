//! Bytes into and out of a Unix socket, with limits of time and without needless copies.
//!
//! **Invariant:** no call here waits longer than it was told, and none raises SIGPIPE.

use std::io::{self, IoSlice, Read};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::{Timeout, set_socket_send_buffer_size, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv, sendmsg, socket_with,
};

use crate::clock::Clock;

/// How much the kernel may hold between the two sides, as far as it allows.
const SEND_BUFFER: usize = 1 << 20;

/// Connects to the socket at `path`; waits at most `patience` for an agent that does not accept.
pub(crate) fn connect_to(path: &Path, patience: Duration) -> io::Result<UnixStream> {
    let address = SocketAddrUnix::new(path)?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // The kernel has the send timeout stand for how long a connect may wait.
    set_socket_timeout(&socket, Timeout::Send, Some(patience))?;
    connect(&socket, &address)?;
    let stream = UnixStream::from(socket);
    widen(&stream);
    Ok(stream)
}

/// Lets the kernel hold more between the two sides; where it does not, transfers are only slower.
pub(crate) fn widen(stream: &UnixStream) {
    let _ = set_socket_send_buffer_size(stream, SEND_BUFFER);
}

/// Sends what of `parts` lies behind the first `sent` bytes, and moves `sent` on, also when it fails.
///
/// # Errors
/// `TimedOut` once the other side took nothing for `patience`; what the socket met.
pub(crate) fn send(stream: &UnixStream, parts: &[&[u8]], sent: &mut usize, clock: &dyn Clock, patience: Duration) -> io::Result<()> {
    let total: usize = parts.iter().map(|part| part.len()).sum();
    let mut last_progress_ns = None;
    while *sent < total {
        match sendmsg(stream, &slices(parts, *sent), &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Ok(count) => {
                *sent += count;
                last_progress_ns = None;
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => {
                let now_ns = clock.monotonic_ns();
                let waited = Duration::from_nanos(now_ns.saturating_sub(*last_progress_ns.get_or_insert(now_ns)).max(0) as u64);
                let left = patience.checked_sub(waited).filter(|left| !left.is_zero()).ok_or(io::ErrorKind::TimedOut)?;
                wait_until_writable(stream, left)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn slices<'a>(parts: &[&'a [u8]], skip: usize) -> Vec<IoSlice<'a>> {
    let mut skip = skip;
    let mut slices = Vec::with_capacity(parts.len());
    for part in parts {
        let skipped = skip.min(part.len());
        skip -= skipped;
        if skipped < part.len() {
            slices.push(IoSlice::new(&part[skipped..]));
        }
    }
    slices
}

fn wait_until_writable(stream: &UnixStream, patience: Duration) -> io::Result<()> {
    let timeout = Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: i64::from(patience.subsec_nanos()) };
    match poll(&mut [PollFd::new(stream, PollFlags::OUT)], Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Where a [`super::frames::FrameReader`]'s bytes come from.
pub(crate) trait Source {
    /// Reads what there is into `buffer`, waiting for the first byte; 0 is the end.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Fills `buffer`, waiting for all of it; fewer bytes at a time limit, 0 only at the end.
    fn read_all(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Sets how long a read may wait; `None` is for ever.
    fn limit_wait(&self, patience: Option<Duration>) -> io::Result<()>;
}

impl Source for Arc<UnixStream> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Read::read(&mut &**self, buffer)
    }

    fn read_all(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (count, _) = recv(&**self, buffer, RecvFlags::WAITALL)?;
        Ok(count)
    }

    fn limit_wait(&self, patience: Option<Duration>) -> io::Result<()> {
        self.set_read_timeout(patience)
    }
}
