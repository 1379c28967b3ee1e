//! Changes around an interrupted run, a missing subscription, days without a run, or a lost file: three runs later the
//! catalog is right, and nothing was sent needlessly.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::join_all;
use sandbox::Sandbox;
use sandbox::estate::Estate;
use sandbox::expected::Scope;
use sandbox::faults::{Fault, Rule};
use sandbox::life;
use sandbox::names;
use sandbox::requests::Route;
use sandbox::rng::Rng;
use sandbox::settings::EstateSize;

use crate::harness::{
    DAY, Envelope, MINUTE, Program, Small, break_down, empty, envelopes, outline, passing, settled, start,
};
use crate::remembered::{compared, confirmed, file, remembering, signal, since, state, until, why_full};
use crate::replica::{HOUR, PRODUCTION, TICK, assert_heals, posts, tick};

const VAULTS: &str = "Microsoft.KeyVault/vaults";

/// A filter for groups, and the resulting scope.
fn filters() -> [(&'static str, Scope); 2] {
    let pair = |value: &str| vec![("environment".to_owned(), value.to_owned())];
    [
        (PRODUCTION, Scope { include: pair("production"), ..Scope::default() }),
        (r#"{"exclude": {"Environment": "Test"}}"#, Scope { exclude: pair("test"), ..Scope::default() }),
    ]
}

fn filtered(sandbox: &Sandbox, filter: &str) -> Program {
    remembering(sandbox).env("RESOURCE_GROUP_TAG_FILTERS", filter)
}

/// What has its tag or name changed.
#[derive(Clone, Copy, Debug)]
enum Subject {
    Vault,
    Group,
    Subscription,
}

impl Subject {
    fn id(self, small: &Small) -> String {
        match self {
            Self::Vault => small.vault.to_string(),
            Self::Group => small.group.to_string(),
            Self::Subscription => format!("/subscriptions/{}", small.subscription),
        }
    }

    fn becomes(self, estate: &mut Estate, small: &Small, to: &str) {
        let tags = names::tags(&[("n", to)]);
        assert!(match self {
            Self::Vault => estate.retag_resource(&small.vault, tags),
            Self::Group => estate.retag_group(&small.group, tags),
            Self::Subscription => estate.rename_subscription(&small.subscription, to),
        });
    }
}

/// What happens to the run that sends the change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    Killed,
    /// Port has applied it but has not answered.
    KilledUnanswered,
    /// Port has answered, but does not answer the requests alongside or after it.
    KilledAnswered,
    /// Stopped while its post is in flight, which may finish.
    Stopped,
    /// Port has applied it, but the connection was closed.
    StoppedUnanswered,
    /// Port has applied it, but something on the way answers with a failure.
    Unanswered,
    AnotherFailed,
}

impl Cut {
    const KILLS: [Self; 3] = [Self::Killed, Self::KilledUnanswered, Self::KilledAnswered];
    const OTHERS: [Self; 4] = [Self::Stopped, Self::StoppedUnanswered, Self::Unanswered, Self::AnotherFailed];

    fn is_of_another(self) -> bool {
        matches!(self, Self::KilledAnswered | Self::AnotherFailed)
    }

    fn is_unanswered(self) -> bool {
        matches!(self, Self::KilledUnanswered | Self::StoppedUnanswered | Self::Unanswered)
    }

    /// Whether the state of the catalog is unknown.
    fn leaves_doubt(self) -> bool {
        self == Self::Killed || self.is_unanswered()
    }

    fn fault(self) -> Fault {
        match self {
            Self::Killed | Self::KilledUnanswered | Self::KilledAnswered => Fault::Hang,
            Self::Stopped => Fault::Slow(Duration::from_millis(300)),
            Self::StoppedUnanswered => Fault::Reset,
            Self::Unanswered => passing(504),
            Self::AnotherFailed => passing(500),
        }
    }

    /// Runs the program with a change to a subject and to another one, and interrupts it this way.
    async fn run(self, sandbox: &Sandbox, subject: &str, other: &str) {
        let is_met = Arc::new(AtomicBool::new(false));
        let meets = Arc::clone(&is_met);
        let this = format!(r#""resourceId":"{}""#, if self.is_of_another() { other } else { subject });
        let rule = Rule::new(self.fault()).when(move |body| {
            let is_this = String::from_utf8_lossy(body).contains(&this);
            meets.fetch_or(is_this, Ordering::AcqRel);
            is_this
        });
        break_down(sandbox, Route::Webhook, if self.is_unanswered() { rule.applied() } else { rule });
        let (accepted, _) = sandbox.port().received();
        let awaits_more = self.is_unanswered() || self == Self::KilledAnswered;
        let child = remembering(sandbox).into_command().spawn().unwrap();
        until("the post", || {
            is_met.load(Ordering::Acquire) && (!awaits_more || sandbox.port().received().0 > accepted)
        })
        .await;
        let code = match self {
            Self::Killed | Self::KilledUnanswered | Self::KilledAnswered => {
                signal(&child, "-KILL").await;
                None
            }
            Self::Stopped | Self::StoppedUnanswered => {
                signal(&child, "-TERM").await;
                Some(143)
            }
            Self::Unanswered | Self::AnotherFailed => Some(1),
        };
        assert_eq!(child.wait_with_output().await.unwrap().status.code(), code, "{self:?} {subject}");
        sandbox.faults().clear();
    }
}

/// A tag or name becomes B, a run that sends it is interrupted, and it becomes A again.
async fn assert_flips_back(cuts: &[Cut]) {
    let all = [Subject::Vault, Subject::Group, Subject::Subscription];
    join_all(all.map(|subject| assert_that_flips_back(subject, cuts))).await;
}

async fn assert_that_flips_back(subject: Subject, cuts: &[Cut]) {
    let small = Small::start().await;
    let sandbox = &small.sandbox;
    let id = subject.id(&small);
    let other = sandbox.estate().create_resource(&small.group, VAULTS, "other", "eastus", None).unwrap();
    subject.becomes(&mut sandbox.estate(), &small, "a");
    confirmed(sandbox).await;
    for (number, (cut, is_recorded)) in cuts.iter().flat_map(|cut| [(*cut, true), (*cut, false)]).enumerate() {
        if !is_recorded && !cut.leaves_doubt() {
            // Nothing shows it before everything is read again.
            continue;
        }
        sandbox.clock().advance(MINUTE);
        subject.becomes(&mut sandbox.estate(), &small, "b");
        // If the revert has no record, this change's record must not be read again: it is moved before the overlap.
        sandbox.clock().advance(if is_recorded { MINUTE } else { 3 * HOUR });
        sandbox.estate().retag_resource(&other, names::tags(&[("number", &number.to_string())]));
        let before = envelopes(sandbox).await.len();
        cut.run(sandbox, &id, &other).await;
        let sent = envelopes(sandbox).await.split_off(before);
        let has_arrived = sent.iter().any(|one| one.id() == id && one.body.contains("\"b\""));
        assert_eq!(has_arrived, cut != Cut::Killed, "{cut:?} {id}: {sent:?}");
        if cut.leaves_doubt() {
            assert_eq!(state(sandbox, &id).await, "unknown", "{cut:?} {id}");
        }

        sandbox.clock().advance(MINUTE);
        if is_recorded {
            subject.becomes(&mut sandbox.estate(), &small, "a");
        } else {
            sandbox.estate().unrecorded(|estate| subject.becomes(estate, &small, "a"));
        }
        assert_heals(sandbox, &Scope::default(), || remembering(sandbox)).await;
    }
}

#[tokio::test]
async fn what_changed_and_changed_back_around_a_run_that_was_killed_is_in_the_catalog_as_it_was() {
    assert_flips_back(&Cut::KILLS).await;
}

#[tokio::test]
async fn what_changed_and_changed_back_around_a_run_that_was_stopped_or_not_answered_is_in_the_catalog_as_it_was() {
    assert_flips_back(&Cut::OTHERS).await;
}

/// Two subscriptions with two groups in production each, and two vaults in each group. Everything happens in the first
/// of each.
struct Land {
    sandbox: Sandbox,
    subscriptions: Vec<Arc<str>>,
    groups: Vec<Arc<str>>,
    vaults: Vec<Arc<str>>,
}

impl Land {
    async fn start() -> Self {
        let sandbox = start(empty()).await;
        let [mut subscriptions, mut groups, mut vaults] = [const { Vec::<Arc<str>>::new() }; 3];
        for name in ["One", "Two"] {
            let mut estate = sandbox.estate();
            let subscription = estate.add_subscription(name, None);
            for name in ["Rg-One", "Rg-Two"] {
                let tags = names::tags(&[("Environment", "Production")]);
                let group = estate.create_group(&subscription, name, "westeurope", tags).unwrap();
                for name in ["Vault-1", "Vault-2"] {
                    vaults.push(estate.create_resource(&group, VAULTS, name, "eastus", None).unwrap());
                }
                groups.push(group);
            }
            subscriptions.push(subscription);
        }
        sandbox.clock().advance(15 * DAY);
        Self { sandbox, subscriptions, groups, vaults }
    }

    fn retag_group(&self, estate: &mut Estate) -> bool {
        estate.retag_group(&self.groups[0], names::tags(&[("Environment", "Test")]))
    }

    fn leave_the_scope(&self) {
        assert!(self.retag_group(&mut self.sandbox.estate()));
    }

    fn leave_the_scope_unrecorded(&self) {
        assert!(self.sandbox.estate().unrecorded(|estate| self.retag_group(estate)));
    }

    fn group_and_vaults(&self) -> BTreeSet<String> {
        [&self.groups[0], &self.vaults[0], &self.vaults[1]].map(|id| id.to_string()).into()
    }
}

/// When a group leaves the scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaves {
    Afterwards,
    Meanwhile,
    /// The same, but only its row shows it.
    Unrecorded,
}

#[tokio::test]
async fn of_a_subscription_that_was_away_what_leaves_the_scope_is_deleted_and_nothing_is_sent_for_its_absence() {
    let case = async |filter: &str, scope: &Scope, away: Duration, leaves: Leaves| {
        let land = Land::start().await;
        let sandbox = &land.sandbox;
        let run = || filtered(sandbox, filter);
        for _ in 0..2 {
            run().run().await.exits(0);
        }
        sandbox.estate().show_subscription(&land.subscriptions[0], false);
        sandbox.clock().advance(MINUTE);
        match leaves {
            Leaves::Afterwards => {}
            Leaves::Meanwhile => land.leave_the_scope(),
            Leaves::Unrecorded => land.leave_the_scope_unrecorded(),
        }
        let before = envelopes(sandbox).await.len();
        for _ in 0..2 {
            sandbox.clock().advance(away / 2);
            let full = run().env("SYNC_MODE", "full").run().await.exits(0).says(&["is not listed any more"]);
            assert_eq!(full.report()["mode"], "full", "{full}");
        }
        sandbox.estate().show_subscription(&land.subscriptions[0], true);
        if leaves == Leaves::Afterwards {
            sandbox.clock().advance(TICK);
            let back = run().run().await.exits(0);
            assert_eq!(envelopes(sandbox).await.len(), before, "{back}");
            sandbox.clock().advance(MINUTE);
            land.leave_the_scope();
        }
        assert_heals(sandbox, scope, run).await;
        let sent = envelopes(sandbox).await.split_off(before);
        let deletes = deletes(&sent);
        assert_eq!((deletes.len(), deletes.into_iter().collect()), (3, land.group_and_vaults()));
        // After that, nothing proves what is held of it: all of it is sent once.
        let is_proven = away < 6 * DAY;
        assert_eq!(sent.len() == 3, is_proven, "{filter} {away:?} {leaves:?} {:?}", outline(&sent));
    };
    for (filter, scope) in &filters() {
        let cases = [
            (HOUR, Leaves::Afterwards),
            (HOUR, Leaves::Meanwhile),
            (5 * DAY, Leaves::Afterwards),
            (5 * DAY, Leaves::Meanwhile),
            (5 * DAY, Leaves::Unrecorded),
            (8 * DAY, Leaves::Meanwhile),
        ];
        join_all(cases.map(|(away, leaves)| case(filter, scope, away, leaves))).await;
    }
}

/// The deletes among these.
fn deletes(sent: &[Envelope]) -> Vec<String> {
    let deletes = outline(sent).into_iter().filter(|(what, _)| *what == "delete");
    deletes.map(|(_, id)| id.to_owned()).collect()
}

/// The number of queries of a run that finds no changes.
async fn idle(sandbox: &Sandbox) -> u64 {
    let (asked, posted) = (sandbox.requests().count(Route::Graph), posts(sandbox));
    let run = tick(sandbox).await.exits(0);
    assert_eq!(posts(sandbox), posted, "{run}");
    sandbox.requests().count(Route::Graph) - asked
}

/// Makes some subscriptions unlisted, not covered by Resource Graph, or unreadable, and all others readable. Returns
/// the exit code of a run.
fn hold_back(sandbox: &Sandbox, guids: &[Arc<str>], is_held_back: impl Fn(usize) -> bool) -> i32 {
    sandbox.faults().clear();
    sandbox.estate().sight().clear();
    let mut code = 0;
    for (place, guid) in guids.iter().enumerate() {
        sandbox.estate().show_subscription(guid, true);
        match place % 3 {
            _ if !is_held_back(place) => {}
            0 => assert!(sandbox.estate().show_subscription(guid, false)),
            1 => sandbox.estate().sight().overlook(guid),
            _ => {
                break_down(sandbox, Route::Graph, Rule::new(Fault::status(403)).naming(guid));
                code = 1;
            }
        }
    }
    code
}

#[tokio::test]
async fn eight_subscriptions_that_were_held_back_at_different_times_cost_no_more_queries_once_they_are_back() {
    let case = async |apart: Duration| {
        let mut settings = settled();
        settings.estate = EstateSize { subscriptions: 8, groups: 16, resources: 40 };
        let sandbox = &start(settings).await;
        confirmed(sandbox).await;
        let equal = idle(sandbox).await;
        assert_eq!(equal, 3);
        let guids: Vec<Arc<str>> = sandbox.estate().subscriptions().iter().map(|one| one.guid.clone()).collect();
        sandbox.clock().advance(DAY);
        let before = posts(sandbox);
        let step = async |code| {
            sandbox.clock().advance(apart);
            remembering(sandbox).run().await.exits(code)
        };
        // They return one by one, and then disappear one by one.
        for back in 1..=8 {
            step(hold_back(sandbox, &guids, |place| place >= back)).await;
        }
        let compared = join_all(guids.iter().map(|guid| compared(sandbox, guid))).await;
        for gone in 1..8 {
            step(hold_back(sandbox, &guids, |place| place < gone)).await;
        }
        let read = join_all(guids.iter().map(|guid| since(sandbox, guid))).await;
        let different = [compared, read].map(|marks| marks.into_iter().collect::<BTreeSet<_>>().len());
        assert_eq!(different, [if apart == HOUR { 8 } else { 2 }, 8]);
        step(hold_back(sandbox, &guids, |_| false)).await;
        tick(sandbox).await.exits(0);
        assert_eq!(idle(sandbox).await, equal);
        assert_eq!(posts(sandbox), before, "nothing is sent again");
        assert_eq!(sandbox.diff(&Scope::default()).await, [""; 0]);
    };
    join_all([HOUR, 14 * HOUR].map(case)).await;
}

#[tokio::test]
async fn while_nothing_changes_nothing_is_sent_within_the_overlap_and_after_it() {
    for filter in [None, Some(PRODUCTION)] {
        let sandbox = &start(settled()).await;
        let run = || match filter {
            Some(filter) => filtered(sandbox, filter),
            None => remembering(sandbox),
        };
        let hourly = async |hours| {
            let before = posts(sandbox);
            for hour in 1..=hours {
                sandbox.clock().advance(HOUR);
                let run = run().run().await.exits(0);
                assert_eq!(posts(sandbox), before, "{filter:?}, hour {hour}: {run}");
            }
        };
        run().run().await.exits(0);
        hourly(5).await;
        // All kinds: parents, children, and deletes.
        life::tick(&mut sandbox.estate(), &mut Rng::new(1), 60);
        let before = posts(sandbox);
        run().run().await.exits(0);
        assert_ne!(posts(sandbox), before);
        hourly(5).await;
        sandbox.clock().advance(DAY);
        let full = run().run().await.exits(0);
        assert!(why_full(&full).contains("the last full comparison was at"), "{full}");
        hourly(1).await;
    }
}

#[tokio::test]
async fn what_went_while_no_run_took_place_for_longer_than_records_are_kept_is_deleted_within_three_runs() {
    let case = async |is_group: bool, before_the_run: Duration| {
        let land = Land::start().await;
        let sandbox = &land.sandbox;
        confirmed(sandbox).await;
        sandbox.clock().advance(8 * DAY - before_the_run);
        let went = if is_group {
            3 * u64::from(sandbox.estate().delete_group_alone(&land.groups[0]))
        } else {
            u64::from(sandbox.estate().delete_resource(&land.vaults[0]))
        };
        sandbox.clock().advance(before_the_run);
        // Without a record it is queried by id, and deleted once it has been missing for half an hour.
        let deletes = if before_the_run < 6 * DAY { [went, 0, 0] } else { [0, 0, went] };
        for (number, deletes) in deletes.into_iter().enumerate() {
            let run = if number == 0 { remembering(sandbox).run().await } else { tick(sandbox).await }.exits(0);
            // Nothing proves things this old any more.
            let upserts = if number == 0 { 14 - went } else { 0 };
            assert_eq!((run.count("deletes"), run.count("upserts")), (deletes, upserts), "{number}: {run}");
        }
        idle(sandbox).await;
        assert_eq!(sandbox.diff(&Scope::default()).await, [""; 0]);
    };
    for is_group in [false, true] {
        join_all([8 * DAY, 6 * DAY + 12 * HOUR, DAY].map(|before| case(is_group, before))).await;
    }
}

#[tokio::test]
async fn what_left_the_scope_or_went_before_the_file_was_lost_is_deleted_by_the_records_that_azure_keeps() {
    let case = async |filter: &str, scope: &Scope, age: Duration, goes_first: bool| {
        let land = Land::start().await;
        let sandbox = &land.sandbox;
        let run = || filtered(sandbox, filter);
        run().run().await.exits(0);
        sandbox.clock().advance(MINUTE);
        let go = |vault: &str| assert!(sandbox.estate().delete_resource(vault));
        if goes_first {
            go(&land.vaults[0]);
        }
        land.leave_the_scope();
        sandbox.clock().advance(MINUTE);
        if !goes_first {
            go(&land.vaults[0]);
        }
        go(&land.vaults[2]);
        assert!(sandbox.estate().retag_group(&land.groups[1], names::tags(&[("environment", "PRODUCTION")])));
        sandbox.clock().advance(age);
        fs::remove_file(file(sandbox)).unwrap();
        let before = envelopes(sandbox).await.len();
        assert_heals(sandbox, scope, run).await;
        let sent = envelopes(sandbox).await.split_off(before);
        let mut gone = land.group_and_vaults();
        gone.insert(land.vaults[2].to_string());
        assert_eq!(BTreeSet::from_iter(deletes(&sent)), gone, "{filter} {age:?} {goes_first}");
    };
    for (filter, scope) in &filters() {
        let cases = [(HOUR, true), (HOUR, false), (5 * DAY, true), (5 * DAY, false)];
        join_all(cases.map(|(age, goes_first)| case(filter, scope, age, goes_first))).await;
    }
}
