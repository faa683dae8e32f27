//! How the messages of a topic become columns: a decoder for each of its schemas, and one schema for all of them.
//!
//! In come a topic's channels and the columns that are wanted, out comes a plan that readers share.
//!
//! **Invariant:** a column has one type: where a field's type changed, each type has a column of its own.

use std::sync::{Arc, OnceLock};

use arrow_array::{ArrayRef, RecordBatch, new_null_array};
use arrow_schema::{DataType, Field, FieldRef};
use recording::decode::{Columns, Decoder, StampReader, reads_both};
use recording::schema::library::Library;
use recording::{Error, Kind, Topic, read};
use robot::places;

use crate::error::Result;
use crate::table::kind_name;

/// Where a message of `rosgraph_msgs/Clock` says what time it is.
const CLOCK: &str = "clock";

/// How a topic's messages become columns.
pub(crate) struct Plan {
    variants: Vec<Variant>,
    fields: Vec<FieldRef>,
}

/// One schema of a topic.
pub(crate) struct Variant {
    topic: Arc<Topic>,
    decoder: Decoder,
    stamp: Option<StampReader>,
    /// Those of the wanted columns that it has.
    paths: Vec<String>,
    /// For each column of the plan, which of its own that is.
    places: Vec<Option<usize>>,
}

/// Returns a decoder of a topic's payloads. What the topic does not define is taken from the user's definitions
/// (`tapeloop schema add`) and the standard ones.
pub(crate) fn decoder(topic: &Topic) -> Result<Decoder> {
    Ok(Decoder::new(topic, library())?)
}

fn library() -> &'static Library {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    let read = || places::schemas_dir().and_then(|folder| Library::user(&folder)).unwrap_or_else(|_| Library::standard());
    LIBRARY.get_or_init(read)
}

impl Plan {
    /// Returns the plan for columns of topics that have one name; no columns means all fields. Those of JSON that nothing describes are
    /// learned from its first messages.
    pub(crate) fn new(recording: &read::Recording, topics: &[Arc<Topic>], columns: &[String]) -> Result<Self> {
        let mut variants: Vec<Variant> = Vec::new();
        let mut unknown: Option<Error> = None;
        let mut known = vec![false; columns.len()];
        for topic in topics {
            if variants.iter().any(|variant| reads_both(&variant.topic, topic)) {
                continue;
            }
            let decoder = recording.decoder(topic, library())?;
            let mut paths = Vec::new();
            for (column, known) in columns.iter().zip(&mut known) {
                match decoder.field(column) {
                    Ok(_) => {
                        *known = true;
                        paths.push(column.clone());
                    }
                    Err(error) if error.kind() == Kind::NotFound => unknown = unknown.or(Some(error)),
                    Err(error) => return Err(error.into()),
                }
            }
            variants.push(Variant { topic: topic.clone(), stamp: decoder.stamp(), decoder, paths, places: Vec::new() });
        }
        if let Some(error) = unknown.filter(|_| known.contains(&false)) {
            return Err(error.into());
        }
        let mut plan = Self { variants, fields: Vec::new() };
        plan.unite(columns.is_empty())?;
        Ok(plan)
    }

    /// Returns the plan of topics that tell the time, as `/clock` does: the stamp of a message is what it tells.
    pub(crate) fn of_clock(recording: &read::Recording, topics: &[Arc<Topic>]) -> Result<Self> {
        let mut plan = Self::new(recording, topics, &[CLOCK.to_owned()])?;
        for variant in &mut plan.variants {
            variant.stamp = variant.decoder.time_at(CLOCK);
        }
        Ok(plan)
    }

    /// Returns a plan without columns: what is left are the times.
    pub(crate) fn of_times(recording: &read::Recording, topics: &[Arc<Topic>]) -> Result<Self> {
        let mut plan = Self::new(recording, topics, &[])?;
        plan.fields.clear();
        plan.variants.iter_mut().for_each(|variant| variant.places.clear());
        Ok(plan)
    }

    /// Gives each column of each variant its place among all.
    fn unite(&mut self, all: bool) -> Result<()> {
        for variant in &mut self.variants {
            // None of the wanted columns is not the same as all.
            let own: Vec<FieldRef> = match !all && variant.paths.is_empty() {
                true => Vec::new(),
                false => variant.columns()?.schema().fields().to_vec(),
            };
            for (index, field) in own.iter().enumerate() {
                let place = place_of(&mut self.fields, field);
                if variant.places.len() <= place {
                    variant.places.resize(place + 1, None);
                }
                variant.places[place] = Some(index);
            }
        }
        for variant in &mut self.variants {
            variant.places.resize(self.fields.len(), None);
        }
        Ok(())
    }

