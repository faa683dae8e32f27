//! Texts that people and other programs write.
//!
//! **Invariant:** each is understood as it is.

use super::join;

pub(crate) const AMOUNTS: [&[u8]; 9] = [
    b"now",
    b"10 min ago",
    b"14:32:10.5",
    b"2026-11-22T14:32:10.000000001Z",
    b"2026-11-22 14:32",
    b"1800000000000000000",
    b"1 h 30 min",
    b"1.5 us",
    b"16 MiB",
];

pub(crate) const PATHS: [&[u8]; 4] = [b"header.stamp.sec\nname\ntwo[1]", b"[\"many\"][0].x", b"many[2].y\nwide", b"'a'\n\"b\\\"c\".d"];

pub(crate) const NAMES: [&[u8]; 3] = [b"devices/a/b.json", b"jetson-1-000000abcdef-raw-cameras-0000000042.mcap", b"/camera/front"];

pub(crate) const QUALITIES: [&[u8]; 2] = [
    b"- history: 1\n  depth: 7\n  reliability: 2\n  durability: 1\n  deadline:\n    sec: 2147483647\n    nsec: 4294967295\n  \
      liveliness_lease_duration:\n    sec: 1\n    nsec: 2\n  avoid_ros_namespace_conventions: false\n- history: keep_all\n",
    b"- history: keep_last\n  deadline: {sec: 3, nsec: 4}\n",
];

pub(crate) const CONFIGURATION: &[u8] = b"device = \"rover\"\nhost = \"jetson\"\nlatched = [\"/map\"]\n\n[[buffer]]\nname = \"raw\"\n\
    topics = [\"/camera/**\", \"!/camera/debug\"]\ndisk = { age = \"7 d\", size = \"20 GB\" }\ncompression = \"zstd(3)\"\nmax_rate = \"10 Hz\"\n\
    queue = \"64 MiB\"\n\n[[buffer]]\nname = \"ram\"\nram = \"30 s\"\ndurability = \"1 s\"\nwhen_full = \"drop_oldest\"\n";

/// Returns patterns, each with a topic's name.
pub(super) fn patterns() -> Vec<Vec<u8>> {
    vec![join(b"/camera/*/image\n!/camera/left/**", b"/camera/right/image"), join(b"/a?/**/b*\n**", b"/ab/c/d/bcd")]
}
