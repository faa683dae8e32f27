//! Python values as JSON, and a fingerprint of their shape, in one pass.
//!
//! In comes a value, out go bytes and a [`Fingerprint`]: equal for messages whose keys and kinds of values are the same,
//! whatever the order of the keys, the length of the lists and the kind of the numbers.
//!
//! What JSON cannot say: NaN and infinities are written as `null` (and count as numbers); bytes as base64; a date, a time, a
//! path and a UUID as text; a `timedelta` as seconds; an enum as its value; a set as a list.
//!
//! **Invariant:** what is written is valid JSON in UTF-8, of at most [`SIZE_LIMIT`] bytes; a value that cannot be written is
//! refused with the place where it stands.

mod array;

use std::fmt::Write as _;

use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyNone, PyString, PyTuple};
use recording::json::{write_base64, write_text};

use self::array::write_array;
use crate::buffer::Buffer;
use crate::class::{Class, classify};
use crate::error::{Failure, Result};
use crate::fingerprint::{BASE64, BOOL, Fingerprint, MOMENT, NOTHING, NUMBER, TEXT, entry, hash, seal_list, seal_object, unite};

/// How deep lists and dicts may be nested; what is deeper is most likely a cycle.
pub(crate) const DEPTH_LIMIT: usize = 64;

/// The longest JSON message, in bytes.
pub(crate) const SIZE_LIMIT: usize = 256 << 20;

/// Why a value cannot be written, and where it stands.
struct Refusal {
    /// The steps to it, innermost first.
    path: Vec<String>,
    failure: Failure,
}

type Encoded = std::result::Result<Fingerprint, Box<Refusal>>;

/// Appends `value` to `out` as one JSON message, which is always an object: a scalar becomes `{"value": …}` and a list
/// `{"values": […]}`.
///
/// # Errors
/// `Invalid` for a value that JSON cannot hold, naming its place; whatever a property of the value raises.
pub(crate) fn encode_message(value: &Bound<'_, PyAny>, out: &mut Vec<u8>) -> Result<Fingerprint> {
    if let Ok(dict) = value.cast_exact::<PyDict>() {
        return write_dict(dict, out, 1).map_err(explain);
    }
    let encoded = match wrapper(value)? {
        None => write(value, out, 0),
        Some(key) => {
            out.extend_from_slice(b"{\"");
            out.extend_from_slice(key.as_bytes());
            out.extend_from_slice(b"\":");
            let inner = write(value, out, 1);
            out.push(b'}');
            inner.map(|child| seal_object(entry(hash(key.as_bytes()), child)))
        }
    };
    encoded.map_err(explain)
}

