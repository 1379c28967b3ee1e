//! Entra ID in a run, beside Azure's resources: its own clock, its own plan, the same sink and the same checkpoint.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::problems::Shortfall;
use super::{Exchanged, Mapped, Posts, Run, RunError, Work, blank};
use crate::azure::api::Api;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::config::{Entra, EntraKind, Mode, OutOfScope};
use crate::engine::{
    Bounds, Delivery, Engine, Fatal, First, Full, Leaving, Mark, Replica, Resend, Settings, Shard, Terms,
};
use crate::error::Stop;
use crate::model::Id;
use crate::progress::Seen;
use crate::report::Report;
use crate::sources::directory::{Counted, Directory};

/// A delta tells of every change. All are compared now and then all the same, as nothing else would find what it did not tell.
const FULL_EVERY: SignedDuration = SignedDuration::from_hours(7 * 24);

/// How far answers may be behind one another. What lists members must not name who was deleted before.
const LATE: SignedDuration = SignedDuration::from_hours(1);

/// What is deleted can be restored for 30 days ("Restore or permanently remove recently deleted users", Microsoft Entra).
const RESTORABLE: SignedDuration = SignedDuration::from_hours(31 * 24);

/// Deleted objects that are asked for in a run, in case that they come back.
const WATCHED: usize = 2000;

/// More deletes of a kind than both are a mass.
const MASS: (u64, u64) = (100, 20);

impl<S: Future<Output = Stop>> Run<'_, S> {
    /// Reads what is to be synced of Entra ID, compares and delivers. The report of it, which is apart from that of Azure's
    /// resources until both have come to their end; `None` if nothing is to be read.
    pub(super) async fn sync_entra(&self, delivery: &Delivery<'_>) -> Result<Option<Report>, RunError> {
        if !self.has_entra() {
            return Ok(None);
        }
        let directory = self.open_directory().await?;
        let mut report = blank(self.config, self.work);
        directory.take_failures().iter().for_each(|error| report.fail(error));
        let start = directory.first_date().unwrap_or_else(Timestamp::now);
        let settings = self.entra_settings(delivery.sink().identity());
        let shards = self.kinds(&directory, settings.full);
        let (engine, orders) = Engine::new(&directory, delivery.sink(), &self.replica, &settings, start);
        let is_drawn = settings.full == Full::Now && !self.has_resources();
        let seen =
            is_drawn.then_some(|posted| Seen { rows: directory.rows(), total: 0, posted, same: engine.counts().same });
        let reading = read(&engine, &directory, &shards);
        let exchanged = Box::pin(self.exchange(&engine, reading, Posts { delivery, orders }, seen)).await;
        let Exchanged { problems, tally, .. } = exchanged;
        report.queries += directory.requests();
        report.rows += directory.rows();
        for error in problems {
            report.fail(error.as_ref());
        }
        engine.take_failures().iter().filter(|error| !error.is_stop()).for_each(|error| report.fail(error));
        let counts = engine.counts();
        for (id, count) in &counts.held_back {
            report.fail(&Shortfall::MassDelete { kind: id.as_str().to_owned(), count: *count });
        }
        let counted = directory.counted();
        report.notes.extend(notes(&counted));
        if !counted.too_large.is_empty() {
            report.fail(&Shortfall::TooManyMembers(counted.too_large.into_iter().collect()));
        }
        report.add(engine.start(), &tally, &counts);
        self.shortfalls(&engine, &shards, &tally).for_each(|error| report.fail(error.as_ref()));
        Ok(Some(report))
    }

    /// Signs in, and asks where the deltas go on.
    async fn open_directory(&self) -> Result<Directory, RunError> {
        let config = self.config;
        if config.mode == Mode::Incremental && !self.replica.remembers() {
            return Err(RunError::NoCursor);
        }
        let api = Api::microsoft_graph(&config.azure, Arc::clone(&self.http))?;
        let directory = Directory::new(api, self.entra(), &config.azure.tenant_id);
        tokio::select! {
            () = directory.open(|shard| self.replica.cursor(shard)) => {}
            stop = self.stop.clone() => return Err(stop.into()),
        }
        Ok(directory)
    }

    /// The kinds, as the engine sees them.
    fn kinds(&self, directory: &Directory, full: Full) -> Vec<Shard> {
        let shard = |(id, sight, is_lost)| {
            if is_lost || full == Full::Now {
                // If it is cut, what it has told of older states is known to nobody: the next run begins again.
                self.replica.set_mark(&id, Mark { full: None, ..self.replica.mark(&id) });
            }
            Shard { id, root: None, sight }
        };
        directory.shards().into_iter().map(shard).collect()
    }

    /// What of Entra ID is synced.
    fn entra(&self) -> Entra {
        Mapped::entra(self.mapped.as_ref(), self.config.entra.as_ref())
    }

    /// Whether something of Entra ID is to be read.
    pub(super) fn has_entra(&self) -> bool {
        *self.work == Work::Sync && !self.entra().kinds.is_empty()
    }

    /// Whether Azure's resources are.
    pub(super) fn has_resources(&self) -> bool {
        *self.work != Work::Sync || (self.config.resources && Mapped::has_resources(self.mapped.as_ref()))
    }

    /// Whether everything is to be read whatever is remembered.
    fn is_forced(&self) -> bool {
        self.config.mode == Mode::Full || !self.replica.remembers()
    }

    fn entra_settings(&self, sink: String) -> Settings {
        let config = self.config;
        let full = match (&config.checkpoint, self.is_forced()) {
            (Some(_), false) => Full::Every(FULL_EVERY),
            _ => Full::Now,
        };
        let mass = (!self.entra().allow_mass_delete).then_some(MASS);
        Settings {
            // The scope of Azure's resources; what a kind depends on, its cursor says.
            terms: Terms { sink, scope: Mapped::terms(self.mapped.as_ref(), &config.scope).to_text() },
            overlap: SignedDuration::ZERO,
            full,
            first: First::AtOnce,
            leaving: self.leaving(),
            resend: if config.resend_all { Resend::All } else { Resend::Nothing },
            bounds: Bounds { watched: WATCHED, wait: LATE, watch: RESTORABLE, mass, ..Bounds::default() },
        }
    }

    /// What becomes of what leaves the scope.
    pub(super) fn leaving(&self) -> Leaving {
        match self.config.checkpoint.as_ref().map(|checkpoint| checkpoint.out_of_scope) {
            Some(OutOfScope::Keep) => Leaving::Keep,
            Some(OutOfScope::Delete) | None => Leaving::Delete,
        }
    }
}

