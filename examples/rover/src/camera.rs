//! The front camera: the scene as the rover sees it, as JPEG in a ROS 2 `sensor_msgs/msg/CompressedImage`.
//!
//! In comes the world, out come CDR bytes as ROS 2 itself would write them.
//!
//! **Invariant:** what stands still is drawn once; a frame costs a copy of it, some rectangles and the JPEG encoder.

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageError};

use crate::sensors::Stamp;
use crate::world::World;

/// Width of a frame in pixels.
pub(crate) const WIDTH: usize = 640;
/// Height of a frame in pixels.
pub(crate) const HEIGHT: usize = 480;
/// Frames per second.
pub(crate) const RATE_HZ: u64 = 15;
/// From the exposure to the log time, in ms.
pub(crate) const LAG_MS: f64 = 85.0;
/// The type's name.
pub(crate) const TYPE_NAME: &str = "sensor_msgs/msg/CompressedImage";
/// The type's definition with all that it names, as rosbag2 writes it.
pub(crate) const SCHEMA: &str = "\
std_msgs/Header header
string format
uint8[] data
================================================================================
MSG: std_msgs/Header
builtin_interfaces/Time stamp
string frame_id
================================================================================
MSG: builtin_interfaces/Time
int32 sec
uint32 nanosec
";

const QUALITY: u8 = 80;
const HORIZON: usize = 200;
/// Pixels per metre at one metre's distance.
const FOCAL_PIXELS: f64 = 420.0;
const CAMERA_HEIGHT_M: f64 = 0.9;
const LANE_HALF_WIDTH_M: f64 = 3.2;
const DASH_EVERY_M: f64 = 6.0;
/// How far the stop sign can be seen.
const SIGN_VISIBLE_M: f64 = 60.0;
/// From the middle of the lane to the sign and from the road up to its middle.
const SIGN_ASIDE_M: f64 = 3.9;
const SIGN_HEIGHT_M: f64 = 2.2;
const SIGN_RADIUS_M: f64 = 0.45;

type Colour = [u8; 3];

const WHITE: Colour = [240, 240, 235];
const RED: Colour = [190, 20, 25];
const GREY: Colour = [110, 110, 112];

/// A camera and the picture of everything that does not move.
pub(crate) struct Camera {
    background: Vec<u8>,
    frame: Vec<u8>,
    frames: u64,
}

impl Camera {
    /// Returns a camera that has drawn its background.
    pub(crate) fn new() -> Self {
        let mut background = vec![0; WIDTH * HEIGHT * 3];
        for (index, pixel) in background.chunks_exact_mut(3).enumerate() {
            pixel.copy_from_slice(&ground_or_sky(index % WIDTH, index / WIDTH));
        }
        Self { frame: background.clone(), background, frames: 0 }
    }

    /// Returns the next frame as a message.
    pub(crate) fn message(&mut self, world: &World, stamp: Stamp) -> Result<Vec<u8>, ImageError> {
        let jpeg = self.jpeg(world)?;
        Ok(compressed_image(stamp, "camera_front", "jpeg", &jpeg))
    }

    fn jpeg(&mut self, world: &World) -> Result<Vec<u8>, ImageError> {
        self.frame.copy_from_slice(&self.background);
        self.draw_lane(world.travelled_m);
        let sign_ahead_m = world.stop_sign_at_m - world.travelled_m;
        if (1.5..SIGN_VISIBLE_M).contains(&sign_ahead_m) {
            self.draw_stop_sign(sign_ahead_m);
        }
        self.frames += 1;
        self.draw_text(12, 12, 2, &format!("FRAME {:06}", self.frames), WHITE);
        self.draw_text(12, 34, 2, &format!("T {:.2} S  {:.1} M/S", world.time_s(), world.speed), WHITE);
        let mut jpeg = Vec::with_capacity(64 << 10);
        JpegEncoder::new_with_quality(&mut jpeg, QUALITY).encode(&self.frame, WIDTH as u32, HEIGHT as u32, ExtendedColorType::Rgb8)?;
        Ok(jpeg)
    }

    /// Draws the dashes in the middle of the road, which come nearer as the rover drives.
    fn draw_lane(&mut self, travelled_m: f64) {
        for row in HORIZON + 4..HEIGHT {
            let ahead_m = FOCAL_PIXELS * CAMERA_HEIGHT_M / (row - HORIZON) as f64;
            if (travelled_m + ahead_m).rem_euclid(DASH_EVERY_M) < DASH_EVERY_M / 2.0 {
                let half = (0.08 * FOCAL_PIXELS / ahead_m).max(0.5);
                self.fill(WIDTH as f64 / 2.0 - half, row as f64, 2.0 * half, 1.0, WHITE);
            }
        }
    }

