//! Azure ids: their case and form.

/// Lower case as in KQL's `tolower`: one character for one character. Rust's own is context-dependent (a final sigma)
/// and can return two characters for one (`İ`), which Resource Graph would never match.
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

/// The program's id for a resource at tenant level whose row names this subscription: the subscription's id, an empty
/// segment, then the id. No other id has an empty segment there.
pub(crate) fn under(subscription: &str, id: &str) -> Option<String> {
    let is_of_tenant = id.get(..PROVIDERS.len()).is_some_and(|start| start.eq_ignore_ascii_case(PROVIDERS));
    let is_named = !subscription.is_empty() && !subscription.contains('/');
    (is_of_tenant && is_named).then(|| format!("/subscriptions/{subscription}/{id}"))
}

/// The prefix of ids at tenant level.
const PROVIDERS: &str = "/providers/";

/// Whether this is a hyphenated GUID, the form that Azure uses.
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

    #[test]
    fn only_what_is_in_the_tenant_and_names_a_subscription_is_put_under_it() {
        assert_eq!(under("s", "/Providers/a.b/c/d").as_deref(), Some("/subscriptions/s//Providers/a.b/c/d"));
        for (subscription, id) in [("", "/providers/a.b/c/d"), ("s/x", "/providers/a.b/c/d"), ("s", "/x"), ("s", "é")]
        {
            assert_eq!(under(subscription, id), None, "{subscription:?} {id}");
        }
    }
}
