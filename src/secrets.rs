//! The secrets of this process, and the one way to hide them in texts from outside. Some servers and proxies echo what
//! they were sent, completely or truncated.
//!
//! Whoever sends a secret registers it here first. There is one registry for the process, because it has one log.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::{LazyLock, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::Url;

/// This many consecutive bytes of a secret are treated as the secret: a text may contain only a part of it.
const WINDOW: usize = 12;

/// Anything shorter is not a secret, and hiding it would garble messages.
const SHORTEST: usize = 4;

/// How many secrets are remembered. Those from the configuration are kept forever, tokens while a request with them may
/// be in flight, and signatures of failed posts until the failure is reported.
const MOST_TOKENS: usize = 32;
const MOST_SIGNATURES: usize = 512;

const HIDDEN: &str = "[redacted]";

static SECRETS: LazyLock<RwLock<Registry>> = LazyLock::new(RwLock::default);

/// Registers a secret from the configuration.
pub(crate) fn keep(secret: &str) {
    with(|registry| registry.keep(secret));
}

/// Registers a token and drops the oldest one if there are too many.
pub(crate) fn keep_token(token: &str) {
    with(|registry| registry.keep_token(token));
}

/// Registers a signature and drops the oldest one if there are too many.
pub(crate) fn keep_signature(signature: &str) {
    with(|registry| registry.keep_signature(signature));
}

/// Registers each part of a URL that may be its key, raw and decoded.
pub(crate) fn keep_key_of(url: &Url) {
    let (path, query) = (url.path().trim_matches('/'), url.query().unwrap_or_default());
    let parts = path.split('/').chain(query.split('&').filter_map(|pair| Some(pair.split_once('=')?.1)));
    let parts = [path, query].into_iter().chain(parts);
    // A short lower-case word is a name, such as `webhook`, that messages also contain.
    let is_name =
        |part: &str| part.len() < WINDOW && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'/');
    for part in parts.filter(|part| !is_name(part)) {
        keep(part);
        keep(&decoded(part));
    }
}

/// Registers the password in a proxy's address, and the form in which it is sent: `user:password` in base64 (RFC 7617,
/// "Basic").
pub(crate) fn keep_password_of(proxy: &str) {
    let rest = proxy.split_once("://").map_or(proxy, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if let Some((user_info, _)) = authority.rsplit_once('@') {
        let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
        keep(password);
        keep(&decoded(password));
        keep(&BASE64.encode(format!("{}:{}", decoded(user), decoded(password))));
    }
}

/// The text with secrets, and parts of secrets, hidden.
pub(crate) fn hide(text: &str) -> Cow<'_, str> {
    SECRETS.read().unwrap_or_else(PoisonError::into_inner).hide(text)
}

fn with(change: impl FnOnce(&mut Registry)) {
    change(&mut SECRETS.write().unwrap_or_else(PoisonError::into_inner));
}

/// The secrets, and the index to search for them.
#[derive(Default)]
struct Registry {
    lasting: Vec<String>,
    tokens: VecDeque<String>,
    signatures: VecDeque<String>,
    /// Every window of the secrets that are long enough, with its number of occurrences.
    windows: HashMap<[u8; WINDOW], u32>,
    /// Secrets shorter than a window.
    short: Vec<String>,
}

impl Registry {
    fn keep(&mut self, secret: &str) {
        for form in forms(secret) {
            if !self.lasting.contains(&form) {
                self.add(&form);
                self.lasting.push(form);
            }
        }
    }

    fn keep_token(&mut self, token: &str) {
        for form in forms(token) {
            if !self.tokens.contains(&form) {
                self.add(&form);
                self.tokens.push_back(form);
            }
        }
        while self.tokens.len() > MOST_TOKENS {
            let oldest = self.tokens.pop_front();
            self.remove(&oldest.unwrap_or_default());
        }
    }

    fn keep_signature(&mut self, signature: &str) {
        self.add(signature);
        self.signatures.push_back(signature.to_owned());
        while self.signatures.len() > MOST_SIGNATURES {
            let oldest = self.signatures.pop_front();
            self.remove(&oldest.unwrap_or_default());
        }
    }

    fn add(&mut self, secret: &str) {
        if secret.len() < WINDOW {
            self.short.push(secret.to_owned());
        }
        for window in windows(secret) {
            *self.windows.entry(*window).or_default() += 1;
        }
    }

    fn remove(&mut self, secret: &str) {
        if let Some(at) = self.short.iter().position(|short| short == secret) {
            self.short.swap_remove(at);
        }
        for window in windows(secret) {
            if let Some(count) = self.windows.get_mut(window) {
                *count -= 1;
                if *count == 0 {
                    self.windows.remove(window);
                }
            }
        }
    }

    fn hide<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut found: Vec<Range<usize>> = Vec::new();
        if !self.windows.is_empty() {
            let at = windows(text).enumerate().filter(|(_, window)| self.windows.contains_key(*window));
            found.extend(at.map(|(at, _)| at..at + WINDOW));
        }
        for short in &self.short {
            found.extend(text.match_indices(short.as_str()).map(|(at, _)| at..at + short.len()));
        }
        if found.is_empty() {
            return Cow::Borrowed(text);
        }
        found.sort_by_key(|range| range.start);
        let mut shown = String::with_capacity(text.len());
        let mut end = 0;
        for range in found {
            // If a window starts or ends inside a character, the whole character is hidden.
            let from = (0..=range.start).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
            let to = (range.end..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
            if from > end || shown.is_empty() {
                shown += text.get(end..from).unwrap_or_default();
                shown += HIDDEN;
            }
            end = end.max(to);
        }
        shown += text.get(end..).unwrap_or_default();
        Cow::Owned(shown)
    }
}

