//! `tapeloop doctor`: checks every byte of a tape, a recording or a file, and says what was lost and what can be read.
//!
//! **Invariant:** nothing that is checked is changed; one bad file does not keep the others from being checked.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::FalseyValueParser;
use recording::loss::Damage;
use recording::read::{self, ExportOptions, ExportReport, Recording};
use recording::{Kind, Loss, Manifest, Span, TopicFilter, size};
use serde::Serialize;

use crate::argument::Json;
use crate::outcome::Outcome;
use crate::output::{Progress, print_json, print_lines};
use crate::whom::Whom;
use crate::{folder, text};

/// How many losses and bad files are listed for people.
const SHOWN: usize = 50;
/// How much of a file is read at a time to hash it.
const HASH_STEP: usize = 1 << 20;

/// Check a tape, a recording or a file: what can be read, what was lost
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Doctor {
    /// A file, a folder, or the id or name of a recording
    #[arg(value_name = "X")]
    what: PathBuf,
    /// Write a clean MCAP file of everything that can be read, with what was lost noted in it
    #[arg(long, requires = "out", value_parser = FalseyValueParser::new(), env = "TAPELOOP_REPAIR")]
    repair: bool,
    /// The file that --repair writes
    #[arg(short, long = "output", value_name = "FILE", requires = "repair")]
    out: Option<PathBuf>,
    #[command(flatten)]
    json: Json,
    #[command(flatten)]
    whom: Whom,
}

const EXAMPLES: &str = "\
Examples:
  tapeloop doctor run.mcap
  tapeloop doctor torn.bag --repair -o fixed.mcap
  tapeloop doctor /data/tape --json | jq '.files[] | select(.state != \"ok\")'

Of a tape, every segment is read, and every recording is compared with the segments that it names.
What is checked is never changed. Exit code 3 says that something was lost.";

/// What was found.
#[derive(Debug, Serialize)]
struct Findings {
    path: PathBuf,
    format: &'static str,
    /// Whether nothing is wrong.
    ok: bool,
    /// How many messages can be read.
    messages: u64,
    /// How many payload bytes these have.
    bytes: u64,
    files: Vec<FileFindings>,
    recordings: Vec<RecordingFindings>,
    losses: Vec<Loss>,
    /// How much was lost, added up; nothing where nothing was.
    #[serde(skip_serializing_if = "Option::is_none")]
    lost: Option<Damage>,
    /// What --repair wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    repaired: Option<ExportReport>,
}

