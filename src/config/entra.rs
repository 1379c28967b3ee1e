//! Which parts of Entra ID are synced, and whether Azure's resources are.

use std::collections::{BTreeMap, BTreeSet};

use super::error::ConfigError;
use super::reader::{Environment, Reader};
use super::value::Form;
use crate::cli::Settings;
use crate::text::printable;

const KINDS: &str = "ENTRA_KINDS";
const USERS: &str = "ENTRA_USERS";

/// A kind of directory object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum EntraKind {
    /// A user, including guests.
    #[default]
    User,
    /// A security group or a Microsoft 365 group.
    Group,
    /// An application registration.
    Application,
    /// The instance of an application in this tenant.
    ServicePrincipal,
    /// When a user last signed in; sent separately from the user.
    SignIn,
    /// Which groups a user is in; sent separately from the user.
    Membership,
}

impl EntraKind {
    /// All kinds that can be configured. Kinds that others relate to come first.
    pub const ALL: [Self; 4] = [Self::User, Self::Application, Self::ServicePrincipal, Self::Group];

    /// The singular name, in Microsoft Graph and in envelopes.
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Group => "group",
            Self::Application => "application",
            Self::ServicePrincipal => "servicePrincipal",
            Self::SignIn => "userSignIn",
            Self::Membership => "userGroups",
        }
    }

    /// The name in `ENTRA_KINDS`.
    pub fn plural(self) -> &'static str {
        match self {
            Self::User => "users",
            Self::Group => "groups",
            Self::Application => "applications",
            Self::ServicePrincipal => "servicePrincipals",
            Self::SignIn => "sign-ins",
            Self::Membership => "memberships",
        }
    }
}

/// Which side of a membership lists it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EntraMembership {
    /// A group lists its members.
    #[default]
    Group,
    /// A user lists its groups.
    User,
    /// Both list it.
    Both,
    /// Neither does.
    None,
}

/// Which users to sync.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EntraUsers {
    /// Excludes guests.
    pub members: bool,
    /// Excludes disabled accounts.
    pub enabled: bool,
}

/// Which parts of Entra ID are synced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entra {
    /// If empty, nothing is synced.
    pub kinds: BTreeSet<EntraKind>,
    /// Which side of a membership lists it.
    pub membership: EntraMembership,
    /// Which users to sync.
    pub users: EntraUsers,
    /// Excludes Microsoft's own service principals.
    pub own_service_principals: bool,
    /// Syncs when users last signed in.
    pub sign_ins: bool,
    /// Sends even a mass of deletes of one kind.
    pub allow_mass_delete: bool,
    /// Additional properties that a mapping reads.
    pub more: BTreeMap<EntraKind, BTreeSet<String>>,
    /// The form of a member in a row.
    pub member: EntraMember,
}

/// The form of a group's member in its row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EntraMember {
    /// `"GUID"`, as a webhook's mapping needs it for a relation.
    #[default]
    Id,
    /// `{"id": "GUID"}`, as Microsoft Graph returns it.
    Object,
}

impl EntraMembership {
    /// Whether groups list their members.
    pub(crate) fn is_of_groups(self) -> bool {
        matches!(self, Self::Group | Self::Both)
    }

    /// Whether users list their groups.
    pub(crate) fn is_of_users(self) -> bool {
        matches!(self, Self::User | Self::Both)
    }
}

impl Entra {
    /// The kinds to read: those configured, and the parts of users that are sent separately.
    pub(crate) fn all_kinds(&self) -> BTreeSet<EntraKind> {
        let has = |kind| self.kinds.contains(&kind);
        let sign_ins = self.sign_ins && has(EntraKind::User);
        let memberships = self.membership.is_of_users() && has(EntraKind::User) && has(EntraKind::Group);
        let apart = [(sign_ins, EntraKind::SignIn), (memberships, EntraKind::Membership)];
        let apart = apart.into_iter().filter_map(|(is_read, kind)| is_read.then_some(kind));
        self.kinds.iter().copied().chain(apart).collect()
    }

    /// Validates the settings of Entra ID, for commands that need no others.
    pub fn check(settings: &Settings, environment: Environment<'_>) -> Result<(), ConfigError> {
        let mut reader = Reader::new(settings, environment);
        reader.entra();
        reader.finish(())
    }

