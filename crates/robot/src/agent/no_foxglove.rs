//! A build without Foxglove.
//!
//! **Invariant:** whoever asks for it is told.

use std::sync::Arc;

use recording::Result;

use super::Shared;
use crate::config::AgentConfig;

/// What there is in place of the server.
pub(crate) struct Foxglove {
    asked: bool,
}

impl Foxglove {
    /// Notes whether somebody asks for it.
    ///
    /// # Errors
    /// None.
    pub(crate) fn listen(address: Option<&str>, config: &AgentConfig) -> Result<Self> {
        Ok(Self { asked: address.or(config.foxglove.as_deref()).is_some_and(|address| address != "off") })
    }

    /// Returns where it listens: nowhere.
    pub(crate) fn address(&self) -> Option<String> {
        None
    }

    /// Returns why not.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.asked.then(|| "this build has no Foxglove".to_owned())
    }

    /// Does nothing.
    ///
    /// # Errors
    /// None.
    pub(crate) fn start(&mut self, _agent: &Arc<Shared>) -> Result<()> {
        Ok(())
    }

    /// Does nothing.
    pub(crate) fn stop(&mut self) {}
}
