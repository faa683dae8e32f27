//! What kind of value a Python class is, looked up once per class.
//!
//! In comes a value, out goes how it is written. Exact `float`, `int`, `str`, `dict` and `list` never come here: the
//! encoder knows them by their type's address.
//!
//! **Invariant:** a class that is not understood is refused with its name; nothing is written by its `repr`.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple, PyType};

/// How many classes are remembered; beyond it they are looked up again.
const CLASSES_LIMIT: usize = 4096;

/// Classes by their address, which is theirs as long as they are held.
type Classes = HashMap<usize, (Py<PyType>, Class)>;

/// How a value is written.
#[derive(Clone, Debug)]
pub(crate) enum Class {
    Dict,
    /// Something with `keys` and `[key]`.
    Mapping,
    List,
    Tuple,
    /// A set, a deque, a range, …: iterated.
    Iterable,
    /// A dataclass or a named tuple.
    Fields(Arc<Fields>),
    /// Its `value` is written.
    Enum,
    Text,
    Bool,
    /// An `int`, or something with `__index__`.
    Int,
    /// A `float`, or something with `__float__`.
    Float,
    Bytes,
    /// A `bytearray` or `memoryview`: bytes behind the buffer protocol.
    Memory,
    /// A numpy array.
    Array,
    /// Something that numpy can make an array of: a tensor on the CPU.
    ArrayLike,
    /// A PIL image.
    Image,
    DateTime,
    /// A date or a time of day, by its `isoformat`.
    IsoFormat,
    TimeDelta,
    /// A UUID, a path or a numpy time, by its `str`.
    Display,
    /// None of these.
    Unknown,
}

/// The fields of a dataclass or named tuple.
#[derive(Debug)]
pub(crate) struct Fields {
    /// The class's name.
    pub(crate) class: String,
    /// The attributes, in order.
    pub(crate) names: Vec<Py<PyString>>,
}

/// Returns how `value` is written.
pub(crate) fn classify(value: &Bound<'_, PyAny>) -> PyResult<Class> {
    static CLASSES: Mutex<Option<Classes>> = Mutex::new(None);
    let class = value.get_type();
    let address = class.as_ptr() as usize;
    if let Some((_, known)) = CLASSES.lock().as_ref().and_then(|classes| classes.get(&address)) {
        return Ok(known.clone());
    }
    let found = look_at(&class)?;
    let mut classes = CLASSES.lock();
    let classes = classes.get_or_insert_default();
    if classes.len() < CLASSES_LIMIT {
        classes.insert(address, (class.unbind(), found.clone()));
    }
    Ok(found)
}

fn look_at(class: &Bound<'_, PyType>) -> PyResult<Class> {
    let py = class.py();
    if class.is_subclass(imported(py, &ENUM, "enum", "Enum")?)? {
        return Ok(Class::Enum);
    }
    if let Some(fields) = fields(class)? {
        return Ok(Class::Fields(Arc::new(fields)));
    }
    let builtin = [
        (py.get_type::<PyDict>(), Class::Dict),
        (py.get_type::<PyList>(), Class::List),
        (py.get_type::<PyTuple>(), Class::Tuple),
        (py.get_type::<PyString>(), Class::Text),
        (py.get_type::<pyo3::types::PyBool>(), Class::Bool),
        (py.get_type::<PyInt>(), Class::Int),
        (py.get_type::<PyFloat>(), Class::Float),
        (py.get_type::<PyBytes>(), Class::Bytes),
        (py.get_type::<pyo3::types::PyByteArray>(), Class::Memory),
        (py.get_type::<pyo3::types::PyMemoryView>(), Class::Memory),
        (py.get_type::<pyo3::types::PyDateTime>(), Class::DateTime),
        (py.get_type::<pyo3::types::PyDate>(), Class::IsoFormat),
        (py.get_type::<pyo3::types::PyTime>(), Class::IsoFormat),
        (py.get_type::<pyo3::types::PyDelta>(), Class::TimeDelta),
    ];
    for (base, found) in builtin {
        if class.is_subclass(&base)? {
            return Ok(found);
        }
    }
    if let Some(found) = foreign(class)? {
        return Ok(found);
    }
    if class.is_subclass(imported(py, &MAPPING, "collections.abc", "Mapping")?)? {
        return Ok(Class::Mapping);
    }
    if class.is_subclass(imported(py, &PATH, "os", "PathLike")?)? || class.is_subclass(imported(py, &UUID, "uuid", "UUID")?)? {
        return Ok(Class::Display);
    }
    let has = |name| class.hasattr(name);
    if has(intern!(py, "__array__"))? {
        return Ok(Class::ArrayLike);
    }
    if has(intern!(py, "__index__"))? {
        return Ok(Class::Int);
    }
    if has(intern!(py, "__float__"))? {
        return Ok(Class::Float);
    }
    if class.is_subclass(imported(py, &COLLECTION, "collections.abc", "Collection")?)? {
        return Ok(Class::Iterable);
    }
    Ok(Class::Unknown)
}

/// Knows numpy's and PIL's classes by their names, so that neither is imported.
fn foreign(class: &Bound<'_, PyType>) -> PyResult<Option<Class>> {
    let py = class.py();
    for base in class.mro().iter() {
        let base = base.cast_into::<PyType>()?;
        let Ok(module) = base.getattr(intern!(py, "__module__")).and_then(|module| module.extract::<String>()) else { continue };
        let name: String = base.getattr(intern!(py, "__name__"))?.extract()?;
        let found = match (module.as_str(), name.as_str()) {
            ("numpy", "ndarray") => Class::Array,
            ("numpy", "bool" | "bool_") => Class::Bool,
            ("numpy", "datetime64" | "timedelta64") => Class::Display,
            ("numpy", "integer") => Class::Int,
            ("numpy", "floating") => Class::Float,
            ("PIL.Image", "Image") => Class::Image,
            _ => continue,
        };
        return Ok(Some(found));
    }
    Ok(None)
}

fn fields(class: &Bound<'_, PyType>) -> PyResult<Option<Fields>> {
    let py = class.py();
    let mut names = Vec::new();
    if class.hasattr(intern!(py, "__dataclass_fields__"))? {
        // `fields` leaves `ClassVar` and `InitVar` out: they are not in an instance.
        for field in imported(py, &DATACLASS_FIELDS, "dataclasses", "fields")?.call1((class,))?.try_iter()? {
            names.push(field?.getattr(intern!(py, "name"))?.cast_into::<PyString>().map_err(PyErr::from)?.unbind());
        }
    } else if let (true, Some(fields)) = (class.is_subclass_of::<PyTuple>()?, class.getattr_opt(intern!(py, "_fields"))?) {
        for name in fields.try_iter()? {
            names.push(name?.cast_into::<PyString>()?.unbind());
        }
    } else {
        return Ok(None);
    }
    Ok(Some(Fields { class: class.getattr(intern!(py, "__name__"))?.extract()?, names }))
}

static ENUM: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
static MAPPING: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
static COLLECTION: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
static PATH: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
static UUID: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
static DATACLASS_FIELDS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

fn imported<'py>(py: Python<'py>, cell: &'static PyOnceLock<Py<PyAny>>, module: &str, name: &str) -> PyResult<&'py Bound<'py, PyAny>> {
    cell.import(py, module, name)
}
