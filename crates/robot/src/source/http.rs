//! What sources share that listen to HTTP: the port, the token, the limits.
//!
//! **Invariant:** a request is unpacked only as far as its limit, and nothing of it is looked at before its token was.

mod body;
pub(crate) mod host_check;
mod limited;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::Response;
use recording::{Error, Kind, Result};
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

pub(super) use self::body::{Refusal, Taken, Why, unpack};
pub(crate) use self::limited::Limited;
use super::Intake;
use crate::stop::StopFlag;

/// How many connections one source may have.
const CONNECTION_LIMIT: usize = 64;
/// How long the body of a request may take.
const BODY_PATIENCE: Duration = Duration::from_secs(60);
/// After how many seconds a sender may try again.
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("1");

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
    /// The file of the token, which is read when the source is run.
    token_file: Option<String>,
    /// The hash of the token.
    token: Option<blake3::Hash>,
    /// How many bytes of bodies are in memory.
    held: Arc<AtomicUsize>,
}

impl Door {
    /// Reads the options, without opening anything.
    ///
    /// # Errors
    /// `Invalid` for what is no address, for two tokens, and for an address beyond this machine without one.
    pub(super) fn new(options: &Listen, default_port: u16) -> Result<Self> {
        let text = options.listen.clone().unwrap_or_else(|| format!("127.0.0.1:{default_port}"));
        let address: SocketAddr =
            text.parse().map_err(|_| Error::invalid(format!("listen = '{text}' is no address: write it like 127.0.0.1:{default_port}")))?;
        if options.token.is_some() && options.token_file.is_some() {
            return Err(Error::invalid("token or token_file, not both"));
        }
        if options.token.is_none() && options.token_file.is_none() && !address.ip().is_loopback() {
            return Err(Error::invalid(format!("listen = '{text}' is open to other machines: give it a token, or listen at 127.0.0.1")));
        }
        let token = options.token.as_deref().map(hash_of).transpose()?;
        Ok(Self { address, token_file: options.token_file.clone(), token, held: Arc::default() })
    }

    /// Returns the door with the token that stands in its file.
    ///
    /// # Errors
    /// If that cannot be read, or is empty.
    pub(super) fn with_token(&self) -> Result<Self> {
        let Some(path) = &self.token_file else { return Ok(self.clone()) };
        let read = std::fs::read_to_string(path).map_err(|error| Error::io(format!("cannot read the token in {path}"), error))?;
        Ok(Self { token: Some(hash_of(read.trim())?), ..self.clone() })
    }

    /// Returns why a request may not come in. The token stands behind `Bearer` or `Token`, or is the password of `Basic`; without one,
    /// pages of the web are kept out.
    fn refusal(&self, uri: &Uri, headers: &HeaderMap, other: Option<&str>) -> Option<Refusal> {
        let denied = || Some(Refusal::new(Why::Denied, "the token is missing or wrong"));
        let token = match (&self.token, &self.token_file) {
            (Some(token), _) => token,
            (None, Some(_)) => return denied(),
            (None, None) => {
                return foreign(uri, headers).map(|error| Refusal::new(Why::Foreign, format!("{}, or set a token", error.message())));
            }
        };
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
        let admitted = [from_header.as_deref(), other].into_iter().flatten().any(|shown| blake3::hash(shown.as_bytes()) == *token);
        if admitted { None } else { denied() }
    }

