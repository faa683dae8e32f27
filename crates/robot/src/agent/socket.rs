//! The agent's socket in the file system: made, protected, and taken away again.
//!
//! **Invariant:** a path has one agent: a lock beside it decides, so that a dead agent's socket can be replaced without a race.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use recording::{Error, Kind, Result};
use rustix::fs::{FlockOperation, Gid, Mode, chown, fchmod, flock};
use rustix::net::sockopt::socket_peercred;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};

use super::stream::connect_to;
use crate::places::prepare_socket_folder;

/// Who may use the socket: this user and its group.
const SOCKET_MODE: u32 = 0o660;
/// How many clients may wait to be accepted.
const BACKLOG: i32 = 128;
/// The longest path that a socket can have.
const PATH_LIMIT: usize = 107;
/// How long a socket that is there already gets to answer.
const ANSWER_PATIENCE: Duration = Duration::from_millis(200);

/// A listening socket, which takes its file away when it is dropped.
#[derive(Debug)]
pub(crate) struct Socket {
    listener: UnixListener,
    path: PathBuf,
    inode: u64,
    _lock: File,
}

impl Socket {
    /// Listens at `path`, where `group` may connect too.
    ///
    /// # Errors
    /// `Conflict` if an agent listens there already, or if the path is something else; what the file system met.
    pub(crate) fn listen(path: &Path, group: Option<&str>) -> Result<Self> {
        let length = path.as_os_str().len();
        if length > PATH_LIMIT {
            let path = path.display();
            return Err(Error::invalid(format!(
                "a socket's path has at most {PATH_LIMIT} bytes, this one {length} (see --socket): {path}"
            )));
        }
        let group = group.map(find_group).transpose()?;
        prepare_socket_folder(path)?;
        let lock = lock(path)?;
        remove_stale(path)?;
        let failed = |error: io::Error| Error::io(format!("cannot listen (choose another place with --socket): {}", path.display()), error);
        let listener = listen_at(path, group).map_err(failed)?;
        let inode = fs::symlink_metadata(path).map_err(failed)?.ino();
        Ok(Self { listener, path: path.to_owned(), inode, _lock: lock })
    }

    /// Returns the listener.
    pub(crate) fn listener(&self) -> &UnixListener {
        &self.listener
    }

    /// Returns where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the file away, so that nobody new finds this agent.
    pub(crate) fn remove(&self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|file| file.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.remove();
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

fn listen_at(path: &Path, group: Option<u32>) -> io::Result<UnixListener> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // Linux gives the file the mode of the socket: there is no moment in which everybody could connect.
    fchmod(&socket, Mode::from_raw_mode(SOCKET_MODE))?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    if let Some(group) = group {
        chown(path, None, Some(Gid::from_raw(group)))?;
    }
    fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE))?;
    listen(&socket, BACKLOG)?;
    Ok(UnixListener::from(socket))
}

/// Takes the lock that goes with a path; it is free when its agent is dead.
fn lock(path: &Path) -> Result<File> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let lock = PathBuf::from(name);
    let failed = |error| Error::io(format!("cannot listen (choose another place with --socket): {}", lock.display()), error);
    let file = File::options().create(true).truncate(false).write(true).open(&lock).map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(in_use(path)),
        Err(error) => Err(failed(error.into())),
    }
}

fn remove_stale(path: &Path) -> Result<()> {
    let Ok(file) = fs::symlink_metadata(path) else { return Ok(()) };
    if !file.file_type().is_socket() {
        let path = path.display();
        return Err(Error::new(
            Kind::Conflict,
            format!("there is something that is no socket (choose another place with --socket): {path}"),
        ));
    }
    if connect_to(path, ANSWER_PATIENCE).is_ok() {
        return Err(in_use(path));
    }
    fs::remove_file(path).map_err(|error| Error::io(format!("cannot remove a dead agent's socket: {}", path.display()), error))
}

fn in_use(path: &Path) -> Error {
    let owner = connect_to(path, ANSWER_PATIENCE).ok().and_then(|stream| socket_peercred(&stream).ok());
    let owner = owner.map_or("an agent".to_owned(), |owner| format!("the agent with process id {}", owner.pid.as_raw_nonzero()));
    let path = path.display();
    let message = format!("{owner} listens there already; a second one needs its own --socket, --data and --http: {path}");
    Error::new(Kind::Conflict, message)
}

/// Returns the id of a group, given by name or number.
fn find_group(group: &str) -> Result<u32> {
    if let Ok(id) = group.parse() {
        return Ok(id);
    }
    let groups = fs::read_to_string("/etc/group").map_err(|error| Error::io("cannot read /etc/group", error))?;
    let id = groups.lines().find_map(|line| {
        let mut parts = line.split(':');
        (parts.next() == Some(group)).then(|| parts.nth(1)?.parse().ok())?
    });
    id.ok_or_else(|| Error::not_found(format!("no group '{group}' on this machine (see --group)")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode_of(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_path_has_one_agent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/agent.sock");
        let socket = Socket::listen(&path, None).unwrap();
        assert_eq!(mode_of(&path), SOCKET_MODE);
        let error = Socket::listen(&path, None).unwrap_err();
        assert_eq!(error.kind(), Kind::Conflict);
        let expected = format!("the agent with process id {} listens there already", std::process::id());
        assert!(error.message().starts_with(&expected), "{error}");
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn a_dead_agents_socket_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let _socket = Socket::listen(&path, None).unwrap();
        assert!(connect_to(&path, ANSWER_PATIENCE).is_ok());
    }

    #[test]
    fn a_foreign_server_or_file_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("foreign.sock");
        let _foreign = UnixListener::bind(&path).unwrap();
        assert_eq!(Socket::listen(&path, None).unwrap_err().kind(), Kind::Conflict);
        let file = folder.path().join("notes.txt");
        fs::write(&file, "mine").unwrap();
        assert_eq!(Socket::listen(&file, None).unwrap_err().kind(), Kind::Conflict);
        assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    }

    #[test]
    fn odd_places_and_groups_are_refused_with_a_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let long = folder.path().join("x".repeat(120));
        assert!(Socket::listen(&long, None).unwrap_err().message().contains("at most 107 bytes"));
        let error = Socket::listen(&folder.path().join("a"), Some("no-such-group")).unwrap_err();
        assert_eq!(error.message(), "no group 'no-such-group' on this machine (see --group)");
        assert_eq!(find_group("root").unwrap(), 0);
        assert_eq!(find_group("1234").unwrap(), 1234);
    }
}
