use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, Int32Type};
use arrow_array::{Array, ArrayRef, FixedSizeListArray, Float32Array, Int32Array, ListArray, StringArray};
use proptest::prelude::*;

use super::*;

fn places(times: &[i64], grid: &[i64], method: Method, max_age_ns: Option<i64>) -> Vec<Option<(u32, u32, f64)>> {
    pick(times, grid, method, max_age_ns).into_iter().map(|pick| pick.map(|pick| (pick.before, pick.after, pick.share))).collect()
}

#[test]
fn a_grid_has_both_ends_and_does_not_drift() {
    assert_eq!(grid(5, 5, 20.0).unwrap(), [5]);
    assert_eq!(grid(0, 100_000_000, 20.0).unwrap(), [0, 50_000_000, 100_000_000]);
    assert_eq!(grid(0, 99_999_999, 20.0).unwrap(), [0, 50_000_000]);
    assert_eq!(grid(6, 5, 20.0).unwrap(), [0; 0]);
    let day = grid(0, 86_400_000_000_000, 30.0).unwrap();
    assert_eq!((day.len(), day[day.len() - 1]), (86_400 * 30 + 1, 86_400_000_000_000));
    assert_eq!(grid(0, 1_000_000_000, 3.0).unwrap(), [0, 333_333_333, 666_666_667, 1_000_000_000]);
    for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(grid(0, 1, wrong).is_err());
    }
    assert!(grid(i64::MIN, i64::MAX, 1.0).unwrap_err().message().contains("at most"));
}

#[test]
fn each_method_picks_its_value() {
    let (times, grid) = ([10, 20, 20, 40], [0, 10, 14, 15, 16, 20, 30, 31, 40, 50]);
    let at = |index: u32| Some((index, index, 0.0));
    assert_eq!(places(&times, &grid, Method::Previous, None), [None, at(0), at(0), at(0), at(0), at(2), at(2), at(2), at(3), at(3)]);
    assert_eq!(places(&times, &grid, Method::Nearest, None), [at(0), at(0), at(0), at(0), at(1), at(2), at(2), at(3), at(3), at(3)]);
    assert_eq!(
        places(&times, &grid, Method::Linear, None),
        [None, at(0), Some((0, 1, 0.4)), Some((0, 1, 0.5)), Some((0, 1, 0.6)), at(2), Some((2, 3, 0.5)), Some((2, 3, 0.55)), at(3), None]
    );
}

#[test]
fn a_value_that_is_too_old_is_none() {
    assert_eq!(places(&[10], &[9, 10, 15, 16], Method::Previous, Some(5)), [None, Some((0, 0, 0.0)), Some((0, 0, 0.0)), None]);
    assert_eq!(places(&[10], &[4, 5, 15, 16], Method::Nearest, Some(5)), [None, Some((0, 0, 0.0)), Some((0, 0, 0.0)), None]);
    assert_eq!(places(&[0, 10], &[4, 6], Method::Linear, Some(5)), [None, None]);
    assert_eq!(places(&[0, 10], &[4], Method::Linear, Some(6)), [Some((0, 1, 0.4))]);
    assert_eq!(places(&[], &[1, 2], Method::Nearest, None), [None, None]);
    assert_eq!(places(&[i64::MIN, i64::MAX], &[0], Method::Linear, None).len(), 1);
}

#[test]
fn times_out_of_order_are_sorted_and_equal_ones_stay() {
    assert_eq!(order(&[1, 2, 2, 3]), None);
    assert_eq!(order(&[5, 1, 5, 0]), Some(vec![3, 1, 0, 2]));
}

#[test]
fn numbers_are_interpolated_and_the_rest_is_not() {
    let picks = pick(&[0, 10], &[-5, 0, 5, 10, 15], Method::Linear, None);
    let column: ArrayRef = Arc::new(Int32Array::from(vec![2, 3]));
    let values = gather(&column, &picks).unwrap();
    assert_eq!(values.as_primitive::<Float64Type>().iter().collect::<Vec<_>>(), [None, Some(2.0), Some(2.5), Some(3.0), None]);
    let column: ArrayRef = Arc::new(Float32Array::from(vec![None, Some(3.0)]));
    let values = gather(&column, &picks).unwrap();
    assert_eq!(values.as_primitive::<Float32Type>().iter().collect::<Vec<_>>(), [None, None, None, Some(3.0), None]);
    let column: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
    let values = gather(&column, &picks).unwrap();
    assert_eq!(values.as_string::<i32>().iter().collect::<Vec<_>>(), [None, Some("a"), Some("a"), Some("b"), None]);
}

#[test]
fn lists_of_equal_lengths_are_interpolated_by_element() {
    let picks = pick(&[0, 10, 20], &[5, 15, 25], Method::Linear, None);
    let rows =
        |rows: &[&[i32]]| ListArray::from_iter_primitive::<Int32Type, _, _>(rows.iter().map(|row| Some(row.iter().copied().map(Some))));
    let column: ArrayRef = Arc::new(rows(&[&[0, 10], &[10, 30], &[7]]));
    let values = gather(&column, &picks).unwrap();
    let row = |index: usize| values.as_list::<i32>().value(index).as_primitive::<Float64Type>().values().to_vec();
    assert_eq!((row(0), row(1), values.is_null(2)), (vec![5.0, 20.0], vec![10.0, 30.0], true));
    let fixed = FixedSizeListArray::from_iter_primitive::<Int32Type, _, _>((0..3).map(|row| Some([Some(row), Some(row * 10)])), 2);
    let values = gather(&(Arc::new(fixed) as ArrayRef), &picks).unwrap();
    assert_eq!(values.as_fixed_size_list().value(1).as_primitive::<Float64Type>().values(), &[1.5, 15.0]);
}

#[test]
fn a_pick_behind_the_column_is_refused() {
    let column: ArrayRef = Arc::new(Int32Array::from(vec![2, 3]));
    assert!(gather(&column, &[Some(Pick::at(2))]).is_err());
}

proptest! {
    #[test]
    fn picks_are_what_a_search_finds(
        mut times in proptest::collection::vec(-50_i64..50, 0..30),
        mut moments in proptest::collection::vec(-60_i64..60, 0..30),
        age in proptest::option::of(0_i64..20),
    ) {
        times.sort_unstable();
        moments.sort_unstable();
        let previous = pick(&times, &moments, Method::Previous, age);
        let nearest = pick(&times, &moments, Method::Nearest, age);
        for (at, moment) in moments.iter().enumerate() {
            let young = |index: &usize| age.is_none_or(|age| (times[*index] - moment).abs() <= age);
            let last = (0..times.len()).rev().find(|index| times[*index] <= *moment).filter(young);
            prop_assert_eq!(previous[at].map(|pick| pick.before as usize), last);
            let distance = times.iter().map(|time| (time - moment).abs()).min().filter(|distance| age.is_none_or(|age| *distance <= age));
            prop_assert_eq!(nearest[at].map(|pick| (times[pick.before as usize] - moment).abs()), distance);
        }
    }
}
