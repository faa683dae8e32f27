//! Recorded files that drive the recorder as if they were live.
//!
//! In come recordings, out go their messages into a tape: topics, schemas, payloads and times as they are, at the pace at which
//! they were recorded, or faster.
//!
//! **Invariant:** messages go in in the order of their log times; one that cannot be recorded is counted and said, and what the
//! recordings lost is a loss of the tape too.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use recording::message::Topic;
use recording::read::{Messages, Recording};
use recording::{Kind, Loss, Message, Result, Span, TopicFilter, size, time};
use robot::agent::StopFlag;
use robot::clock::{Clock, SystemClock};
use robot::tape::Lost;
use robot::{Channel, ChannelSpec, Payload, Tape, Times};

use crate::output::{Progress, complain};
use crate::text;

/// How long the end is put off at a time while windows that end in the future are waited for.
const END_STEP: Duration = Duration::from_millis(100);
/// How many messages that cannot be recorded are told one by one.
const REFUSED_TOLD: u64 = 10;

/// How fast a file is played.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Speed {
    /// So many times faster than it was recorded.
    Times(f64),
    /// As fast as it goes.
    Max,
}

/// What is played, and how.
pub(crate) struct Play {
    /// The recordings.
    pub(crate) recordings: Vec<Recording>,
    /// How fast.
    pub(crate) speed: Speed,
    /// Whether times are shifted, so that it begins now.
    pub(crate) from_now: bool,
}

/// What was played.
#[derive(Debug, Default)]
pub(crate) struct Played {
    /// Messages that the tape accepted.
    pub(crate) messages: u64,
    /// Their payload bytes.
    pub(crate) bytes: u64,
    /// Messages that the tape refused.
    pub(crate) refused: u64,
    /// What is lost or missing in the recordings.
    pub(crate) losses: Vec<Loss>,
    /// What the tape was told that the recordings had lost.
    pub(crate) reported: Lost,
    /// How long it took.
    pub(crate) took_ns: i64,
    /// Whether it was stopped before its end.
    pub(crate) stopped: bool,
}

impl Play {
    /// Returns when the recordings begin; ns UTC.
    pub(crate) fn start_ns(&self) -> i64 {
        self.recordings.iter().map(|recording| recording.span().start_ns).min().unwrap_or(0)
    }

    fn end_ns(&self) -> i64 {
        self.recordings.iter().map(|recording| recording.span().end_ns).max().unwrap_or(0)
    }

    /// Plays everything into a tape, and waits until that is on the disk.
    ///
    /// # Errors
    /// What reading, and what writing met.
    pub(crate) fn run(&self, tape: &Tape, stop: &StopFlag) -> Result<Played> {
        let mut played = Played::default();
        let mut progress = Progress::new();
        let mut channels = Channels::of(&self.recordings)?;
        let mut merge = Merge::of(&self.recordings)?;
        let (start_ns, end_ns) = (self.start_ns(), self.end_ns());
        let shift_ns = if self.from_now { tape.clock().utc_ns().saturating_sub(start_ns) } else { 0 };
        let began_ns = SystemClock.monotonic_ns();
        while let Some(message) = merge.next()? {
            let into_ns = message.log_time_ns.saturating_sub(start_ns);
            if stop.is_set() || !self.wait_until_due(began_ns, into_ns, stop) {
                played.stopped = true;
                break;
            }
            let times = Times {
                log_time_ns: Some(message.log_time_ns.saturating_add(shift_ns)),
                publish_time_ns: Some(message.publish_time_ns.saturating_add(shift_ns)),
            };
            let channel = channels.of_topic(tape, &message.topic)?;
            append(tape, &channel, &message, times, &mut played)?;
            self.report(tape, merge.untold(), shift_ns, &mut played.reported);
            progress.show(|| {
                let (at, all) = (time::format_duration(into_ns.max(0)), time::format_duration(end_ns.saturating_sub(start_ns)));
                format!("played {at} of {all}, {}, {}", text::counted(played.messages, "message"), size::format(played.bytes))
            });
        }
        drop(progress);
        played.took_ns = SystemClock.monotonic_ns().saturating_sub(began_ns);
        self.report(tape, merge.untold(), shift_ns, &mut played.reported);
        played.losses = merge.losses();
        tape.flush()?;
        wait_for_windows(tape, stop);
        Ok(played)
    }

    /// Tells the tape what the recordings lost, within their times, and counts it.
    fn report(&self, tape: &Tape, losses: Vec<(&Path, Loss)>, shift_ns: i64, reported: &mut Lost) {
        for (path, loss) in losses.into_iter().filter(|(_, loss)| loss.is_lost()) {
            reported.messages = reported.messages.saturating_add(loss.messages.unwrap_or(0));
            reported.uncounted += u64::from(loss.messages.is_none());
            let within = |time_ns: Option<i64>, else_ns: i64| Some(time_ns.unwrap_or(else_ns).saturating_add(shift_ns));
            tape.report_loss(Loss {
                start_ns: within(loss.start_ns, self.start_ns()),
                end_ns: within(loss.end_ns, self.end_ns().saturating_sub(1)),
                reason: format!("lost in {}: {}", path.file_name().unwrap_or(path.as_os_str()).display(), loss.reason),
                ..loss
            });
        }
    }

