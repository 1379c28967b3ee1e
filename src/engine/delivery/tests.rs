use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroUsize;

use bytes::Bytes;
use proptest::prelude::*;
use tokio::time::Instant;

use super::*;
use crate::engine::sink::Outcome;
use crate::engine::{Content, ContentHasher, Limits, Parcel, Sink, SinkError};
use crate::model::{Change, Id, Names, Operation};

const PASSING: Fault = Fault::Passing { after: None };

const PATIENCE: Patience = Patience {
    retries: 5,
    first: Duration::from_millis(500),
    longest: Duration::from_secs(30),
    longest_asked: Duration::from_secs(120),
    deadline: None,
};

const HALF_AN_HOUR: Duration = Duration::from_secs(30 * 60);

const THROTTLED: Result<Receipt<Refusal>, Refusal> = Err(Refusal(Fault::Throttled { after: None }));

/// How long an answer takes.
const ANSWER: Duration = Duration::from_millis(10);

#[derive(Clone, Debug)]
struct Row {
    change: Change,
    size: usize,
}

impl Row {
    fn name(&self) -> u32 {
        name(self)
    }
}

fn name(parcel: &dyn Parcel) -> u32 {
    parcel.change().id.as_str().trim_start_matches("/s/").parse().unwrap()
}

fn rendered(rows: Vec<Row>) -> Vec<Rendered> {
    rows.into_iter().map(|row| -> Rendered { Box::new(row) }).collect()
}

impl Parcel for Row {
    fn change(&self) -> &Change {
        &self.change
    }

    fn content(&self, _: &ContentHasher) -> Content {
        Content(0)
    }

    fn size(&self) -> usize {
        self.size
    }

    fn letter(&self) -> Bytes {
        Bytes::new()
    }
}

fn sized(name: u32, size: usize) -> Row {
    let id = Id::new(format!("/s/{name}"), 2, 2).unwrap();
    let operation = Operation::Upsert;
    Row {
        change: Change {
            id,
            operation,
            label: "resource",
            kind: "k".into(),
            changed_at: None,
            actor: None,
            row: Bytes::new(),
        },
        size,
    }
}

fn rows(names: impl IntoIterator<Item = u32>) -> Vec<Row> {
    names.into_iter().map(|name| sized(name, 1)).collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?}")]
struct Refusal(Fault);

impl Problem for Refusal {
    fn advice(&self) -> Option<&'static str> {
        (self.0 == Fault::Denied).then_some("of the denial")
    }
}

impl SinkError for Refusal {
    fn fault(&self) -> Fault {
        self.0
    }

    fn status(&self) -> Option<u16> {
        (self.0 == PASSING).then_some(500)
    }
}

/// An attempt, as the sink saw it.
#[derive(Clone, Debug)]
struct Attempt {
    at: Duration,
    names: Vec<u32>,
    delivery: Uuid,
}

/// A sink with scripted answers that checks the engine's promises.
struct Fake<F> {
    limits: Limits,
    patience: Patience,
    answer: F,
    start: Instant,
    attempts: RefCell<Vec<Attempt>>,
    open: RefCell<BTreeSet<u32>>,
    posts: Cell<usize>,
}

impl<F: Fn(&[u32], usize) -> Result<Receipt<Refusal>, Refusal>> Fake<F> {
    /// `answer` gets the names in a post, and how many attempts were made before, of any post.
    fn new(in_flight: usize, parcels: usize, answer: F) -> Self {
        let some = |number| NonZeroUsize::new(number).unwrap();
        let limits = Limits {
            in_flight: some(in_flight),
            parcels: some(parcels),
            deletes: some(parcels),
            bytes: 1000,
            landing: LANDING,
        };
        Self {
            limits,
            patience: PATIENCE,
            answer,
            start: Instant::now(),
            attempts: RefCell::default(),
            open: RefCell::default(),
            posts: Cell::new(0),
        }
    }

    fn sizes(&self) -> Vec<usize> {
        self.attempts.borrow().iter().map(|attempt| attempt.names.len()).collect()
    }

    fn count(&self) -> usize {
        self.attempts.borrow().len()
    }

    /// How often each name was tried alone.
    fn alone(&self) -> HashMap<u32, usize> {
        let mut counts = HashMap::new();
        for attempt in self.attempts.borrow().iter() {
            if let [name] = *attempt.names {
                *counts.entry(name).or_default() += 1;
            }
        }
        counts
    }
}

impl<F: Fn(&[u32], usize) -> Result<Receipt<Refusal>, Refusal>> Sink for Fake<F> {
    type Parcel = Row;
    type Error = Refusal;

