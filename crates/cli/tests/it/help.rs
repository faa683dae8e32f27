//! What the program says of itself.

use crate::program::Place;

const COMMANDS: [&str; 23] = [
    "record",
    "run",
    "save",
    "keep",
    "keep start",
    "keep stop",
    "rm",
    "status",
    "tail",
    "top",
    "ls",
    "info",
    "cat",
    "schema",
    "schema diff",
    "schema add",
    "schema ls",
    "rule",
    "rule check",
    "rule test",
    "export",
    "convert",
    "doctor",
];

#[test]
fn every_command_explains_itself_with_examples() {
    let place = Place::new();
    insta::assert_snapshot!("help", place.ok(&["--help"]));
    for command in COMMANDS {
        let arguments: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        let help = place.ok(&arguments);
        assert!(help.contains("Examples:\n  tapeloop "), "{help}");
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
        insta::assert_snapshot!(format!("help {command}"), help);
    }
    assert_eq!(place.ok(&["--version"]), concat!("tapeloop ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn usage_errors_have_an_exit_code_of_their_own() {
    let place = Place::new();
    let check = |arguments: &[&str], expected: &str| {
        let done = place.run(arguments);
        assert_eq!(done.code, 2, "{done:?}");
        assert!(done.stderr.starts_with("tapeloop: ") && done.stderr.contains(expected), "{}", done.stderr);
        assert_eq!(done.stdout, "");
    };
    check(&["savee"], "unrecognized subcommand 'savee'");
    check(&["save"], "--before");
    check(&["save", "--at", "14:32"], "--before");
    check(&["save", "--before", "3 parsecs"], "write it like '30 s'");
    check(&["save", "--before", "1s", "--start", "10 min ago"], "cannot be used with");
    check(&["save", "--before", "1s", "--at", "noon"], "not a time: 'noon'");
    check(&["save", "--before", "1s", "--topics", "!"], "empty topic pattern");
    check(&["save", "--before", "1s", "--label", "operator"], "write it like operator=ada");
    check(&["record", "--from", "a.mcap", "--speed", "0"], "write a factor above 0, or max");
    check(&["record", "--device", "my robot"], "not a name for a device");
    check(&["export", "a.mcap"], "--output <FILE>");
    check(&["cat", "a.mcap", "--limit", "many"], "invalid value 'many'");
}

#[test]
fn variables_stand_for_options() {
    let place = Place::new();
    let run = |name: &str, value: &str, arguments: &[&str]| {
        let output = place.command(arguments).env(name, value).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, stderr) = run("TAPELOOP_BEFORE", "3 parsecs", &["save"]);
    assert!(code == Some(2) && stderr.contains("3 parsecs"), "{stderr}");
    let (code, stderr) = run("TAPELOOP_DATA", "nowhere", &["ls"]);
    assert!(code == Some(1) && stderr.contains("there is no folder nowhere"), "{stderr}");
    let (code, _) = run("TAPELOOP_JSON", "0", &["ls", "--data", "nowhere"]);
    assert_eq!(code, Some(1));
}
