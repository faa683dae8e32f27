//! Python's buffer protocol: memory of a numpy array, a `memoryview` or an `array.array`, without knowing their packages.
//!
//! The protocol joined the stable ABI in Python 3.11; the struct and both functions are the same, and exported, in 3.10.
//! That is why they are declared here and not taken from `pyo3`, which hides them below 3.11.
//!
//! **Invariant:** memory is read only while the exporter is held by a [`Buffer`], and only within its shape and strides.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::{NonNull, null_mut};

use pyo3::ffi::{Py_ssize_t, PyObject};
use pyo3::prelude::*;

/// Shape, strides and format, but no pointers to pointers (`PyBUF_STRIDES | PyBUF_FORMAT`).
const FLAGS: c_int = 0x0010 | 0x0008 | 0x0004;

/// The most dimensions an exporter may have (`PyBUF_MAX_NDIM`).
const DIMENSIONS_LIMIT: usize = 64;

/// CPython's `Py_buffer`.
#[repr(C)]
struct Raw {
    buf: *mut c_void,
    obj: *mut PyObject,
    len: Py_ssize_t,
    itemsize: Py_ssize_t,
    readonly: c_int,
    ndim: c_int,
    format: *mut c_char,
    shape: *mut Py_ssize_t,
    strides: *mut Py_ssize_t,
    suboffsets: *mut Py_ssize_t,
    internal: *mut c_void,
}

unsafe extern "C" {
    fn PyObject_GetBuffer(exporter: *mut PyObject, view: *mut Raw, flags: c_int) -> c_int;
    fn PyBuffer_Release(view: *mut Raw);
}

/// The type of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    Bool,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    F32,
    F64,
}

impl Element {
    /// Returns the size in bytes.
    pub(crate) fn size(self) -> usize {
        match self {
            Self::Bool | Self::I8 | Self::U8 => 1,
            Self::I16 | Self::U16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::U64 | Self::F64 => 8,
        }
    }
}

/// Somebody's memory, held until this is dropped.
pub(crate) struct Buffer<'py> {
    /// From a box, and never moved: exporters may point `shape` at fields of the struct itself.
    raw: NonNull<Raw>,
    _attached: Python<'py>,
}

/// The memory of a [`Buffer`], for use without the interpreter's lock while the buffer lives.
#[derive(Clone)]
pub(crate) struct View<'a> {
    start: *const u8,
    shape: &'a [isize],
    strides: &'a [isize],
    item_bytes: usize,
}

// SAFETY: a view only reads memory that its buffer keeps alive; other threads may read it too. (A program that writes
// into an array while it logs it gets a mixture of old and new values, as with numpy's own copies.)
unsafe impl Send for View<'_> {}

impl<'py> Buffer<'py> {
    /// Returns the memory of `exporter`.
    ///
    /// # Errors
    /// Whatever the exporter raises; `TypeError` or `BufferError` for an object without readable memory.
    pub(crate) fn get(exporter: &Bound<'py, PyAny>) -> PyResult<Self> {
        let mut raw = NonNull::from(Box::leak(Box::new(Raw {
            buf: null_mut(),
            obj: null_mut(),
            len: 0,
            itemsize: 0,
            readonly: 0,
            ndim: 0,
            format: null_mut(),
            shape: null_mut(),
            strides: null_mut(),
            suboffsets: null_mut(),
            internal: null_mut(),
        })));
        // SAFETY: the interpreter is attached, the exporter is alive, and the struct is CPython's `Py_buffer`.
        if unsafe { PyObject_GetBuffer(exporter.as_ptr(), raw.as_mut(), FLAGS) } != 0 {
            // SAFETY: it came from a box, and nothing was exported into it.
            drop(unsafe { Box::from_raw(raw.as_ptr()) });
            return Err(PyErr::fetch(exporter.py()));
        }
        Ok(Self { raw, _attached: exporter.py() })
    }

    /// Returns the size of each dimension.
    pub(crate) fn shape(&self) -> &[isize] {
        self.dimensions(self.raw().shape)
    }

    /// Returns the type of the elements, or the format as the exporter wrote it.
    pub(crate) fn element(&self) -> Result<Element, String> {
        // SAFETY: a format is a C string that lives as long as the buffer; null stands for bytes.
        let format = if self.raw().format.is_null() { c"B" } else { unsafe { CStr::from_ptr(self.raw().format) } };
        let text = format.to_string_lossy();
        let native = text.strip_prefix(['@', '=', if cfg!(target_endian = "little") { '<' } else { '>' }]).unwrap_or(&text);
        let size = self.raw().itemsize;
        match (native, size) {
            ("?", 1) => Ok(Element::Bool),
            ("b", 1) => Ok(Element::I8),
            ("B" | "c", 1) => Ok(Element::U8),
            ("h", 2) => Ok(Element::I16),
            ("H", 2) => Ok(Element::U16),
            ("i" | "l", 4) => Ok(Element::I32),
            ("I" | "L", 4) => Ok(Element::U32),
            ("l" | "q" | "n", 8) => Ok(Element::I64),
            ("L" | "Q" | "N", 8) => Ok(Element::U64),
            ("f", 4) => Ok(Element::F32),
            ("d", 8) => Ok(Element::F64),
            _ => Err(text.into_owned()),
        }
    }

