//! Where the samples of a video stand in an MP4 file, and how they are encoded.
//!
//! **Invariant:** no table is longer than the bytes it stands in, no sample is outside of the file, and all samples together are no
//! longer than it.

use std::io;
use std::ops::Range;

use crate::source::ReadAt;

/// The largest description (`moov`) that is read.
const MOOV_LIMIT: u64 = 128 << 20;

/// How many parts a file may have on its first level.
const PART_LIMIT: usize = 10_000;

/// How many samples a video may have.
const SAMPLE_LIMIT: u64 = 20_000_000;

/// A video track.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Track {
    pub(super) codec: Codec,
    pub(super) samples: Vec<Sample>,
    /// Whether images are shown in another order than they are stored in.
    pub(super) reordered: bool,
}

/// A sample: one image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample {
    pub(super) offset: u64,
    pub(super) length: u32,
    /// When it is stored in the stream, and when it is shown, in seconds of the file.
    pub(super) decode: f64,
    pub(super) show: f64,
    pub(super) is_key: bool,
}

/// How images are encoded, and what a decoder needs before a key frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Codec {
    H264 { length_size: usize, sets: Vec<u8> },
    H265 { length_size: usize, sets: Vec<u8> },
    Av1 { sequence: Vec<u8> },
    Vp9,
}

impl Codec {
    /// Returns its name as Foxglove writes it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Codec::H264 { .. } => "h264",
            Codec::H265 { .. } => "h265",
            Codec::Av1 { .. } => "av1",
            Codec::Vp9 => "vp9",
        }
    }

    /// Returns a sample as a stream has it: NAL units behind start codes, with the parameter sets in front of a key frame; or why not.
    pub(super) fn stream(&self, sample: &[u8], is_key: bool) -> Result<Vec<u8>, String> {
        let mut out = Vec::with_capacity(sample.len() + 64);
        match self {
            Codec::Vp9 => out.extend_from_slice(sample),
            Codec::Av1 { sequence } => {
                if is_key && !has_sequence(sample) {
                    out.extend_from_slice(sequence);
                }
                out.extend_from_slice(sample);
            }
            Codec::H264 { length_size, sets } | Codec::H265 { length_size, sets } => {
                if is_key {
                    out.extend_from_slice(sets);
                }
                let mut rest = sample;
                while !rest.is_empty() {
                    let length = rest.get(..*length_size).ok_or("it ends in the length of a part")?;
                    let length = length.iter().fold(0_usize, |value, byte| value << 8 | usize::from(*byte));
                    let unit = rest.get(*length_size..*length_size + length).ok_or("a part is longer than it is")?;
                    out.extend_from_slice(&[0, 0, 0, 1]);
                    out.extend_from_slice(unit);
                    rest = &rest[*length_size + length..];
                }
            }
        }
        Ok(out)
    }
}

/// Returns whether an AV1 sample brings its sequence header itself: it is among the first parts then.
fn has_sequence(sample: &[u8]) -> bool {
    let mut rest = sample;
    for _ in 0..4 {
        let Some(first) = rest.first() else { return false };
        match first >> 3 & 15 {
            1 => return true,
            // A temporal delimiter or padding may stand in front of it.
            2 | 5 | 15 if first & 2 != 0 => {
                let header = 1 + usize::from(first >> 2 & 1);
                let Some((size, taken)) = leb128(rest.get(header..).unwrap_or_default()) else { return false };
                rest = usize::try_from(size).ok().and_then(|size| rest.get(header + taken..)?.get(size..)).unwrap_or_default();
            }
            _ => return false,
        }
    }
    false
}

fn leb128(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(8).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, index + 1));
        }
    }
    None
}

/// Returns the first video track of a file; or, in words, why there is none.
///
/// # Errors
/// What reading the source answers.
pub(super) fn read(source: &dyn ReadAt) -> io::Result<Result<Track, String>> {
    let length = source.len()?;
    let mut at = 0;
    for _ in 0..PART_LIMIT {
        let mut header = [0; 16];
        let filled = source.read_full_at(at, &mut header)?;
        let Some((kind, start, size)) = part_header(&header[..filled], length - at) else { break };
        if kind == *b"moov" {
            let body = size - start;
            if body > MOOV_LIMIT || at + size > length {
                return Ok(Err(format!("its description at byte {at} claims {size} bytes")));
            }
            let mut moov = vec![0; body as usize];
            let filled = source.read_full_at(at + start, &mut moov)?;
            moov.truncate(filled);
            return Ok(track(&moov, length).unwrap_or_else(|| Err("it has no video track that can be read".to_owned())));
        }
        at += size;
        if at >= length {
            break;
        }
    }
    Ok(Err("it has no description (moov): it was not closed, or it is no MP4 file".to_owned()))
}

