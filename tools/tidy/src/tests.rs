//! Each test builds a small tree in a temporary folder and looks at what [`check`] finds there.

use super::*;

const HEAD: &str = "//! Holds things.\n//!\n//! **Invariant:** none is lost.\n";

fn found(files: &[(&str, &str)]) -> Vec<String> {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    check(root.path()).unwrap().iter().map(ToString::to_string).collect()
}

fn package(folder: &str, dependencies: &str) -> (String, String) {
    let name = folder.rsplit('/').next().unwrap();
    (format!("{folder}/Cargo.toml"), format!("[package]\nname = \"tapeloop-{name}\"\n{dependencies}"))
}

fn found_in_packages(packages: &[(&str, &str)]) -> Vec<String> {
    let packages: Vec<_> = packages.iter().map(|(folder, dependencies)| package(folder, dependencies)).collect();
    let mut files: Vec<(&str, &str)> = packages.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    files.push(("Cargo.toml", "[workspace.dependencies]\nrobot = { package = \"tapeloop-robot\", path = \"crates/robot\" }\n"));
    found(&files)
}

/// Finds in a robot of modules `tape`, `encode`, `agent` and `clock`, of which `path` has `text`.
fn found_in_robot(path: &str, text: &str) -> Vec<String> {
    let head = |rest: &str| format!("{HEAD}{rest}");
    let mut files: BTreeMap<String, String> = BTreeMap::from([
        ("crates/robot/Cargo.toml".into(), "[package]\nname = \"tapeloop-robot\"\n".into()),
        ("crates/robot/src/lib.rs".into(), head("pub mod agent;\npub use agent::{run, client::Client as AgentClient};\n")),
    ]);
    for module in ["tape", "encode", "agent", "clock"] {
        files.insert(format!("crates/robot/src/{module}.rs"), head(""));
    }
    files.insert(format!("crates/robot/src/{path}"), head(text));
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    found(&files)
}

#[test]
fn allowed_arrows_pass() {
    let empty: [String; 0] = [];
    let packages = [
        ("crates/recording", "[dev-dependencies]\nmcap = \"1\"\n"),
        (
            "crates/robot",
            "[dependencies]\ntapeloop-recording.workspace = true\n[dev-dependencies]\ntapeloop-simtest = { path = \"../simtest\" }\n",
        ),
        ("crates/simtest", "[dependencies]\nrobot.workspace = true\n"),
        ("examples/rover", "[dependencies]\nrobot.workspace = true\n"),
    ];
    assert_eq!(found_in_packages(&packages), empty);
    assert_eq!(found_in_robot("encode.rs", "use crate::tape::{Tape, disk::Disk};\nuse crate::clock::Clock;\n"), empty);
    assert_eq!(found_in_robot("agent/http.rs", "use crate::{encode, tape};\nuse super::super::tape::Tape;\n"), empty);
}

#[test]
fn crates_that_name_what_they_must_not_are_found() {
    let check = |packages: &[(&str, &str)], expected: &str| assert_eq!(found_in_packages(packages), [expected]);
    let robot = ("crates/robot", "");
    check(
        &[("crates/recording", "[dependencies]\nrobot.workspace = true\n"), robot],
        "crates/recording/Cargo.toml:4: error: crates/recording must not depend on crates/robot: the arrows are in tidy's table",
    );
    check(
        &[("crates/lake", "[target.'cfg(unix)'.build-dependencies]\nr = { package = \"tapeloop-robot\", path = \"../robot\" }\n"), robot],
        "crates/lake/Cargo.toml:4: error: crates/lake must not depend on crates/robot: the arrows are in tidy's table",
    );
    check(
        &[("crates/cli", "[dependencies]\ntapeloop-simtest = { path = \"../simtest\" }\n"), ("crates/simtest", "")],
        "crates/cli/Cargo.toml:4: error: crates/cli must not depend on crates/simtest: the arrows are in tidy's table",
    );
    check(
        &[("crates/wheelhouse", "")],
        "crates/wheelhouse/Cargo.toml:1: error: crate crates/wheelhouse is not in tidy's table: a new crate needs an ADR and its arrows",
    );
}