/// Returns the key under which a value that is no object stands in its message.
pub(crate) fn wrapper(value: &Bound<'_, PyAny>) -> Result<Option<&'static str>> {
    Ok(match classify(value)? {
        Class::Dict | Class::Mapping | Class::Fields(_) => None,
        Class::List | Class::Tuple | Class::Iterable | Class::Array | Class::ArrayLike => Some("values"),
        _ => Some("value"),
    })
}

/// Appends any value.
fn write(value: &Bound<'_, PyAny>, out: &mut Vec<u8>, depth: usize) -> Encoded {
    if let Ok(number) = value.cast_exact::<PyFloat>() {
        return Ok(write_float(number.value(), out));
    }
    if let Ok(text) = value.cast_exact::<PyString>() {
        return Ok(write_str(text, out));
    }
    if let Ok(number) = value.cast_exact::<PyInt>() {
        return write_int(number, out);
    }
    if let Ok(truth) = value.cast_exact::<PyBool>() {
        return Ok(write_bool(truth.is_true(), out));
    }
    if value.cast_exact::<PyNone>().is_ok() {
        out.extend_from_slice(b"null");
        return Ok(NOTHING);
    }
    if depth >= DEPTH_LIMIT {
        return Err(refuse(format!("lists and dicts nested deeper than {DEPTH_LIMIT} levels (a cycle?)")));
    }
    if out.len() > SIZE_LIMIT {
        return Err(refuse(format!("a JSON message of more than {SIZE_LIMIT} bytes; log large data as a numpy array or as bytes")));
    }
    if let Ok(dict) = value.cast_exact::<PyDict>() {
        return write_dict(dict, out, depth + 1);
    }
    if let Ok(list) = value.cast_exact::<PyList>() {
        return write_list(list, out, depth + 1);
    }
    write_classified(value, out, depth + 1)
}

fn write_classified(value: &Bound<'_, PyAny>, out: &mut Vec<u8>, depth: usize) -> Encoded {
    let py = value.py();
    match classify(value)? {
        Class::Dict => write_dict(value.cast::<PyDict>()?, out, depth),
        Class::List => write_list(value.cast::<PyList>()?, out, depth),
        Class::Tuple => {
            let tuple = value.cast::<PyTuple>()?;
            write_items(tuple.iter().map(Ok), out, depth)
        }
        Class::Iterable => write_items(value.try_iter()?, out, depth),
        Class::Mapping => {
            let mut object = ObjectWriter::open(out);
            for key in value.call_method0(intern!(py, "keys"))?.try_iter()? {
                let key = key?;
                object.add(&key, &value.get_item(&key)?, out, depth)?;
            }
            Ok(object.close(out))
        }
        Class::Fields(fields) => {
            let mut object = ObjectWriter::open(out);
            for name in &fields.names {
                let name = name.bind(py);
                object.add(name, &value.getattr(name)?, out, depth)?;
            }
            Ok(object.close(out))
        }
        Class::Enum => write(&value.getattr(intern!(py, "value"))?, out, depth),
        Class::Text => Ok(write_str(value.cast::<PyString>()?, out)),
        Class::Bool => Ok(write_bool(value.is_truthy()?, out)),
        Class::Int => match value.cast::<PyInt>() {
            Ok(number) => write_int(number, out),
            Err(_) => {
                // SAFETY: the interpreter is attached and `value` is alive.
                let number = unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyNumber_Index(value.as_ptr())) }?;
                write_int(number.cast::<PyInt>()?, out)
            }
        },
        Class::Float => Ok(write_float(value.extract::<f64>()?, out)),
        Class::Bytes | Class::Memory => {
            let mut bytes = Vec::new();
            Buffer::get(value)?.view().append_to(&mut bytes);
            write_base64(out, &bytes);
            Ok(BASE64)
        }
        Class::Array => write_array(value, out, depth),
        Class::ArrayLike => {
            static ASARRAY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
            let array = ASARRAY.import(py, "numpy", "asarray")?.call1((value,))?;
            write_array(&array, out, depth)
        }
        Class::DateTime => {
            let moment = value.call_method0(intern!(py, "isoformat"))?;
            let text: String = moment.extract()?;
            if value.getattr(intern!(py, "tzinfo"))?.is_none() {
                // A moment without a zone is the local one, as everywhere in Python.
                let aware = value.call_method0(intern!(py, "astimezone"))?.call_method0(intern!(py, "isoformat"))?;
                write_text(out, &aware.extract::<String>()?);
            } else {
                write_text(out, &text);
            }
            Ok(MOMENT)
        }
        Class::IsoFormat => {
            write_text(out, &value.call_method0(intern!(py, "isoformat"))?.extract::<String>()?);
            Ok(TEXT)
        }
        Class::TimeDelta => Ok(write_float(value.call_method0(intern!(py, "total_seconds"))?.extract()?, out)),
        Class::Display => Ok(write_str(&value.str()?, out)),
        Class::Image => Err(refuse("an image inside of a message; log it as a topic of its own".to_owned())),
        Class::Unknown => {
            let class = value.get_type().fully_qualified_name()?;
            Err(refuse(format!(
                "a value of type '{class}' cannot be logged (a dict, dataclass, named tuple, number, text, bytes, list, numpy array or PIL image can)"
            )))
        }
    }
}

fn write_dict(dict: &Bound<'_, PyDict>, out: &mut Vec<u8>, depth: usize) -> Encoded {
    let mut object = ObjectWriter::open(out);
    let mut position: ffi::Py_ssize_t = 0;
    loop {
        let (mut key, mut value) = (std::ptr::null_mut(), std::ptr::null_mut());
        // `PyDict_Next` and not `pyo3`'s iterator: that one panics where a property changes the dict meanwhile.
        // SAFETY: the interpreter is attached, the dict is alive, and both borrowed references are made owned at once.
        let entry = unsafe {
            if ffi::PyDict_Next(dict.as_ptr(), &mut position, &mut key, &mut value) == 0 {
                break;
            }
            (Bound::from_borrowed_ptr(dict.py(), key), Bound::from_borrowed_ptr(dict.py(), value))
        };
        object.add(&entry.0, &entry.1, out, depth)?;
    }
    Ok(object.close(out))
}

fn write_list(list: &Bound<'_, PyList>, out: &mut Vec<u8>, depth: usize) -> Encoded {
    // By index, because writing an element may run code that changes the list.
    let mut index = 0;
    let items = std::iter::from_fn(|| {
        let item = list.get_item(index).ok();
        index += 1;
        item.map(Ok)
    });
    write_items(items, out, depth)
}

fn write_items<'py>(items: impl Iterator<Item = PyResult<Bound<'py, PyAny>>>, out: &mut Vec<u8>, depth: usize) -> Encoded {
    out.push(b'[');
    let mut shape = NOTHING;
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        let child = write(&item?, out, depth).map_err(|refusal| refusal.inside(|| format!("[{index}]")))?;
        shape = unite(shape, child);
    }
    out.push(b']');
    Ok(seal_list(shape))
}

/// An object that is being written.
struct ObjectWriter {
    first: bool,
    shape: u64,
}

impl ObjectWriter {
    fn open(out: &mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { first: true, shape: 0 }
    }