/// Returns the kind of a part, how long its header is and how long it is with it.
fn part_header(bytes: &[u8], left: u64) -> Option<([u8; 4], u64, u64)> {
    let size = u64::from(u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?));
    let kind = bytes.get(4..8)?.try_into().ok()?;
    match size {
        0 => Some((kind, 8, left)),
        1 => {
            let size = u64::from_be_bytes(bytes.get(8..16)?.try_into().ok()?);
            (size >= 16 && size <= i64::MAX as u64).then_some((kind, 16, size))
        }
        2..8 => None,
        _ => Some((kind, 8, size)),
    }
}

/// Returns the parts that stand in `bytes`.
fn parts(bytes: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (kind, start, size) = part_header(rest, rest.len() as u64)?;
        let size = usize::try_from(size).ok().filter(|size| *size <= rest.len())?;
        let body = &rest[start as usize..size];
        rest = &rest[size..];
        Some((kind, body))
    })
}

/// Returns the part at the end of a path of kinds.
fn find<'a>(bytes: &'a [u8], path: &[&[u8; 4]]) -> Option<&'a [u8]> {
    let (first, rest) = path.split_first()?;
    let body = parts(bytes).find(|(kind, _)| kind == *first)?.1;
    if rest.is_empty() { Some(body) } else { find(body, rest) }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

fn track(moov: &[u8], file_length: u64) -> Option<Result<Track, String>> {
    let is_video = |body: &&[u8]| find(body, &[b"mdia", b"hdlr"]).and_then(|handler| handler.get(8..12)) == Some(b"vide");
    let body = parts(moov).filter(|(kind, _)| kind == b"trak").map(|(_, body)| body).find(is_video)?;
    let table = find(body, &[b"mdia", b"minf", b"stbl"])?;
    let codec = match codec(find(table, &[b"stsd"])?) {
        Some(codec) => codec,
        None => return Some(Err("its video is encoded in a way that is not read (known are h264, h265, vp9 and av1)".to_owned())),
    };
    let clock = find(body, &[b"mdia", b"mdhd"])?;
    let ticks = f64::from(number(clock, if clock.first() == Some(&1) { 20 } else { 12 })?);
    let shift = find(body, &[b"edts", b"elst"]).and_then(edit).unwrap_or(0) as f64;
    let ranges = ranges(table, file_length)?;
    let times = times(table, ranges.len());
    let keys = keys(table, ranges.len());
    let samples = ranges.iter().zip(&times).zip(&keys).map(|((range, (decode, offset)), is_key)| Sample {
        offset: range.start,
        length: u32::try_from(range.end - range.start).unwrap_or(0),
        decode: (*decode as f64 - shift) / ticks,
        show: (*decode as f64 + *offset as f64 - shift) / ticks,
        is_key: *is_key,
    });
    let samples: Vec<Sample> = samples.collect();
    let reordered = samples.windows(2).any(|pair| pair[1].show < pair[0].show);
    Some(if ticks > 0.0 { Ok(Track { codec, samples, reordered }) } else { Err("its clock has no ticks".to_owned()) })
}

/// Returns where in the track its presentation begins: with reordered images that is where the first one is shown.
fn edit(list: &[u8]) -> Option<i64> {
    let is_long = *list.first()? == 1;
    let size = if is_long { 20 } else { 12 };
    let count = (number(list, 4)? as usize).min(list.len() / size);
    let starts = (0..count).filter_map(|index| {
        let at = 8 + index * size;
        if is_long { long(list, at + 8).map(|start| start as i64) } else { number(list, at + 4).map(|start| i64::from(start as i32)) }
    });
    starts.into_iter().find(|start| *start >= 0)
}

/// Returns where each sample stands; those that are not in the file have no bytes.
fn ranges(table: &[u8], file_length: u64) -> Option<Vec<Range<u64>>> {
    let sizes = find(table, &[b"stsz"])?;
    let (same, count) = (u64::from(number(sizes, 4)?), u64::from(number(sizes, 8)?));
    let most = file_length.checked_div(same).unwrap_or((sizes.len() as u64).saturating_sub(12) / 4);
    let count = usize::try_from(count.min(most).min(SAMPLE_LIMIT)).ok()?;
    let size = |index: usize| if same == 0 { number(sizes, 12 + index * 4).map_or(0, u64::from) } else { same };
    let (chunks, is_long) = match find(table, &[b"stco"]) {
        Some(chunks) => (chunks, false),
        None => (find(table, &[b"co64"])?, true),
    };
    let width = if is_long { 8 } else { 4 };
    let chunk_count = (number(chunks, 4)? as usize).min(chunks.len().saturating_sub(8) / width);
    let runs = find(table, &[b"stsc"])?;
    let run_count = (number(runs, 4)? as usize).min(runs.len().saturating_sub(8) / 12);
    let run = |index: usize| Some((number(runs, 8 + index * 12)? as usize, number(runs, 12 + index * 12)? as usize));
    let mut ranges = Vec::new();
    let (mut next_run, mut per_chunk, mut claimed) = (0, 0, 0_u64);
    for chunk in 0..chunk_count {
        while next_run < run_count && run(next_run).is_some_and(|(first, _)| first <= chunk + 1) {
            per_chunk = run(next_run).map_or(0, |(_, count)| count);
            next_run += 1;
        }
        let at = 8 + chunk * width;
        let mut offset = if is_long { long(chunks, at)? } else { u64::from(number(chunks, at)?) };
        for _ in 0..per_chunk.min(count - ranges.len()) {
            let end = offset.saturating_add(size(ranges.len()));
            let total = claimed.saturating_add(end - offset);
            if end <= file_length && total <= file_length {
                ranges.push(offset..end);
                claimed = total;
            } else {
                ranges.push(offset..offset);
            }
            offset = end;
        }
    }
    Some(ranges)
}

