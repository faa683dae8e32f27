//! LeRobot datasets, compared with what pyarrow and PyAV read of them, and damaged.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use bytes::Bytes;
use prost_reflect::{DescriptorPool, DynamicMessage};
use recording::import::lerobot::{self, Dataset};
use serde_json::{Value, json};

use crate::data;

/// By topic: times and payloads.
type Streams = BTreeMap<String, Vec<(i64, Bytes)>>;

fn streams(dataset: &Dataset) -> (Streams, usize) {
    let (mut streams, mut losses) = (Streams::new(), dataset.losses.len());
    for (path, container) in &dataset.files {
        let source = std::fs::File::open(path).unwrap();
        losses += container.index().losses.len();
        for (number, block) in container.index().blocks.iter().enumerate() {
            let loaded = container.load(&source, number, &mut |_, _| true).unwrap().unwrap();
            losses += loaded.losses.len();
            for place in &loaded.places {
                assert!((block.start_ns..=block.end_ns).contains(&place.log_time_ns), "{}", path.display());
                let topic = &container.index().topics[&place.channel];
                streams.entry(topic.name.clone()).or_default().push((place.log_time_ns, loaded.bytes.slice(place.payload())));
            }
        }
    }
    streams.values_mut().for_each(|messages| messages.sort_by_key(|(time_ns, _)| *time_ns));
    (streams, losses)
}

fn counts(streams: &Streams) -> Vec<(&str, usize)> {
    streams.iter().map(|(name, messages)| (name.as_str(), messages.len())).collect()
}

fn topic_of<'a>(dataset: &'a Dataset, name: &str) -> &'a recording::Topic {
    let mut topics = dataset.files.iter().flat_map(|(_, container)| container.index().topics.values());
    topics.find(|topic| topic.name == name).unwrap()
}

/// Returns the bytes and the format of an image or of a frame of a video.
fn image(dataset: &Dataset, topic: &str, payload: &Bytes) -> (Bytes, String) {
    let schema = topic_of(dataset, topic).schema.clone().unwrap();
    let pool = DescriptorPool::decode(schema.data.clone()).unwrap();
    let message = DynamicMessage::decode(pool.get_message_by_name(&schema.name).unwrap(), payload.clone()).unwrap();
    let field = |name| message.get_field_by_name(name).unwrap().into_owned();
    (field("data").as_bytes().unwrap().clone(), field("format").as_str().unwrap().to_owned())
}

const SECOND: i64 = 1_000_000_000;

#[test]
fn a_real_dataset_of_version_2_1_is_one_timeline() {
    let Some(folder) = data::path("lerobot/g1_v21_4ep") else { return };
    let dataset = lerobot::open(&folder).unwrap();
    let (streams, losses) = streams(&dataset);
    let all = [("/action", 1461), ("/episode", 4), ("/observation.images.cam_high", 1461), ("/observation.state", 1461), ("/task", 1461)];
    assert_eq!((counts(&streams), losses), (all.to_vec(), 0));
    let json = |payload: &Bytes| serde_json::from_slice::<Value>(payload).unwrap();
    let episode = json(&streams["/episode"][1].1);
    // 393 frames at 30 fps and a pause of a second.
    assert_eq!(
        episode,
        json!({"episode_index": 1, "task": "Pick up the yellow bottle on the table.", "length": 343, "start": 14_100_000_000_i64, "end": 25_533_333_333_i64})
    );
    let (time, payload) = &streams["/observation.state"][394];
    assert_eq!(*time, 14_133_333_333);
    assert_eq!(json(payload)["kLeftShoulderPitch"], json!(-0.720_000_27));
    assert_eq!(json(payload).as_object().unwrap().len(), 26);
    assert_eq!(json(&streams["/task"][0].1), json!({"value": "Pick up the yellow bottle on the table."}));
    let images = &streams["/observation.images.cam_high"];
    let times = |name: &str| streams[name].iter().map(|(time, _)| *time).collect::<Vec<_>>();
    assert_eq!(times("/observation.images.cam_high"), times("/action"));
    let (first, format) = image(&dataset, "/observation.images.cam_high", &images[0].1);
    assert_eq!((format.as_str(), first.len()), ("av1", 21_451));
    assert_eq!(topic_of(&dataset, "/action").schema.as_ref().unwrap().name, "lerobot.action");
    assert_eq!(dataset.metadata[0].1["codebase_version"], "v2.1");
}

