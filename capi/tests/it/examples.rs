//! The programs in `examples/c`, built against an installed library, logging onto a tape and into an agent.

use std::path::{Path, PathBuf};
use std::process::Command;

use recording::manifest::State;
use robot::agent::{Agent, AgentOptions};

use crate::messages;

/// The repository.
fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Lays out what cargo has just built, as `make capi` does.
fn install(prefix: &Path) {
    let tests = std::env::current_exe().unwrap();
    let built = prefix.join("built");
    std::fs::create_dir_all(&built).unwrap();
    for (start, end) in [("libtapeloop", ".so"), ("libtapeloop", ".a")] {
        // Cargo puts a hash into the name of one of them, and leaves old ones behind.
        let files = std::fs::read_dir(tests.parent().unwrap()).unwrap().map(|file| file.unwrap().path());
        let named = files.filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy();
            name.starts_with(start) && name.ends_with(end)
        });
        let newest = named.max_by_key(|path| path.metadata().unwrap().modified().unwrap()).expect("cargo builds it for the tests");
        std::os::unix::fs::symlink(newest, built.join(format!("{start}{end}"))).unwrap();
    }
    run(Command::new(repository().join("capi/install")).arg(&built).arg(prefix));
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}{err}", output.status);
    out.into_owned()
}

/// Builds both programs, the one with the shared library and the other with the static one.
fn build(prefix: &Path) -> (PathBuf, PathBuf) {
    let (c, cpp) = (prefix.join("robot_c"), prefix.join("robot_cpp"));
    let (library, sources) = (prefix.join("lib"), repository().join("examples/c"));
    let include = format!("-I{}", prefix.join("include").display());
    let strict = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", include.as_str()];
    let mut gcc = Command::new("gcc");
    gcc.arg("-std=c99").args(strict).arg(sources.join("robot.c")).arg("-o").arg(&c);
    gcc.arg(format!("-L{}", library.display())).arg("-ltapeloop").arg(format!("-Wl,-rpath,{}", library.display()));
    run(&mut gcc);
    let mut gpp = Command::new("g++");
    gpp.arg("-std=c++17").args(strict).arg(sources.join("robot.cpp")).arg("-o").arg(&cpp);
    gpp.arg(library.join("libtapeloop.a")).args(["-lpthread", "-ldl", "-lm"]);
    run(&mut gpp);
    (c, cpp)
}

