//! Port's second kind of quote: in a mapping, some `'` are read as `"`.

/// A `'` at the start or after white space opens a string unless white space or `"` follows it. One at the end or
/// before white space closes a string unless white space or `"` precedes it. Any other stays as it is.
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
