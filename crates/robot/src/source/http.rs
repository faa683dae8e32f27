//! What sources share that listen to HTTP: the port, the token, the limits.
//!
//! **Invariant:** a request is unpacked only as far as its limit, and nothing of it is looked at before its token was.

mod body;
mod limited;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use recording::{Error, Kind, Result};
use serde::Deserialize;
use tokio::net::TcpListener;

use self::body::Taken;
#[cfg(feature = "otlp")]
pub(super) use self::body::unpack;
pub(super) use self::body::{Refusal, unpacked};
pub(crate) use self::limited::Limited;
use super::Intake;
use crate::stop::StopFlag;

/// How many connections one source may have.
const CONNECTION_LIMIT: usize = 64;
/// How often it looks whether it is to end.
const STOP_STEP: Duration = Duration::from_millis(200);

/// The options of a source that listens to HTTP.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listen {
    /// The address.
    pub(super) listen: Option<String>,
    /// What every request must show.
    pub(super) token: Option<String>,
    /// A file with the token, so that it need not stand in the configuration.
    pub(super) token_file: Option<String>,
}

/// Where a source listens, and who may come in.
#[derive(Clone)]
pub(super) struct Door {
    address: SocketAddr,
    /// The hash of the token.
    token: Option<blake3::Hash>,
    /// How many bytes of bodies are in memory.
    held: Arc<AtomicUsize>,
}

impl Door {
    /// Reads the options, without opening anything but the file of the token.
    ///
    /// # Errors
    /// `Invalid` for what is no address, for two tokens, and for an address beyond this machine without one.
    pub(super) fn new(options: &Listen, default_port: u16) -> Result<Self> {
        let text = options.listen.clone().unwrap_or_else(|| format!("127.0.0.1:{default_port}"));
        let address: SocketAddr =
            text.parse().map_err(|_| Error::invalid(format!("listen = '{text}' is no address: write it like 127.0.0.1:{default_port}")))?;
        let token = match (&options.token, &options.token_file) {
            (Some(_), Some(_)) => return Err(Error::invalid("token or token_file, not both")),
            (Some(token), None) => Some(token.clone()),
            (None, Some(path)) => {
                let read = std::fs::read_to_string(path).map_err(|error| Error::io(format!("cannot read the token in {path}"), error))?;
                Some(read.trim().to_owned())
            }
            (None, None) => None,
        };
        if token.as_ref().is_some_and(String::is_empty) {
            return Err(Error::invalid("the token is empty"));
        }
        if token.is_none() && !address.ip().is_loopback() {
            return Err(Error::invalid(format!("listen = '{text}' is open to other machines: give it a token, or listen at 127.0.0.1")));
        }
        Ok(Self { address, token: token.map(|token| blake3::hash(token.as_bytes())), held: Arc::default() })
    }

    /// Returns whether a request may come in. The token stands behind `Bearer` or `Token`, or is the password of `Basic`.
    pub(super) fn admits(&self, headers: &HeaderMap, other: Option<&str>) -> bool {
        let Some(token) = &self.token else { return true };
        let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let from_header = shown.and_then(|shown| {
            let (scheme, rest) = shown.split_once(' ')?;
            match scheme.to_ascii_lowercase().as_str() {
                "bearer" | "token" => Some(rest.trim().to_owned()),
                "basic" => basic_password(rest.trim()),
                _ => None,
            }
        });
        // Hashes compare in constant time.
        [from_header.as_deref(), other].into_iter().flatten().any(|shown| blake3::hash(shown.as_bytes()) == *token)
    }

    /// Returns the body of a request that may come in. `other` is a token that stands elsewhere.
    ///
    /// # Errors
    /// Who may not come in, and what is too large; the sender gets to read it, because the body was taken off the line.
    pub(super) async fn take(&self, request: Request, other: Option<&str>) -> std::result::Result<Taken, Refusal> {
        let admitted = self.admits(request.headers(), other);
        body::take(request, admitted, &self.held).await
    }