fn assert_logged(root: &Path) {
    let imu = messages(root, "/imu");
    assert_eq!(imu.len(), 21);
    assert_eq!((imu[3].data.as_ref(), imu[3].topic.encoding.as_str()), (&br#"{"ax": 3.5, "ay": 0}"#[..], "json"));
    let schema = imu[3].topic.schema.as_ref().unwrap();
    assert_eq!((schema.name.as_str(), schema.encoding.as_str()), ("Imu", "jsonschema"));
    assert!(schema.data.starts_with(br#"{"type": "object""#));
    let measured = imu.iter().find(|message| message.data.starts_with(br#"{"ax": -9"#)).unwrap();
    assert_eq!(measured.publish_time_ns, 1_700_000_000_000_000_000);
    assert!(measured.log_time_ns > measured.publish_time_ns);
    let frames = messages(root, "/camera/front");
    assert_eq!((frames.len(), frames[0].topic.metadata["width"].as_str()), (2, "2500"));
    assert!(frames.iter().zip([0, 10]).all(|(frame, step)| frame.data.len() == 5_000_000 && frame.data.iter().all(|byte| *byte == step)));
    assert_eq!(messages(root, "/map").last().unwrap().data, r#"{"name": "garage"}"#);
}

fn assert_logged_by_cpp(root: &Path) {
    let scans = messages(root, "/scan");
    assert!(scans.len() == 3 && scans.iter().zip(0..).all(|(scan, turn)| scan.data == vec![turn; 200_000]));
    let texts = messages(root, "/text");
    assert!(texts.len() == 1000 && texts[999].data == r#"{"i": 999}"#);
}

/// Checks the recording that a program has kept.
fn assert_kept(root: &Path, printed: &str) {
    let id = printed.split("kept ").nth(1).unwrap().trim();
    let device = std::fs::read_dir(root.join("devices")).unwrap().next().unwrap().unwrap().path();
    let path = device.join(format!("{id}.json"));
    let kept = recording::read::open(&path).unwrap();
    let manifest = kept.manifest().unwrap();
    assert_eq!((manifest.state, manifest.why.as_deref()), (State::Complete, Some("bump")));
    assert_eq!(manifest.labels["run"], "12");
    assert_eq!((messages(&path, "/imu").len(), messages(&path, "/camera/front").len()), (21, 0));
}

#[test]
fn the_examples_log_onto_a_tape_and_into_an_agent() {
    let place = tempfile::tempdir().unwrap();
    let prefix = place.path().join("installed");
    install(&prefix);
    let (c, cpp) = build(&prefix);

    let root = place.path().join("tape");
    let printed = run(Command::new(&c).arg("tape").arg(&root));
    assert!(printed.contains("embedded tape in"), "{printed}");
    assert_logged(&root);
    assert_kept(&root, &printed);
    let root = place.path().join("tape of c++");
    run(Command::new(&cpp).arg("tape").arg(&root));
    assert_logged_by_cpp(&root);

    let (root, socket) = (place.path().join("agent's tape"), place.path().join("agent.sock"));
    std::fs::write(place.path().join("agent.toml"), "device = \"rover-7\"").unwrap();
    let agent = Agent::start(AgentOptions {
        config: Some(place.path().join("agent.toml")),
        data: Some(root.clone()),
        socket: Some(socket.clone()),
        http: Some("off".into()),
        ..AgentOptions::default()
    })
    .unwrap();
    let printed = run(Command::new(&c).arg("agent").arg(&socket));
    assert!(printed.contains("agent at"), "{printed}");
    run(Command::new(&cpp).arg("agent").arg(&socket));
    agent.stop(robot::Leave::Wait).unwrap();
    assert_logged(&root);
    assert_logged_by_cpp(&root);
    assert_kept(&root, &printed);
}

#[test]
fn a_program_that_forgets_to_close_or_forks_loses_nothing() {
    const SOURCE: &str = r#"
        #include <stdio.h>
        #include <stdlib.h>
        #include <sys/wait.h>
        #include <unistd.h>
        #include <tapeloop.h>
        int main(int argc, char **argv) {
            tl_open_options options = TL_OPEN_OPTIONS_INIT;
            options.data = argv[argc - 1];
            tl_recorder_t *recorder;
            tl_channel_t *channel;
            tl_channel_options topic = TL_CHANNEL_OPTIONS_INIT;
            topic.topic = "/a";
            if (tl_open(&options, &recorder) || tl_channel(recorder, &topic, &channel)) return 1;
            if (tl_log(channel, "one", 3)) return 2;
            pid_t child = fork();
            if (child == 0) exit(tl_log(channel, "no", 2) == TL_CONFLICT && tl_close(recorder, 0) == TL_OK ? 0 : 9);
            int status = 0;
            if (waitpid(child, &status, 0) != child || status != 0) return 3;
            if (tl_log(channel, "two", 3)) return 4;
            puts(tl_error());
            exit(0);
        }
    "#;
    let place = tempfile::tempdir().unwrap();
    let prefix = place.path().join("installed");
    install(&prefix);
    let (source, program, root) = (place.path().join("forgetful.c"), place.path().join("forgetful"), place.path().join("tape"));
    std::fs::write(&source, SOURCE).unwrap();
    let library = prefix.join("lib");
    let mut gcc = Command::new("gcc");
    gcc.arg(format!("-I{}", prefix.join("include").display())).arg(&source).arg("-o").arg(&program);
    gcc.arg(format!("-L{}", library.display())).arg("-ltapeloop").arg(format!("-Wl,-rpath,{}", library.display()));
    run(&mut gcc);
    run(Command::new(&program).arg(&root));
    let logged: Vec<_> = messages(&root, "/a").into_iter().map(|message| message.data).collect();
    assert_eq!(logged, ["one", "two"]);
    assert_eq!(recording::read::open(&root).unwrap().told_losses().unwrap(), []);
}
