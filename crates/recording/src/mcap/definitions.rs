//! The schemas and channels of a file, and the topics they make.
//!
//! **Invariant:** a definition holds for what stands behind it in the file; an id that is defined again, differently, starts a
//! new topic and leaves the messages in front of it as they were.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::record::Record;
use super::segment::Definition;
use crate::message::{Schema, Topic};

/// Schemas and channels by their ids in one file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Definitions {
    schemas: BTreeMap<u16, Arc<Schema>>,
    channels: BTreeMap<u16, Channel>,
    /// Topics that held until a byte of the file: (that byte, channel, topic), in order.
    earlier: Vec<(u64, u16, Arc<Topic>)>,
}

#[derive(Clone, Debug, PartialEq)]
struct Channel {
    schema_id: u16,
    name: String,
    encoding: String,
    metadata: BTreeMap<String, String>,
}

impl Definitions {
    /// Takes note of a Schema or Channel record that stands at `offset`; other records are ignored.
    pub fn add(&mut self, record: &Record<'_>, offset: u64) {
        match record {
            Record::Schema { id, name, encoding, data } if *id != 0 => {
                if self.schemas.get(id).is_some_and(|old| old.name == **name && old.encoding == **encoding && old.data == **data) {
                    return;
                }
                if self.schemas.contains_key(id) {
                    let users: Vec<u16> = self.channels.iter().filter(|(_, channel)| channel.schema_id == *id).map(|(id, _)| *id).collect();
                    users.into_iter().for_each(|channel_id| self.retire(channel_id, offset));
                }
                let schema = Schema { name: name.to_string(), encoding: encoding.to_string(), data: Bytes::copy_from_slice(data) };
                self.schemas.insert(*id, Arc::new(schema));
            }
            Record::Channel { id, schema_id, topic, message_encoding, metadata } => {
                let channel = Channel {
                    schema_id: *schema_id,
                    name: topic.to_string(),
                    encoding: message_encoding.to_string(),
                    metadata: metadata.clone(),
                };
                match self.channels.get(id) {
                    Some(old) if *old == channel => return,
                    Some(_) => self.retire(*id, offset),
                    None => {}
                }
                self.channels.insert(*id, channel);
            }
            _ => {}
        }
    }

    fn retire(&mut self, channel_id: u16, offset: u64) {
        if let Some(topic) = self.topic(channel_id) {
            self.earlier.push((offset, channel_id, Arc::new(topic)));
        }
    }

    /// Takes what `other` defines: it wins over what is here if `wins`, else it only fills gaps.
    pub fn merge(&mut self, other: &Definitions, wins: bool) {
        for (id, schema) in &other.schemas {
            if wins || !self.schemas.contains_key(id) {
                self.schemas.insert(*id, schema.clone());
            }
        }
        for (id, channel) in &other.channels {
            if wins || !self.channels.contains_key(id) {
                self.channels.insert(*id, channel.clone());
            }
        }
    }

    /// Returns whether an id means something else here than in `other`.
    pub fn contradicts(&self, other: &Definitions) -> bool {
        self.schemas.iter().any(|(id, schema)| other.schemas.get(id).is_some_and(|theirs| theirs != schema))
            || self.channels.iter().any(|(id, channel)| other.channels.get(id).is_some_and(|theirs| theirs != channel))
    }

    /// Returns the channels that would mean something else behind `record`.
    pub fn channels_changed_by(&self, record: &Record<'_>) -> Vec<u16> {
        match record {
            Record::Schema { id, name, encoding, data } => match self.schemas.get(id) {
                Some(old) if old.name != **name || old.encoding != **encoding || old.data != **data => {
                    self.channels.iter().filter(|(_, channel)| channel.schema_id == *id).map(|(id, _)| *id).collect()
                }
                _ => Vec::new(),
            },
            Record::Channel { id, schema_id, topic, message_encoding, metadata } => {
                let same = |old: &Channel| {
                    (old.schema_id, &*old.name, &*old.encoding, &old.metadata) == (*schema_id, &**topic, &**message_encoding, metadata)
                };
                if self.channels.get(id).is_none_or(same) { Vec::new() } else { vec![*id] }
            }
            _ => Vec::new(),
        }
    }

    /// Returns whether nothing is defined.
    pub fn is_empty(&self) -> bool {
        self.channels.is_empty() && self.schemas.is_empty()
    }

    /// Returns whether a channel is defined.
    pub fn defines(&self, channel_id: u16) -> bool {
        self.channels.contains_key(&channel_id)
    }

    /// Returns the schemas by id.
    pub fn schemas(&self) -> &BTreeMap<u16, Arc<Schema>> {
        &self.schemas
    }

    /// Returns the ids of schemas that a channel names and nobody defines.
    pub fn missing_schemas(&self) -> BTreeSet<u16> {
        self.channels.values().map(|channel| channel.schema_id).filter(|id| *id != 0 && !self.schemas.contains_key(id)).collect()
    }

    /// Returns the names of the topics whose channel names a schema that nobody defines.
    pub fn without_schema(&self, schema_id: u16) -> Vec<&str> {
        self.channels.values().filter(|channel| channel.schema_id == schema_id).map(|channel| channel.name.as_str()).collect()
    }

    fn topic(&self, channel_id: u16) -> Option<Topic> {
        let channel = self.channels.get(&channel_id)?;
        Some(Topic {
            name: channel.name.clone(),
            encoding: channel.encoding.clone(),
            schema: self.schemas.get(&channel.schema_id).cloned(),
            metadata: channel.metadata.clone(),
        })
    }

    /// Returns the topics by channel id, as they are at the end of the file.
    pub fn topics(&self) -> BTreeMap<u16, Arc<Topic>> {
        self.channels.keys().filter_map(|id| Some((*id, Arc::new(self.topic(*id)?)))).collect()
    }

    /// Returns the topics that an id had before it was defined again: (until which byte of the file, channel id, topic), in order.
    pub fn earlier(&self) -> &[(u64, u16, Arc<Topic>)] {
        &self.earlier
    }

    /// Returns the definitions as a [`super::segment::SegmentWriter`] takes them to go on with a file.
    pub fn to_list(&self) -> Vec<Definition> {
        let definition = |(id, channel): (&u16, &Channel)| {
            Some(Definition { channel_id: *id, schema_id: channel.schema_id, topic: Arc::new(self.topic(*id)?) })
        };
        self.channels.iter().filter_map(definition).collect()
    }
}