    /// Serves a router.
    ///
    /// # Errors
    /// `Conflict` if the port is taken.
    pub(super) async fn serve(self, router: Router, intake: Arc<Intake>) -> Result<()> {
        let listener = self.listen().await?;
        intake.note(format!("listens at {}", address_of(&listener)?));
        serve_at(listener, router).await
    }

    /// Takes the port.
    ///
    /// # Errors
    /// `Conflict` if somebody has it.
    pub(super) async fn listen(&self) -> Result<TcpListener> {
        TcpListener::bind(self.address).await.map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => Error::new(Kind::Conflict, format!("something listens at {} already: set listen", self.address)),
            _ => Error::io(format!("cannot listen at {}", self.address), error),
        })
    }
}

/// Returns where a listener listens.
pub(super) fn address_of(listener: &TcpListener) -> Result<SocketAddr> {
    listener.local_addr().map_err(|error| Error::io("cannot serve HTTP", error))
}

/// Serves a router to whoever comes.
pub(super) async fn serve_at(listener: TcpListener, router: Router) -> Result<()> {
    let served = axum::serve(Limited::new(listener, CONNECTION_LIMIT), router).await;
    served.map_err(|error| Error::io("cannot serve HTTP", error))
}

/// Runs what serves until the source is to end.
///
/// # Errors
/// What it ends with.
pub(super) fn run(stop: &StopFlag, serving: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let runtime = runtime.map_err(|error| Error::io("cannot serve", error))?;
    runtime.block_on(async {
        tokio::select! {
            ended = serving => ended,
            () = until_set(stop) => Ok(()),
        }
    })
}

/// Returns how many ns the unit has in which a number is a time of this century, by how many digits it has.
pub(super) fn unit_by_size(stamp: i64) -> i64 {
    match stamp.unsigned_abs() {
        0..5_000_000_000 => 1_000_000_000,
        5_000_000_000..5_000_000_000_000 => 1_000_000,
        5_000_000_000_000..5_000_000_000_000_000 => 1_000,
        _ => 1,
    }
}

async fn until_set(stop: &StopFlag) {
    while !stop.is_set() {
        tokio::time::sleep(STOP_STEP).await;
    }
}

fn basic_password(encoded: &str) -> Option<String> {
    let decoded = base64_decode(encoded)?;
    let (_, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some(password.to_owned())
}

fn base64_decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut count) = (0u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn door(listen: Option<&str>, token: Option<&str>) -> Result<Door> {
        Door::new(&Listen { listen: listen.map(Into::into), token: token.map(Into::into), token_file: None }, 8086)
    }

    fn with(name: header::HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn who_shows_the_token_comes_in() {
        let open = door(None, None).unwrap();
        assert!(open.admits(&HeaderMap::new(), None));
        let closed = door(Some("0.0.0.0:0"), Some("secret")).unwrap();
        for shown in ["Bearer secret", "Token secret", "token secret", "Basic dXNlcjpzZWNyZXQ="] {
            assert!(closed.admits(&with(header::AUTHORIZATION, shown), None), "{shown}");
        }
        for shown in ["Bearer Secret", "secret", "Basic secret", "Basic c2VjcmV0", "Bearer ", ""] {
            assert!(!closed.admits(&with(header::AUTHORIZATION, shown), None), "{shown}");
        }
        assert!(closed.admits(&HeaderMap::new(), Some("secret")) && !closed.admits(&HeaderMap::new(), Some("")));
    }

    #[test]
    fn other_machines_need_a_token() {
        let refused = |listen, token| door(Some(listen), token).err().unwrap().message().to_owned();
        assert!(refused("0.0.0.0:8086", None).contains("is open to other machines"));
        assert!(refused("nonsense", None).contains("write it like 127.0.0.1:8086"));
        assert_eq!(refused("127.0.0.1:1", Some("")), "the token is empty");
    }

    #[test]
    fn a_time_tells_its_unit_by_its_size() {
        for (stamp, ns) in [(1_700_000_000, 1_000_000_000), (1_700_000_000_000, 1_000_000), (1_700_000_000_000_000, 1_000)] {
            assert_eq!(unit_by_size(stamp), ns);
        }
        assert_eq!(unit_by_size(1_700_000_000_000_000_000), 1);
    }
}
