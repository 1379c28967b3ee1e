//! Leaves: those with a record, all rows when they are due, and what remains once they are read.

use std::collections::HashMap;

use super::batch::{Batch, Extent, Page};
use super::decide::Send;
use super::delivery::Wave;
use super::reading::Coming;
use super::{Absent, Answer, Engine, Entry, Fatal, Key, Replica, Source};
use crate::model::{Finding, Id, Record, RecordKind, Scope, Stage};

impl<S: Source, R: Replica> Engine<'_, S, R> {
    /// Takes a page of leaves: sends those that exist and differ, and holds the others back.
    pub(super) async fn leaves(
        &self,
        b: &mut Batch<'_>,
        kind: Page,
        page: Vec<Finding>,
    ) -> Result<(), Fatal<R::Error>> {
        for leaf in &page {
            b.note_alive(leaf);
        }
        let mut shown = Vec::new();
        match kind {
            Page::Rows => shown = self.news(b, page, Stage::Leaf),
            Page::Records => {
                for finding in page.into_iter().filter(|finding| finding.id().stage() == Stage::Leaf) {
                    if b.counts(&finding) {
                        if let Some(record) = finding.record {
                            b.records.insert(Key::of(finding.id()), record);
                        }
                        b.sort(finding, self.late(), &mut shown);
                    }
                }
            }
        }
        self.visit_containers_of(b, &shown).await?;
        let sends = self.decide(b, shown).await?;
        self.send(b, Wave::Leaves, sends).await
    }

    /// Rows of a page that were not found before, with their records.
    pub(super) fn news(&self, b: &mut Batch<'_>, page: Vec<Finding>, stage: Stage) -> Vec<Finding> {
        let mut news = Vec::new();
        for finding in page.into_iter().filter(|finding| finding.id().stage() == stage) {
            let key = Key::of(finding.id());
            if self.replica.remembers() {
                b.seen.push(key);
            }
            let finding = b.with_record(finding);
            // A container with both a row and a delete record proves nothing: one of the two is late, and acting on the
            // row would re-read everything in the container.
            let is_in_doubt =
                stage == Stage::Container && finding.record.is_some_and(|record| record.kind == RecordKind::Delete);
            if !b.found.contains(&key) && !is_in_doubt {
                news.push(finding);
            }
        }
        news
    }

    /// Reads all rows of leaves if they are due, otherwise those in containers that are re-read.
    pub(super) async fn rows(
        &self,
        b: &mut Batch<'_>,
        extent: Extent,
        all: Option<Coming<S::Error>>,
    ) -> Result<Option<Answer>, Fatal<R::Error>> {
        let mut within: Vec<Id> = b.reread.iter().cloned().collect();
        let is_selective = extent == Extent::Everything && all.is_none();
        if is_selective {
            for shard in b.shards {
                self.each_child(shard, |id, entry| {
                    if id.stage() == Stage::Container && entry.scope == Some(Scope::In) && !b.is_reread(&id) {
                        within.push(id);
                    }
                    Ok(())
                })?;
            }
        }
        within.sort_unstable();
        let answer = if let Some(all) = all {
            self.take_coming(all, async |page| self.leaves(b, Page::Rows, page).await).await?
        } else if within.is_empty() {
            // Nothing to read counts as all read.
            return Ok(
                is_selective.then(|| Answer { covered: b.shards.iter().cloned().collect(), ..Answer::default() })
            );
        } else {
            let shards = b.shards;
            match self.kept(self.source.within(shards, &within).await) {
                Some(reading) => self.take(reading, async |page| self.leaves(b, Page::Rows, page).await).await?,
                None => None,
            }
        };
        b.seen.sort_unstable();
        self.note_failed(b, answer.as_ref())?;
        if let Some(answer) = &answer {
            for container in b.reread.iter().filter(|container| answer.covered.contains(container.shard())) {
                // A container that was out of scope, and was not itself seen, is still undecided.
                let is_over = |entry: &Entry| entry.scope != Some(Scope::Out) || b.is_visited(container);
                if let Some(entry) = self.entry(container)?.filter(is_over) {
                    self.put(container, Entry { unread: false, ..entry })?;
                }
            }
            for missed in &b.missed {
                let entry = self.entry(missed.id())?;
                let is_reread = missed.id().parent().is_some_and(|container| {
                    b.reread.contains(&container) && answer.covered.contains(container.shard())
                });
                if is_reread && Self::is_fresh(entry.as_ref(), missed.record.as_ref()) {
                    self.put(missed.id(), entry.unwrap_or(Entry::NEW).doubted())?;
                }
            }
        }
        Ok(answer)
    }

    /// Handles what remains once all rows are read: what is gone, and what is missing.
    pub(super) async fn end(
        &self,
        b: &mut Batch<'_>,
        is_all_read: &impl Fn(&Id) -> bool,
    ) -> Result<(), Fatal<R::Error>> {
        b.leave_out_seen();
        let mut ready = Vec::new();
        for container in &b.gone {
            // They went along with it, without a record of their own: asking for them once is enough.
            self.each_child(container, |id, entry| {
                if entry.is_held() && !b.is_found(&id) {
                    self.put(&id, Entry { absent: Some(Absent::Proven), ..entry })?;
                }
                Ok(())
            })?;
        }
        let mut missed = Vec::new();
        for finding in std::mem::take(&mut b.missed) {
            let went_along = finding.id().parent().is_some_and(|container| b.gone.contains(&container));
            match finding.record {
                Some(record) if went_along && self.entry(finding.id())?.is_none() => {
                    b.found.insert(Key::of(finding.id()));
                    ready.push(self.gone(finding.id(), Some(Record { kind: RecordKind::Delete, ..record })));
                }
                _ => missed.push(finding),
            }
        }
        for finding in std::mem::take(&mut b.missing) {
            b.found.insert(Key::of(finding.id()));
            ready.push(finding);
        }
        if self.replica.remembers() {
            self.settle_all().await?;
            let asked = self.ask(b, Stage::Leaf, missed, is_all_read).await?;
            for leaf in &asked {
                b.note_alive(leaf);
            }
            ready.extend(asked);
        } else {
            self.counts.borrow_mut().unresolved += missed.len() as u64;
        }
        let mut sends = self.decide(b, ready).await?;
        self.hold_back(b, &mut sends);
        self.send(b, Wave::Leaves, sends).await
    }

    /// Drops the deletes of shards that would lose too much at once.
    fn hold_back(&self, b: &mut Batch<'_>, sends: &mut Vec<Send>) {
        let Some((least, percent)) = self.settings.bounds.mass else { return };
        let mut deletes: HashMap<Id, u64> = HashMap::new();
        for send in sends.iter().filter(|send| send.is_delete() && send.entry.is_held()) {
            *deletes.entry(send.parcel.change().id.root()).or_default() += 1;
        }
        for (shard, count) in deletes {
            let held = self.replica.held(&shard);
            if count > least && count * 100 > held * percent {
                self.counts.borrow_mut().held_back.push((shard.clone(), count));
                b.held_back.insert(shard);
            }
        }
        sends.retain(|send| !send.is_delete() || !b.held_back.contains(send.parcel.change().id.shard()));
    }
}
