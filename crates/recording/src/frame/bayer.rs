//! Colours behind a Bayer filter: what a pixel does not see is the mean of its nearest neighbours that do (bilinear).
//!
//! **Invariant:** beyond an edge the picture is mirrored, which keeps the pattern.

use super::encoding::Pattern;

/// Returns RGB of a mosaic without gaps.
pub(super) fn rgb(mosaic: &[u8], width: usize, height: usize, pattern: Pattern) -> Vec<u8> {
    // Where the red pixel of each four stands; the blue one is opposite to it.
    let (red_x, red_y) = match pattern {
        Pattern::Rggb => (0, 0),
        Pattern::Bggr => (1, 1),
        Pattern::Gbrg => (0, 1),
        Pattern::Grbg => (1, 0),
    };
    let mut rgb = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        let row = |y: usize| &mosaic[y * width..][..width];
        let (above, own, below) = (row(before(y, height)), row(y), row(after(y, height)));
        for x in 0..width {
            let (left, right) = (before(x, width), after(x, width));
            let beside = mean2(own[left], own[right]);
            let vertical = mean2(above[x], below[x]);
            let pixel = match (x % 2 == red_x, y % 2 == red_y) {
                (true, true) => [own[x], cross(above[x], below[x], own[left], own[right]), diagonal(above, below, left, right)],
                (false, false) => [diagonal(above, below, left, right), cross(above[x], below[x], own[left], own[right]), own[x]],
                (false, true) => [beside, own[x], vertical],
                (true, false) => [vertical, own[x], beside],
            };
            rgb.extend_from_slice(&pixel);
        }
    }
    rgb
}

fn before(at: usize, count: usize) -> usize {
    if at > 0 { at - 1 } else { 1.min(count - 1) }
}

fn after(at: usize, count: usize) -> usize {
    if at + 1 < count { at + 1 } else { at.saturating_sub(1) }
}

fn mean2(a: u8, b: u8) -> u8 {
    (u16::from(a) + u16::from(b)).div_ceil(2) as u8
}

fn cross(a: u8, b: u8, c: u8, d: u8) -> u8 {
    ((u16::from(a) + u16::from(b) + u16::from(c) + u16::from(d) + 2) / 4) as u8
}

fn diagonal(above: &[u8], below: &[u8], left: usize, right: usize) -> u8 {
    cross(above[left], above[right], below[left], below[right])
}
