//! Prints the result: numbers by blueprint, and examples.

use std::fmt::Write as _;
use std::io::Write;

use serde_json::{Map, Value, json};

use super::Found;
use super::compare::Key;
use crate::comparison::Difference;
use crate::config::LogFormat;
use crate::error::Exit;
use crate::text::{neutralize, printable, printable_up_to};

/// Maximum characters of a value.
const LONGEST_VALUE: usize = 100;

/// Prints the result, with at most this many examples of each kind.
pub(super) fn show(found: &Found, most: usize, format: LogFormat, mut output: impl Write) {
    let text = match format {
        LogFormat::Json => format!("{}\n", json(found, most)),
        LogFormat::Text => text(found, most),
    };
    // A reader that closed the pipe has seen enough.
    _ = output.write_all(neutralize(&text).as_bytes());
}

fn extra_of(found: &Found, blueprint: &str) -> Option<u64> {
    found.extra.as_ref().map(|(counts, _)| counts.get(blueprint).copied().unwrap_or_default())
}

fn json(found: &Found, most: usize) -> Value {
    let named = |(blueprint, identifier): &Key| json!({"blueprint": blueprint, "identifier": identifier});
    let of = |key: &Key, name: &str, value: Value| {
        let mut fields = named(key);
        _ = fields.as_object_mut().map(|fields| fields.insert(name.to_owned(), value));
        fields
    };
    let fields = |differences: &[Difference]| -> Value {
        let pairs = differences.iter().map(|one| (one.field.clone(), json!({"azure": one.azure, "port": one.port})));
        Value::Object(pairs.collect::<Map<_, _>>())
    };
    let blueprints = found.blueprints.iter().map(|(name, numbers)| {
        let numbers = json!({
            "azure": numbers.azure,
            "port": numbers.port,
            "same": numbers.same,
            "missing": numbers.missing,
            "different": numbers.different,
            "extra": extra_of(found, name),
        });
        (name.clone(), numbers)
    });
    json!({
        "exit": found.exit,
        "blueprints": Value::Object(blueprints.collect()),
        "missing": found.missing.iter().take(most).map(named).collect::<Vec<_>>(),
        "different": found.different.iter().take(most).map(|(key, one)| of(key, "fields", fields(one))).collect::<Vec<_>>(),
        "extra": found.extra.as_ref().map(|(_, some)| some.iter().take(most).map(named).collect::<Vec<_>>()),
        "refused": found.refused.0,
        "refusals": found.refused.1.iter().take(most).map(|(key, why)| of(key, "why", why.as_str().into())).collect::<Vec<_>>(),
        "notes": found.notes,
        "errors": found.errors,
    })
}

fn text(found: &Found, most: usize) -> String {
    let mut text = table(found);
    let mut list = |title: &str, count: u64, lines: Vec<String>| {
        if count == 0 {
            return;
        }
        _ = writeln!(text, "\n{title}: {count}");
        for line in &lines {
            _ = writeln!(text, "  {line}");
        }
        if let Some(more @ 1..) = count.checked_sub(lines.iter().filter(|line| !line.starts_with(' ')).count() as u64) {
            _ = writeln!(text, "  and {more} more; --all prints them");
        }
    };
    let name = |(blueprint, identifier): &Key| format!("{} {}", printable(blueprint), printable(identifier));
    let sum = |number: fn(&super::Numbers) -> u64| found.blueprints.values().map(number).sum::<u64>();
    list("missing in Port", sum(|of| of.missing), found.missing.iter().take(most).map(name).collect());
    let different = found.different.iter().take(most).flat_map(|(key, differences)| {
        let lines = differences.iter().map(|one| {
            let field = printable(&one.field);
            format!("  {field}: {} in Azure, {} in Port", shown(one.azure.as_ref()), shown(one.port.as_ref()))
        });
        std::iter::once(name(key)).chain(lines).collect::<Vec<_>>()
    });
    list("different", sum(|of| of.different), different.collect());
    if let Some((counts, some)) = &found.extra {
        list("extra in Port", counts.values().sum(), some.iter().take(most).map(name).collect());
    }
    let (refused, refusals) = &found.refused;
    let refusals = refusals.iter().take(most).map(|(key, why)| format!("{}: {}", name(key), printable(why)));
    list("refused by Port if they were written", *refused, refusals.collect());
    for note in &found.notes {
        _ = writeln!(text, "\nnote: {}", printable(note));
    }
    _ = writeln!(text, "\n{}", verdict(found));
    text
}

fn shown(value: Option<&Value>) -> String {
    value.map_or("nothing".to_owned(), |value| printable_up_to(&value.to_string(), LONGEST_VALUE).to_string())
}

fn verdict(found: &Found) -> String {
    match found.exit {
        Exit::Ok => "equal: Port holds what Azure has".to_owned(),
        Exit::Differs => "different: Port does not hold what Azure has (exit 5)".to_owned(),
        exit if found.blueprints.is_empty() => format!("not compared (exit {})", exit.code()),
        exit => format!("not everything was read, so that nothing is said of what is extra (exit {})", exit.code()),
    }
}

fn table(found: &Found) -> String {
    let heading = ["blueprint", "Azure", "Port", "same", "missing", "different", "extra"].map(str::to_owned);
    let rows = found.blueprints.iter().map(|(name, of)| {
        let extra = extra_of(found, name).map_or("?".to_owned(), |count| count.to_string());
        let numbers = [of.azure, of.port, of.same, of.missing, of.different].map(|number| number.to_string());
        let [azure, port, same, missing, different] = numbers;
        [printable(name).to_string(), azure, port, same, missing, different, extra]
    });
    let rows: Vec<[String; 7]> = std::iter::once(heading).chain(rows).collect();
    let mut text = String::new();
    if rows.len() == 1 {
        return text;
    }
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    for row in &rows {
        for (column, cell) in row.iter().enumerate() {
            let width = width(column).unwrap_or_default();
            _ = match column {
                0 => write!(text, "{cell:<width$}"),
                _ => write!(text, "  {cell:>width$}"),
            };
        }
        text.push('\n');
    }
    text
}
