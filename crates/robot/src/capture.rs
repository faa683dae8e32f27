//! Captures: keeping a span of the tape, before, during and after a moment, or any past interval that is still there.
//!
//! In comes a request, out comes a manifest that names segments; the bytes stay where they are.
//!
//! **Invariant:** a capture writes no payload of a disk buffer, and closes no segment.

mod count;
mod keeper;
mod manifests;
mod plan;
mod request;

use std::time::Duration;

use recording::manifest::{Asked, Cause, FORMAT, Manifest, State};
use recording::{Error, Result, Span, TopicFilter};

pub(crate) use self::keeper::Captures;
pub use self::request::{KeepRequest, Length, SaveRequest, When};
use crate::tape::Tape;

/// How long a capture waits for what was just logged to reach its segments; what takes longer is named when it arrives.
const SETTLE: Duration = Duration::from_millis(15);

/// What happens to unfinished recordings when a tape is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// Wait until windows that end in the future have ended; open-ended ones end now.
    Wait,
    /// End them now, and say that they were cut short.
    CutShort,
    /// Leave them as they are: the next opening of the tape goes on with them.
    Resume,
}

impl Captures {
    /// Keeps a span.
    ///
    /// # Errors
    /// `Invalid` for a request that makes no sense; `Unavailable` if the budget of kept bytes is used up.
    pub(crate) fn save(&self, tape: &Tape, request: &SaveRequest) -> Result<Manifest> {
        let now_ns = tape.clock().utc_ns();
        let span = request.span(now_ns)?;
        let filter = TopicFilter::parse(&request.topics)?;
        let asked = Asked { start_ns: span.start_ns, end_ns: Some(span.end_ns), topics: request.topics.clone() };
        let mut manifest = self.blank(tape, asked, &request.by, State::Completing);
        manifest.why = request.why.clone();
        manifest.labels = request.labels.clone();
        manifest.span = span;
        self.begin(tape, manifest, filter)
    }

    /// Begins to keep everything from now on, and from `before`, until [`Self::keep_stop`].
    ///
    /// # Errors
    /// `Conflict` if something is kept under that name now; `Invalid` for a request that makes no sense.
    pub(crate) fn keep_start(&self, tape: &Tape, request: &KeepRequest) -> Result<Manifest> {
        let now_ns = tape.clock().utc_ns();
        let start_ns = now_ns.saturating_sub(request.before.as_ref().map_or(Ok(0), Length::to_ns)?);
        let filter = TopicFilter::parse(&request.topics)?;
        if request.name.is_empty() || request.name.len() > 200 {
            return Err(Error::invalid("a keep needs a name of 1 to 200 bytes, like 'run-12'"));
        }
        let asked = Asked { start_ns, end_ns: None, topics: request.topics.clone() };
        let mut manifest = self.blank(tape, asked, &request.by, State::Keeping);
        manifest.name = Some(request.name.clone());
        manifest.why = request.why.clone();
        manifest.labels = request.labels.clone();
        manifest.span = Span::new(start_ns, now_ns);
        self.refuse_second_keep(&request.name)?;
        self.begin(tape, manifest, filter)
    }

    fn blank(&self, tape: &Tape, asked: Asked, by: &str, state: State) -> Manifest {
        let by = if by.is_empty() { "rust" } else { by };
        Manifest {
            format: FORMAT,
            recording: self.new_id(tape),
            name: None,
            device: tape.device().to_owned(),
            host: tape.host().to_owned(),
            state,
            created_ns: tape.clock().utc_ns(),
            span: Span::new(asked.start_ns, asked.end_ns.unwrap_or(asked.start_ns)),
            asked,
            cause: Cause::Manual { by: by.to_owned() },
            why: None,
            labels: Default::default(),
            selections: Vec::new(),
            segments: Vec::new(),
            kept: Vec::new(),
            missing: Vec::new(),
        }
    }

    /// Plans, names, and writes the manifest.
    fn begin(&self, tape: &Tape, mut manifest: Manifest, filter: TopicFilter) -> Result<Manifest> {
        self.check_budget(tape)?;
        tape.settle(SETTLE);
        let plan = plan::plan(&tape.view(), manifest.span, manifest.asked.end_ns.is_none(), &filter, &manifest.kept);
        plan.want_ram();
        plan.write_into(&mut manifest);
        self.write(tape, &manifest)?;
        self.add_active(manifest.clone(), filter);
        Ok(manifest)
    }
}
