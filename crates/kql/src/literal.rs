//! Parses single literals: string escapes, timespans, datetimes, and typed literals such as `long(null)`.

use jiff::{Timestamp, civil, tz::TimeZone};

use super::kind::Kind;
use super::value::Value;

/// The character for an escape, and the escape's length in characters. `text` starts after the backslash.
pub(crate) fn escape(text: &str) -> Option<(char, usize)> {
    let c = text.chars().next()?;
    let plain = match c {
        '\\' | '\'' | '"' => c,
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        'x' => return code(text, 2),
        'U' => return code(text, 8),
        'u' => return code(text, 4).or_else(|| surrogates(text)),
        '0'..='7' => return octal(text),
        _ => return None,
    };
    Some((plain, 1))
}

fn hex(text: &str, from: usize, digits: usize) -> Option<u32> {
    let digits = text.get(from..from + digits)?;
    // `from_str_radix` would accept a sign.
    let all_hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
    all_hex.then(|| u32::from_str_radix(digits, 16).ok())?
}

fn code(text: &str, digits: usize) -> Option<(char, usize)> {
    Some((char::from_u32(hex(text, 1, digits)?)?, 1 + digits))
}

/// `\ud83d\ude00`: Kusto's strings are UTF-16 internally, so two escapes can form one character.
fn surrogates(text: &str) -> Option<(char, usize)> {
    let high = u16::try_from(hex(text, 1, 4)?).ok()?;
    text.get(5..).filter(|rest| rest.starts_with("\\u"))?;
    let low = u16::try_from(hex(text, 7, 4)?).ok()?;
    let c = char::decode_utf16([high, low]).next()?.ok()?;
    Some((c, 11))
}

/// One to three octal digits, up to `\377`.
fn octal(text: &str) -> Option<(char, usize)> {
    let longest = if text.starts_with(|c| c <= '3') { 3 } else { 2 };
    let digits = text.bytes().take(longest).take_while(|b| (b'0'..=b'7').contains(b)).count();
    let value = u8::from_str_radix(text.get(..digits)?, 8).ok()?;
    Some((char::from(value), digits))
}

/// Converts a number with a unit to milliseconds, truncated.
pub(crate) fn timespan(number: &str, unit: &str) -> Option<i64> {
    let milliseconds = match unit {
        "d" | "day" | "days" => 86_400_000.0,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3_600_000.0,
        "m" | "min" | "minute" | "minutes" => 60_000.0,
        "s" | "sec" | "second" | "seconds" => 1_000.0,
        "ms" | "milli" | "millis" | "millisec" | "millisecond" | "milliseconds" => 1.0,
        "micro" | "micros" | "microsec" | "microsecond" | "microseconds" => 1e-3,
        "tick" | "ticks" => 1e-4,
        "nano" | "nanos" | "nanosec" | "nanosecond" | "nanoseconds" => 1e-6,
        _ => return None,
    };
    Some((number.parse::<f64>().ok()? * milliseconds) as i64)
}

/// A datetime in milliseconds since the epoch. Text without an offset is UTC.
pub(crate) fn datetime(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Some(instant.as_millisecond());
    }
    let local = text.parse::<civil::DateTime>().ok()?;
    Some(local.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond())
}

/// The value of a literal such as `datetime(2026-01-02)` or `long(null)`; `None` if it is invalid.
pub(crate) fn typed(name: &str, inner: &str) -> Option<(Kind, Value)> {
    let kind = match name {
        "bool" | "boolean" => Kind::Bool,
        "date" | "datetime" => Kind::DateTime,
        "int" | "long" => Kind::Long,
        "double" | "real" => Kind::Real,
        "time" | "timespan" => Kind::Timespan,
        _ => return None,
    };
    if inner == "null" {
        return Some((kind, Value::Null));
    }
    let inner = inner.trim_matches(['\'', '"']);
    let value = match kind {
        Kind::Bool => Value::Bool(boolean(inner)?),
        Kind::DateTime => Value::DateTime(datetime(inner)?),
        Kind::Long => Value::Long(inner.parse().ok()?),
        Kind::Real => Value::Real(inner.parse().ok()?),
        _ => {
            let number = inner.trim_end_matches(|c: char| c.is_ascii_alphabetic());
            Value::Long(timespan(number, &inner[number.len()..])?)
        }
    };
    Some((kind, value))
}

/// `true` and `false` in any case, and numbers, as `tobool` reads them.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        return Some(true);
    }
    if text.eq_ignore_ascii_case("false") {
        return Some(false);
    }
    text.parse::<i64>().ok().map(|number| number != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_in_time_are_utc_unless_they_say_otherwise() {
        let noon = Some(1_767_355_200_000);
        assert_eq!(datetime("2026-01-02T12:00:00Z"), noon);
        assert_eq!(datetime("2026-01-02 12:00"), noon);
        assert_eq!(datetime("2026-01-02T14:00:00+02:00"), noon);
        assert_eq!(datetime("2026-01-02"), Some(1_767_312_000_000));
        assert_eq!(datetime("yesterday"), None);
    }

    #[test]
    fn fractions_of_a_second_are_kept_to_the_millisecond() {
        assert_eq!(datetime("1970-01-01T00:00:00.6789999Z"), Some(678));
        assert_eq!(datetime("1970-01-01T00:00:00.6Z"), Some(600));
    }

    #[test]
    fn a_surrogate_pair_of_escapes_is_one_character_and_half_of_one_is_none() {
        assert_eq!(escape("ud83d\\ude00"), Some(('😀', 11)));
        assert_eq!(escape("ud83d"), None);
        assert_eq!(escape("u+0e9"), None);
    }

    #[test]
    fn octal_escapes_stop_at_a_byte() {
        assert_eq!(escape("377"), Some(('ÿ', 3)));
        assert_eq!(escape("477"), Some(('\'', 2)));
        assert_eq!(escape("08"), Some(('\0', 1)));
    }
}
