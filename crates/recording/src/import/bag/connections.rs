//! Connections of a bag and the channels they become.
//!
//! **Invariant:** equal definitions are one channel whatever their ids are; an id that is defined again, differently, changes nothing
//! for the messages in front of it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use super::record::{Header, next_field, text};
use crate::message::{Schema, Topic};

/// How many channels a file may have.
const CHANNEL_LIMIT: usize = u16::MAX as usize;

/// The quality of service of a latched topic, as ROS 2 writes it.
const LATCHED_QOS: &str = "- history: keep_last\n  depth: 1\n  reliability: reliable\n  durability: transient_local\n  \
    deadline:\n    sec: 9223372036\n    nsec: 854775807\n  lifespan:\n    sec: 9223372036\n    nsec: 854775807\n  \
    liveliness: automatic\n  liveliness_lease_duration:\n    sec: 9223372036\n    nsec: 854775807\n  \
    avoid_ros_namespace_conventions: false\n";

/// Channels by connection id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Known(Vec<(u32, u16)>);

impl Known {
    #[inline]
    pub(super) fn get(&self, conn: u32) -> Option<u16> {
        // Ids are counted from 0, so that nearly always an id is its own place.
        match self.0.get(conn as usize) {
            Some((id, channel)) if *id == conn => Some(*channel),
            _ => self.0.binary_search_by_key(&conn, |(id, _)| *id).ok().map(|at| self.0[at].1),
        }
    }

    pub(super) fn set(&mut self, conn: u32, channel: u16) {
        match self.0.binary_search_by_key(&conn, |(id, _)| *id) {
            Ok(at) => self.0[at].1 = channel,
            Err(at) => self.0.insert(at, (conn, channel)),
        }
    }
}

/// All connections of a file.
#[derive(Clone, Debug, Default)]
pub(super) struct Connections {
    pub(super) topics: BTreeMap<u16, Arc<Topic>>,
    /// Channels by the hash of a connection's topic and data.
    channels: HashMap<[u8; 32], u16>,
    /// What an id means first: for messages in front of any definition.
    first: Known,
    /// What an id means now.
    now: Arc<Known>,
    /// How many connections found no place.
    pub(super) too_many: usize,
    /// Whether ids mean what the index says: where a chunk nearly agrees, one of both is damaged.
    pub(super) indexed: bool,
}

impl Connections {
    /// Takes note of a connection record and returns its channel.
    pub(super) fn define(&mut self, header: &Header<'_>, data: &[u8]) -> Option<u16> {
        let conn = header.conn?;
        let hash = hash(header.topic, data);
        let channel = match self.find(header, data) {
            Some(channel) => channel,
            None => {
                let topic = topic(header.topic, data)?;
                if self.topics.len() >= CHANNEL_LIMIT {
                    self.too_many += 1;
                    return None;
                }
                let channel = u16::try_from(self.topics.len()).ok()?;
                self.topics.insert(channel, Arc::new(topic));
                channel
            }
        };
        self.channels.insert(hash, channel);
        if self.first.get(conn).is_none() {
            self.first.set(conn, channel);
        }
        if self.now.get(conn) != Some(channel) {
            Arc::make_mut(&mut self.now).set(conn, channel);
        }
        Some(channel)
    }

    /// Returns a channel for messages whose connection nothing defines: they are bytes that may be understood later.
    pub(super) fn adopt(&mut self, conn: u32) -> Option<(u16, String)> {
        let channel = u16::try_from(self.topics.len()).ok().filter(|channel| usize::from(*channel) < CHANNEL_LIMIT)?;
        let name = format!("/connection/{conn}");
        let topic = Topic { name: name.clone(), encoding: "ros1".to_owned(), schema: None, metadata: BTreeMap::new() };
        self.topics.insert(channel, Arc::new(topic));
        self.first.set(conn, channel);
        Some((channel, name))
    }

    /// Returns the channel of a connection record that was defined before.
    pub(super) fn find(&self, header: &Header<'_>, data: &[u8]) -> Option<u16> {
        if let Some(channel) = self.channels.get(&hash(header.topic, data)) {
            return Some(*channel);
        }
        let topic = topic(header.topic, data)?;
        let same = self.topics.iter().find(|(_, old)| ***old == topic).map(|(channel, _)| *channel);
        let similar =
            |channel: &u16| self.topics.get(channel).is_some_and(|old| old.name == topic.name || old.type_name() == topic.type_name());
        same.or_else(|| header.conn.filter(|_| self.indexed).and_then(|conn| self.first.get(conn)).filter(similar))
    }

