//! `meta/info.json`: what a LeRobot folder says of itself.
//!
//! **Invariant:** a path that a template makes stays in the folder.

use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use crate::error::{Error, Result};

/// The largest `info.json`, or file of lines in `meta`, that is read.
pub(super) const META_LIMIT: u64 = 256 << 20;

/// How many features a dataset may have.
const FEATURE_LIMIT: usize = 10_000;

/// Columns that say where a row belongs, and are no streams.
const INDEXES: [&str; 5] = ["timestamp", "frame_index", "episode_index", "index", "task_index"];

/// What `info.json` says.
#[derive(Clone, Debug)]
pub(super) struct Info {
    pub(super) version: String,
    pub(super) fps: f64,
    pub(super) robot: String,
    pub(super) chunks_size: i64,
    pub(super) data_path: String,
    pub(super) video_path: String,
    pub(super) features: Vec<Feature>,
}

/// A feature: a column, or the videos of a camera.
#[derive(Clone, Debug)]
pub(super) struct Feature {
    pub(super) name: String,
    pub(super) dtype: String,
    /// Names of its elements, where there is one for each.
    pub(super) names: Vec<String>,
    /// Whether it is a list of one: written as a plain value.
    pub(super) is_scalar: bool,
}

impl Info {
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("meta/info.json");
        let bytes = read_small(&path)?;
        let wrong = |what: String| Error::invalid(format!("{what}: {}", path.display()));
        let json: Value = serde_json::from_slice(&bytes).map_err(|error| wrong(format!("no JSON ({error})")))?;
        let text = |key: &str| json.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let version = text("codebase_version");
        if !["v2.0", "v2.1", "v3."].iter().any(|known| version.starts_with(known)) {
            return Err(wrong(format!("LeRobot's '{version}' is not read (known are v2.0, v2.1 and v3.0)")));
        }
        let fps = json.get("fps").and_then(Value::as_f64).unwrap_or_default();
        if !(fps > 0.0 && fps <= 1e6) {
            return Err(wrong(format!("its fps of {fps} cannot be")));
        }
        let features = json.get("features").and_then(Value::as_object).map(|features| features.iter()).into_iter().flatten();
        Ok(Self {
            fps,
            robot: text("robot_type"),
            chunks_size: json.get("chunks_size").and_then(Value::as_i64).filter(|size| *size > 0).unwrap_or(1000),
            data_path: text("data_path"),
            video_path: text("video_path"),
            features: features.take(FEATURE_LIMIT).map(|(name, spec)| Feature::new(name, spec)).collect(),
            version,
        })
    }

    /// Returns whether a file holds one episode.
    pub(super) fn is_by_episode(&self) -> bool {
        self.version.starts_with("v2")
    }
}

impl Feature {
    fn new(name: &str, spec: &Value) -> Self {
        let dtype = spec.get("dtype").and_then(Value::as_str).unwrap_or_default().to_owned();
        let shape: Vec<u64> = spec.get("shape").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_u64).collect();
        let names = flat_names(spec.get("names").unwrap_or(&Value::Null));
        let is_scalar = matches!(shape[..], [] | [1]);
        let unique = names.iter().collect::<std::collections::BTreeSet<_>>().len() == names.len();
        let fits = shape.len() == 1 && shape[0] == names.len() as u64 && unique;
        Self { name: name.to_owned(), dtype, names: if fits { names } else { Vec::new() }, is_scalar }
    }

    /// Returns whether it is a stream of images in files of their own.
    pub(super) fn is_video(&self) -> bool {
        self.dtype == "video"
    }

    /// Returns whether it is a column that says where a row belongs.
    pub(super) fn is_index(&self) -> bool {
        INDEXES.contains(&self.name.as_str())
    }

    /// Returns the topic's name.
    pub(super) fn topic(&self) -> String {
        format!("/{}", self.name)
    }
}

/// Returns the names of elements: a list, or the one list that a list or a map of names holds.
fn flat_names(names: &Value) -> Vec<String> {
    let mut names = names;
    for _ in 0..2 {
        match names {
            Value::Array(items) if items.len() == 1 && items[0].is_array() => names = &items[0],
            Value::Object(map) if map.len() == 1 => names = map.values().next().unwrap_or(&Value::Null),
            _ => break,
        }
    }
    let Value::Array(items) = names else { return Vec::new() };
    let texts: Option<Vec<String>> = items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
    texts.unwrap_or_default()
}

/// Returns the path that a template like `data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet` makes; `None` where it leads out of
/// the folder or names what nobody knows.
pub(super) fn fill(template: &str, numbers: &[(&str, i64)], video_key: &str) -> Option<PathBuf> {
    let mut path = String::new();
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        let close = open + rest[open..].find('}')?;
        path.push_str(&rest[..open]);
        let (name, format) = rest[open + 1..close].split_once(':').unwrap_or((&rest[open + 1..close], ""));
        match numbers.iter().find(|(known, _)| *known == name) {
            Some((_, number)) => {
                let width = format.trim_start_matches('0').trim_end_matches('d').parse::<usize>().unwrap_or(0).min(20);
                path.push_str(&format!("{number:0width$}"));
            }
            None if name == "video_key" => path.push_str(video_key),
            None => return None,
        }
        rest = &rest[close + 1..];
    }
    path.push_str(rest);
    let path = PathBuf::from(path);
    let stays = !path.as_os_str().is_empty() && path.components().all(|part| matches!(part, Component::Normal(_)));
    stays.then_some(path)
}

/// Returns the bytes of a small file.
pub(super) fn read_small(path: &Path) -> Result<Vec<u8>> {
    let failed = |error| Error::io(format!("cannot read {}", path.display()), error);
    let size = std::fs::metadata(path).map_err(failed)?.len();
    if size > META_LIMIT {
        return Err(Error::invalid(format!("{size} bytes are more than {META_LIMIT}: {}", path.display())));
    }
    std::fs::read(path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn templates_make_paths_that_stay_in_the_folder() {
        let numbers = [("episode_chunk", 0), ("episode_index", 12)];
        let path = |template| fill(template, &numbers, "observation.images.top");
        assert_eq!(
            path("data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"),
            Some("data/chunk-000/episode_000012.parquet".into())
        );
        assert_eq!(path("videos/{video_key}/{episode_index}.mp4"), Some("videos/observation.images.top/12.mp4".into()));
        assert_eq!(
            (path("../{episode_index}"), path("/etc/{episode_index}"), path("a{"), path("{x}"), path("")),
            (None, None, None, None, None)
        );
        assert_eq!(fill("{video_key}/a", &[], "../.."), None);
    }

    #[test]
    fn names_are_taken_where_there_is_one_for_each_element() {
        let names = |shape: Value, names: Value| Feature::new("a", &json!({"dtype": "float32", "shape": shape, "names": names})).names;
        assert_eq!(names(json!([2]), json!(["x", "y"])), ["x", "y"]);
        assert_eq!(names(json!([2]), json!([["x", "y"]])), ["x", "y"]);
        assert_eq!(names(json!([2]), json!({"motors": ["x", "y"]})), ["x", "y"]);
        for wrong in [json!(null), json!(["x"]), json!(["x", "x"]), json!([1, 2]), json!({"a": 1, "b": 2})] {
            assert!(names(json!([2]), wrong).is_empty());
        }
        assert!(names(json!([2, 2]), json!(["x", "y"])).is_empty());
    }
}