    /// Sleeps until a message is due; returns false if it is time to stop instead.
    fn wait_until_due(&self, began_ns: i64, into_ns: i64, stop: &StopFlag) -> bool {
        let Speed::Times(speed) = self.speed else { return true };
        let due_ns = began_ns.saturating_add((into_ns as f64 / speed) as i64);
        let left_ns = due_ns.saturating_sub(SystemClock.monotonic_ns());
        left_ns <= 0 || !stop.wait(Duration::from_nanos(left_ns.unsigned_abs()))
    }
}

/// Appends a message. What an earlier write met is told, and then this message has its own try.
fn append(tape: &Tape, channel: &Arc<Channel>, message: &Message, times: Times, played: &mut Played) -> Result<()> {
    let once = || tape.append(channel, Payload::Slice(&message.data), times);
    let appended = once().or_else(|error| {
        if error.kind() == Kind::Invalid {
            return Err(error);
        }
        complain(error.to_string());
        once()
    });
    match appended {
        Ok(_) => {
            played.messages += 1;
            played.bytes += message.data.len() as u64;
            Ok(())
        }
        // One odd message must not end a long replay.
        Err(error) if error.kind() == Kind::Invalid => {
            played.refused += 1;
            if played.refused <= REFUSED_TOLD {
                complain(format!("not recorded: {}, {}: {error}", message.topic.name, text::moment(message.log_time_ns)));
            }
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// Waits until windows that end in the future have ended. A file's clock stands still, so there they are cut short instead.
fn wait_for_windows(tape: &Tape, stop: &StopFlag) {
    let ends = || tape.recordings().iter().filter(|manifest| !manifest.is_final()).filter_map(|manifest| manifest.asked.end_ns).max();
    while !tape.clock().is_file() && ends().is_some_and(|end_ns| end_ns > tape.clock().utc_ns()) {
        if stop.wait(END_STEP) {
            return;
        }
    }
}

/// The tape's channels of the topics of the recordings.
struct Channels {
    /// By the address of the topic, which is the same as long as its recording is open.
    known: HashMap<*const Topic, Arc<Channel>>,
    latched: Vec<Arc<Topic>>,
}

impl Channels {
    fn of(recordings: &[Recording]) -> Result<Self> {
        let mut latched = Vec::new();
        for recording in recordings {
            let values = recording.latched(&TopicFilter::all(), recording.span().start_ns)?;
            latched.extend(values.into_iter().map(|message| message.topic));
        }
        Ok(Self { known: HashMap::new(), latched })
    }

    fn of_topic(&mut self, tape: &Tape, topic: &Arc<Topic>) -> Result<Arc<Channel>> {
        if let Some(channel) = self.known.get(&Arc::as_ptr(topic)) {
            return Ok(channel.clone());
        }
        let latched = self.latched.iter().any(|latched| Arc::ptr_eq(latched, topic));
        let channel = tape.channel(ChannelSpec::of_topic(topic, latched))?;
        self.known.insert(Arc::as_ptr(topic), channel.clone());
        Ok(channel)
    }
}

/// The messages of several recordings in order of their log times; of equal ones those of the first recording first.
struct Merge {
    sources: Vec<Source>,
}

struct Source {
    path: PathBuf,
    messages: Messages,
    next: Option<Message>,
    /// How many of its losses were told.
    told: usize,
}

impl Merge {
    fn of(recordings: &[Recording]) -> Result<Self> {
        let open = |recording: &Recording| {
            let mut messages = recording.messages(&TopicFilter::all(), Span::ALL)?;
            let next = messages.next().transpose()?;
            Ok(Source { path: recording.path().to_owned(), messages, next, told: 0 })
        };
        Ok(Self { sources: recordings.iter().map(open).collect::<Result<_>>()? })
    }

    fn next(&mut self) -> Result<Option<Message>> {
        let time_ns = |source: &&mut Source| source.next.as_ref().map_or(i64::MAX, |message| message.log_time_ns);
        let waiting = self.sources.iter_mut().filter(|source| source.next.is_some());
        let Some(source) = waiting.min_by_key(time_ns) else { return Ok(None) };
        let following = source.messages.next().transpose()?;
        Ok(std::mem::replace(&mut source.next, following))
    }

    /// Returns what was found to be lost or missing since the last call, and in which recording.
    fn untold(&mut self) -> Vec<(&Path, Loss)> {
        let mut untold = Vec::new();
        for source in &mut self.sources {
            let losses = source.messages.losses();
            untold.extend(losses.iter().skip(source.told).map(|loss| (source.path.as_path(), loss.clone())));
            source.told = losses.len();
        }
        untold
    }

    /// Returns what is lost or missing, as far as was read.
    fn losses(&self) -> Vec<Loss> {
        self.sources.iter().flat_map(|source| source.messages.losses()).cloned().collect()
    }
}
