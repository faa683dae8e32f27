//! A data file: its rows as messages, one topic for each feature.
//!
//! **Invariant:** columns that nobody wants are not read, and a block is a few megabytes of one group of rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::DataType;
use bytes::Bytes;

use super::foxglove::{IMAGE, image_format};
use super::info::Feature;
use super::json;
use super::table::{Slice, Table};
use super::timeline::{Timeline, int_at};
use crate::container::{Block, Container, Index, Loaded, Place};
use crate::error::Result;
use crate::loss::Loss;
use crate::message::{Schema, Topic};
use crate::source::ReadAt;

/// How many bytes of values make a block.
const BLOCK_BYTES: u64 = 2 << 20;

/// The most that a block's messages may take.
const BLOCK_LIMIT: usize = 256 << 20;

/// How many rows a file may have, and how many more for each of its bytes: a row that is as the one before takes none.
const ROW_LIMIT: u64 = 1 << 20;
const ROWS_PER_BYTE: u64 = 16;

/// The topic of what a row's task is.
const TASK: &str = "/task";

/// Which frame of which episode rows are: frames that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) episode: i64,
    first_frame: i64,
    count: i64,
}

/// A data file before the times of its rows are known.
#[derive(Debug)]
pub(super) struct Data {
    table: Table,
    slices: Vec<(Slice, Vec<Stretch>)>,
    lost: Vec<String>,
}

/// A stream in a data file.
#[derive(Clone, Debug)]
struct Column {
    place: usize,
    name: String,
    frame_id: String,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Json { names: Vec<String>, is_scalar: bool },
    Image,
    Task,
}

#[derive(Debug)]
struct Rows {
    index: Index,
    table: Table,
    slices: Vec<(Slice, Vec<Stretch>)>,
    /// By channel.
    columns: Vec<Column>,
    timeline: Arc<Timeline>,
    tasks: Arc<BTreeMap<i64, String>>,
}

impl Data {
    /// Reads which rows belong to which episode.
    pub(super) fn open(source: Arc<dyn ReadAt>) -> std::result::Result<Self, String> {
        let length = source.len().map_err(|error| error.to_string())?;
        let mut left = usize::try_from(length.saturating_mul(ROWS_PER_BYTE).saturating_add(ROW_LIMIT)).unwrap_or(usize::MAX);
        let table = Table::open(source)?;
        let keys: Vec<usize> = ["episode_index", "frame_index"].iter().filter_map(|name| table.column(name)).collect();
        if keys.len() < 2 {
            return Err("it has no columns episode_index and frame_index".to_owned());
        }
        let (mut slices, mut lost) = (Vec::new(), Vec::new());
        for (group, (claimed, bytes)) in table.groups().into_iter().enumerate() {
            let mut stretches: Vec<Stretch> = Vec::new();
            let read = table.read(&keys, Slice { group, first: 0, count: claimed }, &mut |batch| {
                let rest = left.checked_sub(batch.num_rows());
                left = rest.ok_or_else(|| format!("{length} bytes cannot have so many rows"))?;
                stretches_of(batch, &mut stretches);
                Ok(())
            });
            if let Err(why) = read {
                lost.push(format!("group {group} of {claimed} rows: {why}"));
                continue;
            }
            let rows = stretches.iter().map(|stretch| stretch.count).sum::<i64>() as usize;
            if rows < claimed {
                lost.push(format!("group {group} has {rows} of the {claimed} rows that it claims"));
            }
            let per_row = (bytes / rows.max(1) as u64).max(1);
            let step = usize::try_from(BLOCK_BYTES / per_row).unwrap_or(1).max(1);
            let pieces = cut(&stretches, step as i64).into_iter().enumerate();
            slices.extend(pieces.map(|(index, piece)| {
                let first = index * step;
                (Slice { group, first, count: step.min(rows - first) }, piece)
            }));
        }
        Ok(Self { table, slices, lost })
    }