fn windows(text: &str) -> impl Iterator<Item = &[u8; WINDOW]> {
    text.as_bytes().windows(WINDOW).filter_map(|window| window.try_into().ok())
}

/// The forms in which a secret may come back: raw, form- or URL-encoded, and JSON-escaped.
fn forms(secret: &str) -> Vec<String> {
    let secret = secret.trim();
    let json = serde_json::Value::from(secret).to_string();
    let mut forms = vec![secret.to_owned(), encoded(secret)];
    forms.extend(json.strip_prefix('"').and_then(|json| json.strip_suffix('"')).map(str::to_owned));
    forms.retain(|form| form.len() >= SHORTEST);
    forms.dedup();
    forms
}

/// Encodes as `application/x-www-form-urlencoded`.
fn encoded(text: &str) -> String {
    let Ok(mut url) = Url::parse("form:") else { return String::new() };
    url.query_pairs_mut().append_key_only(text);
    url.query().unwrap_or_default().to_owned()
}

/// Percent-decodes the text.
fn decoded(text: &str) -> String {
    let Ok(mut url) = Url::parse("form:") else { return String::new() };
    // Only forms use a plus for a space; `&` and `=` would split the text.
    let whole = text.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
    url.set_query(Some(&whole));
    url.query_pairs().next().map(|(text, _)| text.into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn knowing(secrets: &[&str]) -> Registry {
        let mut registry = Registry::default();
        for secret in secrets {
            registry.keep(secret);
        }
        registry
    }

    #[test]
    fn a_secret_is_hidden_wherever_it_stands_and_a_run_of_it_is_hidden_once() {
        let registry = knowing(&["s3cret~Of.Thirty-Bytes_and+More"]);
        let hide = |text: &str| registry.hide(text).into_owned();
        assert_eq!(hide("s3cret~Of.Thirty-Bytes_and+More"), "[redacted]");
        assert_eq!(hide("no s3cret~Of.Thirty-Bytes_and+More, none"), "no [redacted], none");
        assert_eq!(
            hide("a s3cret~Of.Thirty-Bytes_and+More b s3cret~Of.Thirty-Bytes_and+More"),
            "a [redacted] b [redacted]"
        );
        assert!(matches!(registry.hide("nothing of it"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_part_of_a_secret_is_hidden_as_well() {
        let registry = knowing(&["0123456789abcdefghijklmnopqrstuvwxyz"]);
        assert_eq!(registry.hide("cut: 0123456789ab"), "cut: [redacted]");
        assert_eq!(registry.hide("the end: opqrstuvwxyz."), "the end: [redacted].");
        assert_eq!(registry.hide("éé456789abcdefghéé"), "éé[redacted]éé");
        assert_eq!(registry.hide("too little: 0123456789a"), "too little: 0123456789a");
    }

    #[test]
    fn a_short_secret_is_hidden_where_it_is_whole_and_three_letters_are_none() {
        let registry = knowing(&["Jefe", "abc"]);
        assert_eq!(registry.hide("Jefe Jef abc xJefey"), "[redacted] Jef abc x[redacted]y");
    }

    #[test]
    fn a_secret_is_known_in_a_form_in_json_and_beyond_ascii() {
        let secret = "a\"b~c\\d é/+";
        let registry = knowing(&[secret]);
        for echo in [secret.to_owned(), encoded(secret), serde_json::json!({ "x": secret }).to_string()] {
            let shown = registry.hide(&echo).into_owned();
            assert!(shown.contains("[redacted]") && !shown.contains("b~c") && !shown.contains("b%7Ec"), "{shown}");
        }
        assert_eq!(knowing(&["ééééééé"]).hide("ñééééééén"), "ñ[redacted]n");
    }

    #[test]
    fn old_tokens_and_signatures_are_forgotten_and_what_they_share_with_others_is_not() {
        let mut registry = knowing(&["shared-part-of-both"]);
        registry.keep_token("shared-part-of-both and more");
        registry.keep_signature("5bdcc146bf60754e6a042426089575c7");
        assert_eq!(registry.hide("5bdcc146bf60754e6a042426089575c7"), "[redacted]");
        (0..MOST_TOKENS).for_each(|n| registry.keep_token(&format!("another-{n}")));
        (0..MOST_SIGNATURES).for_each(|n| registry.keep_signature(&format!("{n:032x}")));
        assert_eq!(registry.hide("5bdcc146bf60754e6a042426089575c7"), "5bdcc146bf60754e6a042426089575c7");
        assert_eq!(registry.hide("shared-part-of-both and more"), "[redacted] and more");
        assert!(registry.tokens.len() == MOST_TOKENS && registry.signatures.len() == MOST_SIGNATURES);
    }

    #[test]
    fn each_part_of_a_url_that_may_be_its_key_is_hidden() {
        keep_key_of(&"https://ingest.example/v1/webhook/url-key%2Bone/?code=url-code&flag".parse().unwrap());
        let told = hide("no url-key%2Bone here, no url-key+one, url-code is none, and webhook is a word").into_owned();
        assert_eq!(told, "no [redacted] here, no [redacted], [redacted] is none, and webhook is a word");
    }

    #[test]
    fn the_password_of_a_proxy_is_hidden_also_in_its_header() {
        keep_password_of("http://proxy-user:proxy%21pass@proxy.example:8080/");
        let header = "cHJveHktdXNlcjpwcm94eSFwYXNz";
        assert_eq!(hide(&format!("Basic {header} proxy!pass")), "Basic [redacted] [redacted]");
    }
}
