//! A directory object as an answer shows it, and the row made of it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::config::{Entra, EntraKind, EntraUsers};
use crate::id::is_guid;
use crate::model::Scope;

/// The tenants of Microsoft's own service principals; every tenant has hundreds of those.
const MICROSOFT: [&str; 2] = ["f8cdef31-a31e-4b4a-93e4-5f571e91255a", "72f988bf-86f1-41af-91ab-2d7cd011db47"];

/// The property in which a delta reports members.
const MEMBERS: &str = "members@delta";

/// The type of members that are users.
const USER: &str = "#microsoft.graph.user";

/// An object on a page, with its values as they came.
pub(super) struct Object<'a> {
    guid: String,
    life: Life,
    members: Vec<Member<'a>>,
    fields: BTreeMap<&'a str, &'a RawValue>,
    whole: &'a RawValue,
}

#[derive(Deserialize)]
struct Removed<'a> {
    #[serde(borrow, default)]
    reason: Cow<'a, str>,
}

/// A member, or one that has left.
#[derive(Deserialize)]
pub(super) struct Member<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow, rename = "@odata.type", default)]
    kind: Cow<'a, str>,
    #[serde(borrow, rename = "@removed", default)]
    removed: Option<Removed<'a>>,
    #[serde(borrow, rename = "userType", default)]
    user_type: Option<Cow<'a, str>>,
    #[serde(rename = "accountEnabled", default)]
    account_enabled: Option<bool>,
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Life {
    There,
    /// Deleted, and restorable for 30 days.
    Deleted,
    /// Gone for good.
    Purged,
}

impl<'a> Object<'a> {
    /// `None` if it is not an object.
    pub(super) fn parse(item: &'a RawValue) -> Option<Self> {
        let fields: BTreeMap<&str, &RawValue> = serde_json::from_str(item.get()).ok()?;
        let guid: String = serde_json::from_str(fields.get("id")?.get()).ok()?;
        let guid = Some(guid.to_lowercase()).filter(|guid| is_guid(guid))?;
        let life = match fields.get("@removed") {
            None => Life::There,
            Some(removed) => match serde_json::from_str::<Removed<'_>>(removed.get()).ok()?.reason.as_ref() {
                "changed" => Life::Deleted,
                _ => Life::Purged,
            },
        };
        let members = fields.get(MEMBERS).map_or(Ok(Vec::new()), |members| serde_json::from_str(members.get()));
        Some(Self { guid, life, members: members.ok()?, fields, whole: item })
    }

    pub(super) fn guid(&self) -> &str {
        &self.guid
    }

    pub(super) fn life(&self) -> Life {
        self.life
    }

    pub(super) fn members(&self) -> &[Member<'a>] {
        &self.members
    }

    /// The object as it came, without its members, which may be very many.
    pub(super) fn to_raw(&self) -> Box<RawValue> {
        let fields = self.fields.iter().filter(|(name, _)| **name != MEMBERS);
        let fields: BTreeMap<&str, &RawValue> = fields.map(|(name, value)| (*name, *value)).collect();
        serde_json::value::to_raw_value(&fields).unwrap_or_else(|_| self.whole.to_owned())
    }

    /// Whether its properties came, rather than only members or less than was requested.
    pub(super) fn is_whole(&self, kind: EntraKind) -> bool {
        self.raw(kind.essential()).is_some()
    }

    /// A hash of what it says about itself, without members.
    pub(super) fn content(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.life().hash(&mut hasher);
        for (name, value) in self.fields.iter().filter(|(name, _)| !name.contains('@')) {
            (name, value.get()).hash(&mut hasher);
        }
        hasher.finish()
    }

    fn raw(&self, name: &str) -> Option<&'a RawValue> {
        self.fields.get(name).copied()
    }

    fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        serde_json::from_str(self.raw(name)?.get()).ok()
    }

    /// Whether it hides its members.
    pub(super) fn is_hidden(&self) -> bool {
        self.text("visibility").is_some_and(|visibility| visibility.eq_ignore_ascii_case("HiddenMembership"))
    }

    /// Whether it is wanted. Graph cannot filter by what a delta tracks.
    pub(super) fn scope(&self, kind: EntraKind, entra: &Entra) -> Scope {
        let is_in = match kind {
            EntraKind::User => {
                let is_enabled = self.raw("accountEnabled").and_then(|raw| serde_json::from_str(raw.get()).ok());
                is_wanted(entra.users, self.text("userType").as_deref(), is_enabled)
            }
            EntraKind::ServicePrincipal if entra.own_service_principals => {
                let owner = self.text("appOwnerOrganizationId");
                !owner.is_some_and(|owner| MICROSOFT.contains(&owner.to_lowercase().as_str()))
            }
            EntraKind::ServicePrincipal
            | EntraKind::Group
            | EntraKind::Application
            | EntraKind::SignIn
            | EntraKind::Membership => true,
        };
        if is_in { Scope::In } else { Scope::Out }
    }

    /// The row: all properties in a fixed order, null if never set. An empty address is null, too, as Port does not
    /// accept it.
    pub(super) fn row(&self, properties: &[&str], members: Option<&Value>) -> Bytes {
        let guid = self.guid();
        let mut row = format!("{{\"id\":{}", json!(guid));
        for name in properties {
            let value = self.raw(name).map_or("null", RawValue::get);
            let is_empty = *name == "mail" && value == "\"\"";
            let value = if is_empty { "null" } else { value };
            // Blueprints require a name, which not every object has.
            if *name == "displayName" && matches!(value, "null" | "\"\"") {
                let name = self.text("appId").map_or_else(|| guid.to_owned(), Cow::into_owned);
                row += &format!(",\"displayName\":{}", json!(name));
            } else {
                row += &format!(",\"{name}\":{value}");
            }
        }
        if let Some(members) = members {
            row += &format!(",\"members\":{members}");
        }
        row.push('}');
        row.into()
    }
}

