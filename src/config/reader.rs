//! Reads settings one at a time and collects their problems.

use std::ffi::OsString;
use std::num::NonZeroUsize;

use serde::de::DeserializeOwned;

use super::error::{ConfigError, Problem};
use super::proxies::PROXIES;
use super::sign_in::SECRET_VARIABLES;
use super::url::{has_user_info, quoted};
use super::value::{Form, fault};
use crate::cli::Settings;
use crate::text::printable;

/// Looks up an environment variable: `std::env::var_os` outside tests.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Reads settings and collects their problems.
pub(super) struct Reader<'a> {
    pub(super) settings: &'a Settings,
    pub(super) environment: Environment<'a>,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(settings: &'a Settings, environment: Environment<'a>) -> Self {
        Self { settings, environment, problems: Vec::new() }
    }

    pub(super) fn is_right(&self) -> bool {
        self.problems.is_empty()
    }

    pub(super) fn finish<T>(self, config: T) -> Result<T, ConfigError> {
        if self.is_right() { Ok(config) } else { Err(ConfigError(self.problems)) }
    }

    /// Names the flag if the value came from one. Reports a setting that is read twice only once.
    pub(super) fn wrong(&mut self, variable: &'static str, problem: String) {
        let problem = Problem { variable: self.settings.named(variable).into(), problem };
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// Trims a value. An empty one counts as unset, because GitHub Actions passes a missing secret as an empty string.
    /// So does a value that was rejected as a placeholder or the like.
    pub(super) fn set<'v>(&mut self, variable: &'static str, value: Option<&'v str>, form: Form) -> Option<&'v str> {
        // Other white space is rejected instead of trimmed: nobody puts it there on purpose.
        let value = value?.trim_matches(|c: char| c.is_ascii() && c.is_whitespace());
        match fault(value, form) {
            Some(fault) => {
                self.wrong(variable, fault);
                None
            }
            None => Some(value).filter(|value| !value.is_empty()),
        }
    }

    /// Reads a variable that has no flag. The caller decides whether to trim it.
    pub(super) fn variable(&mut self, name: &'static str) -> Option<String> {
        let is_secret = SECRET_VARIABLES.contains(&name) || PROXIES.contains(&name);
        self.variable_of(name, if is_secret { Form::Secret } else { Form::Plain })
    }

    pub(super) fn variable_of(&mut self, name: &'static str, form: Form) -> Option<String> {
        match (self.environment)(name)?.into_string() {
            Ok(value) => self.set(name, Some(&value), form).is_some().then_some(value),
            Err(_) => {
                self.wrong(name, "is not valid UTF-8".into());
                None
            }
        }
    }

    pub(super) fn required(&mut self, variable: &'static str, value: Option<&str>, hint: &str) -> String {
        let value = value.map(str::trim).unwrap_or_default();
        let named = self.settings.named(variable);
        if value.is_empty() && !self.problems.iter().any(|problem| problem.variable == named) {
            self.wrong(variable, format!("is not set: {hint}"));
        }
        value.to_owned()
    }

    /// Parses JSON. An error shows the value with a mark at the position of the error; `example` shows a valid value.
    pub(super) fn json<T: DeserializeOwned>(&mut self, variable: &'static str, text: &str, example: &str) -> Option<T> {
        match serde_json::from_str(text) {
            Ok(value) => Some(value),
            Err(error) => {
                let said = printable(&error.to_string()).to_string();
                let (line, column) = (error.line(), error.column());
                self.wrong(variable, format!("is wrong: {said}; {example}\n{}", marked(text, line, column)));
                None
            }
        }
    }

    pub(super) fn count(
        &mut self,
        variable: &'static str,
        value: Option<&str>,
        most: u64,
        default: usize,
    ) -> NonZeroUsize {
        let count = self.optional_count(variable, value, 1, most).and_then(|count| usize::try_from(count).ok());
        NonZeroUsize::new(count.unwrap_or(default)).unwrap_or(NonZeroUsize::MIN)
    }

    pub(super) fn optional_count(
        &mut self,
        variable: &'static str,
        value: Option<&str>,
        least: u64,
        most: u64,
    ) -> Option<u64> {
        let text = self.set(variable, value, Form::Plain)?;
        let count = text.parse().ok().filter(|count| (least..=most).contains(count));
        if count.is_none() {
            self.wrong(variable, format!("is \"{}\": expected a whole number from {least} to {most}", printable(text)));
        }
        count
    }

    pub(super) fn flag(&mut self, variable: &'static str, value: Option<&str>) -> bool {
        self.choice(variable, value, &[("true", true), ("false", false), ("1", true), ("0", false)])
    }

    /// Reads one of a few names, ignoring case.
    pub(super) fn choice<T: Copy + Default>(
        &mut self,
        variable: &'static str,
        value: Option<&str>,
        choices: &[(&'static str, T)],
    ) -> T {
        let Some(text) = self.set(variable, value, Form::Plain) else { return T::default() };
        match choices.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)) {
            Some((_, choice)) => *choice,
            None => {
                let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
                self.wrong(variable, format!("is \"{}\": expected {}", printable(text), names.join(" or ")));
                T::default()
            }
        }
    }

    /// Reads an https origin. It must be https, because the access token is sent there.
    pub(super) fn endpoint(
        &mut self,
        variable: &'static str,
        value: Option<&str>,
        default: reqwest::Url,
    ) -> reqwest::Url {
        let Some(text) = self.set(variable, value, Form::Plain) else { return default };
        // Microsoft's own tools also accept a bare host name.
        let whole = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
        let problem = match reqwest::Url::parse(&whole) {
            Ok(url) if url.scheme() != "https" => {
                "must be an https URL because a token or credential is sent there".into()
            }
            Ok(url)
                if url.path() != "/" || url.query().is_some() || url.fragment().is_some() || has_user_info(&url) =>
            {
                "must be a scheme and host only, such as https://management.azure.com".into()
            }
            Ok(url) => return url,
            Err(error) => format!("is not a URL: {error}"),
        };
        self.wrong(variable, format!("{}: {problem}", quoted(text)));
        default
    }
}

