//! The layers ("rooms") of the program: which module may import which. `src/lib.rs` documents what each owns.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

/// Any room may use these. Each owns one thing, and imports no more than [`BENEATH`] allows.
const UTILITIES: [&str; 10] =
    ["error", "files", "freshness", "id", "logging", "offload", "retry", "secrets", "signals", "text"];

/// Rooms from bottom to top, and what each may import in addition to the utilities.
const ROOMS: [(&str, &[&str]); 23] = [
    ("cli", &[]),
    ("config", &["cli"]),
    ("http", &["config"]),
    ("model", &[]),
    ("engine", &["model"]),
    ("azure", &["config", "http"]),
    ("sources/resource_graph", &["azure", "config", "engine", "http", "model"]),
    ("sources/directory", &["azure", "config", "engine", "http", "model"]),
    ("port", &["config", "http"]),
    ("jq", &[]),
    ("mapping", &["jq"]),
    ("comparison", &["config", "jq", "mapping", "port"]),
    ("sinks/answers", &["engine", "http"]),
    ("sinks/webhook", &["comparison", "config", "engine", "http", "mapping", "model", "port", "sinks/answers"]),
    ("sinks/entities", &["config", "engine", "http", "mapping", "model", "port", "sinks/answers"]),
    ("sinks/preview", &["engine", "model"]),
    ("checkpoint", &["engine", "model"]),
    ("progress", &[]),
    ("report", &["config", "engine"]),
    ("actions", &["config", "report"]),
    ("run", &ALL),
    ("commands", &ALL),
    ("pure", &ALL),
];

const ALL: [&str; 19] = [
    "azure",
    "checkpoint",
    "cli",
    "comparison",
    "config",
    "engine",
    "http",
    "jq",
    "mapping",
    "model",
    "port",
    "progress",
    "report",
    "run",
    "sinks/entities",
    "sinks/preview",
    "sinks/webhook",
    "sources/directory",
    "sources/resource_graph",
];

/// What the utilities may import; one without an entry imports nothing.
const BENEATH: [(&str, &[&str]); 4] = [
    ("text", &["secrets"]),
    ("retry", &["text"]),
    ("logging", &["config", "progress", "text"]),
    ("signals", &["error"]),
];

fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            found.extend(sources(&entry));
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            found.push(entry);
        }
    }
    found
}

/// The room of a file: its top-level folder or file, and below `sources` and `sinks` the next level too.
fn room(path: &Path) -> String {
    let relative = path.strip_prefix("src").unwrap().with_extension("");
    let parts: Vec<&str> = relative.iter().map(|part| part.to_str().unwrap()).collect();
    match parts[..] {
        [kind @ ("sources" | "sinks"), which, ..] if which != "mod" => format!("{kind}/{which}"),
        [first, ..] => first.to_owned(),
        [] => unreachable!("a file has a name"),
    }
}

/// A file without comments and tests.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let tests = Regex::new(r"#\[cfg\(test\)\]\nmod \w+ \{").unwrap();
    let text = tests.split(&text).next().unwrap();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn is_test(path: &Path) -> bool {
    path.iter().any(|part| part == "model_test") || path.to_str().unwrap().ends_with("tests.rs")
}

/// Each room with its imports and its number of lines of code.
fn house() -> BTreeMap<String, (BTreeSet<String>, usize)> {
    let import = Regex::new(r"\bcrate::(\w+)(?:::(\w+))?").unwrap();
    let mut house: BTreeMap<String, (BTreeSet<String>, usize)> = BTreeMap::new();
    for path in sources(Path::new("src")).iter().filter(|path| !is_test(path)) {
        let (room, code) = (room(path), code(path));
        let (imports, lines) = house.entry(room.clone()).or_default();
        *lines += code.lines().filter(|line| !line.trim().is_empty()).count();
        for found in import.captures_iter(&code) {
            let imported = match (&found[1], found.get(2)) {
                (kind @ ("sources" | "sinks"), Some(which)) => format!("{kind}/{}", which.as_str()),
                (first, _) => first.to_owned(),
            };
            if imported != room {
                imports.insert(imported);
            }
        }
    }
    house
}

#[test]
fn a_room_imports_only_what_the_table_allows() {
    let mut wrong = Vec::new();
    for (room, (imports, _)) in house() {
        if ["lib", "main", "sources", "sinks"].contains(&room.as_str()) {
            continue;
        }
        let is_utility = UTILITIES.contains(&room.as_str());
        let table: &[(&str, &[&str])] = if is_utility { &BENEATH } else { &ROOMS };
        let allowed = table.iter().find(|(name, _)| *name == room).map(|(_, allowed)| *allowed);
        let allowed = match allowed {
            Some(allowed) => allowed,
            None if is_utility => &[],
            None => panic!("{room} is in no table"),
        };
        for import in imports {
            let is_allowed =
                allowed.contains(&import.as_str()) || (!is_utility && UTILITIES.contains(&import.as_str()));
            if !is_allowed {
                wrong.push(format!("{room} imports {import}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_import_leads_in_a_circle() {
    let house = house();
    let mut left: BTreeMap<&str, BTreeSet<&str>> = house
        .iter()
        .map(|(room, (imports, _))| (room.as_str(), imports.iter().map(String::as_str).collect()))
        .collect();
    loop {
        let names: BTreeSet<&str> = left.keys().copied().collect();
        let free: Vec<&str> =
            left.iter().filter(|(_, imports)| imports.is_disjoint(&names)).map(|(room, _)| *room).collect();
        if free.is_empty() {
            break;
        }
        left.retain(|room, _| !free.contains(room));
    }
    assert!(left.is_empty(), "{left:#?}");
}

#[test]
fn no_room_holds_more_than_a_fifth_of_the_code() {
    let house = house();
    let whole: usize = house.values().map(|(_, lines)| lines).sum();
    for (room, (_, lines)) in &house {
        assert!(lines * 5 <= whole, "{room} has {lines} of {whole} lines");
    }
}

#[test]
fn no_file_has_more_than_400_lines_of_code_without_its_tests() {
    for path in sources(Path::new("src")).iter().filter(|path| !is_test(path)) {
        let lines = code(path).lines().filter(|line| !line.trim().is_empty()).count();
        assert!(lines <= 400, "{} has {lines}", path.display());
    }
}
