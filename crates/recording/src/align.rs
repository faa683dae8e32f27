//! Many streams on one grid of time: which of a stream's values holds at each moment of the grid, or between which two it lies.
//!
//! In come times in order and a grid, out come places in the stream; [`gather`](gather()) makes columns of them.
//!
//! **Invariant:** a moment before the first value has none, unless the nearest is asked for: nothing is invented.

mod gather;

pub use self::gather::gather;
use crate::error::{Error, Result};
use crate::time::{self, Timestamp};

/// How many moments a grid may have.
pub const GRID_LIMIT: u64 = 1 << 27;

const SECOND_NS: f64 = 1e9;

/// Which value stands for a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Method {
    /// The last one at or before it.
    #[default]
    Previous,
    /// The nearest one, the earlier of two that are equally near.
    Nearest,
    /// Numbers on the line between the value before and the value behind it; anything else as [`Method::Previous`]. Behind the last
    /// value there is none.
    Linear,
}

/// Where a moment lies in a stream.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pick {
    /// The value at or before it, or the nearest one.
    pub before: u32,
    /// The value behind it where values are interpolated; else `before` again.
    pub after: u32,
    /// How far it is from `before` to `after`, from 0 to 1.
    pub share: f64,
}

/// Returns the moments from `start_ns` to `end_ns`, both included, `hz` of them per second.
///
/// # Errors
/// `Invalid` for a rate that is not positive, or a grid of more than [`GRID_LIMIT`] moments.
pub fn grid(start_ns: Timestamp, end_ns: Timestamp, hz: f64) -> Result<Vec<Timestamp>> {
    if !hz.is_finite() || hz <= 0.0 || hz > SECOND_NS {
        return Err(Error::invalid(format!("{hz} moments per second; more than 0 and at most 1000000000 are possible")));
    }
    let length_ns = i128::from(end_ns) - i128::from(start_ns);
    if length_ns < 0 {
        return Ok(Vec::new());
    }
    let count = (length_ns as f64 / SECOND_NS * hz).floor() + 1.0;
    if count > GRID_LIMIT as f64 {
        let length = time::format_duration(i64::try_from(length_ns).unwrap_or(i64::MAX));
        return Err(Error::invalid(format!("{hz} moments per second for {length} are {count:.0}; at most {GRID_LIMIT}")));
    }
    // Each from its own number and not from the one before it: errors do not add up.
    let moment = |number: u64| start_ns.saturating_add((number as f64 * SECOND_NS / hz).round() as i64);
    // One more is tried, because the count is rounded too.
    Ok((0..=count as u64).map(moment).take_while(|moment| *moment <= end_ns).collect())
}

/// Returns the order that sorts times, where they are not sorted yet; equal ones stay as they stand.
pub fn order(times_ns: &[Timestamp]) -> Option<Vec<u32>> {
    if times_ns.is_sorted() {
        return None;
    }
    let mut order: Vec<u32> = (0..times_ns.len() as u32).collect();
    order.sort_by_key(|index| times_ns[*index as usize]);
    Some(order)
}

/// Returns for each moment of the grid where it lies among the times; both are in order. A value that is further away than
/// `max_age_ns` is none; between two values both must be within it.
pub fn pick(times_ns: &[Timestamp], grid_ns: &[Timestamp], method: Method, max_age_ns: Option<i64>) -> Vec<Option<Pick>> {
    let age_limit = max_age_ns.map_or(u64::MAX, |age_ns| age_ns.max(0) as u64);
    let near = |index: usize, moment: i64| times_ns[index].abs_diff(moment) <= age_limit;
    // How many times are at or before the moment.
    let mut passed = 0;
    let place = |moment: &i64| {
        passed += times_ns[passed..].iter().take_while(|time| *time <= moment).count();
        let before = passed.checked_sub(1);
        let after = (passed < times_ns.len()).then_some(passed);
        let moment = *moment;
        match method {
            Method::Previous => before.filter(|before| near(*before, moment)).map(Pick::at),
            Method::Nearest => {
                let distance = |index: &usize| times_ns[*index].abs_diff(moment);
                before.into_iter().chain(after).min_by_key(distance).filter(|nearest| near(*nearest, moment)).map(Pick::at)
            }
            Method::Linear => match (before?, after) {
                (before, _) if times_ns[before] == moment => Some(Pick::at(before)),
                (before, Some(after)) if near(before, moment) && near(after, moment) => {
                    let share = times_ns[before].abs_diff(moment) as f64 / times_ns[before].abs_diff(times_ns[after]) as f64;
                    Some(Pick { before: before as u32, after: after as u32, share })
                }
                _ => None,
            },
        }
    };
    grid_ns.iter().map(place).collect()
}

impl Pick {
    fn at(index: usize) -> Self {
        Self { before: index as u32, after: index as u32, share: 0.0 }
    }
}

#[cfg(test)]
mod tests;
