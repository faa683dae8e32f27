//! Which channel goes into which buffers, and what it shares there with others.
//!
//! **Invariant:** a channel has at most one route into a buffer, and routes follow the order of the buffers.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use recording::mcap::segment::Definition;
use recording::{Error, Result, qos};

use super::buffer::{Buffer, Job};
use super::channel::{Channel, ChannelSpec, RateLimit, Route, Traffic};
use super::lane::{Class, ClassCell};
use super::{CHANNEL_LIMIT, Channels, Inner};
use crate::config::{Config, RECORDER_BUFFER};

impl Inner {
    /// Adds a channel and its routes.
    pub(super) fn add_channel(&self, channels: &mut Channels, spec: ChannelSpec) -> Result<Arc<Channel>> {
        let definition = self.define(channels, &spec)?;
        let latched = spec.latched || qos::is_latched(&definition.topic) || self.config.load().is_latched(&spec.topic);
        let (routes, traffic) = (ArcSwap::default(), Traffic::default());
        let channel = Arc::new(Channel { definition, latched, latched_parts: OnceLock::new(), spec, routes, traffic });
        self.route(channels, &channel)?;
        channels.by_topic.entry(channel.spec.topic.clone()).or_default().push(channel.clone());
        Ok(channel)
    }

    /// Gives a topic a channel id and its schema a schema id, and writes both to the boot file.
    fn define(&self, channels: &mut Channels, spec: &ChannelSpec) -> Result<Definition> {
        let channel_id = channels.definitions.len() + 1;
        let next_schema = channels.schemas.len() + 1;
        if channel_id > CHANNEL_LIMIT || next_schema > CHANNEL_LIMIT {
            return Err(Error::unavailable(format!(
                "'{}' would be channel {channel_id}; a tape has {CHANNEL_LIMIT} until it is opened anew",
                spec.topic
            )));
        }
        let mut topic = spec.to_topic();
        let mut schema_id = 0;
        if let Some(schema) = &spec.schema {
            schema_id = *channels.schemas.entry(schema.clone()).or_insert(next_schema as u16);
            // One copy of an equal schema, however many channels have it.
            topic.schema = channels.schemas.get_key_value(schema).map(|(known, _)| known.clone());
        }
        let definition = Definition { channel_id: channel_id as u16, schema_id, topic: Arc::new(topic) };
        channels.definitions.push(definition.clone());
        self.boot_file.lock().add(definition.clone());
        Ok(definition)
    }

    /// Returns the definitions of channel ids.
    pub(super) fn definitions(&self, channel_ids: impl Iterator<Item = u16>) -> Vec<Definition> {
        let channels = self.channels.read();
        channel_ids.filter_map(|id| channels.definitions.get(usize::from(id) - 1).cloned()).collect()
    }

    /// Chooses the buffers of a channel.
    fn route(&self, channels: &mut Channels, channel: &Arc<Channel>) -> Result<()> {
        let before = channel.routes.load_full();
        let own = channel.spec.topic.starts_with("/tapeloop/");
        let mut routes = Vec::new();
        for buffer in self.buffers.load().iter() {
            let config = buffer.config.load();
            // What the recorder says of itself has a buffer of its own, and only that.
            if (&*buffer.name == RECORDER_BUFFER) != own || !config.topics.matches(&channel.spec.topic) {
                continue;
            }
            if let Some(route) = before.iter().find(|route| Arc::ptr_eq(&route.buffer, buffer)) {
                routes.push(route.clone());
                continue;
            }
            let transform = config.encode.as_ref().and_then(|encode| (self.transform_for)(encode, &channel.spec));
            let mut channel_id = channel.definition.channel_id;
            if let Some(transform) = &transform {
                let (encoding, schema) = transform.output();
                channel_id = self.define(channels, &ChannelSpec { encoding, schema, ..channel.spec.clone() })?.channel_id;
            }
            routes.push(Arc::new(Route {
                channel_id,
                buffer: buffer.clone(),
                slot: ArcSwap::new(buffer.shared.clone()),
                rate_limit: config.min_interval_ns.map(RateLimit::new),
                transform,
                raw_channel_id: channel.definition.channel_id,
                told: AtomicBool::new(false),
                class: ClassCell::default(),
            }));
        }
        channel.routes.store(Arc::new(routes));
        Ok(())
    }

    /// Moves topics that have become busy or quiet into slots that fit them.
    pub(super) fn reclassify(&self, seconds: f64, last: &mut Vec<(u64, f64)>) {
        let all: Vec<Arc<Channel>> = self.channels.read().by_topic.values().flatten().cloned().collect();
        if last.len() < self.channels.read().definitions.len() + 1 {
            last.resize(self.channels.read().definitions.len() + 1, (0, 0.0));
        }
        for channel in all {
            let bytes = channel.traffic.bytes.load(std::sync::atomic::Ordering::Relaxed);
            let (before, average) = &mut last[usize::from(channel.id())];
            let rate = (bytes - *before) as f64 / seconds;
            *before = bytes;
            // A topic that turns busy is moved at once, one that falls quiet only after some seconds.
            *average = if rate > *average { rate } else { *average * 0.9 + rate * 0.1 };
            for route in channel.routes.load().iter() {
                let class = Class::of(*average, route.class.get());
                if class != route.class.get() {
                    self.move_to_class(route, class);
                }
            }
        }
    }