    /// Returns the body of a request that may come in, if the tape can take it now. `other` is a token that stands elsewhere.
    ///
    /// # Errors
    /// Who may not come in, what is too large, and what is to be sent again; each is counted as refused. The sender gets to read it,
    /// because the body was taken off the line.
    pub(super) async fn take(&self, request: Request, other: Option<&str>, intake: &Intake) -> Result<Taken, Refusal> {
        let refusal = self.refusal(request.uri(), request.headers(), other);
        let taken = body::take(request, refusal, &self.held, BODY_PATIENCE).await.and_then(|taken| {
            let busy = intake.trouble().map(|why| Refusal::new(Why::Busy, why));
            let refusal = busy.or_else(|| intake.batch_over_limit().map(|why| Refusal::new(Why::OverLimit, why)));
            refusal.map_or(Ok(taken), Err)
        });
        taken.inspect_err(|refusal| intake.refuse(&refusal.message))
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

/// Returns what is wrong with a request that has no token to show: a page of the web can have a browser send it to this machine.
fn foreign(uri: &Uri, headers: &HeaderMap) -> Option<Error> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    // Whoever names no host is no browser. In HTTP/2 it stands in the address.
    let host = uri.authority().map(Authority::as_str).or_else(|| text("host")).unwrap_or("localhost");
    host_check::check(Some(host), text("origin"), text("sec-fetch-site"), false, None).err()
}

fn hash_of(token: &str) -> Result<blake3::Hash> {
    if token.is_empty() { Err(Error::invalid("the token is empty")) } else { Ok(blake3::hash(token.as_bytes())) }
}

/// Says in an answer when to send it again, if it says that this helps.
pub(super) fn with_retry(mut answer: Response) -> Response {
    if matches!(answer.status(), StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
        answer.headers_mut().insert(header::RETRY_AFTER, RETRY_SECONDS);
    }
    answer
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
    runtime()?.block_on(async {
        tokio::select! {
            ended = serving => ended,
            () = stop.until_set() => Ok(()),
        }
    })
}

/// Returns what runs tasks on this thread.
pub(super) fn runtime() -> Result<Runtime> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    runtime.map_err(|error| Error::io("cannot run tasks", error))
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
        let why = |door: &Door, headers: &HeaderMap, other| door.refusal(&Uri::default(), headers, other).map(|refusal| refusal.why);
        let closed = door(Some("0.0.0.0:0"), Some("secret")).unwrap();
        let admits = |headers: &HeaderMap, other| why(&closed, headers, other).is_none();
        for shown in ["Bearer secret", "Token secret", "token secret", "Basic dXNlcjpzZWNyZXQ="] {
            assert!(admits(&with(header::AUTHORIZATION, shown), None), "{shown}");
        }
        for shown in ["Bearer Secret", "secret", "Basic secret", "Basic c2VjcmV0", "Bearer ", ""] {
            assert!(!admits(&with(header::AUTHORIZATION, shown), None), "{shown}");
        }
        assert!(admits(&HeaderMap::new(), Some("secret")) && !admits(&HeaderMap::new(), Some("")));
        // The token in a file is read when the source is run, and not before.
        let file = tempfile::NamedTempFile::new().unwrap();
        let token_file = Some(file.path().display().to_string());
        let later = Door::new(&Listen { token_file: token_file.clone(), ..Listen::default() }, 8086).unwrap();
        assert_eq!(why(&later, &HeaderMap::new(), None), Some(Why::Denied));
        assert!(later.with_token().err().unwrap().message().contains("the token is empty"));
        std::fs::write(file.path(), "secret\n").unwrap();
        let later = later.with_token().unwrap();
        assert_eq!(why(&later, &HeaderMap::new(), None), Some(Why::Denied));
        assert_eq!(why(&later, &HeaderMap::new(), Some("secret")), None);
        assert!(Door::new(&Listen { token: Some("a".into()), token_file, ..Listen::default() }, 8086).is_err());
    }

    #[test]
    fn without_a_token_only_this_machine_may_send() {
        let open = door(None, None).unwrap();
        let admits = |uri: &'static str, headers: &HeaderMap| open.refusal(&Uri::from_static(uri), headers, None).is_none();
        assert!(admits("/write", &HeaderMap::new()) && admits("http://localhost:4317/a", &HeaderMap::new()));
        assert!(!admits("http://evil.example/a", &HeaderMap::new()));
        let site = header::HeaderName::from_static("sec-fetch-site");
        for (name, good, bad) in [
            (header::HOST, "127.0.0.1:8086", "rebound.example:8086"),
            (header::ORIGIN, "http://localhost:3000", "https://evil.example"),
            (header::ORIGIN, "http://[::1]", "null"),
            (site, "same-origin", "cross-site"),
        ] {
            assert!(admits("/write", &with(name.clone(), good)) && !admits("/write", &with(name, bad)), "{bad}");
        }
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
