use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::message::{Schema, Topic};
use crate::schema::library::Library;

fn pictures(type_name: &str, schema_encoding: &str, encoding: &str, definition: &str) -> Option<Pictures> {
    let data = Bytes::copy_from_slice(definition.as_bytes());
    let schema = Schema { name: type_name.to_owned(), encoding: schema_encoding.to_owned(), data };
    let (name, encoding) = ("/camera".to_owned(), encoding.to_owned());
    let topic = Topic { name, encoding, schema: Some(Arc::new(schema)), metadata: BTreeMap::new() };
    Pictures::new(&Decoder::new(&topic, &Library::standard()).unwrap())
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend_from_slice(&(text.len() as u32 + 1).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
    out.push(0);
}

fn numbers(out: &mut Vec<u8>, numbers: &[u32]) {
    out.resize(out.len().next_multiple_of(4), 0);
    numbers.iter().for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
}

#[test]
fn a_ros_image_is_read_without_copying_it() {
    let pictures = pictures("sensor_msgs/msg/Image", "ros2msg", "cdr", "").unwrap();
    assert!(!pictures.may_be_video());
    // Alignment counts from behind the 4 bytes of the header, which are as many as the largest number here.
    let mut payload = vec![0, 1, 0, 0];
    numbers(&mut payload, &[7, 9]);
    text(&mut payload, "front");
    numbers(&mut payload, &[1, 2]);
    text(&mut payload, "rgb8");
    payload.push(0);
    numbers(&mut payload, &[6, 6]);
    payload.extend_from_slice(&[1, 2, 3, 4, 5, 6]);
    let picture = pictures.read(&payload).unwrap();
    assert_eq!((picture.stamp_ns, &*picture.frame_id, picture.encoding()), (Some(7_000_000_009), "front", "rgb8"));
    assert!(matches!(picture.data, Cow::Borrowed([1, 2, 3, 4, 5, 6])));
    let pixels = picture.pixels(Form::Bgr).unwrap().unwrap();
    assert_eq!((pixels.width, pixels.height, pixels.data), (2, 1, vec![3, 2, 1, 6, 5, 4]));
    for cut in 0..payload.len() {
        assert!(pictures.read(&payload[..cut]).is_err(), "{cut}");
    }
}

const VIDEO: &str = r#"{"type": "object", "properties": {"frame_id": {"type": "string"}, "format": {"type": "string"},
    "data": {"type": "string", "contentEncoding": "base64"}}}"#;

#[test]
fn a_packet_of_a_video_has_no_pixels_of_its_own() {
    let pictures = pictures("foxglove.CompressedVideo", "jsonschema", "json", VIDEO).unwrap();
    assert!(pictures.may_be_video());
    let picture = pictures.read(br#"{"frame_id": "front", "format": "h264", "data": "AQID"}"#).unwrap();
    assert_eq!((picture.stored.clone(), picture.data.to_vec()), (Stored::Video("h264".into()), vec![1, 2, 3]));
    assert_eq!(picture.pixels(Form::Rgb).unwrap(), None);
}

#[test]
fn other_types_have_no_pictures() {
    assert!(pictures("sensor_msgs/msg/Imu", "ros2msg", "cdr", "").is_none());
    assert!(pictures("std_msgs/msg/String", "ros2msg", "cdr", "").is_none());
}
