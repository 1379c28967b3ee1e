//! What a run with a checkpoint decides about each change, and what it remembers of it.
//!
//! Re-reading is not re-sending: an envelope goes out only when its content differs from what was last delivered under its
//! id. Where a record and the current row disagree, nothing is sent until they agree. With tag filters, a group's own record
//! moves it, and all that is in it, into or out of scope.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};

use super::change::{Change, Operation, Subject};
use super::checkpoint::{Checkpoint, Delivered, Membership, Pending, SubscriptionMark};
use super::plan::{Batch, How};
use crate::azure::subscriptions::Subscription;
use crate::config::OutOfScope;
use crate::id::Id;
use crate::text::printable;

/// A record and a row that still disagree after this time are given up.
const PENDING_KEPT: SignedDuration = SignedDuration::from_hours(24);

/// How a page was read, which decides what its rows mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Everything that exists, and what was deleted.
    Full,
    /// Latest changes.
    Changes,
    /// What exists in groups that entered the scope.
    Entering,
    /// What exists in groups that left it, and has to go.
    Leaving,
    /// What somebody asked for by id: sent whatever was sent before.
    Asked,
}

/// What is to be done with a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Send,
    /// Delivered already, or told by the listing of subscriptions.
    Delivered,
    /// Its record and its current row disagree.
    Unresolved,
    OutOfScope,
}

/// A group that crossed the border of the scope.
#[derive(Clone, Debug)]
pub(crate) struct Crossing {
    /// The group's own change.
    pub(crate) change: Change,
    pub(crate) resource_id: String,
}

/// The upsert of a subscription.
#[derive(Clone, Copy, Debug)]
struct Shown {
    content: Id,
    /// By Port, for itself; else it was accepted.
    refused: bool,
}

/// Counts for the report.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Read again, and not sent again.
    pub(crate) skipped: u64,
    /// Read again, and refused by Port before.
    pub(crate) still_refused: u64,
    pub(crate) pending: u64,
}

/// The memory of a run.
#[derive(Debug)]
pub(crate) struct Ledger {
    checkpoint: Checkpoint,
    start: Timestamp,
    overlap: SignedDuration,
    filtered: bool,
    out_of_scope: OutOfScope,
    /// Whether the file holds what it must before anything more is posted: no deliveries, and every group of `groups`.
    is_ahead: bool,
    /// What this run posts and remembers, once it is accepted.
    remembered: HashSet<Id>,
    /// Pending ids that were read in this run already.
    asked: HashSet<String>,
    /// Ids, with their subscriptions, whose record and row agree, or that turned out to be out of scope; they are pending until
    /// what that means was delivered.
    agreed: HashMap<String, Id>,
    entering: Vec<Crossing>,
    leaving: Vec<Crossing>,
    /// Groups all of whose resources this run reads.
    whole: Vec<(Id, Id)>,
    /// Containers whose delete was accepted: Port deletes what depends on them.
    deleted_containers: HashSet<Id>,
    /// Groups, with their subscriptions, whose delete Port has. They count as being in the catalog until all else of their
    /// subscription was delivered: what is in them goes first.
    left: Vec<(Id, Id)>,
    /// Groups that may be in the catalog through this run, or are still to be taken out of it.
    touched: HashSet<Id>,
    /// What became of the upserts of subscriptions.
    shown: HashMap<Id, Shown>,
    /// Subscriptions that Resource Graph knows of, among those read in full.
    graphed: HashSet<Id>,
    /// Subscriptions with an envelope that was not delivered.
    failed: HashSet<Id>,
    counts: Counts,
}

impl Ledger {
    pub(crate) fn new(
        checkpoint: Checkpoint,
        start: Timestamp,
        overlap: SignedDuration,
        filtered: bool,
        out_of_scope: OutOfScope,
    ) -> Self {
        Self {
            checkpoint,
            start,
            overlap,
            filtered,
            out_of_scope,
            is_ahead: false,
            remembered: HashSet::new(),
            asked: HashSet::new(),
            agreed: HashMap::new(),
            entering: Vec::new(),
            leaving: Vec::new(),
            whole: Vec::new(),
            deleted_containers: HashSet::new(),
            left: Vec::new(),
            touched: HashSet::new(),
            shown: HashMap::new(),
            graphed: HashSet::new(),
            failed: HashSet::new(),
            counts: Counts::default(),
        }
    }