    /// Adds how many rows of each episode it has to `seen`: the highest frame and one more.
    pub(super) fn count(&self, seen: &mut BTreeMap<i64, i64>) {
        for stretch in self.slices.iter().flat_map(|(_, stretches)| stretches) {
            let length = seen.entry(stretch.episode).or_default();
            *length = (*length).max(stretch.first_frame.saturating_add(stretch.count));
        }
    }

    /// Returns it as a container.
    pub(super) fn into_container(
        self,
        features: &[Feature],
        timeline: Arc<Timeline>,
        tasks: Arc<BTreeMap<i64, String>>,
    ) -> Arc<dyn Container> {
        let mut columns = Vec::new();
        let mut topics = BTreeMap::new();
        let mut notes = Vec::new();
        let streams = features.iter().filter(|feature| !feature.is_video() && !feature.is_index());
        for feature in streams {
            let Some(place) = self.table.column(&feature.name) else { continue };
            let kind = self.table.schema().field(place).data_type();
            let is_image = feature.dtype == "image" || matches!(kind, DataType::Struct(_)) && is_image(kind);
            let (kind, encoding, schema) = if is_image {
                (Kind::Image, "protobuf", IMAGE.schema())
            } else if json::is_known(kind) {
                let title = format!("lerobot.{}", feature.name);
                let text = json::schema(&title, kind, &feature.names, feature.is_scalar).to_string();
                let kind = Kind::Json { names: feature.names.clone(), is_scalar: feature.is_scalar };
                (kind, "json", Arc::new(Schema { name: title, encoding: "jsonschema".to_owned(), data: text.into() }))
            } else {
                notes.push(format!("feature '{}' is left out: values of type {kind} are not read", feature.name));
                continue;
            };
            add_topic(&mut topics, &feature.topic(), encoding, schema);
            let frame_id = feature.name.rsplit('.').next().unwrap_or_default().to_owned();
            columns.push(Column { place, name: feature.name.clone(), frame_id, kind });
        }
        if let Some(place) = self.table.column("task_index").filter(|_| !tasks.is_empty()) {
            let text = json::schema("lerobot.task", &DataType::Utf8, &[], true).to_string();
            let schema = Schema { name: "lerobot.task".to_owned(), encoding: "jsonschema".to_owned(), data: text.into() };
            add_topic(&mut topics, TASK, "json", Arc::new(schema));
            columns.push(Column { place, name: "task_index".to_owned(), frame_id: String::new(), kind: Kind::Task });
        }
        let channels: Vec<u16> = topics.keys().copied().collect();
        let blocks = self.slices.iter().enumerate().map(|(number, (slice, stretches))| {
            let times = || stretches.iter().filter_map(|one| Some(one.times(&timeline)?.collect::<Ends>()));
            let start_ns = times().map(|ends| ends.0).min().unwrap_or(0);
            let end_ns = times().map(|ends| ends.1).max().unwrap_or(0);
            Block { offset: number as u64, length: slice.count as u64, start_ns, end_ns, channels: Some(channels.clone()) }
        });
        let blocks = blocks.collect();
        let losses = self.lost.into_iter().map(super::timeline::lost).collect();
        let index = Index { format: "lerobot", topics, blocks, losses, notes, ..Index::default() };
        Arc::new(Rows { index, table: self.table, slices: self.slices, columns, timeline, tasks })
    }
}

/// The first and the last of some times.
struct Ends(i64, i64);

impl FromIterator<i64> for Ends {
    fn from_iter<I: IntoIterator<Item = i64>>(times: I) -> Self {
        times.into_iter().fold(Self(i64::MAX, i64::MIN), |ends, time| Self(ends.0.min(time), ends.1.max(time)))
    }
}

impl Stretch {
    /// Returns the times of its first and its last row.
    fn times(self, timeline: &Timeline) -> Option<impl Iterator<Item = i64>> {
        let first = timeline.time_ns(self.episode, self.first_frame)?;
        let last = timeline.time_ns(self.episode, self.first_frame.saturating_add(self.count - 1))?;
        Some([first, last].into_iter())
    }
}