    /// Returns what ids mean now.
    pub(super) fn now(&self) -> Arc<Known> {
        self.now.clone()
    }

    /// Returns what an id means first.
    pub(super) fn first(&self, conn: u32) -> Option<u16> {
        self.first.get(conn)
    }

    /// Returns the topic of a connection, as far as anything tells.
    pub(super) fn name(&self, conn: u32) -> Option<String> {
        let channel = self.now.get(conn).or_else(|| self.first.get(conn))?;
        self.topics.get(&channel).map(|topic| topic.name.clone())
    }
}

fn hash(topic: Option<&[u8]>, data: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    let topic = topic.unwrap_or_default();
    hasher.update(&(topic.len() as u64).to_le_bytes()).update(topic).update(data);
    hasher.finalize().into()
}

/// Returns the topic that a connection record describes; `None` where it does not even have a name.
fn topic(name: Option<&[u8]>, data: &[u8]) -> Option<Topic> {
    let mut fields: BTreeMap<&[u8], &[u8]> = BTreeMap::new();
    let mut rest = data;
    while let Some((field, value, behind)) = next_field(rest) {
        fields.insert(field, value);
        rest = behind;
    }
    let field = |name: &str| fields.get(name.as_bytes()).map(|value| text(value));
    // Where topics were renamed while recording, the data has the name that the publisher used.
    let name = name.map(text).filter(|name| !name.is_empty()).or_else(|| field("topic").filter(|name| !name.is_empty()))?;
    let mut metadata: BTreeMap<String, String> =
        ["md5sum", "callerid", "latching"].into_iter().filter_map(|name| Some((name.to_owned(), field(name)?))).collect();
    if metadata.get("latching").is_some_and(|value| value == "1") {
        metadata.insert("tapeloop.latched".to_owned(), "true".to_owned());
        metadata.insert("offered_qos_profiles".to_owned(), LATCHED_QOS.to_owned());
        if let Some(caller) = metadata.get("callerid").cloned() {
            metadata.insert("tapeloop.publisher".to_owned(), caller);
        }
    }
    let definition = fields.get(&b"message_definition"[..]).map(|value| Bytes::copy_from_slice(value)).unwrap_or_default();
    let schema = field("type").map(|name| Arc::new(Schema { name, encoding: "ros1msg".to_owned(), data: definition }));
    Some(Topic { name, encoding: "ros1".to_owned(), schema, metadata })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;

    fn data(fields: &[(&str, &str)]) -> Vec<u8> {
        let field = |(name, value): &(&str, &str)| {
            let field = format!("{name}={value}");
            [&(field.len() as u32).to_le_bytes()[..], field.as_bytes()].concat()
        };
        fields.iter().flat_map(field).collect()
    }

    fn header(conn: u32, topic: &[u8]) -> Header<'_> {
        Header { op: 7, conn: Some(conn), topic: Some(topic), ..Header::default() }
    }

    #[test]
    fn equal_connections_are_one_channel_and_other_callers_are_another() {
        let mut connections = Connections::default();
        let by = |caller| data(&[("type", "std_msgs/String"), ("md5sum", "x"), ("callerid", caller)]);
        assert_eq!(connections.define(&header(0, b"/a"), &by("/one")), Some(0));
        assert_eq!(connections.define(&header(1, b"/a"), &by("/one")), Some(0));
        assert_eq!(connections.define(&header(2, b"/a"), &by("/two")), Some(1));
        let turned = data(&[("md5sum", "x"), ("callerid", "/two"), ("type", "std_msgs/String")]);
        assert_eq!(connections.find(&header(9, b"/a"), &turned), Some(1));
        assert_eq!(connections.define(&header(0, b"/b"), &by("/one")), Some(2));
        assert_eq!((connections.first(0), connections.now().get(0)), (Some(0), Some(2)));
    }

    #[test]
    fn a_latched_topic_says_so_in_the_words_of_ros_2() {
        let topic = topic(Some(b"/map"), &data(&[("type", "nav_msgs/OccupancyGrid"), ("latching", "1"), ("callerid", "/server")])).unwrap();
        assert_eq!(topic.metadata["tapeloop.latched"], "true");
        assert_eq!(topic.metadata["tapeloop.publisher"], "/server");
        assert!(topic.metadata["offered_qos_profiles"].lines().any(|line| line.trim() == "durability: transient_local"));
    }

    #[test]
    fn a_connection_without_data_still_has_its_topic() {
        let topic = topic(Some(b"/a"), b"garbage").unwrap();
        assert_eq!((topic.name.as_str(), topic.schema), ("/a", None));
        assert_eq!(super::topic(None, b""), None);
    }
}
