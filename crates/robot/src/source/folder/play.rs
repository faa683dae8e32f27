//! A recording's messages onto the tape.
//!
//! **Invariant:** messages go in in the order of their log times, so that taking in goes on where it was interrupted.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use recording::message::Topic;
use recording::{Kind, Loss, Message, Result, Span, TopicFilter, read};

use crate::source::Intake;
use crate::stop::StopFlag;
use crate::tape::channel::{Channel, ChannelSpec, Times};

/// How often it is noted how far it came.
const SAVE_NS: i64 = 5_000_000_000;

/// Takes in a file.
pub(super) struct Play<'a> {
    pub(super) intake: &'a Arc<Intake>,
    pub(super) stop: &'a StopFlag,
    /// Whether messages keep their log times, or get those of now.
    pub(super) keeps_times: bool,
}

/// What was taken in.
#[derive(Debug, Default)]
pub(super) struct Played {
    pub(super) format: &'static str,
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) start_ns: i64,
    pub(super) end_ns: i64,
    /// How many stretches of the file are lost.
    pub(super) losses: u64,
    /// Messages that no tape takes.
    pub(super) refused: u64,
    /// How many messages of the file were looked at.
    pub(super) position: u64,
    pub(super) is_stopped: bool,
}

impl Played {
    pub(super) fn is_whole(&self) -> bool {
        self.losses == 0 && self.refused == 0
    }
}

impl Play<'_> {
    /// Logs what comes behind the first `begun` messages; `save` is told how far it came, now and then.
    ///
    /// # Errors
    /// `Invalid` for what is no recording; what reading and `save` answer.
    pub(super) fn run(&self, path: &Path, begun: u64, save: &mut dyn FnMut(u64) -> Result<()>) -> Result<Played> {
        let recording = read::open(path)?;
        let span = recording.span();
        let mut played = Played { format: recording.format(), start_ns: span.start_ns, end_ns: span.end_ns, ..Played::default() };
        let latched = recording.latched(&TopicFilter::all(), span.start_ns)?;
        let mut channels = Channels { known: HashMap::new(), latched: latched.into_iter().map(|message| message.topic).collect() };
        let mut messages = recording.messages(&TopicFilter::all(), Span::ALL)?;
        let (mut told, mut saved_ns) = (0, self.intake.monotonic_ns());
        while let Some(message) = messages.next().transpose()? {
            if played.position >= begun {
                if self.stop.is_set() || !self.intake.wait_for_room(message.data.len(), self.stop) {
                    played.is_stopped = true;
                    return Ok(played);
                }
                self.log(&mut channels, &message, &mut played)?;
            }
            played.position += 1;
            if played.position > begun && self.intake.monotonic_ns().saturating_sub(saved_ns) >= SAVE_NS {
                save(played.position)?;
                saved_ns = self.intake.monotonic_ns();
            }
            let losses = messages.losses();
            self.pass_on(path, &losses[told..], span, &mut played);
            told = losses.len();
        }
        self.pass_on(path, &messages.losses()[told..], span, &mut played);
        Ok(played)
    }

    fn log(&self, channels: &mut Channels, message: &Message, played: &mut Played) -> Result<()> {
        let (log_time_ns, publish_time_ns) = (self.keeps_times.then_some(message.log_time_ns), Some(message.publish_time_ns));
        let channel = channels.of_topic(self.intake, &message.topic)?;
        match self.intake.log(&channel, message.data.clone().into(), Times { log_time_ns, publish_time_ns }) {
            Ok(()) => {
                played.messages += 1;
                played.bytes += message.data.len() as u64;
            }
            // One odd message must not end a long file.
            Err(error) if error.kind() == Kind::Invalid => {
                played.refused += 1;
                self.intake.refuse(&format!("{}: {error}", message.topic.name));
            }
            Err(error) if self.intake.tape().is_closed() => return Err(error),
            // What the tape could not take is in its losses.
            Err(_) => played.losses += 1,
        }
        Ok(())
    }

    /// Tells the tape what the file lost, within the file's times.
    fn pass_on(&self, path: &Path, losses: &[Loss], span: Span, played: &mut Played) {
        for loss in losses.iter().filter(|loss| loss.is_lost()) {
            played.losses += 1;
            let within = |time_ns: Option<i64>, else_ns: i64| self.keeps_times.then_some(time_ns.unwrap_or(else_ns));
            self.intake.pass_on(Loss {
                start_ns: within(loss.start_ns, span.start_ns).or_else(|| Some(self.intake.now_ns())),
                end_ns: within(loss.end_ns, span.end_ns.saturating_sub(1)).or_else(|| Some(self.intake.now_ns())),
                reason: format!("lost in {}: {}", path.file_name().unwrap_or(path.as_os_str()).display(), loss.reason),
                ..loss.clone()
            });
        }
    }
}

/// The tape's channels of the file's topics.
struct Channels {
    /// By the address of the topic, which is the same as long as the recording is open.
    known: HashMap<*const Topic, Arc<Channel>>,
    latched: Vec<Arc<Topic>>,
}

impl Channels {
    fn of_topic(&mut self, intake: &Intake, topic: &Arc<Topic>) -> Result<Arc<Channel>> {
        if let Some(channel) = self.known.get(&Arc::as_ptr(topic)) {
            return Ok(channel.clone());
        }
        let latched = self.latched.iter().any(|latched| Arc::ptr_eq(latched, topic));
        let channel = intake.channel(ChannelSpec::of_topic(topic, latched))?;
        self.known.insert(Arc::as_ptr(topic), channel.clone());
        Ok(channel)
    }
}
