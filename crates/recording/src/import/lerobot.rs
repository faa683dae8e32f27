//! LeRobot datasets: folders of parquet and video files, versions 2.0, 2.1 and 3.0, as streams on one timeline.
//!
//! In comes a folder, out come a container for each of its files, what is missing, and what it says of itself. Features are topics, their
//! rows are JSON messages; images are messages as they are encoded.
//!
//! **Invariant:** a damaged or missing file costs what is in it; the rest keeps its times, because those follow from the list of episodes.

mod foxglove;
mod info;
mod json;
mod mp4;
mod rows;
mod table;
mod timeline;
mod video;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use self::info::{Feature, Info};
use self::rows::Data;
use self::table::AtPath;
use self::timeline::{Clip, Timeline, lost, lost_file};
use crate::container::{Block, Container, Index, Loaded, Place};
use crate::error::Result;
use crate::loss::Loss;
use crate::message::{Schema, Topic};
use crate::source::ReadAt;

/// How many files of a kind a dataset may have.
const FILE_LIMIT: usize = 1_000_000;

/// How deep folders of files may be.
const FOLDER_DEPTH: usize = 4;

/// A LeRobot dataset.
#[derive(Debug)]
pub struct Dataset {
    /// Its files, each with what it holds. That of `meta/info.json` holds where episodes begin and end.
    pub files: Vec<(PathBuf, Arc<dyn Container>)>,
    /// Files that are missing or damaged.
    pub losses: Vec<Loss>,
    /// What a reader should know.
    pub notes: Vec<String>,
    /// What the dataset says of itself: `lerobot`.
    pub metadata: Vec<(String, BTreeMap<String, String>)>,
}

/// Returns whether a folder is a LeRobot dataset.
pub fn is_dataset(folder: &Path) -> bool {
    folder.join("meta/info.json").is_file()
}

/// Opens a LeRobot dataset.
///
/// # Errors
/// `NotFound` without `meta/info.json`, `Invalid` for one of an unknown version.
pub fn open(folder: &Path) -> Result<Dataset> {
    let info = Info::read(folder)?;
    let mut losses = Vec::new();
    let mut timeline = Timeline::read(folder, &info, &mut losses);
    let tasks = Arc::new(timeline::tasks(folder, &info, &mut losses));
    let (data, broken) = open_data(folder);
    let mut seen = BTreeMap::new();
    data.iter().for_each(|(_, data)| data.count(&mut seen));
    timeline.place(&seen);
    let timeline = Arc::new(timeline);
    let is_task = |feature: &Feature| feature.name == "task_index" && !tasks.is_empty();
    let is_stream = |feature: &&Feature| !feature.is_video() && (!feature.is_index() || is_task(feature));
    let streams = info.features.iter().filter(is_stream).count() as u64;
    let lose = |episodes: &[i64], path: &Path, why: &str| lost_file(&timeline, None, streams, episodes, path, why);
    losses.extend(broken.iter().map(|(path, why)| lose(&episodes_of(path, folder, &info, &timeline), path, why)));
    for (path, episodes) in expected(&info, &timeline, &info.data_path, "", |episode| episode.data) {
        if !folder.join(&path).is_file() {
            losses.push(lose(&episodes, &path, "a data file is not there"));
        }
    }
    let mut files: Vec<(PathBuf, Arc<dyn Container>)> = vec![(folder.join("meta/info.json"), Arc::new(Episodes::new(&timeline)))];
    let features = &info.features;
    files.extend(data.into_iter().map(|(path, data)| (path, data.into_container(features, timeline.clone(), tasks.clone()))));
    for feature in info.features.iter().filter(|feature| feature.is_video()) {
        if files.len() + losses.len() >= FILE_LIMIT {
            losses.push(lost(format!("more than {FILE_LIMIT} files: no more videos are looked for")));
            break;
        }
        open_videos(folder, &info, feature, &timeline, &mut files, &mut losses);
    }
    let metadata = BTreeMap::from([
        ("codebase_version".to_owned(), info.version.clone()),
        ("fps".to_owned(), info.fps.to_string()),
        ("robot_type".to_owned(), info.robot.clone()),
        ("episodes".to_owned(), timeline.episodes.len().to_string()),
        ("time_base".to_owned(), "lerobot: episodes one after the other from 1970".to_owned()),
    ]);
    let notes =
        vec!["LeRobot keeps no absolute times: episodes stand one after the other from 1970, with a second between them".to_owned()];
    Ok(Dataset { files, losses, notes, metadata: vec![("lerobot".to_owned(), metadata)] })
}

/// Opens all data files; those that cannot be read come with the reason.
fn open_data(folder: &Path) -> (Vec<(PathBuf, Data)>, BTreeMap<PathBuf, String>) {
    let (mut data, mut broken) = (Vec::new(), BTreeMap::new());
    for path in files_below(&folder.join("data"), "parquet") {
        match Data::open(Arc::new(AtPath(path.clone()))) {
            Ok(one) => data.push((path, one)),
            Err(why) => {
                broken.insert(path, why);
            }
        }
    }
    (data, broken)
}

/// Returns the files that episodes say they are in, each with its episodes.
fn expected(
    info: &Info,
    timeline: &Timeline,
    template: &str,
    video_key: &str,
    place: impl Fn(&timeline::Episode) -> Option<(i64, i64)>,
) -> BTreeMap<PathBuf, Vec<i64>> {
    let mut files: BTreeMap<PathBuf, Vec<i64>> = BTreeMap::new();
    for episode in timeline.episodes.values() {
        let numbers = if info.is_by_episode() {
            vec![("episode_chunk", episode.index.div_euclid(info.chunks_size)), ("episode_index", episode.index)]
        } else {
            let Some((chunk, file)) = place(episode) else { continue };
            vec![("chunk_index", chunk), ("file_index", file)]
        };
        if let Some(path) = info::fill(template, &numbers, video_key) {
            files.entry(path).or_default().push(episode.index);
        }
    }
    files
}

