//! `signInActivity` of users, which has its own rules: a role, a licence, small pages, a rate limit, and one filter.
use std::sync::atomic::Ordering;
use std::time::Instant;

use hyper::StatusCode;
use jiff::Timestamp;

use super::render::{self, Look};
use super::select::{Place, Select};
use super::{Ask, Refusal};
use crate::clock::seconds;
use crate::directory::{Kind, Slot};

const FILTER: &str = "signInActivity/lastSignInDateTime ge ";

/// Whether the principal may read sign-ins and is within the rate limit.
pub(super) fn check(ask: &Ask<'_>) -> Result<(), Refusal> {
    let settings = &ask.settings.sign_ins;
    let now = Instant::now();
    if let Some(wait) = settings.rate.and_then(|rate| ask.entra.sign_ins.take(rate, now)) {
        return Err(Refusal::throttled().with("retry-after", wait.as_secs_f64().ceil().to_string()));
    }
    ask.must_read_sign_ins()?;
    if ask.entra.sign_ins_asked.fetch_add(1, Ordering::Relaxed) % 10 < settings.unlicensed {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "Authentication_RequestFromNonPremiumTenantOrB2CTenant",
            "Neither tenant is B2C or tenant doesn't have premium license",
        ));
    }
    Ok(())
}

pub(super) fn list(ask: &Ask<'_>) -> Result<Vec<u8>, Refusal> {
    ask.must_read(Kind::User)?;
    check(ask)?;
    let most = ask.settings.sign_ins.page;
    if ask.param("$top").and_then(|top| top.parse::<usize>().ok()).is_some_and(|top| top > most) {
        return Err(Refusal::bad("BadRequest", format!("Cannot query data for more than {most} users at a time.")));
    }
    let select = Select::parse(Kind::User, ask.param("$select"), Place::List, ask.settings)?;
    let since = match ask.param("$filter") {
        None => None,
        Some(text) => {
            let since = text.strip_prefix(FILTER).and_then(|since| since.trim().parse::<Timestamp>().ok());
            let message = "Filtering by signInActivity cannot be combined with other filters.";
            Some(since.ok_or_else(|| Refusal::unsupported(message))?.as_millisecond())
        }
    };
    let position = ask.position(&ask.settings.replicas.list);
    let top = ask.top()?.min(most);
    ask.page("users", ask.directory.slots(Kind::User), top, |items, slot| {
        let last = ask.directory.sign_in_of(slot);
        let is_shown = match since {
            None => ask.directory.alive_at(slot, position).is_some(),
            Some(since) => {
                let vanished = ask.settings.sign_ins.shows_vanished;
                last.is_some_and(|last| last >= since) && (vanished || ask.directory.alive_at(slot, position).is_some())
            }
        };
        let Some(state) = ask.directory.at(slot, position).filter(|_| is_shown) else { return false };
        let out = items.next();
        render::open(out, &state, Look::list(select));
        if select.sign_ins {
            write(ask, out, slot);
        }
        out.push(b'}');
        true
    })
}

/// Writes when a user last signed in.
pub(super) fn write(ask: &Ask<'_>, out: &mut Vec<u8>, slot: Slot) {
    let last = match ask.directory.sign_in_of(slot) {
        Some(at) => seconds(at),
        None if ask.settings.sign_ins.never_is_year_one => "0001-01-01T00:00:00Z".to_owned(),
        None => return,
    };
    let id = "5a4db0c0-0000-4000-8000-000000000000";
    render::text(
        out,
        &format!(
            ",\"signInActivity\":{{\"lastSignInDateTime\":\"{last}\",\"lastSignInRequestId\":\"{id}\",\
             \"lastSuccessfulSignInDateTime\":\"{last}\"}}"
        ),
    );
}