/// What was found in a file.
#[derive(Debug, Serialize)]
struct FileFindings {
    path: PathBuf,
    /// `ok`; `incomplete`: whole, but its recorder says that it lost messages; `open`: it has no end, or a damaged one, but nothing
    /// is damaged in front of it; `damaged`; `unreadable`.
    state: &'static str,
    size_bytes: u64,
    messages: u64,
    bytes: u64,
    losses: Vec<Loss>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// What was found out about a recording.
#[derive(Debug, Serialize)]
struct RecordingFindings {
    recording: String,
    name: Option<String>,
    problems: Vec<String>,
}

impl Doctor {
    pub(crate) fn run(self) -> anyhow::Result<Outcome> {
        let path = folder::resolve(&self.what, &self.whom)?;
        let mut findings = examine(&path)?;
        if let Some(out) = self.out.as_deref().filter(|_| self.repair) {
            findings.repaired = Some(repair(&path, out)?);
        }
        if self.json.wanted {
            print_json(&findings)?;
        } else {
            print_lines(lines(&findings))?;
        }
        Ok(if findings.ok { Outcome::Done } else { Outcome::Lost })
    }
}

/// Writes everything that can be read into a new file.
fn repair(path: &Path, out: &Path) -> anyhow::Result<ExportReport> {
    let recording = read::open(path)?;
    let mut progress = Progress::new();
    let mut show = |messages| progress.show(|| format!("{} written", text::counted(messages, "message")));
    Ok(read::export(&recording, &TopicFilter::all(), Span::ALL, out, ExportOptions::default(), &mut show)?)
}

fn examine(path: &Path) -> anyhow::Result<Findings> {
    let recording = read::open(path)?;
    let mut progress = Progress::new();
    let files = check_files(&recording, &mut progress);
    let recordings = match recording.manifest() {
        Some(manifest) => vec![check_recording(root_of(path)?.as_path(), manifest, &mut HashMap::new(), &mut progress)],
        None if recording.format() == "tape" => check_recordings(path, &mut progress)?,
        None => Vec::new(),
    };
    drop(progress);
    // Of a tape, a message in two buffers is counted once; of everything, what the whole misses besides its files is a loss.
    let whole = whole(&recording, &files)?;
    let mut seen = HashSet::new();
    let every = files.iter().flat_map(|file| &file.losses).chain(&whole.losses);
    let losses: Vec<Loss> = every.filter(|loss| seen.insert(format!("{loss:?}"))).cloned().collect();
    let unreadable = files.iter().any(|file| file.state == "unreadable");
    let ok = !unreadable && !losses.iter().any(Loss::is_lost) && recordings.iter().all(|recording| recording.problems.is_empty());
    Ok(Findings {
        path: path.to_owned(),
        format: recording.format(),
        ok,
        messages: whole.messages,
        bytes: whole.bytes,
        files,
        recordings,
        lost: Damage::of(&losses),
        losses,
        repaired: None,
    })
}

/// What can be read of everything together.
struct Whole {
    messages: u64,
    bytes: u64,
    losses: Vec<Loss>,
}

/// Reads everything together, unless that is one file that was just read.
fn whole(recording: &Recording, files: &[FileFindings]) -> recording::Result<Whole> {
    // A format of one file is not one of several.
    if let ([file], true) = (files, recording.manifest().is_none() && !matches!(recording.format(), "tape" | "rosbag2" | "folder")) {
        return Ok(Whole { messages: file.messages, bytes: file.bytes, losses: Vec::new() });
    }
    let info = recording.info()?;
    Ok(Whole {
        messages: info.messages,
        bytes: info.topics.iter().map(|topic| topic.bytes).sum(),
        losses: [info.losses, info.missing].concat(),
    })
}

/// Returns the folder of the tape that a manifest belongs to: `<root>/devices/<device>/<id>.json`.
fn root_of(manifest: &Path) -> io::Result<PathBuf> {
    let absolute = std::path::absolute(manifest)?;
    Ok(absolute.ancestors().nth(3).unwrap_or(Path::new("/")).to_owned())
}

fn check_files(recording: &Recording, progress: &mut Progress) -> Vec<FileFindings> {
    let all: Vec<&Path> = recording.files().collect();
    // The files of a dataset mean nothing one by one.
    if recording.format() == "lerobot" {
        let size_bytes = all.iter().filter_map(|path| path.metadata().ok()).map(|metadata| metadata.len()).sum();
        return findings_of(recording.path(), size_bytes, read_all(recording)).into_iter().collect();
    }
    let check = |(at, path): (usize, &&Path)| {
        progress.show(|| format!("checking file {} of {}: {}", at + 1, all.len(), path.display()));
        check_file(path)
    };
    all.iter().enumerate().filter_map(check).collect()
}

/// Checks a file; `None` if it has gone meanwhile, because a recorder evicted it.
fn check_file(path: &Path) -> Option<FileFindings> {
    let size_bytes = path.metadata().map_or(0, |metadata| metadata.len());
    findings_of(path, size_bytes, read::open(path).and_then(|file| read_all(&file)))
}

/// Reads everything and says in which state it is.
fn read_all(recording: &Recording) -> recording::Result<(read::Info, &'static str)> {
    let info = recording.info()?;
    let told = recording.told_losses()?;
    let state = if info.losses.iter().any(|loss| !told.contains(loss)) {
        "damaged"
    } else if recording.is_open()? {
        "open"
    } else if info.losses.is_empty() {
        "ok"
    } else {
        "incomplete"
    };
    Ok((info, state))
}

fn findings_of(path: &Path, size_bytes: u64, read: recording::Result<(read::Info, &'static str)>) -> Option<FileFindings> {
    match read {
        Ok((info, state)) => Some(FileFindings {
            path: path.to_owned(),
            state,
            size_bytes,
            messages: info.messages,
            bytes: info.topics.iter().map(|topic| topic.bytes).sum(),
            losses: [info.losses, info.missing].concat(),
            error: None,
        }),
        Err(error) if error.kind() == Kind::NotFound => None,
        Err(error) => Some(FileFindings {
            path: path.to_owned(),
            state: "unreadable",
            size_bytes,
            messages: 0,
            bytes: 0,
            losses: Vec::new(),
            error: Some(error.to_string()),
        }),
    }
}

fn check_recordings(root: &Path, progress: &mut Progress) -> anyhow::Result<Vec<RecordingFindings>> {
    let found = folder::recordings(root)?;
    let mut hashes = HashMap::new();
    let mut findings: Vec<RecordingFindings> =
        found.manifests.iter().map(|(_, manifest)| check_recording(root, manifest, &mut hashes, progress)).collect();
    findings.extend(found.unreadable.into_iter().map(|(path, error)| RecordingFindings {
        recording: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        name: None,
        problems: vec![format!("its manifest cannot be read: {error}: {}", path.display())],
    }));
    Ok(findings)
}

/// Compares a recording with the segments that it names; `hashes` remembers those that several recordings share.
fn check_recording(root: &Path, manifest: &Manifest, hashes: &mut HashMap<String, String>, progress: &mut Progress) -> RecordingFindings {
    let mut problems = Vec::new();
    for segment in &manifest.segments {
        let path = root.join(&segment.key);
        let Ok(metadata) = path.metadata() else {
            problems.push(format!("segment {} is missing", segment.key));
            continue;
        };
        // One that is still open has neither yet.
        let (Some(size_bytes), Some(hash)) = (segment.size_bytes, &segment.hash) else { continue };
        if metadata.len() != size_bytes {
            problems.push(format!("segment {} has {} bytes instead of {size_bytes}", segment.key, metadata.len()));
            continue;
        }
        progress.show(|| format!("comparing {}", segment.key));
        let found = match hashes.get(&segment.key) {
            Some(found) => Ok(found.clone()),
            None => hash_of(&path),
        };
        match found {
            Ok(found) => {
                if found != *hash {
                    problems.push(format!("segment {} has changed since it was recorded", segment.key));
                }
                hashes.insert(segment.key.clone(), found);
            }
            Err(error) => problems.push(format!("segment {} cannot be read: {error}", segment.key)),
        }
    }
    RecordingFindings { recording: manifest.recording.clone(), name: manifest.name.clone(), problems }
}

fn hash_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = blake3::Hasher::new();
    let mut step = vec![0; HASH_STEP];
    loop {
        match file.read(&mut step)? {
            0 => return Ok(format!("blake3:{}", hasher.finalize().to_hex())),
            count => hasher.update(&step[..count]),
        };
    }
}

fn lines(findings: &Findings) -> Vec<String> {
    let mut lines = vec![format!("{} ({})", findings.path.display(), findings.format)];
    let told: Vec<&FileFindings> = findings.files.iter().filter(|file| file.state != "ok").collect();
    let whole = match told.iter().filter(|file| file.state != "incomplete").count() {
        0 => "all are whole".to_owned(),
        1 => "1 is not whole".to_owned(),
        count => format!("{} are not whole", text::count(count as u64)),
    };
    let total: u64 = findings.files.iter().map(|file| file.size_bytes).sum();
    lines.push(format!("files       {}, {}: {whole}", text::counted(findings.files.len() as u64, "file"), size::format(total),));
    lines.extend(told.iter().take(SHOWN).map(|file| {
        let more = match (&file.error, file.state) {
            (Some(error), _) => format!(": {error}"),
            (None, "incomplete") => ", and its recorder lost others".to_owned(),
            _ => String::new(),
        };
        format!("  {:<10} {}, {} readable{more}", file.state, file.path.display(), text::counted(file.messages, "message"))
    }));
    if !findings.recordings.is_empty() {
        let broken: Vec<&RecordingFindings> = findings.recordings.iter().filter(|recording| !recording.problems.is_empty()).collect();
        let count = text::counted(findings.recordings.len() as u64, "recording");
        lines.push(format!(
            "recordings  {count}: {}",
            if broken.is_empty() { "all they name is there and unchanged" } else { "not all they name is" }
        ));
        for recording in broken {
            let id = recording.name.as_ref().unwrap_or(&recording.recording);
            lines.extend(recording.problems.iter().take(SHOWN).map(|problem| format!("  {id}: {problem}")));
        }
    }
    lines.push(format!("readable    {}, {}", text::counted(findings.messages, "message"), size::format(findings.bytes)));
    let (lost, missing): (Vec<&Loss>, Vec<&Loss>) = findings.losses.iter().partition(|loss| loss.is_lost());
    for (word, losses) in [("lost", lost), ("missing", missing)] {
        lines.extend(losses.iter().take(SHOWN).map(|loss| format!("{word:<11} {}", text::loss(loss))));
        let more = losses.len().saturating_sub(SHOWN);
        lines.extend((more > 0).then(|| format!("            and {more} more, which --json lists")));
    }
    lines.extend(findings.lost.as_ref().map(damage));
    if let Some(repaired) = &findings.repaired {
        let amount = text::counted(repaired.messages, "message");
        lines.push(format!("repaired    {}: {amount}, {}", repaired.path.display(), size::format(repaired.size_bytes)));
    }
    lines.push(if findings.ok { "nothing was lost".to_owned() } else { "something was lost".to_owned() });
    lines
}

/// Says in a line what the losses add up to, and how sure that is.
fn damage(lost: &Damage) -> String {
    let least = if lost.exact { "" } else { "at least " };
    let mut line = format!("in all      {least}{}", text::counted(lost.messages, "message"));
    if lost.bytes > 0 {
        line.push_str(&format!(", {}", size::format(lost.bytes)));
    }
    if lost.chunks > 0 {
        line.push_str(&format!(", in {}", text::counted(lost.chunks, "chunk")));
    }
    line.push_str(&text::bounds(lost.start_ns, lost.end_ns));
    let known = if lost.topics.is_empty() { String::new() } else { format!(" of {}", text::counted(lost.topics.len() as u64, "topic")) };
    let others = if lost.any_topic { ", and perhaps of any other" } else { "" };
    format!("{line}{known}{others}")
}