    fn move_to_class(&self, route: &Arc<Route>, class: Class) {
        let buffer = &route.buffer;
        let slot = if class == Class::Light { buffer.shared.clone() } else { buffer.add_slot(class == Class::OwnSegments) };
        let old = route.slot.swap(slot);
        route.class.set(class);
        if Arc::ptr_eq(&old, &buffer.shared) {
            return;
        }
        // Whoever still holds the old slot may push into it once more; the next pass seals it through the lane.
        buffer.retire_slot(old);
    }

    /// Seals slots that were replaced, and forgets those that nobody can push into any more.
    pub(super) fn drop_retired_slots(&self, buffer: &Arc<Buffer>) {
        for slot in buffer.take_idle_retired() {
            slot.seal(|full| {
                let bytes = full.chunk.size() as u64;
                self.submit(buffer, Job::Chunk(full), bytes);
            });
            if let Some(lane) = buffer.drop_slot(&slot) {
                self.submit(buffer, Job::Close(lane), 0);
            }
        }
    }

    /// Puts a new configuration into force.
    pub(super) fn reconfigure(&self, tape: &super::Tape, config: Config) -> Result<()> {
        let before = self.buffers.load_full();
        let same_kind = |old: &Buffer, new: &crate::config::BufferConfig| {
            let old = old.config.load();
            old.name == new.name && old.place == new.place && old.encode == new.encode && old.min_interval_ns == new.min_interval_ns
        };
        let mut buffers = Vec::new();
        for new in &config.buffers {
            match before.iter().find(|old| same_kind(old, new)) {
                Some(old) => {
                    old.config.store(Arc::new(new.clone()));
                    buffers.push(old.clone());
                }
                None => {
                    let next = self.next_number(&new.name, &before);
                    let buffer = Buffer::new(new.clone(), next);
                    self.start_writer(tape, &buffer)?;
                    buffers.push(buffer);
                }
            }
        }
        let gone: Vec<Arc<Buffer>> = before.iter().filter(|old| !buffers.iter().any(|new| Arc::ptr_eq(old, new))).cloned().collect();
        self.config.store(Arc::new(config));
        self.buffers.store(Arc::new(buffers));
        let mut channels = self.channels.write();
        let all: Vec<Arc<Channel>> = channels.by_topic.values().flatten().cloned().collect();
        for channel in &all {
            self.route(&mut channels, channel)?;
        }
        drop(channels);
        self.upkeep.retire(gone);
        Ok(())
    }

    /// Returns the first number that a new buffer may use.
    pub(super) fn next_number(&self, name: &str, running: &[Arc<Buffer>]) -> u64 {
        let known = self.index.lock().of(name).next_back().map_or(0, |meta| meta.name.number + 1);
        // A buffer of that name that is being retired may still open a few segments.
        running.iter().filter(|buffer| &*buffer.name == name).map(|buffer| buffer.take_number() + 1_000).fold(known, u64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tape::channel::Stamp;
    use crate::{Leave, OpenOptions, Tape};

    #[test]
    fn what_says_so_of_itself_is_latched() {
        let folder = tempfile::tempdir().unwrap();
        let options = OpenOptions { device: Some("rover".into()), threads: false, ..OpenOptions::default() };
        let tape = Tape::open(folder.path(), Config::empty(), options).unwrap();
        let is_latched = |topic: &str, qos: &str| {
            let metadata = [(qos::KEY.to_owned(), qos.to_owned())].into();
            tape.channel(ChannelSpec { topic: topic.into(), metadata, ..ChannelSpec::default() }).unwrap().is_latched()
        };
        assert!(is_latched("/a", "- history: keep_last\n  durability: transient_local\n"));
        assert!(is_latched("/a", "- history: 1\n  durability: 1\n"));
        assert!(is_latched("/left/tf_static", ""));
        assert!(!is_latched("/a", "- durability: volatile\n") && !is_latched("/a", "- durability: 2\n") && !is_latched("/a", ""));
        tape.close(Leave::CutShort).unwrap();
    }

    #[test]
    fn a_buffer_that_is_configured_no_more_ends_when_nobody_can_reach_it() {
        let folder = tempfile::tempdir().unwrap();
        let config = |text: &str| Config::parse(text, "test").unwrap();
        let options = OpenOptions { device: Some("rover".into()), threads: false, ..OpenOptions::default() };
        let (one, two) = ("[[buffer]]\nname = 'a'\ndisk = '1 h'\n", "[[buffer]]\nname = 'b'\ndisk = '1 h'\n");
        let tape = Tape::open(folder.path(), config(&format!("{one}{two}")), options).unwrap();
        let imu = tape.channel(ChannelSpec { topic: "/imu".into(), encoding: "text".into(), ..ChannelSpec::default() }).unwrap();
        // Somebody is about to log, and has looked up where to.
        let routes = imu.routes.load_full();
        tape.reconfigure(config(one)).unwrap();
        tape.turn();
        let stamp = Stamp { sequence: 9, log_time_ns: 5, publish_time_ns: 5 };
        routes[1].slot.load().push(routes[1].channel_id, stamp, &b"late".as_slice().into(), Vec::with_capacity, |_| {});
        drop(routes);
        tape.turn();
        let view = tape.view();
        let ended = view.buffers.iter().find(|buffer| &*buffer.name == "b").unwrap();
        assert!(ended.config.is_none() && ended.segments.iter().any(|segment| segment.meta.closed && segment.meta.holds("/imu")));
        tape.close(Leave::CutShort).unwrap();
    }
}
