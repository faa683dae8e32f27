//! The standard types of ROS 1, derived from those of ROS 2 where both have the same fields.
//!
//! In come the sets of ROS 2, out comes that of ROS 1.
//!
//! **Invariant:** only types whose MD5 is the official one are in it.

use super::Flavour;
use super::set::Set;

/// Returns the types of ROS 1 that follow from those of ROS 2.
pub(super) fn derive(_ros2: &[Set]) -> Set {
    Set::new("standard, noetic", Some(Flavour::Ros1))
}