fn add_topic(topics: &mut BTreeMap<u16, Arc<Topic>>, name: &str, encoding: &str, schema: Arc<Schema>) {
    let Ok(channel) = u16::try_from(topics.len()) else { return };
    let topic = Topic { name: name.to_owned(), encoding: encoding.to_owned(), schema: Some(schema), metadata: BTreeMap::new() };
    topics.insert(channel, Arc::new(topic));
}

fn is_image(kind: &DataType) -> bool {
    let DataType::Struct(fields) = kind else { return false };
    let has = |name: &str| fields.iter().any(|field| field.name() == name);
    has("bytes") && has("path")
}

fn stretches_of(batch: &RecordBatch, stretches: &mut Vec<Stretch>) {
    let (episodes, frames) = (batch.column_by_name("episode_index"), batch.column_by_name("frame_index"));
    for row in 0..batch.num_rows() {
        let (episode, frame) = (int_at(episodes, row).unwrap_or(-1), int_at(frames, row).unwrap_or(0).clamp(0, i64::from(u32::MAX)));
        match stretches.last_mut() {
            Some(last) if last.episode == episode && last.first_frame + last.count == frame => last.count += 1,
            _ => stretches.push(Stretch { episode, first_frame: frame, count: 1 }),
        }
    }
}

/// Cuts stretches into pieces of so many rows, the last perhaps of fewer.
fn cut(stretches: &[Stretch], rows: i64) -> Vec<Vec<Stretch>> {
    let mut pieces: Vec<Vec<Stretch>> = Vec::new();
    let mut room = 0;
    for stretch in stretches {
        let mut rest = *stretch;
        while rest.count > 0 {
            if room == 0 {
                pieces.push(Vec::new());
                room = rows;
            }
            let count = rest.count.min(room);
            pieces.last_mut().into_iter().for_each(|piece| piece.push(Stretch { count, ..rest }));
            room -= count;
            (rest.first_frame, rest.count) = (rest.first_frame + count, rest.count - count);
        }
    }
    pieces
}

impl Container for Rows {
    fn index(&self) -> &Index {
        &self.index
    }

    fn load(
        &self,
        _source: &dyn ReadAt,
        block: usize,
        wanted: &mut dyn FnMut(u16, i64) -> bool,
    ) -> Result<std::result::Result<Loaded, String>> {
        let Some((slice, stretches)) = self.slices.get(block) else { return Ok(Err(format!("there is no block {block}"))) };
        let frames = stretches.iter().flat_map(|one| (0..one.count).map(|frame| (one.episode, one.first_frame + frame)));
        let times: Vec<Option<i64>> = frames.map(|(episode, frame)| self.timeline.time_ns(episode, frame)).collect();
        let count = self.columns.len();
        let mut takes = vec![false; times.len() * count];
        for (row, time_ns) in times.iter().enumerate().filter_map(|(row, time_ns)| Some((row, (*time_ns)?))) {
            for channel in 0..count {
                takes[row * count + channel] = wanted(channel as u16, time_ns);
            }
        }
        let is_used = |channel: &usize| takes.iter().skip(*channel).step_by(count.max(1)).any(|take| *take);
        let used: Vec<usize> = (0..count).filter(is_used).collect();
        let places: Vec<usize> = used.iter().map(|channel| self.columns[*channel].place).collect();
        let mut out = Out::default();
        if used.is_empty() {
            return Ok(Ok(Loaded::default()));
        }
        let mut row = 0;
        let read = self.table.read(&places, *slice, &mut |batch| {
            let found: Vec<Option<&ArrayRef>> = used.iter().map(|channel| batch.column_by_name(&self.columns[*channel].name)).collect();
            for own_row in 0..batch.num_rows() {
                for (&channel, column) in used.iter().zip(&found) {
                    if let (Some(true), Some(time_ns), Some(column)) =
                        (takes.get(row * count + channel), times.get(row).copied().flatten(), column)
                    {
                        self.write(channel, column.as_ref(), own_row, time_ns, &mut out)?;
                    }
                }
                row += 1;
            }
            Ok(())
        });
        if let Err(why) = read {
            // What came before the damage is good.
            let loss = Loss {
                topic: None,
                start_ns: times.get(row).copied().flatten(),
                end_ns: times.last().copied().flatten(),
                messages: None,
                bytes: None,
                reason: format!("{} rows: {why}", times.len().saturating_sub(row)),
            };
            out.losses.push(loss);
        }
        Ok(Ok(Loaded { bytes: Bytes::from(out.bytes), places: out.places, losses: out.losses, chunk: None }))
    }

