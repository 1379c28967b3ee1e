//! The list of subscriptions that the principal can read.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::arm::{Arm, ArmError};
use crate::http::{self, Failure, RequestError};
use crate::id::is_guid;

/// "Subscriptions - List", Azure Resource Manager REST reference.
const PATH: &str = "/subscriptions?api-version=2022-12-01";

/// A tenant has thousands of subscriptions, a page of the listing a hundred or more of them.
const MOST_PAGES: usize = 5000;

/// All pages together: some hundred thousand subscriptions, far more than a tenant can have.
const MOST_BYTES: usize = 128 << 20;

/// A subscription as Resource Manager lists it.
#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    /// The GUID, in lower case.
    pub(crate) id: String,
    pub(crate) name: String,
    /// `Enabled`, `Warned`, `PastDue`, `Disabled` or `Deleted`.
    pub(crate) state: String,
    /// What it was bought as, such as `PayAsYouGo_2014-09-01`; empty where Resource Manager does not tell.
    pub(crate) quota_id: String,
    /// An object, as it came; `None` where there is none.
    pub(crate) tags: Option<Box<RawValue>>,
}

impl Subscription {
    /// Whether resources can live in it; Resource Graph may leave out the others.
    pub(crate) fn is_active(&self) -> bool {
        matches!(self.state.as_str(), "Enabled" | "Warned" | "PastDue")
    }

    /// Whether Resource Graph may never show it: it is inactive, or an "Access to Azure Active Directory" without resources.
    pub(crate) fn may_be_left_out(&self) -> bool {
        !self.is_active() || self.quota_id.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("AAD_"))
    }
}

#[derive(Deserialize)]
struct Page {
    value: Vec<Item>,
    #[serde(default, rename = "nextLink")]
    next_link: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    subscription_id: String,
    #[serde(default)]
    display_name: Option<String>,
    #[serde(default)]
    state: Option<String>,
    #[serde(default)]
    subscription_policies: Option<Policies>,
    #[serde(default)]
    tags: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Policies {
    #[serde(default)]
    quota_id: Option<String>,
}

/// Every subscription, all pages, each once.
pub(crate) async fn list(arm: &Arm) -> Result<Vec<Subscription>, ArmError> {
    let mut subscriptions = Vec::new();
    let mut known = HashSet::new();
    let mut visited = HashSet::new();
    let mut bytes = 0;
    let first = arm.url(PATH)?;
    // The same for each page: the path of a further one is the server's own words.
    let label = http::label("GET", &first);
    let mut next = Some(first);
    while let Some(url) = next {
        let unreadable = |problem: String| RequestError::new(label.as_str(), Failure::Unreadable(problem));
        if visited.len() == MOST_PAGES {
            return Err(unreadable(format!("it has no end after {MOST_PAGES} pages")).into());
        }
        if !visited.insert(url.clone()) {
            return Err(unreadable("its nextLink leads back to a page already read".into()).into());
        }
        let answer = arm.get(url, &label).await?;
        bytes += answer.body.len();
        if bytes > MOST_BYTES {
            return Err(unreadable(format!("it has no end after {} MB", MOST_BYTES >> 20)).into());
        }
        let page: Page = answer.json().map_err(|failure| RequestError::new(label.as_str(), failure))?;
        for item in page.value {
            let id = item.subscription_id.to_lowercase();
            if !is_guid(&id) {
                return Err(unreadable(format!("\"{id}\" is not the id of a subscription")).into());
            }
            if known.insert(id.clone()) {
                subscriptions.push(Subscription {
                    name: item.display_name.unwrap_or_else(|| id.clone()),
                    id,
                    state: item.state.unwrap_or_default(),
                    quota_id: item.subscription_policies.and_then(|policies| policies.quota_id).unwrap_or_default(),
                    tags: item.tags.filter(|tags| tags.get() != "null"),
                });
            }
        }
        next = match page.next_link.filter(|link| !link.is_empty()) {
            Some(link) => {
                let link = link.parse().map_err(|_| unreadable("its nextLink is not a URL".into()))?;
                Some(arm.own(link)?)
            }
            None => None,
        };
    }
    Ok(subscriptions)
}
