//! Delta queries: the first round returns everything, and each later one the changes since the previous round's link.
use std::sync::atomic::Ordering;

use hyper::StatusCode;

use super::render::{self, Items, Look};
use super::round::{Item, Key, Members};
use super::select::{Place, Select};
use super::{Ask, Refusal};
use crate::directory::{Id, Kind, Life};
use crate::lock;
use crate::settings::Stale;

/// The most ids in a delta's filter.
const IDS: usize = 50;

/// The contents of a link; during a round it includes a page.
#[derive(Clone, Copy)]
struct Token {
    kind: Kind,
    select: Select,
    is_minimal: bool,
    /// The index of the ids that it is filtered by; 0 for none.
    filter: usize,
    from: Option<u32>,
    to: u32,
    page: Option<usize>,
    /// When the link was created, or the first link in its chain.
    issued: i64,
    made: i64,
    resets: u32,
}

impl Token {
    fn close(&self, ask: &Ask<'_>) -> String {
        ask.entra.seal.close(&[
            self.kind as i64,
            self.select.bits(),
            self.is_minimal.into(),
            self.filter as i64,
            self.from.map_or(-1, Into::into),
            self.to.into(),
            self.page.map_or(-1, |page| page as i64),
            self.issued,
            self.made,
            self.resets.into(),
        ])
    }

    fn open(ask: &Ask<'_>, text: &str) -> Option<Self> {
        let [kind, select, minimal, filter, from, to, page, issued, made, resets] = ask.entra.seal.open(text)?;
        Some(Self {
            kind: *Kind::TRACKED.get(kind as usize)?,
            select: Select::of_bits(select),
            is_minimal: minimal == 1,
            filter: filter as usize,
            from: u32::try_from(from).ok(),
            to: u32::try_from(to).ok()?,
            page: usize::try_from(page).ok(),
            issued,
            made,
            resets: u32::try_from(resets).ok()?,
        })
    }

    fn link(&self, ask: &Ask<'_>) -> (&'static str, String) {
        let (name, parameter) =
            if self.page.is_some() { ("nextLink", "$skiptoken") } else { ("deltaLink", "$deltatoken") };
        let origin = ask.entra.origin();
        (name, format!("{origin}/v1.0/{}/delta?{parameter}={}", self.kind.segment(), self.close(ask)))
    }
}

pub(super) fn round(ask: &Ask<'_>, kind: Kind) -> Result<Vec<u8>, Refusal> {
    ask.must_read(kind)?;
    if !ask.settings.delta.available {
        return Err(Refusal::bad("BadRequest", "Delta query is not supported by this resource."));
    }
    let given = |name| ask.param(name).filter(|value| !value.is_empty());
    match (given("$skiptoken"), given("$deltatoken")) {
        (None, None | Some("latest")) => first(ask, kind, given("$deltatoken").is_some()),
        (Some(_), Some(_)) => Err(malformed()),
        (Some(text), None) => {
            let token = opened(ask, kind, text)?;
            let page = token.page.ok_or_else(malformed)?;
            let limit = ask.settings.delta.page_link_lifetime;
            if limit.is_some_and(|limit| token.made + limit.as_millis() as i64 <= ask.directory.now_ms()) {
                return Err(Refusal::bad("Directory_ExpiredPageToken", "The specified page token value has expired."));
            }
            show(ask, token, page)
        }
        (None, Some(text)) => {
            let token = opened(ask, kind, text)?;
            if token.page.is_some() {
                return Err(malformed());
            }
            let lifetime = ask.settings.delta.link_lifetime.as_millis() as i64;
            if token.issued + lifetime <= ask.directory.now_ms() {
                return Err(stale(ask, token));
            }
            let to = ask.position(&ask.settings.replicas.delta).max(token.to);
            show(ask, Token { from: Some(token.to), to, ..token }, 0)
        }
    }
}

fn first(ask: &Ask<'_>, kind: Kind, is_latest: bool) -> Result<Vec<u8>, Refusal> {
    let refuses = ask.settings.delta.refuses_options;
    if let Some(name) = ["$top", "$expand", "$orderby"].into_iter().find(|name| refuses && ask.param(name).is_some()) {
        return Err(Refusal::unsupported(format!("The query parameter '{name}' is not supported for delta queries.")));
    }
    let select = Select::parse(kind, ask.param("$select"), Place::Delta, ask.settings)?;
    let now = ask.directory.now_ms();
    let token = Token {
        kind,
        select,
        is_minimal: ask.is_minimal,
        filter: filter(ask)?,
        from: None,
        to: ask.position(&ask.settings.replicas.delta),
        page: None,
        issued: now,
        made: now,
        resets: resets(ask, kind),
    };
    if is_latest {
        return Ok(Items::default().page(ask.entra.origin(), kind.segment(), Some(token.link(ask)), None));
    }
    show(ask, token, 0)
}

fn resets(ask: &Ask<'_>, kind: Kind) -> u32 {
    ask.entra.resets[kind as usize].load(Ordering::Relaxed)
}