    /// Whether a subscription's upsert says something new; it counts as posted if so.
    pub(crate) fn is_news(&mut self, subscription: &Subscription, upsert: &Change, full: bool) -> bool {
        let content = upsert.content();
        let known = self.checkpoint.subscriptions.get(&subscription.id);
        match known.filter(|mark| mark.shown == Some(content) && !full) {
            Some(mark) => {
                self.shown.insert(upsert.id, Shown { content, refused: mark.refused });
                self.counts.still_refused += u64::from(mark.refused);
                false
            }
            None => true,
        }
    }

    /// What is to be done with a change. What is to be sent counts as posted from here on.
    pub(crate) fn judge(&mut self, lane: Lane, change: &Change) -> Verdict {
        if lane == Lane::Asked {
            self.post(change, false);
            return Verdict::Send;
        }
        if change.subject == Subject::Subscription {
            // Resource Manager lists it as it is now, which is later than any record.
            self.graphed.insert(change.id);
            return Verdict::Delivered;
        }
        if lane != Lane::Leaving
            && let Some(verdict) = self.judge_record(lane, change)
        {
            return verdict;
        }
        self.judge_content(lane, change)
    }

    /// Whether the record holds: it agrees with the current row, and its group is in scope.
    fn judge_record(&mut self, lane: Lane, change: &Change) -> Option<Verdict> {
        let agrees = match (change.operation, change.subject) {
            (Operation::Delete, _) => !change.exists,
            (Operation::Upsert, Subject::Resource) => change.exists && (change.group_exists || !self.filtered),
            (Operation::Upsert, _) => change.exists,
        };
        if !agrees {
            if lane == Lane::Changes {
                self.pend(change);
            }
            return Some(Verdict::Unresolved);
        }
        // A row that was read without its record agrees with nothing.
        if lane == Lane::Changes && !self.checkpoint.pending.is_empty() {
            self.agreed.insert(change.resource_id(), change.subscription);
        }
        if self.filtered && change.operation == Operation::Upsert && change.subject == Subject::Group {
            return self.judge_scope(lane, change);
        }
        None
    }

    fn judge_scope(&mut self, lane: Lane, change: &Change) -> Option<Verdict> {
        let member = self.checkpoint.groups.get(&change.id).copied();
        let crossing = || Crossing { change: change.clone().detached(), resource_id: change.resource_id() };
        if !change.in_scope {
            if member.is_some() {
                self.touched.insert(change.id);
                self.leaving.push(crossing());
            }
            return Some(Verdict::OutOfScope);
        }
        match lane {
            Lane::Full => self.whole.push((change.id, change.subscription)),
            _ if member != Some(Membership::Whole) => self.entering.push(crossing()),
            _ => {}
        }
        None
    }

    /// Whether the upsert of a resource's group, as a join told of it, says something new.
    pub(crate) fn judge_parent(&mut self, lane: Lane, group: &Change) -> bool {
        let skipped = self.counts.skipped;
        let verdict = self.judge_content(lane, group);
        // It is no change that was read.
        self.counts.skipped = skipped;
        verdict == Verdict::Send
    }

    /// Whether an envelope says something new.
    fn judge_content(&mut self, lane: Lane, change: &Change) -> Verdict {
        let content = change.content();
        if let Some(delivered) = self.checkpoint.delivered.get_mut(&change.id)
            && delivered.content == content
            && lane != Lane::Full
        {
            if delivered.refused {
                self.counts.still_refused += 1;
            } else {
                self.counts.skipped += 1;
                self.note_left(change);
            }
            return Verdict::Delivered;
        }
        self.post(change, lane != Lane::Full);
        Verdict::Send
    }

    /// From here on nobody knows what Port has under this id, until it accepts what is sent now.
    fn post(&mut self, change: &Change, remembered: bool) {
        self.checkpoint.delivered.remove(&change.id);
        if remembered {
            self.remembered.insert(change.id);
        } else {
            self.remembered.remove(&change.id);
        }
        if self.filtered && change.operation == Operation::Upsert {
            self.touched.insert(change.group);
            if let Entry::Vacant(unknown) = self.checkpoint.groups.entry(change.group) {
                unknown.insert(Membership::Partly);
                self.is_ahead = false;
            }
        }
    }

