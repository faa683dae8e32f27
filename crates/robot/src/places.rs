//! Where things are unless somebody says otherwise: the agent's socket, the tape's folder, the configuration.
//!
//! In come environment variables and the user id, out go paths. XDG and systemd's folders are followed.
//!
//! **Invariant:** an explicit variable wins over every guess; a socket below the temporary folder is used only in a folder
//! that belongs to this user alone.

use std::ffi::OsString;
use std::fs::{DirBuilder, symlink_metadata};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use recording::{Error, Kind, Result};
use rustix::fs::{Access, access};

const SOCKET_NAME: &str = "agent.sock";
const CONFIG_NAME: &str = "tapeloop.toml";
const RUN_FOLDER: &str = "/run/tapeloop";

/// Returns where an agent of this user listens, and where clients look first.
pub fn default_socket() -> PathBuf {
    let surroundings = Surroundings::of_process();
    surroundings.candidates().into_iter().next().unwrap_or_else(|| surroundings.private_folder().join(SOCKET_NAME))
}

/// Returns every place where a client looks for an agent, best first.
pub fn candidates() -> Vec<PathBuf> {
    let surroundings = Surroundings::of_process();
    let explicit = surroundings.path("TAPELOOP_SOCKET").is_some();
    let mut sockets = surroundings.candidates();
    let anywhere = [Path::new(RUN_FOLDER).to_owned(), surroundings.private_folder()].map(|folder| folder.join(SOCKET_NAME));
    for socket in anywhere.into_iter().filter(|_| !explicit) {
        if !sockets.contains(&socket) {
            sockets.push(socket);
        }
    }
    sockets.retain(|socket| socket.parent() != Some(&surroundings.private_folder()) || surroundings.is_private());
    sockets
}

/// Returns the folder of the tape of this user.
///
/// # Errors
/// `Invalid` if the environment names none and there is no home folder.
pub fn default_data_dir() -> Result<PathBuf> {
    Surroundings::of_process().data_dir()
}

/// Returns the folder of the definitions that this user gave for types whose recordings lack them.
///
/// # Errors
/// `Invalid` if the environment names none and there is no home folder.
pub fn schemas_dir() -> Result<PathBuf> {
    Surroundings::of_process().schemas_dir()
}

/// Returns the configuration file that applies, if there is one.
pub fn default_config() -> Option<PathBuf> {
    let surroundings = Surroundings::of_process();
    // A file that is named must be there: its absence is for the caller to report.
    surroundings.path("TAPELOOP_CONFIG").or_else(|| surroundings.configs().into_iter().find(|path| path.is_file()))
}

/// Makes sure that the folder of `socket` exists, and that one below the temporary folder is this user's alone.
///
/// # Errors
/// `Denied` if somebody else owns it or may write to it; otherwise what creating it met.
pub(crate) fn prepare_socket_folder(socket: &Path) -> Result<()> {
    let folder = socket.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let surroundings = Surroundings::of_process();
    let private = folder == surroundings.private_folder();
    let mode = if private { 0o700 } else { 0o755 };
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(folder)
        .map_err(|error| Error::io(format!("no folder for the socket (choose another with --socket): {}", folder.display()), error))?;
    if private && !surroundings.is_private() {
        let folder = folder.display();
        return Err(Error::new(
            Kind::Denied,
            format!("the folder for the socket is not this user's alone (choose another with --socket): {folder}"),
        ));
    }
    Ok(())
}

/// Returns the value of an environment variable.
type Variables = dyn Fn(&str) -> Option<OsString>;

/// What the places depend on.
struct Surroundings {
    variable: Box<Variables>,
    uid: u32,
    temporary: PathBuf,
    /// Whether this process can listen in the system's folder.
    run_is_ours: bool,
}

impl Surroundings {
    fn of_process() -> Self {
        let run = Path::new(RUN_FOLDER);
        let uid = rustix::process::geteuid().as_raw();
        Self {
            variable: Box::new(|name| std::env::var_os(name)),
            uid,
            temporary: std::env::temp_dir(),
            run_is_ours: access(if run.exists() { run } else { Path::new("/run") }, Access::WRITE_OK).is_ok(),
        }
    }