    fn has_byte_ranges(&self) -> bool {
        false
    }
}

#[derive(Default)]
struct Out {
    bytes: Vec<u8>,
    places: Vec<Place>,
    losses: Vec<Loss>,
    text: String,
}

impl Rows {
    fn write(&self, channel: usize, column: &dyn Array, row: usize, time_ns: i64, out: &mut Out) -> std::result::Result<(), String> {
        let start = out.bytes.len();
        let own = &self.columns[channel];
        out.text.clear();
        match &own.kind {
            Kind::Json { names, is_scalar } => json::write_message(column, row, names, *is_scalar, &mut out.text),
            Kind::Task => {
                let number = column.as_primitive_opt::<arrow_array::types::Int64Type>().map_or(-1, |numbers| numbers.value(row));
                out.text.push_str("{\"value\":");
                json::write_text(self.tasks.get(&number).map_or("", String::as_str), &mut out.text);
                out.text.push('}');
            }
            Kind::Image => {
                let image = image_at(column, row);
                let Some(image) = image.filter(|image| !image.is_empty()) else {
                    out.losses.push(Loss {
                        topic: Some(format!("/{}", own.name)),
                        start_ns: Some(time_ns),
                        end_ns: Some(time_ns),
                        messages: Some(1),
                        bytes: None,
                        reason: "an image is not in the file".to_owned(),
                    });
                    return Ok(());
                };
                IMAGE.write(time_ns, &own.frame_id, image_format(image), &[image], &mut out.bytes);
            }
        }
        out.bytes.extend_from_slice(out.text.as_bytes());
        if out.bytes.len() > BLOCK_LIMIT {
            out.bytes.truncate(start);
            return Err(format!("more than {BLOCK_LIMIT} bytes in one block"));
        }
        let (start, length) = (start as u32, (out.bytes.len() - start) as u32);
        let channel = channel as u16;
        out.places.push(Place { log_time_ns: time_ns, publish_time_ns: time_ns, start, length, sequence: 0, channel });
        Ok(())
    }
}

/// Returns the bytes of an image: a struct with `bytes`, or bytes alone.
fn image_at(column: &dyn Array, row: usize) -> Option<&[u8]> {
    if column.is_null(row) {
        return None;
    }
    let own = column.as_struct_opt().and_then(|fields| fields.column_by_name("bytes")).map(ArrayRef::as_ref).unwrap_or(column);
    if own.is_null(row) {
        return None;
    }
    let short = own.as_binary_opt::<i32>().map(|bytes| bytes.value(row));
    short.or_else(|| own.as_binary_opt::<i64>().map(|bytes| bytes.value(row)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_are_cut_where_blocks_end() {
        let stretch = |episode, first_frame, count| Stretch { episode, first_frame, count };
        let pieces = cut(&[stretch(0, 5, 3), stretch(1, 0, 6)], 4);
        assert_eq!(pieces, [vec![stretch(0, 5, 3), stretch(1, 0, 1)], vec![stretch(1, 1, 4)], vec![stretch(1, 5, 1)]]);
        assert!(cut(&[], 4).is_empty());
    }
}