    fn pend(&mut self, change: &Change) {
        let resource_id = change.resource_id();
        tracing::debug!("pending: the record and the row of {} disagree", printable(&resource_id));
        let subscription = subscription_of(&resource_id).unwrap_or_default().to_owned();
        self.asked.insert(resource_id.clone());
        self.agreed.remove(&resource_id);
        self.checkpoint.pending.entry(resource_id).or_insert(Pending {
            since: self.start,
            subject: change.subject,
            subscription,
        });
    }

    /// The bytes that the file must hold before anything more is posted, if it does not hold them yet: what was there, with
    /// no delivery in it, and with every group that may come to be in the catalog.
    pub(crate) fn write_ahead(&mut self) -> Option<Result<Vec<u8>, serde_json::Error>> {
        let bytes = (!self.is_ahead).then(|| self.checkpoint.to_bytes(false));
        self.is_ahead = true;
        bytes
    }

    /// What became of an envelope.
    pub(crate) fn record(&mut self, change: &Change, fate: Fate) {
        if fate == Fate::Failed {
            // An earlier state of it may have been accepted in this run.
            self.checkpoint.delivered.remove(&change.id);
            self.failed.insert(change.subscription);
            return;
        }
        let refused = fate == Fate::Refused;
        if change.subject == Subject::Subscription {
            self.shown.insert(change.id, Shown { content: change.content(), refused });
            return;
        }
        if self.remembered.contains(&change.id) {
            let delivered = Delivered { content: change.content(), group: change.group, refused, at: self.start };
            self.checkpoint.delivered.insert(change.id, delivered);
        }
        if !refused && self.note_left(change) {
            self.deleted_containers.insert(change.id);
        }
    }

    /// Whether this is a group whose delete Port has.
    fn note_left(&mut self, change: &Change) -> bool {
        let left = change.subject == Subject::Group && change.operation == Operation::Delete;
        if left {
            self.left.push((change.id, change.subscription));
        }
        left
    }

    /// Ids that are still to be asked for, of these subscriptions: containers, then resources.
    pub(crate) fn pending(&self, subscriptions: &[&str]) -> (Vec<String>, Vec<String>) {
        let of: HashSet<&str> = subscriptions.iter().copied().collect();
        let (mut containers, mut resources) = (Vec::new(), Vec::new());
        for (id, pending) in self.checkpoint.pending.iter().filter(|(id, _)| !self.is_asked(id)) {
            if of.contains(pending.subscription.as_str()) {
                match pending.subject {
                    Subject::Resource => resources.push(id.clone()),
                    Subject::Group | Subject::Subscription => containers.push(id.clone()),
                }
            }
        }
        (containers, resources)
    }

    /// Pending ids that were asked for. One that the answer does not tell of is in a group out of scope.
    pub(crate) fn has_asked(&mut self, ids: &[String]) {
        let untold: Vec<&String> = ids.iter().filter(|id| !self.is_asked(id)).collect();
        for id in untold {
            if let Some(pending) = self.checkpoint.pending.get(id) {
                self.agreed.insert(id.clone(), Id::of_subscription(&pending.subscription));
            }
        }
    }

    fn is_asked(&self, id: &str) -> bool {
        self.asked.contains(id) || self.agreed.contains_key(id)
    }

    /// Whether any group may be in the catalog.
    pub(crate) fn has_groups(&self) -> bool {
        !self.checkpoint.groups.is_empty()
    }

    /// Groups that entered the scope, of these subscriptions.
    pub(crate) fn take_entering(&mut self, subscriptions: &[&str]) -> Vec<Crossing> {
        let crossed = take_of(&mut self.entering, subscriptions);
        self.whole.extend(crossed.iter().map(|one| (one.change.id, one.change.subscription)));
        crossed
    }

    /// Groups that left the scope, of these subscriptions, whose entities have to go.
    pub(crate) fn take_leaving(&mut self, subscriptions: &[&str]) -> Vec<Crossing> {
        let crossed = take_of(&mut self.leaving, subscriptions);
        match self.out_of_scope {
            OutOfScope::Delete => crossed,
            OutOfScope::Keep => {
                for one in crossed {
                    self.checkpoint.groups.remove(&one.change.id);
                }
                Vec::new()
            }
        }
    }

