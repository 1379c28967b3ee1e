//! The list of subscriptions that the principal can read.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::api::{Api, ApiError};
use crate::error::Cause;
use crate::http::{self, Failure, RequestError};
use crate::id::is_guid;

/// "Subscriptions - List", Azure Resource Manager REST reference.
const PATH: &str = "/subscriptions?api-version=2022-12-01";

/// A tenant has thousands of subscriptions; a page lists a hundred or more.
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
    /// The kind of offer, such as `PayAsYouGo_2014-09-01`; empty if Resource Manager does not say.
    pub(crate) quota_id: String,
    /// An object, as it came; `None` if there is none.
    pub(crate) tags: Option<Box<RawValue>>,
}

impl Subscription {
    /// Whether resources can live in it; Resource Graph may omit the others.
    pub(crate) fn is_active(&self) -> bool {
        matches!(self.state.as_str(), "Enabled" | "Warned" | "PastDue")
    }

    /// Whether Resource Graph may never show it: it is inactive, or an "Access to Azure Active Directory" subscription,
    /// which has no resources.
    pub(crate) fn may_be_left_out(&self) -> bool {
        !self.is_active() || self.quota_id.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("AAD_"))
    }

    /// The order among entries of one subscription: active ones first, then by the rest as written.
    fn rank(&self) -> (bool, &str, &str, &str, &str) {
        let tags = self.tags.as_deref().map_or("", RawValue::get);
        (!self.is_active(), &self.name, &self.state, &self.quota_id, tags)
    }
}

/// What has been listed so far, each subscription once.
#[derive(Default)]
struct Listing {
    subscriptions: Vec<Subscription>,
    places: HashMap<String, usize>,
    /// Ids with more than one entry.
    twice: BTreeSet<String>,
}

impl Listing {
    /// Adds an entry. Of several with one id, the first by rank is kept, whatever order they come in.
    fn add(&mut self, entry: Subscription) {
        match self.places.entry(entry.id.clone()) {
            Entry::Vacant(place) => {
                place.insert(self.subscriptions.len());
                self.subscriptions.push(entry);
            }
            Entry::Occupied(place) => {
                self.twice.insert(entry.id.clone());
                if let Some(known) = self.subscriptions.get_mut(*place.get())
                    && entry.rank() < known.rank()
                {
                    *known = entry;
                }
            }
        }
    }

    fn end(self) -> Vec<Subscription> {
        if let Some(first) = self.twice.first() {
            tracing::info!(
                "Resource Manager lists {} subscriptions more than once, such as {first}; the same entry of each is taken in every run",
                self.twice.len()
            );
        }
        self.subscriptions
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

/// All subscriptions from all pages, each once.
pub(crate) async fn list(arm: &Api) -> Result<Vec<Subscription>, ApiError> {
    let mut listing = Listing::default();
    let mut visited = HashSet::new();
    let mut bytes = 0;
    let first = arm.url(PATH)?;
    // The same label for each page: the path of a further page is the server's choice.
    let label = http::label("GET", &first);
    let mut next = Some(first);
    while let Some(url) = next {
        let unreadable = |cause: Cause| RequestError::new(label.as_str(), Failure::Unreadable(cause));
        if visited.len() == MOST_PAGES {
            return Err(unreadable(format!("it has no end after {MOST_PAGES} pages").into()).into());
        }
        if !visited.insert(url.clone()) {
            return Err(unreadable("its nextLink leads back to a page already read".into()).into());
        }
        let answer = arm.get(url, &label).await?;
        bytes += answer.body.len();
        if bytes > MOST_BYTES {
            return Err(unreadable(format!("it has no end after {} MB", MOST_BYTES >> 20).into()).into());
        }
        let page: Page = answer.json().map_err(|failure| RequestError::new(label.as_str(), failure))?;
        for item in page.value {
            let id = item.subscription_id.to_lowercase();
            if !is_guid(&id) {
                return Err(unreadable(format!("\"{id}\" is not the id of a subscription").into()).into());
            }
            listing.add(Subscription {
                name: item.display_name.unwrap_or_else(|| id.clone()),
                id,
                state: item.state.unwrap_or_default(),
                quota_id: item.subscription_policies.and_then(|policies| policies.quota_id).unwrap_or_default(),
                tags: item.tags.filter(|tags| tags.get() != "null"),
            });
        }
        next = match page.next_link.filter(|link| !link.is_empty()) {
            Some(link) => {
                let link = link.parse();
                let link = link.map_err(|error| unreadable(Cause::told("its nextLink is not a URL", error)))?;
                Some(arm.own(link)?)
            }
            None => None,
        };
    }
    Ok(listing.end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_entries_of_one_subscription_the_same_one_is_taken_in_whatever_order_they_come() {
        let entry = |name: &str, state: &str, tags: Option<&str>| Subscription {
            id: "0a".into(),
            name: name.into(),
            state: state.into(),
            quota_id: String::new(),
            tags: tags.map(|tags| RawValue::from_string(tags.into()).unwrap()),
        };
        let first = entry("One", "Enabled", None);
        let others = [
            entry("One", "Enabled", None),
            entry("One", "Enabled", Some(r#"{"a":"b"}"#)),
            entry("One", "Warned", None),
            entry("Two", "Enabled", None),
            entry("", "Disabled", None),
        ];
        for other in others {
            for entries in [[&first, &other], [&other, &first]] {
                let mut listing = Listing::default();
                listing.add(Subscription { id: "0b".into(), ..first.clone() });
                for entry in entries {
                    listing.add(entry.clone());
                }
                assert_eq!(listing.twice, BTreeSet::from(["0a".to_owned()]));
                let [_, taken] = &listing.end()[..] else { panic!("it is one") };
                assert_eq!(taken.rank(), first.rank());
            }
        }
    }
}
