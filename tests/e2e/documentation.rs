//! The README and `--help` agree.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;

use crate::harness::Program;

const README: &str = include_str!("../../README.md");
const DOT_ENV: &str = include_str!("../../.env.example");

async fn help() -> String {
    Program::bare().args(["--help"]).run().await.exits(0).out
}

/// The rows of the README's tables whose heading has these first cells, as cells.
fn rows(heading: &[&str]) -> Vec<Vec<String>> {
    let cells = |line: &str| -> Vec<String> {
        line.trim().trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let mut rows = Vec::new();
    let mut lines = README.lines();
    while let Some(line) = lines.next() {
        let head = cells(line);
        if line.starts_with('|') && head.len() >= heading.len() && head.iter().zip(heading).all(|(is, of)| is == of) {
            rows.extend(lines.by_ref().skip(1).take_while(|line| line.starts_with('|')).map(cells));
        }
    }
    rows
}

/// The settings of `--help`: each variable with its flag, or with none.
fn settings_of_help(help: &str) -> BTreeMap<String, Option<String>> {
    let flag = Regex::new(r"(?m)^\s+(?:-\w, )?(--[a-z-]+)(?: <|\[=)").unwrap();
    let variable = Regex::new(r"\[env: ([A-Z_]+)").unwrap();
    let mut settings = BTreeMap::new();
    let flags: Vec<_> = flag.captures_iter(help).collect();
    for (place, found) in flags.iter().enumerate() {
        let end = flags.get(place + 1).map_or(help.len(), |next| next.get(0).unwrap().start());
        let text = &help[found.get(0).unwrap().end()..end];
        if let Some(variable) = variable.captures(text) {
            settings.insert(variable[1].to_owned(), Some(found[1].to_owned()));
        }
    }
    let without = Regex::new(r"(?m)^\s*([A-Z][A-Z]+_[A-Z_]+)\s+[a-z]").unwrap();
    settings.extend(without.captures_iter(help).map(|found| (found[1].to_owned(), None)));
    if help.contains("RUST_LOG") {
        settings.insert("RUST_LOG".to_owned(), None);
    }
    settings
}

#[tokio::test]
async fn the_readme_and_the_help_list_the_same_settings_with_the_same_flags() {
    let help = settings_of_help(&help().await);
    assert!(help.len() >= 15, "{help:?}");
    let code = Regex::new("`([^`]+)`").unwrap();
    let first = |cell: &str| code.captures(cell).map(|found| found[1].to_owned());
    let mut readme = BTreeMap::new();
    for row in rows(&["variable", "flag"]) {
        let variable = first(&row[0]).unwrap_or_else(|| panic!("a row without a variable: {row:?}"));
        let flag = first(&row[1]).filter(|flag| flag.starts_with("--"));
        assert_eq!(readme.insert(variable, flag), None, "a variable is there twice: {row:?}");
    }
    assert_eq!(readme, help, "the README at the left, --help at the right");
}

#[tokio::test]
async fn the_readme_and_the_help_give_the_same_bounds_and_defaults() {
    let help = help().await.split_whitespace().collect::<Vec<_>>().join(" ");
    let bounds = Regex::new(r"\d+ to \d+").unwrap();
    let mut found = 0;
    for row in rows(&["variable", "flag"]) {
        for bounds in bounds.find_iter(&row.join(" ")) {
            let variable = row[0].trim_matches('`');
            let flag = format!("--{}", variable.to_lowercase().replace('_', "-"));
            let at = help.find(&format!("{flag} <")).unwrap_or_else(|| panic!("{flag} is not in --help"));
            let text = &help[at..];
            let end = text.find("[env:").unwrap();
            assert!(
                text[..end].contains(bounds.as_str()),
                "{variable}: {} is not in {}",
                bounds.as_str(),
                &text[..end]
            );
            let default = format!("[default: {}", row[3].trim_matches('`').split(' ').next().unwrap_or_default());
            if default.chars().last().is_some_and(|last| last.is_ascii_digit()) {
                assert!(text[..end].contains(&default), "{variable}: {default} is not in {}", &text[..end]);
            }
            found += 1;
        }
    }
    assert!(found >= 3, "the table has bounds");
}

#[tokio::test]
async fn the_readme_and_the_help_list_the_same_exit_codes() {
    let line = Regex::new(r"(?m)^\s+(\d+(?:, \d+)*)\s{2,}\S").unwrap();
    let help = help().await;
    let section = &help[help.find("Exit codes").expect("--help lists the exit codes")..];
    let numbers = |text: &str| -> Vec<u8> { text.split(", ").filter_map(|code| code.trim().parse().ok()).collect() };
    let of_help: BTreeSet<u8> = line.captures_iter(section).flat_map(|found| numbers(&found[1])).collect();
    let of_readme: BTreeSet<u8> =
        rows(&["code", "meaning"]).iter().flat_map(|row| numbers(&row[0].replace('`', ""))).collect();
    assert_eq!(of_readme, of_help, "the README at the left, --help at the right");
    assert!([0, 1, 2, 3, 4].iter().all(|code| of_help.contains(code)), "{of_help:?}");
}

#[tokio::test]
async fn the_example_of_a_dotenv_file_names_no_setting_that_there_is_not() {
    let help = settings_of_help(&help().await);
    let assignment = Regex::new(r"(?m)^#?\s?([A-Z][A-Z_]+)=").unwrap();
    let named: BTreeSet<String> = assignment.captures_iter(DOT_ENV).map(|found| found[1].to_owned()).collect();
    assert!(named.len() >= 4, "{named:?}");
    let unknown: Vec<&String> = named.iter().filter(|name| !help.contains_key(*name)).collect();
    assert_eq!(unknown, Vec::<&String>::new());
}
