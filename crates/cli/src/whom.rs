//! Whom a command asks: the agent that answers, or the tape's folder itself.
//!
//! **Invariant:** an agent that owns the folder in question is asked rather than passed by.

use std::path::{Path, PathBuf};

use clap::Args;
use recording::{Error, Kind};
use robot::agent::client::Client;
use robot::places;

/// What the agent calls this program.
const CLIENT_NAME: &str = "tapeloop";

/// Where the recorder is.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Whom {
    /// Socket of the agent to ask; without it, the one that answers in the usual places
    #[arg(long, value_name = "SOCKET", env = "TAPELOOP_AGENT")]
    pub(crate) agent: Option<PathBuf>,
    /// Folder of the tape: its agent is asked, else it is read itself; without it, the usual one
    #[arg(long, value_name = "DIR", env = "TAPELOOP_DATA")]
    pub(crate) data: Option<PathBuf>,
}

/// Who answers.
pub(crate) enum Recorder {
    /// A running agent.
    Agent(Client),
    /// Nobody: the tape lies in this folder.
    Folder(PathBuf),
}

impl Whom {
    /// Returns the agent, if one answers, or the folder.
    ///
    /// # Errors
    /// `Unavailable` if the agent that was named does not answer, `Denied` if it may not be asked.
    pub(crate) fn find(&self) -> anyhow::Result<Recorder> {
        if let Some(socket) = &self.agent {
            return Ok(Recorder::Agent(Client::connect(socket, CLIENT_NAME)?));
        }
        for socket in places::candidates() {
            match Client::connect(&socket, CLIENT_NAME) {
                Ok(client) if self.is_meant(&client) => return Ok(Recorder::Agent(client)),
                Ok(_) => {}
                Err(error) if matches!(error.kind(), Kind::Unavailable | Kind::NotFound) || self.data.is_some() => {}
                Err(error) => return Err(error.into()),
            }
        }
        let folder = self.data.clone().map_or_else(places::default_data_dir, Ok)?;
        Ok(Recorder::Folder(folder))
    }

    /// Returns the agent.
    ///
    /// # Errors
    /// `Unavailable` if none answers, with what to do about it.
    pub(crate) fn agent(&self) -> anyhow::Result<Client> {
        match self.find()? {
            Recorder::Agent(client) => Ok(client),
            Recorder::Folder(_) => Err(Error::unavailable(no_agent()).into()),
        }
    }

    /// Returns whether an agent records into the folder that was named, if one was.
    fn is_meant(&self, client: &Client) -> bool {
        let Some(data) = &self.data else { return true };
        client.root().is_some_and(|root| is_same(&root, data))
    }
}

impl Recorder {
    /// Returns the folder of the tape, if it is on this machine.
    pub(crate) fn folder(&self) -> Option<PathBuf> {
        match self {
            Self::Agent(client) => client.root(),
            Self::Folder(folder) => Some(folder.clone()),
        }
    }
}

/// Says that no agent answers, where it was looked for, and what to do.
pub(crate) fn no_agent() -> String {
    let sockets: Vec<String> = places::candidates().iter().map(|socket| socket.display().to_string()).collect();
    format!("no agent answers at {}: start one with 'tapeloop record', or name its socket with --agent", sockets.join(" or "))
}

fn is_same(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => a == b,
    }
}
