//! Calls that are wrong: each is answered with a status and a text, and nothing else happens.

use std::ffi::{c_char, c_void};
use std::ptr::{null, null_mut};

use tapeloop::{ChannelOptions, OpenOptions, Pair, SaveOptions};

use crate::{channel, init, last_error, log, messages, open, save_options, text};

const INVALID: u32 = 1;
const UNAVAILABLE: u32 = 5;

#[track_caller]
fn refused(status: u32, with: &str) {
    assert_eq!(status, INVALID, "{}", last_error());
    assert!(last_error().contains(with), "{}", last_error());
}

#[test]
fn null_and_what_is_no_handle_are_refused() {
    let place = tempfile::tempdir().unwrap();
    let recorder = open(place.path());
    let to = channel(recorder, "/a");
    let made_up: *mut c_void = std::ptr::without_provenance_mut(0x7fff_1234_5678);
    // SAFETY: null is what these calls must refuse; everything else is as they want it.
    unsafe {
        refused(tapeloop::tl_open(null(), null_mut()), "place for the recorder is NULL");
        refused(tapeloop::tl_channel(recorder, null(), null_mut()), "place for the channel is NULL");
        let mut out = made_up;
        refused(tapeloop::tl_channel(recorder, null(), &mut out), "topic is NULL");
        assert!(out.is_null(), "what failed leaves no handle behind");
        refused(tapeloop::tl_describe(recorder, null_mut(), 10), "NULL");
        refused(tapeloop::tl_describe(recorder, [0 as c_char; 3].as_mut_ptr(), 3), "room for text of 3 bytes");
        refused(tapeloop::tl_wait(recorder, null(), 0), "id is NULL");
        refused(tapeloop::tl_keep_stop(recorder, null(), null()), "name is NULL");
        refused(tapeloop::tl_log_shared(to, b"1".as_ptr().cast(), 1, 0, 0, None, null_mut()), "release is NULL");
        refused(tapeloop::tl_log(to, null(), 5), "data is NULL");
        assert_eq!(tapeloop::tl_log(to, null(), 0), 0);
    }
    for handle in [null_mut(), made_up, to] {
        refused(tapeloop::tl_flush(handle), "recorder");
        refused(tapeloop::tl_close(handle, 0), "recorder");
    }
    for handle in [null_mut(), made_up, recorder] {
        refused(log(handle, b"1"), "channel");
    }
    refused(tapeloop::tl_close(recorder, 3), "TL_PENDING_WAIT");
    assert_eq!(tapeloop::tl_close(recorder, 0), 0);
    refused(tapeloop::tl_close(recorder, 0), "was closed");
    refused(log(to, b"1"), "was closed");
    assert_eq!(messages(place.path(), "/a").len(), 1);
}

#[test]
fn texts_and_sizes_are_checked() {
    let place = tempfile::tempdir().unwrap();
    let recorder = open(place.path());
    let to = channel(recorder, "/a");
    let mut out = null_mut();
    let (topic, name, latin) = (text("/b"), text("T"), std::ffi::CString::new(&b"/caf\xe9"[..]).unwrap());
    let good = ChannelOptions { topic: topic.as_ptr(), ..init!(ChannelOptions) };
    let mut try_channel = |options: ChannelOptions, with: &str| {
        // SAFETY: what the options point to lives until it returns, or is refused before it is followed.
        refused(unsafe { tapeloop::tl_channel(recorder, &options, &mut out) }, with);
    };
    try_channel(ChannelOptions { topic: latin.as_ptr(), ..good }, "topic is not UTF-8 at byte 4");
    try_channel(ChannelOptions { topic: c"".as_ptr(), ..good }, "a topic needs a name");
    try_channel(ChannelOptions { topic: c"a\nb".as_ptr(), ..good }, "control character");
    try_channel(ChannelOptions { size: 0, ..good }, "TL_…_OPTIONS_INIT");
    try_channel(ChannelOptions { size: usize::MAX, ..good }, "TL_…_OPTIONS_INIT");
    // It would end within the topic's pointer.
    try_channel(ChannelOptions { size: size_of::<usize>() + 4, ..good }, "TL_…_OPTIONS_INIT");
    let schema = ChannelOptions { schema_name: name.as_ptr(), ..good };
    try_channel(ChannelOptions { schema_size: 1, ..good }, "schema_name");
    try_channel(ChannelOptions { schema_size: 9, ..schema }, "schema_data is NULL");
    try_channel(ChannelOptions { schema_data: name.as_ptr().cast(), schema_size: usize::MAX, ..schema }, "at most");
    let pair = Pair { key: topic.as_ptr(), value: null() };
    try_channel(ChannelOptions { metadata: &pair, metadata_count: 1, ..good }, "a value is NULL");
    try_channel(ChannelOptions { metadata: &pair, metadata_count: usize::MAX, ..good }, "at most 4096");
    try_channel(ChannelOptions { metadata_count: 1, ..good }, "metadata is NULL");
    // SAFETY: a size that is refused before anything is read.
    unsafe {
        refused(tapeloop::tl_log(to, topic.as_ptr().cast(), usize::MAX), "at most 1073741824");
        refused(tapeloop::tl_log_at(to, topic.as_ptr().cast(), 2, -5, tapeloop::NOW), "before 1970");
    }
    assert_eq!(tapeloop::tl_close(recorder, 0), 0);
}

