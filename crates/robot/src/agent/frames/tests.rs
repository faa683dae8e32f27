use proptest::collection::vec;
use proptest::prelude::*;

use super::super::protocol::{CHANNEL_LIMIT, Entries, frame};
use super::*;
use crate::clock::SystemClock;

/// A stream that gives at most `step` bytes at a time, and notes how much room it was offered at once.
struct Pieces {
    bytes: Vec<u8>,
    at: usize,
    step: usize,
    offered: usize,
}

impl Source for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.step.min(buffer.len()).min(self.bytes.len() - self.at);
        buffer[..count].copy_from_slice(&self.bytes[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }

    fn read_all(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.offered = self.offered.max(buffer.len());
        self.read(buffer)
    }

    fn limit_wait(&self, _: Option<Duration>) -> io::Result<()> {
        Ok(())
    }
}

fn reader(bytes: Vec<u8>, step: usize) -> FrameReader<Pieces> {
    let source = Pieces { bytes, at: 0, step, offered: 0 };
    FrameReader::new(source, Side::Client, PayloadPool::new(0), Allowance::new(512 << 20), Arc::new(SystemClock))
}

fn message(channel: u32, payload: &[u8]) -> Vec<u8> {
    let head = EntryHead { channel, payload_bytes: payload.len(), log_time_ns: 1, publish_time_ns: 2 };
    [&head.encode()[..], payload].concat()
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 31 % 251) as u8).collect()
}

proptest! {
    #[test]
    fn frames_arrive_whole_however_they_are_cut(lengths in vec(0usize..400_000, 1..8), step in 1usize..300_000) {
        let stream = lengths.iter().flat_map(|length| frame(FrameKind::Log, &message(7, &pattern(*length)))).collect();
        let mut reader = reader(stream, step.max(50));
        for length in lengths {
            let payload = match reader.next().unwrap().unwrap() {
                Frame::Small(FrameKind::Log, body) => Entries::new(body).next().unwrap().unwrap().payload.to_vec(),
                Frame::Message(head, payload) => {
                    prop_assert_eq!(head.channel, 7);
                    payload.to_vec()
                }
                other => panic!("{other:?}"),
            };
            prop_assert!(payload == pattern(length));
        }
        prop_assert!(reader.next().unwrap().is_none());
    }

    #[test]
    fn garbage_ends_in_an_error_or_the_end(bytes in vec(any::<u8>(), 0..2000), step in 1usize..2000) {
        let mut reader = reader(bytes, step);
        while let Ok(Some(_)) = reader.next() {}
        prop_assert!(reader.source.offered <= FIRST_ROOM);
    }
}

#[test]
fn a_claimed_length_reserves_no_memory_before_its_bytes_arrive() {
    let head = EntryHead { channel: 1, payload_bytes: 200 << 20, log_time_ns: 0, publish_time_ns: 0 };
    let header = Header { kind: FrameKind::Log, body_bytes: ENTRY_BYTES + (200 << 20) };
    let mut reader = reader([&header.encode()[..], &head.encode(), &pattern(5 << 20)].concat(), 1 << 20);
    assert!(reader.next().unwrap_err().message().contains("middle of a frame"));
    assert!(reader.source.offered <= FIRST_ROOM, "{}", reader.source.offered);
}

#[test]
fn a_message_of_200_mb_passes() {
    let payload = pattern(200 << 20);
    let mut reader = reader(frame(FrameKind::Log, &message(1, &payload)), usize::MAX);
    let Some(Frame::Message(_, read)) = reader.next().unwrap() else { panic!("not a message") };
    assert!(read == payload);
    assert!(reader.source.offered <= 128 << 20);
}

#[test]
fn a_long_definition_passes() {
    let body = pattern(CHANNEL_LIMIT);
    let mut reader = reader(frame(FrameKind::OpenChannel, &body), 100_000);
    assert_eq!(reader.next().unwrap(), Some(Frame::Large(FrameKind::OpenChannel, body.into())));
}

#[test]
fn large_messages_in_a_row_are_not_copied_through_the_buffer() {
    let one = frame(FrameKind::Log, &message(1, &pattern(1 << 20)));
    let mut reader = reader(one.repeat(3), usize::MAX);
    for _ in 0..3 {
        assert!(matches!(reader.next().unwrap(), Some(Frame::Message(..))));
    }
    // Only the first was read ahead; of the others the buffer saw the heads.
    assert_eq!(reader.end, HEADER_BYTES + ENTRY_BYTES);
}

#[test]
fn large_messages_that_find_no_memory_are_given_up() {
    let frame = frame(FrameKind::Log, &message(1, &pattern(9 << 20)));
    let source = Pieces { bytes: frame, at: 0, step: usize::MAX, offered: 0 };
    let clock = Arc::new(Stepping::default());
    let mut reader = FrameReader::new(source, Side::Client, PayloadPool::new(0), Allowance::new(1 << 20), clock);
    assert!(reader.next().unwrap_err().message().contains("did not arrive within 30 s"));
}

/// A clock that moves on by a minute whenever somebody looks.
#[derive(Default)]
struct Stepping(std::sync::atomic::AtomicI64);

impl Clock for Stepping {
    fn utc_ns(&self) -> i64 {
        0
    }

    fn monotonic_ns(&self) -> i64 {
        self.0.fetch_add(60_000_000_000, std::sync::atomic::Ordering::Relaxed)
    }
}
