//! The identity of an Azure resource inside the program: a hash, small and of one size, whatever the id's length or case.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

/// The first 128 bits of the SHA-256 of a lower-case resource id.
///
/// Azure ids change case over time and between tables, so only the lower-case form is ever compared. The hash is the same
/// on every machine and in every version: a checkpoint may hold it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Id(u128);

/// Lower case as KQL's `tolower` has it: character by character, one for one. Rust's own is context-dependent (a final
/// sigma) and may yield two for one (`İ`), which Resource Graph would never equal.
pub(crate) fn lower(text: &str) -> String {
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

impl Id {
    /// Of an id in any case.
    pub(crate) fn of(resource_id: &str) -> Self {
        if resource_id.bytes().any(|b| b.is_ascii_uppercase() || !b.is_ascii()) {
            Self::hash(&[lower(resource_id).as_bytes()])
        } else {
            Self::hash(&[resource_id.as_bytes()])
        }
    }

    /// Of a resource group, from its subscription's id and its name.
    pub(crate) fn of_group(subscription_id: &str, group: &str) -> Self {
        Self::of(&format!("/subscriptions/{subscription_id}/resourcegroups/{group}"))
    }

    /// Of a subscription, from its id.
    pub(crate) fn of_subscription(subscription_id: &str) -> Self {
        Self::of(&format!("/subscriptions/{subscription_id}"))
    }

    /// Of any text, case and all.
    pub(crate) fn of_exactly(text: &str) -> Self {
        Self::hash(&[text.as_bytes()])
    }

    /// Of bytes in parts.
    pub(crate) fn hash(parts: &[&[u8]]) -> Self {
        let mut sha = Sha256::new();
        for part in parts {
            sha.update(part);
        }
        let digest = sha.finalize();
        Self(digest.iter().take(16).fold(0, |bits, byte| bits << 8 | u128::from(*byte)))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// 32 hexadecimal digits, as it is displayed.
impl FromStr for Id {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            u128::from_str_radix(text, 16).map(Self).map_err(|_| "not a hash")
        } else {
            Err("not a hash of 32 hexadecimal digits")
        }
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text: Cow<'de, str> = Cow::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
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

    #[test]
    fn ids_that_differ_in_case_only_are_one() {
        assert_eq!(
            Id::of("/subscriptions/A/resourceGroups/Ünïcode"),
            Id::of("/SUBSCRIPTIONS/a/resourcegroups/üNÏCODE")
        );
    }

    #[test]
    fn a_group_is_identified_as_its_id_is() {
        assert_eq!(Id::of_group("AB", "My Group"), Id::of("/subscriptions/ab/resourceGroups/my group"));
    }

    #[test]
    fn the_hash_is_the_one_that_checkpoints_hold() {
        assert_eq!(format!("{:?}", Id::of_subscription("0")), "a2b0422274ab275e0f62e3e240d19c3b");
    }
}