    fn draw_stop_sign(&mut self, ahead_m: f64) {
        let scale = FOCAL_PIXELS / ahead_m;
        let x = WIDTH as f64 / 2.0 + SIGN_ASIDE_M * scale;
        let y = HORIZON as f64 + (CAMERA_HEIGHT_M - SIGN_HEIGHT_M) * scale;
        self.fill(x - 0.04 * scale, y, 0.08 * scale, SIGN_HEIGHT_M * scale, GREY);
        self.draw_octagon(x, y, SIGN_RADIUS_M * scale, WHITE);
        self.draw_octagon(x, y, SIGN_RADIUS_M * 0.9 * scale, RED);
        let size = (SIGN_RADIUS_M * 1.4 * scale / TEXT_CELL_WIDTH as f64 / 4.0) as usize;
        if size > 0 {
            let (left, top) = (x - (4 * TEXT_CELL_WIDTH * size / 2) as f64, y - (GLYPH_HEIGHT * size / 2) as f64);
            self.draw_text(left.max(0.0) as usize, top.max(0.0) as usize, size, "STOP", WHITE);
        }
    }

    fn draw_octagon(&mut self, x: f64, y: f64, radius: f64, colour: Colour) {
        let corner = radius * (std::f64::consts::SQRT_2 - 1.0);
        let mut row = -radius;
        while row < radius {
            let half = if row.abs() <= corner { radius } else { radius - (row.abs() - corner) };
            self.fill(x - half, y + row, 2.0 * half, 1.0, colour);
            row += 1.0;
        }
    }

    fn draw_text(&mut self, left: usize, top: usize, size: usize, text: &str, colour: Colour) {
        for (place, character) in text.chars().enumerate() {
            for (row, bits) in glyph(character).into_iter().enumerate() {
                for column in (0..GLYPH_WIDTH).filter(|column| bits >> (GLYPH_WIDTH - 1 - column) & 1 == 1) {
                    let x = left + (place * TEXT_CELL_WIDTH + column) * size;
                    self.fill(x as f64, (top + row * size) as f64, size as f64, size as f64, colour);
                }
            }
        }
    }

    /// Fills what of a rectangle lies in the frame.
    fn fill(&mut self, left: f64, top: f64, width: f64, height: f64, colour: Colour) {
        let within = |value: f64, limit: usize| (value.round().max(0.0) as usize).min(limit);
        let (from, to) = (within(left, WIDTH), within(left + width, WIDTH));
        for row in within(top, HEIGHT)..within(top + height, HEIGHT) {
            for pixel in self.frame[(row * WIDTH + from) * 3..(row * WIDTH + to) * 3].chunks_exact_mut(3) {
                pixel.copy_from_slice(&colour);
            }
        }
    }
}

fn ground_or_sky(x: usize, y: usize) -> Colour {
    if y < HORIZON {
        let haze = (y * 90 / HORIZON) as u8;
        return [90 + haze, 140 + haze / 2, 205 + haze / 4];
    }
    let below = y - HORIZON;
    let aside_m = (x as f64 - WIDTH as f64 / 2.0).abs() * CAMERA_HEIGHT_M / (below.max(1)) as f64;
    // A little grain, so that the JPEG has the size that one of a real road has.
    let grain = ((x * 7919) ^ (y * 104_729) ^ (x * y)) % 23;
    let shade = (below * 30 / (HEIGHT - HORIZON) + grain) as u8;
    match aside_m {
        aside if aside < LANE_HALF_WIDTH_M - 0.1 => [70 + shade, 70 + shade, 74 + shade],
        aside if aside < LANE_HALF_WIDTH_M => WHITE,
        aside if aside < LANE_HALF_WIDTH_M + 1.5 => [150 + shade, 146 + shade, 138 + shade],
        _ => [52 + shade, 96 + shade, 44 + shade],
    }
}

/// Returns a `sensor_msgs/msg/CompressedImage` in little-endian CDR.
fn compressed_image(stamp: Stamp, frame_id: &str, format: &str, data: &[u8]) -> Vec<u8> {
    const ENCAPSULATION: [u8; 4] = [0, 1, 0, 0];
    let mut cdr = Vec::with_capacity(data.len() + 64);
    cdr.extend(ENCAPSULATION);
    let (sec, nanosec) = stamp.parts();
    cdr.extend(sec.to_le_bytes());
    cdr.extend(nanosec.to_le_bytes());
    for text in [frame_id, format] {
        put_length(&mut cdr, text.len() + 1);
        cdr.extend(text.as_bytes());
        cdr.push(0);
    }
    put_length(&mut cdr, data.len());
    cdr.extend(data);
    cdr
}

/// Writes a length where CDR wants it: at the next multiple of four behind the encapsulation, which is four long itself.
fn put_length(cdr: &mut Vec<u8>, length: usize) {
    cdr.resize(cdr.len().next_multiple_of(4), 0);
    cdr.extend(u32::try_from(length).expect("texts and frames are far below 4 GiB").to_le_bytes());
}

