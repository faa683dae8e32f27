//! What a writer of DDS announces, as ROS says it.
//!
//! In come discovery data, out come names, types, hashes, profiles and times.
//!
//! **Invariant:** what discovery does not carry is not made up: how much history a writer keeps is `unknown`.

use recording::qos::{Length, Profile};
use rustdds::discovery::{DiscoveredWriterData, PublicationBuiltinTopicData};
use rustdds::policy::{Durability, Liveliness, Reliability};
use rustdds::{Duration, Timestamp};

use crate::source::ros2::names::{self, Role};
use crate::source::ros2::publisher::Offer;

/// What the identifiers of Eclipse Cyclone DDS begin with: its number among the vendors.
const CYCLONE: [u8; 2] = [0x01, 0x10];

/// What the identifier of a writer ends with whose samples have keys.
const WITH_KEY: u8 = 0x02;

/// Returns what a writer offers, if it is one of ROS.
pub(super) fn offer(writer: &DiscoveredWriterData) -> Option<Offer> {
    let announced = &writer.publication_topic_data;
    let name = names::topic(&announced.topic_name)?;
    // Cyclone writes who asked, and the number of the request, in front of requests and answers.
    let is_wrapped = name.role != Role::Topic && is_cyclone(writer);
    Some(Offer {
        type_name: names::type_name(&announced.type_name),
        // A service has one hash for all of its parts: it is not that of the request.
        type_hash: names::hash_in(&writer.user_data).filter(|_| name.role == Role::Topic),
        profiles: vec![profile(announced)],
        is_wrapped,
        name,
    })
}

/// Returns whether a writer is one of Eclipse Cyclone DDS.
pub(super) fn is_cyclone(writer: &DiscoveredWriterData) -> bool {
    writer.publication_topic_data.key.to_bytes().starts_with(&CYCLONE)
}

/// Returns whether a writer's samples have keys: readers without keys do not hear them.
pub(super) fn has_keys(writer: &DiscoveredWriterData) -> bool {
    let [.., kind] = writer.publication_topic_data.key.to_bytes();
    kind == WITH_KEY
}

/// Returns ns since 1970; `None` for what stands for no time.
pub(super) fn ns_of(time: Timestamp) -> Option<i64> {
    if time == Timestamp::INVALID || time == Timestamp::INFINITE || time == Timestamp::ZERO {
        return None;
    }
    let ticks = time.to_ticks();
    let (seconds, fraction) = ((ticks >> 32) as i64, ticks & 0xffff_ffff);
    // Some make the fraction of nanoseconds by cutting it, others by rounding it up; the nearest is meant in both cases.
    let ns = ((fraction * 1_000_000_000 + (1 << 31)) >> 32) as i64;
    Some(seconds * 1_000_000_000 + ns)
}

fn profile(announced: &PublicationBuiltinTopicData) -> Profile {
    let or = Profile::default();
    let (liveliness, lease) = match announced.liveliness {
        None => (or.liveliness, or.lease),
        Some(Liveliness::Automatic { lease_duration }) => ("automatic".to_owned(), length(lease_duration, or.lease)),
        Some(Liveliness::ManualByParticipant { lease_duration }) => ("manual_by_node".to_owned(), length(lease_duration, or.lease)),
        Some(Liveliness::ManualByTopic { lease_duration }) => ("manual_by_topic".to_owned(), length(lease_duration, or.lease)),
    };
    // A writer that says nothing is reliable and volatile.
    let is_reliable = !matches!(announced.reliability, Some(Reliability::BestEffort));
    let is_durable = announced.durability.is_some_and(|durability| durability >= Durability::TransientLocal);
    Profile {
        history: "unknown".to_owned(),
        depth: 0,
        reliability: if is_reliable { "reliable" } else { "best_effort" }.to_owned(),
        durability: if is_durable { "transient_local" } else { "volatile" }.to_owned(),
        deadline: announced.deadline.map_or(or.deadline, |deadline| length(deadline.0, or.deadline)),
        lifespan: announced.lifespan.map_or(or.lifespan, |lifespan| length(lifespan.duration, or.lifespan)),
        liveliness,
        lease,
        avoid_ros_namespace_conventions: false,
    }
}

fn length(duration: Duration, infinite: Length) -> Length {
    if duration >= Duration::INFINITE {
        return infinite;
    }
    let ns = duration.to_nanoseconds().max(0) as u64;
    Length { sec: ns / 1_000_000_000, nsec: ns % 1_000_000_000 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_dds_is_the_nanosecond_it_was_made_of() {
        for ns in [1_i64, 999_999_999, 1_700_000_000_123_456_789, 1_795_350_000_000_000_001, 1_700_000_000_999_999_999] {
            let (seconds, fraction) = ((ns / 1_000_000_000) as u64, (ns % 1_000_000_000) as u64);
            for fraction in [(fraction << 32) / 1_000_000_000, (fraction << 32).div_ceil(1_000_000_000)] {
                assert_eq!(ns_of(Timestamp::from_ticks((seconds << 32) + fraction)), Some(ns));
            }
        }
        for none in [Timestamp::INVALID, Timestamp::INFINITE, Timestamp::ZERO] {
            assert_eq!(ns_of(none), None);
        }
    }
}