/// Copies a folder.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() { copy(&path, &target) } else { std::fs::copy(&path, &target).map(drop).unwrap() }
    }
}

#[test]
fn damaged_and_missing_files_cost_what_is_in_them() {
    let Some(folder) = data::path("lerobot/g1_v21_4ep") else { return };
    let temporary = tempfile::tempdir().unwrap();
    let own = temporary.path().join("set");
    copy(&folder, &own);
    let cut = |name: &str, share: u64| {
        let file = std::fs::File::options().write(true).open(own.join(name)).unwrap();
        file.set_len(file.metadata().unwrap().len() * share / 100).unwrap();
    };
    cut("data/chunk-000/episode_000001.parquet", 90);
    std::fs::remove_file(own.join("data/chunk-000/episode_000002.parquet")).unwrap();
    cut("videos/chunk-000/observation.images.cam_high/episode_000000.mp4", 50);
    std::fs::remove_file(own.join("videos/chunk-000/observation.images.cam_high/episode_000003.mp4")).unwrap();
    let dataset = lerobot::open(&own).unwrap();
    let (streams, losses) = streams(&dataset);
    let reasons: Vec<_> = dataset.losses.iter().map(|loss| (loss.start_ns, loss.messages, loss.reason.as_str())).collect();
    println!("{losses} {reasons:#?}");
    assert_eq!(streams["/action"].len(), 393 + 368);
    let images = streams["/observation.images.cam_high"].len();
    assert!(images == 343 + 357 || images > 343 + 357 + 150, "{images}");
    assert_eq!((streams["/episode"].len(), losses), (4, 4));
    // Each row is a message of /observation.state, /action, … and of /task.
    let rows = dataset.losses.iter().filter(|loss| loss.reason.contains(".parquet"));
    let rows: Vec<_> = rows.map(|loss| (loss.messages.unwrap(), loss.end_ns.unwrap() - loss.start_ns.unwrap())).collect();
    assert!(rows.iter().all(|(messages, span)| *messages as i64 % ((span * 30 + SECOND / 2) / SECOND) == 0 && *messages > 0), "{rows:?}");
    // Times do not move because files are missing.
    assert_eq!(streams["/action"].last().unwrap().0, streams["/episode"][3].0 + 367 * SECOND / 30);
}

fn python() -> Option<PathBuf> {
    let python = std::env::var_os("TAPELOOP_TEST_PYTHON").map_or("python3".into(), PathBuf::from);
    let output = Command::new(&python).args(["-c", "import av, numpy, pyarrow"]).output();
    if output.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    println!("skipped: no Python with pyarrow and av (set TAPELOOP_TEST_PYTHON)");
    None
}

