//! Formats objects and pages as Microsoft Graph does.
use std::io::Write as _;

use super::select::Select;
use crate::clock::seconds;
use crate::directory::{Kind, State, Value};

/// The items of a page, separated by commas.
#[derive(Default)]
pub(super) struct Items(Vec<u8>);

impl Items {
    /// The buffer for the next item.
    pub(super) fn next(&mut self) -> &mut Vec<u8> {
        if !self.0.is_empty() {
            self.0.push(b',');
        }
        &mut self.0
    }

    pub(super) fn into_inner(self) -> Vec<u8> {
        self.0
    }

    /// Finishes the page. `link` is the name and target of a link.
    pub(super) fn page(
        self,
        origin: &str,
        context: &str,
        link: Option<(&str, String)>,
        count: Option<usize>,
    ) -> Vec<u8> {
        let mut out = format!("{{\"@odata.context\":\"{origin}/v1.0/$metadata#{context}\"").into_bytes();
        if let Some(count) = count {
            text(&mut out, &format!(",\"@odata.count\":{count}"));
        }
        if let Some((name, link)) = link {
            text(&mut out, &format!(",\"@odata.{name}\":"));
            quoted(&mut out, &link);
        }
        text(&mut out, ",\"value\":[");
        out.extend_from_slice(&self.0);
        text(&mut out, "]}");
        out
    }
}

/// What to show of an object.
#[derive(Clone, Copy)]
pub(super) struct Look {
    pub select: Select,
    /// Include the type, for collections of several kinds.
    pub has_type: bool,
    /// Show properties that were never set as null instead of leaving them out.
    pub shows_unset: bool,
    /// The principal may not read it: show all properties as null.
    pub is_limited: bool,
}

impl Look {
    pub(super) fn list(select: Select) -> Self {
        Self { select, has_type: false, shows_unset: true, is_limited: false }
    }
}

/// Writes an object up to its closing brace.
pub(super) fn open(out: &mut Vec<u8>, state: &State<'_>, look: Look) {
    let kind = state.object.kind;
    out.push(b'{');
    if look.has_type {
        ty(out, kind);
        out.push(b',');
    }
    id(out, state);
    for (place, (property, value)) in kind.properties().iter().zip(&*state.values).enumerate() {
        if look.select.has(place) && (look.shows_unset || !value.is_unset()) {
            text(out, ",\"");
            text(out, property.name);
            text(out, "\":");
            write(out, if look.is_limited { &Value::Cleared } else { value });
        }
    }
}

pub(super) fn object(out: &mut Vec<u8>, state: &State<'_>, look: Look) {
    open(out, state, look);
    out.push(b'}');
}

pub(super) fn ty(out: &mut Vec<u8>, kind: Kind) {
    text(out, "\"@odata.type\":\"#microsoft.graph.");
    text(out, kind.name());
    out.push(b'"');
}

pub(super) fn id(out: &mut Vec<u8>, state: &State<'_>) {
    text(out, "\"id\":\"");
    text(out, &state.object.id.to_string());
    out.push(b'"');
}

fn write(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Unset | Value::Cleared => text(out, "null"),
        Value::Bool(is) => text(out, if *is { "true" } else { "false" }),
        Value::Text(value) => quoted(out, value),
        Value::Time(ms) => quoted(out, &seconds(*ms)),
        Value::Types(types) => {
            let names: Vec<String> = types.names().map(|name| format!("\"{name}\"")).collect();
            text(out, &format!("[{}]", names.join(",")));
        }
    }
}

pub(super) fn quoted(out: &mut Vec<u8>, value: &str) {
    // Writing to memory cannot fail.
    let _ = serde_json::to_writer(out, value);
}

pub(super) fn text(out: &mut Vec<u8>, text: &str) {
    let _ = out.write_all(text.as_bytes());
}
