//! Port's other quotes: where a mapping is evaluated, some of its `'` are read as `"`.

/// A `'` at the start or after white space opens, unless white space or `"` follows; one at the end or before white space
/// closes, unless they precede it. Any other stays.
pub(super) fn replaced(text: &str) -> String {
    let is_edge = |c: Option<char>| c.is_none_or(char::is_whitespace);
    let is_barred = |c: Option<char>| c.is_none_or(|c| c.is_whitespace() || c == '"');
    let mut before = None;
    let mut chars = text.chars().peekable();
    let mut replaced = String::with_capacity(text.len());
    while let Some(c) = chars.next() {
        let after = chars.peek().copied();
        let opens = is_edge(before) && !is_barred(after);
        let closes = is_edge(after) && !is_barred(before);
        replaced.push(if c == '\'' && (opens || closes) { '"' } else { c });
        before = Some(c);
    }
    replaced
}
