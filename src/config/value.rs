//! Rejects values that cannot be meant: placeholders that were not replaced, masks, values in quotes, and values with
//! invisible characters. They result from pasting, or from pipelines and files that do not parse values as a shell
//! does.

/// How to check a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A path, a URL, a name or a number. Its parts must not be placeholders either.
    Plain,
    /// A secret, which may contain any text.
    Secret,
    /// A list or JSON, possibly with several lines.
    Lines,
}

/// The opening and closing marks of placeholders.
const PLACEHOLDERS: [(&str, &str); 11] = [
    // First GitHub Actions and Azure Pipelines, then Azure Pipelines, shells, and various template languages.
    ("${{", "}}"),
    ("$(", ")"),
    ("${", "}"),
    ("$[", "]"),
    ("{{", "}}"),
    ("#{", "}#"),
    ("#{", "}"),
    ("<%", "%>"),
    ("<", ">"),
    ("__", "__"),
    ("%", "%"),
];

/// App Service passes on this reference if it may not read the vault.
const VAULT: &str = "@Microsoft.KeyVault(";

/// What logs and portals show instead of a secret.
const MASKS: [char; 6] = ['*', '•', '●', '·', '∙', '▪'];
const MASK_WORDS: [&str; 5] = ["masked", "redacted", "hidden", "filtered", "secure"];

/// What is wrong with a non-empty value, as a clause that follows the setting's name. It never shows the value, which
/// may be a secret.
pub(super) fn fault(value: &str, form: Form) -> Option<String> {
    invisible(value, form).or_else(|| quotes(value)).or_else(|| {
        let is_whole = form == Form::Lines || (form == Form::Secret && !value.contains("://"));
        let parts: Vec<&str> = if is_whole { vec![value] } else { value.split(['/', '\\', '?', '&', '=']).collect() };
        // The whole value comes first: a placeholder may contain the separators of parts.
        std::iter::once(value).chain(parts).find_map(|part| stand_in(part, form))
    })
}

fn invisible(value: &str, form: Form) -> Option<String> {
    let is_break = |c: char| form == Form::Lines && matches!(c, '\n' | '\r' | '\t');
    let found = value.chars().enumerate().find(|(_, c)| is_invisible(*c) && !is_break(*c));
    found.map(|(place, c)| {
        let json = if form == Form::Lines { ", or in JSON write it as an escape" } else { "" };
        format!(
            "holds an invisible character, {} (U+{:04X}), as character {} of its {}: delete it, or type the value again{json}",
            name(c),
            u32::from(c),
            place + 1,
            value.chars().count()
        )
    })
}

fn name(c: char) -> &'static str {
    match c {
        '\u{feff}' => "a byte order mark",
        '\u{a0}' | '\u{202f}' => "a non-breaking space",
        '\u{200b}'..='\u{200d}' | '\u{2060}' => "one of no width",
        '\n' | '\r' => "a line break",
        c if c.is_control() => "a control character",
        c if c.is_whitespace() => "an odd space",
        _ => "one that is not drawn",
    }
}

/// Control characters, spaces other than U+0020, characters that Unicode says not to draw
/// (Default_Ignorable_Code_Point), and some that only look blank.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || (c.is_whitespace() && c != ' ')
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{2800}' | '\u{3164}'
            | '\u{feff}' | '\u{ffa0}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

fn quotes(value: &str) -> Option<String> {
    let is_plain = |c: char| matches!(c, '"' | '\'' | '`');
    let is_typographic = |c: char| matches!(c, '\u{2018}'..='\u{201f}' | '«' | '»' | '‹' | '›' | '´' | '＂' | '＇');
    // Quotes may have been escaped on the way.
    let inner = value.strip_prefix('\\').map_or(value, |rest| rest.strip_suffix("\\\"").map_or(value, |_| rest));
    let (first, last) = (inner.chars().next()?, inner.chars().last()?);
    let is_pair = (is_plain(first) && first == last) || (is_typographic(first) && is_typographic(last));
    (is_pair && inner.chars().nth(1).is_some())
        .then(|| "is wrapped in quotes, which are part of the value where no shell removes them: leave them out".into())
}

