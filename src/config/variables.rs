//! The environment variables that settings are read from: the process's own, then those of the file named by
//! `--env-file`.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::error::{ConfigError, Problem};

/// Characters that the crate would interpret as a shell does, and the noncharacters (Unicode, "Noncharacters") that
/// replace them while it parses. `$` is always literal, and in a value without quotes everything is.
const PLAIN: [(char, char); 6] = [
    ('$', '\u{fdd0}'),
    ('"', '\u{fdd1}'),
    ('\'', '\u{fdd2}'),
    ('\\', '\u{fdd3}'),
    (' ', '\u{fdd4}'),
    ('\t', '\u{fdd5}'),
];

/// Set by the platform. The sign-in library reads them from the process itself.
const OF_THE_PLATFORM: [&str; 3] = ["IDENTITY_ENDPOINT", "IDENTITY_HEADER", "SYSTEM_OIDCREQUESTURI"];

/// Looks up variables. The process's own take precedence over the file's, but an empty one counts as unset.
#[derive(Default)]
pub struct Variables {
    file: BTreeMap<String, String>,
}

impl Variables {
    /// Reads the file, if there is one.
    pub fn read(file: Option<&Path>) -> Result<Self, ConfigError> {
        let Some(path) = file else { return Ok(Self::default()) };
        let wrong = |problem: String| {
            let problem = format!("{}{problem}", path.display());
            ConfigError(vec![Problem { variable: "--env-file".into(), problem }])
        };
        let bytes = std::fs::read(path).map_err(|error| wrong(format!(" cannot be read: {error}")))?;
        let text = String::from_utf8(bytes).map_err(|_| wrong(" is not UTF-8 text: save it as that".into()))?;
        let file = parse(&text).map_err(|line| {
            wrong(format!(
                ", line {line}: expected NAME=value, with the value as it is, or in quotes that end on the same line"
            ))
        })?;
        Ok(Self { file })
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<OsString> {
        let set = std::env::var_os(name);
        self.of_file(name).map(OsString::from).or(set)
    }

    /// The file's value of a variable that is not set in the process.
    pub fn of_file(&self, name: &str) -> Option<&str> {
        let is_set = std::env::var_os(name).is_some_and(|value| !is_blank(&value));
        self.file.get(name).filter(|_| !is_set && !OF_THE_PLATFORM.contains(&name)).map(String::as_str)
    }

    /// The names of all non-empty variables.
    pub fn names(&self) -> Vec<String> {
        let set =
            std::env::vars_os().filter(|(_, value)| !is_blank(value)).filter_map(|(name, _)| name.into_string().ok());
        let of_file = self.file.iter().filter(|(_, value)| !is_blank(value.as_ref())).map(|(name, _)| name.clone());
        set.chain(of_file).collect()
    }
}

pub(super) fn is_blank(value: &OsStr) -> bool {
    value.to_string_lossy().trim().is_empty()
}

/// Parses the variables of a file, or returns the number of the first invalid line. A later variable overrides an
/// earlier one.
fn parse(text: &str) -> Result<BTreeMap<String, String>, usize> {
    let mut found = BTreeMap::new();
    for (line, number) in text.trim_start_matches('\u{feff}').lines().zip(1_usize..) {
        // Parsed line by line, so that an unclosed quote affects only its own line.
        let line = format!("{}\n", protected(line));
        for variable in dotenvy::from_read_iter(line.as_bytes()) {
            let (name, value) = variable.map_err(|_| number)?;
            found.insert(name, value.chars().map(restored).collect());
        }
    }
    Ok(found)
}

/// Protects a line so that only quotes around the value, and escapes inside them, are special.
fn protected(line: &str) -> String {
    let Some((name, value)) = line.split_once('=') else { return line.to_owned() };
    let value = value.trim();
    if value.starts_with(['"', '\'']) {
        return format!("{name}={}", value.replace('$', "\u{fdd0}"));
    }
    let mut before = ' ';
    let end = value.find(|c: char| std::mem::replace(&mut before, c).is_whitespace() && c == '#');
    let value = value.get(..end.unwrap_or(value.len())).unwrap_or_default().trim_end();
    let stand_in = |c: char| PLAIN.iter().find(|(plain, _)| *plain == c).map_or(c, |(_, stand_in)| *stand_in);
    format!("{name}={}", value.chars().map(stand_in).collect::<String>())
}

fn restored(c: char) -> char {
    PLAIN.iter().find(|(_, stand_in)| *stand_in == c).map_or(c, |(plain, _)| *plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(line: &str) -> Option<String> {
        parse(line).ok()?.remove("NAME")
    }

    #[test]
    fn a_line_is_read_in_one_dialect() {
        for (line, expected) in [
            ("NAME=a", "a"),
            ("NAME=a\r\n", "a"),
            ("\u{feff}NAME=a", "a"),
            ("export NAME=a", "a"),
            ("  NAME = a  ", "a"),
            ("NAME=", ""),
            ("NAME=a # comment's", "a"),
            ("NAME=a#b", "a#b"),
            ("NAME=#b", ""),
            ("NAME=a b\tc", "a b\tc"),
            ("NAME=\"a # b\" # comment", "a # b"),
            ("NAME='a \"b\" $C'", "a \"b\" $C"),
            ("NAME=\"a\\\"b\\\\c\\nd\"", "a\"b\\c\nd"),
            ("NAME=''", ""),
            ("NAME=a$b${c}$(d)", "a$b${c}$(d)"),
            ("NAME=\"a$b\"", "a$b"),
            ("NAME=$HOME", "$HOME"),
            ("NAME=a\\nb", "a\\nb"),
            ("NAME=it's", "it's"),
            ("NAME=a=b==", "a=b=="),
            ("NAME={\"include\": {\"A\": \"b c\"}}", "{\"include\": {\"A\": \"b c\"}}"),
            ("NAME=1\nNAME=2", "2"),
            ("# NAME='\nNAME=a\n#NAME=b", "a"),
        ] {
            assert_eq!(value(line).as_deref(), Some(expected), "{line:?}");
        }
    }

    #[test]
    fn a_line_that_is_none_is_told_by_its_number() {
        for line in ["NAME", "NAME='a", "NAME=\"a\nb\"", "a b=c", "=a", "NAME='a'b c", "NAME: a"] {
            assert_eq!(parse(&format!("# first\n\n{line}")), Err(3), "{line:?}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named_and_not_shown() {
        let directory = tempfile::tempdir().unwrap();
        let said = |content: &[u8]| {
            let path = directory.path().join("settings.env");
            std::fs::write(&path, content).unwrap();
            Variables::read(Some(&path)).err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert_eq!(said(b"A=b"), "");
        assert!(said(b"\xff\xfeA\0=\0").ends_with("settings.env is not UTF-8 text: save it as that"));
        let said = said(b"A=b\nB='marked");
        assert!(
            said.starts_with("--env-file /")
                && said.contains(", line 2: expected NAME=value")
                && !said.contains("marked")
        );
        let missing = Variables::read(Some(Path::new("/nowhere/.env"))).err().unwrap().to_string();
        assert!(missing.starts_with("--env-file /nowhere/.env cannot be read: "), "{missing}");
    }

    #[test]
    fn what_the_process_sets_goes_before_the_file() {
        let (name, set) = std::env::vars().find(|(_, value)| !value.trim().is_empty()).unwrap();
        let variables =
            Variables { file: parse(&format!("{name}=of the file\nNAME_OF_NO_PROCESS=a\nIDENTITY_HEADER=x")).unwrap() };
        assert_eq!(variables.get(&name), Some(set.into()));
        assert_eq!((variables.of_file(&name), variables.of_file("NAME_OF_NO_PROCESS")), (None, Some("a")));
        assert_eq!(variables.of_file("IDENTITY_HEADER"), None, "who reads it does not know of the file");
        assert!(variables.names().contains(&"NAME_OF_NO_PROCESS".to_owned()));
    }
}
