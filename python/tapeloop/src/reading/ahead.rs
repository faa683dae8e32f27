//! A second core for readers: a thread that unpacks a recording's last blocks while the first ones are read.
//!
//! **Invariant:** it only fills what the recording keeps in memory: without it everything is the same, and slower.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use recording::{Span, TopicFilter, read};

/// Unpacks blocks until it is dropped, or there are no more.
pub(crate) struct Ahead {
    stop: Arc<AtomicBool>,
}

impl Ahead {
    /// Begins; where there is no thread to be had, nothing is unpacked ahead.
    pub(crate) fn start(recording: &read::Recording, filter: &TopicFilter, span: Span) -> Self {
        let stop = Arc::new(AtomicBool::new(thread::available_parallelism().is_ok_and(|cores| cores.get() == 1)));
        let (recording, filter, seen) = (recording.clone(), filter.clone(), stop.clone());
        let unpack = move || recording.unpack_ahead(&filter, span, || !seen.load(Ordering::Relaxed));
        let _ = thread::Builder::new().name("tapeloop-unpack".to_owned()).spawn(unpack);
        Self { stop }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
