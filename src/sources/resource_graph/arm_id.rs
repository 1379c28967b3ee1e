//! The id of an ARM resource, taken apart once: subscription, resource group, type.
//!
//! "Resource ID" in the Azure Resource Manager docs:
//! `/subscriptions/{guid}[/resourceGroups/{name}][/providers/{namespace}/{type}/{name}[/{type}/{name}…]]`, where a
//! further `/providers/…` after a resource is an extension of it.

use std::borrow::Cow;

use crate::id::lower;
use crate::model::{Id, Stage};

pub(super) const SUBSCRIPTION_TYPE: &str = "microsoft.resources/subscriptions";

const SUBSCRIPTIONS: &str = "subscriptions";
const GROUPS: &str = "resourcegroups";
const PROVIDERS: &str = "providers";

/// The provider of everything that names no other.
const RESOURCES: &str = "microsoft.resources";

/// An id in any case, with its parts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ArmId<'a> {
    text: &'a str,
    subscription: &'a str,
    group: Option<&'a str>,
}

impl<'a> ArmId<'a> {
    /// `None` unless the text begins with `/subscriptions/` and has something after it: otherwise it is a management
    /// group, or a resource of the tenant itself. A trailing slash is part of the text, as it is to KQL.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let mut words = text.split('/');
        if !words.next()?.is_empty() || !words.next()?.eq_ignore_ascii_case(SUBSCRIPTIONS) {
            return None;
        }
        let subscription = words.next().filter(|word| !word.is_empty())?;
        let group = match words.next() {
            Some(word) if word.eq_ignore_ascii_case(GROUPS) => words.next().filter(|word| !word.is_empty()),
            _ => None,
        };
        Some(Self { text, subscription, group })
    }

    /// The subscription's GUID.
    pub(crate) fn subscription(&self) -> &'a str {
        self.subscription
    }

    /// The name of the resource group; `None` for a subscription, and for what is directly in one.
    pub(crate) fn group(&self) -> Option<&'a str> {
        self.group
    }

    /// The type in lower case: `namespace/type`, including the types of its parents; for an extension, only its own
    /// types.
    pub(crate) fn kind(&self) -> String {
        let mut kind = RESOURCES.to_owned();
        let mut words = self.text.split('/').skip(1).filter(|word| !word.is_empty());
        // Types and names alternate, so that a name may be anything, even "providers".
        while let Some(word) = words.next() {
            if word.eq_ignore_ascii_case(PROVIDERS) {
                kind = words.next().map(lower).unwrap_or_default();
            } else {
                kind.push('/');
                kind += &lower(word);
                words.next();
            }
        }
        kind
    }

    fn shard_end(&self) -> usize {
        1 + SUBSCRIPTIONS.len() + 1 + self.subscription.len()
    }

    fn container_end(&self) -> usize {
        self.group.map_or(self.shard_end(), |group| self.shard_end() + 1 + GROUPS.len() + 1 + group.len())
    }
}

/// The id of a resource, a group or a subscription from its ARM id in any case, in lower case as by KQL's `tolower`.
/// `None` if it is in no subscription, or too long.
pub(crate) fn id_of(text: &str) -> Option<Id> {
    let is_lower = !text.bytes().any(|byte| byte.is_ascii_uppercase() || !byte.is_ascii());
    let text = if is_lower { Cow::Borrowed(text) } else { Cow::Owned(lower(text)) };
    let arm = ArmId::parse(&text)?;
    Id::new(&*text, arm.shard_end(), arm.container_end())
}

/// The id as Azure writes it, in lower case: what is in the tenant is [under](crate::id::under) a subscription here.
pub(super) fn text_of(id: &Id) -> &str {
    let rest = id.as_str().get(id.shard_end()..).unwrap_or_default();
    rest.strip_prefix('/').filter(|rest| rest.starts_with("/providers/")).unwrap_or(id.as_str())
}

