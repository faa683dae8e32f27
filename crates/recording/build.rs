//! Collects the standard interface definitions of ROS 2 from the dependency that carries them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

/// Distributions, in the order in which their definitions are looked for.
const DISTRIBUTIONS: [&str; 2] = ["jazzy", "lyrical"];

/// The dependency's own test inputs, which are no package of ROS.
const TESTS: &str = "test_interface_files";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let mut out = String::from("&[\n");
    for distribution in DISTRIBUTIONS {
        let folder = hiroz_codegen::bundled_assets_dir_for(distribution);
        let definitions = definitions(&folder);
        assert!(!definitions.is_empty(), "there are no definitions in {}", folder.display());
        let _ = writeln!(out, "({distribution:?}, &[");
        for (name, (kind, text)) in definitions {
            let _ = writeln!(out, "({name:?}, {kind:?}, {text:?}),");
        }
        out.push_str("]),\n");
    }
    out.push(']');
    let path = Path::new(&env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("standard.rs");
    fs::write(&path, out).expect("cargo's own folder can be written to");
}

/// Returns kind and text of every `package/msg/Type.msg` (`srv`, `action`) below a folder, by `package/msg/Type`.
fn definitions(folder: &Path) -> BTreeMap<String, (&'static str, String)> {
    let mut found = BTreeMap::new();
    for package in entries(folder) {
        if package.file_name().is_some_and(|name| name == TESTS) {
            continue;
        }
        for kind in ["msg", "srv", "action"] {
            for file in entries(&package.join(kind)) {
                let names = (package.file_name().and_then(|name| name.to_str()), file.file_stem().and_then(|name| name.to_str()));
                let (Some(package), Some(name)) = names else { continue };
                if file.extension().is_some_and(|extension| extension == kind) {
                    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("cannot read {}: {error}", file.display()));
                    found.insert(format!("{package}/{kind}/{name}"), (kind, text));
                }
            }
        }
    }
    found
}

fn entries(folder: &Path) -> Vec<std::path::PathBuf> {
    fs::read_dir(folder).map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())).collect()).unwrap_or_default()
}
