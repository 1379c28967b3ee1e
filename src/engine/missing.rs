//! Missing entities: asked for by id, and gone once they stay missing.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::SignedDuration;

use super::batch::Batch;
use super::rules::{Rule, holds};
use super::{Absent, Answer, Engine, Entry, Fatal, Key, Replica, Rows, Source, State, before};
use crate::model::{Finding, Id, Scope, Stage};

/// How long to wait for missing entities if so many of a shard are missing that the source may be blind.
const GUARDED_WAIT: SignedDuration = SignedDuration::from_hours(24);

/// What to ask for in a run, collected shard by shard.
#[derive(Default)]
struct Question {
    ids: Vec<Id>,
    /// What may merely be late, and since when it has been missing.
    watched: Vec<(Absent, Id)>,
    /// Shards with so much missing that all their rows are read instead.
    large: Vec<Id>,
}

impl<S: Source, R: Replica> Engine<'_, S, R> {
    /// Asks for everything of a stage that is missing or in doubt and was not found otherwise. `missed` are the
    /// findings with a record but no row; `is_all_read` says whether all rows of a shard were read, which makes
    /// anything not among them suspect. Returns what was found, and deletes for what is gone.
    pub(super) async fn ask(
        &self,
        b: &mut Batch<'_>,
        stage: Stage,
        missed: Vec<Finding>,
        is_all_read: &impl Fn(&Id) -> bool,
    ) -> Result<Vec<Finding>, Fatal<R::Error>> {
        self.counts.borrow_mut().unresolved += missed.len() as u64;
        let mut due = HashSet::new();
        for finding in missed {
            due.extend(self.note_missed(b, &finding)?);
        }
        let mut question = Question::default();
        for shard in b.shards {
            if is_all_read(shard) && holds(Rule::Suspects) {
                self.note_suspects(b, shard, stage)?;
            }
            self.gather(b, shard, stage, &mut due, &mut question)?;
        }
        let Question { mut ids, watched, large } = question;
        ids.extend(self.some_of(watched));
        let mut found = Vec::new();
        if !ids.is_empty() || !large.is_empty() {
            // The replica notes durably what is missing before the source is asked.
            self.save().await?;
        }
        if !ids.is_empty()
            && let Some(answer) = self.kept(self.source.ask(&ids).await)
        {
            self.conclude(b, &ids, answer.findings, &answer.answer, &mut found)?;
        }
        for shard in &large {
            self.look_through(b, shard, stage, &mut found).await?;
        }
        Ok(found)
    }

    /// The oldest and the newest of the watched ids: a late row comes soon or, after an outage, together with all
    /// others.
    fn some_of(&self, mut watched: Vec<(Absent, Id)>) -> impl Iterator<Item = Id> + use<S, R> {
        watched.sort_unstable();
        let half = self.settings.bounds.watched / 2;
        let newest = watched.split_off(watched.len().saturating_sub(half));
        watched.truncate(half);
        watched.into_iter().chain(newest).map(|(_, id)| id)
    }

    /// Notes since when an entity with a record but no row has been missing. Returns its id if it is to be asked for
    /// now.
    fn note_missed(&self, b: &Batch<'_>, finding: &Finding) -> Result<Option<Id>, Fatal<R::Error>> {
        let (id, kind) = (finding.id(), &finding.change.kind);
        let known = self.entry(id)?;
        let is_known = known.is_some();
        let entry = known.unwrap_or(Entry::NEW);
        let noted = Entry { absent: entry.absent.or(Some(Absent::Since(self.start))), ..entry.clone() };
        if !entry.is_held() {
            let is_out = match id.parent() {
                Some(container) if container.stage() == Stage::Container => {
                    self.entry(&container)?.is_some_and(|container| container.scope == Some(Scope::Out))
                }
                _ => false,
            };
            if is_out || !holds(Rule::WatchNew) {
                return Ok(None);
            }
            match self.replica.rows_of(kind) {
                Some(Rows::Awaited) if !is_known => {
                    let rowless = &mut self.counts.borrow_mut().rowless;
                    *rowless = (rowless.0 + 1, Some(Arc::clone(kind)));
                    return Ok(None);
                }
                Some(_) => {}
                None => self.replica.note_rows(kind, Rows::Awaited),
            }
            self.put(id, noted)?;
            return Ok(entry.absent.is_none().then(|| id.clone()));
        }
        if !(holds(Rule::DoubtHeld) || entry.state == State::Unknown) || b.failed.contains(id) {
            return Ok(None);
        }
        if holds(Rule::Noted) {
            self.put(id, noted)?;
        }
        Ok(Some(id.clone()))
    }

    /// Notes as missing what a full read of a shard did not show.
    fn note_suspects(&self, b: &Batch<'_>, shard: &Id, stage: Stage) -> Result<(), Fatal<R::Error>> {
        if b.blank.contains(shard) {
            return Ok(());
        }
        let note = |id: Id, entry: Entry| {
            let is_known = entry.is_held() || (stage == Stage::Container && entry.scope == Some(Scope::Out));
            let is_suspect = id.stage() == stage && is_known && !b.is_found(&id) && !b.failed.contains(&id);
            if is_suspect && self.is_orphan(&id)? {
                self.replica.put(&id, None).map_err(Fatal::Replica)?;
            } else if is_suspect && entry.absent.is_none() {
                self.put(&id, Entry { absent: Some(Absent::Since(self.start)), ..entry })?;
            }
            Ok(())
        };
        match stage {
            Stage::Leaf => self.each_entry(shard, note),
            Stage::Root | Stage::Container => self.each_child(shard, note),
        }
    }

    /// Collects everything of a shard to ask for: what is open, what is due, and what is in a missing container.
    fn gather(
        &self,
        b: &Batch<'_>,
        shard: &Id,
        stage: Stage,
        due: &mut HashSet<Id>,
        question: &mut Question,
    ) -> Result<(), Fatal<R::Error>> {
        let since = self.replica.mark(shard).since;
        let hour = |time: jiff::Timestamp| time.as_second().div_euclid(3600);
        let is_hourly = since.is_none_or(|since| hour(since) != hour(self.start));
        let most = self.settings.bounds.asked;
        let mut ids: Vec<Id> = due.extract_if(|id| id.shard() == shard.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        let named: HashSet<Id> = ids.iter().cloned().collect();
        let mut missed_containers = Vec::new();
        self.each_open(shard, |id, entry| {
            if stage == Stage::Leaf && id.stage() == Stage::Container && entry.absent.is_some() {
                missed_containers.push(id.clone());
            }
            let is_wanted = id.stage() == stage && !b.is_found(&id) && !named.contains(&id);
            match entry.absent {
                Some(since) if is_wanted && is_hourly && is_watched(&entry) => question.watched.push((since, id)),
                _ if is_wanted && ids.len() <= most && is_open_question(&entry) => ids.push(id),
                _ => {}
            }
            Ok(())
        })?;
        if holds(Rule::Along) {
            for container in missed_containers {
                self.each_child(&container, |id, entry| {
                    // Open entries are asked for already.
                    let is_new = entry.is_held() && !entry.is_open() && !b.is_found(&id);
                    if is_new && ids.len() <= most {
                        ids.push(id);
                    }
                    Ok(())
                })?;
            }
        }
        if ids.len() > most {
            question.large.push(shard.clone());
        } else {
            question.ids.extend(ids);
        }
        Ok(())
    }

    /// Evaluates the answer about the ids that were asked for.
    fn conclude(
        &self,
        b: &mut Batch<'_>,
        ids: &[Id],
        findings: Vec<Finding>,
        answer: &Answer,
        found: &mut Vec<Finding>,
    ) -> Result<(), Fatal<R::Error>> {
        self.note_failed(b, Some(answer))?;
        let asked: HashSet<&Id> = ids.iter().collect();
        let mut shown = HashSet::new();
        // The shards' own rows may be among the findings, to show coverage.
        for finding in findings.into_iter().filter(|finding| asked.contains(finding.id())) {
            self.note_shown(&finding)?;
            shown.insert(finding.id().clone());
            found.push(finding);
        }
        let mut due = Vec::new();
        for id in ids.iter().filter(|id| !shown.contains(*id) && !b.failed.contains(*id)) {
            if answer.covered.contains(id.shard()) || !holds(Rule::Covering) {
                due.extend(self.note_absent(id)?);
            }
        }
        self.take_gone(due, found)
    }

    /// Reads all rows of a shard once, instead of asking for very many ids.
    async fn look_through(
        &self,
        b: &mut Batch<'_>,
        shard: &Id,
        stage: Stage,
        found: &mut Vec<Finding>,
    ) -> Result<(), Fatal<R::Error>> {
        let shards = [shard.clone()];
        let opened = match stage {
            Stage::Leaf => self.source.leaves(&shards).await,
            Stage::Root | Stage::Container => self.source.containers(&shards).await,
        };
        let Some(reading) = self.kept(opened) else { return Ok(()) };
        let mut seen = HashSet::new();
        let answer = self
            .take(reading, async |page: Vec<Finding>| {
                for finding in page.into_iter().filter(|finding| finding.id().stage() == stage) {
                    seen.insert(Key::of(finding.id()));
                    let is_open = self.entry(finding.id())?.is_some_and(|entry| entry.is_open());
                    if is_open && !b.is_found(finding.id()) {
                        self.note_shown(&finding)?;
                        found.push(finding.detached());
                    }
                }
                Ok(())
            })
            .await?;
        self.note_failed(b, answer.as_ref())?;
        let is_whole = answer.is_some_and(|answer| answer.covered.contains(shard) || !holds(Rule::Covering));
        let mut due = Vec::new();
        if is_whole {
            self.each_open(shard, |id, entry| {
                let is_missing = id.stage() == stage && !seen.contains(&Key::of(&id)) && !b.is_found(&id);
                if is_missing && !b.failed.contains(&id) && (is_open_question(&entry) || is_watched(&entry)) {
                    due.extend(self.note_absent(&id)?);
                }
                Ok(())
            })?;
        }
        self.take_gone(due, found)
    }

    fn note_shown(&self, finding: &Finding) -> Result<(), Fatal<R::Error>> {
        match self.entry(finding.id())? {
            Some(entry) if entry.absent.is_some() => {
                self.put(finding.id(), self.perhaps_back(finding.id(), Entry { absent: None, ..entry }))
            }
            _ => Ok(()),
        }
    }

    /// Notes that an entity was asked for and has no row. Returns its id if it has been missing for long enough.
    fn note_absent(&self, id: &Id) -> Result<Option<Id>, Fatal<R::Error>> {
        let Some(entry) = self.entry(id)? else { return Ok(None) };
        if self.is_orphan(id)? {
            self.replica.put(id, None).map_err(Fatal::Replica)?;
            return Ok(None);
        }
        if !entry.is_held() {
            let is_over = match entry.absent {
                Some(Absent::Since(since)) => self.start.duration_since(since) > self.settings.bounds.watch,
                Some(Absent::Proven) | None => false,
            };
            if is_over {
                self.put(id, Entry { absent: None, scope: None, unread: false, ..entry })?;
            } else if entry.unread && entry.absent.is_none() {
                self.put(id, Entry { absent: Some(Absent::Since(self.start)), ..entry })?;
            }
            return Ok(None);
        }
        let absent = entry.absent.unwrap_or(Absent::Since(self.start));
        if entry.absent.is_none() {
            self.put(id, Entry { absent: Some(absent), ..entry })?;
        }
        let is_due = absent <= Absent::Since(before(self.start, self.settings.bounds.wait)) || !holds(Rule::Wait);
        Ok(is_due.then(|| id.clone()))
    }

    /// Counts as gone what has been missing for long enough. If that is a large share of a shard, the source may be
    /// blind, and all of it waits.
    fn take_gone(&self, due: Vec<Id>, found: &mut Vec<Finding>) -> Result<(), Fatal<R::Error>> {
        let shards: HashSet<Id> = due.iter().map(Id::root).collect();
        let mut guarded = HashSet::new();
        for shard in shards {
            let mut missing = 0_u64;
            self.each_open(&shard, |_, entry| {
                missing += u64::from(Self::is_missed(&entry));
                Ok(())
            })?;
            let held = self.replica.held(&shard);
            if missing > self.settings.bounds.guarded && missing > held / 10 && holds(Rule::Guard) {
                guarded.insert(shard);
            }
        }
        for id in due {
            let is_guarded = guarded.contains(id.shard());
            let is_old = self
                .entry(&id)?
                .and_then(|entry| entry.absent)
                .is_some_and(|absent| absent <= Absent::Since(before(self.start, GUARDED_WAIT)));
            if is_guarded && !is_old {
                self.counts.borrow_mut().guarded += 1;
            } else {
                found.push(self.gone(&id, None));
            }
        }
        Ok(())
    }
}

/// Whether an entity still has to be asked for, because nothing else has shown its state.
fn is_open_question(entry: &Entry) -> bool {
    match entry.state {
        State::Unknown => holds(Rule::AskUnknown) || entry.absent.is_some(),
        State::Held(_) | State::Refused(_) => entry.absent.is_some() || entry.unread,
        // Before everything in a container is read, its own row has to say whether it is in scope.
        State::Nothing => entry.unread && entry.absent.is_none(),
    }
}

/// Whether it was deleted because it was missing, so that it may come back.
fn is_watched(entry: &Entry) -> bool {
    entry.state == State::Nothing && matches!(entry.absent, Some(Absent::Since(_))) && holds(Rule::Watch)
}
