//! YUV as RGB: ITU-R 601 in video range (brightness 16 to 235), which is what OpenCV and cameras mean by it.
//!
//! **Invariant:** rows are as long as their layout says; the caller has checked them.

/// Returns RGB of rows with four bytes per two pixels.
pub(super) fn rgb_of_422(rows: &[&[u8]], width: usize, luma_first: bool) -> Vec<u8> {
    let mut rgb = Vec::with_capacity(rows.len() * width * 3);
    for row in rows {
        let end = rgb.len() + width * 3;
        for four in row.chunks_exact(4) {
            let (y0, u, y1, v) = if luma_first { (four[0], four[1], four[2], four[3]) } else { (four[1], four[0], four[3], four[2]) };
            rgb.extend_from_slice(&pixel(y0, u, v));
            rgb.extend_from_slice(&pixel(y1, u, v));
        }
        // A row of an odd width ends in half a pair.
        rgb.truncate(end);
    }
    rgb
}

/// Returns RGB of `height` rows of brightness and half as many of pairs of colours.
pub(super) fn rgb_of_420(rows: &[&[u8]], width: usize, height: usize, v_first: bool) -> Vec<u8> {
    let mut rgb = Vec::with_capacity(height * width * 3);
    for (y, row) in rows.iter().take(height).enumerate() {
        let colours = rows[height + y / 2];
        for (x, luma) in row.iter().take(width).enumerate() {
            let (first, second) = (colours[x / 2 * 2], colours[x / 2 * 2 + 1]);
            let (u, v) = if v_first { (second, first) } else { (first, second) };
            rgb.extend_from_slice(&pixel(*luma, u, v));
        }
    }
    rgb
}

/// Returns RGB of `height` rows of brightness and twice as many that hold pairs of colours.
pub(super) fn rgb_of_444(rows: &[&[u8]], width: usize, height: usize) -> Vec<u8> {
    let mut rgb = Vec::with_capacity(height * width * 3);
    for (y, row) in rows.iter().take(height).enumerate() {
        let colours = [rows[height + y * 2], rows[height + y * 2 + 1]];
        let at = |index: usize| colours[index / width][index % width];
        for (x, luma) in row.iter().enumerate() {
            rgb.extend_from_slice(&pixel(*luma, at(x * 2), at(x * 2 + 1)));
        }
    }
    rgb
}

fn pixel(y: u8, u: u8, v: u8) -> [u8; 3] {
    let (y, u, v) = (298 * (i32::from(y) - 16), i32::from(u) - 128, i32::from(v) - 128);
    let byte = |value: i32| ((value + 128) >> 8).clamp(0, 255) as u8;
    [byte(y + 409 * v), byte(y - 100 * u - 208 * v), byte(y + 516 * u)]
}
