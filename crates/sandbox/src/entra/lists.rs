//! Lists, single objects, lookups by ids, and deleted objects.
use std::borrow::Cow;

use serde::Deserialize;

use super::delta::ids;
use super::render::{self, Items, Look};
use super::select::{Place, Select};
use super::{Ask, Refusal};
use crate::clock::seconds;
use crate::directory::{Id, Kind, Life, Slot, State};
use crate::settings::AboveMost;

const DEFAULT_PAGE: usize = 100;
const MOST: usize = 999;
/// Maximum ids per lookup.
const IDS: usize = 1_000;

impl Ask<'_> {
    /// The page size.
    pub(super) fn top(&self) -> Result<usize, Refusal> {
        Ok(self.asked()?.min(self.settings.lists.page))
    }

    fn asked(&self) -> Result<usize, Refusal> {
        let Some(text) = self.param("$top") else { return Ok(DEFAULT_PAGE) };
        let invalid = || {
            Refusal::bad(
                "BadRequest",
                format!("Invalid page size specified: '{text}'. Must be between 1 and {MOST} inclusive."),
            )
        };
        match (text.parse::<usize>(), self.settings.lists.above_most) {
            (Ok(top @ 1..=MOST), _) => Ok(top),
            (Err(_) | Ok(0), _) | (_, AboveMost::Refused) => Err(invalid()),
            (_, AboveMost::Capped) => Ok(MOST),
            (_, AboveMost::Ignored) => Ok(DEFAULT_PAGE),
        }
    }

    /// Where the page starts.
    pub(super) fn cursor(&self) -> Result<Slot, Refusal> {
        let Some(text) = self.param("$skiptoken") else { return Ok(0) };
        let bad =
            || Refusal::bad("Directory_InvalidPageToken", "The specified page token value is invalid or has expired.");
        let [cursor, made] = self.entra.seal.open(text).ok_or_else(bad)?;
        let limit = self.settings.delta.page_link_lifetime;
        if limit.is_some_and(|limit| made + limit.as_millis() as i64 <= self.directory.now_ms()) {
            return Err(Refusal::bad("Directory_ExpiredPageToken", "The specified page token value has expired."));
        }
        Slot::try_from(cursor).map_err(|_| bad())
    }

    /// The link to the page that starts at `cursor`: the same request plus a token.
    pub(super) fn next_link(&self, cursor: Slot) -> (&'static str, String) {
        let token = self.entra.seal.close(&[cursor.into(), self.directory.now_ms()]);
        let own = self.query.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("$skiptoken"));
        let pairs = own.map(|(name, value)| (name.as_str(), value.as_str())).chain([("$skiptoken", token.as_str())]);
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        ("nextLink", format!("{}/v1.0/{}?{query}", self.entra.origin(), self.path.join("/")))
    }

    /// A page of these objects, which are sorted by index and formatted by `write`.
    pub(super) fn page(
        &self,
        context: &str,
        slots: &[Slot],
        top: usize,
        mut write: impl FnMut(&mut Items, Slot) -> bool,
    ) -> Result<Vec<u8>, Refusal> {
        let cursor = self.cursor()?;
        let from = slots.partition_point(|slot| *slot < cursor);
        let (mut items, mut written, mut next) = (Items::default(), 0, None);
        for slot in &slots[from..] {
            if written == top {
                next = Some(self.next_link(*slot));
                break;
            }
            written += usize::from(write(&mut items, *slot));
        }
        let count = (self.is_advanced() && cursor == 0).then_some(slots.len());
        Ok(items.page(self.entra.origin(), context, next, count))
    }
}

pub(super) fn list(ask: &Ask<'_>, kind: Kind) -> Result<Vec<u8>, Refusal> {
    ask.must_read(kind)?;
    let select = Select::parse(kind, ask.param("$select"), Place::List, ask.settings)?;
    let expands = match ask.param("$expand") {
        None => false,
        Some(text) if kind == Kind::Group && text.starts_with("members") && !ask.is_advanced() => true,
        Some(text) => return Err(Refusal::unsupported(format!("'{text}' cannot be expanded here."))),
    };
    let wanted = match ask.param("$filter") {
        None => None,
        Some(text) => Some(ids(text).ok_or_else(|| Refusal::unsupported(format!("Unsupported filter: {text}.")))?),
    };
    let position = ask.position(&ask.settings.replicas.list);
    let top = ask.top()?;
    let shown = |slot: Slot| {
        let state = ask.directory.alive_at(slot, position);
        state.filter(|of| wanted.as_ref().is_none_or(|ids| ids.contains(&of.object.id)))
    };
    let mut slots = Cow::Borrowed(ask.directory.slots(kind));
    if ask.is_advanced() {
        // The total must not include objects that do not show.
        slots.to_mut().retain(|slot| shown(*slot).is_some());
    }
    ask.page(kind.segment(), &slots, top, |items, slot| {
        let Some(state) = shown(slot) else { return false };
        let out = items.next();
        render::open(out, &state, Look::list(select));
        if expands {
            expand(ask, out, slot, position);
        }
        out.push(b'}');
        true
    })
}

