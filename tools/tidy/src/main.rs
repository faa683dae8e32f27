//! Checks what no compiler checks. In comes a source tree, out come findings, each with a file and a line.
//!
//! It checks the arrows between crates (DESIGN §3) and between the modules of a crate, that every module says what it
//! holds, forbidden names, paths of somebody's machine, and the lengths of files. The tables below are the rules.
//!
//! **Invariant:** it reads and never writes; a crate or a module that its tables do not know is a finding.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use toml::{Table, Value};

/// Which crates each crate may name. A crate is known by its folder; one that is not listed is a finding.
const CRATES: &[(&str, &[&str])] = &[
    ("crates/recording", &[]),
    ("crates/rules", &["crates/recording"]),
    ("crates/remote", &["crates/recording"]),
    ("crates/robot", &["crates/recording", "crates/rules", "crates/remote"]),
    ("crates/lake", &["crates/recording", "crates/rules", "crates/remote"]),
    ("crates/server", &["crates/lake", "crates/rules", "crates/remote", "crates/recording"]),
    ("crates/cli", &["crates/recording", "crates/rules", "crates/remote", "crates/robot", "crates/lake", "crates/server"]),
    ("crates/simtest", &["*"]),
    ("python/tapeloop", &["crates/recording", "crates/rules", "crates/remote", "crates/robot"]),
    ("python/tapeloop-lake", &["*"]),
    ("capi", &["crates/recording", "crates/robot"]),
    ("examples", &["*"]),
    ("bench", &["*"]),
    ("tools/fuzz", &["crates/recording", "crates/robot"]),
    ("tools/tidy", &[]),
];

/// The crate that others may name only for their tests.
const ONLY_IN_TESTS: &str = "crates/simtest";

/// Which modules of its own crate a module may name: (crate, leaves that all may name, [(module, may name)]).
/// `*` is everything. A module that is neither a leaf nor listed is a finding.
const MODULES: &[ModuleRules] = &[
    ModuleRules {
        folder: "crates/robot",
        leaves: &["clock", "config", "places", "infer", "stop"],
        arrows: &[
            ("tape", &[]),
            ("encode", &["tape"]),
            ("capture", &["tape"]),
            ("source", &["tape"]),
            ("upload", &["capture", "tape"]),
            ("status", &["*"]),
            ("assemble", &["*"]),
            ("recorder", &["*"]),
            ("agent", &["*"]),
        ],
    },
    ModuleRules {
        folder: "crates/lake",
        leaves: &[],
        arrows: &[
            ("store", &[]),
            ("catalog", &["store"]),
            ("index", &["catalog", "store"]),
            ("query", &["index", "catalog", "store"]),
            ("dataset", &["query", "index", "catalog", "store"]),
            ("ingest", &["index", "catalog", "store"]),
            ("retention", &["index", "catalog", "store"]),
        ],
    },
];

/// Names that say nothing; the function belongs next to its caller, or in a file that says what it is.
const FORBIDDEN_NAMES: &[&str] = &["util", "utils", "common", "helpers", "misc", "manager", "core", "base", "types"];
/// First folders of paths that exist on one machine only.
const MACHINE_FOLDERS: &[&str] = &["work", "root", "home", "farm"];
/// Hosts of package registries and of their mirrors: which one to use is the machine's business.
const REGISTRY_HOSTS: &[(&str, &str)] = &[
    ("static.crates", "io"),
    ("index.crates", "io"),
    ("pypi", "org"),
    ("pythonhosted", "org"),
    ("registry.npmjs", "org"),
    ("proxy.golang", "org"),
];
/// Folders without source, by their path.
const SKIPPED_PATHS: &[&str] = &["target", "dist", "demo-data", "lake", "bench/results"];
/// Folders without source, wherever they are.
const SKIPPED_NAMES: &[&str] = &["node_modules", "__pycache__"];
/// A source file of this many lines gets a warning.
const LINES_TO_WARN: usize = 700;
/// A source file with more lines than this is refused.
const LINE_LIMIT: usize = 900;
const ARCHITECTURE_LINE_LIMIT: usize = 300;
const ADR_LINE_LIMIT: usize = 80;
/// Files larger than this are not text that somebody wrote.
const TEXT_SIZE_LIMIT: u64 = 1 << 20;