/// The index under which the filter's ids are stored.
fn filter(ask: &Ask<'_>) -> Result<usize, Refusal> {
    let Some(text) = ask.param("$filter") else { return Ok(0) };
    let ids = ids(text)
        .ok_or_else(|| Refusal::unsupported("Only the ids of objects can be filtered by in a delta query."))?;
    if ids.len() > IDS {
        return Err(Refusal::unsupported(format!(
            "Too many child clauses specified in search filter expression; at most {IDS}."
        )));
    }
    let mut filters = lock(&ask.entra.filters);
    filters.push(ids.into());
    Ok(filters.len())
}

/// The ids of `id eq '…' or id eq '…'`.
pub(super) fn ids(text: &str) -> Option<Vec<Id>> {
    let one = |term: &str| term.trim().strip_prefix("id eq '")?.strip_suffix('\'')?.parse().ok();
    text.split(" or ").map(one).collect()
}

fn malformed() -> Refusal {
    Refusal::bad("BadRequest", "Badly formed token.")
}

/// Opens a token. It must be the only parameter, of this kind, and newer than the last reset.
fn opened(ask: &Ask<'_>, kind: Kind, text: &str) -> Result<Token, Refusal> {
    if ["$select", "$filter", "$expand", "$top"].iter().any(|name| ask.param(name).is_some()) {
        return Err(Refusal::bad("BadRequest", "A token cannot be combined with other query parameters."));
    }
    let token = Token::open(ask, text).filter(|token| token.kind == kind).ok_or_else(malformed)?;
    if token.resets == resets(ask, kind) { Ok(token) } else { Err(stale(ask, token)) }
}

fn stale(ask: &Ask<'_>, token: Token) -> Refusal {
    let (status, code) = match ask.settings.delta.stale {
        Stale::NotFound => (StatusCode::BAD_REQUEST, "syncStateNotFound"),
        Stale::Gone => (StatusCode::GONE, "syncStateNotFound"),
        Stale::ResyncRequired => (StatusCode::GONE, "resyncRequired"),
    };
    let message = "The sync state generation is not found; data must be synchronized again.";
    let refusal = Refusal::new(status, code, message);
    if status != StatusCode::GONE {
        return refusal;
    }
    let select =
        if token.select.is_explicit { format!("$select={}&", token.select.text(token.kind)) } else { String::new() };
    let path = format!("/v1.0/{}/delta?{select}$deltaToken=", token.kind.segment());
    refusal.with("location", ask.entra.origin().to_owned() + &path)
}

fn show(ask: &Ask<'_>, token: Token, page: usize) -> Result<Vec<u8>, Refusal> {
    let filter = (token.filter > 0).then(|| lock(&ask.entra.filters)[token.filter - 1].clone());
    let key = Key {
        kind: token.kind,
        select: token.select,
        filter,
        from: token.from,
        to: token.to,
        shows_hidden: ask.may_read_hidden(),
    };
    let round = ask.entra.rounds.get(&key, page == 0, ask.directory, &ask.settings.delta);
    let places = round.pages.get(page).cloned().ok_or_else(malformed)?;
    let mut items = Items::default();
    for item in &round.items[places] {
        write(ask, &mut items, item, token);
    }
    let made = ask.directory.now_ms();
    let issued = if ask.settings.delta.link_renewed { made } else { token.issued };
    let next = if page + 1 < round.pages.len() {
        Token { page: Some(page + 1), made, ..token }
    } else {
        Token { from: None, page: None, issued, made, ..token }
    };
    Ok(items.page(ask.entra.origin(), token.kind.segment(), Some(next.link(ask)), None))
}

fn write(ask: &Ask<'_>, items: &mut Items, item: &Item, token: Token) {
    let Some(state) = ask.directory.at(item.slot, item.at) else { return };
    let out = items.next();
    let reason = match state.life {
        Life::Alive => None,
        Life::Deleted(_) => Some("changed"),
        Life::Gone => Some("deleted"),
    };
    if let Some(reason) = reason {
        out.push(b'{');
        render::id(out, &state);
        render::text(out, &format!(",\"@removed\":{{\"reason\":\"{reason}\"}}}}"));
        return;
    }
    let mut select = token.select;
    if token.is_minimal && token.from.is_some() {
        select.properties &= item.changed;
    }
    render::open(out, &state, Look { shows_unset: false, ..Look::list(select) });
    let members: Vec<(u32, bool)> = match &item.members {
        Members::None => Vec::new(),
        Members::Changes(changes) => changes.to_vec(),
        Members::Slice(slice) => {
            let all = ask.directory.members_at(item.slot, item.at);
            all[slice.start as usize..slice.end as usize].iter().map(|member| (*member, true)).collect()
        }
    };
    if !members.is_empty() {
        render::text(out, ",\"members@delta\":[");
        for (place, (member, joined)) in members.into_iter().enumerate() {
            let member = ask.directory.object(member);
            let comma = if place > 0 { "," } else { "" };
            let removed = if joined { "" } else { ",\"@removed\":{\"reason\":\"deleted\"}" };
            render::text(out, &format!("{comma}{{"));
            render::ty(out, member.kind);
            render::text(out, &format!(",\"id\":\"{}\"{removed}}}", member.id));
        }
        out.push(b']');
    }
    out.push(b'}');
}
