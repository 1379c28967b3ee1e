//! Ids as Azure writes them: their case, and their form.

/// Lower case as KQL's `tolower` has it: character by character, one for one. Rust's own is context-dependent (a final
/// sigma) and may yield two for one (`İ`), which Resource Graph would never equal.
pub(crate) fn lower(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    text.chars()
        .map(|c| {
            let mut lowered = c.to_lowercase();
            match (lowered.next(), lowered.next()) {
                (Some(single), None) => single,
                _ => c,
            }
        })
        .collect()
}

/// A GUID with its hyphens, as Azure shows and takes it.
pub(crate) fn is_guid(text: &str) -> bool {
    text.len() == 36 && uuid::Uuid::try_parse(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lower_case_is_one_character_for_one() {
        assert_eq!(lower("ÄΣΑΣİ"), "äσασİ");
    }
}
