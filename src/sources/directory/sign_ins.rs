//! When users last signed in: no delta reports it, and it has a role, a licence, a rate and a page size of its own.
//!
//! "List users" and "signInActivity resource type", Microsoft Graph v1.0 reference: `AuditLog.Read.All` and a licence
//! for Entra ID P1 or P2. Without the licence, every request for it fails; in some tenants with one, many do.

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::client::{Page, unreadable};
use super::error::DirectoryError;
use super::{Directory, Ended, deliver};
use crate::config::{EntraKind, EntraMember};
use crate::engine::Intake;
use crate::error::Cause;
use crate::id::is_guid;
use crate::model::{Finding, Operation, Scope};

const KIND: EntraKind = EntraKind::SignIn;

const SELECT: &str = "$select=id,userPrincipalName,signInActivity";

/// Users per page: the most that Graph gave in 2025, and in 2023. As a last resort, Graph's own default.
const PAGES: [&str; 3] = ["&$top=500", "&$top=120", ""];

/// Graph's message for a page that is too large.
const TOO_LARGE: &str = "Cannot query data for more than";

/// How often to restart a list whose pages expired.
const RESTARTS: usize = 3;

/// The longest delay of a sign-in.
const LATE: SignedDuration = SignedDuration::from_hours(2);

/// Users to look up one by one in a run: only a few per minute are allowed.
const MOST_ASKED: usize = 10;

/// Seconds.
const DAY: i64 = 24 * 60 * 60;

/// A user in the list.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct User {
    id: String,
    #[serde(rename = "userPrincipalName")]
    name: Option<String>,
    sign_in_activity: Option<Activity>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Activity {
    last_sign_in_date_time: Option<Timestamp>,
}

impl User {
    fn parse(item: &str) -> Result<Self, DirectoryError> {
        let user: Self = serde_json::from_str(item)
            .map_err(|error| unreadable(KIND, Cause::told("the answer contains an item that is not a user", error)))?;
        let id = user.id.to_lowercase();
        if is_guid(&id) { Ok(Self { id, ..user }) } else { Err(unreadable(KIND, "the id of a user is not a GUID")) }
    }

    /// The start of the day of the last sign-in. Users who never signed in are reported as year 1.
    fn day(&self) -> Option<Timestamp> {
        let last = self.sign_in_activity.as_ref()?.last_sign_in_date_time?;
        let day = Timestamp::from_second(last.as_second().div_euclid(DAY) * DAY).ok()?;
        (day > Timestamp::UNIX_EPOCH).then_some(day)
    }
}

impl Directory {
    /// Reads who has signed in since then, or all users. Returns whether that was possible: it takes a licence.
    pub(super) async fn read_sign_ins(&self, since: Option<&str>, intake: &Intake) -> Result<bool, DirectoryError> {
        let next = self.now().checked_sub(LATE).unwrap_or_default();
        let filter = since.map(|since| format!("&$filter=signInActivity/lastSignInDateTime ge {since}"));
        let mut sizes = PAGES.into_iter();
        let mut size = sizes.next().unwrap_or_default();
        'reading: for _ in 0..RESTARTS + PAGES.len() {
            let path = format!("users?{SELECT}{size}{}", filter.as_deref().unwrap_or_default());
            let mut url = self.client.url(KIND, &path)?;
            loop {
                let page: Page = match self.client.sign_ins(url).await {
                    Err(error) if error.is_unlicensed() => {
                        self.counts.borrow_mut().unlicensed = Some(error.to_string());
                        return Ok(false);
                    }
                    Err(error) if error.is_of_the_page() => continue 'reading,
                    Err(error) if error.refusal().is_some_and(|text| text.contains(TOO_LARGE)) => {
                        tracing::debug!("smaller pages are asked for: {error}");
                        size = sizes.next().ok_or(error)?;
                        continue 'reading;
                    }
                    page => page?,
                };
                let users = page.value.iter().map(|item| User::parse(item.get())).collect::<Result<Vec<_>, _>>()?;
                self.until_posted(EntraKind::User).await;
                let signed_in = users.iter().filter(|user| user.day().is_some());
                deliver(intake, signed_in.filter_map(|user| self.signed_in(user)).collect()).await?;
                let Some(next) = page.next else { break };
                url = self.client.link(KIND, &next)?;
            }
            self.end_round(KIND, Ended { link: format!("{next:.0}"), ..Ended::default() });
            return Ok(true);
        }
        Err(unreadable(KIND, "the pages of the users become too old before they are read"))
    }

    /// Looks up these users as far as possible. Returns whether all of them were looked up.
    pub(super) async fn ask_sign_ins(&self, guids: &[&str]) -> Result<(Vec<Finding>, bool), DirectoryError> {
        let mut findings = Vec::new();
        for guid in guids.iter().take(MOST_ASKED) {
            let url = self.client.url(KIND, &format!("users/{guid}?{SELECT}"))?;
            match self.client.sign_ins::<Box<RawValue>>(url).await {
                Ok(raw) => findings.extend(self.signed_in(&User::parse(raw.get())?)),
                Err(error) if error.is_missing() => {}
                Err(error) if error.is_unlicensed() => return Ok((findings, false)),
                Err(error) => return Err(error),
            }
        }
        Ok((findings, guids.len() <= MOST_ASKED))
    }

    /// Asks for one user. Returns why sign-ins cannot be read, if the tenant has no licence for them.
    pub(crate) async fn look_at_sign_ins(&self) -> Result<Option<String>, DirectoryError> {
        let url = self.client.url(KIND, &format!("users?{SELECT}&$top=1"))?;
        match self.client.sign_ins::<Page>(url).await {
            Ok(_) => Ok(None),
            Err(error) if error.is_unlicensed() => Ok(Some(error.to_string())),
            Err(error) => Err(error),
        }
    }

    fn signed_in(&self, user: &User) -> Option<Finding> {
        let (id, name, day) = (&user.id, &user.name, user.day());
        let row = match self.entra.member {
            EntraMember::Id => json!({"id": id, "userPrincipalName": name, "lastSignInDateTime": day}),
            EntraMember::Object => {
                json!({"id": id, "userPrincipalName": name, "signInActivity": {"lastSignInDateTime": day}})
            }
        };
        let change = self.change(KIND.id(id)?, Operation::Upsert, row.to_string().into());
        Some(Finding { change, exists: true, scope: Some(Scope::In), record: None })
    }
}
