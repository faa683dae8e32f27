//! A video file: each image as it is encoded, as one message.
//!
//! **Invariant:** nothing is decoded, and an image's message has the time of the row it belongs to.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::foxglove::VIDEO;
use super::mp4::{Codec, Sample, Track};
use super::timeline::{Clip, Timeline};
use crate::container::{Block, Chunk, Container, Index, Loaded, Location, Place};
use crate::error::{Error, Result};
use crate::loss::Loss;
use crate::message::Topic;
use crate::source::ReadAt;

/// How many bytes of images make a block, and how many images at most.
const BLOCK_BYTES: u64 = 2 << 20;
const BLOCK_IMAGES: usize = 10_000;

/// How far an image may be in front of a clip and still belong to it, in frames.
const EARLY: f64 = 0.5;

#[derive(Debug)]
struct Video {
    index: Index,
    codec: Codec,
    frame_id: String,
    images: Vec<Image>,
    /// The images of each block.
    blocks: Vec<Range<usize>>,
}

#[derive(Clone, Copy, Debug)]
struct Image {
    offset: u64,
    length: u32,
    is_key: bool,
    log_time_ns: i64,
    shown_ns: i64,
}

/// Returns a container of a video file that holds these clips, each of an episode.
pub(super) fn container(track: Track, feature: &str, clips: &[(i64, Clip)], timeline: &Timeline, fps: f64) -> Arc<dyn Container> {
    let mut clips = clips.to_vec();
    clips.sort_by(|a, b| a.1.from.total_cmp(&b.1.from));
    let (mut images, mut outside, mut missing) = (Vec::new(), 0, Missing::default());
    let reordered = track.reordered;
    let early = EARLY / fps;
    for sample in track.samples {
        let begun = clips.partition_point(|(_, clip)| clip.from <= sample.show + early);
        let clip = clips[..begun].last().filter(|(_, clip)| sample.show + early < clip.to);
        let shown_ns = clip.and_then(|(episode, clip)| timeline.image_ns(*episode, (sample.show - clip.from).max(0.0)));
        let (Some(shown_ns), Some((episode, clip))) = (shown_ns, clip) else {
            outside += 1;
            continue;
        };
        // Images that are shown in another order must stay in the order in which they are decoded.
        let decoded_ns = timeline.image_ns(*episode, (sample.decode - clip.from).max(0.0)).unwrap_or(shown_ns);
        let log_time_ns = if reordered { decoded_ns } else { shown_ns };
        if sample.length == 0 {
            missing.add(shown_ns);
        } else {
            let Sample { offset, length, is_key, .. } = sample;
            images.push(Image { offset, length, is_key, log_time_ns, shown_ns });
        }
    }
    let topic = format!("/{feature}");
    let mut notes = Vec::new();
    if outside > 0 {
        notes.push(format!("{topic}: {outside} images belong to no row and are left out"));
    }
    if reordered {
        notes.push(format!("{topic}: images are stored in another order than they are shown in; their log time is that of decoding"));
    }
    let losses = missing.loss(&topic).into_iter().collect();
    let (index_blocks, blocks) = blocks(&images);
    let metadata = BTreeMap::new();
    let topic = Topic { name: topic, encoding: "protobuf".to_owned(), schema: Some(VIDEO.schema()), metadata };
    let topics = BTreeMap::from([(0, Arc::new(topic))]);
    let index = Index { format: "lerobot", topics, blocks: index_blocks, losses, notes, ..Index::default() };
    let frame_id = feature.rsplit('.').next().unwrap_or_default().to_owned();
    Arc::new(Video { index, codec: track.codec, frame_id, images, blocks })
}

/// Images whose bytes are not in the file.
#[derive(Default)]
struct Missing {
    count: u64,
    ends: Option<(i64, i64)>,
}

impl Missing {
    fn add(&mut self, time_ns: i64) {
        self.count += 1;
        let (start, end) = self.ends.unwrap_or((time_ns, time_ns));
        self.ends = Some((start.min(time_ns), end.max(time_ns)));
    }

    fn loss(&self, topic: &str) -> Option<Loss> {
        let (start, end) = self.ends?;
        let reason = format!("the file ends before {} of its images", self.count);
        let messages = Some(self.count);
        Some(Loss { topic: Some(topic.to_owned()), start_ns: Some(start), end_ns: Some(end), messages, bytes: None, reason })
    }
}

fn blocks(images: &[Image]) -> (Vec<Block>, Vec<Range<usize>>) {
    let (mut blocks, mut ranges): (Vec<Block>, Vec<Range<usize>>) = (Vec::new(), Vec::new());
    for (number, image) in images.iter().enumerate() {
        let time_ns = image.log_time_ns;
        let length = u64::from(image.length);
        match (blocks.last_mut(), ranges.last_mut()) {
            (Some(block), Some(range)) if block.length + length <= BLOCK_BYTES && range.len() < BLOCK_IMAGES => {
                block.length += length;
                (block.start_ns, block.end_ns) = (block.start_ns.min(time_ns), block.end_ns.max(time_ns));
                range.end = number + 1;
            }
            _ => {
                blocks.push(Block { offset: image.offset, length, start_ns: time_ns, end_ns: time_ns, channels: Some(vec![0]) });
                ranges.push(number..number + 1);
            }
        }
    }
    (blocks, ranges)
}

impl Container for Video {
    fn index(&self) -> &Index {
        &self.index
    }

    fn load(
        &self,
        source: &dyn ReadAt,
        block: usize,
        wanted: &mut dyn FnMut(u16, i64) -> bool,
    ) -> Result<std::result::Result<Loaded, String>> {
        let Some(images) = self.blocks.get(block).and_then(|range| self.images.get(range.clone())) else {
            return Ok(Err(format!("there is no block {block}")));
        };
        let (mut bytes, mut places, mut losses) = (Vec::new(), Vec::new(), Vec::new());
        for image in images {
            if !wanted(0, image.log_time_ns) {
                continue;
            }
            let mut sample = vec![0; image.length as usize];
            let failed = |error| Error::io("cannot read the video", error);
            let filled = source.read_full_at(image.offset, &mut sample).map_err(failed)?;
            sample.truncate(filled);
            let read = if filled < image.length as usize {
                Err("the file ends in it".to_owned())
            } else {
                self.codec.stream(&sample, image.is_key)
            };
            match read {
                Ok(stream) => {
                    let start = bytes.len();
                    VIDEO.write(image.shown_ns, &self.frame_id, self.codec.name(), &[&stream], &mut bytes);
                    let (start, length) = (start as u32, (bytes.len() - start) as u32);
                    let (log_time_ns, publish_time_ns) = (image.log_time_ns, image.shown_ns);
                    places.push(Place { log_time_ns, publish_time_ns, start, length, sequence: 0, channel: 0 });
                }
                Err(why) => {
                    let time_ns = Some(image.log_time_ns);
                    let reason = format!("an image at byte {}: {why}", image.offset);
                    let (topic, size) = (Some(self.index.topics[&0].name.clone()), Some(u64::from(image.length)));
                    losses.push(Loss { topic, start_ns: time_ns, end_ns: time_ns, messages: Some(1), bytes: size, reason });
                }
            }
        }
        Ok(Ok(Loaded { bytes: bytes.into(), places, losses, chunk: None }))
    }

    fn location(&self, _block: &Block, _chunk: Option<&Chunk>, _place: &Place) -> Option<Location> {
        None
    }
}