    /// Returns how many bytes the elements have.
    pub(crate) fn len_bytes(&self) -> usize {
        self.raw().len as usize
    }

    /// Returns the memory, to be copied.
    pub(crate) fn view(&self) -> View<'_> {
        View {
            start: self.raw().buf as *const u8,
            shape: self.dimensions(self.raw().shape),
            strides: self.dimensions(self.raw().strides),
            item_bytes: self.raw().itemsize as usize,
        }
    }

    fn raw(&self) -> &Raw {
        // SAFETY: the struct lives until this is dropped, and nobody writes to it meanwhile.
        unsafe { self.raw.as_ref() }
    }

    fn dimensions(&self, list: *const Py_ssize_t) -> &[isize] {
        let count = (self.raw().ndim as usize).min(DIMENSIONS_LIMIT);
        if list.is_null() || count == 0 {
            return &[];
        }
        // SAFETY: the exporter filled `ndim` numbers, which live as long as the buffer.
        unsafe { std::slice::from_raw_parts(list, count) }
    }
}

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        // SAFETY: the interpreter is attached (see the lifetime), `PyObject_GetBuffer` filled the struct, and it is a box's.
        unsafe {
            PyBuffer_Release(self.raw.as_ptr());
            drop(Box::from_raw(self.raw.as_ptr()));
        }
    }
}

impl View<'_> {
    /// Appends all elements to `out`, the last dimension fastest.
    pub(crate) fn append_to(&self, out: &mut Vec<u8>) {
        let bytes = self.shape.iter().map(|&size| size as usize).product::<usize>() * self.item_bytes;
        out.reserve(bytes);
        // How many of the last dimensions lie in one piece, and how long that piece is.
        let mut piece_bytes = self.item_bytes;
        let mut outer = self.shape.len();
        while outer > 0 && (self.strides[outer - 1] == piece_bytes as isize || self.shape[outer - 1] == 1) {
            piece_bytes *= self.shape[outer - 1] as usize;
            outer -= 1;
        }
        if bytes > 0 {
            // SAFETY: the buffer holds the memory, shape and strides stay inside of it, and `out` has the room.
            unsafe {
                let end = out.as_mut_ptr().add(out.len());
                self.copy_pieces(0, outer, self.start, piece_bytes, end);
                out.set_len(out.len() + bytes);
            }
        }
    }

    /// Copies the pieces of dimension `depth` and those inside of it to `target`, and returns where the copy ends.
    ///
    /// # Safety
    /// `start` points at memory of the buffer, `target` has room for all that is left.
    unsafe fn copy_pieces(&self, depth: usize, outer: usize, start: *const u8, piece_bytes: usize, target: *mut u8) -> *mut u8 {
        // SAFETY: see above; indices stay below the dimensions' sizes, and a piece is contiguous by the choice of `outer`.
        unsafe {
            match (outer - depth, piece_bytes) {
                // Two dimensions at once: an image with its channels reversed is copied pixel by pixel, without calls.
                (2, 1) => self.copy_plane::<u8>(depth, start, target),
                (2, 2) => self.copy_plane::<u16>(depth, start, target),
                (2, 4) => self.copy_plane::<u32>(depth, start, target),
                (2, 8) => self.copy_plane::<u64>(depth, start, target),
                (0, _) => {
                    std::ptr::copy_nonoverlapping(start, target, piece_bytes);
                    target.add(piece_bytes)
                }
                _ => {
                    let mut target = target;
                    for index in 0..self.shape[depth] {
                        target = self.copy_pieces(depth + 1, outer, start.offset(index * self.strides[depth]), piece_bytes, target);
                    }
                    target
                }
            }
        }
    }

    /// Copies two dimensions of single elements, as [`Self::copy_pieces`] does.
    ///
    /// # Safety
    /// As there; an element has the size of `T`.
    unsafe fn copy_plane<T>(&self, depth: usize, start: *const u8, target: *mut u8) -> *mut u8 {
        let mut target = target.cast::<T>();
        for row in 0..self.shape[depth] {
            for column in 0..self.shape[depth + 1] {
                // SAFETY: see above.
                unsafe {
                    let source = start.offset(row * self.strides[depth] + column * self.strides[depth + 1]);
                    target.write_unaligned(source.cast::<T>().read_unaligned());
                    target = target.add(1);
                }
            }
        }
        target.cast()
    }
}