    fn name(&self) -> &'static str {
        "the fake"
    }

    fn identity(&self) -> String {
        String::new()
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    async fn render(&self, changes: Vec<(Change, Names)>) -> Vec<Row> {
        changes.into_iter().map(|(change, _)| Row { change, size: 1 }).collect()
    }

    async fn send(&self, parcels: &[&Row], delivery: Uuid) -> Result<Receipt<Refusal>, Refusal> {
        let names: Vec<u32> = parcels.iter().map(|row| row.name()).collect();
        assert!(parcels.len() <= self.limits.parcels.get());
        assert!(parcels.len() == 1 || parcels.iter().map(|row| row.size()).sum::<usize>() <= self.limits.bytes);
        for name in &names {
            assert!(self.open.borrow_mut().insert(*name), "{name} is under way twice");
        }
        self.posts.set(self.posts.get() + 1);
        assert!(self.posts.get() <= self.limits.in_flight.get());
        let before = self.count();
        let attempt = Attempt { at: self.start.elapsed(), names: names.clone(), delivery };
        self.attempts.borrow_mut().push(attempt);
        tokio::time::sleep(ANSWER).await;
        for name in &names {
            self.open.borrow_mut().remove(name);
        }
        self.posts.set(self.posts.get() - 1);
        (self.answer)(&names, before)
    }
}

#[expect(clippy::unnecessary_wraps, reason = "an answer like all others")]
fn accept(names: &[u32]) -> Result<Receipt<Refusal>, Refusal> {
    Ok(vec![Ok(()); names.len()].into())
}

/// Answers posts, some with bad parcels in them.
fn unless_bad(bad: BTreeMap<u32, Fault>) -> impl Fn(&[u32], usize) -> Result<Receipt<Refusal>, Refusal> {
    move |names, _| match names.iter().find_map(|name| bad.get(name)) {
        Some(fault) => Err(Refusal(*fault)),
        None => accept(names),
    }
}

/// What was reported for a parcel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reported {
    Accepted,
    Rejected(Fault),
    Unproven(Fault),
    Failed(Fault),
}

impl From<Delivered> for Reported {
    fn from(delivered: Delivered) -> Self {
        match delivered {
            Delivered::Accepted => Self::Accepted,
            Delivered::Rejected(error) => Self::Rejected(error.fault()),
            Delivered::Unproven(error) => Self::Unproven(error.fault()),
            Delivered::Failed(error) => Self::Failed(error.fault()),
        }
    }
}

type Told = Vec<(u32, Reported)>;

struct Ended {
    result: Result<(), DeliveryError>,
    told: Told,
    retried: u64,
    is_closed: bool,
    took: Duration,
}

impl Ended {
    fn accepted(&self) -> BTreeSet<u32> {
        self.told.iter().filter(|(_, outcome)| *outcome == Reported::Accepted).map(|(name, _)| *name).collect()
    }

    fn failed(&self) -> usize {
        self.told.iter().filter(|(_, outcome)| matches!(outcome, Reported::Failed(_))).count()
    }
}

async fn deliver<F>(sink: &Fake<F>, orders: Vec<(Wave, Vec<Row>)>, stop: impl Future) -> Ended
where
    F: Fn(&[u32], usize) -> Result<Receipt<Refusal>, Refusal>,
{
    let (sender, receiver) = mpsc::channel(2);
    let feed = async move {
        for (wave, parcels) in orders {
            if sender.send(Order::Post { wave, parcels: rendered(parcels) }).await.is_err() {
                break;
            }
        }
    };
    let mut told = Vec::new();
    let delivery = Delivery::new(sink, sink.patience, HALF_AN_HOUR);
    let start = Instant::now();
    let run = delivery.run(receiver, stop, |row: Rendered, outcome| told.push((name(&*row), outcome.into())));
    let (result, ()) = tokio::join!(run, feed);
    let (retried, is_closed) = (delivery.retried(), delivery.is_closed());
    Ended { result, told, retried, is_closed, took: start.elapsed() }
}

async fn leaves<F>(sink: &Fake<F>, names: impl IntoIterator<Item = u32>) -> Ended
where
    F: Fn(&[u32], usize) -> Result<Receipt<Refusal>, Refusal>,
{
    deliver(sink, vec![(Wave::Leaves, rows(names))], std::future::pending::<()>()).await
}

fn paused<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(test)
}

#[tokio::test(start_paused = true)]
async fn what_fits_is_one_post() {
    let sink = Fake::new(3, 100, |names, _| accept(names));
    let ended = leaves(&sink, 0..250).await;
    assert_eq!(sink.sizes(), [100, 100, 50]);
    assert_eq!((ended.accepted().len(), ended.retried), (250, 0));
}

