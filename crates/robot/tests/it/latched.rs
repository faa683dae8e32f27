//! Latched values over a long time, and what a disk that fails does to them and to eviction.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use recording::manifest::Manifest;
use recording::source::ReadAt;
use recording::{TopicFilter, read};
use robot::tape::disk::{Disk, DiskFile, Listed, RealDisk, Syncer};
use robot::{Leave, SaveRequest, Times, When};

use crate::world::{SECOND, T0, World};

/// The real disk, on which files of latched values cannot be written to, or nothing can be removed, while it is told so.
#[derive(Default)]
struct Failing {
    real: RealDisk,
    fails: Arc<AtomicBool>,
    keeps: Arc<AtomicBool>,
}

struct FailingFile {
    real: Box<dyn DiskFile>,
    fails: Arc<AtomicBool>,
}

impl DiskFile for FailingFile {
    fn append(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        if self.fails.load(Ordering::Relaxed) { Err(io::ErrorKind::StorageFull.into()) } else { self.real.append(parts) }
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.real.truncate(length)
    }

    fn syncer(&self) -> io::Result<Box<dyn Syncer>> {
        self.real.syncer()
    }
}

impl Disk for Failing {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let real = self.real.create(path)?;
        if is_latched(path) { Ok(Box::new(FailingFile { real, fails: self.fails.clone() })) } else { Ok(real) }
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.real.open_append(path)
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn ReadAt>> {
        self.real.open_read(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.real.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        if self.keeps.load(Ordering::Relaxed) { Err(io::ErrorKind::PermissionDenied.into()) } else { self.real.remove(path) }
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.real.sync_folder(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Listed>> {
        self.real.list(path)
    }

    fn space(&self, path: &Path) -> io::Result<(u64, u64)> {
        self.real.space(path)
    }
}

fn is_latched(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().contains("-latched-"))
}

/// Returns the files of latched values below a folder.
fn latched_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(
            |path| if path.is_dir() { latched_files(&path) } else { Some(path).filter(|path| is_latched(path)).into_iter().collect() },
        )
        .collect()
}

/// Returns what latched topics say at a recording's start: text, or its length.
fn state(world: &World, manifest: &Manifest) -> BTreeMap<String, String> {
    let path = world.folder.path().join(recording::key::manifest("rover", &manifest.recording));
    let values = read::open(&path).unwrap().latched(&TopicFilter::all(), manifest.span.start_ns).unwrap();
    let text = |data: &[u8]| if data.len() > 100 { data.len().to_string() } else { String::from_utf8_lossy(data).into_owned() };
    values.into_iter().map(|message| (message.topic.name.clone(), text(&message.data))).collect()
}

#[test]
fn replaced_values_go_with_what_was_recorded_beside_them() {
    let world = World::new("[[buffer]]\nname = 'ring'\ndisk = '2 min'\n[segment]\nage = '10 s'");
    let [map, frame, large] = ["/map", "/frame", "/large"].map(|topic| world.latched(topic));
    let save = |start: i64, end: i64| {
        let (start, end) = (Some(When::Ns(T0 + start * SECOND)), Some(When::Ns(T0 + end * SECOND)));
        world.tape.save(&SaveRequest { start, end, ..SaveRequest::default() }).unwrap()
    };
    let large_bytes = |second: i64| (100_000 + second) as usize;
    let second = |second: i64| {
        world.clock.passed_ns.store(second * SECOND, Ordering::Relaxed);
        world.log(&map, second.to_string().as_bytes());
        if second == 150 {
            world.log(&frame, b"camera");
        }
        if [5, 200, 400, 590].contains(&second) {
            world.log(&large, &vec![7; large_bytes(second)]);
        }
        world.tape.turn();
    };
    (0..30).for_each(second);
    save(1, 20);
    (30..=600).for_each(second);
    let small = world.tape.view().latched.iter().filter(|segment| !segment.meta.heavy).count();
    // All of the last minute, and before that one in ten seconds of the ring and of the recording.
    assert!((60..=90).contains(&small), "{small}");
    assert_eq!(world.tape.view().latched.len() - small, 3, "the first is kept, the second has gone");
    assert_eq!(latched_files(world.folder.path()).len(), world.tape.view().latched.len());
    let [kept, hole, now] = [save(10, 20), save(300, 600), save(595, 600)].map(|manifest| state(&world, &manifest));
    let pairs = |state: BTreeMap<String, String>| state.into_iter().collect::<Vec<_>>();
    let pair = |topic: &str, text: &str| (topic.to_owned(), text.to_owned());
    assert_eq!(pairs(kept), [pair("/large", "100005"), pair("/map", "10")]);
    // What it was then nobody knows any more; it was surely not what it had been long before.
    assert_eq!(pairs(hole), [pair("/frame", "camera")]);
    assert_eq!(pairs(now), [pair("/frame", "camera"), pair("/large", "100590"), pair("/map", "595")]);
    world.tape.close(Leave::CutShort).unwrap();
}

#[test]
fn values_that_cannot_be_written_leave_nothing_behind_and_are_written_later() {
    let disk = Failing::default();
    let fails = disk.fails.clone();
    let world = World::on(Arc::new(disk), "");
    let (map, large) = (world.latched("/map"), world.latched("/large"));
    fails.store(true, Ordering::Relaxed);
    for bytes in [70_000, 80_000] {
        world.log(&map, bytes.to_string().as_bytes());
        world.log(&large, &vec![7; bytes]);
        world.clock.passed_ns.fetch_add(SECOND, Ordering::Relaxed);
        assert!(world.tape.flush().is_err());
    }
    assert_eq!(latched_files(world.folder.path()), Vec::<PathBuf>::new());
    fails.store(false, Ordering::Relaxed);
    world.tape.flush().unwrap();
    world.clock.passed_ns.fetch_add(SECOND, Ordering::Relaxed);
    let manifest = world.tape.save(&SaveRequest { start: Some(When::Ns(T0 + 2 * SECOND)), ..SaveRequest::default() }).unwrap();
    let expected = [("/large", "80000"), ("/map", "80000")].map(|(topic, text)| (topic.to_owned(), text.to_owned()));
    assert_eq!(state(&world, &manifest), BTreeMap::from(expected));
    world.tape.close(Leave::CutShort).unwrap();
}

#[test]
fn a_segment_that_cannot_be_removed_does_not_count_as_evicted() {
    let disk = Failing::default();
    let keeps = disk.keeps.clone();
    let world = World::on(Arc::new(disk), "[[buffer]]\nname = 'ring'\ndisk = '20 kB'\ncompression = 'none'\n[segment]\nsize = '5 kB'");
    let imu = world.channel("/imu");
    let evicted = || {
        for _ in 0..100 {
            // What an earlier eviction met is told once.
            let _ = world.tape.append(&imu, vec![b'x'; 1000].as_slice().into(), Times::default());
            world.clock.passed_ns.fetch_add(SECOND, Ordering::Relaxed);
            world.tape.turn();
        }
        world.tape.status().buffers[0].evicted_segments
    };
    keeps.store(true, Ordering::Relaxed);
    assert_eq!(evicted(), 0);
    keeps.store(false, Ordering::Relaxed);
    assert!(evicted() > 0);
    let _ = world.tape.flush();
    world.tape.close(Leave::CutShort).unwrap();
}