struct ModuleRules {
    folder: &'static str,
    leaves: &'static [&'static str],
    arrows: &'static [(&'static str, &'static [&'static str])],
}

/// Something that must change, or (a warning) that somebody should think about.
#[derive(Debug, PartialEq)]
struct Finding {
    path: String,
    line: usize,
    message: String,
    is_warning: bool,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = if self.is_warning { "warning" } else { "error" };
        write!(f, "{}:{}: {level}: {}", self.path, self.line, self.message)
    }
}

fn main() -> ExitCode {
    let root = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("."), PathBuf::from);
    let findings = match check(&root) {
        Ok(findings) => findings,
        Err(error) => {
            eprintln!("tidy: {error}");
            return ExitCode::FAILURE;
        }
    };
    for finding in &findings {
        eprintln!("{finding}");
    }
    let errors = findings.iter().filter(|finding| !finding.is_warning).count();
    println!("tidy: {errors} errors, {} warnings", findings.len() - errors);
    if errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs every check on the tree below `root`.
fn check(root: &Path) -> Result<Vec<Finding>, String> {
    let tree = Tree::read(root)?;
    let mut findings = crate_arrows(&tree);
    for rules in MODULES {
        findings.extend(module_arrows(&tree, rules));
    }
    findings.extend(tree.files.iter().flat_map(|(path, text)| file_findings(path, text)));
    findings.sort_by(|a, b| (a.is_warning, &a.path, a.line).cmp(&(b.is_warning, &b.path, b.line)));
    Ok(findings)
}

/// The text files of a source tree by their path below its root.
struct Tree {
    files: BTreeMap<String, String>,
}

impl Tree {
    fn read(root: &Path) -> Result<Self, String> {
        let mut files = BTreeMap::new();
        let mut folders = vec![root.to_path_buf()];
        while let Some(folder) = folders.pop() {
            let refuse = |error| format!("cannot read {}: {error}", folder.display());
            for entry in fs::read_dir(&folder).map_err(refuse)? {
                let entry = entry.map_err(refuse)?;
                let (path, kind) = (entry.path(), entry.file_type().map_err(refuse)?);
                let below = path.strip_prefix(root).expect("the walk began at the root").to_string_lossy().into_owned();
                if kind.is_dir() {
                    let name = entry.file_name().to_string_lossy().into_owned();
                    let is_hidden = name.starts_with('.') && name != ".ci";
                    let is_skipped = SKIPPED_NAMES.contains(&name.as_str()) || SKIPPED_PATHS.contains(&below.as_str());
                    // Cargo and other tools mark the folders that they fill, whatever those are called.
                    if !is_hidden && !is_skipped && !path.join("CACHEDIR.TAG").exists() {
                        folders.push(path);
                    }
                } else if kind.is_file() && entry.metadata().map_err(refuse)?.len() <= TEXT_SIZE_LIMIT {
                    let bytes = fs::read(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
                    if let Ok(text) = String::from_utf8(bytes) {
                        files.insert(below, text);
                    }
                }
            }
        }
        Ok(Self { files })
    }

    fn rust_files_below(&self, folder: &str) -> impl Iterator<Item = (&str, &str)> {
        let prefix = format!("{folder}/");
        let below = move |path: &str| path.starts_with(&prefix) && path.ends_with(".rs");
        self.files.iter().filter(move |(path, _)| below(path)).map(|(path, text)| (path.as_str(), text.as_str()))
    }
}

fn error(path: &str, line: usize, message: impl Into<String>) -> Finding {
    Finding { path: path.into(), line, message: message.into(), is_warning: false }
}

// --- crates ---------------------------------------------------------------------------------------------------------

fn crate_arrows(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut manifests = Vec::new();
    for (path, text) in &tree.files {
        if path != "Cargo.toml" && !path.ends_with("/Cargo.toml") {
            continue;
        }
        match text.parse::<Table>() {
            Ok(table) => manifests.push((path.as_str(), text.as_str(), table)),
            Err(problem) => findings.push(error(path, 1, format!("not TOML: {}", problem.message()))),
        }
    }
    let package = |table: &Table| Some(table.get("package")?.get("name")?.as_str()?.to_owned());
    let folders: BTreeMap<String, String> =
        manifests.iter().filter_map(|(path, _, table)| Some((package(table)?, path.strip_suffix("/Cargo.toml")?.to_owned()))).collect();
    let shared = manifests
        .iter()
        .find(|(path, ..)| *path == "Cargo.toml")
        .and_then(|(.., table)| table.get("workspace")?.get("dependencies")?.as_table().cloned());
    for (path, text, table) in &manifests {
        let Some(folder) = package(table).and_then(|name| folders.get(&name)) else { continue };
        let Some(allowed) = allowed_crates(folder) else {
            findings.push(error(path, 1, format!("crate {folder} is not in tidy's table: a new crate needs an ADR and its arrows")));
            continue;
        };
        for (dependency, is_test_only) in dependencies(table) {
            let (key, name) = package_of(&dependency, shared.as_ref());
            let Some(target) = folders.get(&name) else { continue };
            let listed = allowed == ["*"] || allowed.contains(&target.as_str());
            let may = if target == ONLY_IN_TESTS { is_test_only } else { listed || is_test_only && folder == ONLY_IN_TESTS };
            if !may {
                let line = line_of(text, &key);
                findings.push(error(path, line, format!("{folder} must not depend on {target}: the arrows are in tidy's table")));
            }
        }
    }
    findings
}

/// Returns what the crate in `folder` may name, or `None` if the table does not know it.
fn allowed_crates(folder: &str) -> Option<&'static [&'static str]> {
    let exact = CRATES.iter().find(|(name, _)| *name == folder);
    // Examples and benchmarks are many and small: their folder stands for all of them.
    let above = || CRATES.iter().find(|(name, _)| !name.contains('/') && folder.starts_with(&format!("{name}/")));
    exact.or_else(above).map(|(_, allowed)| *allowed)
}

