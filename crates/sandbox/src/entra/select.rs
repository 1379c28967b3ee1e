//! `$select`: which properties to return.
use super::Refusal;
use crate::directory::Kind;
use crate::settings::EntraSettings;
use hyper::StatusCode;

/// Properties of users and groups stored elsewhere: lists answer 501, and deltas report them as unsupported.
const ELSEWHERE: [&str; 4] = ["aboutMe", "skills", "interests", "licenseAssignmentStates"];
const SIGN_INS: &str = "signInActivity";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Select {
    /// One bit for each property of the kind.
    pub properties: u32,
    pub members: bool,
    pub sign_ins: bool,
    /// Selected explicitly, and different from the default.
    pub is_explicit: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    List,
    Delta,
}

impl Select {
    pub(super) fn default_of(kind: Kind) -> Self {
        let defaults = kind.properties().iter().enumerate().filter(|(_, property)| property.is_default);
        let properties = defaults.fold(0, |bits, (place, _)| bits | 1 << place);
        Self { properties, members: kind == Kind::Group, sign_ins: false, is_explicit: false }
    }

    pub(super) fn parse(kind: Kind, text: Option<&str>, at: Place, settings: &EntraSettings) -> Result<Self, Refusal> {
        let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(Self::default_of(kind)) };
        let mut select = Self { properties: 0, members: false, sign_ins: false, is_explicit: true };
        let mut unsupported = Vec::new();
        for name in text.split(',').map(str::trim) {
            match (name, kind.place(name)) {
                ("id", _) => {}
                ("members", _) if kind == Kind::Group => select.members = true,
                // It can be tracked, but the directory has no owners.
                ("owners", _) if kind == Kind::Group => {}
                ("createdDateTime", _)
                    if kind == Kind::ServicePrincipal && !settings.delta.service_principal_created =>
                {
                    return Err(unknown(name, kind));
                }
                (SIGN_INS, _) if kind == Kind::User && at == Place::List => select.sign_ins = true,
                (SIGN_INS, _) if kind == Kind::User => unsupported.push(name),
                (name, _) if ELSEWHERE.contains(&name) && at == Place::Delta => unsupported.push(name),
                (name, _) if ELSEWHERE.contains(&name) => {
                    let message = format!("The property '{name}' cannot be read from a collection.");
                    return Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, "NotImplemented", message));
                }
                (_, Some(place)) => select.properties |= 1 << place,
                (name, None) => return Err(unknown(name, kind)),
            }
        }
        if unsupported.is_empty() {
            return Ok(select);
        }
        Err(Refusal::bad(
            "BadRequest",
            format!(
                "Invalid request for delta query: for this entity set, $expand/$select is not supported for the following \
                 properties: {}",
                unsupported.join(",")
            ),
        ))
    }

    pub(super) fn has(&self, place: usize) -> bool {
        self.properties & 1 << place != 0
    }

    /// Roughly as it was written.
    pub(super) fn text(&self, kind: Kind) -> String {
        let names = kind.properties().iter().enumerate().filter(|(place, _)| self.has(*place));
        let names = ["id"].into_iter().chain(names.map(|(_, property)| property.name));
        names.chain(self.members.then_some("members")).collect::<Vec<_>>().join(",")
    }

    /// Encodes it for a token.
    pub(super) fn bits(&self) -> i64 {
        i64::from(self.properties) | i64::from(self.members) << 32 | i64::from(self.is_explicit) << 33
    }

    pub(super) fn of_bits(bits: i64) -> Self {
        let properties = (bits & i64::from(u32::MAX)) as u32;
        Self { properties, members: bits >> 32 & 1 == 1, sign_ins: false, is_explicit: bits >> 33 & 1 == 1 }
    }
}

fn unknown(name: &str, kind: Kind) -> Refusal {
    let message = format!("Could not find a property named '{name}' on type 'microsoft.graph.{}'.", kind.name());
    Refusal::bad("BadRequest", format!("Parsing OData Select and Expand failed: {message}"))
}
