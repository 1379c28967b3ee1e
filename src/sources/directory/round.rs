//! One round of a delta: its pages, from a link or from the beginning, up to the link of the next round.
//!
//! "Use delta query to track changes", Microsoft Graph: pages come in no order, some are empty, an object may come
//! several times and in several states, and the members of a group come in slices across several pages.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use jiff::Timestamp;
use reqwest::Url;
use serde_json::value::RawValue;

use super::client::{Client, Page, unreadable};
use super::cursor::{Again, Hint};
use super::error::DirectoryError;
use super::object::{Life, Object};
use crate::config::EntraKind;

/// How often to restart a round whose pages expired.
const RESTARTS: usize = 3;

/// What a round shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// Everything that exists.
    Everything,
    /// What changed since the round before.
    Changes,
}

/// A round with its first page read.
pub(super) struct Round {
    pub(super) kind: EntraKind,
    extent: Extent,
    /// Where it begins, for restarts.
    url: Url,
    first: Option<Page>,
}

/// What a round reported, besides the objects themselves.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Objects with several reports, so that the last one is unknown.
    pub(super) contradictory: HashSet<String>,
    /// Objects shown before the pages expired and the round was restarted, but not afterwards.
    pub(super) lost: Vec<String>,
    /// Reports of members, by group: for a round from a link, who joined and who left.
    pub(super) members: BTreeMap<String, Again>,
    /// The same for a round from the beginning: all members, as numbers, since there may be millions.
    pub(super) slices: HashMap<u128, Vec<u128>>,
    /// Where the next round begins.
    pub(super) link: String,
}

impl Round {
    /// Requests the first page.
    pub(super) async fn open(
        client: &Client,
        kind: EntraKind,
        extent: Extent,
        url: Url,
    ) -> Result<Self, DirectoryError> {
        let first = client.page(kind, url.clone()).await?;
        Ok(Self { kind, extent, url, first: Some(first) })
    }

    /// Reads it to its end, page by page. `take` gets the objects of a page, except repeats with the same content,
    /// while the next page is requested.
    pub(super) async fn read(
        mut self,
        client: &Client,
        now: Timestamp,
        mut take: impl AsyncFnMut(Vec<Object<'_>>) -> Result<(), DirectoryError>,
    ) -> Result<Told, DirectoryError> {
        let kind = self.kind;
        let mut told = Told::default();
        let mut seen = Seen::of(self.extent);
        for _ in 0..RESTARTS {
            let mut page = match self.first.take() {
                Some(first) => first,
                None => client.page(kind, self.url.clone()).await?,
            };
            let expired = loop {
                let next = page.next.as_deref().map(|next| client.link(kind, next)).transpose()?;
                let asking = async {
                    match next {
                        Some(next) => client.page(kind, next).await.map(Some),
                        None => Ok(None),
                    }
                };
                let taking = async {
                    // This sends the request before the last page is processed.
                    tokio::task::yield_now().await;
                    take(parsed((kind, self.extent), &page, &mut seen, &mut told, now)?).await
                };
                let (asked, taken) = futures::join!(asking, taking);
                taken?;
                match asked {
                    Ok(Some(next)) => page = next,
                    Ok(None) => break None,
                    Err(error) if error.is_of_the_page() => break Some(error),
                    Err(error) => return Err(error),
                }
            };
            match (expired, page.delta) {
                (None, Some(link)) => {
                    client.link(kind, &link)?;
                    let (contradictory, lost) = seen.end();
                    told.contradictory.extend(contradictory);
                    return Ok(Told { lost, link, ..told });
                }
                (None, None) => {
                    return Err(unreadable(kind, "the last page of a delta does not say where the next begins"));
                }
                (Some(error), _) => {
                    tracing::info!("{error}; reading from the beginning");
                    seen.restart();
                    told.slices.clear();
                }
            }
        }
        Err(unreadable(kind, "the pages of a delta become too old before they are read"))
    }
}

/// What a round has shown so far, by the objects' numbers, with a hash of what it said about each.
enum Seen {
    /// Checked as objects come.
    Changes(HashMap<u128, u64>),
    /// For a full read: checked at the end, which takes less memory. Consumers tolerate repeats.
    Everything {
        shown: Vec<([u8; 16], u32)>,
        /// From before the restart.
        before: Vec<([u8; 16], u32)>,
    },
}

/// Whether an object came before, and with what content.
enum News {
    New,
    Same,
    Other,
}

impl Seen {
    fn of(extent: Extent) -> Self {
        match extent {
            Extent::Changes => Self::Changes(HashMap::new()),
            Extent::Everything => Self::Everything { shown: Vec::new(), before: Vec::new() },
        }
    }

