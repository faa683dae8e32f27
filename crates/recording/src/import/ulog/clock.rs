//! From time since boot to UTC, where the log has a GPS topic that tells it.
//!
//! **Invariant:** the same log gives the same times, whichever part of it is read.

use std::collections::BTreeMap;

use crate::time::format_time;

/// Topics that tell UTC.
pub(super) const TOPICS: [&str; 2] = ["vehicle_gps_position", "sensor_gps"];

/// The field with UTC, in microseconds, and the one that says how good it is.
pub(super) const UTC_FIELD: &str = "time_utc_usec";
pub(super) const FIX_FIELD: &str = "fix_type";

/// The kind of fix from which on the time is good.
const FIX_3D: u64 = 3;

/// What a receiver can tell: from 2000 to 2100.
const BELIEVED_US: std::ops::Range<u64> = 946_684_800_000_000..4_102_444_800_000_000;

/// The best answer so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Clock {
    found: Option<Found>,
}

#[derive(Clone, Debug, PartialEq)]
struct Found {
    boot_us: u64,
    utc_us: u64,
    fixed: bool,
    topic: String,
}

impl Clock {
    /// Takes note of what a receiver said; the first with a fix counts.
    pub(super) fn tell(&mut self, topic: &str, boot_us: u64, utc_us: u64, fix: Option<u64>) {
        let fixed = fix.is_none_or(|fix| fix >= FIX_3D);
        let better = self.found.as_ref().is_none_or(|found| fixed && !found.fixed);
        if better && BELIEVED_US.contains(&utc_us) && boot_us <= utc_us {
            self.found = Some(Found { boot_us, utc_us, fixed, topic: topic.to_owned() });
        }
    }

    /// Returns whether a better answer can still come.
    pub(super) fn is_open(&self) -> bool {
        self.found.as_ref().is_none_or(|found| !found.fixed)
    }

    /// Returns the UTC time of the boot, or 0 where it is not known; ns.
    pub(super) fn boot_ns(&self) -> i64 {
        // At most the year 2100.
        self.found.as_ref().map_or(0, |found| (found.utc_us - found.boot_us) as i64 * 1000)
    }

    /// Returns what to say about it: as metadata and as a note.
    pub(super) fn describe(&self) -> (BTreeMap<String, String>, String) {
        let mut map = BTreeMap::from([("boot_ns".to_owned(), self.boot_ns().to_string())]);
        let note = match &self.found {
            Some(found) => {
                let fix = if found.fixed { "" } else { ", which had no fix" };
                map.insert("source".to_owned(), "gps".to_owned());
                map.insert("topic".to_owned(), found.topic.clone());
                format!("its times count from the boot at {}, by the GPS time in '{}'{fix}", format_time(self.boot_ns()), found.topic)
            }
            None => {
                map.insert("source".to_owned(), "boot".to_owned());
                "its times count from the boot, as if that had been in 1970: no GPS time is in the log".to_owned()
            }
        };
        (map, note)
    }
}

/// Returns a time since boot as UTC; ns.
#[inline]
pub(super) fn to_ns(time_us: u64, boot_ns: i64) -> i64 {
    let since_boot = i64::try_from(time_us).ok().and_then(|time_us| time_us.checked_mul(1000));
    since_boot.and_then(|since_boot| since_boot.checked_add(boot_ns)).unwrap_or(i64::MAX)
}
