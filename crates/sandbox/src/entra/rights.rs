//! The roles that requests need.
use super::{Ask, Refusal};
use crate::directory::Kind;

const DIRECTORY: &str = "Directory.Read.All";
const HIDDEN: &str = "Member.Read.Hidden";
const AUDIT_LOG: &str = "AuditLog.Read.All";

fn roles(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::User => &["User.Read.All", DIRECTORY],
        Kind::Group => &["GroupMember.Read.All", "Group.Read.All", DIRECTORY],
        Kind::Application | Kind::ServicePrincipal => &["Application.Read.All", DIRECTORY],
        Kind::Device => &["Device.Read.All", DIRECTORY],
        Kind::OrgContact => &["OrgContact.Read.All", DIRECTORY],
    }
}

impl Ask<'_> {
    pub(super) fn may_read(&self, kind: Kind) -> bool {
        roles(kind).iter().any(|role| self.grant.has(role))
    }

    pub(super) fn must_read(&self, kind: Kind) -> Result<(), Refusal> {
        if self.may_read(kind) { Ok(()) } else { Err(Refusal::denied()) }
    }

    /// For requests that read objects of any kind.
    pub(super) fn must_read_directory(&self) -> Result<(), Refusal> {
        let needs = self.settings.rights.directory_role_needed;
        let may = if needs { self.grant.has(DIRECTORY) } else { Kind::ALL.iter().any(|kind| self.may_read(*kind)) };
        if may { Ok(()) } else { Err(Refusal::denied()) }
    }

    pub(super) fn must_read_sign_ins(&self) -> Result<(), Refusal> {
        if self.grant.has(AUDIT_LOG) { Ok(()) } else { Err(Refusal::denied()) }
    }

    pub(super) fn may_read_hidden(&self) -> bool {
        self.grant.has(HIDDEN)
    }
}
