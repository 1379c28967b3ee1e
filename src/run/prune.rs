//! Removes from the catalog what Azure does not have any more, and no memory knows of: entities of ours that a full read did not show.
//!
//! A deletion that is wrong costs more than an entity that stays. So everything has to agree: the read was proven complete and covered
//! the subscription; Port says that the entity is ours, and that nobody has changed it since; Resource Manager, asked by the id, says
//! that there is no such thing; and what is to go is a small part of what there is.

use std::io::{ErrorKind, Write};

use futures::StreamExt;
use futures::stream;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::problems::Shortfall;
use super::{CLOCK_TOLERANCE, Estate, Run};
use crate::azure::existence::{Asking, Existence};
use crate::engine::Replica;
use crate::error::Stop;
use crate::mapping::{Kind, Mapping};
use crate::model::Id;
use crate::port::{MOST_DELETED, Port, PortError, written_by};
use crate::sinks::entities::{Form, arm_id};
use crate::sources::resource_graph::arm_id::id_of;
use crate::text::printable;

/// Questions to Resource Manager under way at once.
const AT_ONCE: usize = 8;

/// What is in a subscription goes before it.
const LEAF_FIRST: [Kind; 3] = [Kind::Resource, Kind::ResourceContainer, Kind::Subscription];

/// An entity that may have to go.
struct Candidate {
    blueprint: String,
    identifier: String,
    /// Of what it was made of, in Azure.
    id: String,
}

/// An entity as Port shows it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    identifier: String,
    #[serde(default)]
    updated_at: Option<Timestamp>,
}

/// What was found in Port.
#[derive(Default)]
struct Found {
    candidates: Vec<Candidate>,
    /// Entities of ours.
    held: u64,
    /// Those that cannot be asked for in Azure, as their identifier is no id of it.
    unknown: u64,
    /// Port does not tell who wrote what.
    has_no_owners: bool,
}

