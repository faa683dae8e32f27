//! The status of an agent as lines.
//!
//! In come one answer of the agent and the one before it, out go lines; rates are what changed between the two.
//!
//! **Invariant:** what went wrong with the tape stands above the buffers, where it is seen; with a source, beside it.

use recording::{Error, Kind, Result, size, time};
use robot::Status;
use robot::agent::About;
use robot::agent::client::Client;
use robot::clock::{Clock, SystemClock};
use robot::source::SourceState;
use robot::status::BufferStatus;
use robot::tape::ExpectationState;

use crate::text;

/// How many topics that no buffer wants are listed.
const UNWANTED_SHOWN: usize = 10;
/// How many clients are listed.
const CLIENTS_SHOWN: usize = 20;

/// What an agent said, and when.
pub(super) struct Poll {
    status: Status,
    about: Option<About>,
    taken_ns: i64,
}

impl Poll {
    /// Asks the agent.
    pub(super) fn of(client: &Client) -> Result<Self> {
        let answer = client.agent_status()?;
        let unclear =
            |error| Error::new(Kind::Internal, "the agent's status is not understood: are the two of one version?").caused_by(error);
        let about = answer.get("agent").cloned().and_then(|about| serde_json::from_value(about).ok());
        let status = serde_json::from_value(answer).map_err(unclear)?;
        Ok(Self { status, about, taken_ns: SystemClock.monotonic_ns() })
    }
}

/// Returns a status as lines. Without an earlier one, rates are averages since the recorder began.
pub(super) fn lines(poll: &Poll, before: Option<&Poll>) -> Vec<String> {
    let mut lines = head(poll);
    lines.extend(trouble(&poll.status));
    lines.extend(poll.about.iter().flat_map(|about| &about.notes).map(|note| format!("note        {note}")));
    lines.push(String::new());
    lines.extend(buffers(poll, before));
    lines.extend(sources(poll, before));
    lines.extend(expectations(&poll.status));
    lines.extend(clients(&poll.status));
    lines
}

fn head(poll: &Poll) -> Vec<String> {
    let Status { device, host, clock, disk, .. } = &poll.status;
    let status = &poll.status;
    let up = time::format_duration(clock.utc_ns.saturating_sub(status.since_ns).max(0));
    let about = poll.about.as_ref().map_or(String::new(), |about| {
        let http = about.http.as_ref().map_or(String::new(), |http| format!(" and http://{http}"));
        let foxglove = about.foxglove.as_ref().map_or(String::new(), |foxglove| format!(" and ws://{foxglove} (Foxglove)"));
        format!(", process {} at {}{http}{foxglove}", about.pid, about.socket)
    });
    let clock_kind = match clock.kind.as_str() {
        "file" => " (of the file that is played)",
        _ if clock.plausible => "",
        _ => " (not set: before 2020)",
    };
    let durable = match status.durable_until_ns {
        Some(until_ns) if until_ns > 0 => format!("everything older than {}", time::format_duration((clock.utc_ns - until_ns).max(0))),
        Some(_) => "nothing yet".to_owned(),
        None => "no disk buffer".to_owned(),
    };
    let unfinished =
        if status.unfinished_recordings > 0 { format!(", {} unfinished", status.unfinished_recordings) } else { String::new() };
    vec![
        format!("{device} on {host}: recording for {up}{about}"),
        format!("clock       {}{clock_kind}", text::moment(clock.utc_ns)),
        format!("on disk     {durable}"),
        format!("tape        {}, {}", status.root, text::counted(status.channels as u64, "topic")),
        format!(
            "disk        {} of {} free, floor {}",
            size::format(disk.free_bytes),
            size::format(disk.total_bytes),
            size::format(disk.floor_bytes)
        ),
        format!("recordings  {}{unfinished}, {} kept", status.recordings, size::format(status.kept_bytes)),
    ]
}

fn trouble(status: &Status) -> Vec<String> {
    let mut lines = Vec::new();
    if status.lost_messages > 0 || status.lost_bytes > 0 {
        lines.push(format!("LOST        {}, {}", text::counted(status.lost_messages, "message"), size::format(status.lost_bytes)));
    }
    lines.extend(status.last_error.as_ref().map(|error| format!("ERROR       {error}")));
    if status.disk.free_bytes < status.disk.floor_bytes {
        lines.push("DISK FULL   below its floor: old segments go before their time".to_owned());
    }
    if !status.unwanted_topics.is_empty() {
        let shown: Vec<&str> = status.unwanted_topics.iter().take(UNWANTED_SHOWN).map(String::as_str).collect();
        let more = status.unwanted_topics.len().saturating_sub(UNWANTED_SHOWN);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        lines.push(format!("unwanted    no buffer holds {}{more}", shown.join(", ")));
    }
    lines.extend(status.notes.iter().map(|note| format!("note        {note}")));
    lines
}

