//! The kinds of directory objects that are read: their names, and what to request for each.

use crate::config::EntraKind;
use crate::id::is_guid;
use crate::model::Id;

/// What to request of an object, besides `id`: "user resource type" and the like, Microsoft Graph v1.0 reference.
/// Without a list, Graph leaves out properties such as `accountEnabled`.
const USER: &[&str] = &[
    "userPrincipalName",
    "displayName",
    "givenName",
    "surname",
    "mail",
    "jobTitle",
    "department",
    "officeLocation",
    "accountEnabled",
    "createdDateTime",
    "userType",
];
const GROUP: &[&str] =
    &["displayName", "description", "groupTypes", "mailEnabled", "securityEnabled", "createdDateTime", "visibility"];
const APPLICATION: &[&str] = &["displayName", "appId", "publisherDomain", "signInAudience", "createdDateTime"];
const SERVICE_PRINCIPAL: &[&str] = &[
    "displayName",
    "appId",
    "appOwnerOrganizationId",
    "accountEnabled",
    "appRoleAssignmentRequired",
    "servicePrincipalType",
    "createdDateTime",
];

/// Properties that Graph may lack or be unable to select, and that no blueprint requires.
const OPTIONAL: &[&str] = &["createdDateTime"];

impl EntraKind {
    /// Kinds that are read separately for users.
    pub(super) const APART: [Self; 2] = [Self::SignIn, Self::Membership];

    /// Its name in shards and, for a list, in paths.
    pub(super) fn segment(self) -> &'static str {
        match self {
            Self::User => "users",
            Self::Group => "groups",
            Self::Application => "applications",
            Self::ServicePrincipal => "servicePrincipals",
            Self::SignIn => "signIns",
            Self::Membership => "memberships",
        }
    }

    /// The list whose delta reports it.
    pub(super) fn list(self) -> &'static str {
        match self {
            Self::Membership => Self::Group.segment(),
            kind => kind.segment(),
        }
    }

    /// The properties to request of each object.
    pub(super) fn properties(self) -> &'static [&'static str] {
        match self {
            Self::User => USER,
            Self::Group => GROUP,
            Self::Application => APPLICATION,
            Self::ServicePrincipal => SERVICE_PRINCIPAL,
            Self::SignIn | Self::Membership => &[],
        }
    }

    /// Whether it can be read without a property that Graph refuses by name.
    pub(super) fn can_do_without(self, property: &str) -> bool {
        OPTIONAL.contains(&property) || !self.properties().contains(&property)
    }

    /// The property whose presence shows that an object is complete.
    pub(super) fn essential(self) -> &'static str {
        match self {
            Self::User => "userPrincipalName",
            Self::Group => "securityEnabled",
            Self::Application | Self::ServicePrincipal => "appId",
            Self::SignIn | Self::Membership => "id",
        }
    }

    /// The roles, one of which is needed: "Permissions", Microsoft Graph v1.0 reference.
    pub(crate) fn role(self) -> &'static str {
        match self {
            Self::User => "User.Read.All",
            Self::Group => "GroupMember.Read.All",
            Self::Application | Self::ServicePrincipal => "Application.Read.All",
            Self::SignIn => "AuditLog.Read.All",
            Self::Membership => "Directory.Read.All",
        }
    }

    /// The shard of its objects.
    pub(crate) fn shard(self) -> Option<Id> {
        let name = self.segment().to_lowercase();
        Id::new(name.as_str(), name.len(), name.len())
    }

    /// The id of an object: its kind and its GUID.
    pub(super) fn id(self, guid: &str) -> Option<Id> {
        let shard = self.segment().len();
        Id::new(format!("{}/{guid}", self.segment()).to_lowercase(), shard, shard)
    }

    fn by_segment(segment: &str) -> Option<Self> {
        Self::ALL.into_iter().chain(Self::APART).find(|kind| kind.segment().eq_ignore_ascii_case(segment))
    }

    /// The kind of a shard, or of an id in it.
    pub(crate) fn of(id: &Id) -> Option<Self> {
        Self::by_segment(id.shard())
    }
}

/// The id of an object given as `users/GUID`.
pub(crate) fn id_of(text: &str) -> Option<Id> {
    let (segment, guid) = text.split_once('/')?;
    let kind = EntraKind::by_segment(segment)?;
    if is_guid(guid) { kind.id(guid) } else { None }
}

/// The GUID in the id of an object.
pub(super) fn guid(id: &Id) -> &str {
    id.as_str().get(id.shard_end() + 1..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Stage;

    #[test]
    fn an_object_is_a_leaf_of_its_kind() {
        for kind in EntraKind::ALL {
            let id = kind.id("AB-1").unwrap();
            assert_eq!((id.stage(), guid(&id), EntraKind::of(&id)), (Stage::Leaf, "ab-1", Some(kind)));
            assert_eq!(id.root(), kind.shard().unwrap());
            assert!(kind.properties().contains(&kind.essential()));
        }
    }
}