    fn note(&mut self, object: u128, content: u64) -> News {
        match self {
            Self::Changes(seen) => match seen.insert(object, content) {
                None => News::New,
                Some(before) if before == content => News::Same,
                Some(_) => News::Other,
            },
            Self::Everything { shown, .. } => {
                #[expect(clippy::cast_possible_truncation, reason = "a shorter hash")]
                shown.push((object.to_be_bytes(), content as u32));
                News::New
            }
        }
    }

    /// Notes an object that came without its properties, and so contradicts nothing.
    fn note_part(&mut self, object: u128, content: u64) -> News {
        match self {
            Self::Changes(seen) => seen.insert(object, content).map_or(News::New, |_| News::Same),
            Self::Everything { .. } => News::Same,
        }
    }

    /// Restarts the round: what it shows from here on is newer.
    fn restart(&mut self) {
        if let Self::Everything { shown, before } = self {
            before.append(shown);
        }
    }

    /// Objects with contradictory reports, as far as they are only found at the end, and those shown only before the
    /// restart.
    fn end(self) -> (Vec<String>, Vec<String>) {
        let Self::Everything { mut shown, before } = self else { return (Vec::new(), Vec::new()) };
        let guid = |object: [u8; 16]| guid_of(u128::from_be_bytes(object));
        shown.sort_unstable();
        let is_shown = |object: &[u8; 16]| shown.binary_search_by(|one| one.0.cmp(object)).is_ok();
        let lost: BTreeSet<[u8; 16]> = before.iter().map(|one| one.0).filter(|object| !is_shown(object)).collect();
        shown.extend(before);
        shown.sort_unstable();
        shown.dedup();
        let twice = shown.windows(2).filter(|pair| matches!(pair, [one, other] if one.0 == other.0));
        (twice.filter_map(|pair| Some(guid(pair.first()?.0))).collect(), lost.into_iter().map(guid).collect())
    }
}

/// The objects on a page that are new, or differ from before.
fn parsed<'p>(
    (kind, extent): (EntraKind, Extent),
    page: &'p Page,
    seen: &mut Seen,
    told: &mut Told,
    now: Timestamp,
) -> Result<Vec<Object<'p>>, DirectoryError> {
    let mut objects = Vec::with_capacity(page.value.len());
    for item in &page.value {
        let object = parse(kind, item)?;
        let guid = object.guid();
        if matches!(kind, EntraKind::Group | EntraKind::Membership) && object.life() == Life::There {
            let users = object.members().iter().filter(|member| member.is_user());
            match extent {
                Extent::Everything => {
                    let slices = told.slices.entry(key(guid)).or_default();
                    slices.reserve_exact(object.members().len());
                    slices.extend(users.filter(|member| !member.has_left()).map(|member| key(&member.guid())));
                }
                Extent::Changes => {
                    let again = told.members.entry(guid.to_owned()).or_insert_with(|| Again::new(now));
                    for member in users {
                        again.hint(member.guid(), if member.has_left() { Hint::Left } else { Hint::Joined });
                    }
                }
            }
        }
        // The properties and the members of a group may come separately.
        let is_part = object.life() == Life::There && !object.is_whole(kind);
        if is_part && kind != EntraKind::Group {
            objects.push(object);
            continue;
        }
        let (number, content) = (key(guid), object.content());
        match if is_part { seen.note_part(number, content) } else { seen.note(number, content) } {
            News::New => objects.push(object),
            News::Same => {}
            News::Other => _ = told.contradictory.insert(guid.to_owned()),
        }
    }
    Ok(objects)
}

