//! Where messages are born: the tape that holds them, the captures that keep them, the agent that serves other processes.
//!
//! In come messages from programs, out go segments and manifests on a disk.
//!
//! **Invariant:** the robot never needs a network, a lake or a server.

pub mod agent;
pub mod clock;
pub mod config;
pub mod places;
pub mod recorder;
pub mod source;
pub mod status;
pub mod tape;

mod assemble;
mod capture;
mod encode;
mod infer;
mod stop;

pub use capture::{KeepRequest, Leave, Length, SaveRequest, When};
pub use config::Config;
pub use recorder::{Recorder, RecorderChannel};
pub use recording::{Error, Kind, Result};
pub use status::Status;
pub use tape::channel::{Channel, ChannelSpec, Payload, Times};
pub use tape::{OpenOptions, Tape};