    #[inline]
    fn add(
        &mut self,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        out: &mut Vec<u8>,
        depth: usize,
    ) -> std::result::Result<(), Box<Refusal>> {
        if !std::mem::replace(&mut self.first, false) {
            out.push(b',');
        }
        let start = out.len();
        match key.cast_exact::<PyString>() {
            Ok(text) => {
                write_str(text, out);
            }
            Err(_) => write_key(key, out)?,
        }
        let key_hash = hash(&out[start..]);
        out.push(b':');
        let child = write(value, out, depth).map_err(|refusal| refusal.inside(|| step(key)))?;
        // A sum, so that the order of the keys does not matter.
        self.shape = self.shape.wrapping_add(entry(key_hash, child));
        Ok(())
    }

    fn close(self, out: &mut Vec<u8>) -> Fingerprint {
        out.push(b'}');
        seal_object(self.shape)
    }
}

/// Writes a key that is not exactly a `str`: an `int` or an enum as text.
fn write_key(key: &Bound<'_, PyAny>, out: &mut Vec<u8>) -> std::result::Result<(), Box<Refusal>> {
    match classify(key)? {
        Class::Text => write_text(out, &key.cast::<PyString>()?.to_string_lossy()),
        Class::Enum => return write_key(&key.getattr(intern!(key.py(), "value"))?, out),
        Class::Int | Class::Display => write_text(out, &key.str()?.to_string_lossy()),
        _ => {
            let class = key.get_type().fully_qualified_name()?;
            return Err(refuse(format!("a key of type {class} ({}); keys are text, integers or enums", key.repr()?)));
        }
    }
    Ok(())
}

fn step(key: &Bound<'_, PyAny>) -> String {
    format!(".{}", key.str().map(|text| text.to_string_lossy().into_owned()).unwrap_or_default())
}

#[inline]
fn write_float(number: f64, out: &mut Vec<u8>) -> Fingerprint {
    if number.is_finite() {
        out.extend_from_slice(zmij::Buffer::new().format_finite(number).as_bytes());
    } else {
        out.extend_from_slice(b"null");
    }
    NUMBER
}

#[inline]
fn write_int(number: &Bound<'_, PyInt>, out: &mut Vec<u8>) -> Encoded {
    match number.extract::<i64>() {
        Ok(small) => out.extend_from_slice(itoa::Buffer::new().format(small).as_bytes()),
        Err(_) => match number.extract::<u64>() {
            Ok(large) => out.extend_from_slice(itoa::Buffer::new().format(large).as_bytes()),
            Err(_) => return Err(refuse("an int that does not fit into 64 bits; log it as text".to_owned())),
        },
    }
    Ok(NUMBER)
}

#[inline]
fn write_bool(truth: bool, out: &mut Vec<u8>) -> Fingerprint {
    out.extend_from_slice(if truth { b"true" } else { b"false" });
    BOOL
}

#[inline]
fn write_str(text: &Bound<'_, PyString>, out: &mut Vec<u8>) -> Fingerprint {
    match text.to_str() {
        Ok(text) => write_text(out, text),
        // Half of a surrogate pair: a log line must not fail because of it.
        Err(_) => write_text(out, &text.to_string_lossy()),
    }
    TEXT
}

#[cold]
fn refuse(reason: String) -> Box<Refusal> {
    Box::new(Refusal { path: Vec::new(), failure: Failure::invalid(reason) })
}

impl Refusal {
    fn inside(mut self: Box<Self>, step: impl FnOnce() -> String) -> Box<Self> {
        self.path.push(step());
        self
    }
}

impl From<Failure> for Box<Refusal> {
    fn from(failure: Failure) -> Self {
        Box::new(Refusal { path: Vec::new(), failure })
    }
}

impl From<PyErr> for Box<Refusal> {
    fn from(error: PyErr) -> Self {
        Failure::from(error).into()
    }
}

impl<'a, 'py> From<pyo3::CastError<'a, 'py>> for Box<Refusal> {
    fn from(error: pyo3::CastError<'a, 'py>) -> Self {
        Failure::from(error).into()
    }
}

/// Says where the refused value stands.
#[cold]
#[expect(clippy::boxed_local, reason = "the writers return it in a box, which keeps their results small")]
fn explain(refusal: Box<Refusal>) -> Failure {
    let Failure::Ours(error) = refusal.failure else { return refusal.failure };
    let mut place = String::new();
    // A cycle's path is as long as the limit of nesting; its beginning says enough.
    const STEPS_SHOWN: usize = 8;
    for step in refusal.path.iter().rev().take(STEPS_SHOWN) {
        place.push_str(step);
    }
    if refusal.path.len() > STEPS_SHOWN {
        let _ = write!(place, "…");
    }
    let place = place.trim_start_matches('.');
    if place.is_empty() { Failure::Ours(error) } else { Failure::invalid(format!("at '{place}': {}", error.message())) }
}
