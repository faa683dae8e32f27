//! The tokens by which `rmw_zenoh` says that a publisher is there.
//!
//! In come the keys of tokens, out come the key of the publisher's samples, its node, its profile, and what tells it apart.
//!
//! **Invariant:** a token that does not say all of it is no publisher.

use recording::qos::{Length, Profile};
use xxhash_rust::xxh3::xxh3_128;

use super::attachment::Gid;

/// Where tokens are.
pub(super) const SPACE: &str = "@ros2_lv";
/// How many parts the key of a publisher's token has; newer versions may add some.
const PARTS: usize = 13;
/// What a publisher is called there.
const PUBLISHER: &str = "MP";
/// What a token writes for a slash.
const SLASH: &str = "%";
/// What the depth is where the token leaves it out.
const DEPTH: u64 = 42;

/// A publisher that is there.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    /// What its samples carry in versions from 0.2.4 on: the hash of the token's key.
    pub(super) gid: Gid,
    /// Where it publishes.
    pub(super) key: String,
    pub(super) node: String,
    pub(super) profile: Profile,
}

impl Token {
    /// Reads the key of a token; `None` if it is not that of a publisher.
    pub(super) fn read(token: &str) -> Option<Self> {
        let parts: Vec<&str> = token.split('/').collect();
        let [space, domain, _zid, _nid, _id, kind, _enclave, namespace, node, topic, type_name, hash, qos] = *parts.get(..PARTS)? else {
            return None;
        };
        if space != SPACE || kind != PUBLISHER {
            return None;
        }
        let topic = topic.replace(SLASH, "/");
        let topic = topic.trim_matches('/');
        let namespace = namespace.replace(SLASH, "/");
        Some(Self {
            gid: gid(token),
            key: format!("{domain}/{topic}/{type_name}/{hash}"),
            node: format!("{}/{node}", namespace.trim_end_matches('/')),
            profile: profile(qos)?,
        })
    }
}

/// Returns what tells the publisher of a token apart.
pub(super) fn gid(token: &str) -> Gid {
    xxh3_128(token.as_bytes()).to_le_bytes()
}

/// Reads `reliability:durability:history,depth:deadline:lifespan:liveliness,lease`; what is left out is as `rmw_zenoh` has it.
fn profile(qos: &str) -> Option<Profile> {
    let or = Profile { depth: DEPTH, ..Profile::default() };
    let parts: Vec<Vec<&str>> = qos.split(':').map(|part| part.split(',').collect()).collect();
    let at = |part: usize, index: usize| parts.get(part).and_then(|part| part.get(index)).copied().unwrap_or("");
    let name = |part: usize, names: &[&str], otherwise: &str| match at(part, 0) {
        "" => Some(otherwise.to_owned()),
        number => number.parse::<usize>().ok().map(|number| (*names.get(number).unwrap_or(&"unknown")).to_owned()),
    };
    let number = |part: usize, index: usize, otherwise: u64| match at(part, index) {
        "" => Some(otherwise),
        number => number.parse().ok(),
    };
    let length = |part: usize, index: usize, otherwise: Length| {
        Some(Length { sec: number(part, index, otherwise.sec)?, nsec: number(part, index + 1, otherwise.nsec)? })
    };
    Some(Profile {
        reliability: name(0, &["system_default", "reliable", "best_effort"], &or.reliability)?,
        durability: name(1, &["system_default", "transient_local", "volatile"], &or.durability)?,
        history: name(2, &["system_default", "keep_last", "keep_all"], &or.history)?,
        depth: number(2, 1, or.depth)?,
        deadline: length(3, 0, or.deadline)?,
        lifespan: length(4, 0, or.lifespan)?,
        liveliness: name(5, &["system_default", "automatic", "manual_by_node", "manual_by_topic"], &or.liveliness)?,
        lease: length(5, 1, or.lease)?,
        avoid_ros_namespace_conventions: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TALKER: &str =
        "@ros2_lv/2/aac3178e146ba6f1fc6e6a4085e77f21/0/10/MP/%/%/talker/%chatter/std_msgs::msg::dds_::String_/RIHS01_df/::,7:,:,:,,";

    #[test]
    fn a_token_says_where_and_how_a_node_publishes() {
        let token = Token::read(TALKER).unwrap();
        assert_eq!((token.key.as_str(), token.node.as_str()), ("2/chatter/std_msgs::msg::dds_::String_/RIHS01_df", "/talker"));
        assert_eq!(token.profile, Profile { depth: 7, ..Profile::default() });
        assert_eq!(token.gid, xxh3_128(TALKER.as_bytes()).to_le_bytes());
        let nested =
            TALKER.replace("/%/talker/%chatter/", "/%robot%arm/driver/%robot%arm%state/").replace("::,7:,:,:,,", "2:1:2,:1,5:,:3,0,9");
        let token = Token::read(&nested).unwrap();
        assert_eq!(
            (token.key.as_str(), token.node.as_str()),
            ("2/robot/arm/state/std_msgs::msg::dds_::String_/RIHS01_df", "/robot/arm/driver")
        );
        let Profile { reliability, durability, history, depth, deadline, liveliness, lease, .. } = token.profile;
        assert_eq!(
            (reliability.as_str(), durability.as_str(), history.as_str(), depth),
            ("best_effort", "transient_local", "keep_all", DEPTH)
        );
        assert_eq!((deadline, liveliness.as_str()), (Length { sec: 1, nsec: 5 }, "manual_by_topic"));
        assert_eq!(lease, Length { sec: 0, nsec: 9 });
    }

    #[test]
    fn what_is_not_a_publisher_is_none() {
        for other in ["", "@ros2_lv/2/a/0/10/NN/%/%/talker", "0/chatter/x/y"] {
            assert_eq!(Token::read(other), None, "{other}");
        }
        assert_eq!(Token::read(&TALKER.replace("/MP/", "/MS/")), None);
        assert_eq!(Token::read(&TALKER.replace("::,7", "x::,7")), None);
        assert_eq!(Token::read(&TALKER.replace("::,7", "::,-7")), None);
        assert!(Token::read(&format!("{TALKER}/more")).is_some());
    }
}
