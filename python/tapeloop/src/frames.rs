//! `tapeloop.Frames` and `tapeloop.Frame`: the pictures of cameras, one after the other, as numpy arrays.
//!
//! Pictures are read and unpacked without the interpreter's lock; video and odd files are unpacked by Python packages, where those are
//! installed.
//!
//! **Invariant:** a damaged picture is a loss and not an end; a picture that nothing here can unpack raises.

mod frame;
mod video;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyBytes;
use recording::frame::{Form, Pictures, Pixels, Stored};
use recording::{Error, Kind, Loss, Message, Span, TopicFilter, read};

use self::frame::About;
pub(crate) use self::frame::Frame;
use self::video::Video;
use crate::argument::from_json;
use crate::error::{Failure, Result};
use crate::memory::{Memory, kind};
use crate::reading::{about, at, plan::decoder};

/// How far before the start of a span video is unpacked, to find a key frame.
const KEY_FRAME_NS: i64 = 10_000_000_000;
/// How many damaged pictures are told one by one.
const LOSSES_LIMIT: usize = 100;

/// Iterates over pictures.
#[pyclass(frozen, weakref, module = "tapeloop")]
pub(crate) struct Frames {
    /// Taken out while pictures are read, so that no lock is held meanwhile.
    state: Mutex<Option<State>>,
    /// Of what, for people.
    about: String,
}

struct State {
    source: read::Messages,
    form: Form,
    /// Pictures before it are unpacked where they are video, and not shown.
    start_ns: i64,
    cameras: Vec<Camera>,
    /// The camera of each topic, by address: topics live as long as their recording.
    known: HashMap<usize, Option<usize>>,
    ready: VecDeque<Frame>,
    losses: Vec<Loss>,
    ended: bool,
}

/// A topic with pictures.
struct Camera {
    topic: Arc<recording::Topic>,
    pictures: Pictures,
    video: Option<Video>,
}

/// What was read without the interpreter.
enum Next {
    Pixels(About, Pixels),
    /// A packet of a camera's video.
    Packet(usize, About, Vec<u8>),
    /// A file that Pillow may know.
    File(About, Vec<u8>),
    End,
}

