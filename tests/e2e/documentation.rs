//! Checks the documents as far as a machine can: they agree with `--help`, with the source and with each other, their
//! links work, and their pictures render.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;
use serde_json::Value;

use crate::harness::{MINUTE, Program, Small};

const README: &str = include_str!("../../README.md");
const DOT_ENV: &str = include_str!("../../.env.example");
const SETTINGS: &str = include_str!("../../docs/settings.md");
const REPORT: &str = include_str!("../../docs/report.md");
const TROUBLESHOOTING: &str = include_str!("../../docs/troubleshooting.md");

pub(crate) async fn help() -> String {
    Program::bare().args(["--help"]).run().await.exits(0).out
}

/// The rows of a page's tables whose heading starts with these cells.
fn rows(page: &str, heading: &[&str]) -> Vec<Vec<String>> {
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

/// The variables in `--help` that have a flag, each with its flag.
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

/// The variables in `--help` without a flag: the first words of the lines in their section.
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

/// The texts between backticks.
fn code(text: &str) -> BTreeSet<String> {
    Regex::new("`([^`\n]+)`").unwrap().captures_iter(text).map(|found| found[1].to_owned()).collect()
}

#[tokio::test]
async fn the_documents_and_the_help_list_the_same_settings_with_the_same_flags() {
    let help = help().await;
    let (flags, without) = (flags(&help), without_flag(&help));
    assert!(flags.len() >= 15 && without.len() >= 3, "{flags:?} {without:?}");
    let mut listed = BTreeMap::new();
    for row in rows(SETTINGS, &["variable", "flag"]) {
        let flag = code(&row[1]).into_iter().find(|flag| flag.starts_with("--"));
        for variable in code(&row[0]) {
            match &flag {
                Some(flag) => {
                    assert_eq!(listed.insert(variable, flag.clone()), None, "it is there twice: {row:?}");
                }
                None => assert!(without.contains(&variable), "{variable} is not in --help, or has a flag"),
            }
        }
    }
    assert_eq!(listed, flags, "docs/settings.md at the left, --help at the right");
    let told = code(SETTINGS);
    let untold: Vec<&String> = without.iter().filter(|variable| !told.contains(*variable)).collect();
    assert!(untold.is_empty(), "docs/settings.md does not tell of {untold:?}");
    let common: Vec<String> = rows(README, &["setting"]).iter().flat_map(|row| code(&row[0])).collect();
    let unknown: Vec<&String> = common.iter().filter(|variable| !told.contains(*variable)).collect();
    assert!(common.len() == 10 && unknown.is_empty(), "{common:?} {unknown:?}");
}

#[tokio::test]
async fn the_documents_and_the_help_give_the_same_bounds_and_defaults() {
    let help = help().await.split_whitespace().collect::<Vec<_>>().join(" ");
    let bounds = Regex::new(r"\d+ to \d+").unwrap();
    let mut found = 0;
    for row in rows(SETTINGS, &["variable", "flag"]) {
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
async fn the_documents_and_the_help_list_the_same_exit_codes() {
    let line = Regex::new(r"(?m)^\s+(\d+(?:, \d+)*)\s{2,}\S").unwrap();
    let help = help().await;
    let section = &help[help.find("Exit codes").expect("--help lists the exit codes")..];
    let numbers = |text: &str| -> Vec<u8> { text.split(", ").filter_map(|code| code.trim().parse().ok()).collect() };
    let of_help: BTreeSet<u8> = line.captures_iter(section).flat_map(|found| numbers(&found[1])).collect();
    for (page, heading) in [(REPORT, ["code", "meaning"]), (README, ["exit code", "meaning"])] {
        let of_page: BTreeSet<u8> = rows(page, &heading).iter().flat_map(|row| numbers(&row[0])).collect();
        assert_eq!(of_page, of_help, "the page at the left, --help at the right");
    }
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

#[tokio::test]
async fn the_second_run_of_the_local_quick_start_goes_on_where_the_first_ended() {
    let small = Small::start().await;
    let sandbox = &small.sandbox;
    let known: BTreeMap<String, String> = sandbox.env().into_iter().collect();
    let (mut filled, mut names) = (String::new(), Vec::new());
    for line in DOT_ENV.lines() {
        let value = line.strip_suffix('=').and_then(|name| known.get_key_value(name));
        names.extend(value.map(|(name, _)| name));
        filled += &format!("{line}{}\n", value.map_or("", |(_, value)| value));
    }
    assert_eq!(names.len(), 4, "the README says how many there are to fill in: {names:?}");
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join(".env"), filled).unwrap();
    let run = || {
        let program = names.iter().fold(Program::new(sandbox), |program, name| program.without(name));
        program.args(["--env-file", ".env"]).within(&["env", "-C", directory.path().to_str().unwrap()]).run()
    };
    let first = run().await.exits(0);
    assert_eq!(first.count("upserts"), 3, "the subscription, the group and the vault; {first}");
    sandbox.estate().create_resource(&small.group, "Microsoft.KeyVault/vaults", "Vault-2", "eastus", None).unwrap();
    // Longer than the window of a run without a checkpoint.
    sandbox.clock().advance(4 * 15 * MINUTE);
    let second = run().await.exits(0);
    assert_eq!(second.count("upserts"), 1, "{second}");
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Files in a directory and below it whose names have this ending.
fn files(directory: &Path, end: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let found = entries.flat_map(|path| match path.is_dir() {
        true => files(&path, end),
        false => Vec::from_iter(path.to_string_lossy().ends_with(end).then_some(path)),
    });
    found.collect()
}

/// All pages of the documentation, with their texts.
fn pages() -> BTreeMap<PathBuf, String> {
    let here = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path());
    let here = here.filter(|path| path.extension().is_some_and(|end| end == "md"));
    let paths = here.chain(files(&root().join("docs"), ".md"));
    let pages: BTreeMap<_, _> = paths.map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect();
    assert!(pages.len() >= 7, "{:?}", pages.keys());
    pages
}

/// A page without its code blocks.
fn prose(page: &str) -> String {
    let mut code = false;
    let lines = page.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        !code && !fence
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The anchors in a page, as GitHub derives them from the headings.
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

/// Where readers of the book find files outside `docs/`. A path in this repository follows.
const REPOSITORY: &str = "https://github.com/azure-incremental/azure-incremental/";

/// All links of the pages, each with its page.
fn links() -> Vec<(PathBuf, String)> {
    let inline = Regex::new(r"`[^`]*`").unwrap();
    let link = Regex::new(r#"\]\(([^)\s]+)\)|(?:src|srcset|href)="([^"]+)"|(?m)^\[[^\]]+\]:\s+(\S+)"#).unwrap();
    let mut links = Vec::new();
    for (path, text) in pages() {
        for found in link.captures_iter(&inline.replace_all(&prose(&text), "code")) {
            links.push((path.clone(), found.iter().skip(1).flatten().next().unwrap().as_str().to_owned()));
        }
    }
    assert!(links.len() >= 150, "{} links", links.len());
    links
}

/// The file that a link leads to and the heading in it; `None` if it is outside the repository.
fn target(page: &Path, link: &str) -> Option<(PathBuf, String)> {
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let file = match (file.strip_prefix(REPOSITORY), file) {
        (Some(of), _) => root().join(of.strip_prefix("blob/main/").or(of.strip_prefix("tree/main/"))?),
        (None, "") => page.to_owned(),
        (None, file) if file.starts_with("https://") => return None,
        (None, file) => page.parent().unwrap().join(file),
    };
    Some((file, anchor.to_owned()))
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_there_are() {
    let pages = pages();
    let mut broken = Vec::new();
    for (path, link) in links() {
        let Some((file, anchor)) = target(&path, &link) else { continue };
        let is_there = match file.canonicalize() {
            Ok(file) if !anchor.is_empty() => pages.get(&file).is_some_and(|page| anchors(page).contains(&anchor)),
            Ok(file) => file.starts_with(root()),
            Err(_) => false,
        };
        if !is_there {
            broken.push(format!("{}: {link}", path.display()));
        }
    }
    assert_eq!(broken, Vec::<String>::new());
}

#[test]
fn a_link_of_the_book_leads_to_a_page_of_the_book_or_says_the_whole_address() {
    let docs = root().join("docs");
    let outside: Vec<String> = links()
        .into_iter()
        .filter(|(page, link)| page.starts_with(&docs) && !link.starts_with("https://") && link.contains(".."))
        .map(|(page, link)| format!("{}: {link}", page.display()))
        .collect();
    assert_eq!(outside, Vec::<String>::new());
}

#[test]
fn every_page_of_the_book_is_in_its_summary_once() {
    let docs = root().join("docs");
    let summary = docs.join("SUMMARY.md");
    let mut listed: Vec<PathBuf> =
        links().into_iter().filter(|(page, _)| *page == summary).map(|(_, link)| docs.join(link)).collect();
    listed.sort();
    let mut there = files(&docs, ".md");
    there.retain(|page| *page != summary);
    there.sort();
    assert_eq!(listed, there);
    let title = |page: &Path| fs::read_to_string(page).unwrap().lines().next().unwrap_or_default().to_owned();
    let untitled: Vec<&PathBuf> = there.iter().filter(|page| !title(page).starts_with("# ")).collect();
    assert!(untitled.is_empty(), "{untitled:?} do not begin with a title");
}

/// The source without tests and comments, with its strings as a compiler reads them: broken lines joined, quotes
/// unescaped.
fn source() -> String {
    let mut paths = files(&root().join("src"), ".rs");
    paths.retain(|path| !["tests.rs", "_test", "testing.rs"].iter().any(|of| path.to_string_lossy().contains(of)));
    source_of(&paths)
}

fn source_of(paths: &[PathBuf]) -> String {
    let (broken, comment) = (Regex::new(r"\\\n\s*").unwrap(), Regex::new(r"(?m)^\s*//.*$").unwrap());
    let texts = paths.iter().map(|path| {
        let text = fs::read_to_string(path).unwrap();
        text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned()
    });
    let text = texts.collect::<Vec<_>>().join("\n");
    broken.replace_all(&comment.replace_all(&text, ""), "").replace("\\\"", "\u{1}").replace("'\"'", "' '")
}

#[test]
fn every_message_that_is_explained_is_one_that_there_is() {
    let source = source().replace('\u{1}', "\"");
    let rows: Vec<Vec<String>> =
        [&["message"][..], &["code of Entra ID"]].iter().flat_map(|heading| rows(TROUBLESHOOTING, heading)).collect();
    assert!(rows.len() >= 90, "{} rows", rows.len());
    let mut unknown = Vec::new();
    for message in rows.iter().flat_map(|row| code(&row[0])) {
        let parts: Vec<&str> = message.split('…').map(|part| part.trim_matches([' ', ';', ':', '/'])).collect();
        // The JSON parser has its own words.
        if message != "unknown field …" && !parts.iter().all(|part| source.contains(part)) {
            unknown.push(message);
        }
    }
    assert_eq!(unknown, Vec::<String>::new());
}

/// The code that creates an error message, up to its text: an error, a warning, why something cannot be read or used, a
/// line of `check`.
const ANGER: &str = concat!(
    r"#\[error\(|\b(?:warn|error)!\(|\beprintln!\(|\bwriteln!\(complaints,|io::Error::other\(|\bnamed\(",
    r"|\b(?:Malformed|Unreadable|unreadable|unusable|unfit)\(",
    r#"|\.(?:note|wrong)\((?:\s*"[^"]*",)?"#
);

/// The strings from here to the closing bracket.
fn texts(source: &str) -> Vec<&str> {
    let (mut texts, mut depth, mut begun) = (Vec::new(), 1, None);
    for (place, character) in source.char_indices() {
        match (character, begun) {
            ('"', None) => begun = Some(place + 1),
            ('"', Some(start)) => {
                texts.push(&source[start..place]);
                begun = None;
            }
            ('(', None) => depth += 1,
            (')', None) => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    texts
}

#[test]
fn every_message_that_is_printed_in_anger_is_explained() {
    let (anger, placeholder) = (Regex::new(ANGER).unwrap(), Regex::new(r"\{[^}]*\}").unwrap());
    // The longest part of a message's own words. A page need not quote words that only wrap another message.
    let own = |message: &str| -> Option<String> {
        let parts = placeholder.split(message).map(|part| part.trim_matches([' ', ';', ':', ',', '"', '\u{1}']));
        let words = parts.max_by_key(|part| part.len())?.replace('\u{1}', "\"");
        (words.len() >= 5 && words.contains(' ')).then(|| words.trim_start_matches("error: ").to_owned())
    };
    let source = source();
    let (mut found, mut unexplained) = (0, Vec::new());
    for message in anger.find_iter(&source).flat_map(|site| texts(&source[site.end()..])) {
        let Some(words) = own(message) else { continue };
        found += 1;
        // After a semicolon there is mostly advice, which the page gives in its own words.
        let complaint = message.split(';').next().and_then(own);
        if ![Some(words), complaint].iter().flatten().any(|words| TROUBLESHOOTING.contains(words.as_str())) {
            unexplained.push(message);
        }
    }
    assert_eq!(unexplained, Vec::<&str>::new());
    assert!(found >= 130, "{found} messages");
}

#[test]
fn a_message_is_found_wherever_it_stands_in_what_makes_it() {
    let made =
        r#"telling.note("disk", format!("it {} (full)", if a { "is half" } else { "is (" })); say("no message")"#;
    let site = Regex::new(ANGER).unwrap().find(made).unwrap();
    assert_eq!(texts(&made[site.end()..]), ["it {} (full)", "is half", "is ("]);
}

/// Strings in the settings that are not messages: why a credential was chosen, a hint, a text to search for in a file,
/// the last line.
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
    // Removes what is not a message: why a credential was chosen, reasons in attributes, and hints after
    // `is not set: `.
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

/// Whether elements are properly nested, attributes quoted and entities known: what a browser requires of a picture.
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
    let told: BTreeSet<String> = rows(REPORT, &["field", "meaning"]).iter().flat_map(|row| code(&row[0])).collect();
    let untold: Vec<&&str> = shown.iter().filter(|field| !told.contains(**field)).collect();
    assert!(shown.len() >= 13 && untold.is_empty(), "{shown:?} {untold:?}");
}

/// The JSON blocks in a page that contain this text.
fn json_with(page: &str, text: &str) -> Vec<Value> {
    let block = Regex::new(r"(?s)```json\n(.*?)```").unwrap();
    let found = block.captures_iter(page).filter(|found| found[1].contains(text));
    found.map(|found| serde_json::from_str(&found[1]).unwrap()).collect()
}

#[test]
fn the_role_stands_in_one_place_and_only_reads() {
    let role: Value = serde_json::from_str(include_str!("../../examples/azure/role.json")).unwrap();
    let actions = role["Actions"].as_array().unwrap();
    assert!(
        !actions.is_empty() && actions.iter().all(|action| action.as_str().unwrap().ends_with("/read")),
        "{actions:?}"
    );
    assert_eq!(role["DataActions"], serde_json::json!([]));
    for (path, page) in pages() {
        assert_eq!(json_with(&page, "NotDataActions"), Vec::<Value>::new(), "{}", path.display());
    }
}

#[test]
fn the_security_of_the_webhook_is_the_one_of_the_examples() {
    let example: Value = serde_json::from_str(include_str!("../../examples/port/security.json")).unwrap();
    assert_eq!(json_with(include_str!("../../docs/signing-posts.md"), "signatureHeaderName"), [example]);
}

#[test]
fn the_documents_ask_for_the_rust_that_the_package_asks_for() {
    let package = include_str!("../../Cargo.toml");
    let version = Regex::new(r#"(?m)^rust-version = "([\d.]+)""#).unwrap().captures(package).unwrap()[1].to_owned();
    for page in [README, include_str!("../../CONTRIBUTING.md")] {
        assert!(page.contains(&format!("Rust {version} or later")), "{version}");
    }
}