#[test]
fn options_of_another_header_are_taken_as_far_as_they_are_understood() {
    #[repr(C)]
    struct Newer {
        known: OpenOptions,
        new: usize,
    }
    let place = tempfile::tempdir().unwrap();
    let data = text(&place.path().join("tape").display().to_string());
    let known = OpenOptions { size: size_of::<Newer>(), data: data.as_ptr(), ..init!(OpenOptions) };
    let (unknown, unset) = (Newer { known, new: 1 }, Newer { known, new: 0 });
    assert_eq!((unknown.known.size, unknown.new), (size_of::<Newer>(), 1));
    let mut recorder = null_mut();
    // SAFETY: the structs are as large as they say, and their texts live on.
    unsafe {
        refused(tapeloop::tl_open((&raw const unknown).cast(), &mut recorder), "older than the tapeloop.h");
        assert_eq!(tapeloop::tl_open((&raw const unset).cast(), &mut recorder), 0, "{}", last_error());
    }
    assert_eq!(tapeloop::tl_close(recorder, 0), 0);
    // One that ends behind `data`, which says the same.
    let older = [size_of::<usize>() * 3, 0, data.as_ptr().addr()];
    // SAFETY: as above; the address is that of a text.
    assert_eq!(unsafe { tapeloop::tl_open(older.as_ptr().cast(), &mut recorder) }, 0, "{}", last_error());
    assert_eq!(tapeloop::tl_close(recorder, 0), 0);
}

#[test]
fn recorders_that_cannot_be_opened_say_why() {
    let place = tempfile::tempdir().unwrap();
    let folder = text(&place.path().display().to_string());
    let mut recorder = null_mut();
    let mut open = |options: OpenOptions| {
        // SAFETY: the options' texts live until it returns.
        let status = unsafe { tapeloop::tl_open(&options, &mut recorder) };
        assert!(status != 0 && recorder.is_null());
        (status, last_error())
    };
    let options = init!(OpenOptions);
    let nobody = text(&place.path().join("none.sock").display().to_string());
    assert!(matches!(open(OpenOptions { socket: nobody.as_ptr(), ..options }).0, 2 | UNAVAILABLE));
    let both = OpenOptions { socket: nobody.as_ptr(), data: folder.as_ptr(), ..options };
    assert!(open(both).1.contains("say one of them"));
    let tape = OpenOptions { data: folder.as_ptr(), ..options };
    assert!(open(OpenOptions { config: c"a = 1".as_ptr(), ..tape }).1.contains("line 1"));
    assert!(open(OpenOptions { keep: c"much".as_ptr(), ..tape }).1.contains("'much'"));
    assert!(open(OpenOptions { keep: c"1 s".as_ptr(), config: c"".as_ptr(), ..tape }).1.contains("either keep or config"));
    assert!(open(OpenOptions { device: c"a/b".as_ptr(), ..tape }).1.contains("device"));
}

#[test]
fn what_is_kept_has_an_id_that_fits() {
    let place = tempfile::tempdir().unwrap();
    let recorder = open(place.path());
    let to = channel(recorder, "/a");
    assert_eq!(channel(recorder, "/a"), to, "equal options give the same handle");
    assert_eq!(log(to, b"hello"), 0);
    let mut id = [1 as c_char; tapeloop::ID_SIZE];
    let before = save_options(c"10 s");
    // SAFETY: there is as much room as is said.
    unsafe {
        refused(tapeloop::tl_save(recorder, &before, id.as_mut_ptr(), 8), "TL_ID_SIZE");
        refused(tapeloop::tl_save(recorder, &init!(SaveOptions), id.as_mut_ptr(), id.len()), "how much to keep");
        refused(tapeloop::tl_save(recorder, &SaveOptions { after: c"-1".as_ptr(), ..before }, null_mut(), 0), "not a duration");
        refused(tapeloop::tl_keep_start(recorder, c"x".as_ptr(), &SaveOptions { after: c"1 s".as_ptr(), ..before }, null_mut(), 0), "now");
        assert_eq!(tapeloop::tl_save(recorder, &before, id.as_mut_ptr(), id.len()), 0, "{}", last_error());
        assert_eq!(tapeloop::tl_wait(recorder, c"nobody".as_ptr(), 10), 2);
        assert_eq!(tapeloop::tl_close(recorder, 0), 0);
        let id = std::ffi::CStr::from_ptr(id.as_ptr()).to_str().unwrap();
        let manifests = std::fs::read_dir(place.path().join("devices")).unwrap().map(|device| device.unwrap().path());
        let manifest = manifests.map(|device| device.join(format!("{id}.json"))).find(|path| path.exists()).unwrap();
        assert_eq!(messages(&manifest, "/a")[0].data, "hello");
    }
}