impl Frames {
    /// Returns the pictures of `filter`'s topics in `span`; of one topic only where `only` names it.
    pub(crate) fn new(
        py: Python<'_>,
        recording: &read::Recording,
        filter: &TopicFilter,
        span: Span,
        only: Option<&str>,
        format: &str,
    ) -> Result<Self> {
        let form = parse_form(format)?;
        let mut cameras: Vec<Camera> = Vec::new();
        let mut refused: Option<Failure> = None;
        for topic in recording.topics() {
            let wanted = only.map_or_else(|| filter.matches(&topic.name), |only| topic.name == only);
            if !wanted || cameras.iter().any(|camera| camera.topic == *topic) {
                continue;
            }
            match decoder(topic).map(|decoder| Pictures::new(&decoder)) {
                Ok(None) => {}
                Ok(Some(pictures)) => cameras.push(Camera { topic: topic.clone(), pictures, video: None }),
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        // Who asks for all pictures gets all that there are, even if that is none.
        let is_asked = only.is_some() || !filter.patterns().is_empty();
        if cameras.is_empty() && is_asked {
            return Err(refused.unwrap_or_else(|| no_pictures(recording, filter, only)));
        }
        let video = cameras.iter().any(|camera| camera.pictures.may_be_video());
        let from_ns = if video { span.start_ns.saturating_sub(KEY_FRAME_NS) } else { span.start_ns };
        let about = format!("{} as {format}", about(recording, filter, only));
        let source = py.detach(|| recording.messages(filter, Span::new(from_ns, span.end_ns)))?;
        let (known, ready) = Default::default();
        let state = State { source, form, start_ns: span.start_ns, cameras, known, ready, losses: Vec::new(), ended: false };
        Ok(Self { state: Mutex::new(Some(state)), about })
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        let taken = self.state.lock().take();
        let mut state = taken.ok_or_else(|| Failure::Ours(Error::new(Kind::Conflict, "another thread is reading from this iterator")))?;
        let outcome = work(&mut state);
        *self.state.lock() = Some(state);
        outcome
    }
}

impl State {
    /// Reads on to the next picture, and unpacks it if that takes no Python.
    fn read(&mut self) -> recording::Result<Next> {
        while !self.ended {
            let Some(message) = self.source.next().transpose()? else {
                self.ended = true;
                self.losses.extend(self.source.losses().iter().cloned());
                return Ok(Next::End);
            };
            let cameras = &self.cameras;
            let camera = *self
                .known
                .entry(Arc::as_ptr(&message.topic) as usize)
                .or_insert_with(|| cameras.iter().position(|camera| camera.topic == message.topic));
            let Some(camera) = camera else { continue };
            match self.unpack(camera, &message) {
                Ok(Some(next)) => return Ok(next),
                Ok(None) => {}
                Err(error) if error.kind() == Kind::Corrupt => self.lose(&message, &error),
                Err(error) => return Err(error),
            }
        }
        Ok(Next::End)
    }

    /// Returns the picture of a message; `None` for one before the start.
    fn unpack(&self, camera: usize, message: &Message) -> recording::Result<Option<Next>> {
        let picture = self.cameras[camera].pictures.read(&message.data)?;
        let about = About {
            topic: message.topic.clone(),
            log_time_ns: message.log_time_ns,
            publish_time_ns: message.publish_time_ns,
            stamp_ns: picture.stamp_ns,
            frame_id: picture.frame_id.to_string(),
            encoding: picture.encoding().to_owned(),
        };
        match &picture.stored {
            Stored::Video(_) => return Ok(Some(Next::Packet(camera, about, picture.data.into_owned()))),
            _ if message.log_time_ns < self.start_ns => return Ok(None),
            Stored::Raw { .. } | Stored::File(_) => {}
        }
        match picture.pixels(self.form) {
            Ok(pixels) => Ok(pixels.map(|pixels| Next::Pixels(about, pixels))),
            Err(error) if error.kind() == Kind::Invalid && matches!(picture.stored, Stored::File(_)) => {
                Ok(Some(Next::File(about, picture.data.into_owned())))
            }
            Err(error) => Err(error),
        }
    }

    fn lose(&mut self, message: &Message, error: &Error) {
        if self.losses.len() < LOSSES_LIMIT {
            self.losses.push(Loss {
                topic: Some(message.topic.name.clone()),
                start_ns: Some(message.log_time_ns),
                end_ns: Some(message.log_time_ns),
                messages: Some(1),
                bytes: Some(message.data.len() as u64),
                reason: error.to_string(),
            });
        }
    }

    /// Gives a packet to its video; pictures may come out of it.
    fn packet(&mut self, py: Python<'_>, camera: usize, about: About, data: &[u8]) -> Result<()> {
        let video = match &mut self.cameras[camera].video {
            Some(video) => video,
            none => none.insert(Video::new(py, &about.encoding, form_name(self.form))?),
        };
        let frames = video.packet(py, about, data)?;
        self.show(frames);
        Ok(())
    }

    fn flush(&mut self, py: Python<'_>) -> Result<()> {
        for camera in 0..self.cameras.len() {
            if let Some(video) = &mut self.cameras[camera].video {
                let frames = video.flush(py)?;
                self.show(frames);
            }
        }
        Ok(())
    }

    fn show(&mut self, frames: Vec<(About, Py<PyAny>)>) {
        let shown = frames.into_iter().filter(|(about, _)| about.log_time_ns >= self.start_ns);
        self.ready.extend(shown.map(|(about, pixels)| Frame::new(about, pixels)));
    }
}

#[pymethods]
impl Frames {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> Result<Option<Frame>> {
        self.with(|state| {
            loop {
                if let Some(frame) = state.ready.pop_front() {
                    return Ok(Some(frame));
                }
                if state.ended {
                    return Ok(None);
                }
                py.check_signals()?;
                match py.detach(|| state.read())? {
                    Next::Pixels(about, pixels) => return Ok(Some(Frame::new(about, array(py, pixels)?.unbind()))),
                    Next::Packet(camera, about, data) => state.packet(py, camera, about, &data)?,
                    Next::File(about, data) => {
                        let pixels = file(py, &about.encoding, &data, state.form)?;
                        return Ok(Some(Frame::new(about, pixels.unbind())));
                    }
                    Next::End => state.flush(py)?,
                }
            }
        })
    }

    /// Which pictures are damaged or cannot be read, as far as the iteration has come.
    #[getter]
    fn losses<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyAny>> {
        self.with(|state| from_json(py, &state.losses))
    }

    fn __repr__(&self) -> String {
        format!("<tapeloop.Frames of {}>", self.about)
    }
}

/// Says that what is asked for has no pictures, and what has.
fn no_pictures(recording: &read::Recording, filter: &TopicFilter, only: Option<&str>) -> Failure {
    let asked = only.map_or_else(|| filter.patterns().join(", "), str::to_owned);
    let has_pictures = |topic: &Arc<recording::Topic>| decoder(topic).is_ok_and(|decoder| Pictures::new(&decoder).is_some());
    let mut cameras: Vec<&str> = recording.topics().iter().filter(|topic| has_pictures(topic)).map(|topic| topic.name.as_str()).collect();
    cameras.dedup();
    let there = if cameras.is_empty() { "none here has".to_owned() } else { format!("{} have", cameras.join(", ")) };
    Failure::Ours(Error::not_found(format!(
        "no topic with pictures matches {asked}; {there}: those with 'data' and either 'width', 'height' and 'encoding', or 'format'"
    )))
}

/// Returns pixels as a numpy array of two dimensions, or of three where there are several numbers per pixel.
pub(crate) fn array(py: Python<'_>, pixels: Pixels) -> Result<Bound<'_, PyAny>> {
    let mut shape = vec![pixels.height as usize, pixels.width as usize];
    if pixels.channels > 1 {
        shape.push(pixels.channels as usize);
    }
    Memory::of_bytes(pixels.data, shape, kind(pixels.element)).into_array(py)
}

/// Returns the picture of a message as it has it.
pub(crate) fn picture_value<'py>(py: Python<'py>, pictures: &Pictures, message: &Message) -> Result<Bound<'py, PyAny>> {
    let failed = |error: Error| at(&message.topic, Failure::Ours(error));
    let picture = pictures.read(&message.data).map_err(failed)?;
    match py.detach(|| picture.pixels(Form::Native)) {
        Ok(Some(pixels)) => array(py, pixels),
        Ok(None) => Err(failed(Error::invalid("a packet of video is no picture by itself: frames() unpacks them"))),
        Err(error) if error.kind() == Kind::Invalid && matches!(picture.stored, Stored::File(_)) => {
            file(py, picture.encoding(), &picture.data, Form::Native)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Returns the pixels of a file that Pillow may know.
fn file<'py>(py: Python<'py>, format: &str, data: &[u8], form: Form) -> Result<Bound<'py, PyAny>> {
    static UNPACK: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let unpack = UNPACK.import(py, "tapeloop._pictures", "unpack")?;
    Ok(unpack.call1((format, PyBytes::new(py, data), form_name(form)))?)
}

const FORMS: [(&str, Form); 4] = [("rgb", Form::Rgb), ("bgr", Form::Bgr), ("gray", Form::Grey), ("native", Form::Native)];

fn parse_form(name: &str) -> Result<Form> {
    let known = FORMS.iter().find(|(known, _)| *known == name).map(|(_, form)| *form);
    known.ok_or_else(|| Failure::invalid(format!("format='{name}'; one of 'rgb', 'bgr', 'gray' and 'native'")))
}

fn form_name(form: Form) -> &'static str {
    FORMS.iter().find(|(_, known)| *known == form).map_or("native", |(name, _)| name)
}