impl Member<'_> {
    pub(super) fn guid(&self) -> String {
        self.id.to_lowercase()
    }

    pub(super) fn is_user(&self) -> bool {
        self.kind == USER
    }

    pub(super) fn kind(&self) -> &str {
        self.kind.strip_prefix("#microsoft.graph.").unwrap_or(&self.kind)
    }

    pub(super) fn has_left(&self) -> bool {
        self.removed.is_some()
    }

    /// Whether it is a user that is wanted. What may not be read of it counts as wanted.
    pub(super) fn is_in(&self, entra: &Entra) -> bool {
        self.is_user() && is_wanted(entra.users, self.user_type.as_deref(), self.account_enabled)
    }
}

/// Whether a user is wanted. What is not known of it counts as wanted.
fn is_wanted(users: EntraUsers, user_type: Option<&str>, is_enabled: Option<bool>) -> bool {
    let is_guest = user_type.is_some_and(|kind| kind.eq_ignore_ascii_case("Guest"));
    let is_disabled = is_enabled == Some(false);
    !(users.members && is_guest || users.enabled && is_disabled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    const ADA: &str = r#"{"id":"0000000A-0000-0000-0000-000000000001","userPrincipalName":"ada@x.example","displayName":null,
        "mail":"","userType":"Guest","accountEnabled":false}"#;

    #[test]
    fn a_row_has_every_property_and_null_for_what_was_never_set() {
        let item = raw(ADA);
        let object = Object::parse(&item).unwrap();
        let row: Value = serde_json::from_slice(&object.row(EntraKind::User.properties(), None)).unwrap();
        assert_eq!(row["id"], "0000000a-0000-0000-0000-000000000001");
        assert_eq!(row["displayName"], row["id"], "a blueprint requires a name");
        assert!(row["mail"].is_null() && row["department"].is_null(), "{row}");
        assert_eq!(row.as_object().unwrap().len(), 1 + EntraKind::User.properties().len());
        assert!(!row.as_object().unwrap().contains_key("members"));
        let members = json!(["a"]);
        let row: Value = serde_json::from_slice(&object.row(EntraKind::Group.properties(), Some(&members))).unwrap();
        assert_eq!(row["members"], json!(["a"]));
    }

    #[test]
    fn filters_decide_over_users_and_members_alike() {
        let item = raw(ADA);
        let object = Object::parse(&item).unwrap();
        for (members, enabled, scope) in
            [(false, false, Scope::In), (true, false, Scope::Out), (false, true, Scope::Out)]
        {
            let entra = Entra { users: EntraUsers { members, enabled }, ..Entra::default() };
            assert_eq!(object.scope(EntraKind::User, &entra), scope);
            let text = ADA.replace("\"id\"", "\"@odata.type\":\"#microsoft.graph.user\",\"id\"");
            let member: Member<'_> = serde_json::from_str(&text).unwrap();
            assert_eq!(member.is_in(&entra), scope == Scope::In);
        }
    }

    #[test]
    fn what_is_removed_says_whether_it_may_come_back() {
        for (text, life) in [
            (r#""@removed":{"reason":"changed"}"#, Life::Deleted),
            (r#""@removed":{"reason":"deleted"}"#, Life::Purged),
            (r#""displayName":"x""#, Life::There),
        ] {
            let item = raw(&format!(r#"{{"id":"00000000-0000-0000-0000-000000000001",{text}}}"#));
            assert_eq!(Object::parse(&item).unwrap().life(), life);
        }
        assert!(Object::parse(&raw(r#"{"id":"../users"}"#)).is_none(), "an id that is none goes into no path");
    }
}
