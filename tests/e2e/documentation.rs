//! The README and `--help` agree.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;

use crate::harness::Program;

const README: &str = include_str!("../../README.md");
const DOT_ENV: &str = include_str!("../../.env.example");

pub(crate) async fn help() -> String {
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

/// The variables of `--help` that have a flag, each with it.
pub(crate) fn flags(help: &str) -> BTreeMap<String, String> {
    let flag = Regex::new(r"(?m)^\s+(?:-\w, )?(--[a-z-]+)(?: <|\[=)").unwrap();
    let variable = Regex::new(r"\[env: ([A-Z_]+)").unwrap();
    let found: Vec<_> = flag.captures_iter(help).collect();
    let end = |place: usize| found.get(place + 1).map_or(help.len(), |next| next.get(0).unwrap().start());
    let text = |place: usize| &help[found[place].get(0).unwrap().end()..end(place)];
    found
        .iter()
        .enumerate()
        .filter_map(|(place, found)| {
            variable.captures(text(place)).map(|variable| (variable[1].to_owned(), found[1].to_owned()))
        })
        .collect()
}

/// The variables of `--help` that have none: the first words of the lines of their section.
fn without_flag(help: &str) -> BTreeSet<String> {
    let section = help.split("from the environment only").nth(1).expect("--help lists what has no flag");
    let words = Regex::new(r"^\s+([A-Z][A-Z_]+(?:, [A-Z][A-Z_]+)*)\s").unwrap();
    section
        .lines()
        .skip(1)
        .take_while(|line| !line.trim().is_empty())
        .filter_map(|line| words.captures(line))
        .flat_map(|found| found[1].split(", ").map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

/// What stands between backticks.
fn code(text: &str) -> BTreeSet<String> {
    Regex::new("`([^`\n]+)`").unwrap().captures_iter(text).map(|found| found[1].to_owned()).collect()
}

#[tokio::test]
async fn the_readme_and_the_help_list_the_same_settings_with_the_same_flags() {
    let help = help().await;
    let (flags, without) = (flags(&help), without_flag(&help));
    assert!(flags.len() >= 15 && without.len() >= 3, "{flags:?} {without:?}");
    let mut readme = BTreeMap::new();
    for row in rows(&["variable", "flag"]) {
        let flag = code(&row[1]).into_iter().find(|flag| flag.starts_with("--"));
        for variable in code(&row[0]) {
            match &flag {
                Some(flag) => {
                    assert_eq!(readme.insert(variable, flag.clone()), None, "it is there twice: {row:?}");
                }
                None => assert!(without.contains(&variable), "{variable} is not in --help, or has a flag"),
            }
        }
    }
    assert_eq!(readme, flags, "the README at the left, --help at the right");
    let told = code(README);
    let untold: Vec<&String> = without.iter().filter(|variable| !told.contains(*variable)).collect();
    assert!(untold.is_empty(), "the README does not tell of {untold:?}");
}

#[tokio::test]
async fn the_readme_and_the_help_give_the_same_bounds_and_defaults() {
    let help = help().await.split_whitespace().collect::<Vec<_>>().join(" ");
    let bounds = Regex::new(r"\d+ to \d+").unwrap();
    let mut found = 0;
    for row in rows(&["variable", "flag"]) {
        for bounds in bounds.find_iter(&row.join(" ")) {
            let variable = row[0].trim_matches('`');
            let flag = row[1].trim_matches('`');
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
    let help = help().await;
    let (flags, without) = (flags(&help), without_flag(&help));
    let assignment = Regex::new(r"(?m)^#?\s?([A-Z][A-Z_]+)=").unwrap();
    let named: BTreeSet<String> = assignment.captures_iter(DOT_ENV).map(|found| found[1].to_owned()).collect();
    assert!(named.len() >= 4, "{named:?}");
    let unknown: Vec<&String> =
        named.iter().filter(|name| !flags.contains_key(*name) && !without.contains(*name)).collect();
    assert_eq!(unknown, Vec::<&String>::new());
}
