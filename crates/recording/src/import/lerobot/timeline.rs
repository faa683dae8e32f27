//! Episodes, one after the other on one timeline, and the tasks of rows.
//!
//! LeRobot knows only seconds since the start of an episode. Here the first episode starts in 1970, and each next one
//! [`PAUSE_NS`] after the end of the one before.
//!
//! **Invariant:** times grow with episodes and frames, and no two episodes touch.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use serde_json::Value;

use super::info::{Info, read_small};
use super::table::{AtPath, Table};
use crate::loss::Loss;
use crate::time::SECOND_NS;

/// How long it is between two episodes.
pub(super) const PAUSE_NS: i64 = SECOND_NS;

/// How far a frame of a video may be from its place in the grid of frames, in frames.
const TOLERANCE: f64 = 0.05;

/// How many episodes a dataset may have.
const EPISODE_LIMIT: usize = 10_000_000;

/// An episode.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Episode {
    pub(super) index: i64,
    pub(super) tasks: Vec<String>,
    /// How many frames it has.
    pub(super) length: i64,
    /// Where its rows are: chunk and file, from version 3 on.
    pub(super) data: Option<(i64, i64)>,
    /// Where its images are, by camera.
    pub(super) videos: BTreeMap<String, Clip>,
    pub(super) start_ns: i64,
}

/// A part of a video file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Clip {
    pub(super) file: (i64, i64),
    /// In seconds of the file.
    pub(super) from: f64,
    pub(super) to: f64,
}

/// All episodes, by their number.
#[derive(Clone, Debug, Default)]
pub(super) struct Timeline {
    pub(super) episodes: BTreeMap<i64, Episode>,
    fps: f64,
}

impl Timeline {
    /// Returns the episodes that `meta` lists, without times; what cannot be read is a loss.
    pub(super) fn read(folder: &Path, info: &Info, losses: &mut Vec<Loss>) -> Self {
        let mut episodes = BTreeMap::new();
        let mut add = |episode: Episode| {
            if episodes.len() < EPISODE_LIMIT && (0..=i64::from(u32::MAX)).contains(&episode.length) {
                episodes.insert(episode.index, episode);
            }
        };
        if info.is_by_episode() {
            match read_small(&folder.join("meta/episodes.jsonl")) {
                Ok(text) => lines(&text).filter_map(|line| episode_of_line(&line)).for_each(&mut add),
                Err(error) => losses.push(lost(format!("the list of episodes cannot be read: {error}"))),
            }
        } else {
            let files = super::files_below(&folder.join("meta/episodes"), "parquet");
            if files.is_empty() {
                losses.push(lost("the list of episodes is not there: meta/episodes".to_owned()));
            }
            for file in files {
                if let Err(why) = episodes_of_table(&file, &mut add) {
                    losses.push(lost(format!("episodes of {}: {why}", file.display())));
                }
            }
        }
        Self { episodes, fps: info.fps }
    }

    /// Gives every episode its time; `seen` are rows of episodes that the data have, by episode.
    pub(super) fn place(&mut self, seen: &BTreeMap<i64, i64>) {
        for (&index, &length) in seen.iter().take(EPISODE_LIMIT) {
            let episode = self.episodes.entry(index).or_insert_with(|| Episode { index, ..Episode::default() });
            episode.length = episode.length.max(length);
        }
        let mut next_ns = 0_i64;
        for episode in self.episodes.values_mut() {
            episode.start_ns = next_ns;
            let length_ns = frame_ns(self.fps, episode.length);
            next_ns = next_ns.saturating_add(length_ns).saturating_add(PAUSE_NS);
        }
    }

    /// Returns when a frame of an episode was, if there is such an episode.
    pub(super) fn time_ns(&self, episode: i64, frame: i64) -> Option<i64> {
        let episode = self.episodes.get(&episode)?;
        Some(episode.start_ns.saturating_add(frame_ns(self.fps, frame)))
    }

    /// Returns when an episode started and ended: one frame after its last.
    pub(super) fn span_ns(&self, episode: i64) -> Option<Range<i64>> {
        let length = self.episodes.get(&episode)?.length;
        Some(self.time_ns(episode, 0)?..self.time_ns(episode, length)?)
    }

    /// Returns when an image was that stands `seconds` after an episode's start; `None` where the episode is over.
    pub(super) fn image_ns(&self, episode: i64, seconds: f64) -> Option<i64> {
        let frame = seconds * self.fps;
        let nearest = frame.round();
        let episode = self.episodes.get(&episode)?;
        if nearest < 0.0 || nearest >= episode.length as f64 {
            return None;
        }
        let on_grid = (frame - nearest).abs() <= TOLERANCE;
        let offset = if on_grid { frame_ns(self.fps, nearest as i64) } else { (seconds * SECOND_NS as f64) as i64 };
        Some(episode.start_ns.saturating_add(offset.max(0)))
    }
}

/// Returns how long so many frames take.
fn frame_ns(fps: f64, frames: i64) -> i64 {
    (frames as f64 * SECOND_NS as f64 / fps).round() as i64
}

fn lines(text: &[u8]) -> impl Iterator<Item = Value> {
    text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok())
}

fn episode_of_line(line: &Value) -> Option<Episode> {
    let tasks = line.get("tasks").and_then(Value::as_array).into_iter().flatten();
    let tasks = tasks.filter_map(|task| task.as_str().map(str::to_owned)).collect();
    Some(Episode { index: line.get("episode_index")?.as_i64()?, tasks, length: line.get("length")?.as_i64()?, ..Episode::default() })
}

