//! The two image messages in CDR, little endian: just enough to read and write their fields.
//!
//! **Invariant:** every length is checked against the bytes that are there.

use bytes::Bytes;

/// The header of an image.
pub(super) struct Header<'a> {
    pub(super) sec: i32,
    pub(super) nanosec: u32,
    pub(super) frame_id: &'a str,
}

/// A raw image.
pub(super) struct Image<'a> {
    pub(super) header: Header<'a>,
    pub(super) height: u32,
    pub(super) width: u32,
    pub(super) encoding: &'a str,
    pub(super) is_bigendian: bool,
    pub(super) step: u32,
    pub(super) data: &'a [u8],
}

/// A compressed image.
pub(super) struct CompressedImage<'a> {
    pub(super) header: Header<'a>,
    pub(super) format: &'a str,
    pub(super) data: &'a [u8],
}

/// The bytes of the encapsulation header: CDR, little endian.
const LITTLE_ENDIAN: [u8; 4] = [0, 1, 0, 0];

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Image<'a> {
    pub(super) fn read(payload: &'a [u8]) -> Result<Self, String> {
        let mut reader = Reader::new(payload)?;
        Ok(Self {
            header: reader.header()?,
            height: reader.u32()?,
            width: reader.u32()?,
            encoding: reader.string()?,
            is_bigendian: reader.take(1)?[0] != 0,
            step: reader.u32()?,
            data: reader.sequence()?,
        })
    }
}

impl<'a> CompressedImage<'a> {
    pub(super) fn read(payload: &'a [u8]) -> Result<Self, String> {
        let mut reader = Reader::new(payload)?;
        Ok(Self { header: reader.header()?, format: reader.string()?, data: reader.sequence()? })
    }
}

impl<'a> Reader<'a> {
    fn new(payload: &'a [u8]) -> Result<Self, String> {
        match payload.split_at_checked(4) {
            Some((header, bytes)) if header == LITTLE_ENDIAN => Ok(Self { bytes, at: 0 }),
            Some((header, _)) => Err(format!("not little-endian CDR: it begins with {header:?}")),
            None => Err("the message ends before its CDR header".into()),
        }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| format!("the message ends at byte {}, {length} more are declared", self.bytes.len()))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn u32(&mut self) -> Result<u32, String> {
        self.at = self.at.next_multiple_of(4);
        Ok(u32::from_le_bytes(self.take(4)?.try_into().expect("four bytes were taken")))
    }

    fn sequence(&mut self) -> Result<&'a [u8], String> {
        let length = self.u32()? as usize;
        self.take(length)
    }

    fn string(&mut self) -> Result<&'a str, String> {
        let bytes = self.sequence()?;
        std::str::from_utf8(bytes.strip_suffix(&[0]).unwrap_or(bytes)).map_err(|error| error.to_string())
    }

    fn header(&mut self) -> Result<Header<'a>, String> {
        Ok(Header { sec: self.u32()? as i32, nanosec: self.u32()?, frame_id: self.string()? })
    }
}

impl Header<'_> {
    /// Returns a `CompressedImage` with this header.
    pub(super) fn write_compressed(&self, format: &str, data: &[u8]) -> Bytes {
        let mut out = self.start(data.len());
        write_string(&mut out, format);
        write_sequence(&mut out, data);
        out.into()
    }

    /// Returns an `Image` with this header.
    #[cfg(test)]
    pub(super) fn write_image(&self, width: u32, height: u32, encoding: &str, step: u32, data: &[u8]) -> Bytes {
        let mut out = self.start(data.len());
        align(&mut out);
        out.extend_from_slice(&height.to_le_bytes());
        out.extend_from_slice(&width.to_le_bytes());
        write_string(&mut out, encoding);
        out.push(0);
        align(&mut out);
        out.extend_from_slice(&step.to_le_bytes());
        write_sequence(&mut out, data);
        out.into()
    }

    fn start(&self, data_length: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(data_length + self.frame_id.len() + 64);
        out.extend_from_slice(&LITTLE_ENDIAN);
        out.extend_from_slice(&self.sec.to_le_bytes());
        out.extend_from_slice(&self.nanosec.to_le_bytes());
        write_string(&mut out, self.frame_id);
        out
    }
}

fn align(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

fn write_string(out: &mut Vec<u8>, text: &str) {
    align(out);
    out.extend_from_slice(&(text.len() as u32 + 1).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
    out.push(0);
}

fn write_sequence(out: &mut Vec<u8>, data: &[u8]) {
    align(out);
    out.extend_from_slice(&(data.len() as u32).to_le_bytes());
    out.extend_from_slice(data);
}