/// Characters of JSON to show before and after an error.
const SHOWN: usize = 100;

/// The line that a parser failed in, with a caret under the byte where it failed, both counted from 1.
fn marked(text: &str, line: usize, column: usize) -> String {
    let line = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    let at = (0..column).rev().find(|at| line.is_char_boundary(*at)).unwrap_or_default();
    let (before, after) = line.split_at_checked(at).unwrap_or((line, ""));
    let skipped = before.chars().count().saturating_sub(SHOWN);
    let before: String = before.chars().skip(skipped).map(plain).collect();
    let before = if skipped > 0 { format!("…{before}") } else { before };
    let after: String = after.chars().take(SHOWN).map(plain).collect();
    format!("    {before}{after}\n    {}^", " ".repeat(before.chars().count()))
}

/// Replaces control characters, so that each character takes one column and none controls the terminal.
fn plain(c: char) -> char {
    if c.is_control() { ' ' } else { c }
}

#[cfg(test)]
mod tests {
    use super::super::testing::read;
    use super::*;

    fn said<T: std::fmt::Debug>(result: Result<T, ConfigError>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn a_blank_value_counts_as_unset() {
        let settings = Settings::default();
        let set = |value| read(&settings, &[], |reader| reader.set("NAME", value, Form::Plain));
        assert_eq!((set(None), set(Some(" \t")), set(Some(" x \r\n"))), (Ok(None), Ok(None), Ok(Some("x"))));
        assert_eq!(read(&settings, &[("NAME", "  ")], |reader| reader.variable("NAME")), Ok(None));
        assert_eq!(read(&settings, &[], |reader| reader.flag("NAME", Some(""))), Ok(false));
        let count = read(&settings, &[], |reader| reader.count("NAME", Some(""), 9, 5));
        assert_eq!(count.map(NonZeroUsize::get), Ok(5));
    }

    #[test]
    fn a_count_is_a_whole_number_within_its_bounds() {
        let count = |text: &str| read(&Settings::default(), &[], |reader| reader.optional_count("N", Some(text), 2, 9));
        assert_eq!((count("2"), count(" 9 ")), (Ok(Some(2)), Ok(Some(9))));
        for wrong in ["1", "10", "-3", "3.0", "3h", "99999999999999999999"] {
            assert_eq!(said(count(wrong)), format!("N is \"{wrong}\": expected a whole number from 2 to 9"));
        }
    }

    #[test]
    fn a_flag_is_true_or_false_in_any_case() {
        let flag = |text: &str| read(&Settings::default(), &[], |reader| reader.flag("F", Some(text)));
        assert_eq!((flag("TRUE"), flag("1"), flag("false"), flag("0")), (Ok(true), Ok(true), Ok(false), Ok(false)));
        assert!(said(flag("yes")).starts_with("F is \"yes\": expected true or false"));
    }

    #[test]
    fn an_endpoint_is_an_https_origin() {
        let default = reqwest::Url::parse("https://default.example").unwrap();
        let endpoint =
            |text: &str| read(&Settings::default(), &[], |reader| reader.endpoint("E", Some(text), default.clone()));
        assert_eq!(endpoint(""), Ok(default.clone()));
        assert_eq!(endpoint("a.example:8443").unwrap().as_str(), "https://a.example:8443/");
        for wrong in ["http://a.example", "https://a.example/x", "https://a.example/?x", "https://a.example/#x", "//"] {
            assert!(said(endpoint(wrong)).starts_with(&format!("E is \"{wrong}\": ")), "{wrong}");
        }
    }

    #[test]
    fn an_unreadable_setting_is_not_also_reported_as_missing() {
        let settings = Settings::default();
        let odd = |name: &str| (name == "NAME").then(not_utf8);
        let mut reader = Reader::new(&settings, &odd);
        let value = reader.variable("NAME");
        reader.required("NAME", value.as_deref(), "anything");
        assert_eq!(said(reader.finish(())), "NAME is not valid UTF-8");
    }

    #[cfg(unix)]
    fn not_utf8() -> OsString {
        use std::os::unix::ffi::OsStringExt as _;
        OsString::from_vec(vec![0xff])
    }

    #[cfg(windows)]
    fn not_utf8() -> OsString {
        use std::os::windows::ffi::OsStringExt as _;
        OsString::from_wide(&[0xd800])
    }
}
