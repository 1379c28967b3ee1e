//! The documents are true as far as a machine can tell: they agree with `--help`, with the source and with one another, their
//! links lead somewhere, and their pictures can be drawn.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;
use serde_json::Value;

use crate::harness::Program;

const README: &str = include_str!("../../README.md");
const DOT_ENV: &str = include_str!("../../.env.example");
const SUMMARY: &str = include_str!("../../docs/SUMMARY.md");
const SETTINGS: &str = include_str!("../../docs/settings.md");
const REPORT: &str = include_str!("../../docs/report.md");
const TROUBLESHOOTING: &str = include_str!("../../docs/troubleshooting.md");

pub(crate) async fn help() -> String {
    Program::bare().args(["--help"]).run().await.exits(0).out
}

/// The rows of a page's tables whose heading has these first cells, as cells.
fn rows_of(page: &str, heading: &[&str]) -> Vec<Vec<String>> {
    let cells = |line: &str| -> Vec<String> {
        line.trim().trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let mut rows = Vec::new();
    let mut lines = page.lines();
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
async fn the_book_and_the_help_list_the_same_settings_with_the_same_flags() {
    let help = help().await;
    let (flags, without) = (flags(&help), without_flag(&help));
    assert!(flags.len() >= 15 && without.len() >= 3, "{flags:?} {without:?}");
    let mut book = BTreeMap::new();
    for row in rows_of(SETTINGS, &["variable", "flag"]) {
        let flag = code(&row[1]).into_iter().find(|flag| flag.starts_with("--"));
        for variable in code(&row[0]) {
            match &flag {
                Some(flag) => {
                    assert_eq!(book.insert(variable, flag.clone()), None, "it is there twice: {row:?}");
                }
                None => assert!(without.contains(&variable), "{variable} is not in --help, or has a flag"),
            }
        }
    }
    assert_eq!(book, flags, "the book at the left, --help at the right");
    let told = code(SETTINGS);
    let untold: Vec<&String> = without.iter().filter(|variable| !told.contains(*variable)).collect();
    assert!(untold.is_empty(), "the book does not tell of {untold:?}");
}

#[tokio::test]
async fn the_book_and_the_help_give_the_same_bounds_and_defaults() {
    let help = help().await.split_whitespace().collect::<Vec<_>>().join(" ");
    let bounds = Regex::new(r"\d+ to \d+").unwrap();
    let mut found = 0;
    for row in rows_of(SETTINGS, &["variable", "flag"]) {
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
async fn the_book_and_the_help_list_the_same_exit_codes() {
    let line = Regex::new(r"(?m)^\s+(\d+(?:, \d+)*)\s{2,}\S").unwrap();
    let help = help().await;
    let section = &help[help.find("Exit codes").expect("--help lists the exit codes")..];
    let numbers = |text: &str| -> Vec<u8> { text.split(", ").filter_map(|code| code.trim().parse().ok()).collect() };
    let of_help: BTreeSet<u8> = line.captures_iter(section).flat_map(|found| numbers(&found[1])).collect();
    let of_book: BTreeSet<u8> =
        rows_of(REPORT, &["code", "meaning"]).iter().flat_map(|row| numbers(&row[0].replace('`', ""))).collect();
    assert_eq!(of_book, of_help, "the book at the left, --help at the right");
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

const REPOSITORY: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/");

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Files of a directory and those below it whose names end so.
fn files(directory: &Path, end: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let found = entries.flat_map(|path| match path.is_dir() {
        true => files(&path, end),
        false => Vec::from_iter(path.to_string_lossy().ends_with(end).then_some(path)),
    });
    found.collect()
}

/// Every page of the documents, with its text.
fn pages() -> BTreeMap<PathBuf, String> {
    let here = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path());
    let here = here.filter(|path| path.extension().is_some_and(|end| end == "md"));
    let paths = here.chain(files(&root().join("docs"), ".md"));
    let pages: BTreeMap<_, _> = paths.map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect();
    assert!(pages.len() >= 7, "{:?}", pages.keys());
    pages
}

/// A page without its blocks of code.
fn prose(page: &str) -> String {
    let mut code = false;
    let lines = page.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        !code && !fence
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// What `#…` may name in a page, as GitHub makes it of the headings.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let text = prose(page);
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|heading| {
            let text = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
            let times = seen.entry(anchor.clone()).or_default();
            *times += 1;
            if *times == 1 { anchor } else { format!("{anchor}-{}", *times - 1) }
        })
        .collect()
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_there_are() {
    let inline = Regex::new(r"`[^`]*`").unwrap();
    let link = Regex::new(r#"\]\(([^)\s]+)\)|(?:src|srcset|href)="([^"]+)"|(?m)^\[[^\]]+\]:\s+(\S+)"#).unwrap();
    let pages = pages();
    let (mut found, mut broken) = (0, Vec::new());
    for (path, text) in &pages {
        for link in link.captures_iter(&inline.replace_all(&prose(text), "code")) {
            let link = link.iter().skip(1).flatten().next().unwrap().as_str();
            found += 1;
            let (link, from) = match link.strip_prefix(REPOSITORY) {
                // A page of the book is read elsewhere as well: it names what is in the repository by its address.
                Some(rest) => (rest.trim_start_matches("blob/main/").trim_start_matches("tree/main/"), root()),
                None if link.starts_with("https://") => continue,
                None => (link, path.parent().unwrap()),
            };
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let file = if file.is_empty() { path.clone() } else { from.join(file) };
            let is_there = match file.canonicalize() {
                Ok(file) if !anchor.is_empty() => pages.get(&file).is_some_and(|page| anchors(page).contains(anchor)),
                Ok(file) => file.starts_with(root()),
                Err(_) => false,
            };
            if !is_there {
                broken.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert_eq!(broken, Vec::<String>::new());
    assert!(found >= 60, "{found} links");
}

#[test]
fn every_page_of_the_book_is_in_its_summary_and_leads_to_nothing_outside_it_by_a_relative_link() {
    let link = Regex::new(r"\]\(([^)#\s]+)").unwrap();
    let listed: BTreeSet<&str> = link.captures_iter(SUMMARY).map(|found| found.get(1).unwrap().as_str()).collect();
    let pages = files(&root().join("docs"), ".md");
    let names: BTreeSet<&str> = pages.iter().map(|page| page.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(listed, names.into_iter().filter(|name| *name != "SUMMARY.md").collect());
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        assert!(!text.contains("](../"), "{} leads out of the book", page.display());
    }
}

#[test]
fn the_readme_is_short_enough_to_be_read() {
    assert!(README.lines().count() <= 220, "{} lines", README.lines().count());
}

/// The source, tests left out, as a compiler reads its texts: broken lines joined, quotes plain.
fn source() -> String {
    source_of(&files(&root().join("src"), ".rs"))
}

fn source_of(paths: &[PathBuf]) -> String {
    let broken = Regex::new(r"\\\n\s*").unwrap();
    let texts = paths.iter().map(|path| {
        let text = fs::read_to_string(path).unwrap();
        text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned()
    });
    broken.replace_all(&texts.collect::<Vec<_>>().join("\n"), "").replace("\\\"", "\u{1}")
}

#[test]
fn every_message_that_is_explained_is_one_that_there_is() {
    let source = source().replace('\u{1}', "\"");
    let rows: Vec<Vec<String>> = [&["message"][..], &["code of Entra ID"]]
        .iter()
        .flat_map(|heading| rows_of(TROUBLESHOOTING, heading))
        .collect();
    assert!(rows.len() >= 90, "{} rows", rows.len());
    let mut unknown = Vec::new();
    for message in rows.iter().flat_map(|row| code(&row[0])) {
        let parts: Vec<&str> = message.split('…').map(|part| part.trim_matches([' ', ';', ':', '/'])).collect();
        // The parser of JSON has words of its own.
        if message != "unknown field …" && !parts.iter().all(|part| source.contains(part)) {
            unknown.push(message);
        }
    }
    assert_eq!(unknown, Vec::<String>::new());
}

#[test]
fn every_message_that_is_printed_in_anger_is_explained() {
    let printed = Regex::new(r#"(?:#\[error\(|tracing::(?:warn|error)!\()\s*"([^"]*)""#).unwrap();
    let placeholder = Regex::new(r"\{[^}]*\}").unwrap();
    let source = source();
    let (mut found, mut unexplained) = (0, Vec::new());
    for message in printed.captures_iter(&source) {
        let message = message[1].replace('\u{1}', "\"");
        let longest = placeholder
            .split(&message)
            .map(|part| part.trim_matches([' ', ';', ':', ',']))
            .max_by_key(|part| part.len());
        // Of what only passes on another message, or frames it, there is nothing to be found.
        let Some(words) = longest.filter(|words| words.len() >= 5 && *words != "failed") else { continue };
        found += 1;
        if !TROUBLESHOOTING.contains(words) {
            unexplained.push(message);
        }
    }
    assert_eq!(unexplained, Vec::<String>::new());
    assert!(found >= 45, "{found} messages");
}

/// Texts beside the messages about settings: why a credential was chosen, a hint, what is looked for in a file, the last line.
const NO_MESSAGES: [&str; 5] = [
    "AZURE_CREDENTIAL names it",
    "nothing else is set",
    "Azure Pipelines sets it",
    "-----BEGIN TRUSTED CERTIFICATE-----",
    "\\nRun 'azure-incremental --help' to list all settings.\\n",
];

#[test]
fn every_message_about_a_setting_is_explained() {
    let config = |path: &PathBuf| path.starts_with(root().join("src/config"));
    let source = source_of(&files(&root().join("src"), ".rs").into_iter().filter(config).collect::<Vec<_>>());
    let comment = Regex::new(r"(?m)^\s*//.*$").unwrap();
    let source = comment.replace_all(&source, "");
    // What is no message: why a credential was chosen, what documents itself, and what a hint says after `is not set: `.
    let other =
        r##"r#"[^\n]*?"#|reason = "[^"]*"|expect\("[^"]*"|Some\(\([^)]*\)|\.required\([^;]*|HINT: &str = "[^"]*""##;
    let source = Regex::new(other).unwrap().replace_all(&source, "");
    let (text, placeholder) = (Regex::new(r#""([^"\n]*)""#).unwrap(), Regex::new(r"\{[^}]*\}").unwrap());
    let (mut found, mut unexplained) = (0, Vec::new());
    for message in text.captures_iter(&source) {
        let message = message[1].replace('\u{1}', "\"");
        let parts = placeholder.split(&message).map(|part| part.trim_matches([' ', ';', ':', ',', '"']));
        let Some(words) = parts.max_by_key(|part| part.len()).filter(|words| words.matches(' ').count() >= 2) else {
            continue;
        };
        found += 1;
        if !TROUBLESHOOTING.contains(words) && !NO_MESSAGES.contains(&words) {
            unexplained.push(message);
        }
    }
    assert_eq!(unexplained, Vec::<String>::new());
    assert!(found >= 40, "{found} messages");
}

/// Whether elements are closed in their order, attributes quoted and entities known: what a browser asks of a picture.
fn check_xml(text: &str) -> Result<(), String> {
    let tag = Regex::new(r#"<(/?)([A-Za-z][\w:-]*)((?:\s+[\w:-]+="[^"<&]*")*)\s*(/?)>"#).unwrap();
    let entity = Regex::new(r"&(?:amp|lt|gt|quot|apos|#\d+);").unwrap();
    let mut open: Vec<&str> = Vec::new();
    let mut end = 0;
    let between = |text: &str| match entity.replace_all(text, "").contains(['<', '>', '&']) {
        true => Err(format!("no tag and no text: {text}")),
        false => Ok(()),
    };
    for found in tag.captures_iter(text) {
        let whole = found.get(0).unwrap();
        between(&text[end..whole.start()])?;
        end = whole.end();
        let name = found.get(2).unwrap().as_str();
        match (&found[1], &found[4]) {
            ("", "") => open.push(name),
            ("", _) => {}
            _ if open.pop() == Some(name) => {}
            _ => return Err(format!("</{name}> closes nothing")),
        }
    }
    between(&text[end..])?;
    if open.is_empty() && end > 0 { Ok(()) } else { Err(format!("{open:?} stays open")) }
}

#[test]
fn the_pictures_can_be_drawn_have_titles_and_load_nothing() {
    let pictures = files(&root().join("docs"), ".svg");
    assert_eq!(pictures.len(), 2);
    let title = Regex::new(r"<title[^>]*>[^<]{5,}</title>").unwrap();
    for path in pictures {
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(check_xml(&text), Ok(()), "{}", path.display());
        assert!(title.is_match(&text), "{}", path.display());
        assert!(!text.contains("<script") && !text.contains("href") && !text.contains("url("), "{}", path.display());
        let name = format!("docs/{}", path.file_name().unwrap().to_string_lossy());
        assert!(README.contains(&name), "the README shows {name}");
    }
    for bad in ["<a><b></a></b>", "<a>", "<a b=c></a>", "<a>&nbsp;</a>", "<a/></a>", "x"] {
        assert!(check_xml(bad).is_err(), "{bad}");
    }
}

#[test]
fn the_picture_of_the_demo_shows_a_report_as_it_is_today() {
    let picture = fs::read_to_string(root().join("docs/demo.svg")).unwrap();
    let line = Regex::new(r">   (\w[\w ]*?)\s{3,}").unwrap();
    let shown: BTreeSet<&str> = line.captures_iter(&picture).map(|found| found.get(1).unwrap().as_str()).collect();
    let told: BTreeSet<String> = rows_of(REPORT, &["field", "meaning"]).iter().flat_map(|row| code(&row[0])).collect();
    let untold: Vec<&&str> = shown.iter().filter(|field| !told.contains(**field)).collect();
    assert!(shown.len() >= 13 && untold.is_empty(), "{shown:?} {untold:?}");
}

/// The blocks of JSON in a page that hold this text.
fn json_with(page: &str, text: &str) -> Vec<Value> {
    let block = Regex::new(r"(?s)```json\n(.*?)```").unwrap();
    let found = block.captures_iter(page).filter(|found| found[1].contains(text));
    found.map(|found| serde_json::from_str(&found[1]).unwrap()).collect()
}

#[test]
fn the_role_stands_once_and_only_reads() {
    let roles: Vec<Value> = pages().values().flat_map(|page| json_with(page, "AssignableScopes")).collect();
    let [role] = &roles[..] else { panic!("{roles:?}") };
    let actions = role["Actions"].as_array().unwrap();
    assert!(
        !actions.is_empty() && actions.iter().all(|action| action.as_str().unwrap().ends_with("/read")),
        "{actions:?}"
    );
    assert_eq!(role["DataActions"], serde_json::json!([]));
}

#[test]
fn the_security_of_the_webhook_is_the_one_of_the_examples() {
    let example: Value = serde_json::from_str(include_str!("../../examples/port/security.json")).unwrap();
    let shown: Vec<Value> = pages().values().flat_map(|page| json_with(page, "signatureHeaderName")).collect();
    assert_eq!(shown, [example]);
}

#[test]
fn the_documents_ask_for_the_rust_that_the_package_asks_for() {
    let package = include_str!("../../Cargo.toml");
    let version = Regex::new(r#"(?m)^rust-version = "([\d.]+)""#).unwrap().captures(package).unwrap()[1].to_owned();
    for page in [README, include_str!("../../CONTRIBUTING.md")] {
        assert!(page.contains(&format!("Rust {version} or later")), "{version}");
    }
}
