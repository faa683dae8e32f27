//! The body of a request: read as far as its limit, unpacked as far as its limit.
//!
//! **Invariant:** all bodies that are in memory together are at most [`HELD_LIMIT`] bytes; what is refused was read to its end first,
//! if that is not too far, because a sender that still writes does not read why it was refused.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use http_body_util::BodyExt;
use recording::size;

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

/// A request that was not taken.
#[derive(Debug)]
pub(in crate::source) struct Refusal {
    pub(in crate::source) why: Why,
    pub(in crate::source) message: String,
}

/// Why a request was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) enum Why {
    /// Its token is missing or wrong.
    Denied,
    /// A page of the web sent it.
    Foreign,
    /// It is too large.
    TooLarge,
    /// It took too long.
    Late,
    /// It broke off, or is not packed as it says.
    Malformed,
    /// It is packed in a way that is not known.
    Packed,
    /// It cannot be taken now.
    Busy,
    /// The source's limit is used up now.
    OverLimit,
}

impl Refusal {
    pub(in crate::source) fn new(why: Why, message: impl Into<String>) -> Self {
        Self { why, message: message.into() }
    }

    /// Returns the status that most protocols have for it.
    pub(in crate::source) fn status(&self) -> StatusCode {
        match self.why {
            Why::Denied => StatusCode::UNAUTHORIZED,
            Why::Foreign => StatusCode::FORBIDDEN,
            Why::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Why::Late => StatusCode::REQUEST_TIMEOUT,
            Why::Malformed | Why::Packed => StatusCode::BAD_REQUEST,
            Why::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Why::OverLimit => StatusCode::TOO_MANY_REQUESTS,
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

/// Reads a request, and only to its end if there is a `refusal` already.
pub(super) async fn take(request: Request, refusal: Option<Refusal>, all: &Arc<AtomicUsize>, patience: Duration) -> Result<Taken, Refusal> {
    let late = |_| Err(Refusal::new(Why::Late, format!("the body did not come within {} s", patience.as_secs())));
    tokio::time::timeout(patience, read(request, refusal, all)).await.unwrap_or_else(late)
}

async fn read(request: Request, mut refusal: Option<Refusal>, all: &Arc<AtomicUsize>) -> Result<Taken, Refusal> {
    let too_large = || Some(Refusal::new(Why::TooLarge, format!("the body is more than {}", size::format(BODY_LIMIT as u64))));
    let (parts, mut stream) = request.into_parts();
    let told: Option<usize> = parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if refusal.is_none() && told.is_some_and(|bytes| bytes > BODY_LIMIT) {
        refusal = too_large();
    }
    let mut held = Held { all: all.clone(), bytes: 0 };
    let mut body = Vec::new();
    while refusal.is_none() {
        let Some(frame) = stream.frame().await else { break };
        let broken = |_| Refusal::new(Why::Malformed, "the body ended too early");
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        if body.len() + data.len() > BODY_LIMIT {
            refusal = too_large();
        } else if !held.grow(data.len()) {
            refusal = Some(Refusal::new(Why::Busy, "too many requests at once: send it again"));
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

impl Taken {
    /// Returns the body as it was before it was packed as `Content-Encoding` says.
    ///
    /// # Errors
    /// As [`unpack`].
    pub(in crate::source) fn unpacked(&self) -> Result<Bytes, Refusal> {
        let encoding = self.headers.get(header::CONTENT_ENCODING).map_or("", |value| value.to_str().unwrap_or("?"));
        unpack(encoding, self.body.clone())
    }
}

/// Returns a body as it was before it was packed.
///
/// # Errors
/// If the encoding is not known, the body is not in it, or is too large.
pub(in crate::source) fn unpack(encoding: &str, body: Bytes) -> Result<Bytes, Refusal> {
    match encoding.trim().to_ascii_lowercase().as_str() {
        "" | "identity" => Ok(body),
        "gzip" => read_all(MultiGzDecoder::new(&body[..])),
        "deflate" => read_all(ZlibDecoder::new(&body[..])),
        other => Err(Refusal::new(Why::Packed, format!("content encoding '{other}': send gzip, deflate or none"))),
    }
}

fn read_all(packed: impl Read) -> Result<Bytes, Refusal> {
    let mut body = Vec::new();
    let read = packed.take(UNPACKED_LIMIT as u64 + 1).read_to_end(&mut body);
    read.map_err(|error| Refusal::new(Why::Malformed, format!("the body is not packed as it says: {error}")))?;
    if body.len() > UNPACKED_LIMIT {
        return Err(Refusal::new(Why::TooLarge, format!("the body is more than {} unpacked", size::format(UNPACKED_LIMIT as u64))));
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
        assert_eq!(unpack("gzip", bomb).unwrap_err().why, Why::TooLarge);
        assert_eq!(unpack("GZIP", Bytes::from_static(b"plain")).unwrap_err().why, Why::Malformed);
        assert_eq!(unpack("br", Bytes::from_static(b"plain")).unwrap_err().why, Why::Packed);
        assert_eq!(unpack("", Bytes::from_static(b"plain")).unwrap(), "plain");
    }

    #[tokio::test]
    async fn bodies_have_a_limit_each_and_all_together() {
        let all = Arc::<AtomicUsize>::default();
        let request = |bytes: usize| Request::new(Body::from(vec![b'x'; bytes]));
        let patience = Duration::from_secs(60);
        let taken = |bytes| take(request(bytes), None, &all, patience);
        let first = taken(BODY_LIMIT).await.ok().unwrap();
        let _second = taken(BODY_LIMIT).await.ok().unwrap();
        let why = |taken: Result<Taken, Refusal>| taken.err().map(|refusal| refusal.why);
        assert_eq!(why(taken(1).await), Some(Why::Busy));
        drop(first);
        assert_eq!(why(taken(1).await), None);
        assert_eq!(why(taken(BODY_LIMIT + 1).await), Some(Why::TooLarge));
        assert_eq!(why(take(request(1), Some(Refusal::new(Why::Denied, "no")), &all, patience).await), Some(Why::Denied));
        assert_eq!(all.load(Ordering::Relaxed), BODY_LIMIT);
    }
}