fn run(python: &Path, script: &str, folder: &Path) -> String {
    let output = Command::new(python).arg("-c").arg(script).arg(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

const MAKE: &str = r#"
import av, fractions, io, json, os, sys, numpy as np, pyarrow as pa, pyarrow.parquet as pq
root = sys.argv[1]; fps = 30; lengths = [20, 15, 25]
rng = np.random.default_rng(3)
def features(dtype, shape, names=None): return {"dtype": dtype, "shape": shape, "names": names}
cams = {"h264": "libx264", "hevc": "libx265", "av1": "libsvtav1", "bframes": "libx264"}
info = {"codebase_version": "v3.0", "fps": fps, "robot_type": "test", "chunks_size": 1000, "total_episodes": 3, "total_frames": 60,
  "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet", "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
  "features": {"observation.state": features("float32", [3], ["x", "y", "z"]), "action": features("float32", [2]), "next.reward": features("float32", [1]),
    "next.done": features("bool", [1]), "grid": features("float32", [2, 2]), "note": features("string", [1]), "observation.images.png": features("image", [8, 8, 3], ["height", "width", "channel"]),
    **{f"observation.images.{c}": features("video", [64, 64, 3], ["height", "width", "channel"]) for c in cams},
    **{n: features("int64", [1]) for n in ("frame_index", "episode_index", "index", "task_index")}, "timestamp": features("float32", [1])}}
os.makedirs(f"{root}/meta/episodes/chunk-000"); json.dump(info, open(f"{root}/meta/info.json", "w"), indent=4)
tasks = ["pick", "pl\u00e4ce"]
pq.write_table(pa.table({"task_index": pa.array([0, 1]), "task": tasks}), f"{root}/meta/tasks.parquet")
def png(i): return bytes([0x89]) + b"PNG\r\n" + bytes([i]) * 50
def write_data(path, episodes, first):
    os.makedirs(os.path.dirname(path), exist_ok=True); writer = None
    for e in episodes:
        n = lengths[e]; f = np.arange(n); state = (f[:, None] * 0.1 + np.array([0, 1, 2])).astype("float32"); state[3, 0] = np.nan
        table = pa.table({
            "observation.state": pa.FixedSizeListArray.from_arrays(pa.array(state.ravel()), 3),
            "action": pa.array([[float(i), 0.1] for i in f], pa.list_(pa.float32())),
            "next.reward": pa.array(f / 7, pa.float32()), "next.done": pa.array(f == n - 1),
            "grid": pa.array([[[1.0, i], [0.5, 2.0]] for i in f], pa.list_(pa.list_(pa.float32()))),
            "note": [f"n{i}" for i in f],
            "observation.images.png": pa.array([{"bytes": png(i), "path": None} for i in f], pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            "timestamp": pa.array(f / fps, pa.float32()), "frame_index": f, "episode_index": np.full(n, e), "index": f + first, "task_index": np.full(n, e % 2)})
        writer = writer or pq.ParquetWriter(path, table.schema); writer.write_table(table); first += n
    writer.close()
write_data(f"{root}/data/chunk-000/file-000.parquet", [0, 1], 0); write_data(f"{root}/data/chunk-000/file-001.parquet", [2], 35)
rows = {"episode_index": [0, 1, 2], "tasks": [["pick"], ["pl\u00e4ce"], ["pick"]], "length": lengths, "data/chunk_index": [0, 0, 0], "data/file_index": [0, 0, 1]}
for cam, codec in cams.items():
    path = f"{root}/videos/observation.images.{cam}/chunk-000/file-000.mp4"; os.makedirs(os.path.dirname(path))
    options = {"libx264": {"g": "2", "bf": "3" if cam == "bframes" else "0"}, "libx265": {"x265-params": "keyint=4:bframes=0:log-level=none"}, "libsvtav1": {"g": "2", "preset": "12"}}[codec]
    if cam == "bframes": options["g"] = "12"
    with av.open(path, "w") as out:
        stream = out.add_stream(codec, rate=fps, options=options); stream.width = stream.height = 64; stream.pix_fmt = "yuv420p"
        for i in range(60):
            frame = av.VideoFrame.from_ndarray(((np.indices((64, 64)).sum(0) * 3 + i * 4) % 256).astype("uint8")[:, :, None].repeat(3, 2), "rgb24"); frame.pts = i; frame.time_base = fractions.Fraction(1, fps)
            for packet in stream.encode(frame): out.mux(packet)
        for packet in stream.encode(): out.mux(packet)
    starts = np.cumsum([0] + lengths) / fps
    rows |= {f"videos/observation.images.{cam}/chunk_index": [0] * 3, f"videos/observation.images.{cam}/file_index": [0] * 3,
      f"videos/observation.images.{cam}/from_timestamp": starts[:3], f"videos/observation.images.{cam}/to_timestamp": starts[1:]}
pq.write_table(pa.table(rows), f"{root}/meta/episodes/chunk-000/file-000.parquet")
"#;

/// Decodes the frames that stand in `<camera>.bin`, each behind its length, and compares them with those of the video file.
const COMPARE: &str = r#"
import av, glob, os, struct, sys, numpy as np
root = sys.argv[1]
for path in sorted(glob.glob(f"{root}/*.bin")):
    cam, name = os.path.basename(path)[:-4].split("+")
    data = open(path, "rb").read(); packets = []; at = 0
    while at < len(data):
        size, = struct.unpack_from("<I", data, at); packets.append(data[at + 4 : at + 4 + size]); at += 4 + size
    context = av.CodecContext.create({"h265": "hevc", "av1": "libdav1d"}.get(name, name), "r"); frames = []
    for packet in packets + [None]: frames += [f.to_ndarray(format="gray") for f in context.decode(av.Packet(packet) if packet is not None else None)]
    with av.open(glob.glob(f"{root}/videos/observation.images.{cam}/*/*.mp4")[0]) as c: expected = [f.to_ndarray(format="gray") for f in c.decode(video=0)]
    print(cam, len(packets), len(frames), len(frames) == len(expected) and all((a == b).all() for a, b in zip(frames, expected)))
"#;

#[test]
fn a_dataset_of_version_3_has_several_episodes_in_a_file() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    run(&python, MAKE, folder.path());
    let dataset = lerobot::open(folder.path()).unwrap();
    let (streams, losses) = streams(&dataset);
    assert_eq!(losses, 0, "{:?}", dataset.losses);
    let cameras = ["av1", "bframes", "h264", "hevc", "png"].map(|camera| format!("/observation.images.{camera}"));
    let others = ["/action", "/grid", "/next.done", "/next.reward", "/note", "/observation.state", "/task"].map(str::to_owned);
    for name in cameras.iter().chain(&others) {
        assert_eq!(streams[name].len(), 60, "{name}");
    }
    assert_eq!((streams.len(), streams["/episode"].len()), (13, 3));
    let starts: Vec<i64> = streams["/episode"].iter().map(|(time, _)| *time).collect();
    assert_eq!(starts, [0, 20 * SECOND / 30 + SECOND + 1, 35 * SECOND / 30 + 2 * SECOND + 1]);
    let texts = |name: &str, row: usize| String::from_utf8(streams[name][row].1.to_vec()).unwrap();
    assert_eq!(texts("/observation.state", 3), "{\"x\":null,\"y\":1.3,\"z\":2.3}");
    assert_eq!(texts("/action", 21), "{\"value\":[1.0,0.1]}");
    assert_eq!((texts("/grid", 2), texts("/next.done", 19)), ("{\"value\":[[1.0,2.0],[0.5,2.0]]}".into(), "{\"value\":true}".into()));
    assert_eq!((texts("/note", 59), texts("/task", 20)), ("{\"value\":\"n24\"}".into(), "{\"value\":\"pläce\"}".into()));
    assert_eq!(texts("/next.reward", 7), "{\"value\":1.0}");
    let times = |name: &str| streams[name].iter().map(|(time, _)| *time).collect::<Vec<_>>();
    for camera in &cameras {
        if !camera.ends_with("bframes") {
            assert_eq!(times(camera), times("/action"), "{camera}");
        }
        let mut bytes = Vec::new();
        let mut format = String::new();
        for (_, payload) in &streams[camera] {
            let (data, own) = image(&dataset, camera, payload);
            bytes.extend((data.len() as u32).to_le_bytes());
            bytes.extend(data);
            format = own;
        }
        if format != "png" {
            let camera = camera.rsplit('.').next().unwrap();
            std::fs::write(folder.path().join(format!("{camera}+{format}.bin")), bytes).unwrap();
        }
    }
    let compared = run(&python, COMPARE, folder.path());
    assert_eq!(compared, "av1 60 60 True\nbframes 60 60 True\nh264 60 60 True\nhevc 60 60 True\n");
}

#[test]
fn damage_anywhere_ends_no_program() {
    use proptest::prelude::*;
    let Some(folder) = data::path("lerobot/g1_v21_4ep") else { return };
    let temporary = tempfile::tempdir().unwrap();
    let own = temporary.path().join("set");
    copy(&folder, &own);
    for episode in 1..4 {
        std::fs::remove_file(own.join(format!("videos/chunk-000/observation.images.cam_high/episode_00000{episode}.mp4"))).unwrap();
    }
    let names = [
        "data/chunk-000/episode_000000.parquet",
        "videos/chunk-000/observation.images.cam_high/episode_000000.mp4",
        "meta/info.json",
        "meta/episodes.jsonl",
    ];
    let whole = names.map(|name| std::fs::read(own.join(name)).unwrap());
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig { cases: 30, failure_persistence: None, ..Default::default() });
    // Most damage goes to the ends, where the descriptions are.
    let change = (prop_oneof![0.0..1.0_f64, 0.95..1.0_f64, 0.0..0.02_f64], prop::collection::vec(any::<u8>(), 1..40));
    let changes = (0..names.len(), prop::collection::vec(change, 1..4));
    let outcome = runner.run(&changes, |(which, changes)| {
        let mut bytes = whole[which].clone();
        for (at, with) in changes {
            let at = (bytes.len() as f64 * at) as usize;
            bytes.iter_mut().skip(at).zip(with).for_each(|(byte, with)| *byte = with);
        }
        std::fs::write(own.join(names[which]), bytes).unwrap();
        if let Ok(dataset) = lerobot::open(&own) {
            for (path, container) in dataset.files.iter().take(3) {
                let source = std::fs::File::open(path).unwrap();
                for block in 0..container.index().blocks.len() {
                    let _ = container.load(&source, block, &mut |_, _| true);
                }
            }
        }
        std::fs::write(own.join(names[which]), &whole[which]).unwrap();
        Ok(())
    });
    outcome.unwrap();
}

/// Returns a table of rows of one episode.
fn table(rows: i64, frame: fn(i64) -> i64) -> Vec<u8> {
    let ints = |value: fn(i64) -> i64| Arc::new((0..rows).map(value).collect::<Int64Array>()) as ArrayRef;
    let batch = RecordBatch::try_from_iter([("episode_index", ints(|_| 0)), ("frame_index", ints(frame)), ("a", ints(frame))]);
    let batch = batch.unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

#[test]
fn rows_that_are_claimed_and_not_there_cost_nothing() {
    // The count of the only group is the last number of its kind in the footer: 77 becomes 2^40.
    let mut bytes = table(77, |row| row);
    let at = bytes.windows(3).rposition(|window| window == [0x16, 0x9a, 0x01]).unwrap();
    let claim: &[u8] = &[0x16, 0x80, 0x80, 0x80, 0x80, 0x80, 0x40];
    bytes.splice(at..at + 3, claim.iter().copied());
    let footer = bytes.len() - 8;
    let length = u32::from_le_bytes(bytes[footer..footer + 4].try_into().unwrap()) + 4;
    bytes[footer..footer + 4].copy_from_slice(&length.to_le_bytes());
    assert_eq!(read_table(&bytes), (77, "group 0 has 77 of the 1099511627776 rows that it claims".to_owned()));
    // Equal rows take no bytes.
    let bytes = table(2 << 20, |_| 7);
    assert!(bytes.len() < 30_000, "{}", bytes.len());
    let (rows, reason) = read_table(&bytes);
    assert!(rows < 2 << 20 && reason.ends_with("bytes cannot have so many rows"), "{rows} {reason}");
}

/// Returns how many rows are read of the only table of a dataset, and the first loss that it tells.
fn read_table(bytes: &[u8]) -> (usize, String) {
    let folder = tempfile::tempdir().unwrap();
    let info = br#"{"codebase_version": "v2.1", "fps": 30, "features": {"a": {"dtype": "int64", "shape": [1]}}}"#;
    crate::build::save(folder.path(), "meta/info.json", info);
    crate::build::save(folder.path(), "data/chunk-000/episode_000000.parquet", bytes);
    let dataset = lerobot::open(folder.path()).unwrap();
    let (streams, _) = streams(&dataset);
    let mut losses = dataset.files.iter().flat_map(|(_, container)| &container.index().losses);
    (streams.get("/a").map_or(0, Vec::len), losses.next().unwrap().reason.clone())
}

#[test]
fn another_folder_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(lerobot::open(folder.path()).unwrap_err().kind(), recording::Kind::NotFound);
    crate::build::save(folder.path(), "meta/info.json", br#"{"codebase_version": "v1.6", "fps": 30}"#);
    assert!(lerobot::open(folder.path()).unwrap_err().to_string().contains("LeRobot's 'v1.6' is not read"));
}
