//! The agent's slow thread: looks at the configuration file, and tells systemd that the agent lives.
//!
//! **Invariant:** a bad configuration changes nothing; it stands in the log and on the tape, with its line.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use recording::{Error, Result};
use serde_json::json;

use super::reload::{ConfigFile, Look};
use super::{Shared, service};
use crate::Config;
use crate::source::Sources;

/// How many wishes to reload may wait.
const WISHES: usize = 2;

/// The running thread.
pub(crate) struct Watch {
    wishes: SyncSender<Wish>,
    thread: Option<JoinHandle<()>>,
}

/// Asks for the configuration to be loaded again.
#[derive(Clone)]
pub(crate) struct Reloader {
    wishes: SyncSender<Wish>,
}

enum Wish {
    Reload,
    End,
}

impl Watch {
    /// Starts the thread, which looks at `file` every `interval`.
    ///
    /// # Errors
    /// `Unavailable` if there can be no thread.
    pub(crate) fn start(agent: Arc<Shared>, file: Option<ConfigFile>, interval: Duration) -> Result<Self> {
        let (wishes, received) = sync_channel(WISHES);
        let interval = service::watchdog_interval().map_or(interval, |watchdog| interval.min(watchdog));
        let thread = thread::Builder::new()
            .name("agent-watch".into())
            .spawn(move || watch(&agent, file, &received, interval))
            .map_err(|error| Error::io("cannot start a thread for the configuration", error))?;
        Ok(Self { wishes, thread: Some(thread) })
    }

    /// Loads the configuration again.
    pub(crate) fn reload(&self) {
        self.reloader().reload();
    }

    /// Returns what asks for a reload from another thread.
    pub(crate) fn reloader(&self) -> Reloader {
        Reloader { wishes: self.wishes.clone() }
    }

    /// Ends the thread.
    pub(crate) fn stop(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = self.wishes.send(Wish::End);
            let _ = thread.join();
        }
    }
}

impl Reloader {
    /// Asks for it; where a wish waits already, that one will do.
    pub(crate) fn reload(&self) {
        let _ = self.wishes.try_send(Wish::Reload);
    }
}

fn watch(agent: &Shared, mut file: Option<ConfigFile>, wishes: &Receiver<Wish>, interval: Duration) {
    loop {
        let insists = match wishes.recv_timeout(interval) {
            Ok(Wish::Reload) => true,
            Err(RecvTimeoutError::Timeout) => false,
            Ok(Wish::End) | Err(RecvTimeoutError::Disconnected) => return,
        };
        service::notify("WATCHDOG=1");
        if let Some(file) = &mut file {
            let path = file.path().display().to_string();
            match file.look(insists) {
                Look::Same => {}
                Look::New(config) => put_into_force(agent, *config, &path),
                Look::Bad(error) => refuse(agent, &error, &path),
            }
        } else if insists {
            let error = Error::not_found("there is no configuration file to load (name one when starting the agent)");
            refuse(agent, &error, "");
        }
    }
}

fn put_into_force(agent: &Shared, config: Config, path: &str) {
    let mut notes = config.notes.clone();
    if config.agent != agent.tape.config().agent {
        notes.push("what [agent] says changes when the agent is started again".into());
    }
    let (hash, sources) = (config.hash.clone(), config.sources.clone());
    let loaded = Sources::check(&sources).and_then(|()| agent.tape.reconfigure(config)).and_then(|()| agent.sources.apply(&sources));
    match loaded {
        Ok(()) => {
            let also = notes.iter().map(|note| format!("; {note}")).collect::<String>();
            agent.report("config_loaded", &format!("the new configuration is in force{also}: {path}"), json!({ "config_hash": hash }));
        }
        Err(error) => refuse(agent, &error, path),
    }
}

fn refuse(agent: &Shared, error: &Error, path: &str) {
    let message = format!("the new configuration is refused, the old one stays: {error}");
    agent.report("config_refused", &message, json!({ "path": path }));
}