/// Returns every dependency of a manifest, for every target, and whether only tests have it.
fn dependencies(manifest: &Table) -> Vec<((String, Value), bool)> {
    let targets =
        manifest.get("target").and_then(Value::as_table).into_iter().flat_map(|targets| targets.values()).filter_map(Value::as_table);
    let mut found = Vec::new();
    for table in std::iter::once(manifest).chain(targets) {
        for (kind, is_test_only) in [("dependencies", false), ("build-dependencies", false), ("dev-dependencies", true)] {
            let Some(entries) = table.get(kind).and_then(Value::as_table) else { continue };
            found.extend(entries.iter().map(|(key, value)| ((key.clone(), value.clone()), is_test_only)));
        }
    }
    found
}

/// Returns a dependency's key and the name of the package behind it, which a manifest may rename.
fn package_of((key, value): &(String, Value), shared: Option<&Table>) -> (String, String) {
    let renamed = |value: &Value| Some(value.get("package")?.as_str()?.to_owned());
    let is_shared = value.get("workspace").and_then(Value::as_bool).unwrap_or(false);
    let entry = if is_shared { shared.and_then(|table| table.get(key)) } else { Some(value) };
    (key.clone(), entry.and_then(renamed).unwrap_or_else(|| key.clone()))
}

fn line_of(text: &str, key: &str) -> usize {
    text.lines().position(|line| line.trim_start().starts_with(key) || line.contains(&format!(".{key}]"))).map_or(1, |index| index + 1)
}

// --- modules --------------------------------------------------------------------------------------------------------

