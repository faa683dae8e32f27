//! Folders of packages, and definitions that were given.

use std::fs;
use std::path::Path;

use super::{fields, schema};
use crate::schema::library::{Flavour, Library, store};
use crate::schema::parse;

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn of(library: &Library, name: &str) -> Vec<String> {
    fields(&parse(&schema("", name, ""), "cdr", library).unwrap())
}

#[test]
fn a_folder_of_packages_gives_messages_services_and_actions() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "src/my_msgs/msg/Thing.msg", "std_msgs/Header header\nPart[] parts\n");
    write(folder.path(), "src/my_msgs/msg/sub/Part.msg", "float32 x # [m]\n");
    write(folder.path(), "src/other-name/package.xml", "<package><name>named_msgs</name></package>");
    write(folder.path(), "src/other-name/srv/Ask.srv", "int8 a\n---\nmy_msgs/Part b\n");
    write(folder.path(), "src/other-name/action/Do.action", "int8 a\n---\nint8 b\n---\nint8 c\n");
    write(folder.path(), "src/idl_msgs/msg/Deep.idl", "module idl_msgs { module msg { struct Deep { my_msgs::msg::Part part; }; }; };");
    write(folder.path(), "src/my_msgs/msg/Thing.idl", "module my_msgs { module msg { struct Thing { long generated; }; }; };");
    write(folder.path(), ".git/x_msgs/msg/Hidden.msg", "int8 x");
    write(folder.path(), "README.msg", "not a message");
    let library = Library::standard().with_folder(folder.path()).unwrap();
    assert_eq!(of(&library, "my_msgs/msg/Thing"), ["header: std_msgs/msg/Header", "parts: my_msgs/msg/Part[]"]);
    assert_eq!(of(&library, "my_msgs/msg/Part"), ["x: f32 in m # [m]"]);
    assert_eq!(of(&library, "named_msgs/srv/Ask_Response"), ["b: my_msgs/msg/Part"]);
    assert_eq!(
        of(&library, "named_msgs/action/Do_FeedbackMessage"),
        ["goal_id: unique_identifier_msgs/msg/UUID", "feedback: named_msgs/action/Do_Feedback"]
    );
    assert_eq!(of(&library, "idl_msgs/msg/Deep"), ["part: my_msgs/msg/Part"]);
    assert_eq!(library.find("idl_msgs/msg/Deep", None, Flavour::Ros2).unwrap().encoding, "ros2idl");
    assert!(library.find("x_msgs/msg/Hidden", None, Flavour::Ros2).is_none());
    // The same files may be those of ROS 1.
    let ros1 = parse(&schema("", "my_msgs/Thing", ""), "ros1", &library).unwrap();
    assert_eq!(fields(&ros1), ["header: std_msgs/Header", "parts: my_msgs/Part[]"]);
    let empty = tempfile::tempdir().unwrap();
    assert!(Library::empty().with_folder(empty.path()).unwrap_err().to_string().contains("there are no .msg, .srv, .action or .idl files"));
    assert!(Library::empty().with_folder(&empty.path().join("no")).is_err());
}

#[cfg(unix)]
#[test]
fn links_that_lead_out_of_a_folder_are_not_followed() {
    let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(outside.path(), "out_msgs/msg/Out.msg", "int8 x");
    write(folder.path(), "in_msgs/msg/In.msg", "int8 x");
    std::os::unix::fs::symlink(outside.path().join("out_msgs"), folder.path().join("out_msgs")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("out_msgs/msg/Out.msg"), folder.path().join("in_msgs/msg/Out.msg")).unwrap();
    std::os::unix::fs::symlink(folder.path().join("in_msgs/msg/In.msg"), folder.path().join("in_msgs/msg/Alias.msg")).unwrap();
    std::os::unix::fs::symlink(folder.path(), folder.path().join("circle")).unwrap();
    let library = Library::empty().with_folder(folder.path()).unwrap();
    let names: Vec<String> = library.types().into_iter().map(|(name, ..)| name).collect();
    assert_eq!(names, ["in_msgs/msg/Alias", "in_msgs/msg/In"]);
}

#[test]
fn what_was_given_stays_and_the_last_goes_first() {
    let (kept, given) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let kept = kept.path().join("schemas");
    assert_eq!(Library::user(&kept).unwrap().types(), Library::standard().types());
    write(given.path(), "a/msg/T.msg", "int8 x");
    let first = store(&kept, given.path()).unwrap();
    assert!(first.is_new && first.types == ["a/msg/T"] && first.unreadable.is_empty(), "{first:?}");
    assert!(!store(&kept, given.path()).unwrap().is_new);
    write(given.path(), "a/msg/T.msg", "int8 x\nint8 y\n");
    write(given.path(), "a/msg/Bad.msg", "int8\n");
    write(given.path(), "a/msg/Lacks.msg", "b_msgs/Other x");
    let second = store(&kept, given.path()).unwrap();
    assert!(second.is_new && second.types.len() == 3, "{second:?}");
    assert!(second.unreadable.len() == 2 && second.unreadable[0].contains("line 1 of 'a/msg/Bad'"), "{second:?}");
    assert!(second.unreadable[1].contains("'a/msg/Lacks' needs 'b_msgs/msg/Other'"), "{second:?}");
    drop(given);
    let library = Library::user(&kept).unwrap();
    assert_eq!(of(&library, "a/msg/T"), ["x: i8", "y: i8"]);
    let hash = crate::schema::ros2::rihs01(&schema("ros2msg", "a/msg/T", "int8 x"), &library).unwrap();
    assert!(library.find("a/msg/T", Some(&hash), Flavour::Ros2).is_some());
    assert_eq!(fs::read_dir(&kept).unwrap().count(), 2);
}
