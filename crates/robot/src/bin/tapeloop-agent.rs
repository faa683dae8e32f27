//! The small agent for a robot: the recorder, its socket and its HTTP, and nothing else.
//!
//! **Invariant:** exit codes are those of `tapeloop`: 0 ok, 1 failed, 2 usage.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use robot::agent::{AgentOptions, run};

const USAGE: &str = "\
Records everything that programs on this machine send it, and keeps the past.

Usage: tapeloop-agent [CONFIG] [--data DIR] [--socket PATH] [--http ADDRESS|off] [--foxglove ADDRESS|off] [--group GROUP]

  CONFIG          the configuration; without it ./tapeloop.toml, the user's, or /etc/tapeloop/tapeloop.toml [TAPELOOP_CONFIG]
  --data DIR      the folder of the tape [TAPELOOP_DATA]
  --socket PATH   where programs connect [TAPELOOP_SOCKET]
  --http ADDRESS  where status and metrics are served, 127.0.0.1:8621 unless said otherwise [TAPELOOP_HTTP]
  --foxglove ADDRESS
                  where Foxglove connects, 127.0.0.1:8765 unless said otherwise [TAPELOOP_FOXGLOVE]
  --group GROUP   the group that may connect [TAPELOOP_GROUP]
  --help, --version
";

/// What the command line asks for.
enum Wish {
    Run(Box<AgentOptions>),
    Print(String),
}

fn main() -> ExitCode {
    let options = match parse(std::env::args_os().skip(1), |name| std::env::var_os(name)) {
        Ok(Wish::Run(options)) => options,
        Ok(Wish::Print(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("tapeloop-agent: {message}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(*options) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tapeloop-agent: {error}");
            ExitCode::FAILURE
        }
    }
}

/// An option wins over a variable, and that over the configuration.
fn parse(arguments: impl IntoIterator<Item = OsString>, variable: impl Fn(&str) -> Option<OsString>) -> Result<Wish, String> {
    let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
    let text = |value: OsString| value.into_string().map_err(|value| format!("not text: {}", value.to_string_lossy()));
    let mut options = AgentOptions {
        socket: variable("TAPELOOP_SOCKET").map(PathBuf::from),
        http: variable("TAPELOOP_HTTP").map(text).transpose()?,
        foxglove: variable("TAPELOOP_FOXGLOVE").map(text).transpose()?,
        group: variable("TAPELOOP_GROUP").map(text).transpose()?,
        ..AgentOptions::default()
    };
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let (name, inline) = split(&argument);
        let mut value = || inline.clone().or_else(|| arguments.next()).ok_or(format!("{name} needs a value"));
        match name.as_str() {
            "--data" => options.data = Some(PathBuf::from(value()?)),
            "--socket" => options.socket = Some(PathBuf::from(value()?)),
            "--http" => options.http = Some(text(value()?)?),
            "--foxglove" => options.foxglove = Some(text(value()?)?),
            "--group" => options.group = Some(text(value()?)?),
            "--help" | "-h" => return Ok(Wish::Print(USAGE.to_owned())),
            "--version" | "-V" => return Ok(Wish::Print(concat!("tapeloop-agent ", env!("CARGO_PKG_VERSION"), "\n").to_owned())),
            _ if name.starts_with('-') => return Err(format!("no option '{name}'")),
            _ if options.config.is_some() => return Err(format!("one configuration, not also '{}'", argument.to_string_lossy())),
            _ => options.config = Some(PathBuf::from(argument)),
        }
    }
    Ok(Wish::Run(Box::new(options)))
}

/// Splits `--name=value`.
fn split(argument: &OsString) -> (String, Option<OsString>) {
    match argument.to_str().filter(|text| text.starts_with("--")).and_then(|text| text.split_once('=')) {
        Some((name, value)) => (name.to_owned(), Some(OsString::from(value))),
        None => (argument.to_string_lossy().into_owned(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str], variables: &[(&str, &str)]) -> AgentOptions {
        let variable = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value));
        match parse(arguments.iter().map(OsString::from), variable) {
            Ok(Wish::Run(options)) => *options,
            Ok(Wish::Print(text)) => panic!("{text}"),
            Err(message) => panic!("{message}"),
        }
    }

    #[test]
    fn an_option_wins_over_a_variable_and_that_over_the_configuration() {
        let variables = [("TAPELOOP_SOCKET", "/env.sock"), ("TAPELOOP_HTTP", "off"), ("TAPELOOP_GROUP", "")];
        let options = parsed(&["robot.toml"], &variables);
        // What is `None` here is taken from the configuration.
        assert_eq!((options.socket, options.http, options.group), (Some("/env.sock".into()), Some("off".into()), None));
        let options = parsed(&["--socket", "/option.sock", "--http=[::1]:1"], &variables);
        assert_eq!((options.socket, options.http), (Some("/option.sock".into()), Some("[::1]:1".into())));
        assert_eq!(parsed(&[], &[]).socket, None);
    }
}
