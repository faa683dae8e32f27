//! Names of ROS 2 as they stand on the wire, and as people know them.
//!
//! In come names of topics and types in DDS and the data that a writer carries, out come names of ROS and the hash of the type.
//!
//! **Invariant:** what does not follow the conventions of ROS 2 has no name here.

/// How many hexadecimal digits a RIHS01 hash has.
const HASH_DIGITS: usize = 64;
/// What such a hash begins with.
const HASH_MARK: &str = "RIHS01_";

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Role {
    Topic,
    Request,
    Response,
}

/// A topic as ROS knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Name {
    pub(super) topic: String,
    pub(super) role: Role,
}

impl Name {
    /// Returns the name without what was added to tell the parts of a service apart.
    pub(super) fn visible(&self) -> &str {
        let end = match self.role {
            Role::Topic => "",
            Role::Request => REQUEST,
            Role::Response => RESPONSE,
        };
        self.topic.strip_suffix(end).unwrap_or(&self.topic)
    }
}

/// What requests of a service are recorded under, below its name.
const REQUEST: &str = "/_request";
/// What its answers are recorded under.
const RESPONSE: &str = "/_response";

/// Returns the topic of ROS that a topic of DDS is.
pub(super) fn topic(dds: &str) -> Option<Name> {
    let (mark, rest) = dds.split_once('/')?;
    let named = |rest: &str, end: &str, role| (!rest.is_empty()).then(|| Name { topic: format!("/{rest}{end}"), role });
    match mark {
        "rt" => named(rest, "", Role::Topic),
        "rq" => named(rest.strip_suffix("Request")?, REQUEST, Role::Request),
        "rr" => named(rest.strip_suffix("Reply")?, RESPONSE, Role::Response),
        _ => None,
    }
}

/// Returns the type of ROS that a type of DDS is: `std_msgs::msg::dds_::String_` is `std_msgs/msg/String`.
pub(super) fn type_name(dds: &str) -> String {
    let is_ros = dds.contains("::dds_::");
    let parts: Vec<&str> = dds.split("::").filter(|part| *part != "dds_").collect();
    let joined = parts.join("/");
    match joined.strip_suffix('_') {
        Some(stripped) if is_ros => stripped.to_owned(),
        _ => joined,
    }
}

/// Returns whether ROS hides a topic: a part of its name begins with an underscore.
pub(super) fn is_hidden(topic: &str) -> bool {
    topic.split('/').any(|part| part.starts_with('_'))
}

/// Returns the hash of the type in the data that a writer carries: `typehash=RIHS01_…;`.
pub(super) fn hash_in(user_data: &[u8]) -> Option<String> {
    let mark = b"typehash=";
    let at = user_data.windows(mark.len()).position(|window| window == mark)?;
    let value = user_data.get(at + mark.len()..)?;
    let end = value.iter().position(|byte| matches!(byte, b';' | 0)).unwrap_or(value.len());
    hash(std::str::from_utf8(&value[..end]).ok()?)
}

/// Returns a hash if it is one: distributions without hashes write other words in its place.
pub(super) fn hash(text: &str) -> Option<String> {
    let digits = text.strip_prefix(HASH_MARK)?;
    (digits.len() == HASH_DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_on_the_wire_are_those_of_ros() {
        let read = |dds: &str| topic(dds).map(|name| (name.topic.clone(), name.role, name.visible().to_owned()));
        let is = |topic: &str, role, visible: &str| Some((topic.to_owned(), role, visible.to_owned()));
        assert_eq!(read("rt/chatter"), is("/chatter", Role::Topic, "/chatter"));
        assert_eq!(read("rt/robot/camera/image_raw"), is("/robot/camera/image_raw", Role::Topic, "/robot/camera/image_raw"));
        assert_eq!(read("rq/add_two_intsRequest"), is("/add_two_ints/_request", Role::Request, "/add_two_ints"));
        assert_eq!(read("rr/a/bReply"), is("/a/b/_response", Role::Response, "/a/b"));
        for foreign in ["chatter", "ros_discovery_info", "rt/", "rt", "rq/x", "rs/x", "", "/rt/x"] {
            assert_eq!(read(foreign), None, "{foreign}");
        }
        let types = [
            ("std_msgs::msg::dds_::String_", "std_msgs/msg/String"),
            ("example_interfaces::srv::dds_::AddTwoInts_Request_", "example_interfaces/srv/AddTwoInts_Request"),
            ("nav2_msgs::action::dds_::Wait_FeedbackMessage_", "nav2_msgs/action/Wait_FeedbackMessage"),
            ("plain::Type_", "plain/Type_"),
            ("Odd", "Odd"),
            ("", ""),
        ];
        for (dds, ros) in types {
            assert_eq!(type_name(dds), ros);
        }
        assert!(is_hidden("/fibonacci/_action/status") && is_hidden("/_x") && !is_hidden("/a_b/c_"));
    }

    #[test]
    fn a_hash_is_found_in_what_a_writer_carries() {
        let hash = format!("RIHS01_{}", "0123456789abcdef".repeat(4));
        let counted = [&[80, 0, 0, 0], format!("typehash={hash};").as_bytes(), &[0, 0]].concat();
        assert_eq!(hash_in(&counted), Some(hash.clone()));
        assert_eq!(hash_in(format!("a=b;typehash={hash}").as_bytes()), Some(hash.clone()));
        for wrong in ["", "typehash=", "typehash=;", "typehash=RIHS01_12;", "typehash=RIHS02_", "typehash=TypeHashNotSupported;"] {
            assert_eq!(hash_in(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(hash_in(format!("typehash={};", hash.replace('f', "g")).as_bytes()), None);
        assert_eq!(hash_in(b"typehash=\xff\xfe;"), None);
    }
}