    /// Returns the columns, without those of times.
    pub(crate) fn fields(&self) -> &[FieldRef] {
        &self.fields
    }

    pub(crate) fn variants(&self) -> &[Variant] {
        &self.variants
    }

    /// Returns whether messages say when they were measured.
    pub(crate) fn has_stamps(&self) -> bool {
        self.variants.iter().any(|variant| variant.stamp.is_some())
    }

    /// Returns which variant decodes the messages of a topic.
    pub(crate) fn variant_of(&self, topic: &Topic) -> Option<usize> {
        self.variants.iter().position(|variant| reads_both(&variant.topic, topic))
    }
}

impl Variant {
    /// Returns the stamp of a message; `None` where it has none that can be read.
    pub(crate) fn stamp(&self, payload: &[u8]) -> Option<i64> {
        self.stamp.as_ref()?.read(payload).ok().flatten()
    }

    /// Returns columns to fill.
    pub(crate) fn columns(&self) -> Result<Columns> {
        let paths: Vec<&str> = self.paths.iter().map(String::as_str).collect();
        Ok(self.decoder.columns(&paths)?)
    }

    /// Returns a batch of its own columns as the columns of the plan.
    pub(crate) fn widen(&self, batch: &RecordBatch, fields: &[FieldRef]) -> Vec<ArrayRef> {
        let column = |(field, place): (&FieldRef, &Option<usize>)| match place {
            Some(index) => batch.column(*index).clone(),
            None => new_null_array(field.data_type(), batch.num_rows()),
        };
        fields.iter().zip(&self.places).map(column).collect()
    }
}

/// Returns where a field stands among others; it joins them if none has its name and type.
fn place_of(fields: &mut Vec<FieldRef>, field: &FieldRef) -> usize {
    let same = |known: &&FieldRef, name: &str| known.name() == name;
    let mut name = field.name().clone();
    for number in 0.. {
        match fields.iter().position(|known| same(&known, &name)) {
            None => break,
            Some(place) if fields[place].data_type() == field.data_type() => return place,
            Some(_) if number == 0 => name = format!("{}__{}", field.name(), kind_name(field.data_type()).replace(' ', "_")),
            Some(_) => name = format!("{}__{}", field.name(), number + 1),
        }
    }
    fields.push(Arc::new(Field::clone(field).with_name(name)));
    fields.len() - 1
}

/// A field that is no struct.
pub(crate) struct Leaf {
    /// Its path: `a.b`.
    pub(crate) path: String,
    /// What it is, for people.
    pub(crate) kind: String,
    /// Its unit; else empty.
    pub(crate) unit: String,
    field: FieldRef,
}

/// Returns all fields that are no structs, in order.
pub(crate) fn leaves(fields: &[FieldRef]) -> Vec<Leaf> {
    let mut found = Vec::new();
    for field in fields {
        collect(field, written(field.name()), &mut found);
    }
    found
}

fn collect(field: &FieldRef, path: String, found: &mut Vec<Leaf>) {
    match field.data_type() {
        DataType::Struct(parts) => parts.iter().for_each(|part| collect(part, format!("{path}.{}", written(part.name())), found)),
        kind => {
            let unit = field.metadata().get("unit").cloned().unwrap_or_default();
            found.push(Leaf { path, kind: kind_name(kind), unit, field: field.clone() });
        }
    }
}

/// Returns a name as it stands in a path.
fn written(name: &str) -> String {
    let plain = !name.is_empty() && !name.contains(['.', '[', ']', '"', '\\', '\'']);
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\"")) }
}

impl Leaf {
    /// Returns whether it is a value that people follow over time: no pixels, no bytes, no list of structs, nothing of the header.
    pub(crate) fn is_signal(&self) -> bool {
        let is_value = |kind: &DataType| kind.is_integer() || matches!(kind, DataType::Boolean | DataType::Float32 | DataType::Float64);
        let known = match self.field.data_type() {
            DataType::List(element) | DataType::FixedSizeList(element, _) => {
                is_value(element.data_type()) && element.data_type() != &DataType::UInt8
            }
            DataType::Utf8 => !self.field.metadata().contains_key("tapeloop.json"),
            kind => is_value(kind),
        };
        known && !self.path.starts_with("header.")
    }
}
