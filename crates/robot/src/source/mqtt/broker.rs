//! Where a broker is.
//!
//! **Invariant:** only what can be connected to is one: no TLS, no WebSockets.

use std::fmt;

use recording::{Error, Result};

const HOST: &str = "127.0.0.1";
const PORT: u16 = 1883;

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Broker {
    pub(super) host: String,
    pub(super) port: u16,
}

impl Broker {
    /// Parses `mqtt://host:port`, of which the scheme and the port may be left out; nothing is this machine's.
    ///
    /// # Errors
    /// `Invalid` for another scheme, and for what is no host.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let refuse = || Error::invalid(format!("broker = '{text}' is none: write it like mqtt://{HOST}:{PORT}"));
        let place = match text.split_once("://") {
            Some(("mqtt" | "tcp", place)) => place.trim_end_matches('/'),
            Some(("mqtts" | "ssl" | "tls" | "ws" | "wss", _)) => {
                let why = "there is neither TLS nor WebSockets here; take a port of the broker with plain TCP, or a tunnel that encrypts";
                return Err(Error::invalid(format!("broker = '{text}': {why}")));
            }
            Some(_) => return Err(refuse()),
            None => text,
        };
        // The colons of an address of version 6 are no port's.
        let is_address = place.parse::<std::net::Ipv6Addr>().is_ok();
        let (host, port) = match place.rsplit_once(':').filter(|_| !is_address) {
            Some((host, port)) => (host, port.parse().map_err(|_| refuse())?),
            None => (place, PORT),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if host.contains(|c: char| c.is_whitespace() || "/@?#[]".contains(c)) || (host.is_empty() && !text.is_empty()) {
            return Err(refuse());
        }
        Ok(Self { host: if host.is_empty() { HOST.into() } else { host.into() }, port })
    }
}

impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') { write!(f, "[{}]:{}", self.host, self.port) } else { write!(f, "{}:{}", self.host, self.port) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_is_written_as_everywhere() {
        for (text, expected) in [
            ("", "127.0.0.1:1883"),
            ("mqtt://arm.local:1884/", "arm.local:1884"),
            ("tcp://10.0.0.7", "10.0.0.7:1883"),
            ("arm", "arm:1883"),
            ("arm:5", "arm:5"),
            ("[::1]:1884", "[::1]:1884"),
            ("::1", "[::1]:1883"),
        ] {
            assert_eq!(Broker::parse(text).unwrap().to_string(), expected);
        }
        for text in ["mqtts://a", "ws://a", "a:b", "a b", "u@a", "mqtt://", ":1883", "a/b"] {
            let error = Broker::parse(text).unwrap_err();
            assert_eq!(error.message().contains("neither TLS"), ["mqtts", "ws"].iter().any(|scheme| text.starts_with(scheme)), "{error}");
        }
    }
}
