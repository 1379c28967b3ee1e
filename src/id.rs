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

/// The id of what is in the tenant, and of this subscription by its row, as the program has it: behind that of the subscription,
/// with an empty part between, which no other id has there.
pub(crate) fn under(subscription: &str, id: &str) -> Option<String> {
    let is_of_tenant = id.get(..PROVIDERS.len()).is_some_and(|start| start.eq_ignore_ascii_case(PROVIDERS));
    let is_named = !subscription.is_empty() && !subscription.contains('/');
    (is_of_tenant && is_named).then(|| format!("/subscriptions/{subscription}/{id}"))
}

/// How the id of what is in the tenant begins.
const PROVIDERS: &str = "/providers/";

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

    #[test]
    fn only_what_is_in_the_tenant_and_names_a_subscription_is_put_under_it() {
        assert_eq!(under("s", "/Providers/a.b/c/d").as_deref(), Some("/subscriptions/s//Providers/a.b/c/d"));
        for (subscription, id) in [("", "/providers/a.b/c/d"), ("s/x", "/providers/a.b/c/d"), ("s", "/x"), ("s", "é")]
        {
            assert_eq!(under(subscription, id), None, "{subscription:?} {id}");
        }
    }
}