/// What is wrong with a text that is a mask or a placeholder.
fn stand_in(text: &str, form: Form) -> Option<String> {
    let is_mask = text.chars().count() >= 3
        && text.chars().next().is_some_and(|first| MASKS.contains(&first) && text.chars().all(|c| c == first));
    let word = text.strip_prefix(['[', '<', '(', '{']).and_then(|rest| rest.strip_suffix([']', '>', ')', '}']));
    if is_mask || word.is_some_and(|word| MASK_WORDS.iter().any(|mask| word.eq_ignore_ascii_case(mask))) {
        return Some("is or holds a mask, such as ***, that was shown in place of a value: copy the value from where it was made".into());
    }
    let (open, close) = placeholder(text, form)?;
    Some(format!(
        "is or holds a placeholder of the form {open}…{close} that nothing has replaced: define what it names where the program is \
         started, or set the value itself"
    ))
}

/// The marks of a text that is a placeholder as a whole.
fn placeholder(text: &str, form: Form) -> Option<(&'static str, &'static str)> {
    if text.starts_with(VAULT) && text.ends_with(')') {
        return Some((VAULT, ")"));
    }
    if let Some(rest) = text.strip_prefix('$') {
        let (rest, is_marked) = rest.strip_prefix("env:").map_or((rest, false), |rest| (rest, true));
        if is_name(rest) && (is_marked || form != Form::Secret || names_a_variable(rest)) {
            return Some(("$", ""));
        }
    }
    PLACEHOLDERS.into_iter().find(|(open, close)| {
        let inner = text.strip_prefix(open).and_then(|rest| rest.strip_suffix(close));
        inner.is_some_and(|inner| match *open {
            "%" | "__" => is_name(inner),
            "<" | "<%" => !inner.trim().is_empty() && !inner.contains(['<', '>']),
            // Rejects inner brackets: the text would be two adjacent placeholders, or part of something longer.
            _ => !inner.contains(['(', ')', '{', '}', '[', ']']),
        })
    })
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

/// Whether a name is all upper or all lower case, as variables are and secrets rarely are.
fn names_a_variable(name: &str) -> bool {
    let is_of_one_case = |is_other: fn(&char) -> bool| !name.chars().any(|c| is_other(&c));
    is_of_one_case(char::is_ascii_lowercase) || (is_of_one_case(char::is_ascii_uppercase) && name.contains('_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(value: &str, form: Form) -> String {
        fault(value, form).unwrap_or_default()
    }

    #[test]
    fn a_placeholder_is_told_by_its_form() {
        for (value, shown) in [
            ("$(PORT_WEBHOOK_SECRET)", "$(…)"),
            ("$(System.AccessToken)", "$(…)"),
            ("${{ secrets.PORT_WEBHOOK_SECRET }}", "${{…}}"),
            ("${{secrets.A || secrets.B}}", "${{…}}"),
            ("${PORT_WEBHOOK_SECRET}", "${…}"),
            ("${PORT_WEBHOOK_SECRET:-none}", "${…}"),
            ("$[variables.secret]", "$[…]"),
            ("$PORT_WEBHOOK_SECRET", "$…"),
            ("$port_webhook_secret", "$…"),
            ("$env:PortSecret", "$…"),
            ("%PORT_WEBHOOK_SECRET%", "%…%"),
            ("{{ .Values.secret }}", "{{…}}"),
            ("#{PortSecret}#", "#{…}#"),
            ("#{PortSecret}", "#{…}"),
            ("__PORT_SECRET__", "__…__"),
            ("<your secret>", "<…>"),
            ("<%= secret %>", "<%…%>"),
            ("@Microsoft.KeyVault(SecretUri=https://v.vault.azure.net/secrets/s)", "@Microsoft.KeyVault(…)"),
        ] {
            for form in [Form::Plain, Form::Secret, Form::Lines] {
                let said = said(value, form);
                assert!(said.contains(&format!("placeholder of the form {shown} ")), "{value} as {form:?}: {said}");
            }
        }
    }

    #[test]
    fn a_mask_is_told() {
        for value in ["***", "********", "•••••", "[MASKED]", "<redacted>", "[secure]", "https://x.example/***"]
        {
            assert!(said(value, Form::Secret).contains("mask"), "{value}");
        }
    }

    #[test]
    fn quotes_around_a_value_are_told() {
        for value in ["\"a\"", "'a'", "`a`", "“a”", "„a“", "‘a’", "’a’", "«a»", "»a«", "\"\"", "\\\"a\\\"", "'$(A)'"]
        {
            assert!(said(value, Form::Secret).contains("wrapped in quotes"), "{value}");
        }
    }

    #[test]
    fn an_invisible_character_is_named_wherever_it_stands() {
        for (c, name) in [
            ('\u{feff}', "a byte order mark (U+FEFF)"),
            ('\u{a0}', "a non-breaking space (U+00A0)"),
            ('\u{200b}', "one of no width (U+200B)"),
            ('\u{200d}', "one of no width (U+200D)"),
            ('\u{2009}', "an odd space (U+2009)"),
            ('\u{3000}', "an odd space (U+3000)"),
            ('\u{ad}', "one that is not drawn (U+00AD)"),
            ('\u{202e}', "one that is not drawn (U+202E)"),
            ('\u{1b}', "a control character (U+001B)"),
            ('\t', "a control character (U+0009)"),
            ('\n', "a line break (U+000A)"),
        ] {
            for (place, value) in [(1, format!("{c}ab")), (2, format!("a{c}b")), (3, format!("ab{c}"))] {
                let said = said(&value, Form::Secret);
                assert!(
                    said.contains(name) && said.contains(&format!("character {place} of its 3")),
                    "{value:?}: {said}"
                );
            }
        }
    }

    #[test]
    fn a_list_may_have_lines_and_nothing_else_may() {
        assert_eq!(fault("{\r\n\t\"include\": {}\n}", Form::Lines), None);
        assert!(said("{\n\"a\u{a0}\": 1}", Form::Lines).contains("in JSON write it as an escape"));
        assert!(said("a\nb", Form::Plain).contains("a line break"));
    }

    #[test]
    fn a_secret_may_hold_any_visible_text() {
        for value in [
            "$ecret", "$aB3xYz", "$", "$1", "$5.00", "a$(b)c", "$(a)$(b)", "$A$B", "${a}b", "\"a", "a\"b\"", "'", "\"",
            "a'b", "**", "ab***", "a/$B/c", "%41", "%a b%", "<", "<>", "<a><b>", "__", "____", "x y", "größe", "日本",
            "🔑", "{}", "[x]", "#{", "{{}", "~8Q~", "a=b&c", "@a@",
        ] {
            assert_eq!(fault(value, Form::Secret), None, "{value}");
        }
    }

    #[test]
    fn a_path_or_url_has_no_placeholder_as_a_part() {
        for value in [
            "$HOME/checkpoint.redb",
            "$(Pipeline.Workspace)/checkpoint.redb",
            "${RUNNER_TEMP}/x",
            "%TEMP%\\x.redb",
            "https://ingest.example/$(KEY)",
            "https://ingest.example/${{ secrets.KEY }}",
            "https://ingest.example/<webhook-key>?a=b",
        ] {
            assert!(said(value, Form::Plain).contains("placeholder"), "{value}");
        }
        assert!(said("https://ingest.example/$KEY", Form::Secret).contains("placeholder"));
        for value in ["/data/$x.y z/f", "C:\\a\\b", "https://a.example/%41%42?x=$", "a%20b", "/tmp/__a"] {
            assert_eq!(fault(value, Form::Plain), None, "{value}");
        }
    }
}
