//! Tells a client over the socket what is logged, while it happens.
//!
//! In comes what it wants to hear, out go the latched values as they are, then messages in the order of appending.
//!
//! **Invariant:** a client that reads slowly, or not at all, loses the oldest messages and hears how many; nobody who logs waits.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use recording::{Result, TopicFilter};

use super::Shared;
use super::clients::ClientEntry;
use super::protocol::{ENTRY_BYTES, EntryHead, FrameKind, Header, Listen, OpenChannel, PAYLOAD_LIMIT, frame};
use crate::tape::Heard;

/// How many bytes wait for a client that is slow.
pub(crate) const HELD_LIMIT: usize = 32 << 20;
/// How long to wait for a message before the client is looked after.
const STEP: Duration = Duration::from_millis(50);

/// Tells a client what is logged, until it leaves or the agent ends.
///
/// # Errors
/// `Invalid` for a pattern that is none; `Unavailable` where too many listen already.
pub(crate) fn tell(agent: &Shared, client: &ClientEntry, wanted: &Listen) -> Result<()> {
    let filter = TopicFilter::parse(&wanted.topics)?;
    let tap = agent.tape.tap(filter.clone(), HELD_LIMIT)?;
    let mut teller = Teller { agent, client, channels: HashSet::new(), too_large: 0, told_dropped: 0 };
    let mut latched_until: HashMap<u16, u64> = HashMap::new();
    for value in agent.tape.latched_values(&filter) {
        latched_until.insert(value.channel.id(), value.sequence);
        if !teller.tell(&value)? {
            return Ok(());
        }
    }
    loop {
        let heard = tap.next(STEP);
        // What came between the tap and the look at latched values was told as one of those.
        let told = |heard: &Heard| latched_until.get(&heard.channel.id()).is_some_and(|until| heard.sequence <= *until);
        let goes_on = match heard.filter(|heard| !told(heard)) {
            Some(heard) => teller.tell(&heard)?,
            None => !client.has_left(),
        };
        if !goes_on || !teller.tell_dropped(tap.dropped()) || agent.stop.is_set() {
            return Ok(());
        }
    }
}

struct Teller<'a> {
    agent: &'a Shared,
    client: &'a ClientEntry,
    channels: HashSet<u16>,
    /// Messages that the protocol does not carry.
    too_large: u64,
    told_dropped: u64,
}

impl Teller<'_> {
    /// Sends a message, and before the first of its channel what that is; returns whether the client is still there.
    fn tell(&mut self, heard: &Heard) -> Result<bool> {
        let id = heard.channel.id();
        if !self.channels.contains(&id) {
            let Ok(body) = (OpenChannel { id: u32::from(id), spec: heard.channel.spec().clone() }).encode() else {
                self.too_large += 1;
                return Ok(true);
            };
            self.channels.insert(id);
            if !self.send(&[&frame(FrameKind::HeardChannel, &body)]) {
                return Ok(false);
            }
        }
        if heard.data.len() > PAYLOAD_LIMIT {
            self.too_large += 1;
            return Ok(true);
        }
        let (log_time_ns, publish_time_ns) = (heard.log_time_ns, heard.publish_time_ns);
        let head = EntryHead { channel: u32::from(id), payload_bytes: heard.data.len(), log_time_ns, publish_time_ns };
        let header = Header { kind: FrameKind::Heard, body_bytes: ENTRY_BYTES + heard.data.len() };
        Ok(self.send(&[&header.encode(), &head.encode(), &heard.data]))
    }

    /// Says how many messages were not told, if there are more than before.
    fn tell_dropped(&mut self, dropped: u64) -> bool {
        let dropped = dropped + self.too_large;
        if dropped == self.told_dropped {
            return true;
        }
        self.told_dropped = dropped;
        self.send(&[&frame(FrameKind::Dropped, &dropped.to_le_bytes())])
    }

    fn send(&self, parts: &[&[u8]]) -> bool {
        self.client.send_patiently(&*self.agent.clock, parts, || !self.agent.stop.is_set())
    }
}