/// An object of an answer.
pub(super) fn parse(kind: EntraKind, item: &RawValue) -> Result<Object<'_>, DirectoryError> {
    Object::parse(item).ok_or_else(|| unreadable(kind, "the answer contains an item that is not a directory object"))
}

/// The GUID of a number.
pub(super) fn guid_of(key: u128) -> String {
    uuid::Uuid::from_u128(key).to_string()
}

/// A GUID as a number.
pub(super) fn key(guid: &str) -> u128 {
    guid.bytes().filter_map(|byte| char::from(byte).to_digit(16)).fold(0, |key, digit| key << 4 | u128::from(digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guid_is_a_number_of_its_own() {
        let guid = "00112233-4455-6677-8899-aabbccddeeff";
        assert_eq!(key(guid), 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);
        assert_eq!(guid_of(key(guid)), guid);
    }

    fn page(items: &[&str]) -> Page {
        serde_json::from_str(&format!("{{\"value\":[{}]}}", items.join(","))).unwrap()
    }

    const ONE: &str = "00000000-0000-0000-0000-000000000001";

    #[test]
    fn what_is_told_twice_is_taken_once_and_what_contradicts_is_noted() {
        let (mut seen, mut told) = (Seen::of(Extent::Changes), Told::default());
        let ada = format!(r#"{{"id":"{ONE}","userPrincipalName":"ada","displayName":"Ada"}}"#);
        let other = ada.replace("Ada", "Eve");
        let first = page(&[&ada, &ada]);
        let mut take = |page: &Page| {
            parsed((EntraKind::User, Extent::Changes), page, &mut seen, &mut told, Timestamp::UNIX_EPOCH).unwrap().len()
        };
        assert_eq!(take(&first), 1);
        assert_eq!(take(&page(&[&other])), 0);
        assert_eq!(told.contradictory, HashSet::from([ONE.to_owned()]));
    }

    #[test]
    fn in_a_round_of_everything_contradictions_are_found_at_its_end() {
        let mut seen = Seen::of(Extent::Everything);
        for (object, content) in [(1, 7), (2, 7), (1, 7), (2, 8), (3, 9)] {
            assert!(matches!(seen.note(object, content), News::New));
        }
        assert_eq!(seen.end(), (vec![guid_of(2)], Vec::new()));
    }

    #[test]
    fn what_shows_only_before_a_round_restarts_is_lost() {
        let mut seen = Seen::of(Extent::Everything);
        (1..=3).for_each(|object| _ = seen.note(object, 7));
        seen.restart();
        (2..=4).for_each(|object| _ = seen.note(object, if object == 3 { 8 } else { 7 }));
        assert_eq!(seen.end(), (vec![guid_of(3)], vec![guid_of(1)]));
    }

    #[test]
    fn members_come_in_slices() {
        let (mut seen, mut told) = (Seen::of(Extent::Changes), Told::default());
        let slice = |member: u8, left: &str| {
            format!(
                r##"{{"id":"{ONE}","securityEnabled":true,"members@delta":[{{"@odata.type":"#microsoft.graph.user","id":"{member}"{left}}},
                    {{"@odata.type":"#microsoft.graph.device","id":"d"}}]}}"##
            )
        };
        let pages = page(&[&slice(1, ""), &slice(2, r#","@removed":{"reason":"deleted"}"#)]);
        let taken = parsed((EntraKind::Group, Extent::Changes), &pages, &mut seen, &mut told, Timestamp::UNIX_EPOCH);
        let taken = taken.unwrap();
        assert_eq!((taken.len(), told.contradictory.len()), (1, 0));
        let again = &told.members[ONE];
        assert!(!again.contradicts(&["1".to_owned()].into()));
        assert!(again.contradicts(&["1".to_owned(), "2".to_owned()].into()));
    }
}
