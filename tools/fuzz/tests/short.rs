//! A short run of every target, and of what the program itself promises.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::process::{Command, Output};

fn fuzz(arguments: &[&str]) -> (Output, Vec<String>) {
    let findings = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tapeloop-fuzz"));
    let output = command.args(arguments).arg("--findings").arg(findings.path()).env_remove("TAPELOOP_TEST_DATA").output().unwrap();
    let mut files: Vec<String> =
        std::fs::read_dir(findings.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    files.sort();
    (output, files)
}

#[test]
fn every_target_survives_a_short_run() {
    let (output, files) = fuzz(&["--seconds", "1"]);
    assert!(output.status.success(), "{}\n{files:?}", String::from_utf8_lossy(&output.stderr));
    assert!(files.is_empty(), "{files:?}");
}

#[test]
fn a_target_that_panics_dies_or_takes_too_much_memory_is_found_and_its_input_is_kept() {
    for (target, said, kept) in [
        ("self-test-panic", "self-test-panic: panics", "self-test-panic-"),
        ("self-test-memory", "bytes of memory for", "self-test-memory-"),
        ("self-test-death", "self-test-death: died", "self-test-death.current"),
    ] {
        let (output, files) = fuzz(&["--seconds", "20", target]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.contains(said), "{errors}");
        assert!(matches!(&files[..], [file] if file.starts_with(kept)), "{files:?}");
    }
}
