//! What the agent tells systemd, where that started it: that it is ready, that it lives, that it ends.
//!
//! **Invariant:** without systemd nothing happens, and nothing here can fail the agent.

use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Sends a state such as `READY=1`.
pub(crate) fn notify(state: &str) {
    let _ = std::env::var_os("NOTIFY_SOCKET").and_then(|socket| send(&socket, state));
}

/// Returns how often systemd wants to hear that the agent lives: twice as often as it says.
pub(crate) fn watchdog_interval() -> Option<Duration> {
    let microseconds: u64 = std::env::var("WATCHDOG_USEC").ok()?.parse().ok()?;
    Some(Duration::from_micros((microseconds / 2).max(1000)))
}

fn send(socket: &OsString, state: &str) -> Option<()> {
    // A name that begins with '@' is in no file system.
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name).ok()?,
        None => SocketAddr::from_pathname(socket).ok()?,
    };
    let datagram = UnixDatagram::unbound().ok()?;
    datagram.set_nonblocking(true).ok()?;
    datagram.send_to_addr(state.as_bytes(), &address).ok().map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_arrives() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let receiver = UnixDatagram::bind(&path).unwrap();
        send(&path.clone().into_os_string(), "READY=1").unwrap();
        let mut buffer = [0; 100];
        let count = receiver.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..count], b"READY=1");
        assert!(send(&OsString::from("/nowhere/at/all"), "READY=1").is_none());
    }
}