/// Returns when each sample is decoded, in ticks, and how much later it is shown.
fn times(table: &[u8], count: usize) -> Vec<(i64, i64)> {
    let mut times = Vec::with_capacity(count);
    let mut now = 0_i64;
    let steps = find(table, &[b"stts"]).unwrap_or_default();
    for entry in steps.get(8..).unwrap_or_default().chunks_exact(8) {
        let (repeat, step) = (number(entry, 0).unwrap_or(0) as usize, number(entry, 4).unwrap_or(0));
        for _ in 0..repeat.min(count - times.len()) {
            times.push((now, 0));
            now = now.saturating_add(i64::from(step));
        }
    }
    times.resize(count, (now, 0));
    let mut place = 0;
    for entry in find(table, &[b"ctts"]).and_then(|offsets| offsets.get(8..)).unwrap_or_default().chunks_exact(8) {
        let (repeat, offset) = (number(entry, 0).unwrap_or(0) as usize, number(entry, 4).unwrap_or(0) as i32);
        let end = place + repeat.min(count - place);
        times[place..end].iter_mut().for_each(|time| time.1 = i64::from(offset));
        place = end;
    }
    times
}

/// Returns which samples are key frames; all of them where nothing is said.
fn keys(table: &[u8], count: usize) -> Vec<bool> {
    let Some(list) = find(table, &[b"stss"]) else { return vec![true; count] };
    let mut keys = vec![false; count];
    for entry in list.get(8..).unwrap_or_default().chunks_exact(4) {
        let place = number(entry, 0).and_then(|number| number.checked_sub(1)).and_then(|place| keys.get_mut(place as usize));
        place.into_iter().for_each(|key| *key = true);
    }
    keys
}

fn codec(descriptions: &[u8]) -> Option<Codec> {
    let (kind, body) = parts(descriptions.get(8..)?).next()?;
    let own = body.get(78..)?;
    match &kind {
        b"avc1" | b"avc3" => avc(find(own, &[b"avcC"])?),
        b"hvc1" | b"hev1" => hevc(find(own, &[b"hvcC"])?),
        b"av01" => Some(Codec::Av1 { sequence: find(own, &[b"av1C"])?.get(4..)?.to_vec() }),
        b"vp09" => Some(Codec::Vp9),
        _ => None,
    }
}

/// Returns H.264 with its parameter sets behind start codes.
fn avc(config: &[u8]) -> Option<Codec> {
    let length_size = usize::from(config.get(4)? & 3) + 1;
    let mut sets = Vec::new();
    let mut at = 5;
    for mask in [0x1f, 0xff] {
        let count = config.get(at)? & mask;
        at += 1;
        for _ in 0..count {
            at = add_set(config, at, &mut sets)?;
        }
    }
    Some(Codec::H264 { length_size, sets })
}

fn hevc(config: &[u8]) -> Option<Codec> {
    let length_size = usize::from(config.get(21)? & 3) + 1;
    let mut sets = Vec::new();
    let mut at = 23;
    for _ in 0..*config.get(22)? {
        let count = u16::from_be_bytes([*config.get(at + 1)?, *config.get(at + 2)?]);
        at += 3;
        for _ in 0..count {
            at = add_set(config, at, &mut sets)?;
        }
    }
    Some(Codec::H265 { length_size, sets })
}

/// Appends the set at a place behind a start code; returns where the next one is.
fn add_set(config: &[u8], at: usize, sets: &mut Vec<u8>) -> Option<usize> {
    let length = usize::from(u16::from_be_bytes([*config.get(at)?, *config.get(at + 1)?]));
    sets.extend_from_slice(&[0, 0, 0, 1]);
    sets.extend_from_slice(config.get(at + 2..at + 2 + length)?);
    Some(at + 2 + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(kind: &[u8; 4], numbers: &[u32]) -> Vec<u8> {
        let body: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
        [&(body.len() as u32 + 8).to_be_bytes()[..], kind, &body].concat()
    }

    #[test]
    fn samples_that_claim_the_same_bytes_again_and_again_have_none() {
        let sizes = part(b"stsz", &[&[0, 0, 1000][..], &[60; 1000]].concat());
        let chunks = part(b"stco", &[&[0, 1000][..], &[20; 1000]].concat());
        let table = [sizes, chunks, part(b"stsc", &[0, 1, 1, 1, 1])].concat();
        let ranges = ranges(&table, 130).unwrap();
        assert_eq!((ranges.len(), ranges.iter().map(|range| range.end - range.start).sum::<u64>()), (1000, 120));
    }
}
