//! Who may look: programs and pages of this machine, or whoever shows the token.
//!
//! **Invariant:** without a token nothing but the loopback interface is listened to, and no page of elsewhere is let in.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs};

use axum::http::{HeaderMap, header};
use recording::{Error, Kind, Result};

use crate::agent::host_check;
use crate::config::AgentConfig;

/// What desktop viewers say they are a page of.
const DESKTOP_ORIGINS: [&str; 1] = ["file://"];

/// The door to the server.
#[derive(Clone)]
pub(super) struct Door {
    /// The hash of the token.
    token: Option<blake3::Hash>,
}

impl Door {
    /// Returns the address to listen at, and the door there.
    ///
    /// # Errors
    /// `Invalid` for what is no address, and for one that other machines reach without a token.
    pub(super) fn new(address: &str, config: &AgentConfig) -> Result<(SocketAddr, Self)> {
        let address = resolve(address)?;
        let token = config.foxglove_token.as_deref();
        if token == Some("") {
            return Err(Error::invalid("the Foxglove token is empty"));
        }
        if token.is_none() && !address.ip().is_loopback() {
            return Err(Error::invalid(format!(
                "Foxglove address {address} is open to other machines: set foxglove_token = \"…\" in [agent], or use 127.0.0.1:{}",
                address.port()
            )));
        }
        Ok((address, Self { token: token.map(|token| blake3::hash(token.as_bytes())) }))
    }

    /// Takes the port.
    ///
    /// # Errors
    /// Those of the system.
    pub(super) fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr)> {
        let failed = |error| Error::io(format!("cannot listen at {address}"), error);
        let listener = TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok((listener, address))
    }

    /// Checks who asks: `?token=…` of the address, or the header; without a token, where the request comes from.
    ///
    /// # Errors
    /// `Denied`, with what to do about it.
    pub(super) fn check(&self, headers: &HeaderMap, query: Option<&str>) -> Result<()> {
        let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
        if let Some(token) = &self.token {
            let shown = query.into_iter().flat_map(|query| query.split('&')).find_map(|part| part.strip_prefix("token="));
            let bearer = text(header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
            // Hashes compare in constant time.
            let known = [shown, bearer].into_iter().flatten().any(|shown| blake3::hash(shown.as_bytes()) == *token);
            return if known { Ok(()) } else { Err(Error::new(Kind::Denied, "it does not show the token: open ws://…/?token=…")) };
        }
        let origin = text(header::ORIGIN).filter(|origin| !DESKTOP_ORIGINS.contains(origin));
        host_check::check(text(header::HOST), origin, None, false, None)
            .map_err(|error| Error::new(Kind::Denied, format!("{}, or set foxglove_token in [agent]", error.message())))
    }
}

fn resolve(text: &str) -> Result<SocketAddr> {
    if let Ok(port) = text.parse() {
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    let refuse = || Error::invalid(format!("not a Foxglove address: '{text}' (write it like 127.0.0.1:8765, or off)"));
    text.to_socket_addrs().ok().and_then(|mut addresses| addresses.next()).ok_or_else(refuse)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn door(address: &str, token: Option<&str>) -> Result<Door> {
        let config = AgentConfig { foxglove_token: token.map(Into::into), ..AgentConfig::default() };
        Door::new(address, &config).map(|(_, door)| door)
    }

    fn admits(door: &Door, origin: Option<&'static str>, query: Option<&str>) -> bool {
        let mut headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("localhost:8765"))]);
        headers.extend(origin.map(|origin| (header::ORIGIN, HeaderValue::from_static(origin))));
        door.check(&headers, query).is_ok()
    }

    #[test]
    fn pages_of_elsewhere_need_the_token() {
        let open = door("127.0.0.1:0", None).unwrap();
        for origin in [None, Some("file://"), Some("http://localhost:8080"), Some("http://127.0.0.1")] {
            assert!(admits(&open, origin, None), "{origin:?}");
        }
        for origin in ["https://app.foxglove.dev", "null", "http://evil.example"] {
            assert!(!admits(&open, Some(origin), Some("token=x")), "{origin}");
        }
        let closed = door("0.0.0.0:0", Some("secret")).unwrap();
        assert!(admits(&closed, Some("https://app.foxglove.dev"), Some("a=b&token=secret")));
        for query in [None, Some("token="), Some("token=Secret"), Some("secret")] {
            assert!(!admits(&closed, None, query), "{query:?}");
        }
    }

    #[test]
    fn other_machines_need_a_token() {
        let refused = |address| door(address, None).err().unwrap().message().to_owned();
        assert!(refused("0.0.0.0:8765").contains("open to other machines: set foxglove_token"));
        assert!(refused("nonsense").contains("write it like 127.0.0.1:8765"));
        assert!(door("127.0.0.1:1", Some("")).is_err());
    }
}