/// Whether a shard is of Azure's resources, and not a kind of Entra ID.
pub(super) fn is_subscription(shard: &Id) -> bool {
    shard.as_str().starts_with('/')
}

/// Reads all kinds side by side. What others relate to, or are parts of, is posted before them.
async fn read(
    engine: &Engine<'_, Directory, Checkpoint>,
    directory: &Directory,
    shards: &[Shard],
) -> Result<(), Fatal<CheckpointError>> {
    let of = |kinds: &[EntraKind]| -> Vec<Shard> {
        let is_one = |shard: &&Shard| EntraKind::of(&shard.id).is_some_and(|kind| kinds.contains(&kind));
        shards.iter().filter(is_one).cloned().collect()
    };
    let first = of(&[EntraKind::User, EntraKind::Application, EntraKind::ServicePrincipal]);
    let groups = of(&[EntraKind::Group]);
    let apart = of(&[EntraKind::SignIn, EntraKind::Membership]);
    let first = async {
        engine.run(&first).await?;
        engine.settle_all().await?;
        directory.note_posted(EntraKind::User);
        Ok(())
    };
    let groups = async {
        engine.run(&groups).await?;
        directory.until_posted(EntraKind::User).await;
        engine.settle_all().await?;
        directory.note_posted(EntraKind::Group);
        Ok(())
    };
    futures::try_join!(first, groups, engine.run(&apart)).map(drop)
}

/// What of members and sign-ins could not be told.
fn notes(counted: &Counted) -> Vec<String> {
    let Counted { waiting, users_waiting, hidden, others, unlicensed, .. } = counted;
    let mut notes = Vec::new();
    if *users_waiting > 0 {
        notes.push(format!(
            "{users_waiting} users are read again later: Microsoft Graph's list of their groups lags behind"
        ));
    }
    if let Some(why) = unlicensed {
        tracing::warn!("sign-ins are not read: {why}");
        notes.push("sign-ins are not read, as the tenant has no licence of Entra ID P1 or P2".to_owned());
    }
    if *waiting > 0 {
        notes.push(format!(
            "{waiting} groups are read again later: Microsoft Graph's list of their members lags behind"
        ));
    }
    if !hidden.is_empty() {
        notes.push(format!(
            "{} groups hide their members, which stay as they were: reading them takes the permission Member.Read.Hidden",
            hidden.len()
        ));
    }
    if !others.is_empty() {
        let others: Vec<String> = others.iter().map(|(kind, count)| format!("{count} × {kind}")).collect();
        notes.push(format!("members other than users are left out: {}", others.join(", ")));
    }
    notes
}
