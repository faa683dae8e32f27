//! A recording's messages onto the tape.
//!
//! **Invariant:** messages go in in the order of their log times, so that taking in goes on where it was interrupted.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use recording::message::Topic;
use recording::{Kind, Loss, Message, Result, Span, TopicFilter, read};
use serde_json::json;

use super::taken::Begun;
use crate::Tape;
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
#[derive(Default)]
pub(super) struct Played {
    pub(super) format: &'static str,
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) start_ns: i64,
    pub(super) end_ns: i64,
    /// What was taken before an interruption.
    begun: Begun,
    /// How many stretches of the file are lost.
    pub(super) losses: u64,
    /// Messages that no tape takes.
    pub(super) refused: u64,
    /// How often the tape lost messages of its topics meanwhile.
    lost_by_tape: u64,
    /// A topic that no buffer on the disk holds as it is.
    not_held: Option<String>,
    /// What the tape met when all of it was to be on the disk.
    unsure: Option<String>,
    /// How many messages of the file were looked at.
    position: u64,
    pub(super) is_stopped: bool,
    /// The channels, and how often the tape had lost messages of their topics before.
    channels: Vec<(Arc<Channel>, u64)>,
}

impl Played {
    pub(super) fn new(begun: Begun) -> Self {
        Self { begun, ..Self::default() }
    }

    /// Makes what was taken in durable, and finds out what became of it.
    ///
    /// # Errors
    /// One that the tape meets twice: the first time it may be about what others logged.
    pub(super) fn secure(&mut self, tape: &Tape) -> Result<()> {
        if let Err(error) = tape.flush() {
            self.unsure = Some(error.to_string());
            tape.flush()?;
        }
        let lost = |(channel, before): &(Arc<Channel>, u64)| tape.losses_of(&channel.topic().name).saturating_sub(*before);
        self.lost_by_tape = self.channels.iter().map(lost).sum();
        // The configuration may have changed meanwhile.
        if let Some((channel, _)) = self.channels.iter().find(|(channel, _)| !channel.is_kept_whole()) {
            self.not_held = Some(channel.topic().name.clone());
        }
        Ok(())
    }

    /// Returns how far it came.
    pub(super) fn progress(&self) -> Begun {
        Begun { messages: self.position.max(self.begun.messages), is_whole: self.why_not_whole().is_none() }
    }

    /// Returns why the tape does not have all of the file, if so.
    pub(super) fn why_not_whole(&self) -> Option<String> {
        if self.losses > 0 {
            Some("parts of it are lost".to_owned())
        } else if self.refused > 0 {
            Some(format!("no tape takes {} of its messages", self.refused))
        } else if let Some(topic) = &self.not_held {
            Some(format!("no buffer on the disk holds all of '{topic}' as it is"))
        } else if self.lost_by_tape > 0 {
            Some("the tape lost messages of its topics meanwhile".to_owned())
        } else if let Some(error) = &self.unsure {
            Some(format!("it is not sure that all is on the disk: {error}"))
        } else if !self.begun.is_whole {
            Some("it was not all there before an interruption".to_owned())
        } else {
            None
        }
    }
}

impl Play<'_> {
    /// Logs what comes behind the messages that were taken before; `save` is called now and then, and told how far it came.
    ///
    /// # Errors
    /// `Invalid` for what is no recording; what reading and `save` answer. `played` then says how far it came.
    pub(super) fn run(&self, path: &Path, played: &mut Played, save: &mut dyn FnMut(&mut Played) -> Result<()>) -> Result<()> {
        let recording = read::open(path)?;
        let span = recording.span();
        (played.format, played.start_ns, played.end_ns) = (recording.format(), span.start_ns, span.end_ns);
        let latched = recording.latched(&TopicFilter::all(), span.start_ns)?;
        let mut channels = Channels { known: HashMap::new(), latched: latched.into_iter().map(|message| message.topic).collect() };
        let mut messages = recording.messages(&TopicFilter::all(), Span::ALL)?;
        let (mut told, mut saved_ns) = (0, self.intake.monotonic_ns());
        while let Some(message) = messages.next().transpose()? {
            if played.position >= played.begun.messages {
                if self.stop.is_set() || !self.intake.wait_for_room(message.data.len(), self.stop) {
                    played.is_stopped = true;
                    return Ok(());
                }
                self.log(&mut channels, &message, played)?;
            }
            played.position += 1;
            if played.position > played.begun.messages && self.intake.monotonic_ns().saturating_sub(saved_ns) >= SAVE_NS {
                save(played)?;
                saved_ns = self.intake.monotonic_ns();
            }
            let losses = messages.losses();
            self.pass_on(path, &losses[told..], span, played);
            told = losses.len();
        }
        self.pass_on(path, &messages.losses()[told..], span, played);
        Ok(())
    }

    fn log(&self, channels: &mut Channels, message: &Message, played: &mut Played) -> Result<()> {
        let (log_time_ns, publish_time_ns) = (self.keeps_times.then_some(message.log_time_ns), Some(message.publish_time_ns));
        let Some(channel) = channels.of_topic(self.intake, &message.topic, played)? else {
            played.refused += 1;
            self.intake.refuse(&format!("a message of '{}', which no tape takes", message.topic.name));
            return Ok(());
        };
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

    /// Tells the tape what the file lost, within the file's times, unless that was done before an interruption.
    fn pass_on(&self, path: &Path, losses: &[Loss], span: Span, played: &mut Played) {
        let is_told = played.position < played.begun.messages;
        for loss in losses.iter().filter(|loss| loss.is_lost()) {
            played.losses += 1;
            if is_told {
                continue;
            }
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
    /// By the address of the topic, which is the same as long as the recording is open; `None` for one that no tape takes.
    known: HashMap<*const Topic, Option<Arc<Channel>>>,
    latched: Vec<Arc<Topic>>,
}

impl Channels {
    fn of_topic(&mut self, intake: &Intake, topic: &Arc<Topic>, played: &mut Played) -> Result<Option<Arc<Channel>>> {
        if let Some(known) = self.known.get(&Arc::as_ptr(topic)) {
            return Ok(known.clone());
        }
        let latched = self.latched.iter().any(|latched| Arc::ptr_eq(latched, topic));
        let channel = match intake.channel(ChannelSpec::of_topic(topic, latched)) {
            Ok(channel) => {
                if !channel.is_kept_whole() {
                    played.not_held = Some(topic.name.clone());
                }
                played.channels.push((channel.clone(), intake.tape().losses_of(&topic.name)));
                Some(channel)
            }
            Err(error) if error.kind() == Kind::Invalid => {
                intake.event("topic_refused", &format!("no tape takes '{}': {error}", topic.name), json!({ "topic": topic.name }));
                None
            }
            Err(error) => return Err(error),
        };
        self.known.insert(Arc::as_ptr(topic), channel.clone());
        Ok(channel)
    }
}