fn module_arrows(tree: &Tree, rules: &ModuleRules) -> Vec<Finding> {
    let source = format!("{}/src", rules.folder);
    let files: Vec<_> = tree.rust_files_below(&source).collect();
    let top =
        |path: &str| path[source.len() + 1..].split('/').next().map(|part| part.trim_end_matches(".rs").to_owned()).unwrap_or_default();
    let is_root = |module: &str| matches!(module, "lib" | "main" | "bin");
    let modules: BTreeSet<String> = files.iter().map(|(path, _)| top(path)).filter(|module| !is_root(module)).collect();
    let root = files.iter().find(|(path, _)| *path == format!("{source}/lib.rs")).map_or("", |(_, text)| *text);
    let exports = exports(root);
    let mut findings = Vec::new();
    let mut unknown = BTreeSet::new();
    for (path, text) in &files {
        let module = top(path);
        if is_root(&module) || is_test(path) {
            continue;
        }
        let is_leaf = rules.leaves.contains(&module.as_str());
        let allowed = match rules.arrows.iter().find(|(name, _)| *name == module) {
            Some((_, allowed)) => *allowed,
            None if is_leaf => &[],
            None if unknown.insert(module.clone()) => {
                findings.push(error(path, 1, format!("module {module} is not in tidy's table of {}: say what it may name", rules.folder)));
                continue;
            }
            None => continue,
        };
        let depth = path[source.len() + 1..].split('/').count();
        for (line, name) in named_at_root(text, depth) {
            let target = if modules.contains(&name) { &name } else { exports.get(&name).unwrap_or(&name) };
            let may = !modules.contains(target)
                || *target == module
                || allowed == ["*"]
                || allowed.contains(&target.as_str())
                || !is_leaf && rules.leaves.contains(&target.as_str())
                || is_leaf && leaf_may_name(rules, &module, target);
            if !may {
                let what = if *target == name { target.clone() } else { format!("{target} (as {name})") };
                findings.push(error(path, line, format!("{module} must not name {what}: the arrows are in tidy's table")));
            }
        }
    }
    findings
}

/// Leaves may name leaves that stand before them, so that there is no circle.
fn leaf_may_name(rules: &ModuleRules, leaf: &str, target: &str) -> bool {
    let place = |name: &str| rules.leaves.iter().position(|other| *other == name);
    place(target).is_some_and(|other| Some(other) < place(leaf))
}

/// Returns which module each name comes from that the crate's root exports again.
fn exports(root: &str) -> BTreeMap<String, String> {
    let code = code_of(root);
    let mut exports = BTreeMap::new();
    for (start, _) in code.match_indices("pub use ") {
        let tree = &code[start + "pub use ".len()..];
        let paths = use_paths(tree.trim_start_matches("crate::").trim_start_matches("self::"));
        exports.extend(paths.into_iter().map(|(module, name)| (name, module)));
    }
    exports
}

/// Returns the line and name of everything that `text`, a file `depth` modules below the crate's root, names at the root.
fn named_at_root(text: &str, depth: usize) -> BTreeSet<(usize, String)> {
    let code = code_of(text);
    let climb = "super::".repeat(depth);
    let starts_word = |offset: usize| !code[..offset].ends_with(|c: char| c.is_alphanumeric() || "_:$".contains(c));
    let mut found = BTreeSet::new();
    for (offset, root) in code.match_indices("crate::").chain(code.match_indices(&climb)).filter(|(offset, _)| starts_word(*offset)) {
        let line = code[..offset].matches('\n').count() + 1;
        found.extend(use_paths(&code[offset + root.len()..]).into_iter().map(|(name, _)| (line, name)));
    }
    found
}

/// Returns the first and last name of every path in the use tree, or of the path in an expression, that `text` starts with.
fn use_paths(text: &str) -> Vec<(String, String)> {
    let mut paths = Vec::new();
    walk_use_tree(text, None, &mut paths);
    paths
}

fn walk_use_tree<'a>(text: &'a str, first: Option<&str>, paths: &mut Vec<(String, String)>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
            let behind = walk_use_tree(rest, first, paths);
            if behind.len() == rest.len() {
                return rest.strip_prefix('}').unwrap_or(rest);
            }
            rest = behind;
        }
    }
    let (word, rest) = split_word(text);
    if word.is_empty() {
        return match (text.strip_prefix('*'), first) {
            (Some(rest), Some(first)) => {
                paths.push((first.to_owned(), "*".to_owned()));
                rest
            }
            _ => text,
        };
    }
    let first = first.unwrap_or(word);
    if let Some(behind) = rest.strip_prefix("::").filter(|behind| behind.starts_with(|c: char| c.is_alphanumeric() || "_{*".contains(c))) {
        return walk_use_tree(behind, Some(first), paths);
    }
    let (last, rest) = rest.trim_start().strip_prefix("as ").map_or((word, rest), split_word);
    paths.push((first.to_owned(), last.to_owned()));
    rest
}

fn split_word(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len()))
}