/// The name of a stage in an envelope.
pub(super) fn label_of(stage: Stage) -> &'static str {
    match stage {
        Stage::Leaf => "resource",
        Stage::Root | Stage::Container => "resourceContainer",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::under;
    use crate::model::Stage;

    fn is_divided(text: &str, shard: &str, container: &str, stage: Stage) {
        let id = id_of(text).unwrap();
        assert_eq!((id.shard(), id.container(), id.stage()), (shard, container, stage), "{text}");
    }

    #[test]
    fn an_id_is_a_subscription_a_group_and_a_resource() {
        let group = "/subscriptions/s/resourcegroups/my group";
        is_divided("/subscriptions/S", "/subscriptions/s", "/subscriptions/s", Stage::Root);
        for text in ["/subscriptions/S/resourceGroups/My Group", "/SUBSCRIPTIONS/s/RESOURCEGROUPS/MY GROUP"] {
            is_divided(text, "/subscriptions/s", group, Stage::Container);
            let resource = format!("{text}/providers/A.B/c/D");
            is_divided(&resource, "/subscriptions/s", group, Stage::Leaf);
            let arm = ArmId::parse(&resource).unwrap();
            assert_eq!((lower(arm.subscription()), arm.group().map(lower)), ("s".into(), Some("my group".into())));
        }
    }

    #[test]
    fn what_is_nested_or_extends_belongs_to_the_group_in_its_path() {
        let group = "/subscriptions/s/resourcegroups/g";
        let nested = format!("{group}/providers/Microsoft.Sql/servers/x/databases/y");
        let extension = format!("{group}/providers/a.b/c/d/providers/Microsoft.Insights/diagnosticSettings/e");
        for id in [&nested, &extension] {
            is_divided(id, "/subscriptions/s", group, Stage::Leaf);
        }
        assert_eq!(ArmId::parse(&nested).unwrap().kind(), "microsoft.sql/servers/databases");
        assert_eq!(ArmId::parse(&extension).unwrap().kind(), "microsoft.insights/diagnosticsettings");
    }

    #[test]
    fn what_is_directly_in_a_subscription_has_no_container() {
        let text = "/subscriptions/s/providers/Microsoft.Security/pricings/x";
        is_divided(text, "/subscriptions/s", "/subscriptions/s", Stage::Leaf);
        assert_eq!(ArmId::parse(text).unwrap().kind(), "microsoft.security/pricings");
        assert_eq!(id_of(text).unwrap().parent().unwrap().as_str(), "/subscriptions/s");
    }

    #[test]
    fn names_may_be_the_words_of_the_path() {
        let group = "/subscriptions/s/resourcegroups/providers";
        is_divided(group, "/subscriptions/s", group, Stage::Container);
        assert_eq!(ArmId::parse(group).unwrap().kind(), "microsoft.resources/subscriptions/resourcegroups");
        let resource = format!("{group}/providers/a.b/c/providers/d/e");
        is_divided(&resource, "/subscriptions/s", group, Stage::Leaf);
        assert_eq!(ArmId::parse(&resource).unwrap().kind(), "a.b/c/d");
        let twice = "/subscriptions/s/resourcegroups/resourcegroups";
        is_divided(twice, "/subscriptions/s", twice, Stage::Container);
        let named = "/subscriptions/resourcegroups/resourcegroups/g";
        is_divided(named, "/subscriptions/resourcegroups", named, Stage::Container);
    }

    #[test]
    fn case_is_lowered_as_kql_lowers_it_and_parts_end_between_characters() {
        // Ⱥ is longer in lower case, and the lower case of İ is two characters.
        let id = id_of("/subscriptions/ΣΑΣ/resourceGroups/ȺÜİ/providers/a.b/c/ΟΔΟΣ").unwrap();
        assert_eq!(id.as_str(), "/subscriptions/σασ/resourcegroups/ⱥüİ/providers/a.b/c/οδοσ");
        assert_eq!((id.shard(), id.container()), ("/subscriptions/σασ", "/subscriptions/σασ/resourcegroups/ⱥüİ"));
    }

    #[test]
    fn a_slash_at_the_end_is_part_of_the_text() {
        let group = "/subscriptions/s/resourcegroups/g";
        is_divided(&format!("{group}/"), "/subscriptions/s", group, Stage::Leaf);
        is_divided("/subscriptions/s/", "/subscriptions/s", "/subscriptions/s", Stage::Leaf);
        is_divided("/subscriptions/s/resourcegroups/", "/subscriptions/s", "/subscriptions/s", Stage::Leaf);
    }

    #[test]
    fn what_is_in_the_tenant_is_under_the_subscription_that_it_names_and_is_called_as_azure_calls_it() {
        let text = "/providers/a.b/c/d";
        let tenant = id_of(&under("S", text).unwrap()).unwrap();
        assert_eq!(
            (tenant.shard(), tenant.container(), tenant.stage()),
            ("/subscriptions/s", "/subscriptions/s", Stage::Leaf)
        );
        assert_eq!((text_of(&tenant), ArmId::parse(tenant.as_str()).unwrap().kind()), (text, "a.b/c".into()));
        let own = id_of("/subscriptions/s/providers/a.b/c/d").unwrap();
        assert_eq!(text_of(&own), own.as_str());
        assert_ne!(own, tenant);
    }

    #[test]
    fn what_is_in_no_subscription_has_no_id() {
        let management = "/providers/Microsoft.Management/managementGroups/m";
        for text in
            ["", "/", "x", "subscriptions/s", "/subscriptions", "/subscriptions/", "/subscriptions//x", management]
        {
            assert!(id_of(text).is_none(), "{text}");
        }
    }
}