fn buffers(poll: &Poll, before: Option<&Poll>) -> Vec<String> {
    let heads = ["buffer", "place", "depth", "of", "bytes", "of", "msg/s", "B/s", "queued", "filtered", "lost", "written/day"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    for buffer in &poll.status.buffers {
        let (messages, bytes) = rates(poll, before, buffer);
        let limit = |limit: Option<String>| limit.unwrap_or_else(|| "-".to_owned());
        rows.push(vec![
            buffer.name.clone(),
            buffer.place.clone(),
            time::format_duration(buffer.depth_ns),
            limit(buffer.age_limit_ns.map(time::format_duration)),
            size::format(buffer.size_bytes),
            limit(buffer.size_limit_bytes.map(size::format)),
            text::rate(messages),
            size::format(bytes as u64),
            size::format(buffer.queued_bytes),
            text::count(buffer.filtered_messages),
            text::count(buffer.lost_messages),
            if buffer.place == "disk" { size::format(buffer.written_bytes_per_day) } else { "-".to_owned() },
        ]);
    }
    text::table(&rows, &[2, 3, 4, 5, 6, 7, 8, 9, 10, 11])
}

/// Returns messages and bytes per second.
fn rates(poll: &Poll, before: Option<&Poll>, buffer: &BufferStatus) -> (f64, f64) {
    let earlier = before.and_then(|before| Some((before, before.status.buffers.iter().find(|known| known.name == buffer.name)?)));
    let (messages, bytes, ns) = match earlier {
        // An agent that was started anew counts from 0.
        Some((before, known)) => {
            (buffer.messages.saturating_sub(known.messages), buffer.bytes.saturating_sub(known.bytes), poll.taken_ns - before.taken_ns)
        }
        None => (buffer.messages, buffer.bytes, poll.status.clock.utc_ns - poll.status.since_ns),
    };
    let seconds = (ns.max(1)) as f64 / time::SECOND_NS as f64;
    (messages as f64 / seconds, bytes as f64 / seconds)
}

fn sources(poll: &Poll, before: Option<&Poll>) -> Vec<String> {
    if poll.status.sources.is_empty() {
        return Vec::new();
    }
    let heads = ["source", "kind", "state", "messages", "msg/s", "lost", "refused", "last", ""];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    for source in &poll.status.sources {
        let known = before.and_then(|before| before.status.sources.iter().find(|known| known.name == source.name));
        let rate = match (before, known) {
            (Some(before), Some(known)) => {
                let seconds = (poll.taken_ns - before.taken_ns).max(1) as f64 / time::SECOND_NS as f64;
                text::rate(source.messages.saturating_sub(known.messages) as f64 / seconds)
            }
            // How long it runs is not known.
            _ => "-".to_owned(),
        };
        let last = source.last_ns.map_or("never".to_owned(), |last_ns| {
            format!("{} ago", time::format_duration(poll.status.clock.utc_ns.saturating_sub(last_ns).max(0)))
        });
        let error = source.last_error.as_ref().map(|error| format!("failed {}: {error}", text::counted(source.failures, "time")));
        rows.push(vec![
            source.name.clone(),
            source.kind.clone(),
            state_of(source.state).to_owned(),
            text::count(source.messages),
            rate,
            text::count(source.lost),
            text::count(source.refused),
            last,
            [source.note.clone(), error].into_iter().flatten().collect::<Vec<_>>().join("; "),
        ]);
    }
    let mut lines = vec![String::new()];
    lines.extend(text::table(&rows, &[3, 4, 5, 6, 7]));
    lines
}

fn state_of(state: SourceState) -> &'static str {
    match state {
        SourceState::Running => "running",
        SourceState::Waiting => "WAITING",
        SourceState::Ended => "ended",
    }
}

fn expectations(status: &Status) -> Vec<String> {
    if status.expectations.is_empty() {
        return Vec::new();
    }
    let mut rows = vec![["expectation", "expected", "state", "violations"].map(str::to_owned).to_vec()];
    for expectation in &status.expectations {
        let state = match (expectation.state, expectation.violated.first()) {
            (ExpectationState::Ok, _) => "ok".to_owned(),
            (ExpectationState::NeverSeen, _) => "never seen".to_owned(),
            (ExpectationState::Violated, violated) => {
                let since = expectation.since_ns.map_or(String::new(), |since_ns| format!(" since {}", text::moment(since_ns)));
                let what = violated.map_or(String::new(), |violated| format!(": {} {}", violated.topic, violated.seen));
                format!("VIOLATED{since}{what}")
            }
        };
        rows.push(vec![expectation.name.clone(), expectation.expected.clone(), state, text::count(expectation.violations)]);
    }
    let mut lines = vec![String::new()];
    lines.extend(text::table(&rows, &[3]));
    lines
}

fn clients(status: &Status) -> Vec<String> {
    if status.clients.is_empty() {
        return Vec::new();
    }
    let mut rows = vec![["client", "process", "messages", "bytes", "refused"].map(str::to_owned).to_vec()];
    rows.extend(status.clients.iter().take(CLIENTS_SHOWN).map(|client| {
        let amounts = [text::count(client.messages), size::format(client.bytes), text::count(client.refused)];
        [client.name.clone(), client.pid.to_string()].into_iter().chain(amounts).collect()
    }));
    let mut lines = vec![String::new()];
    lines.extend(text::table(&rows, &[1, 2, 3, 4]));
    let more = status.clients.len().saturating_sub(CLIENTS_SHOWN);
    lines.extend((more > 0).then(|| format!("and {more} more")));
    lines
}
