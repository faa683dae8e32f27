//! What `rmw_zenoh` attaches to a sample: its number, when it was published, and by whom.
//!
//! In come bytes, out come the three, of the versions up to 0.2.3, which name each field, and of those after it.
//!
//! **Invariant:** bytes that are not all of it are nothing.

/// How many bytes tell publishers apart.
pub(super) const GID_BYTES: usize = 16;

/// What tells a publisher apart.
pub(super) type Gid = [u8; GID_BYTES];

/// What is attached to a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attachment {
    pub(super) number: i64,
    pub(super) published_ns: i64,
    pub(super) gid: Gid,
    /// Whether each field is named, as versions up to 0.2.3 do.
    pub(super) is_labelled: bool,
}

const LABELS: [&str; 3] = ["sequence_number", "source_timestamp", "source_gid"];

impl Attachment {
    /// Reads an attachment; `None` if it is none of these.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        // A number that begins like the first label would be one of more than 10^18 samples.
        let is_labelled = without_label(bytes, LABELS[0]).is_some();
        let mut field = |index: usize, length: usize| {
            if is_labelled {
                rest = without_label(rest, LABELS[index])?;
            }
            let (field, after) = rest.split_at_checked(length)?;
            rest = after;
            Some(field)
        };
        let number = i64::from_le_bytes(field(0, 8)?.try_into().ok()?);
        let published_ns = i64::from_le_bytes(field(1, 8)?.try_into().ok()?);
        let (length, gid) = field(2, 1 + GID_BYTES)?.split_first()?;
        (usize::from(*length) == GID_BYTES).then_some(Self { number, published_ns, gid: gid.try_into().ok()?, is_labelled })
    }

    /// Writes it as its version does.
    pub(super) fn write(&self) -> Vec<u8> {
        let gid = [&[GID_BYTES as u8], &self.gid[..]].concat();
        let fields = [&self.number.to_le_bytes()[..], &self.published_ns.to_le_bytes(), &gid];
        let label = |label: &str| if self.is_labelled { [&[label.len() as u8], label.as_bytes()].concat() } else { Vec::new() };
        LABELS.iter().zip(fields).flat_map(|(name, field)| [&label(name), field].concat()).collect()
    }
}

fn without_label<'a>(bytes: &'a [u8], label: &str) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first()?;
    (usize::from(*length) == label.len()).then(|| rest.strip_prefix(label.as_bytes()))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_attachment_are_read() {
        let gid: Gid = std::array::from_fn(|i| i as u8);
        let wanted = Attachment { number: 7, published_ns: 1_700_000_000_000_000_001, gid, is_labelled: false };
        let fields = [&7_i64.to_le_bytes()[..], &wanted.published_ns.to_le_bytes(), &[&[16], &gid[..]].concat()];
        let plain = fields.concat();
        let labelled: Vec<u8> =
            LABELS.iter().zip(fields).flat_map(|(label, field)| [&[label.len() as u8], label.as_bytes(), field].concat()).collect();
        for (bytes, is_labelled) in [(&plain, false), (&labelled, true)] {
            let wanted = Attachment { is_labelled, ..wanted };
            assert_eq!((Attachment::read(bytes), &wanted.write()), (Some(wanted), bytes));
            for end in 0..bytes.len() {
                assert_eq!(Attachment::read(&bytes[..end]), None, "{end}");
            }
        }
        let mut other = plain;
        other[16] = 15;
        assert_eq!(Attachment::read(&other), None);
    }
}
