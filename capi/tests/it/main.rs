//! What C programs get: the examples as they are built by gcc and g++, and every call as a foreign program may make it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod copies;
mod examples;
mod misuse;

use std::ffi::{CStr, CString};
use std::path::Path;

use recording::{Message, Span, TopicFilter};
use tapeloop::{ChannelHandle, ChannelOptions, OpenOptions, RecorderHandle, SaveOptions};

/// Returns options of which only the size is set, as `TL_…_OPTIONS_INIT` makes them.
macro_rules! init {
    ($options:ty) => {{
        let mut options = $crate::zeroed::<$options>();
        options.size = size_of::<$options>();
        options
    }};
}
pub(crate) use init;

/// Returns options that are all zero.
fn zeroed<T: Copy>() -> T {
    // SAFETY: it is called for structs of numbers and pointers, of which zero is a value.
    unsafe { std::mem::zeroed() }
}

/// Opens a recorder with a tape in `folder` that is not compressed.
fn open(folder: &Path) -> RecorderHandle {
    let (data, config) = (text(&folder.display().to_string()), text("[[buffer]]\nname = \"all\"\ndisk = \"1 GB\"\ncompression = \"none\""));
    let options = OpenOptions { data: data.as_ptr(), config: config.as_ptr(), ..init!(OpenOptions) };
    let mut recorder = std::ptr::null_mut();
    // SAFETY: the options' texts live until it returns.
    assert_eq!(unsafe { tapeloop::tl_open(&options, &mut recorder) }, 0, "{}", last_error());
    recorder
}

fn channel(recorder: RecorderHandle, topic: &str) -> ChannelHandle {
    let topic = text(topic);
    let options = ChannelOptions { topic: topic.as_ptr(), ..init!(ChannelOptions) };
    let mut channel = std::ptr::null_mut();
    // SAFETY: the options' texts live until it returns.
    assert_eq!(unsafe { tapeloop::tl_channel(recorder, &options, &mut channel) }, 0, "{}", last_error());
    channel
}

fn log(to: ChannelHandle, data: &[u8]) -> u32 {
    // SAFETY: they are as many bytes.
    unsafe { tapeloop::tl_log(to, data.as_ptr().cast(), data.len()) }
}

fn save_options(before: &CStr) -> SaveOptions {
    SaveOptions { before: before.as_ptr(), ..init!(SaveOptions) }
}

fn last_error() -> String {
    // SAFETY: the text stays until the next failure of this thread.
    unsafe { CStr::from_ptr(tapeloop::tl_error()) }.to_str().unwrap().to_owned()
}

fn text(text: &str) -> CString {
    CString::new(text).unwrap()
}

/// Returns the messages of a topic.
fn messages(path: &Path, topic: &str) -> Vec<Message> {
    let recording = recording::read::open(path).unwrap();
    let filter = TopicFilter::all();
    let all = recording.messages(&filter, Span::ALL).unwrap().collect::<recording::Result<Vec<_>>>().unwrap();
    all.into_iter().filter(|message| message.topic.name == topic).collect()
}
