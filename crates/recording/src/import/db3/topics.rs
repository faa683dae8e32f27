//! Topics, definitions and what else a db3 file says, from its small tables.
//!
//! **Invariant:** a topic exists for every channel, with a made-up name where nothing names it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use super::blocks::Channels;
use crate::import::sqlite::row::{Row, Value};
use crate::import::sqlite::schema::Columns;
use crate::message::{Schema, Topic};

/// The rows of the small tables, each with its columns.
#[derive(Debug, Default)]
pub(super) struct Small {
    pub(super) topics: Table,
    pub(super) definitions: Table,
    pub(super) schema: Table,
    pub(super) metadata: Table,
}

/// A small table.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) columns: Columns,
    pub(super) rows: Vec<Row>,
}

/// The columns that the tables have had since rosbag2's first version, for tables whose own words are lost.
const TOPIC_COLUMNS: &str = "(id INTEGER PRIMARY KEY, name, type, serialization_format, offered_qos_profiles, type_description_hash)";
const DEFINITION_COLUMNS: &str = "(id INTEGER PRIMARY KEY, topic_type, encoding, encoded_message_definition, type_description_hash)";

impl Small {
    /// Returns the table of a name.
    pub(super) fn table(&mut self, name: &str) -> Option<&mut Table> {
        match name {
            "topics" => Some(&mut self.topics),
            "message_definitions" => Some(&mut self.definitions),
            "schema" => Some(&mut self.schema),
            "metadata" => Some(&mut self.metadata),
            _ => None,
        }
    }

    /// Takes a row of a damaged table, if its values look like those of a topic or of a definition; returns whether they do.
    pub(super) fn adopt(&mut self, row: Row) -> bool {
        let texts: Vec<&str> =
            row.values.iter().skip(1).map(|value| if let Value::Text(text) = value { text.as_str() } else { "" }).collect();
        let has_key = matches!(row.values.first(), Some(Value::Null | Value::Int(_)));
        let (table, columns) = match texts[..] {
            [_, "ros2msg" | "ros2idl" | "unknown", _, _] if has_key => (&mut self.definitions, DEFINITION_COLUMNS),
            [name, kind, encoding, ..] if has_key && !name.is_empty() && kind.contains('/') && !encoding.is_empty() && texts.len() <= 5 => {
                (&mut self.topics, TOPIC_COLUMNS)
            }
            _ => return false,
        };
        if table.columns.is_empty() {
            table.columns = Columns::parse(columns);
        }
        if table.rows.iter().all(|known| known.rowid != row.rowid) {
            table.rows.push(row);
        }
        true
    }

    /// Returns the numbers of the channels, by topic id in the order of the table.
    pub(super) fn channels(&self) -> Channels {
        let ids = self.topics.rows.iter().filter_map(|row| row.int(&self.topics.columns, "id"));
        let mut channels = Channels::default();
        for id in ids {
            channels.of(id);
        }
        channels.undefined.clear();
        channels
    }

    /// Returns the topics by channel.
    pub(super) fn topics(&self, channels: &Channels) -> BTreeMap<u16, Arc<Topic>> {
        let definitions = self.definitions();
        let columns = &self.topics.columns;
        let mut topics = BTreeMap::new();
        for row in &self.topics.rows {
            let Some(channel) = row.int(columns, "id").and_then(|id| channels.by_topic_id.get(&id)) else { continue };
            let type_name = row.text(columns, "type");
            let hash = row.text(columns, "type_description_hash");
            let known = definitions.get(&(type_name, hash)).or_else(|| definitions.get(&(type_name, "")));
            let unknown = || Arc::new(Schema { name: type_name.to_owned(), encoding: "ros2msg".to_owned(), data: Bytes::new() });
            let metadata = ["offered_qos_profiles", "type_description_hash"].into_iter().map(|name| (name, row.text(columns, name)));
            let metadata = metadata.filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name.to_owned(), value.to_owned()));
            let topic = Topic {
                name: row.text(columns, "name").to_owned(),
                encoding: row.text(columns, "serialization_format").to_owned(),
                schema: (!type_name.is_empty()).then(|| known.cloned().unwrap_or_else(unknown)),
                metadata: metadata.collect(),
            };
            topics.insert(*channel, Arc::new(topic));
        }
        for (channel, id) in &channels.undefined {
            let topic = Topic { name: format!("/topic_{id}"), encoding: String::new(), schema: None, metadata: BTreeMap::new() };
            topics.insert(*channel, Arc::new(topic));
        }
        topics
    }

    /// Returns the definitions by type name and hash, and by type name alone.
    fn definitions(&self) -> HashMap<(&str, &str), Arc<Schema>> {
        let columns = &self.definitions.columns;
        let mut definitions = HashMap::new();
        for row in &self.definitions.rows {
            let text = row.text(columns, "encoded_message_definition");
            let (name, encoding) = (row.text(columns, "topic_type"), row.text(columns, "encoding"));
            if text.is_empty() || !matches!(encoding, "ros2msg" | "ros2idl") {
                continue;
            }
            let data = Bytes::copy_from_slice(text.as_bytes());
            let schema = Arc::new(Schema { name: name.to_owned(), encoding: encoding.to_owned(), data });
            definitions.entry((name, "")).or_insert_with(|| schema.clone());
            definitions.insert((name, row.text(columns, "type_description_hash")), schema);
        }
        definitions
    }

    /// Returns what the file says of itself.
    pub(super) fn metadata(&self) -> Vec<(String, BTreeMap<String, String>)> {
        let mut map = BTreeMap::new();
        if let Some(row) = self.schema.rows.last() {
            let version = row.int(&self.schema.columns, "schema_version").map(|version| version.to_string());
            map.extend(version.map(|version| ("schema_version".to_owned(), version)));
            map.insert("ros_distro".to_owned(), row.text(&self.schema.columns, "ros_distro").to_owned());
        }
        if let Some(row) = self.metadata.rows.last() {
            map.insert("serialized_metadata".to_owned(), row.text(&self.metadata.columns, "metadata").to_owned());
        }
        map.retain(|_, value| !value.is_empty());
        if map.is_empty() { Vec::new() } else { vec![("rosbag2".to_owned(), map)] }
    }
}
