//! Reads containers by their own rows, which decide the scope of what is in them.

use super::batch::Batch;
use super::decide::Send;
use super::delivery::Wave;
use super::rules::{Rule, holds};
use super::{Answer, Engine, Entry, Fatal, Key, Replica, Source, State};
use crate::model::{Finding, Id, RecordKind, Scope, Stage};

impl<S: Source, R: Replica> Engine<'_, S, R> {
    /// Handles containers: those with a record, all that exist if they are read, and those that are missing.
    pub(super) async fn containers(
        &self,
        b: &mut Batch<'_>,
        records: Vec<Finding>,
        reading: Option<S::Reading<'_>>,
    ) -> Result<Option<Answer>, Fatal<R::Error>> {
        let is_full = reading.is_some();
        let mut shown = Vec::new();
        for finding in records.into_iter().filter(|finding| finding.id().stage() == Stage::Container) {
            if is_full && let Some(record) = finding.record {
                b.records.insert(Key::of(finding.id()), record);
            }
            b.sort(finding, self.late(), &mut shown);
        }
        self.send_containers(b, shown).await?;
        let answer = match reading {
            Some(reading) => {
                self.take(reading, async |page: Vec<Finding>| {
                    let page = self.news(b, page, Stage::Container);
                    self.send_containers(b, page).await
                })
                .await?
            }
            None => None,
        };
        self.note_failed(b, answer.as_ref())?;
        b.seen.sort_unstable();
        b.leave_out_seen();
        let gone = std::mem::take(&mut b.missing);
        b.found.extend(gone.iter().map(|finding| Key::of(finding.id())));
        self.send_containers(b, gone).await?;
        let missed = std::mem::take(&mut b.missed);
        b.awaited.extend(missed.iter().map(|finding| Key::of(finding.id())));
        if self.replica.remembers() {
            self.settle_all().await?;
            let is_suspect = |shard: &Id| answer.as_ref().is_some_and(|answer| answer.covered.contains(shard));
            let asked = self.ask(b, Stage::Container, missed, &is_suspect).await?;
            self.send_containers(b, asked).await?;
        } else {
            self.counts.borrow_mut().unresolved += missed.len() as u64;
        }
        Ok(answer)
    }

    /// Sends the changes of the containers found; deletes wait until their contents are gone.
    pub(super) async fn send_containers(
        &self,
        b: &mut Batch<'_>,
        findings: Vec<Finding>,
    ) -> Result<(), Fatal<R::Error>> {
        let mut looked_at = Vec::new();
        for finding in findings {
            // The first row counts: a row may come twice, from replicas that disagree.
            if !b.visited.insert(Key::of(finding.id())) {
                continue;
            }
            self.note_container(b, &finding)?;
            looked_at.push(finding);
        }
        let mut sends = self.decide(b, looked_at).await?;
        let at_end = |send: &mut Send| send.is_delete() == holds(Rule::Order);
        for send in sends.extract_if(.., at_end) {
            if send.is_missed() {
                b.doomed.insert(Key::of(&send.parcel.change().id));
            }
            b.deletes.push(send);
        }
        self.send(b, Wave::Containers, sends).await
    }

    /// Notes the scope from a container's own row. If the scope may have changed, or something in the container may
    /// have been missed, everything in it is to be read, and what is held of it is in doubt.
    pub(super) fn note_container(&self, b: &mut Batch<'_>, finding: &Finding) -> Result<(), Fatal<R::Error>> {
        let id = finding.id();
        let known = self.entry(id)?;
        let entry = known.clone().unwrap_or(Entry::NEW);
        if !finding.exists {
            if finding.record.is_some_and(|record| record.kind == RecordKind::Delete) {
                if holds(Rule::GoneChildren) {
                    b.gone.insert(id.clone());
                }
                if known.is_some() {
                    self.put(id, Entry { scope: None, unread: false, absent: None, ..entry })?;
                }
            }
            return Ok(());
        }
        let scope = finding.scope.unwrap_or(Scope::In);
        let is_moved = finding.record.is_some_and(|record| record.moves_scope)
            && Self::is_fresh(known.as_ref(), finding.record.as_ref());
        let is_reread = is_moved && (known.is_some() || scope == Scope::Out) && holds(Rule::Reread);
        let differs = entry.scope != Some(scope) && (known.is_some() || scope == Scope::In) && holds(Rule::Differs);
        let is_unread = (is_reread || differs) && self.replica.remembers();
        if is_unread {
            self.doubt_all(id)?;
        }
        let noted = if known.is_some() || scope == Scope::In || is_reread {
            // A run lost from the replica may have deleted it.
            let there = entry.there && !is_unread;
            Entry { scope: Some(scope), unread: entry.unread || is_unread, absent: None, there, ..entry }
        } else {
            Entry { scope: Some(Scope::Out), ..Entry::NEW }
        };
        if noted.unread {
            b.reread.insert(id.clone());
        }
        if known.as_ref() == Some(&noted) { Ok(()) } else { self.put(id, noted) }
    }

    /// Notes containers that an earlier run left to be read, before any leaf is looked at.
    pub(super) fn note_unread(&self, b: &mut Batch<'_>) -> Result<(), Fatal<R::Error>> {
        for shard in b.shards {
            self.each_open(shard, |id, entry| {
                if id.stage() == Stage::Container && entry.unread && entry.absent.is_none() {
                    b.reread.insert(id);
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Doubts everything in a container: what was held is in doubt, and what was deleted may be back.
    pub(super) fn doubt_all(&self, container: &Id) -> Result<(), Fatal<R::Error>> {
        self.each_child(container, |id, entry| {
            let doubted = match entry.state {
                State::Nothing if entry.absent.is_none() => None,
                State::Nothing => Some(Entry { at: None, ..entry }),
                _ => Some(entry.doubted()),
            };
            self.replica.put(&id, doubted).map_err(Fatal::Replica)
        })
    }

    /// Asks for containers of leaves that have not been seen: their scope decides, and they are sent first.
    pub(super) async fn visit_containers_of(
        &self,
        b: &mut Batch<'_>,
        leaves: &[Finding],
    ) -> Result<(), Fatal<R::Error>> {
        let mut unvisited: Vec<Id> = Vec::new();
        let mut last = None;
        for leaf in leaves {
            // Rows come ordered by id.
            if last == Some(leaf.id().container()) {
                continue;
            }
            last = Some(leaf.id().container());
            if let Some(container) = leaf.id().parent().filter(|parent| parent.stage() == Stage::Container)
                && !b.visited.contains(&Key::of(&container))
                && !unvisited.contains(&container)
                && self.entry(&container)?.is_none()
            {
                unvisited.push(container);
            }
        }
        if unvisited.is_empty() {
            return Ok(());
        }
        if let Some(found) = self.kept(self.source.ask(&unvisited).await) {
            self.note_failed(b, Some(&found.answer))?;
            self.send_containers(b, found.findings).await?;
        }
        b.visited.extend(unvisited.iter().map(Key::of));
        Ok(())
    }
}