fn episodes_of(path: &Path, folder: &Path, info: &Info, timeline: &Timeline) -> Vec<i64> {
    let relative = path.strip_prefix(folder).unwrap_or(path);
    expected(info, timeline, &info.data_path, "", |episode| episode.data).remove(relative).unwrap_or_default()
}

fn open_videos(
    folder: &Path,
    info: &Info,
    feature: &Feature,
    timeline: &Timeline,
    files: &mut Vec<(PathBuf, Arc<dyn Container>)>,
    losses: &mut Vec<Loss>,
) {
    let clip_of = |episode: &timeline::Episode| episode.videos.get(&feature.name).map(|clip| clip.file);
    let expected = expected(info, timeline, &info.video_path, &feature.name, clip_of);
    if expected.is_empty() && !timeline.episodes.is_empty() {
        losses.push(lost(format!("nothing says which video files show '{}'", feature.name)));
    }
    for (relative, episodes) in expected {
        let path = folder.join(&relative);
        let read = std::fs::File::open(&path).and_then(|file| mp4::read(&file));
        let track = match read {
            Ok(Ok(track)) => track,
            Ok(Err(why)) => {
                losses.push(lost_file(timeline, Some(feature.topic()), 1, &episodes, &relative, &format!("a video cannot be read: {why}")));
                continue;
            }
            Err(error) => {
                losses.push(lost_file(
                    timeline,
                    Some(feature.topic()),
                    1,
                    &episodes,
                    &relative,
                    &format!("a video cannot be read: {error}"),
                ));
                continue;
            }
        };
        let whole = Clip { file: (0, 0), from: 0.0, to: f64::INFINITY };
        let clips = episodes.iter().map(|index| {
            let clip = timeline.episodes.get(index).and_then(|episode| episode.videos.get(&feature.name));
            (*index, clip.copied().unwrap_or(whole))
        });
        let clips: Vec<(i64, Clip)> = clips.collect();
        files.push((path, video::container(track, &feature.name, &clips, timeline, info.fps)));
    }
}

/// Returns the files with an ending in a folder and the folders in it, in order; none where there is no folder.
fn files_below(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![(folder.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())).take(FILE_LIMIT) {
            // A link to a folder is left alone: it can lead anywhere.
            if path.is_dir() && !path.is_symlink() && depth < FOLDER_DEPTH {
                folders.push((path, depth + 1));
            } else if path.extension().is_some_and(|own| own == ending) && found.len() < FILE_LIMIT {
                found.insert(path);
            }
        }
    }
    found.into_iter().collect()
}

/// Where episodes begin and end, as messages of one topic.
#[derive(Debug)]
struct Episodes {
    index: Index,
    messages: Vec<(i64, String)>,
}

impl Episodes {
    fn new(timeline: &Timeline) -> Self {
        let message = |index: &i64| {
            let episode = timeline.episodes.get(index)?;
            let span = timeline.span_ns(*index)?;
            let task = episode.tasks.join("; ");
            let json = json!({"episode_index": index, "task": task, "length": episode.length, "start": span.start, "end": span.end});
            Some((span.start, json.to_string()))
        };
        let messages: Vec<(i64, String)> = timeline.episodes.keys().filter_map(message).collect();
        let integer = json!({"type": "integer"});
        let properties = json!({"episode_index": integer, "task": {"type": "string"}, "length": integer, "start": integer, "end": integer});
        let text = json!({"title": "lerobot.episode", "type": "object", "properties": properties}).to_string();
        let schema = Schema { name: "lerobot.episode".to_owned(), encoding: "jsonschema".to_owned(), data: text.into() };
        let topic =
            Topic { name: "/episode".to_owned(), encoding: "json".to_owned(), schema: Some(Arc::new(schema)), metadata: BTreeMap::new() };
        let ends = messages.first().zip(messages.last());
        let block = ends.map(|(first, last)| Block {
            offset: 0,
            length: messages.iter().map(|(_, text)| text.len() as u64).sum(),
            start_ns: first.0,
            end_ns: last.0,
            channels: Some(vec![0]),
        });
        let topics = BTreeMap::from([(0, Arc::new(topic))]);
        Self { index: Index { format: "lerobot", topics, blocks: block.into_iter().collect(), ..Index::default() }, messages }
    }
}

impl Container for Episodes {
    fn index(&self) -> &Index {
        &self.index
    }

    fn load(
        &self,
        _source: &dyn ReadAt,
        _block: usize,
        wanted: &mut dyn FnMut(u16, i64) -> bool,
    ) -> Result<std::result::Result<Loaded, String>> {
        let mut loaded = Loaded::default();
        let mut bytes = Vec::new();
        for (time_ns, text) in self.messages.iter().filter(|(time_ns, _)| wanted(0, *time_ns)) {
            let (start, length) = (bytes.len() as u32, text.len() as u32);
            let place = Place { log_time_ns: *time_ns, publish_time_ns: *time_ns, start, length, sequence: 0, channel: 0 };
            loaded.places.push(place);
            bytes.extend_from_slice(text.as_bytes());
        }
        loaded.bytes = bytes.into();
        Ok(Ok(loaded))
    }

    fn has_byte_ranges(&self) -> bool {
        false
    }
}
