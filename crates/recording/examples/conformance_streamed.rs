//! `conformance_streamed FILE.mcap`: every record, in the order of the file, as JSON; for the MCAP conformance suite.
//!
//! The file is fed in small pieces, as if it came through a pipe.
//!
//! **Invariant:** nothing is read twice and nothing is looked up in a summary.

#[path = "conformance/record_json.rs"]
mod record_json;

use std::error::Error;
use std::io::Read;
use std::path::Path;

use recording::mcap::record::{self, opcode};
use recording::mcap::stream::{Next, Stream};
use serde_json::{Value, json};

/// How much is fed at a time.
const PIECE: usize = 11;

#[allow(dead_code, reason = "the test calls what it calls")]
fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).ok_or("name a file")?;
    println!("{}", run(Path::new(&path))?);
    Ok(())
}

/// Returns `{records: […]}`.
pub(crate) fn run(path: &Path) -> Result<Value, Box<dyn Error>> {
    let mut file = std::fs::File::open(path)?;
    let mut stream = Stream::new();
    let mut records = Vec::new();
    let mut piece = [0; PIECE];
    loop {
        match stream.advance()? {
            // The suite's expectations leave these out.
            Next::Record(found) if found.opcode == opcode::MESSAGE_INDEX => {}
            Next::Record(found) => records.push(record_json::of(&record::parse(found.opcode, &found.body)?)),
            Next::Wanted(_) => match file.read(&mut piece)? {
                0 => stream.finish(),
                count => stream.feed(&piece[..count]),
            },
            Next::Lost(loss) => return Err(loss.reason.into()),
            Next::End => return Ok(json!({ "records": records })),
        }
    }
}