    /// What decides which objects are in the catalog and what they contain, as text. The kinds are left out: each has
    /// its own cursor.
    pub(crate) fn terms(&self) -> String {
        let Self { membership, users, own_service_principals: own, more, member, .. } = self;
        let flags = [users.members, users.enabled, *own].map(|is_set| if is_set { '1' } else { '0' });
        let flags = String::from_iter(flags);
        format!("{membership:?} {flags} {more:?} {member:?}")
    }
}

impl Reader<'_> {
    pub(super) fn entra(&mut self) -> Entra {
        let settings = self.settings;
        let entra = Entra {
            kinds: self.kinds(),
            membership: self.choice(
                "ENTRA_MEMBERSHIP",
                settings.entra_membership.as_deref(),
                &[
                    ("group", EntraMembership::Group),
                    ("user", EntraMembership::User),
                    ("both", EntraMembership::Both),
                    ("none", EntraMembership::None),
                ],
            ),
            users: self.users(),
            own_service_principals: self.choice(
                "ENTRA_SERVICE_PRINCIPALS",
                settings.entra_service_principals.as_deref(),
                &[("all", false), ("own", true)],
            ),
            sign_ins: self.flag("ENTRA_SIGN_IN_ACTIVITY", settings.entra_sign_in_activity.as_deref()),
            allow_mass_delete: self.flag("ALLOW_MASS_DELETE", settings.allow_mass_delete.as_deref()),
            ..Entra::default()
        };
        let lacks = |kind| !entra.kinds.is_empty() && !entra.kinds.contains(&kind);
        if entra.membership.is_of_users() && (lacks(EntraKind::User) || lacks(EntraKind::Group)) {
            self.wrong(
                "ENTRA_MEMBERSHIP",
                "has users name their groups: ENTRA_KINDS must have users and groups".into(),
            );
        }
        if entra.sign_ins && lacks(EntraKind::User) {
            self.wrong("ENTRA_SIGN_IN_ACTIVITY", "is about users: ENTRA_KINDS must have users".into());
        }
        entra
    }

    fn kinds(&mut self) -> BTreeSet<EntraKind> {
        let Some(text) = self.set(KINDS, self.settings.entra_kinds.as_deref(), Form::Plain) else {
            return BTreeSet::new();
        };
        let mut kinds = BTreeSet::new();
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match EntraKind::ALL.into_iter().find(|kind| kind.plural().eq_ignore_ascii_case(name)) {
                Some(kind) => _ = kinds.insert(kind),
                None if name.eq_ignore_ascii_case("all") => kinds.extend(EntraKind::ALL),
                None => {
                    let known = EntraKind::ALL.map(EntraKind::plural).join(", ");
                    self.wrong(KINDS, format!("is \"{}\": expected some of {known}, or all", printable(text)));
                    break;
                }
            }
        }
        kinds
    }

    fn users(&mut self) -> EntraUsers {
        let mut users = EntraUsers::default();
        let Some(text) = self.set(USERS, self.settings.entra_users.as_deref(), Form::Plain) else { return users };
        for name in text.split(',').map(|name| name.trim().to_lowercase()) {
            match name.as_str() {
                "all" | "" => {}
                "members" => users.members = true,
                "enabled" => users.enabled = true,
                _ => {
                    self.wrong(USERS, format!("is \"{}\": expected members, enabled, both or all", printable(text)));
                    break;
                }
            }
        }
        users
    }

    /// Whether to sync Azure's resources, and whether to sync Entra ID.
    pub(super) fn sources(&mut self, kinds: &BTreeSet<EntraKind>) -> (bool, bool) {
        let (resources, entra) = self.named_sources(kinds);
        let settings = self.settings;
        let is_set = |setting: &Option<String>| setting.as_deref().is_some_and(|text| !text.trim().is_empty());
        let entra_is_named = entra && !kinds.is_empty();
        if entra_is_named && is_set(&settings.mapping_file) {
            let problem =
                "is for a webhook, and MAPPING_FILE says itself what of Entra ID is synced; unset one of them";
            self.wrong(KINDS, problem.into());
        }
        let is_full = settings.mode.as_deref().is_some_and(|mode| mode.trim().eq_ignore_ascii_case("full"));
        if entra_is_named && !is_full && !is_set(&settings.checkpoint_file) {
            let problem =
                "needs CHECKPOINT_FILE: it keeps where the changes go on; without it, only SYNC_MODE=full is possible";
            self.wrong(KINDS, problem.into());
        }
        (resources, entra)
    }

    fn named_sources(&mut self, kinds: &BTreeSet<EntraKind>) -> (bool, bool) {
        const NAME: &str = "AZURE_SOURCES";
        let Some(text) = self.set(NAME, self.settings.azure_sources.as_deref(), Form::Plain) else {
            return (true, true);
        };
        let names: Vec<String> = text.split(',').map(|name| name.trim().to_lowercase()).collect();
        if !names.iter().all(|name| name == "resources" || name == "entra") {
            self.wrong(NAME, format!("is \"{}\": expected resources, entra or both", printable(text)));
        }
        let has = |wanted: &str| names.iter().any(|name| name == wanted);
        let is_mapped = self.settings.mapping_file.as_deref().is_some_and(|file| !file.trim().is_empty());
        if has("entra") && kinds.is_empty() && !is_mapped {
            self.wrong(NAME, "names entra, and ENTRA_KINDS is not set".into());
        }
        (has("resources"), has("entra"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::read;
    use super::*;

    fn entra(settings: &Settings) -> Result<Entra, String> {
        read(settings, &[], Reader::entra).map_err(|error| error.to_string())
    }

    #[test]
    fn kinds_come_in_any_case_and_all_are_all() {
        let kinds = |text: &str| {
            let mode = Some("full".into());
            entra(&Settings { entra_kinds: Some(text.into()), mode, ..Settings::default() })
        };
        assert_eq!(kinds("users, Groups").unwrap().kinds, [EntraKind::User, EntraKind::Group].into());
        assert_eq!(kinds("all").unwrap().kinds.len(), 4);
        assert_eq!(kinds(" ").unwrap(), Entra::default());
        assert!(kinds("devices").unwrap_err().contains("expected some of users, applications"));
    }

    #[test]
    fn filters_of_users_are_joined() {
        let users = |text: &str| entra(&Settings { entra_users: Some(text.into()), ..Settings::default() });
        assert_eq!(users("members,enabled").unwrap().users, EntraUsers { members: true, enabled: true });
        assert_eq!(users("all").unwrap().users, EntraUsers::default());
        assert!(users("guests").is_err());
    }

    #[test]
    fn what_is_told_of_users_apart_needs_the_kinds_that_it_is_about() {
        let of = |kinds: &str, membership: &str, sign_ins: &str| {
            let [kinds, membership, sign_ins] = [kinds, membership, sign_ins].map(|text| Some(text.to_owned()));
            let settings = Settings {
                entra_kinds: kinds,
                entra_membership: membership,
                entra_sign_in_activity: sign_ins,
                ..Settings::default()
            };
            entra(&settings).map(|entra| entra.all_kinds().len())
        };
        assert_eq!((of("users,groups", "user", "true"), of("all", "both", "false")), (Ok(4), Ok(5)));
        assert_eq!(
            (of("users,groups", "group", "false"), of("", "user", "true")),
            (Ok(2), Ok(0)),
            "a mapping may name them"
        );
        assert!(of("users", "both", "false").unwrap_err().contains("users and groups"));
        assert!(of("groups", "none", "true").unwrap_err().contains("must have users"));
    }

    #[test]
    fn both_are_synced_where_both_are_set_up() {
        let (users, none) = (BTreeSet::from([EntraKind::User]), BTreeSet::new());
        let sources = |text: &str, kinds| {
            let checkpoint_file = Some("checkpoint".into());
            let settings = Settings { azure_sources: Some(text.into()), checkpoint_file, ..Settings::default() };
            read(&settings, &[], |reader| reader.sources(kinds)).map_err(|error| error.to_string())
        };
        assert_eq!(sources("", &users), Ok((true, true)));
        assert_eq!(sources("", &none), Ok((true, true)), "a mapping may tell of it");
        assert_eq!(sources("Entra", &users), Ok((false, true)));
        assert_eq!(sources("resources", &users), Ok((true, false)));
        assert!(sources("entra", &none).is_err() && sources("ad", &users).is_err());
    }
}