#[test]
fn modules_that_name_what_they_must_not_are_found() {
    let check = |path: &str, text: &str, line: usize, what: &str| {
        let findings = found_in_robot(path, text);
        let expected = format!("crates/robot/src/{path}:{line}: error: {what}: the arrows are in tidy's table");
        assert_eq!(findings, [expected], "{text}");
    };
    check("tape.rs", "\nuse crate::encode::Jpeg;\n", 5, "tape must not name encode");
    check("tape/queue.rs", "use crate::{\n    clock::Clock,\n    agent::{self, Server},\n};\n", 4, "tape must not name agent");
    check("tape/queue.rs", "fn f() { super::super::agent::run() }\n", 4, "tape must not name agent");
    check("tape.rs", "fn f() { super::agent::run() }\n", 4, "tape must not name agent");
    check("tape.rs", "use crate::AgentClient;\n", 4, "tape must not name agent (as AgentClient)");
    check("clock.rs", "use crate::tape::Tape;\n", 4, "clock must not name tape");
    let unknown = found_in_robot("gearbox.rs", "");
    assert_eq!(
        unknown,
        ["crates/robot/src/gearbox.rs:1: error: module gearbox is not in tidy's table of crates/robot: say what it may name"]
    );
}

#[test]
fn comments_texts_and_tests_name_what_they_like() {
    let text = "// crate::agent\nconst A: &str = \"crate::agent\";\n#[cfg(test)]\nmod tests {\n    use crate::agent::run;\n}\n";
    let empty: [String; 0] = [];
    assert_eq!(found_in_robot("tape.rs", text), empty);
    assert_eq!(found_in_robot("tape/tests.rs", "use crate::agent::run;\n"), empty);
}

#[test]
fn a_module_says_what_it_holds() {
    let expected = "src/a.rs:1: error: the module must begin with `//!`: what it holds, what comes in and out, and an **Invariant:**";
    assert_eq!(found(&[("src/a.rs", "//! Holds things.\n")]), [expected]);
    assert_eq!(found(&[("src/a.rs", "fn main() {}\n// **Invariant:** too late\n")]), [expected]);
    let empty: [String; 0] = [];
    assert_eq!(found(&[("tests/it/main.rs", ""), ("src/a/tests.rs", ""), ("examples/a.rs", ""), ("build.rs", "")]), empty);
}

#[test]
fn names_that_say_nothing_are_found() {
    let check = |path: &str, text: &str, line: usize, start: &str| {
        let findings = found(&[(path, text)]);
        assert!(findings.len() == 1 && findings[0].starts_with(&format!("{path}:{line}: error: {start}")), "{findings:?}");
    };
    check("src/utils.rs", HEAD, 1, "a file or module named 'utils'");
    check("src/core/a.rs", HEAD, 1, "a file or module named 'core'");
    check("python/helpers.py", "", 1, "a file or module named 'helpers'");
    check("src/a.rs", &format!("{HEAD}pub(crate) mod misc {{\n}}\n"), 4, "a module named 'misc'");
    check("src/a/mod.rs", HEAD, 1, "no mod.rs");
}

#[test]
fn places_of_one_machine_are_found() {
    for folder in MACHINE_FOLDERS {
        let text = format!("fine\nopen('/{folder}/data')\n");
        assert_eq!(found(&[("a.md", &text)]), [format!("a.md:2: error: '/{folder}/…' is a path of one machine")]);
        let empty: [String; 0] = [];
        assert_eq!(found(&[("a.md", &format!("see docs/{folder}/a and ~/{folder}/b\n"))]), empty);
    }
    let (name, domain) = REGISTRY_HOSTS[0];
    let text = format!("from {name}.{domain}\n");
    assert_eq!(found(&[("a.toml", &text), ("Cargo.lock", &text)]).len(), 1);
}

#[test]
fn long_files_are_found() {
    let lines = |count: usize| format!("{HEAD}{}", "// A line.\n".repeat(count - 3));
    assert!(found(&[("src/a.rs", &lines(LINES_TO_WARN))]).is_empty());
    assert!(found(&[("src/a.rs", &lines(LINES_TO_WARN + 1))])[0].contains("warning"));
    assert!(found(&[("src/a.rs", &lines(LINE_LIMIT + 1))])[0].contains("error"));
    assert!(found(&[("ARCHITECTURE.md", &lines(ARCHITECTURE_LINE_LIMIT + 1))])[0].contains("at most 300"));
    assert!(found(&[("docs/adr/0001-a.md", &lines(ADR_LINE_LIMIT + 1))])[0].contains("at most 80"));
    assert!(found(&[("docs/guide/a.md", &lines(ARCHITECTURE_LINE_LIMIT + 1))]).is_empty());
}

#[test]
fn folders_that_tools_fill_are_not_read() {
    let empty: [String; 0] = [];
    assert_eq!(
        found(&[("target/a.rs", ""), ("out/CACHEDIR.TAG", ""), ("out/b.rs", ""), (".venv/c.rs", ""), ("web/node_modules/d.rs", "")]),
        empty
    );
    assert_eq!(found(&[("crates/lake/src/lib.rs", "")]).len(), 1);
}