#[tokio::test(start_paused = true)]
async fn no_id_is_in_a_post_twice_or_under_way_twice() {
    let sink = Fake::new(3, 100, |names, _| accept(names));
    let ended = leaves(&sink, [1, 2, 1, 1, 3]).await;
    assert_eq!(sink.sizes(), [2, 1, 2]);
    assert_eq!(ended.told.len(), 5);
    assert!(ended.took >= 3 * ANSWER, "one after the other");
}

#[tokio::test(start_paused = true)]
async fn posts_go_side_by_side_as_many_as_the_sink_takes() {
    let sink = Fake::new(5, 1, |names, _| accept(names));
    let ended = leaves(&sink, 0..50).await;
    assert!(ended.took < 11 * ANSWER, "{:?}", ended.took);
}

#[tokio::test(start_paused = true)]
async fn everything_of_a_wave_is_settled_before_the_next() {
    let slow = |names: &[u32], before| if before == 0 { Err(Refusal(PASSING)) } else { accept(names) };
    let sink = Fake::new(9, 1, slow);
    let waves = [Wave::Roots, Wave::Containers, Wave::Leaves, Wave::Leaves, Wave::ContainerDeletes];
    let orders = waves.iter().zip(0..).map(|(wave, at)| (*wave, rows(at * 10..at * 10 + 5))).collect();
    let ended = deliver(&sink, orders, std::future::pending::<()>()).await;
    let waves: Vec<u32> = ended.told.iter().map(|(name, _)| [0, 1, 2, 2, 4][*name as usize / 10]).collect();
    assert!(waves.is_sorted() && waves.len() == 25, "{waves:?}");
    let attempts: Vec<u32> =
        sink.attempts.borrow().iter().map(|one| [0, 1, 2, 2, 4][one.names[0] as usize / 10]).collect();
    assert!(attempts.is_sorted(), "{attempts:?}");
}

#[tokio::test(start_paused = true)]
async fn who_asks_is_answered_once_all_before_is_settled() {
    let slow = |names: &[u32], before| if before < 3 { Err(Refusal(PASSING)) } else { accept(names) };
    let sink = Fake::new(2, 1, slow);
    let (sender, receiver) = mpsc::channel(2);
    let told = Cell::new(0);
    let feed = async {
        for at in 0..3 {
            let parcels = rows(at * 10..at * 10 + 5);
            sender.send(Order::Post { wave: Wave::Leaves, parcels: rendered(parcels) }).await.unwrap();
            let (ask, answer) = oneshot::channel();
            sender.send(Order::Settle(ask)).await.unwrap();
            answer.await.unwrap();
            assert_eq!(told.get(), (at + 1) * 5);
        }
        drop(sender);
    };
    let delivery = Delivery::new(&sink, PATIENCE, HALF_AN_HOUR);
    let run = delivery.run(receiver, std::future::pending::<()>(), |_, _| told.set(told.get() + 1));
    let (result, ()) = tokio::join!(run, feed);
    result.unwrap();
}