/// The first members of a group, without a hint that there are more.
fn expand(ask: &Ask<'_>, out: &mut Vec<u8>, group: Slot, position: u32) {
    let members = ask.directory.members_at(group, position);
    let mut items = Items::default();
    for member in members.into_iter().take(ask.settings.lists.expanded) {
        if let Some(state) = ask.directory.at(member, position) {
            render::object(items.next(), &state, look_of(ask, &state));
        }
    }
    render::text(out, ",\"members\":[");
    out.extend(items.into_inner());
    out.push(b']');
}

/// How to show an object among objects of other kinds.
pub(super) fn look_of(ask: &Ask<'_>, state: &State<'_>) -> Look {
    let kind = state.object.kind;
    Look { has_type: true, is_limited: !ask.may_read(kind), ..Look::list(Select::default_of(kind)) }
}

pub(super) fn one(ask: &Ask<'_>, kind: Kind, id: &str) -> Result<Vec<u8>, Refusal> {
    ask.must_read(kind)?;
    let select = Select::parse(kind, ask.param("$select"), Place::List, ask.settings)?;
    if select.sign_ins {
        super::sign_ins::check(ask)?;
    }
    let position = ask.position(&ask.settings.replicas.object);
    let slot = ask.slot(kind, id).ok_or_else(|| Refusal::absent(id))?;
    let state = ask.directory.alive_at(slot, position).ok_or_else(|| Refusal::absent(id))?;
    let mut out = Vec::new();
    render::open(&mut out, &state, Look::list(select));
    if select.sign_ins {
        super::sign_ins::write(ask, &mut out, slot);
    }
    out.push(b'}');
    Ok(out)
}

/// `POST /directoryObjects/getByIds`: returns the ids that exist.
pub(super) fn by_ids(ask: &Ask<'_>) -> Result<Vec<u8>, Refusal> {
    #[derive(Deserialize)]
    struct Body {
        ids: Vec<String>,
        #[serde(default)]
        types: Vec<String>,
    }
    ask.must_read_directory()?;
    let body: Body = serde_json::from_slice(ask.body)
        .map_err(|error| Refusal::bad("Request_BadRequest", format!("The body is not what it has to be: {error}")))?;
    if body.ids.is_empty() || body.ids.len() > IDS {
        let message = format!("The number of ids has to be between 1 and {IDS}, and is {}.", body.ids.len());
        return Err(Refusal::bad("Request_BadRequest", message));
    }
    let ids: Result<Vec<Id>, ()> = body.ids.iter().map(|id| id.parse()).collect();
    let ids = ids.map_err(|()| Refusal::bad("Request_BadRequest", "Invalid GUID in 'ids'."))?;
    let position = ask.position(&ask.settings.replicas.object);
    let mut items = Items::default();
    for slot in ids.into_iter().filter_map(|id| ask.directory.slot(id)) {
        let is_wanted = |name: &str| body.types.is_empty() || body.types.iter().any(|ty| ty == name);
        let state = ask.directory.alive_at(slot, position);
        if let Some(state) = state.filter(|of| is_wanted(of.object.kind.name()) || is_wanted("directoryObject")) {
            render::object(items.next(), &state, look_of(ask, &state));
        }
    }
    Ok(items.page(ask.entra.origin(), "directoryObjects", None, None))
}

/// `GET /directory/deletedItems/microsoft.graph.user`: deleted objects that can be restored.
pub(super) fn deleted(ask: &Ask<'_>, of: &str) -> Result<Vec<u8>, Refusal> {
    let kind = Kind::TRACKED.into_iter().find(|kind| of.strip_prefix("microsoft.graph.") == Some(kind.name()));
    let kind = kind.ok_or_else(|| Refusal::no_segment(of))?;
    ask.must_read(kind)?;
    let select = Select::parse(kind, ask.param("$select"), Place::List, ask.settings)?;
    let position = ask.position(&ask.settings.replicas.object);
    let top = ask.top()?;
    ask.page("directoryObjects", ask.directory.slots(kind), top, |items, slot| {
        let Some(state) = ask.directory.at(slot, position) else { return false };
        let Life::Deleted(since) = state.life else { return false };
        let out = items.next();
        render::open(out, &state, Look::list(select));
        render::text(out, &format!(",\"deletedDateTime\":\"{}\"}}", seconds(since)));
        true
    })
}
