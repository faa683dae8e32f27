//! Collects the standard interface definitions of ROS 2 from the dependency that carries them.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

/// Distributions, in the order in which their definitions are looked for.
const DISTRIBUTIONS: [&str; 2] = ["jazzy", "lyrical"];

/// The dependency's own test inputs, which are no package of ROS.
const TESTS: &str = "test_interface_files";

/// Kind and text of definitions, by the full names of their types.
type Definitions = BTreeMap<String, (&'static str, String)>;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let mut out = String::from("&[\n");
    let mut written = BTreeMap::new();
    for distribution in DISTRIBUTIONS {
        let folder = hiroz_codegen::bundled_assets_dir_for(distribution);
        let definitions = definitions(&folder)?;
        if definitions.is_empty() {
            return Err(format!("there are no definitions in {}", folder.display()).into());
        }
        writeln!(out, "({distribution:?}, &[")?;
        for (name, (kind, text)) in definitions {
            // What has not changed since is found there.
            if written.get(&name) != Some(&text) {
                writeln!(out, "({name:?}, {kind:?}, {text:?}),")?;
                written.insert(name, text);
            }
        }
        out.push_str("]),\n");
    }
    out.push(']');
    fs::write(Path::new(&env::var("OUT_DIR")?).join("standard.rs"), out)?;
    Ok(())
}

/// Returns kind and text of every `package/msg/Type.msg` (`srv`, `action`) below a folder, by `package/msg/Type`.
fn definitions(folder: &Path) -> Result<Definitions, Box<dyn Error>> {
    let mut found = Definitions::new();
    for package in entries(folder) {
        if package.file_name().is_some_and(|name| name == TESTS) {
            continue;
        }
        for kind in ["msg", "srv", "action"] {
            for file in entries(&package.join(kind)) {
                let names = (package.file_name().and_then(|name| name.to_str()), file.file_stem().and_then(|name| name.to_str()));
                let (Some(package), Some(name)) = names else { continue };
                if file.extension().is_some_and(|extension| extension == kind) {
                    found.insert(format!("{package}/{kind}/{name}"), (kind, fs::read_to_string(&file)?));
                }
            }
        }
    }
    Ok(found)
}

fn entries(folder: &Path) -> Vec<std::path::PathBuf> {
    fs::read_dir(folder).map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())).collect()).unwrap_or_default()
}