#[tokio::test(start_paused = true)]
async fn attempts_at_one_post_share_a_delivery_and_posts_do_not() {
    let slow = |names: &[u32], before| if before < 3 { Err(Refusal(PASSING)) } else { accept(names) };
    let sink = Fake::new(1, 1, slow);
    let ended = leaves(&sink, 0..2).await;
    let deliveries: Vec<Uuid> = sink.attempts.borrow().iter().map(|one| one.delivery).collect();
    assert!(deliveries[..4].iter().all(|one| *one == deliveries[0]) && deliveries[4] != deliveries[0]);
    assert_eq!((ended.accepted().len(), ended.retried), (2, 3));
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_the_sink_asks_for_is_kept() {
    let after = Some(Duration::from_secs(77));
    let sink = Fake::new(
        1,
        1,
        move |names: &[u32], before| {
            if before == 0 { Err(Refusal(Fault::Passing { after })) } else { accept(names) }
        },
    );
    let ended = leaves(&sink, 0..1).await;
    assert_eq!(ended.took.as_secs(), 77);
}

#[tokio::test(start_paused = true)]
async fn a_throttle_pauses_all_posts_together() {
    let wait = Duration::from_secs(60);
    for is_error in [true, false] {
        let sink = Fake::new(4, 1, move |names: &[u32], before| match before {
            20 if is_error => Err(Refusal(Fault::Throttled { after: Some(wait) })),
            20 => Ok(Receipt { outcomes: vec![Ok(())], pause: Some(wait) }),
            _ => accept(names),
        });
        let ended = leaves(&sink, 0..100).await;
        assert_eq!(ended.accepted().len(), 100);
        let times: Vec<Duration> = sink.attempts.borrow().iter().map(|one| one.at).collect();
        let told = times[20] + ANSWER;
        let early = times.iter().filter(|at| **at > told && **at < told + wait).count();
        assert_eq!(early, 0, "{times:?}");
        assert!(ended.took >= wait);
    }
}

#[tokio::test(start_paused = true)]
async fn no_pause_is_longer_than_a_server_is_granted() {
    let sink = Fake::new(1, 1, |names: &[u32], before| {
        if before == 0 {
            Err(Refusal(Fault::Throttled { after: Some(Duration::from_secs(9999)) }))
        } else {
            accept(names)
        }
    });
    let ended = leaves(&sink, 0..1).await;
    assert_eq!((ended.took.as_secs(), ended.accepted().len()), (120, 1));
}

#[tokio::test(start_paused = true)]
async fn a_bad_parcel_is_found_in_ever_smaller_halves() {
    for fault in [Fault::Rejected, Fault::Denied] {
        let sink = Fake::new(1, 8, unless_bad([(12, fault)].into()));
        let ended = leaves(&sink, 0..18).await;
        assert_eq!(sink.sizes(), [8, 8, 4, 4, 2, 1, 1, 2, 2], "{fault:?}");
        assert_eq!((ended.accepted().len(), ended.told.len()), (17, 18));
        assert!(ended.result.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn what_passes_is_tried_for_long_as_a_whole_and_alone_and_once_in_between() {
    let mut sink = Fake::new(1, 8, unless_bad([(12, PASSING)].into()));
    sink.patience.first = Duration::from_millis(100);
    let ended = leaves(&sink, 0..16).await;
    assert_eq!(sink.sizes(), [8, 8, 8, 8, 8, 8, 8, 4, 4, 2, 1, 1, 1, 1, 1, 1, 1, 2]);
    assert_eq!((ended.accepted().len(), ended.failed()), (15, 1));
    assert!(ended.result.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_receipt_may_tell_of_each_parcel() {
    let outcomes = |names: &[u32]| -> Vec<Outcome<Refusal>> {
        let outcome = |name: &u32| match name % 4 {
            0 => Ok(()),
            1 => Err(Refusal(Fault::Rejected)),
            2 => Err(Refusal(Fault::Unproven)),
            _ => Err(Refusal(Fault::Denied)),
        };
        names.iter().map(outcome).collect()
    };
    let sink = Fake::new(2, 10, |names, _| Ok(outcomes(names).into()));
    let ended = leaves(&sink, 0..30).await;
    assert_eq!(sink.sizes(), [10, 10, 10], "what is told of each is final");
    for (name, outcome) in ended.told {
        match name % 4 {
            0 => assert_eq!(outcome, Reported::Accepted),
            1 => assert!(matches!(outcome, Reported::Rejected(_))),
            2 => assert!(matches!(outcome, Reported::Unproven(_))),
            _ => assert!(matches!(outcome, Reported::Failed(_))),
        }
    }
}

/// An answer that takes a parcel only once the one with the next number has been accepted.
fn in_turn(last: u32) -> impl Fn(&[u32], usize) -> Result<Receipt<Refusal>, Refusal> {
    let there = RefCell::new(BTreeSet::new());
    move |names, _| {
        let mut take = |name: &u32| {
            let is_free = *name == last || there.borrow().contains(&(name + 1));
            is_free.then(|| _ = there.borrow_mut().insert(*name)).ok_or(Refusal(Fault::Awaits))
        };
        Ok(names.iter().map(&mut take).collect::<Vec<_>>().into())
    }
}

#[tokio::test(start_paused = true)]
async fn what_awaits_another_is_posted_again_until_nothing_new_is_there() {
    let sink = Fake::new(1, 2, in_turn(4));
    let ended = leaves(&sink, 0..5).await;
    assert_eq!(ended.accepted(), (0..5).collect());
    let orders = vec![(Wave::Leaves, rows([1, 2])), (Wave::ContainerDeletes, rows([3]))];
    let sink = Fake::new(2, 1, in_turn(3));
    let ended = deliver(&sink, orders, std::future::pending::<()>()).await;
    assert_eq!(ended.accepted(), (1..4).collect(), "what comes in a later wave is waited for as well");
}

#[tokio::test(start_paused = true)]
async fn what_awaits_something_that_never_comes_fails_at_the_end_after_few_attempts() {
    let sink = Fake::new(2, 2, in_turn(9));
    let ended = leaves(&sink, [1, 2, 9, 8]).await;
    assert_eq!((ended.accepted(), ended.failed()), (BTreeSet::from([8, 9]), 2));
    assert!(sink.count() <= 4, "{:?}", sink.sizes());
    assert!(ended.result.is_ok());
}

/// Answers that settle `settled` parcels of each post and are then interrupted.
fn interrupted_after(settled: usize, fault: Fault) -> impl Fn(&[u32], usize) -> Result<Receipt<Refusal>, Refusal> {
    move |names, _| {
        let outcome = |at| if at < settled { Ok(()) } else { Err(Refusal(fault)) };
        Ok((0..names.len()).map(outcome).collect::<Vec<_>>().into())
    }
}

#[tokio::test(start_paused = true)]
async fn a_post_that_was_interrupted_goes_on_where_it_was() {
    for fault in [PASSING, Fault::Unreachable, Fault::Throttled { after: None }] {
        let sink = Fake::new(1, 8, interrupted_after(3, fault));
        let ended = leaves(&sink, 0..12).await;
        assert_eq!(sink.sizes(), [8, 5, 2, 4, 1], "{fault:?}");
        assert_eq!((ended.accepted().len(), ended.told.len(), ended.retried), (12, 12, 3));
    }
}

#[tokio::test(start_paused = true)]
async fn a_post_that_is_interrupted_before_anything_is_settled_is_not_posted_forever() {
    let sink = Fake::new(1, 8, interrupted_after(0, PASSING));
    let ended = leaves(&sink, 0..12).await;
    assert_eq!((sink.sizes(), ended.failed()), (vec![8, 4], 12));
}

#[tokio::test(start_paused = true)]
async fn deletes_go_apart_where_a_post_takes_another_number_of_them() {
    let mut sink = Fake::new(1, 2, |names, _| accept(names));
    sink.limits.parcels = NonZeroUsize::new(2).unwrap();
    sink.limits.deletes = NonZeroUsize::new(3).unwrap();
    let mut parcels = rows(0..8);
    for row in &mut parcels[3..] {
        row.change.operation = Operation::Delete;
    }
    let posts: Vec<usize> = Posts::new(sink.limits, rendered(parcels)).map(|post| post.len()).collect();
    assert_eq!(posts, [2, 1, 3, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_parcel_that_fails_forever_costs_its_own_retries_only() {
    for (in_flight, parcels) in [(1, 1), (25, 1), (5, 100)] {
        for bad in [1, 10, 30, 49] {
            // Adjacent, and at the very beginning.
            let sink = Fake::new(in_flight, parcels, unless_bad((0..bad).map(|name| (name, PASSING)).collect()));
            let ended = leaves(&sink, 0..1000).await;
            assert!(ended.result.is_ok(), "{bad} in {parcels}, {in_flight} at once: {:?}", ended.result);
            assert_eq!((ended.accepted().len(), ended.failed()), (1000 - bad as usize, bad as usize));
            for (name, tries) in sink.alone() {
                assert!(tries <= if name < bad { 6 } else { 1 }, "{name}: {tries}");
            }
            if (in_flight, bad, parcels) == (25, 1, 1) {
                assert_eq!(sink.count(), 1005, "six attempts");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_fails_every_post_is_down_soon() {
    for (in_flight, parcels, most) in [(1, 1, 70), (25, 1, 250), (25, 100, 300), (1, 100, 120)] {
        let sink = Fake::new(
            in_flight,
            parcels,
            |names: &[u32], before| {
                if before < 2 { accept(names) } else { Err(Refusal(PASSING)) }
            },
        );
        let ended = leaves(&sink, 0..20_000).await;
        let error = ended.result.unwrap_err();
        assert!(matches!(error, DeliveryError::Down { .. }), "{error}");
        assert!(error.to_string().starts_with("the fake is down: nothing was accepted for "), "{error}");
        assert!(sink.count() < most, "{} attempts; {in_flight} of {parcels}", sink.count());
        assert!(ended.took < Duration::from_secs(65), "{:?}; {in_flight} of {parcels}", ended.took);
    }
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_nobody_reaches_is_down_after_two_posts() {
    let sink = Fake::new(1, 1, |_: &[u32], _| Err(Refusal(Fault::Unreachable)));
    let ended = leaves(&sink, 0..100).await;
    assert!(matches!(ended.result, Err(DeliveryError::Down { .. })));
    assert!(sink.count() <= 12, "{}", sink.count());
    assert!(ended.told.len() <= 1, "the one that shows it is not told");
    let sink = Fake::new(25, 100, |_: &[u32], _| Err(Refusal(Fault::Unreachable)));
    let ended = leaves(&sink, 0..10_000).await;
    assert!(matches!(ended.result, Err(DeliveryError::Down { .. })));
    assert!(ended.took < Duration::from_secs(40), "{:?}", ended.took);
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_throttles_without_a_hint_is_never_down_and_asked_by_one_post_at_a_time() {
    for minutes in [1, 5, 29] {
        let start = Instant::now();
        let is_over = move || start.elapsed() >= Duration::from_secs(minutes * 60);
        let sink = Fake::new(
            25,
            1,
            move |names: &[u32], before| if before < 10 || is_over() { accept(names) } else { THROTTLED },
        );
        let ended = leaves(&sink, 0..100).await;
        assert!(ended.result.is_ok(), "{:?}", ended.result);
        assert_eq!(ended.accepted().len(), 100);
        assert!(ended.retried <= 15 + 7 + minutes, "{} in {minutes} min", ended.retried);
        assert_eq!(ended.retried, sink.count() as u64 - 100);
    }
}

#[tokio::test(start_paused = true)]
async fn a_throttle_is_over_with_an_answer_that_is_none_be_it_an_error() {
    let bad = |names: &[u32]| names.iter().any(|name| *name < 40);
    let mut sink = Fake::new(1, 1, |names: &[u32], before| match before % 3 {
        0 => Err(Refusal(Fault::Throttled { after: Some(Duration::ZERO) })),
        _ if bad(names) => Err(Refusal(PASSING)),
        _ => accept(names),
    });
    sink.patience.retries = 0;
    let ended = leaves(&sink, 0..60).await;
    assert_eq!((ended.accepted().len(), ended.failed()), (20, 40));
    assert!(ended.took < Duration::from_secs(2), "{:?}", ended.took);
}

#[tokio::test(start_paused = true)]
async fn a_throttle_is_waited_out_for_as_long_as_a_run_may_take_whatever_hint_it_gives() {
    for after in [None, Some(0), Some(1), Some(600)].map(|after| after.map(Duration::from_secs)) {
        let sink = Fake::new(25, 1, move |_: &[u32], _| Err(Refusal(Fault::Throttled { after })));
        let ended = leaves(&sink, 0..100).await;
        let error = ended.result.unwrap_err();
        assert!(matches!(error, DeliveryError::Throttled { .. }), "{error}");
        assert!(error.to_string().starts_with("the fake throttled everything for 3"), "{error}");
        assert_eq!(ended.told, [], "nothing is known of any");
        assert!((30..=33).contains(&(ended.took.as_secs() / 60)), "{:?}", ended.took);
        assert!(sink.count() <= 25 + 25 + 36, "{} attempts; {after:?}", sink.count());
    }
}

/// The window of a rate limit: counted from its first post, or back from any moment.
#[derive(Clone, Copy, Debug)]
enum Window {
    Fixed,
    Sliding,
}

/// A limit of `most` posts per `period`. All other posts are refused.
fn limited(
    most: usize,
    period: Duration,
    window: Window,
) -> impl Fn(&[u32], usize) -> Result<Receipt<Refusal>, Refusal> {
    let accepted = RefCell::new(Vec::<Instant>::new());
    move |names, _| {
        let mut accepted = accepted.borrow_mut();
        let now = Instant::now();
        match window {
            Window::Fixed if accepted.first().is_some_and(|first| now - *first >= period) => accepted.clear(),
            Window::Fixed => {}
            Window::Sliding => accepted.retain(|at| now - *at < period),
        }
        if accepted.len() >= most {
            return THROTTLED;
        }
        accepted.push(now);
        accept(names)
    }
}

#[tokio::test(start_paused = true)]
async fn the_rate_that_a_sink_accepts_is_kept_to_and_nearly_nothing_is_refused_after_the_first_throttle() {
    for (most, period) in [(40, 60), (200, 300), (1, 2), (100, 10)] {
        for window in [Window::Fixed, Window::Sliding] {
            let sink = Fake::new(25, 1, limited(most, Duration::from_secs(period), window));
            let posts = u32::try_from(most).unwrap() * 30 / u32::try_from(period).unwrap().div_ceil(60);
            let ended = leaves(&sink, 0..posts).await;
            assert!(ended.result.is_ok(), "{:?}", ended.result);
            assert_eq!((ended.accepted().len(), ended.told.len()), (posts as usize, posts as usize));
            let least = period as f64 * f64::from(posts) / most as f64;
            let took = ended.took.as_secs_f64();
            let refused = ended.retried;
            assert!(took < least * 1.3 + 60.0, "{most} in {period} s, {window:?}: {took} s of {least} s");
            assert!(refused < u64::from(posts) / 4 + 40, "{most} in {period} s, {window:?}: {refused} of {posts}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_in_the_middle_of_a_throttle_is_no_reason_to_wait() {
    let sink = Fake::new(25, 1, |names: &[u32], before| if before < 10 { accept(names) } else { THROTTLED });
    let stop = tokio::time::sleep(Duration::from_secs(20));
    let ended = deliver(&sink, vec![(Wave::Leaves, rows(0..100))], stop).await;
    assert!(ended.result.is_ok());
    assert_eq!((ended.accepted().len(), ended.told.len()), (10, 10));
    assert_eq!(ended.took.as_secs(), 20);
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_denies_everything_ends_the_run_after_fifty() {
    let sink = Fake::new(1, 1, |_: &[u32], _| Err(Refusal(Fault::Denied)));
    let ended = leaves(&sink, 0..1000).await;
    let error = ended.result.unwrap_err();
    assert_eq!((sink.count(), ended.retried), (50, 0));
    assert!(matches!(error, DeliveryError::Denied { .. }));
    assert_eq!(error.to_string(), "the fake does not exist or is not yours: Denied");
    assert_eq!(error.advice(), Some("of the denial"));

    let sink = Fake::new(5, 100, |_: &[u32], _| Err(Refusal(Fault::Denied)));
    let ended = leaves(&sink, 0..1000).await;
    assert!(matches!(ended.result, Err(DeliveryError::Denied { .. })));
    assert!(sink.count() < 120, "{}", sink.count());
}

#[tokio::test(start_paused = true)]
async fn a_run_of_a_few_that_are_all_denied_ends_as_denied() {
    let sink = Fake::new(2, 1, |_: &[u32], _| Err(Refusal(Fault::Denied)));
    let ended = leaves(&sink, 0..3).await;
    assert!(matches!(ended.result, Err(DeliveryError::Denied { .. })));
    assert_eq!(ended.failed(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_accepted_something_and_then_denies_only_fails_each() {
    let sink =
        Fake::new(1, 1, |names: &[u32], before| if before < 1 { accept(names) } else { Err(Refusal(Fault::Denied)) });
    let ended = leaves(&sink, 0..200).await;
    assert!(ended.result.is_ok());
    assert_eq!(sink.count(), 200);
}

#[tokio::test(start_paused = true)]
async fn what_is_rejected_never_ends_a_run() {
    for parcels in [1, 100] {
        let sink = Fake::new(7, parcels, |_: &[u32], _| Err(Refusal(Fault::Rejected)));
        let ended = leaves(&sink, 0..1000).await;
        assert!(ended.result.is_ok());
        assert!(ended.told.iter().all(|(_, outcome)| matches!(outcome, Reported::Rejected(_))));
        assert_eq!((ended.told.len(), ended.retried), (1000, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_closed_sink_ends_the_run_without_an_error_and_a_broken_one_with_it() {
    for (fault, is_error) in [(Fault::Closed, false), (Fault::Broken, true)] {
        let sink =
            Fake::new(1, 1, move |names: &[u32], before| if before < 3 { accept(names) } else { Err(Refusal(fault)) });
        let ended = leaves(&sink, 0..100).await;
        assert_eq!(
            (ended.told.len(), sink.count(), ended.result.is_err(), ended.is_closed),
            (3, 4, is_error, !is_error)
        );
        assert!(ended.result.is_ok_and(|()| true) || matches!(fault, Fault::Broken));
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_accepted_before_the_sink_went_away_is_told() {
    let sink = Fake::new(1, 4, |names: &[u32], before| match before {
        0 => Err(Refusal(Fault::Rejected)),
        1 => accept(names),
        _ => Err(Refusal(Fault::Broken)),
    });
    let ended = leaves(&sink, 0..4).await;
    assert_eq!(ended.accepted(), [0, 1].into());
    assert!(matches!(ended.result, Err(DeliveryError::Broken(_))));
}

#[tokio::test(start_paused = true)]
async fn a_stop_lets_what_is_under_way_end_and_begins_nothing() {
    let sink = Fake::new(4, 1, |names, _| accept(names));
    let stop = tokio::time::sleep(ANSWER + ANSWER / 2);
    let ended = deliver(&sink, vec![(Wave::Leaves, rows(0..100))], stop).await;
    assert!(ended.result.is_ok());
    assert_eq!((ended.accepted().len(), sink.count()), (8, 8));
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_long_and_finds_no_parts() {
    // One post that is to be halved, and one that is never accepted.
    let sink = Fake::new(2, 8, unless_bad([(0, Fault::Rejected), (8, PASSING)].into()));
    let stop = tokio::time::sleep(ANSWER / 2);
    let ended = deliver(&sink, vec![(Wave::Leaves, rows(0..16))], stop).await;
    assert!(ended.result.is_ok());
    assert_eq!(ended.told, []);
    assert!(ended.took <= LANDING + ANSWER, "{:?}", ended.took);
    assert!(sink.sizes().iter().all(|size| *size == 8));
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![Just(PASSING), Just(Fault::Rejected), Just(Fault::Denied)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn bad_parcels_hold_up_no_others(
        bad in prop::collection::btree_map(0_u32..400, fault(), 0..50),
        in_flight in 1_usize..30,
        parcels in prop_oneof![Just(1_usize), 2_usize..=100],
        orders in 1_usize..5,
    ) {
        let sink = Fake::new(in_flight, parcels, unless_bad(bad.clone()));
        let all = rows(0..400);
        let orders = all.chunks(400 / orders).map(|chunk| (Wave::Leaves, chunk.to_vec())).collect();
        let ended = paused(deliver(&sink, orders, std::future::pending::<()>()));
        prop_assert!(ended.result.is_ok(), "{:?}", ended.result);
        prop_assert_eq!(ended.told.len(), 400);
        let told: BTreeMap<u32, Reported> = ended.told.into_iter().collect();
        prop_assert_eq!(told.len(), 400);
        for (name, outcome) in told {
            let expected = match bad.get(&name) {
                None => Reported::Accepted,
                Some(Fault::Rejected) => Reported::Rejected(Fault::Rejected),
                Some(fault) => Reported::Failed(*fault),
            };
            prop_assert_eq!(outcome, expected, "{}", name);
        }
    }

    #[test]
    fn just_the_bad_are_rejected_and_the_order_is_kept(
        flags in prop::collection::vec(prop::bool::weighted(0.05), 1..=100)
    ) {
        let count = u32::try_from(flags.len()).unwrap();
        let bad: BTreeMap<u32, Fault> =
            (0..count).zip(&flags).filter(|(_, bad)| **bad).map(|(name, _)| (name, Fault::Rejected)).collect();
        let sink = Fake::new(1, 100, unless_bad(bad.clone()));
        let ended = paused(leaves(&sink, 0..count));
        let expected: Told = (0..count)
            .map(|name| match bad.get(&name) {
                Some(fault) => (name, Reported::Rejected(*fault)),
                None => (name, Reported::Accepted),
            })
            .collect();
        prop_assert_eq!(ended.told, expected);
        prop_assert!(sink.count() <= 1 + bad.len() * 14, "two posts for each of at most seven halvings");
    }

    #[test]
    fn posts_hold_every_parcel_once_in_order_and_within_the_limits(
        parcels in prop::collection::vec((0_u32..200, prop_oneof![20 => 0_usize..40, 1 => 0_usize..1500]), 0..200),
        most in 1_usize..=100,
    ) {
        let sink = Fake::new(1, most, |names: &[u32], _| accept(names));
        let parcels: Vec<Row> = parcels.into_iter().map(|(name, size)| sized(name, size)).collect();
        let mut found = Vec::new();
        for post in Posts::new(sink.limits, rendered(parcels.clone())) {
            let names: BTreeSet<u32> = post.iter().map(|row| name(&**row)).collect();
            prop_assert!(names.len() == post.len() && post.len() <= most);
            prop_assert!(post.len() == 1 || post.iter().map(|row| row.size()).sum::<usize>() <= sink.limits.bytes);
            found.extend(post.iter().map(|row| (name(&**row), row.size())));
        }
        let all: Vec<(u32, usize)> = parcels.iter().map(|row| (row.name(), row.size)).collect();
        prop_assert_eq!(found, all);
    }

    #[test]
    fn no_wave_and_no_id_overtakes_itself(
        orders in prop::collection::vec((0_usize..4, prop::collection::vec(0_u32..30, 0..20)), 0..12),
        blips in prop::collection::btree_set(0_usize..60, 0..3),
        in_flight in 1_usize..9,
        parcels in 1_usize..6,
    ) {
        let waves = [Wave::Roots, Wave::Containers, Wave::Leaves, Wave::ContainerDeletes];
        let sink = Fake::new(in_flight, parcels, move |names: &[u32], before| {
            if blips.contains(&before) { Err(Refusal(PASSING)) } else { accept(names) }
        });
        // A name modulo 4 is its wave, so that the orders can be told apart.
        let orders: Vec<(Wave, Vec<Row>)> = orders
            .into_iter()
            .map(|(wave, names)| (waves[wave], rows(names.into_iter().map(|name| name * 4 + u32::try_from(wave).unwrap()))))
            .collect();
        let expected: Vec<u32> =
            orders.iter().flat_map(|(_, rows)| rows.iter().map(|row| row.name() % 4)).collect();
        let ended = paused(deliver(&sink, orders, std::future::pending::<()>()));
        prop_assert!(ended.result.is_ok());
        let told: Vec<u32> = ended.told.iter().map(|(name, _)| name % 4).collect();
        prop_assert_eq!(told, expected);
    }
}
