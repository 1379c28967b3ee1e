//! What a directory consists of: ids, kinds of objects with their properties, and property values.
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::rng::Rng;

/// An object id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id([u8; 16]);

impl Id {
    pub(crate) fn random(rng: &mut Rng) -> Self {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&rng.next().to_be_bytes());
        bytes[8..].copy_from_slice(&rng.next().to_be_bytes());
        Self(bytes)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [b'-'; 36];
        let places = (0..36).filter(|place| ![8, 13, 18, 23].contains(place));
        let digits = self.0.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        for (place, digit) in places.zip(digits) {
            text[place] = b"0123456789abcdef"[usize::from(digit)];
        }
        f.write_str(str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for Id {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        if text.len() != 36 || digits.len() != 32 {
            return Err(());
        }
        u128::from_str_radix(&digits, 16).map(|id| Self(id.to_be_bytes())).map_err(|_| ())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    User,
    Group,
    Application,
    ServicePrincipal,
    /// Only exists as a member of groups.
    Device,
    OrgContact,
}

impl Kind {
    pub const ALL: [Self; 6] =
        [Self::User, Self::Group, Self::Application, Self::ServicePrincipal, Self::Device, Self::OrgContact];
    /// The kinds that have delta queries.
    pub const TRACKED: [Self; 4] = [Self::User, Self::Group, Self::Application, Self::ServicePrincipal];

    /// The type's name, as in `#microsoft.graph.user`.
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Group => "group",
            Self::Application => "application",
            Self::ServicePrincipal => "servicePrincipal",
            Self::Device => "device",
            Self::OrgContact => "orgContact",
        }
    }

    /// Its path segment.
    pub fn segment(self) -> &'static str {
        match self {
            Self::User => "users",
            Self::Group => "groups",
            Self::Application => "applications",
            Self::ServicePrincipal => "servicePrincipals",
            Self::Device => "devices",
            Self::OrgContact => "contacts",
        }
    }

    /// The blueprint in Port's own guide, for kinds with delta queries.
    pub fn blueprint(self) -> &'static str {
        match self {
            Self::User => "entra-id-user",
            Self::Group => "entra-id-group",
            Self::Application => "entra-id-application",
            Self::ServicePrincipal => "entra-id-service-principal",
            Self::Device | Self::OrgContact => "",
        }
    }

    pub(crate) fn properties(self) -> &'static [Property] {
        match self {
            Self::User => &USER,
            Self::Group => &GROUP,
            Self::Application => &APPLICATION,
            Self::ServicePrincipal => &SERVICE_PRINCIPAL,
            Self::Device | Self::OrgContact => &USER[1..2],
        }
    }

    /// The index of a property among the values.
    pub(crate) fn place(self, name: &str) -> Option<usize> {
        self.properties().iter().position(|property| property.name == name)
    }
}

pub(crate) struct Property {
    pub name: &'static str,
    /// Whether it is returned without being selected.
    pub is_default: bool,
}

const fn default(name: &'static str) -> Property {
    Property { name, is_default: true }
}

const fn selected(name: &'static str) -> Property {
    Property { name, is_default: false }
}

const USER: [Property; 11] = [
    default("userPrincipalName"),
    default("displayName"),
    default("givenName"),
    default("surname"),
    default("mail"),
    default("jobTitle"),
    default("officeLocation"),
    selected("department"),
    selected("accountEnabled"),
    selected("createdDateTime"),
    selected("userType"),
];
const GROUP: [Property; 8] = [
    default("displayName"),
    default("description"),
    default("groupTypes"),
    default("mailEnabled"),
    default("securityEnabled"),
    default("createdDateTime"),
    default("visibility"),
    default("onPremisesSyncEnabled"),
];
const APPLICATION: [Property; 5] = [
    default("displayName"),
    default("appId"),
    default("publisherDomain"),
    default("signInAudience"),
    default("createdDateTime"),
];
const SERVICE_PRINCIPAL: [Property; 7] = [
    default("displayName"),
    default("appId"),
    default("appOwnerOrganizationId"),
    default("accountEnabled"),
    default("appRoleAssignmentRequired"),
    default("servicePrincipalType"),
    selected("createdDateTime"),
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// It never had a value.
    Unset,
    /// It had a value once.
    Cleared,
    Bool(bool),
    Text(Arc<str>),
    /// Milliseconds since the epoch.
    Time(i64),
    Types(GroupTypes),
}

impl Value {
    pub(crate) fn is_unset(&self) -> bool {
        *self == Self::Unset
    }

    pub(crate) fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<Arc<str>> for Value {
    fn from(text: Arc<str>) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Value {
    fn from(is: bool) -> Self {
        Self::Bool(is)
    }
}

/// The contents of `groupTypes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupTypes {
    pub unified: bool,
    pub dynamic: bool,
}

impl GroupTypes {
    pub(crate) fn names(self) -> impl Iterator<Item = &'static str> {
        [("Unified", self.unified), ("DynamicMembership", self.dynamic)]
            .into_iter()
            .filter_map(|(name, is)| is.then_some(name))
    }
}

/// The kind of group, which determines whether it can be restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupKind {
    Security,
    Microsoft365,
    /// Synced from on premises.
    Synced,
    Distribution,
    MailSecurity,
}

impl GroupKind {
    pub(crate) const ALL: [Self; 5] =
        [Self::Security, Self::Microsoft365, Self::Synced, Self::Distribution, Self::MailSecurity];
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    Alive,
    /// Can be restored; deleted at this time.
    Deleted(i64),
    Gone,
}

#[derive(Debug)]
pub(crate) struct Object {
    pub id: Id,
    pub kind: Kind,
    pub group_kind: GroupKind,
    pub life: Life,
    /// In the order of the kind's properties.
    pub values: Box<[Value]>,
    /// The position of the last change; 0 if there was none.
    pub last: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written() {
        let id = Id::random(&mut Rng::new(1));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.to_string().len(), 36);
        assert!("not an id".parse::<Id>().is_err());
        assert!("g0000000-0000-0000-0000-000000000000".parse::<Id>().is_err());
    }
}
