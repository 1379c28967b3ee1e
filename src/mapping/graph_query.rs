//! Ocean's `graphQuery`: the parts that can be applied without running it.
//!
//! This program reads the rows of a kind with its own queries. A query in the mapping can select and order their
//! columns, but not filter rows or compute columns.
use std::collections::BTreeSet;

use super::Kind;

/// Which columns a query keeps, and how it changes them.
#[derive(Default)]
pub(super) struct Shape {
    kept: Option<BTreeSet<String>>,
    removed: BTreeSet<String>,
    lowered: BTreeSet<String>,
    /// Columns that are computed or come from another table, so they do not exist here.
    foreign: BTreeSet<String>,
}

impl Shape {
    pub(super) fn has(&self, column: &str) -> bool {
        self.kept.as_ref().is_none_or(|kept| kept.contains(column)) && !self.removed.contains(column)
    }

    pub(super) fn lowers(&self, column: &str) -> bool {
        self.lowered.contains(column)
    }

    pub(super) fn makes(&self, column: &str) -> bool {
        self.foreign.contains(column)
    }

    pub(super) fn parse(text: &str, kind: Kind) -> Result<Self, String> {
        let text = text.trim();
        let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
        let text = without_comments(text);
        let mut stages = split(&text, '|').into_iter().map(str::trim);
        let table = stages.next().unwrap_or_default();
        let expected = if kind == Kind::ResourceContainer { "resourcecontainers" } else { "resources" };
        if !table.eq_ignore_ascii_case(expected) {
            return Err(format!("reads from `{table}`; rows of this kind come from `{expected}`"));
        }
        let mut shape = Self::default();
        stages.try_for_each(|stage| shape.stage(stage, kind))?;
        Ok(shape)
    }

    fn stage(&mut self, stage: &str, kind: Kind) -> Result<(), String> {
        let (operator, rest) = stage.split_once(char::is_whitespace).unwrap_or((stage, ""));
        match operator.to_ascii_lowercase().as_str() {
            "project" => {
                let names = split(rest, ',').into_iter().map(|item| self.item(item));
                self.kept = Some(names.collect());
                self.removed.clear();
            }
            "extend" => {
                for item in split(rest, ',') {
                    let name = self.item(item);
                    self.removed.remove(&name);
                    self.kept.iter_mut().for_each(|kept| _ = kept.insert(name.clone()));
                }
            }
            "project-away" => self.removed.extend(split(rest, ',').into_iter().map(|name| name.trim().to_owned())),
            "order" | "sort" | "project-reorder" => {}
            "where" if kind == Kind::ResourceContainer && are_groups(rest) => {}
            "join" => self.join(rest)?,
            "where" | "take" | "limit" | "top" | "distinct" | "summarize" | "mv-expand" => {
                let stage: String = stage.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(80).collect();
                return Err(format!(
                    "is not run here, so it cannot filter by `{stage}`; put the filter into selector.query, as jq"
                ));
            }
            other => return Err(format!("is not run here, and `{other}` does more than choose and order columns")),
        }
        Ok(())
    }

    /// One column of `project` or `extend`.
    fn item(&mut self, item: &str) -> String {
        let Some((name, value)) = item.split_once('=') else { return item.trim().to_owned() };
        let (name, value) = (name.trim().to_owned(), value.trim());
        let compact: String = value.chars().filter(|c| !c.is_whitespace()).collect();
        if compact == format!("tolower({name})") {
            self.lowered.insert(name.clone());
        } else if compact != name {
            self.foreign.insert(name.clone());
        }
        name
    }

    /// A left outer join: it keeps every row, and adds columns that do not exist here.
    fn join(&mut self, rest: &str) -> Result<(), String> {
        let compact: String = rest.chars().filter(|c| !c.is_whitespace()).collect();
        let inner = rest.find('(').zip(rest.rfind(')')).and_then(|(from, to)| rest.get(from + 1..to));
        let inner = inner.filter(|_| compact.to_ascii_lowercase().starts_with("kind=leftouter("));
        let Some(inner) = inner else {
            return Err("is not run here, and only `join kind=leftouter` leaves every row".to_owned());
        };
        for stage in split(inner, '|') {
            let (operator, items) = stage.trim().split_once(char::is_whitespace).unwrap_or_default();
            if ["project", "extend"].contains(&operator) {
                let names = split(items, ',').into_iter().map(|item| item.split('=').next().unwrap_or_default());
                self.foreign.extend(names.map(|name| name.trim().to_owned()));
            }
        }
        if let Some(kept) = &mut self.kept {
            // Columns of the left side keep their name.
            self.foreign.retain(|name| !kept.contains(name));
            kept.extend(self.foreign.iter().cloned());
        }
        Ok(())
    }
}

fn are_groups(condition: &str) -> bool {
    let compact: String = condition.chars().filter(|c| !c.is_whitespace()).collect();
    let compact = compact.replace('"', "'").to_ascii_lowercase();
    ["type=~", "type=="]
        .iter()
        .any(|test| compact.strip_prefix(test) == Some("'microsoft.resources/subscriptions/resourcegroups'"))
}

fn without_comments(text: &str) -> String {
    text.lines().map(|line| split_once(line, "//")).collect::<Vec<_>>().join("\n")
}

/// The line up to `mark`, which starts a comment unless it is inside a string.
fn split_once<'a>(line: &'a str, mark: &str) -> &'a str {
    let mut quote = None;
    for (at, c) in line.char_indices() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '\'' || c == '"' => quote = Some(c),
            None if line[at..].starts_with(mark) => return &line[..at],
            None => {}
        }
    }
    line
}

/// Splits at separators that are not inside a string or brackets.
fn split(text: &str, separator: char) -> Vec<&str> {
    let (mut parts, mut start, mut depth, mut quote) = (Vec::new(), 0, 0_usize, None);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '(' | '[' | '{') => depth += 1,
            (None, ')' | ']' | '}') => depth = depth.saturating_sub(1),
            (None, c) if c == separator && depth == 0 => {
                parts.push(&text[start..at]);
                start = at + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}