    /// The delete of a group that left the scope.
    pub(crate) fn delete_group(&mut self, crossing: Crossing) -> Option<Change> {
        let delete = crossing.change.into_delete();
        (self.judge_content(Lane::Leaving, &delete) == Verdict::Send).then_some(delete)
    }

    /// Moves the checkpoint for the subscriptions that were read to the end, as far as everything for them was accepted, or
    /// refused for itself. A complete full run moves the time of the last one too.
    pub(crate) fn advance(&mut self, batches: &[Batch<'_>], full: bool) {
        let (mut complete, mut known) = (full, true);
        let mut advanced = HashSet::new();
        for batch in batches {
            for subscription in &batch.subscriptions {
                let id = Id::of_subscription(&subscription.id);
                if !batch.read || self.failed.contains(&id) {
                    complete = false;
                    continue;
                }
                let unknown = batch.how == How::Everything && !self.graphed.contains(&id);
                // One that was granted a moment ago may be listed before Resource Graph shows what is in it.
                if unknown && subscription.is_active() {
                    tracing::warn!(
                        "Resource Graph does not know subscription {} yet; the next run reads all of it again",
                        printable(&subscription.name)
                    );
                    known = false;
                    continue;
                }
                let was_unknown =
                    || self.checkpoint.subscriptions.get(&subscription.id).is_some_and(|mark| mark.unknown);
                let shown = self.shown.get(&id);
                let mark = SubscriptionMark {
                    since: self.start,
                    shown: shown.map(|shown| shown.content),
                    refused: shown.is_some_and(|shown| shown.refused),
                    unread: false,
                    unknown: unknown || (batch.how != How::Everything && was_unknown()),
                };
                self.checkpoint.subscriptions.insert(subscription.id.clone(), mark);
                advanced.insert(id);
            }
        }
        let agreed = &self.agreed;
        self.checkpoint
            .pending
            .retain(|id, _| agreed.get(id).is_none_or(|subscription| !advanced.contains(subscription)));
        if complete {
            self.checkpoint.full_at = Some(self.start);
        }
        if complete && known {
            // No other group exists any more.
            self.checkpoint.groups.retain(|group, _| self.touched.contains(group));
        }
        for (group, subscription) in &self.left {
            if advanced.contains(subscription) {
                self.checkpoint.groups.remove(group);
            }
        }
        for (group, subscription) in &self.whole {
            if advanced.contains(subscription) {
                self.checkpoint.groups.insert(*group, Membership::Whole);
            }
        }
    }

    /// Subscriptions of the checkpoint that are not listed any more. They are forgotten, so that one that comes back is read
    /// as a new one is.
    pub(crate) fn forget_unlisted(&mut self, listed: &[Subscription]) -> Vec<String> {
        let listed: HashSet<&str> = listed.iter().map(|one| one.id.as_str()).collect();
        let gone: Vec<String> =
            self.checkpoint.subscriptions.keys().filter(|id| !listed.contains(id.as_str())).cloned().collect();
        for id in &gone {
            self.checkpoint.subscriptions.remove(id);
        }
        gone
    }

    /// Forgets what Port refused in this run, as it is the webhook that was wrong: it is to be sent again.
    pub(crate) fn forget_refusals(&mut self) {
        let start = self.start;
        self.checkpoint.delivered.retain(|_, delivered| !(delivered.refused && delivered.at == start));
    }

    /// What the file is to hold at the orderly end of a run, and the counts.
    pub(crate) fn close(&mut self) -> (Result<Vec<u8>, serde_json::Error>, Counts) {
        let deleted = std::mem::take(&mut self.deleted_containers);
        self.checkpoint.delivered.retain(|id, delivered| deleted.contains(id) || !deleted.contains(&delivered.group));
        let start = self.start;
        self.checkpoint.pending.retain(|id, pending| {
            let keep = start.duration_since(pending.since) < PENDING_KEPT;
            if !keep {
                tracing::warn!(
                    "given up: for 24 h the change record and the current row of {} have disagreed",
                    printable(id)
                );
            }
            keep
        });
        self.counts.pending = self.checkpoint.pending.len() as u64;
        self.checkpoint.prune(self.overlap);
        (self.checkpoint.to_bytes(true), self.counts)
    }
}

/// What became of an envelope, as far as memory goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Accepted,
    Refused,
    Failed,
}