impl<S: Future<Output = Stop>> Run<'_, S> {
    /// Looks for what is to go, and deletes it, or prints it where the run is a dry one.
    pub(super) async fn prune(&self, limit: u64, port: &Port, form: &Form, estate: &Estate) {
        if !estate.listed.iter().any(|one| self.is_covered(&one.root.id, estate)) {
            let note = "nothing was pruned: no subscription was read whole, and confirmed by an earlier comparison";
            self.report().notes.push(note.into());
            return;
        }
        let found = match self.find(port, form, estate).await {
            Ok(found) => found,
            Err(error) => return self.report().fail(&error),
        };
        if found.has_no_owners {
            return self.report().fail(&Shortfall::NoOwners);
        }
        let asking = Asking::new(estate.source.client().arm());
        let answers = stream::iter(found.candidates)
            .map(async |candidate| (asking.whether(&candidate.id).await, candidate))
            .buffered(AT_ONCE);
        let (mut gone, mut there, mut unknown) = (Vec::new(), 0_u64, found.unknown);
        let mut answers = std::pin::pin!(answers);
        while let Some((answer, candidate)) = answers.next().await {
            match answer {
                Ok(Existence::Gone) => gone.push(candidate),
                Ok(Existence::There) => there += 1,
                Ok(Existence::Unknown) => unknown += 1,
                Err(error) => return self.report().fail(&error),
            }
        }
        if there > 0 {
            self.report().notes.push(format!("{there} entities were not read, and are in Azure: they are kept"));
        }
        if unknown > 0 {
            self.report()
                .notes
                .push(format!("{unknown} entities were not read, and cannot be asked for in Azure: they are kept"));
        }
        if gone.len() as u64 * 100 > found.held * limit {
            return self.report().fail(&Shortfall::PruneLimit { gone: gone.len() as u64, held: found.held, limit });
        }
        if self.config.dry_run.is_some() {
            self.report().pruned = Some(gone.len() as u64);
            return self.print(&gone);
        }
        for Candidate { blueprint, identifier, .. } in &gone {
            tracing::info!("deleted: {} of {}, which is not in Azure", printable(identifier), printable(blueprint));
        }
        let deleted = self.delete(port, &gone).await;
        self.report().pruned = Some(deleted);
    }

    /// Prints what would be deleted, as a dry run prints deletes.
    fn print(&self, gone: &[Candidate]) {
        let mut output = self.output();
        let printed = gone.iter().try_for_each(|Candidate { blueprint, identifier, .. }| {
            writeln!(output, "{}", json!({"blueprint": blueprint, "delete": identifier}))
        });
        match printed.and_then(|()| output.flush()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => self.report().closed = true,
            Err(error) => self.report().fail(&Shortfall::Unprinted(error)),
            Ok(()) => {}
        }
    }

    /// Whether this run has read all of the subscription, proven and looked at, and an earlier one has found the same.
    fn is_covered(&self, id: &Id, estate: &Estate) -> bool {
        self.replica.mark(&id.root()).full == Some(estate.start)
    }

    /// What Port holds of ours, and what of it was not read.
    async fn find(&self, port: &Port, form: &Form, estate: &Estate) -> Result<Found, PortError> {
        let before = estate.start.checked_sub(CLOCK_TOLERANCE).unwrap_or(Timestamp::MIN);
        let mut found = Found::default();
        for blueprint in leaf_first(form.mapping()) {
            let include = || ["$identifier", "$updatedAt"].map(str::to_owned).into();
            // Where Port does not go by who wrote an entity, this finds all that there are, and nobody knows which are ours.
            let nobody = Uuid::new_v4().to_string();
            let by_nobody = port.search(&blueprint, Some(written_by(&[&nobody])), include()).next().await?;
            if by_nobody.is_some_and(|page| !page.is_empty()) {
                found.has_no_owners = true;
                return Ok(found);
            }
            let mut pages = port.search(&blueprint, Some(port.ours()), include());
            while let Some(page) = pages.next().await? {
                for entity in page {
                    let Ok(shown) = serde_json::from_str::<Shown>(entity.get()) else { continue };
                    found.held += 1;
                    let is_old = shown.updated_at.is_some_and(|at| at < before);
                    if !is_old || form.has_made(&blueprint, &shown.identifier) {
                        continue;
                    }
                    match arm_id(&shown.identifier).and_then(|text| Some((id_of(&text)?, text))) {
                        Some((id, text)) if self.is_covered(&id, estate) => found.candidates.push(Candidate {
                            blueprint: blueprint.clone(),
                            identifier: shown.identifier,
                            id: text,
                        }),
                        // Of a subscription that was not looked at nothing is known.
                        Some(_) => {}
                        None => found.unknown += 1,
                    }
                }
            }
        }
        Ok(found)
    }

    /// Deletes them, in halves where others relate to one of them. How many are gone.
    async fn delete(&self, port: &Port, gone: &[Candidate]) -> u64 {
        let (mut deleted, mut kept) = (0, 0_u64);
        let of_one = gone.chunk_by(|one, other| one.blueprint == other.blueprint);
        let mut waiting: Vec<&[Candidate]> = of_one.flat_map(|some| some.chunks(MOST_DELETED.get())).collect();
        waiting.reverse();
        while let Some(some) = waiting.pop() {
            let [first, rest @ ..] = some else { continue };
            let identifiers: Vec<&str> = some.iter().map(|one| one.identifier.as_str()).collect();
            match port.delete_patiently(&first.blueprint, &identifiers).await {
                Ok(()) => deleted += some.len() as u64,
                Err(error) if error.is_of_content() && !rest.is_empty() => {
                    let (one, other) = some.split_at(some.len() / 2);
                    waiting.extend([other, one]);
                }
                Err(error) if error.is_of_content() => {
                    tracing::warn!(
                        "kept: {} of {}: {error}",
                        printable(&first.identifier),
                        printable(&first.blueprint)
                    );
                    kept += 1;
                }
                Err(error) => {
                    self.report().fail(&error);
                    break;
                }
            }
        }
        if kept > 0 {
            self.report().fail(&Shortfall::Unpruned(kept));
        }
        deleted
    }
}

/// The blueprints of a mapping, those of resources first.
fn leaf_first(mapping: &Mapping) -> Vec<String> {
    let mut blueprints: Vec<String> = Vec::new();
    for kind in LEAF_FIRST {
        for blueprint in mapping.blueprints_of(kind) {
            if !blueprints.contains(&blueprint) {
                blueprints.push(blueprint);
            }
        }
    }
    blueprints
}
