//! Which machines may send.
//!
//! **Invariant:** this machine always may; of others only those that were named.

use std::net::IpAddr;

use recording::{Error, Result};

/// Networks.
#[derive(Clone, Debug, Default)]
pub(super) struct Allowed {
    networks: Vec<(u128, u32)>,
}

impl Allowed {
    /// Parses addresses and networks: `10.0.0.7`, `192.168.1.0/24`, `fd00::/8`.
    ///
    /// # Errors
    /// `Invalid` for what is neither.
    pub(super) fn parse(texts: &[String]) -> Result<Self> {
        let networks = texts.iter().map(|text| {
            network(text).ok_or_else(|| Error::invalid(format!("allow: '{text}' is no address and no network like 192.168.1.0/24")))
        });
        Ok(Self { networks: networks.collect::<Result<_>>()? })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.networks.is_empty()
    }

    pub(super) fn admits(&self, address: IpAddr) -> bool {
        let bits = bits(address);
        address.to_canonical().is_loopback() || self.networks.iter().any(|(network, mask)| prefix(bits, *mask) == *network)
    }
}

fn network(text: &str) -> Option<(u128, u32)> {
    let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let address: IpAddr = address.trim().parse().ok()?;
    let (offset, most) = if address.is_ipv4() { (96, 32) } else { (0, 128) };
    let length: u32 = length.map_or(Some(most), |length| length.parse().ok()).filter(|length| *length <= most)?;
    Some((prefix(bits(address), offset + length), offset + length))
}

/// Returns an address as one of version 6.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn prefix(bits: u128, length: u32) -> u128 {
    if length == 0 { 0 } else { bits >> (128 - length) << (128 - length) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_that_were_named_may_send() {
        let allowed = Allowed::parse(&["192.168.1.0/24".into(), "10.0.0.7".into(), "fd00::/8".into()]).unwrap();
        let admits = |address: &str| allowed.admits(address.parse().unwrap());
        for address in ["192.168.1.9", "10.0.0.7", "fd12::1", "127.0.0.1", "::1", "::ffff:10.0.0.7"] {
            assert!(admits(address), "{address}");
        }
        for address in ["192.168.2.9", "10.0.0.8", "fe80::1"] {
            assert!(!admits(address), "{address}");
        }
        assert!(Allowed::parse(&["0.0.0.0/0".into()]).unwrap().admits("8.8.8.8".parse().unwrap()));
        for wrong in ["everyone", "10.0.0.0/33", "10.0.0.0/x", ""] {
            assert!(Allowed::parse(&[wrong.into()]).is_err(), "{wrong}");
        }
    }
}