fn take_of(crossings: &mut Vec<Crossing>, subscriptions: &[&str]) -> Vec<Crossing> {
    let asked: HashSet<Id> = subscriptions.iter().map(|id| Id::of_subscription(id)).collect();
    crossings.extract_if(.., |one| asked.contains(&one.change.subscription)).collect()
}

/// The subscription in a lower-case resource id.
fn subscription_of(resource_id: &str) -> Option<&str> {
    resource_id.strip_prefix("/subscriptions/")?.split('/').next()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::azure::graph::Row;
    use crate::config::Scope;
    use crate::sync::checkpoint::Identity;
    use crate::sync::plan;

    const OVERLAP: SignedDuration = SignedDuration::from_mins(120);
    const IDS: usize = 6;

    fn minute(minute: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + minute * 60).unwrap()
    }

    fn subscription() -> Subscription {
        Subscription { id: "s".into(), name: "S".into(), state: "Enabled".into(), tags: None }
    }

    fn resource_id(id: usize) -> String {
        format!("/subscriptions/s/resourcegroups/g{}/providers/a/b/{id}", id % 2)
    }

    /// One change of the estate, when it shows, and where.
    #[derive(Clone, Debug)]
    struct Event {
        id: usize,
        at: i64,
        /// The content, or `None` for a delete.
        content: Option<u32>,
        record_shows: i64,
        row_shows: i64,
    }

    /// The estate, as its two tables show it at a time.
    #[derive(Debug)]
    struct Azure(Vec<Event>);

    impl Azure {
        /// What exists as far as the current rows show: never an older state after a newer one.
        fn row(&self, id: usize, now: i64) -> Option<u32> {
            let shown = self.0.iter().filter(|event| event.id == id && event.row_shows <= now);
            shown.max_by_key(|event| event.at).and_then(|event| event.content)
        }

        /// The latest visible record after a time, joined with the row: what the queries yield.
        fn changes(&self, since: Timestamp, now: i64) -> Vec<Change> {
            let change = |id: usize| {
                let records = self
                    .0
                    .iter()
                    .filter(|event| event.id == id && event.record_shows <= now && minute(event.at) > since);
                let record = records.max_by_key(|event| event.at)?;
                let kind = if record.content.is_some() { "Update" } else { "Delete" };
                Some(row(id, self.row(id, now), kind, record.at))
            };
            (0..IDS).filter_map(change).collect()
        }

        fn everything(&self, now: i64) -> Vec<Change> {
            let exists = |id| self.row(id, now).map(|content| row(id, Some(content), "", 0));
            let told = self.changes(Timestamp::MIN, now).into_iter();
            let deletes = told.filter(|change| change.operation == Operation::Delete && !change.exists);
            (0..IDS).filter_map(exists).chain(deletes).collect()
        }

        fn truth(&self) -> HashMap<usize, u32> {
            (0..IDS).filter_map(|id| Some((id, self.row(id, i64::MAX)?))).collect()
        }
    }

    fn row(id: usize, content: Option<u32>, kind: &str, at: i64) -> Change {
        let (resource_id, group) = (resource_id(id), id % 2);
        let source = if content.is_some() { resource_id.as_str() } else { "" };
        let text = format!(
            r#"{{"resourceId":"{resource_id}","sourceResourceId":"{source}","type":"a/b","subscriptionId":"s","resourceGroup":"g{group}","rgId":"g","name":"{}","changeType":"{kind}","changeTime":"{}"}}"#,
            content.unwrap_or_default(),
            minute(at)
        );
        Change::parse(text.into()).unwrap()
    }

    /// Port's catalog, and the file of the checkpoint.
    #[derive(Default)]
    struct World {
        catalog: HashMap<usize, u32>,
        file: Option<Vec<u8>>,
    }

    /// One way to read in a run, and what it yields.
    type Reading<'a> = (Lane, Box<dyn Fn(&Ledger) -> Vec<Change> + 'a>);

    impl World {
        /// A run, which may be a full one that was asked for, be killed before its nth step, or lose its nth post.
        fn run(&mut self, azure: &Azure, now: i64, asked_full: bool, killed: Option<usize>, lost: Option<usize>) {
            let identity = Identity::new("t", "w", &Scope::default());
            let found = self.file.as_ref().and_then(|bytes| Checkpoint::parse(bytes, &identity).ok());
            let full =
                found.as_ref().is_none_or(|found| asked_full || found.subscriptions.values().all(|mark| mark.unread));
            let mut checkpoint = found.unwrap_or_else(|| Checkpoint::new(identity));
            let subscriptions = [subscription()];
            if full {
                checkpoint.begin_anew();
            }
            let mut batches = plan::by_checkpoint(&subscriptions, &checkpoint, minute(now), OVERLAP, 1000);
            let mut ledger = Ledger::new(checkpoint, minute(now), OVERLAP, false, OutOfScope::Delete);
            // What is read in turn, the last first: everything, what changed, what is pending by its id.
            let pending = |ledger: &Ledger| {
                let (_, pending) = ledger.pending(&["s"]);
                azure
                    .changes(Timestamp::MIN, now)
                    .into_iter()
                    .filter(|change| pending.contains(&change.resource_id()))
                    .collect()
            };
            let mut readings: Vec<Reading<'_>> = Vec::new();
            let changes = |since: Timestamp| -> [Reading<'_>; 2] {
                [(Lane::Changes, Box::new(pending)), (Lane::Changes, Box::new(move |_| azure.changes(since, now)))]
            };
            match batches[0].how {
                How::Everything => {
                    ledger.graphed.insert(Id::of_subscription("s"));
                    readings.extend(batches[0].besides.map(changes).into_iter().flatten());
                    readings.push((Lane::Full, Box::new(|_| azure.everything(now))));
                }
                How::Changes(since) => readings.extend(changes(since)),
            }
            let (mut lane, mut changes) = (Lane::Full, Vec::new());
            let mut step = 0;
            let mut dies = || {
                step += 1;
                killed == Some(step)
            };
            let mut post = 0;
            loop {
                let Some(change) = changes.pop() else {
                    let Some((next, read)) = readings.pop() else { break };
                    (lane, changes) = (next, read(&ledger));
                    continue;
                };
                if ledger.judge(lane, &change) != Verdict::Send {
                    continue;
                }
                post += 1;
                if dies() {
                    return;
                }
                if let Some(bytes) = ledger.write_ahead() {
                    self.file = Some(bytes.unwrap());
                }
                if dies() {
                    return;
                }
                if lost == Some(post) {
                    ledger.record(&change, Fate::Failed);
                    continue;
                }
                let id: usize = change.resource_id().rsplit('/').next().unwrap().parse().unwrap();
                match change.operation {
                    Operation::Upsert => {
                        let name = serde_json::from_slice::<serde_json::Value>(&change.row).unwrap();
                        self.catalog.insert(id, name["name"].as_str().unwrap().parse().unwrap());
                    }
                    Operation::Delete => _ = self.catalog.remove(&id),
                }
                if dies() {
                    return;
                }
                ledger.record(&change, Fate::Accepted);
            }
            batches[0].read = true;
            ledger.advance(&batches, full);
            let (bytes, _) = ledger.close();
            if !dies() {
                self.file = Some(bytes.unwrap());
            }
        }
    }

    prop_compose! {
        /// A history in order, each change of its own minute; rows of one id show in order. A row that comes or goes at the end
        /// may do so hours after its record, which the two of them tell; one that merely changes may not.
        fn history()(
            changes in prop::collection::vec(
                (0..IDS, 1..20_i64, prop::option::weighted(0.7, 0..3_u32), 0..60_i64, 0..15_i64, 0..500_i64), 1..40
            )
        ) -> Azure {
            let mut at = 0;
            let mut events: Vec<Event> = Vec::new();
            let mut late = HashMap::new();
            for (id, gap, content, record_lag, row_lag, long_lag) in changes {
                at += gap;
                let last = events.iter().rev().find(|event| event.id == id);
                let row_shows = (at + row_lag).max(last.map_or(0, |event| event.row_shows));
                late.insert(id, long_lag);
                events.push(Event { id, at, content, record_shows: at + record_lag, row_shows });
            }
            for (id, lag) in late.into_iter().filter(|(_, lag)| *lag < 250) {
                let mut of_id = events.iter_mut().rev().filter(|event| event.id == id);
                let (Some(last), before) = (of_id.next(), of_id.next()) else { continue };
                if before.and_then(|event| event.content).is_some() != last.content.is_some() {
                    last.row_shows = last.row_shows.max(last.at + lag);
                }
            }
            Azure(events)
        }
    }

    prop_compose! {
        /// Runs up to an hour apart, some of them full ones that were asked for, some killed at some step, some losing a post.
        fn runs()(runs in prop::collection::vec(
            (
                1..60_i64,
                prop::bool::weighted(0.1),
                prop::option::weighted(0.3, 1..12_usize),
                prop::option::weighted(0.2, 1..4_usize)
            ), 1..40
        )) -> Vec<(i64, bool, Option<usize>, Option<usize>)> {
            runs
        }
    }

    fn ledger(filtered: bool) -> Ledger {
        let checkpoint = Checkpoint::new(Identity::new("t", "w", &Scope::default()));
        Ledger::new(checkpoint, minute(0), OVERLAP, filtered, OutOfScope::Delete)
    }

    #[test]
    fn a_delete_with_a_row_and_an_upsert_without_one_wait_until_both_agree() {
        let mut ledger = ledger(false);
        for (change, agreed) in [
            (row(1, Some(7), "Delete", 0), row(1, None, "Delete", 0)),
            (row(2, None, "Create", 0), row(2, Some(7), "Create", 0)),
        ] {
            assert_eq!(ledger.judge(Lane::Changes, &change), Verdict::Unresolved);
            assert!(ledger.checkpoint.pending.contains_key(&change.resource_id()));
            assert_eq!(ledger.judge(Lane::Changes, &agreed), Verdict::Send);
            assert!(ledger.checkpoint.pending.contains_key(&change.resource_id()), "until it is delivered");
        }
        let subscriptions = [subscription()];
        let mut batches = plan::alike(&subscriptions, How::Changes(minute(0)), 1);
        batches[0].read = true;
        ledger.advance(&batches, false);
        assert!(ledger.checkpoint.pending.is_empty());
    }

    #[test]
    fn what_was_accepted_is_not_sent_again_and_what_failed_is() {
        let mut ledger = ledger(false);
        let change = row(1, Some(7), "Update", 0);
        assert_eq!(ledger.judge(Lane::Changes, &change), Verdict::Send);
        ledger.record(&change, Fate::Failed);
        assert_eq!(ledger.judge(Lane::Changes, &change), Verdict::Send);
        ledger.record(&change, Fate::Accepted);
        assert_eq!(ledger.judge(Lane::Changes, &change), Verdict::Delivered);
        assert_eq!(ledger.judge(Lane::Changes, &row(1, Some(8), "Update", 0)), Verdict::Send);
        assert_eq!(ledger.judge(Lane::Changes, &change), Verdict::Send, "nobody knows what Port has until it accepts");
    }

    #[test]
    fn what_was_refused_is_not_tried_again_as_it_is() {
        let mut ledger = ledger(false);
        let change = row(1, Some(7), "Update", 0);
        ledger.judge(Lane::Changes, &change);
        ledger.record(&change, Fate::Refused);
        assert_eq!(ledger.judge(Lane::Changes, &change), Verdict::Delivered);
        assert_eq!(ledger.counts.still_refused, 1);
        assert_eq!(ledger.judge(Lane::Changes, &row(1, Some(8), "Update", 1)), Verdict::Send);
    }

    #[test]
    fn a_full_run_sends_everything_and_remembers_none_of_it() {
        let mut ledger = ledger(false);
        let change = row(1, Some(7), "", 0);
        for _ in 0..2 {
            assert_eq!(ledger.judge(Lane::Full, &change), Verdict::Send);
            ledger.record(&change, Fate::Accepted);
        }
        assert!(ledger.checkpoint.delivered.is_empty());
    }

    #[test]
    fn the_delete_of_a_group_forgets_all_in_it() {
        let mut ledger = ledger(false);
        let group = Change::gone("/subscriptions/s/resourcegroups/g1").unwrap();
        for change in [row(1, Some(7), "Update", 0), row(2, Some(7), "Update", 0), group.clone()] {
            assert_eq!(ledger.judge(Lane::Changes, &change), Verdict::Send);
            ledger.record(&change, Fate::Accepted);
        }
        ledger.close().0.unwrap();
        let mut kept: Vec<Id> = ledger.checkpoint.delivered.keys().copied().collect();
        kept.sort();
        let mut expected = vec![row(2, None, "Delete", 0).id, group.id];
        expected.sort();
        assert_eq!(kept, expected, "the group itself, and what is in another");
    }

    #[test]
    fn what_stays_pending_for_a_day_is_given_up() {
        let mut ledger = ledger(false);
        ledger.judge(Lane::Changes, &row(1, None, "Create", 0));
        ledger.start = minute(24 * 60 - 1);
        ledger.close().0.unwrap();
        assert_eq!(ledger.checkpoint.pending.len(), 1);
        ledger.start = minute(24 * 60);
        ledger.close().0.unwrap();
        assert_eq!(ledger.checkpoint.pending.len(), 0);
    }

    #[test]
    fn a_group_is_in_the_file_before_anything_of_it_is_posted() {
        let mut ledger = ledger(true);
        ledger.write_ahead().unwrap().unwrap();
        assert!(ledger.write_ahead().is_none());
        let change = row(1, Some(7), "Update", 0);
        assert_eq!(ledger.judge(Lane::Changes, &change), Verdict::Send);
        let bytes = ledger.write_ahead().expect("a group is new").unwrap();
        let file = Checkpoint::parse(&bytes, &ledger.checkpoint.identity).unwrap();
        assert_eq!(file.groups.get(&change.group), Some(&Membership::Partly));
        assert!(file.delivered.is_empty());
    }

    #[test]
    fn a_granted_subscription_that_resource_graph_does_not_know_yet_is_not_taken_for_read() {
        let subscriptions = [subscription()];
        let mut batches = plan::alike(&subscriptions, How::Everything, 1);
        batches[0].read = true;
        let mut ledger = ledger(false);
        ledger.advance(&batches, true);
        assert!(ledger.checkpoint.subscriptions.is_empty());
        assert_eq!(ledger.checkpoint.full_at, Some(minute(0)), "it holds up no other full run");
        ledger.graphed.insert(Id::of_subscription("s"));
        ledger.advance(&batches, true);
        assert_eq!(ledger.checkpoint.subscriptions["s"].since, minute(0));
        assert_eq!(ledger.checkpoint.full_at, Some(minute(0)));
    }

    #[test]
    fn a_disabled_subscription_that_resource_graph_does_not_know_is_read_whole_once_it_is_active() {
        let subscriptions = [Subscription { state: "Disabled".into(), ..subscription() }];
        let mut ledger = ledger(false);
        for how in [How::Everything, How::Changes(minute(0))] {
            let mut batches = plan::alike(&subscriptions, how, 1);
            batches[0].read = true;
            ledger.advance(&batches, how == How::Everything);
            assert!(ledger.checkpoint.subscriptions["s"].unknown, "{how:?}");
        }
        assert_eq!(ledger.checkpoint.full_at, Some(minute(0)));
    }

    #[test]
    fn a_state_that_failed_after_an_earlier_one_was_accepted_is_sent_again() {
        let mut ledger = ledger(false);
        let (earlier, later) = (row(1, Some(7), "Update", 0), row(1, Some(8), "Update", 0));
        for change in [&earlier, &later] {
            assert_eq!(ledger.judge(Lane::Changes, change), Verdict::Send);
        }
        ledger.record(&earlier, Fate::Accepted);
        ledger.record(&later, Fate::Failed);
        assert_eq!(ledger.judge(Lane::Changes, &later), Verdict::Send);
        ledger.record(&later, Fate::Accepted);
        assert_eq!(ledger.judge(Lane::Changes, &later), Verdict::Delivered);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn whatever_is_late_lost_or_killed_the_catalog_comes_to_the_truth(azure in history(), runs in runs()) {
            let mut world = World::default();
            let mut now = 0;
            // The first day's full run, before anything happens: nothing later reads as much.
            world.run(&azure, now, false, None, None);
            for (gap, full, killed, lost) in runs {
                now += gap;
                world.run(&azure, now, full, killed, lost);
            }
            let shown = azure.0.iter().map(|event| event.record_shows.max(event.row_shows)).max().unwrap_or(0);
            // The quiet end: ordinary runs until everything shows, and one more.
            while now <= shown {
                now += 15;
                world.run(&azure, now, false, None, None);
            }
            world.run(&azure, now + 15, false, None, None);
            prop_assert_eq!(world.catalog, azure.truth());
        }
    }
}
