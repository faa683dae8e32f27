//! Reads one named thing of encoded messages: a field by a plan of its own, or what is behind a name or in all elements of a list.
//!
//! **Invariant:** it decodes what it was made for and no more; its memory is used again from message to message.

use recording::decode::FieldReader;
use recording::{Error, Result};

use crate::collect::{Cells, Collect, ELEMENT_LIMIT, Step, TEXT_LIMIT};
use crate::value::{Held, Value};

/// How to get a value, or those of all elements of a list, out of a message.
#[derive(Debug)]
pub(crate) enum Reader {
    /// One field.
    Field(FieldReader),
    /// What some steps lead to from a field on.
    Steps(FieldReader, Vec<Step>),
    /// The element of a list that stands where another list has a name.
    Parallel {
        names: FieldReader,
        wanted: String,
        values: FieldReader,
        /// From the values on: to each element, and on from there.
        steps: Vec<Step>,
    },
}

impl Reader {
    /// Reads one value.
    ///
    /// # Errors
    /// `Corrupt` for a payload that does not fit its type, `Invalid` for a list with too many elements.
    #[inline]
    pub(crate) fn one(&self, payload: &[u8], out: &mut Held, scratch: &mut Cells) -> Result<()> {
        match self {
            Self::Field(field) => out.set(&field.read(payload)?),
            Self::Steps(..) => {
                self.all(payload, scratch)?;
                out.set(&scratch.get(0).scalar());
            }
            Self::Parallel { names, wanted, values, steps } => {
                collect(names, &[Step::Each], payload, scratch)?;
                let found = (0..scratch.len()).find(|index| scratch.get(*index) == Value::Text(wanted));
                let Some(index) = found else {
                    out.clear();
                    return Ok(());
                };
                collect(values, steps, payload, scratch)?;
                out.set(&scratch.get(index).scalar());
            }
        }
        Ok(())
    }

    /// Reads the values of all elements.
    ///
    /// # Errors
    /// As [`Self::one`].
    pub(crate) fn all(&self, payload: &[u8], out: &mut Cells) -> Result<()> {
        match self {
            Self::Steps(field, steps) => collect(field, steps, payload, out),
            Self::Field(_) | Self::Parallel { .. } => {
                out.clear();
                Ok(())
            }
        }
    }
}

fn collect(field: &FieldReader, steps: &[Step], payload: &[u8], out: &mut Cells) -> Result<()> {
    field.tell(payload, &mut Collect::new(steps, out))?;
    match out.overflows() {
        false => Ok(()),
        true => {
            let path = field.path();
            Err(Error::invalid(format!("{path} has more than {ELEMENT_LIMIT} elements, or more than {TEXT_LIMIT} bytes of text in them")))
        }
    }
}
