//! How often a frame is copied: counted as the memory that a copy would need.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::c_void;
use std::sync::atomic::{AtomicUsize, Ordering};

use robot::agent::{Agent, AgentOptions};
use tapeloop::OpenOptions;

use crate::{channel, init, last_error, log, messages, open, text};

/// A size that nothing else in these tests has.
const FRAME_BYTES: usize = 7_000_000;
const FRAMES: usize = 12;

static FRAME_SIZED: AtomicUsize = AtomicUsize::new(0);

/// Counts allocations that could hold a frame.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(size: usize) {
    if (FRAME_BYTES..FRAME_BYTES + FRAME_BYTES / 16).contains(&size) {
        FRAME_SIZED.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: it only counts what the system's allocator does.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Logs frames and returns how much memory of their size was asked for meanwhile, until they are on the disk.
fn frames_asked_for(recorder: tapeloop::RecorderHandle) -> usize {
    let mut frame = vec![0; FRAME_BYTES];
    let to = channel(recorder, "/camera");
    let before = FRAME_SIZED.load(Ordering::Relaxed);
    for index in 0..FRAMES {
        frame.fill(index as u8);
        assert_eq!(log(to, &frame), 0, "{}", last_error());
    }
    assert_eq!(tapeloop::tl_flush(recorder), 0, "{}", last_error());
    FRAME_SIZED.load(Ordering::Relaxed) - before
}

fn assert_frames(root: &std::path::Path) {
    let frames = messages(root, "/camera");
    let expected = |index: usize| frames[index].data.len() == FRAME_BYTES && frames[index].data.iter().all(|byte| *byte == index as u8);
    assert!(frames.len() == FRAMES && (0..FRAMES).all(expected));
}

// Both in one test: they would count each other's frames.
#[test]
fn a_frame_is_copied_at_most_once_on_its_way() {
    // A tape copies a frame into pages of its own, which are not the allocator's: beyond them there is no memory for a second copy.
    let place = tempfile::tempdir().unwrap();
    let recorder = open(place.path());
    assert_eq!(frames_asked_for(recorder), 0);
    assert_eq!(tapeloop::tl_close(recorder, 0), 0, "{}", last_error());
    assert_frames(place.path());

    // An agent, here in the same process, reads a frame from the socket into memory that it asks for once; the client asks for none.
    let place = tempfile::tempdir().unwrap();
    let (root, socket) = (place.path().join("tape"), place.path().join("agent.sock"));
    std::fs::write(place.path().join("agent.toml"), "").unwrap();
    let agent = Agent::start(AgentOptions {
        config: Some(place.path().join("agent.toml")),
        data: Some(root.clone()),
        socket: Some(socket.clone()),
        http: Some("off".into()),
        ..AgentOptions::default()
    })
    .unwrap();
    let socket = text(&socket.display().to_string());
    let options = OpenOptions { socket: socket.as_ptr(), ..init!(OpenOptions) };
    let mut recorder = std::ptr::null_mut();
    // SAFETY: the options' texts live until it returns.
    assert_eq!(unsafe { tapeloop::tl_open(&options, &mut recorder) }, 0, "{}", last_error());
    let asked = frames_asked_for(recorder);
    assert!(asked <= FRAMES, "memory for {asked} frames, of which the agent needs {FRAMES} at most");
    assert_eq!(tapeloop::tl_close(recorder, 0), 0, "{}", last_error());
    agent.stop(robot::Leave::CutShort).unwrap();
    assert_frames(&root);
}

// A frame of another size, so that the other test does not count it.
#[test]
fn what_is_lent_is_given_back_once() {
    unsafe extern "C" fn release(context: *mut c_void) {
        // SAFETY: the context of every call below is this counter.
        unsafe { &*context.cast::<AtomicUsize>() }.fetch_add(1, Ordering::SeqCst);
    }
    let released = AtomicUsize::new(0);
    let context = (&raw const released).cast_mut().cast();
    let place = tempfile::tempdir().unwrap();
    let recorder = open(place.path());
    let to = channel(recorder, "/scan");
    let (large, small) = (vec![3_u8; 1_000_000], vec![4_u8; 10]);
    let lend = |to, bytes: &[u8]| {
        // SAFETY: the bytes outlive the recorder, which is closed below.
        unsafe { tapeloop::tl_log_shared(to, bytes.as_ptr().cast(), bytes.len(), 5, tapeloop::NOW, Some(release), context) }
    };
    assert_eq!((lend(to, &large), lend(to, &small)), (0, 0), "{}", last_error());
    assert_eq!(lend(recorder, &small), 1, "a recorder is no channel");
    assert_eq!(lend(std::ptr::null_mut(), &small), 1);
    assert_eq!(tapeloop::tl_close(recorder, 0), 0, "{}", last_error());
    assert_eq!(lend(to, &small), 1);
    assert_eq!(released.load(Ordering::SeqCst), 5);
    let lengths: Vec<usize> = messages(place.path(), "/scan").iter().map(|message| message.data.len()).collect();
    assert_eq!(lengths, [1_000_000, 10]);
}
