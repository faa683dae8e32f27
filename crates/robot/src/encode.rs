//! Other qualities of an image: JPEG of raw images, smaller JPEGs of compressed ones.
//!
//! In comes a `sensor_msgs/msg/Image` or `CompressedImage` in CDR, out comes a `CompressedImage` in CDR.
//!
//! **Invariant:** header, stamp and frame of an image are kept.

mod cdr;
mod jpeg;

use std::sync::Arc;

use bytes::Bytes;
use recording::message::Schema;

use crate::config::Encode;
use crate::tape::channel::ChannelSpec;
use crate::tape::transform::Transform;

/// The definition of what comes out.
const COMPRESSED_IMAGE: &str = "\
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

/// Makes JPEGs of images.
struct JpegTransform {
    encode: Encode,
    compressed: bool,
}

/// Returns the transform of `encode` for a channel, or `None` where it has no images that are known.
pub(crate) fn transform_for(encode: &Encode, spec: &ChannelSpec) -> Option<Arc<dyn Transform>> {
    if spec.encoding != "cdr" {
        return None;
    }
    let compressed = match spec.schema.as_ref()?.name.as_str() {
        "sensor_msgs/msg/Image" | "sensor_msgs/Image" => false,
        "sensor_msgs/msg/CompressedImage" | "sensor_msgs/CompressedImage" => true,
        _ => return None,
    };
    Some(Arc::new(JpegTransform { encode: *encode, compressed }))
}

impl Transform for JpegTransform {
    fn output(&self) -> (String, Option<Arc<Schema>>) {
        let schema = Schema {
            name: "sensor_msgs/msg/CompressedImage".into(),
            encoding: "ros2msg".into(),
            data: Bytes::from_static(COMPRESSED_IMAGE.as_bytes()),
        };
        ("cdr".into(), Some(Arc::new(schema)))
    }

    fn apply(&self, payload: &Bytes) -> Result<Bytes, String> {
        if self.compressed {
            let image = cdr::CompressedImage::read(payload)?;
            match jpeg::shrink(image.data, image.format, self.encode)? {
                // What is small enough stays as it is: encoding it again would only cost quality.
                None => Ok(payload.clone()),
                Some(jpeg) => Ok(image.header.write_compressed("jpeg", &jpeg)),
            }
        } else {
            let image = cdr::Image::read(payload)?;
            Ok(image.header.write_compressed("jpeg", &jpeg::encode(&image, self.encode)?))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(encoding: &str, width: u32, height: u32, step: u32) -> Bytes {
        let header = cdr::Header { sec: 7, nanosec: 8, frame_id: "cam" };
        let data: Vec<u8> = (0..step * height).map(|i| (i % 251) as u8).collect();
        header.write_image(width, height, encoding, step, &data)
    }

    fn apply(encode: Encode, name: &str, payload: &Bytes) -> Result<Bytes, String> {
        let schema = Schema { name: name.into(), encoding: "ros2msg".into(), data: Bytes::new() };
        let spec = ChannelSpec { encoding: "cdr".into(), schema: Some(Arc::new(schema)), ..ChannelSpec::default() };
        transform_for(&encode, &spec).expect("images are known").apply(payload)
    }

    const ENCODE: Encode = Encode { quality: 80, max_width: Some(32) };

    #[test]
    fn raw_images_become_small_jpegs_with_their_header() {
        for (encoding, channels) in [("rgb8", 3), ("bgr8", 3), ("rgba8", 4), ("bgra8", 4), ("mono8", 1), ("mono16", 2)] {
            let jpeg = apply(ENCODE, "sensor_msgs/msg/Image", &image(encoding, 64, 48, 64 * channels)).unwrap();
            let out = cdr::CompressedImage::read(&jpeg).unwrap();
            assert_eq!((out.header.sec, out.header.nanosec, out.header.frame_id, out.format), (7, 8, "cam", "jpeg"));
            let decoded = image::load_from_memory(out.data).unwrap();
            assert_eq!((decoded.width(), decoded.height()), (32, 24), "{encoding}");
        }
    }

    #[test]
    fn compressed_images_are_only_shrunk() {
        let jpeg = apply(Encode { quality: 80, max_width: None }, "sensor_msgs/msg/Image", &image("rgb8", 64, 48, 192)).unwrap();
        let smaller = apply(ENCODE, "sensor_msgs/msg/CompressedImage", &jpeg).unwrap();
        let decoded = image::load_from_memory(cdr::CompressedImage::read(&smaller).unwrap().data).unwrap();
        assert_eq!(decoded.width(), 32);
        assert_eq!(apply(ENCODE, "sensor_msgs/msg/CompressedImage", &smaller).unwrap(), smaller, "small enough already");
    }

    #[test]
    fn what_is_no_image_is_refused_with_a_reason() {
        let check = |payload: &[u8], part: &str| {
            let error = apply(ENCODE, "sensor_msgs/msg/Image", &Bytes::copy_from_slice(payload)).unwrap_err();
            assert!(error.contains(part), "{error}");
        };
        check(b"", "ends");
        check(&[0; 8], "CDR");
        check(&image("rgb8", 64, 48, 100), "step");
        check(&image("bayer_weird", 64, 48, 64), "bayer_weird");
        check(&image("rgb8", 64, 48, 192)[..500], "ends");
    }
}