/// Returns the code with comments, texts and the inline test module blanked, on the same lines.
fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        // Test modules stand last in a file; what they name is not shipped.
        if line == "#[cfg(test)]" && lines.peek().is_some_and(|next| next.starts_with("mod ") && next.ends_with('{')) {
            break;
        }
        let mut in_text = false;
        let line = line.replace("'\"'", "");
        let mut characters = line.char_indices();
        while let Some((offset, character)) = characters.next() {
            match character {
                '\\' if in_text => drop(characters.next()),
                '"' => in_text = !in_text,
                '/' if !in_text && line[offset..].starts_with("//") => break,
                _ if in_text => {}
                _ => code.push(character),
            }
        }
        code.push('\n');
    }
    code
}

// --- single files ---------------------------------------------------------------------------------------------------

fn file_findings(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let lines = text.lines().count();
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    if matches!(extension, "rs" | "py" | "ts" | "svelte") {
        if lines > LINE_LIMIT {
            findings.push(error(path, lines, format!("{lines} lines; at most {LINE_LIMIT}: would two names tell the story better?")));
        } else if lines > LINES_TO_WARN {
            let message = format!("{lines} lines; from {LINES_TO_WARN} on, two names may tell the story better");
            findings.push(Finding { is_warning: true, ..error(path, lines, message) });
        }
        let bad = FORBIDDEN_NAMES.iter().find(|bad| stem == **bad || folder.split('/').any(|part| part == **bad));
        if let Some(bad) = bad {
            findings.push(error(path, 1, format!("a file or module named '{bad}' says nothing: name what it is")));
        }
    }
    if extension == "rs" {
        findings.extend(rust_findings(path, name, text));
    }
    let limit = match path {
        "ARCHITECTURE.md" => ARCHITECTURE_LINE_LIMIT,
        _ if folder == "docs/adr" && extension == "md" => ADR_LINE_LIMIT,
        _ => usize::MAX,
    };
    if lines > limit {
        findings.push(error(path, limit + 1, format!("{lines} lines; at most {limit}")));
    }
    let is_generated = extension == "lock" || name == "package-lock.json";
    if !is_generated {
        findings.extend(text.lines().enumerate().filter_map(|(index, line)| Some(error(path, index + 1, machine_words(line)?))));
    }
    findings
}

fn rust_findings(path: &str, name: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    if name == "mod.rs" {
        findings.push(error(path, 1, "no mod.rs: write foo.rs beside foo/"));
    }
    for (index, line) in text.lines().enumerate() {
        let declared = line.trim_start().trim_start_matches("pub ").trim_start_matches("pub(crate) ").trim_start_matches("pub(super) ");
        let module = declared.strip_prefix("mod ").map(|rest| rest.trim_end_matches(|c: char| !(c.is_alphanumeric() || c == '_')));
        if let Some(module) = module.filter(|module| FORBIDDEN_NAMES.contains(module)) {
            findings.push(error(path, index + 1, format!("a module named '{module}' says nothing: name what it is")));
        }
    }
    let needs_head = !is_test(path) && !path.starts_with("examples/") && name != "build.rs";
    let head: Vec<&str> = text.lines().take_while(|line| line.starts_with("//!")).collect();
    if needs_head && !head.iter().any(|line| line.contains("**Invariant:**")) {
        findings.push(error(path, 1, "the module must begin with `//!`: what it holds, what comes in and out, and an **Invariant:**"));
    }
    findings
}

fn is_test(path: &str) -> bool {
    path.split('/').any(|part| matches!(part, "tests" | "tests.rs" | "benches"))
}

/// Returns what is wrong with a line that names a place on somebody's machine, or a registry's host.
fn machine_words(line: &str) -> Option<String> {
    for folder in MACHINE_FOLDERS {
        let path = format!("/{folder}/");
        // A folder of that name inside another path or an address is nobody's machine.
        let is_start = |offset: &usize| !line[..*offset].ends_with(|c: char| c.is_alphanumeric() || "_./~-}$".contains(c));
        if line.match_indices(&path).map(|(offset, _)| offset).any(|offset| is_start(&offset)) {
            return Some(format!("'{path}…' is a path of one machine"));
        }
    }
    let host = REGISTRY_HOSTS.iter().map(|(name, domain)| format!("{name}.{domain}")).find(|host| line.contains(host.as_str()))?;
    Some(format!("'{host}': which registry to use is the machine's business"))
}

#[cfg(test)]
mod tests;
