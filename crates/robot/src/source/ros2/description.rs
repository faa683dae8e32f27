//! What a node is asked for and answers when it describes its types: the service `get_type_description` of ROS 2 Jazzy and later.
//!
//! In come the name and the hash of a type, out comes the request in CDR; in comes the answer, out come the sources of the type.
//!
//! **Invariant:** nothing here is believed: whoever takes the sources compares their hash.

use std::fmt::Write;

use recording::decode::Decoder;
use recording::schema::library::{Flavour, Library};
use recording::{Error, Result, Schema, Topic};
use serde::Deserialize;

/// What the service is called, behind the name of the node.
pub(super) const SERVICE: &str = "get_type_description";
/// Its type as DDS and Zenoh write it; DDS has `Request_` or `Response_` behind it.
pub(super) const TYPE: &str = "type_description_interfaces::srv::dds_::GetTypeDescription_";
/// How payloads begin that are written in CDR, little-endian.
pub(super) const CDR_HEADER: [u8; 4] = [0, 1, 0, 0];

/// The type of an answer.
const ANSWER: &str = "type_description_interfaces/srv/GetTypeDescription_Response";
/// How long an answer may be.
const ANSWER_LIMIT: usize = 4 << 20;
/// The line between definitions.
const RULE: &str = "================================================================================";

/// What a node is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Question {
    pub(super) node: String,
    pub(super) type_name: String,
    pub(super) type_hash: String,
}

#[derive(Deserialize)]
struct Answer {
    successful: bool,
    failure_reason: String,
    type_sources: Vec<TypeSource>,
}

#[derive(Deserialize)]
struct TypeSource {
    type_name: String,
    encoding: String,
    raw_file_contents: String,
}

/// Returns the request for a type and its sources, without the header of CDR.
pub(super) fn request(question: &Question) -> Vec<u8> {
    let mut body = Vec::new();
    for text in [&question.type_name, &question.type_hash] {
        body.resize(body.len().next_multiple_of(4), 0);
        body.extend_from_slice(&(text.len() as u32 + 1).to_le_bytes());
        body.extend_from_slice(text.as_bytes());
        body.push(0);
    }
    body.push(u8::from(true));
    body
}

/// Reads an answer: the sources of the type and of those it is made of, as one schema.
///
/// # Errors
/// `Corrupt` for what is no answer, `NotFound` with the reason if the node does not know the type, or not its sources.
pub(super) fn sources(type_name: &str, payload: &[u8]) -> Result<Schema> {
    if payload.len() > ANSWER_LIMIT {
        return Err(Error::invalid(format!("a description of {} bytes; at most {ANSWER_LIMIT} are read", payload.len())));
    }
    let mut json = Vec::new();
    decoder()?.json(payload, &mut json)?;
    let answer: Answer = serde_json::from_slice(&json).map_err(|error| Error::corrupt(format!("a description: {error}")))?;
    if !answer.successful {
        return Err(Error::not_found(answer.failure_reason));
    }
    let mut text = String::new();
    for source in answer.type_sources {
        // Others say that the sources are not at hand.
        if let "msg" | "srv" | "action" | "idl" = source.encoding.as_str() {
            let heading = source.encoding.to_uppercase();
            // Writing to a string does not fail.
            let _ = write!(text, "{RULE}\n{heading}: {}\n{}\n", source.type_name, source.raw_file_contents);
        }
    }
    match text.is_empty() {
        true => Err(Error::not_found("the node does not have its sources")),
        false => Ok(Schema { name: type_name.to_owned(), encoding: "ros2msg".to_owned(), data: text.into() }),
    }
}

fn decoder() -> Result<Decoder> {
    let library = Library::standard();
    let schema = library.find(ANSWER, None, Flavour::Ros2).ok_or_else(|| Error::not_found(format!("nothing defines {ANSWER}")))?;
    let topic = Topic { name: SERVICE.to_owned(), encoding: "cdr".to_owned(), schema: Some(schema), metadata: Default::default() };
    Decoder::new(&topic, &library)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Returns an answer as a node writes it, without what nobody reads.
    pub(in crate::source::ros2) fn answer(successful: bool, reason: &str, sources: &[(&str, &str, &str)]) -> Vec<u8> {
        let mut body = vec![u8::from(successful)];
        let align = |body: &mut Vec<u8>| body.resize(body.len().next_multiple_of(4), 0);
        let string = |body: &mut Vec<u8>, text: &str| {
            align(body);
            body.extend_from_slice(&(text.len() as u32 + 1).to_le_bytes());
            body.extend_from_slice(text.as_bytes());
            body.push(0);
        };
        string(&mut body, reason);
        // The description: a name, no fields, no types it refers to.
        string(&mut body, "");
        align(&mut body);
        body.extend_from_slice(&[0; 8]);
        body.extend_from_slice(&(sources.len() as u32).to_le_bytes());
        for (name, encoding, text) in sources {
            [name, encoding, text].into_iter().for_each(|text| string(&mut body, text));
        }
        align(&mut body);
        body.extend_from_slice(&[0; 4]);
        [&CDR_HEADER[..], &body].concat()
    }

    #[test]
    fn a_request_is_cdr() {
        let question = Question { node: "/n".to_owned(), type_name: "a/msg/B".to_owned(), type_hash: "RIHS01_0".to_owned() };
        let body = request(&question);
        assert_eq!(body, b"\x08\0\0\0a/msg/B\0\x09\0\0\0RIHS01_0\0\x01");
    }

    #[test]
    fn an_answer_gives_the_sources_or_says_why_not() {
        let whole = answer(true, "", &[("a/msg/B", "msg", "C c\n"), ("a/msg/C", "msg", "int32 x"), ("a/msg/D", "implicit", "")]);
        let schema = sources("a/msg/B", &whole).unwrap();
        let mut library = Library::empty();
        assert!(library.add_schema(&schema));
        let found = library.find("a/msg/B", None, Flavour::Ros2).unwrap();
        assert!(String::from_utf8_lossy(&found.data).contains("int32 x"));
        let error = |payload: &[u8]| sources("a/msg/B", payload).unwrap_err().to_string();
        assert!(error(&answer(false, "no such type", &[])).contains("no such type"));
        assert!(error(&answer(true, "", &[("a/msg/B", "dynamic", "")])).contains("sources"));
        for end in 0..whole.len() - 3 {
            assert!(sources("a/msg/B", &whole[..end]).is_err(), "{end}");
        }
    }
}
