//! The body of a request: read as far as its limit, unpacked as far as its limit.
//!
//! **Invariant:** all bodies that are in memory together are at most [`HELD_LIMIT`] bytes; what is refused was read to its end first,
//! if that is not too far, because a sender that still writes does not read why it was refused.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use http_body_util::BodyExt;
use recording::{Error, Kind, Result, size};

/// The largest body that is taken, as it comes over the wire.
const BODY_LIMIT: usize = 32 << 20;
/// The largest body, unpacked.
const UNPACKED_LIMIT: usize = 64 << 20;
/// How many bytes of bodies one source may hold: more senders are told to come back.
const HELD_LIMIT: usize = 64 << 20;
/// How much of a body that was refused is read, and forgotten.
const DRAIN_LIMIT: usize = 256 << 20;

/// The body of a request, and what it says about it.
pub(in crate::source) struct Taken {
    pub(in crate::source) headers: HeaderMap,
    pub(in crate::source) body: Bytes,
    _held: Held,
}

/// Why a request was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) enum Refusal {
    /// Its token is missing or wrong.
    Denied,
    /// It is too large.
    TooLarge,
    /// Too much is in memory already.
    Busy,
    /// It broke off.
    Broken,
}

impl Refusal {
    pub(in crate::source) fn message(self) -> String {
        match self {
            Self::Denied => "the token is missing or wrong".to_owned(),
            Self::TooLarge => format!("the body is more than {}", size::format(BODY_LIMIT as u64)),
            Self::Busy => "too many requests at once: send it again".to_owned(),
            Self::Broken => "the body ended too early".to_owned(),
        }
    }

    /// Returns the status that most protocols have for it.
    pub(in crate::source) fn status(self) -> StatusCode {
        match self {
            Self::Denied => StatusCode::UNAUTHORIZED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Broken => StatusCode::BAD_REQUEST,
        }
    }
}

/// A share of what may be held.
struct Held {
    all: Arc<AtomicUsize>,
    bytes: usize,
}

impl Held {
    fn grow(&mut self, bytes: usize) -> bool {
        let before = self.all.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        before + bytes <= HELD_LIMIT
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Reads a request whose token was looked at.
pub(super) async fn take(request: Request, admitted: bool, all: &Arc<AtomicUsize>) -> std::result::Result<Taken, Refusal> {
    let (parts, mut stream) = request.into_parts();
    let told: Option<usize> = parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let mut refusal = match told {
        _ if !admitted => Some(Refusal::Denied),
        Some(bytes) if bytes > BODY_LIMIT => Some(Refusal::TooLarge),
        _ => None,
    };
    let mut held = Held { all: all.clone(), bytes: 0 };
    let mut body = Vec::new();
    while refusal.is_none() {
        let Some(frame) = stream.frame().await else { break };
        let Ok(data) = frame.map_err(|_| Refusal::Broken)?.into_data() else { continue };
        if body.len() + data.len() > BODY_LIMIT {
            refusal = Some(Refusal::TooLarge);
        } else if !held.grow(data.len()) {
            refusal = Some(Refusal::Busy);
        } else {
            body.extend_from_slice(&data);
        }
    }
    match refusal {
        None => Ok(Taken { headers: parts.headers, body: body.into(), _held: held }),
        Some(refusal) => {
            drop((body, held));
            drain(stream).await;
            Err(refusal)
        }
    }
}

async fn drain(mut stream: Body) {
    let mut left = DRAIN_LIMIT;
    while let Some(Ok(frame)) = stream.frame().await {
        left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
        if left == 0 {
            return;
        }
    }
}

/// Returns a body as it was before it was packed as `Content-Encoding` says.
///
/// # Errors
/// As [`unpack`].
pub(in crate::source) fn unpacked(headers: &HeaderMap, body: Bytes) -> Result<Bytes> {
    let encoding = headers.get(header::CONTENT_ENCODING).map_or("", |value| value.to_str().unwrap_or("?"));
    unpack(encoding, body)
}

/// Returns a body as it was before it was packed.
///
/// # Errors
/// `Invalid` for an encoding that is not known, `Corrupt` for a body that is not in it, `Unavailable` for one that is too large.
pub(in crate::source) fn unpack(encoding: &str, body: Bytes) -> Result<Bytes> {
    match encoding.trim().to_ascii_lowercase().as_str() {
        "" | "identity" => Ok(body),
        "gzip" => read_all(MultiGzDecoder::new(&body[..])),
        "deflate" => read_all(ZlibDecoder::new(&body[..])),
        other => Err(Error::invalid(format!("content encoding '{other}': send gzip, deflate or none"))),
    }
}

fn read_all(packed: impl Read) -> Result<Bytes> {
    let mut body = Vec::new();
    let read = packed.take(UNPACKED_LIMIT as u64 + 1).read_to_end(&mut body);
    read.map_err(|error| Error::new(Kind::Corrupt, "the body is not packed as it says").caused_by(error))?;
    if body.len() > UNPACKED_LIMIT {
        return Err(Error::unavailable(format!("the body is more than {} unpacked", size::format(UNPACKED_LIMIT as u64))));
    }
    Ok(body.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    #[test]
    fn a_bomb_is_not_unpacked() {
        let mut packed = GzEncoder::new(Vec::new(), Compression::best());
        for _ in 0..=UNPACKED_LIMIT >> 20 {
            packed.write_all(&[0; 1 << 20]).unwrap();
        }
        let bomb = Bytes::from(packed.finish().unwrap());
        assert!(bomb.len() < 1 << 20);
        assert_eq!(unpack("gzip", bomb).unwrap_err().kind(), Kind::Unavailable);
        assert_eq!(unpack("GZIP", Bytes::from_static(b"plain")).unwrap_err().kind(), Kind::Corrupt);
        assert_eq!(unpack("br", Bytes::from_static(b"plain")).unwrap_err().kind(), Kind::Invalid);
        assert_eq!(unpacked(&HeaderMap::new(), Bytes::from_static(b"plain")).unwrap(), "plain");
    }

    #[tokio::test]
    async fn bodies_have_a_limit_each_and_all_together() {
        let all = Arc::<AtomicUsize>::default();
        let request = |bytes: usize| Request::new(Body::from(vec![b'x'; bytes]));
        let first = take(request(BODY_LIMIT), true, &all).await.ok().unwrap();
        let _second = take(request(BODY_LIMIT), true, &all).await.ok().unwrap();
        assert_eq!(take(request(1), true, &all).await.err(), Some(Refusal::Busy));
        drop(first);
        assert!(take(request(1), true, &all).await.is_ok());
        assert_eq!(take(request(BODY_LIMIT + 1), true, &all).await.err(), Some(Refusal::TooLarge));
        assert_eq!(take(request(1), false, &all).await.err(), Some(Refusal::Denied));
        assert_eq!(all.load(Ordering::Relaxed), BODY_LIMIT);
    }
}