    /// Returns the path in a variable; an empty one counts as not set, as XDG has it.
    fn path(&self, variable: &str) -> Option<PathBuf> {
        (self.variable)(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
    }

    /// Returns the first path in a variable in which systemd may list several.
    fn first_path(&self, variable: &str) -> Option<PathBuf> {
        let value = self.path(variable)?;
        value.to_str().map_or(Some(value.clone()), |text| text.split(':').next().map(PathBuf::from))
    }

    fn private_folder(&self) -> PathBuf {
        self.temporary.join(format!("tapeloop-{}", self.uid))
    }

    fn is_private(&self) -> bool {
        symlink_metadata(self.private_folder())
            .is_ok_and(|folder| folder.is_dir() && folder.uid() == self.uid && folder.mode() & 0o022 == 0)
    }

    fn candidates(&self) -> Vec<PathBuf> {
        if let Some(socket) = self.path("TAPELOOP_SOCKET") {
            return vec![socket];
        }
        let folders = [
            self.first_path("RUNTIME_DIRECTORY"),
            self.path("XDG_RUNTIME_DIR").map(|folder| folder.join("tapeloop")),
            self.run_is_ours.then(|| PathBuf::from(RUN_FOLDER)),
        ];
        folders.into_iter().flatten().map(|folder| folder.join(SOCKET_NAME)).collect()
    }

    fn data_dir(&self) -> Result<PathBuf> {
        if let Some(folder) = self.path("TAPELOOP_DATA").or_else(|| self.first_path("STATE_DIRECTORY")) {
            return Ok(folder);
        }
        if self.uid == 0 {
            return Ok(PathBuf::from("/var/lib/tapeloop"));
        }
        let state = self.path("XDG_STATE_HOME").or_else(|| self.path("HOME").map(|home| home.join(".local/state")));
        let state = state.ok_or_else(|| Error::invalid("no place for the tape: set TAPELOOP_DATA (or --data) to a folder"))?;
        Ok(state.join("tapeloop"))
    }

    fn schemas_dir(&self) -> Result<PathBuf> {
        if let Some(folder) = self.path("TAPELOOP_SCHEMAS") {
            return Ok(folder);
        }
        let data = self.path("XDG_DATA_HOME").or_else(|| self.path("HOME").map(|home| home.join(".local/share")));
        let data = data.ok_or_else(|| Error::invalid("no place for definitions: set TAPELOOP_SCHEMAS to a folder"))?;
        Ok(data.join("tapeloop/schemas"))
    }

    fn configs(&self) -> Vec<PathBuf> {
        let user = self.path("XDG_CONFIG_HOME").or_else(|| self.path("HOME").map(|home| home.join(".config")));
        [Some(PathBuf::from(CONFIG_NAME)), user.map(|folder| folder.join("tapeloop").join(CONFIG_NAME))]
            .into_iter()
            .flatten()
            .chain([Path::new("/etc/tapeloop").join(CONFIG_NAME)])
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surroundings(uid: u32, run_is_ours: bool, variables: &'static [(&'static str, &'static str)]) -> Surroundings {
        let variable = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value));
        Surroundings { variable: Box::new(variable), uid, temporary: "/tmp".into(), run_is_ours }
    }

    #[test]
    fn a_socket_is_where_the_system_wants_it() {
        let check = |run, variables, expected: &[&str]| {
            let expected: Vec<PathBuf> = expected.iter().map(PathBuf::from).collect();
            assert_eq!(surroundings(1000, run, variables).candidates(), expected);
        };
        check(false, &[], &[]);
        check(true, &[("XDG_RUNTIME_DIR", "")], &["/run/tapeloop/agent.sock"]);
        check(true, &[("XDG_RUNTIME_DIR", "/run/user/1000")], &["/run/user/1000/tapeloop/agent.sock", "/run/tapeloop/agent.sock"]);
        check(true, &[("XDG_RUNTIME_DIR", "/x"), ("TAPELOOP_SOCKET", "/a/b")], &["/a/b"]);
        check(false, &[("RUNTIME_DIRECTORY", "/run/tapeloop:/run/other")], &["/run/tapeloop/agent.sock"]);
        assert_eq!(surroundings(7, false, &[]).private_folder(), Path::new("/tmp/tapeloop-7"));
    }

    #[test]
    fn a_tape_is_where_the_system_wants_it() {
        let check = |uid, variables, expected: &str| {
            assert_eq!(surroundings(uid, false, variables).data_dir().unwrap(), Path::new(expected));
        };
        check(0, &[("HOME", "/root")], "/var/lib/tapeloop");
        check(1000, &[("HOME", "/users/ada")], "/users/ada/.local/state/tapeloop");
        check(1000, &[("HOME", "/users/ada"), ("XDG_STATE_HOME", "/s")], "/s/tapeloop");
        check(0, &[("STATE_DIRECTORY", "/var/lib/tapeloop-2:/x")], "/var/lib/tapeloop-2");
        check(0, &[("STATE_DIRECTORY", "/x"), ("TAPELOOP_DATA", "/data")], "/data");
        let error = surroundings(1000, false, &[]).data_dir().unwrap_err();
        assert_eq!(error.message(), "no place for the tape: set TAPELOOP_DATA (or --data) to a folder");
    }

    #[test]
    fn definitions_are_where_the_user_keeps_data() {
        let check = |variables, expected: &str| {
            assert_eq!(surroundings(1000, false, variables).schemas_dir().unwrap(), Path::new(expected));
        };
        check(&[("HOME", "/users/ada")], "/users/ada/.local/share/tapeloop/schemas");
        check(&[("HOME", "/users/ada"), ("XDG_DATA_HOME", "/d")], "/d/tapeloop/schemas");
        check(&[("TAPELOOP_SCHEMAS", "/s"), ("XDG_DATA_HOME", "/d")], "/s");
        let error = surroundings(1000, false, &[]).schemas_dir().unwrap_err();
        assert_eq!(error.message(), "no place for definitions: set TAPELOOP_SCHEMAS to a folder");
    }

    #[test]
    fn a_configuration_is_looked_for_near_first() {
        let paths = surroundings(1000, false, &[("HOME", "/users/ada")]).configs();
        let expected = ["tapeloop.toml", "/users/ada/.config/tapeloop/tapeloop.toml", "/etc/tapeloop/tapeloop.toml"];
        assert_eq!(paths, expected.map(PathBuf::from));
    }
}
