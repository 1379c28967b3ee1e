//! The members of a group, and the groups of an object.
use std::collections::BTreeSet;

use hyper::StatusCode;

use super::lists::look_of;
use super::render::{self, Items, Look};
use super::select::{Place, Select};
use super::{Ask, Refusal};
use crate::directory::{Kind, Slot};

/// The kind that a path casts to: `/members/microsoft.graph.user`.
fn cast(ask: &Ask<'_>, segments: &[&str]) -> Result<Option<Kind>, Refusal> {
    let kind = match segments {
        [] => return Ok(None),
        [one] => Kind::ALL.into_iter().find(|kind| one.strip_prefix("microsoft.graph.") == Some(kind.name())),
        _ => None,
    };
    let kind = kind.ok_or_else(|| Refusal::no_segment(segments.last().copied().unwrap_or_default()))?;
    if ask.is_advanced() {
        return Ok(Some(kind));
    }
    Err(Refusal::unsupported(
        "The specified OData cast requires the header 'ConsistencyLevel' to be 'eventual' and '$count' to be 'true'.",
    ))
}

pub(super) fn members(ask: &Ask<'_>, id: &str, segments: &[&str]) -> Result<Vec<u8>, Refusal> {
    ask.must_read(Kind::Group)?;
    if ask.param("$count").is_some() && !ask.is_eventual {
        let message = "'$count' requires the header 'ConsistencyLevel' to be 'eventual'.";
        return Err(Refusal::unsupported(message));
    }
    let cast = cast(ask, segments)?;
    let group = ask.slot(Kind::Group, id).ok_or_else(|| Refusal::absent(id))?;
    let position = ask.position(&ask.settings.replicas.members);
    let state = ask.directory.alive_at(group, position).ok_or_else(|| Refusal::absent(id))?;
    let mut members = ask.directory.members_at(group, position);
    if state.has_hidden_members() && !ask.may_read_hidden() {
        if ask.settings.rights.hidden_refused {
            return Err(Refusal::denied());
        }
        members.clear();
    }
    members.retain(|member| match (ask.directory.object(*member).kind, cast) {
        (kind, Some(cast)) => kind == cast,
        // A plain read omits them.
        (Kind::ServicePrincipal, None) => ask.is_advanced(),
        (_, None) => true,
    });
    show(ask, &members, position)
}

pub(super) fn member_of(ask: &Ask<'_>, id: &str, segments: &[&str]) -> Result<Vec<u8>, Refusal> {
    ask.must_read_directory()?;
    groups(ask, id, segments, |member, position| ask.directory.groups_at(member, position))
}

pub(super) fn transitive_member_of(ask: &Ask<'_>, id: &str, segments: &[&str]) -> Result<Vec<u8>, Refusal> {
    ask.must_read(Kind::User)?;
    groups(ask, id, segments, |member, position| {
        let (mut all, mut open) = (BTreeSet::new(), vec![member]);
        while let Some(one) = open.pop() {
            open.extend(ask.directory.groups_at(one, position).into_iter().filter(|group| all.insert(*group)));
        }
        all.into_iter().collect()
    })
}

fn groups(
    ask: &Ask<'_>,
    id: &str,
    segments: &[&str],
    of: impl FnOnce(Slot, u32) -> Vec<Slot>,
) -> Result<Vec<u8>, Refusal> {
    let is_of_groups = cast(ask, segments)?.is_none_or(|kind| kind == Kind::Group);
    let user = ask.slot(Kind::User, id).ok_or_else(|| Refusal::absent(id))?;
    let position = ask.position(&ask.settings.replicas.members);
    ask.directory.alive_at(user, position).ok_or_else(|| Refusal::absent(id))?;
    let groups = if is_of_groups { of(user, position) } else { Vec::new() };
    show(ask, &groups, position)
}

/// A page of objects of any kind.
fn show(ask: &Ask<'_>, slots: &[Slot], position: u32) -> Result<Vec<u8>, Refusal> {
    let names: Option<Vec<&str>> = ask.param("$select").map(|text| text.split(',').map(str::trim).collect());
    let is_known = |name: &&&str| **name == "id" || Kind::ALL.iter().any(|kind| kind.place(name).is_some());
    if let Some(name) = names.iter().flatten().find(|name| !is_known(name)) {
        let message = format!("Could not find a property named '{name}' on type 'microsoft.graph.directoryObject'.");
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "BadRequest", message));
    }
    let top = ask.top()?;
    ask.page("directoryObjects", slots, top, |items: &mut Items, slot| {
        let Some(state) = ask.directory.at(slot, position) else { return false };
        let kind = state.object.kind;
        // Properties of other kinds are not an error here.
        let own = names.as_ref().map(|names| {
            let own = names.iter().filter(|name| kind.place(name).is_some() || **name == "id");
            own.copied().collect::<Vec<_>>().join(",")
        });
        let select = Select::parse(
            kind,
            own.as_deref().map(|own| if own.is_empty() { "id" } else { own }),
            Place::List,
            ask.settings,
        );
        let look = look_of(ask, &state);
        render::object(items.next(), &state, Look { select: select.unwrap_or(look.select), ..look });
        true
    })
}