const GLYPH_WIDTH: usize = 5;
const GLYPH_HEIGHT: usize = 7;
const TEXT_CELL_WIDTH: usize = GLYPH_WIDTH + 1;

/// Returns the rows of a character, top first, five bits each; a space for those that no text here has.
fn glyph(character: char) -> [u8; GLYPH_HEIGHT] {
    match character {
        '0' => [0x0e, 0x11, 0x13, 0x15, 0x19, 0x11, 0x0e],
        '1' => [0x04, 0x0c, 0x04, 0x04, 0x04, 0x04, 0x0e],
        '2' => [0x0e, 0x11, 0x01, 0x02, 0x04, 0x08, 0x1f],
        '3' => [0x1f, 0x02, 0x04, 0x02, 0x01, 0x11, 0x0e],
        '4' => [0x02, 0x06, 0x0a, 0x12, 0x1f, 0x02, 0x02],
        '5' => [0x1f, 0x10, 0x1e, 0x01, 0x01, 0x11, 0x0e],
        '6' => [0x06, 0x08, 0x10, 0x1e, 0x11, 0x11, 0x0e],
        '7' => [0x1f, 0x01, 0x02, 0x04, 0x08, 0x08, 0x08],
        '8' => [0x0e, 0x11, 0x11, 0x0e, 0x11, 0x11, 0x0e],
        '9' => [0x0e, 0x11, 0x11, 0x0f, 0x01, 0x02, 0x0c],
        'A' => [0x0e, 0x11, 0x11, 0x1f, 0x11, 0x11, 0x11],
        'E' => [0x1f, 0x10, 0x10, 0x1e, 0x10, 0x10, 0x1f],
        'F' => [0x1f, 0x10, 0x10, 0x1e, 0x10, 0x10, 0x10],
        'M' => [0x11, 0x1b, 0x15, 0x15, 0x11, 0x11, 0x11],
        'O' => [0x0e, 0x11, 0x11, 0x11, 0x11, 0x11, 0x0e],
        'P' => [0x1e, 0x11, 0x11, 0x1e, 0x10, 0x10, 0x10],
        'R' => [0x1e, 0x11, 0x11, 0x1e, 0x14, 0x12, 0x11],
        'S' => [0x0f, 0x10, 0x10, 0x0e, 0x01, 0x01, 0x1e],
        'T' => [0x1f, 0x04, 0x04, 0x04, 0x04, 0x04, 0x04],
        '.' => [0x00, 0x00, 0x00, 0x00, 0x00, 0x0c, 0x0c],
        '/' => [0x01, 0x01, 0x02, 0x04, 0x08, 0x10, 0x10],
        _ => [0; GLYPH_HEIGHT],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::STOP_SIGN_S;

    fn world_at(time_s: f64) -> World {
        let mut world = World::new();
        while world.time_s() < time_s {
            world.step();
        }
        world
    }

    fn red_pixels(world: &World) -> usize {
        let jpeg = Camera::new().jpeg(world).unwrap();
        let image = image::load_from_memory(&jpeg).unwrap().to_rgb8();
        assert_eq!(image.dimensions(), (WIDTH as u32, HEIGHT as u32));
        image.pixels().filter(|pixel| pixel.0[0] > 140 && pixel.0[1] < 80 && pixel.0[2] < 80).count()
    }

    #[test]
    fn the_stop_sign_comes_nearer_and_passes() {
        let counts = [-8.0, -4.0, -2.0, 0.1].map(|before_s| red_pixels(&world_at(STOP_SIGN_S + before_s)));
        assert!(counts[0] < counts[1] && counts[1] * 2 < counts[2] && counts[3] == 0, "{counts:?}");
    }

    #[test]
    fn frames_differ_and_have_the_size_of_real_ones() {
        let (mut camera, world) = (Camera::new(), world_at(1.0));
        let (first, second) = (camera.jpeg(&world).unwrap(), camera.jpeg(&world).unwrap());
        assert_ne!(first, second, "the frame counter is in the picture");
        assert!((20_000..150_000).contains(&first.len()), "{}", first.len());
    }

    #[test]
    fn messages_are_laid_out_as_cdr() {
        let cdr = compressed_image(Stamp::new(1_500_000_000), "cam", "jpeg", &[9, 8, 7]);
        let expected: &[u8] = &[
            0, 1, 0, 0, // little-endian
            1, 0, 0, 0, 0x00, 0x65, 0xcd, 0x1d, // 1 s, 500,000,000 ns
            4, 0, 0, 0, b'c', b'a', b'm', 0, // frame_id
            5, 0, 0, 0, b'j', b'p', b'e', b'g', 0, 0, 0, 0, // format, and up to the next multiple of four
            3, 0, 0, 0, 9, 8, 7, // data
        ];
        assert_eq!(cdr, expected);
    }
}