fn episodes_of_table(path: &Path, add: &mut impl FnMut(Episode)) -> Result<(), String> {
    let table = Table::open(std::sync::Arc::new(AtPath(path.to_owned())))?;
    let names: Vec<String> = table.schema().fields().iter().map(|field| field.name().clone()).collect();
    let wanted = |name: &&String| !name.starts_with("stats/") && !name.starts_with("meta/");
    let columns: Vec<usize> = names.iter().enumerate().filter(|(_, name)| wanted(name)).map(|(index, _)| index).collect();
    let cameras: Vec<&str> = names.iter().filter_map(|name| name.strip_prefix("videos/")?.strip_suffix("/file_index")).collect();
    table.read_all(&columns, &mut |batch| {
        for row in 0..batch.num_rows() {
            let int = |name: &str| int_at(batch.column_by_name(name), row);
            let real = |name: &str| real_at(batch.column_by_name(name), row);
            let pair = |prefix: &str| int(&format!("{prefix}/chunk_index")).zip(int(&format!("{prefix}/file_index")));
            let clip = |camera: &&str| {
                let prefix = format!("videos/{camera}");
                let from = real(&format!("{prefix}/from_timestamp"))?;
                let to = real(&format!("{prefix}/to_timestamp")).unwrap_or(f64::INFINITY);
                Some(((*camera).to_owned(), Clip { file: pair(&prefix)?, from, to }))
            };
            let (Some(index), Some(length)) = (int("episode_index"), int("length")) else { continue };
            let videos = cameras.iter().filter_map(clip).collect();
            add(Episode { index, tasks: texts_at(batch, "tasks", row), length, data: pair("data"), videos, start_ns: 0 });
        }
        Ok(())
    })
}

/// Returns the tasks by their number, from `meta/tasks.jsonl` or `meta/tasks.parquet`.
pub(super) fn tasks(folder: &Path, info: &Info, losses: &mut Vec<Loss>) -> BTreeMap<i64, String> {
    let mut tasks = BTreeMap::new();
    if info.is_by_episode() {
        match read_small(&folder.join("meta/tasks.jsonl")) {
            Ok(text) => tasks
                .extend(lines(&text).filter_map(|line| Some((line.get("task_index")?.as_i64()?, line.get("task")?.as_str()?.to_owned())))),
            Err(error) => losses.push(lost(format!("the list of tasks cannot be read: {error}"))),
        }
        return tasks;
    }
    let read = Table::open(std::sync::Arc::new(AtPath(folder.join("meta/tasks.parquet")))).and_then(|table| {
        let text = table.column("task").or_else(|| table.column("__index_level_0__"));
        let columns: Vec<usize> = table.column("task_index").into_iter().chain(text).collect();
        table.read_all(&columns, &mut |batch| {
            for row in 0..batch.num_rows() {
                let text = ["task", "__index_level_0__"].into_iter().find_map(|name| text_at(batch.column_by_name(name)?, row));
                tasks.extend(int_at(batch.column_by_name("task_index"), row).zip(text));
            }
            Ok(())
        })
    });
    if let Err(why) = read {
        losses.push(lost(format!("the list of tasks cannot be read: {why}")));
    }
    tasks
}

/// Returns a whole number of a column.
pub(super) fn int_at(column: Option<&ArrayRef>, row: usize) -> Option<i64> {
    let column = column.filter(|column| column.is_valid(row))?;
    column.as_primitive_opt::<Int64Type>().map(|column| column.value(row))
}

fn real_at(column: Option<&ArrayRef>, row: usize) -> Option<f64> {
    let column = column.filter(|column| column.is_valid(row))?;
    column.as_primitive_opt::<Float64Type>().map(|column| column.value(row)).filter(|value| value.is_finite())
}

fn text_at(column: &ArrayRef, row: usize) -> Option<String> {
    if column.is_null(row) {
        return None;
    }
    let short = column.as_string_opt::<i32>().map(|column| column.value(row));
    short.or_else(|| column.as_string_opt::<i64>().map(|column| column.value(row))).map(str::to_owned)
}

fn texts_at(batch: &RecordBatch, name: &str, row: usize) -> Vec<String> {
    let Some(column) = batch.column_by_name(name).filter(|column| column.is_valid(row)) else { return Vec::new() };
    let list = column.as_list_opt::<i32>().map(|list| list.value(row));
    let list = list.or_else(|| column.as_list_opt::<i64>().map(|list| list.value(row)));
    list.map(|list| (0..list.len()).filter_map(|index| text_at(&list, index)).collect()).unwrap_or_default()
}

/// Returns a loss of something about the whole dataset.
pub(super) fn lost(reason: String) -> Loss {
    Loss { topic: None, start_ns: None, end_ns: None, messages: None, bytes: None, reason }
}

/// Returns the loss of a file with `topics` streams of some episodes, whose messages are as many as the episodes are long.
pub(super) fn lost_file(timeline: &Timeline, topic: Option<String>, topics: u64, episodes: &[i64], path: &Path, why: &str) -> Loss {
    let spans = episodes.iter().filter_map(|episode| timeline.span_ns(*episode));
    let (start_ns, end_ns) = spans.fold((None, None), |(start, end): (Option<i64>, Option<i64>), span| {
        (Some(start.map_or(span.start, |start| start.min(span.start))), end.max(Some(span.end)))
    });
    let lengths = episodes.iter().map(|episode| timeline.episodes.get(episode).map(|episode| episode.length as u64));
    let rows: Option<u64> = lengths.sum::<Option<u64>>().filter(|_| !episodes.is_empty());
    let messages = rows.map(|rows| rows * topics);
    Loss { topic, start_ns, end_ns, messages, bytes: None, reason: format!("{why}: {}", path.display()) }
}
