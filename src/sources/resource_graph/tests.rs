//! Readings against a service that each test describes.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use super::arm_id::id_of;
use super::client::{Pages, Request};
use super::error::tests::{answered, failed};
use super::page::Page;
use super::*;
use crate::azure::api::Effort;
use crate::http::Failure;

const GROUP: &str = "/subscriptions/s/resourcegroups/g";

/// How a query fails.
type Failing = fn() -> GraphError;

/// A service that holds some ids, and fails in some way.
#[derive(Default)]
struct Service {
    ids: Vec<String>,
    /// Queries that include one of these rows in full are not answered.
    poison: BTreeSet<String>,
    /// Nor are those for their ids.
    is_deep: bool,
    /// It answers only this many queries, and then none.
    dies_after: Option<usize>,
    /// The most rows in an answer that is not too large.
    most: Option<usize>,
    /// Rows that are on no page.
    hidden: BTreeSet<String>,
    /// The error is in the answer, rather than from the service.
    is_garbled: bool,
    /// The most subscriptions that it answers a query over.
    most_together: Option<usize>,
    /// Subscriptions that make every query fail, and how.
    broken: Option<(Vec<&'static str>, Failing)>,
    /// Unanswered queries take the full timeout.
    hangs: bool,
    /// Rows that exist when a result is announced, but no longer when its parts are read.
    gone: BTreeSet<String>,
    /// How often the parts of a large result lack all their rows.
    short: Cell<usize>,
    queries: RefCell<Vec<(String, Effort)>>,
    announced: Cell<u64>,
}

impl Service {
    fn with(count: usize) -> Self {
        Self { ids: (0..count).map(id).collect(), ..Self::default() }
    }

    fn poisoned(mut self, ids: &[usize]) -> Self {
        self.poison.extend(ids.iter().map(|n| id(*n)));
        self
    }

    fn asked(&self) -> usize {
        self.queries.borrow().len()
    }

    /// The rows that one of our texts asks for: all, a part by hash, or by name.
    fn rows(&self, text: &str) -> Vec<&String> {
        let part = text.lines().find_map(|line| line.strip_prefix("| where hash(resourceId) % ")).map(|part| {
            let (of, index) = part.split_once(" == ").unwrap();
            (of.parse::<usize>().unwrap(), index.parse::<usize>().unwrap())
        });
        let lists: Vec<BTreeSet<&str>> = text
            .lines()
            .filter_map(|line| line.strip_prefix("| where resourceId in (")?.strip_suffix(')'))
            .map(|list| list.split(", ").map(|name| name.trim_matches('\'')).collect())
            .collect();
        let rows = self.ids.iter().enumerate().filter(|(n, id)| {
            part.is_none_or(|(of, index)| n % of == index) && lists.iter().all(|list| list.contains(id.as_str()))
        });
        rows.map(|(_, id)| id).collect()
    }

    fn fails(&self) -> GraphError {
        if self.is_garbled { failed(Failure::Unreadable("x".into())) } else { answered(500, "InternalServerError") }
    }
}

impl Pages for Service {
    type Closed = Page;

    async fn open(&self, page: Page, _: &'static str, _: &config::Scope) -> Result<Page, GraphError> {
        Ok(page)
    }

    async fn page(&self, request: Request<'_>) -> Result<Page, GraphError> {
        // So that others get their turn.
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.queries.borrow_mut().push((request.text.to_owned(), request.effort));
        if self.dies_after.is_some_and(|after| self.asked() > after) {
            return Err(self.fails());
        }
        let is_named = |broken: &&str| *broken == "*" || request.subscriptions.contains(broken);
        if let Some((_, error)) = self.broken.as_ref().filter(|(broken, _)| broken.iter().any(is_named)) {
            if self.hangs {
                let tries = if request.effort == Effort::Full { 3 } else { 1 };
                let wait = Duration::from_secs(if request.effort == Effort::Brief { 15 } else { 60 });
                tokio::time::sleep(wait * tries).await;
            }
            return Err(error());
        }
        if self.most_together.is_some_and(|most| request.subscriptions.len() > most) {
            return Err(answered(504, "GatewayTimeout"));
        }
        if request.name == "covered subscriptions" {
            let row = |guid: &&str| {
                let (id, start) = (format!("/subscriptions/{guid}"), format!("/subscriptions/{guid}/"));
                let resources = self.ids.iter().filter(|id| id.starts_with(&start)).count();
                json!({"id": id, "resourceId": id, "sourceResourceId": id, "resources": resources})
            };
            return Ok(page_of(
                &request.subscriptions.iter().map(row).collect::<Vec<_>>(),
                request.subscriptions.len(),
            ));
        }
        let is_asked = |id: &&String| request.subscriptions.contains(&id.split('/').nth(2).unwrap());
        let rows: Vec<&String> = self.rows(request.text).into_iter().filter(is_asked).collect();
        if request.text.contains("| where hash(resourceId)") && self.short.get() > 0 {
            self.short.set(self.short.get() - 1);
            return Ok(page(&[], 0));
        }
        let is_part = request.text.contains("| where hash(resourceId)");
        let rows: Vec<&String> = rows.into_iter().filter(|id| !(is_part && self.gone.contains(*id))).collect();
        let is_of_ids = request.text.contains("| project id, resourceId, subscriptionId\n");
        if rows.iter().any(|id| self.poison.contains(*id)) && (!is_of_ids || self.is_deep) {
            return Err(self.fails());
        }
        if self.most.is_some_and(|most| rows.len() > most && !is_of_ids) {
            return Err(answered(400, "ResponsePayloadTooLarge"));
        }
        let shown: Vec<String> =
            rows.iter().filter(|id| !self.hidden.contains(**id)).map(ToString::to_string).collect();
        Ok(page(&shown[..shown.len().min(1000)], rows.len()))
    }

    fn announce(&self, rows: u64) {
        self.announced.set(self.announced.get() + rows);
    }

    fn count(&self, _: u64) {}
}

fn id(n: usize) -> String {
    format!("{GROUP}/providers/a.b/c/{n}")
}

fn page(ids: &[String], total: usize) -> Page {
    let row = |id: &String| json!({"id": id, "resourceId": id, "sourceResourceId": id, "type": "a.b/c"});
    page_of(&ids.iter().map(row).collect::<Vec<_>>(), total)
}

fn page_of(rows: &[serde_json::Value], total: usize) -> Page {
    let body = json!({"totalRecords": total, "data": rows}).to_string();
    Page::parse(&Bytes::from(body), &config::Scope::default()).unwrap()
}

/// The result of a query in a run over one subscription, and the ids that it returned.
async fn read(service: &Service, query: Query<'_>) -> (Result<Answer, GraphError>, BTreeSet<String>) {
    let lessons = lessons();
    lessons.note_listed(1);
    read_over(service, query, &["s"], &lessons).await
}

/// Queries are sent over up to 1,000 subscriptions, until something else is learned.
fn lessons() -> Lessons {
    Lessons::new(NonZeroUsize::new(1000).unwrap())
}

/// The same over some subscriptions, with what the run has learned.
async fn read_over(
    service: &Service,
    query: Query<'_>,
    subscriptions: &[&str],
    lessons: &Lessons,
) -> (Result<Answer, GraphError>, BTreeSet<String>) {
    let (scope, slots) = (config::Scope::default(), Slots::new(3));
    let setting = Setting { pages: service, lessons, scope: &scope, slots: &slots };
    let (intake, mut taken) = mpsc::channel::<Vec<Finding>>(1);
    let read = async move {
        let opened = Opened::now(setting, query, subscriptions).await?;
        Reader::read(setting, opened, subscriptions, &intake).await
    };
    let take = async {
        let mut ids = BTreeSet::new();
        while let Some(page) = taken.recv().await {
            ids.extend(page.iter().map(|finding| finding.id().as_str().to_owned()));
        }
        ids
    };
    tokio::join!(read, take)
}

fn names(ids: &[Id]) -> BTreeSet<String> {
    ids.iter().map(|id| id.as_str().to_owned()).collect()
}

/// Everything that can be read is read, and the rest is reported.
async fn reads_around(service: Service, most_queries: usize) -> Service {
    let (answer, read) = read(&service, Query::Resources).await;
    assert_eq!(names(&answer.unwrap().failed), service.poison);
    let wanted: BTreeSet<String> = service.ids.iter().filter(|id| !service.poison.contains(*id)).cloned().collect();
    assert_eq!(read, wanted);
    assert!(service.asked() <= most_queries, "{} queries", service.asked());
    service
}

#[tokio::test(start_paused = true)]
async fn a_small_result_takes_one_query_and_a_large_one_its_parts() {
    let service = reads_around(Service::with(1000), 1).await;
    assert_eq!(service.announced.get(), 1000);
    let service = reads_around(Service::with(9300), 11).await;
    assert_eq!(service.announced.get(), 9300);
    reads_around(Service::with(0), 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_large_result_that_the_look_has_told_of_takes_its_parts_alone() {
    let (service, lessons) = (Service::with(9300), lessons());
    _ = read_over(&service, Query::Subscriptions, &["s"], &lessons).await;
    let (answer, read) = read_over(&service, Query::Resources, &["s"], &lessons).await;
    assert!(answer.is_ok());
    assert_eq!((read.len(), service.announced.get(), service.asked()), (9300, 9300, 1 + 10));
}

#[tokio::test(start_paused = true)]
async fn where_fewer_rows_come_than_the_look_has_told_of_they_are_counted_again() {
    let (mut service, lessons) = (Service::with(9300), lessons());
    _ = read_over(&service, Query::Subscriptions, &["s"], &lessons).await;
    service.ids.truncate(4000);
    let (answer, read) = read_over(&service, Query::Resources, &["s"], &lessons).await;
    assert!(answer.is_ok());
    assert_eq!((read.len(), service.asked()), (4000, 1 + 10 + 1 + 5));
}

#[tokio::test(start_paused = true)]
async fn rows_of_packed_subscriptions_are_announced_once() {
    let id = |n: usize| format!("/subscriptions/s{}/resourcegroups/g/providers/a.b/c/{n}", n % 40);
    let (service, lessons) = (Service { ids: (0..20_000).map(id).collect(), ..Service::default() }, lessons());
    let guids: Vec<String> = (0..40).map(|n| format!("s{n}")).collect();
    let guids: Vec<&str> = guids.iter().map(String::as_str).collect();
    _ = read_over(&service, Query::Subscriptions, &guids, &lessons).await;
    let (_, read) = read_over(&service, Query::Resources, &guids, &lessons).await;
    assert_eq!((read.len(), service.announced.get()), (20_000, 20_000));
}

#[tokio::test(start_paused = true)]
async fn what_is_read_side_by_side_is_cut_into_the_fewest_parts() {
    let id = |n: usize| format!("/subscriptions/s{}/resourcegroups/g/providers/a.b/c/{n}", n % 2);
    for (count, parts) in [(2600, 3), (5000, 6)] {
        let (service, lessons) = (Service { ids: (0..count).map(id).collect(), ..Service::default() }, lessons());
        _ = read_over(&service, Query::Subscriptions, &["s0", "s1"], &lessons).await;
        let (answer, read) = read_over(&service, Query::Resources, &["s0", "s1"], &lessons).await;
        assert!(answer.is_ok());
        assert_eq!((read.len(), service.asked()), (count, 1 + parts));
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_shown_covers_its_shard() {
    let (answer, _) = read(&Service::with(1), Query::Resources).await;
    assert_eq!(names(&Vec::from_iter(answer.unwrap().covered)), BTreeSet::from(["/subscriptions/s".to_owned()]));
    let (answer, _) = read(&Service::with(0), Query::Resources).await;
    assert!(answer.unwrap().covered.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_rows_of_subscriptions_cover_and_are_not_passed_on() {
    let (answer, read) = read(&Service::with(1), Query::Subscriptions).await;
    assert_eq!((answer.unwrap().covered.len(), read.len()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_row_with_which_every_query_fails_is_told_and_the_others_come() {
    for garbled in [false, true] {
        let service = Service { is_garbled: garbled, ..Service::with(120).poisoned(&[77]) };
        let service = reads_around(service, 20).await;
        let queries = service.queries.borrow();
        let patient = queries.iter().filter(|(_, effort)| *effort == Effort::Full).count();
        assert_eq!(patient, 1, "only the first is tried at length");
    }
    reads_around(Service::with(1).poisoned(&[0]), 4).await;
    reads_around(Service::with(900).poisoned(&[5]), 40).await;
}

#[tokio::test(start_paused = true)]
async fn so_are_ten_of_them_in_a_large_result() {
    let ten = [0, 999, 1000, 1001, 5000, 7777, 12_345, 12_346, 19_000, 19_999];
    reads_around(Service::with(20_000).poisoned(&ten), 500).await;
}

#[tokio::test(start_paused = true)]
async fn a_service_that_answers_nothing_is_not_asked_for_every_row() {
    for dies_after in [0, 1] {
        let service = Service { dies_after: Some(dies_after), ..Service::with(150).poisoned(&[3]) };
        let (answer, _) = read(&service, Query::Resources).await;
        assert!(answer.is_err());
        assert!(service.asked() <= 3, "{} queries", service.asked());
    }
    // It dies while the row is searched for.
    let service = Service { dies_after: Some(8), ..Service::with(150).poisoned(&[3]) };
    let (answer, _) = read(&service, Query::Resources).await;
    assert!(answer.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_row_whose_id_cannot_be_read_either_keeps_its_subscription_from_being_read() {
    let service = Service { is_deep: true, ..Service::with(150).poisoned(&[3]) };
    let (answer, _) = read(&service, Query::Resources).await;
    assert!(answer.is_err());
}

#[tokio::test(start_paused = true)]
async fn ids_that_are_asked_for_are_halved_down_to_the_one_that_fails() {
    let ids: Vec<Id> = (0..200).map(|n| id_of(&id(n)).unwrap()).collect();
    for is_deep in [false, true] {
        let service = Service { is_deep, ..Service::with(300).poisoned(&[9, 150]) };
        let (answer, read) = read(&service, Query::ResourcesById { ids: &ids }).await;
        assert_eq!(names(&answer.unwrap().failed), service.poison);
        assert_eq!(read.len(), 198);
        assert!(service.asked() < 50, "{} queries", service.asked());
    }
    let service = Service { dies_after: Some(0), ..Service::with(300) };
    let (answer, _) = read(&service, Query::ResourcesById { ids: &ids }).await;
    assert!(answer.is_err() && service.asked() <= 3);
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_is_quartered_and_a_single_row_that_is_is_told() {
    reads_around(Service { most: Some(100), ..Service::with(1000) }, 25).await;
    let service = Service { most: Some(0), ..Service::with(1).poisoned(&[0]) };
    reads_around(service, 30).await;
}

#[tokio::test(start_paused = true)]
async fn what_does_not_add_up_is_read_again_and_then_an_error() {
    let service = Service { hidden: BTreeSet::from([id(7)]), ..Service::with(50) };
    let (answer, read) = read(&service, Query::Resources).await;
    let error = answer.unwrap_err().to_string();
    assert!(error.contains("after 4 readings"), "{error}");
    assert_eq!(read.len(), 49, "what came is as good as it would be otherwise");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_no_poison() {
    struct Refusing;
    impl Pages for Refusing {
        type Closed = Page;

        async fn open(&self, page: Page, _: &'static str, _: &config::Scope) -> Result<Page, GraphError> {
            Ok(page)
        }

        async fn page(&self, _: Request<'_>) -> Result<Page, GraphError> {
            Err(answered(401, "InvalidAuthenticationToken"))
        }
        fn announce(&self, _: u64) {}
        fn count(&self, _: u64) {}
    }
    let (scope, slots, lessons) = (config::Scope::default(), Slots::new(1), lessons());
    let setting = Setting { pages: &Refusing, lessons: &lessons, scope: &scope, slots: &slots };
    assert!(Opened::now(setting, Query::Resources, &["s"]).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn when_nobody_takes_pages_the_reading_ends() {
    let (service, scope, slots, lessons) = (Service::with(10), config::Scope::default(), Slots::new(1), lessons());
    let setting = Setting { pages: &service, lessons: &lessons, scope: &scope, slots: &slots };
    let (intake, taken) = mpsc::channel::<Vec<Finding>>(1);
    drop(taken);
    let read = Reader::read(setting, Opened::later(Query::Resources), &["s"], &intake).await;
    assert!(read.unwrap_err().is_stop());
}

/// A service with `count` subscriptions, each with one resource, and their GUIDs.
fn wide(count: usize) -> (Service, Vec<String>) {
    let guids: Vec<String> = (0..count).map(|n| format!("s{n}")).collect();
    let ids = guids.iter().map(|guid| format!("/subscriptions/{guid}/resourcegroups/g/providers/a.b/c/d"));
    (Service { ids: ids.collect(), ..Service::default() }, guids)
}

#[tokio::test(start_paused = true)]
async fn what_is_too_heavy_over_many_subscriptions_is_asked_over_fewer_for_the_rest_of_the_run() {
    let (service, guids) = wide(1000);
    let guids: Vec<&str> = guids.iter().map(String::as_str).collect();
    let (service, lessons) = (Service { most_together: Some(100), ..service }, lessons());
    let (answer, read) = read_over(&service, Query::Resources, &guids, &lessons).await;
    let answer = answer.unwrap();
    assert_eq!((read.len(), answer.covered.len(), answer.unread.len()), (1000, 1000, 0));
    assert_eq!(lessons.together(), 63);
    let asked = service.asked();
    assert!(asked <= 30, "{asked} queries");
    let (_, read) = read_over(&service, Query::Containers, &guids, &lessons).await;
    assert_eq!((read.len(), service.asked() - asked), (1000, 16), "nothing is tried again");
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_always_fails_fails_alone_and_is_left_out_of_what_follows() {
    let errors: [Failing; 5] = [
        || answered(500, "InternalServerError"),
        || answered(403, "AuthorizationFailed"),
        || failed(Failure::Interrupted("reset".into())),
        || failed(Failure::Timeout(Duration::from_secs(60))),
        || failed(Failure::Unreadable("not JSON".into())),
    ];
    for error in errors {
        for broken in ["s0", "s577", "s999"] {
            let (service, guids) = wide(1000);
            let guids: Vec<&str> = guids.iter().map(String::as_str).collect();
            let (service, lessons) = (Service { broken: Some((vec![broken], error)), ..service }, lessons());
            let (answer, read) = read_over(&service, Query::Resources, &guids, &lessons).await;
            let answer = answer.unwrap();
            assert_eq!((read.len(), answer.covered.len()), (999, 999));
            assert_eq!(names(&Vec::from_iter(answer.unread)), BTreeSet::from([format!("/subscriptions/{broken}")]));
            assert_eq!(lessons.together(), 1000, "it is not the number that was too much");
            let asked = service.asked();
            assert!(asked <= 25, "{asked} queries");
            let (answer, _) = read_over(&service, Query::Containers, &guids, &lessons).await;
            assert_eq!((answer.unwrap().unread.len(), service.asked() - asked), (1, 1));
            let [(unread, _)] = &lessons.take_unread()[..] else { panic!("one is told") };
            assert_eq!(&**unread, broken);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn where_nothing_is_answered_at_all_the_reading_ends() {
    let (service, guids) = wide(1000);
    let guids: Vec<&str> = guids.iter().map(String::as_str).collect();
    let (service, lessons) = (Service { dies_after: Some(0), ..service }, lessons());
    let (answer, _) = read_over(&service, Query::Resources, &guids, &lessons).await;
    assert!(answer.is_err() && lessons.take_unread().len() <= 1, "it is not due to one of them");
    assert!(service.asked() <= 110, "{} queries", service.asked());
    let (answer, _) = read_over(&service, Query::Containers, &guids, &lessons).await;
    assert!(answer.unwrap_err().to_string().contains("was not asked"));
}

#[tokio::test(start_paused = true)]
async fn parts_that_come_to_less_than_was_announced_are_read_again_and_then_an_error() {
    let service = Service { short: Cell::new(4), ..Service::with(2876) };
    let service = reads_around(service, 10).await;
    assert_eq!(service.announced.get(), 2876, "once");
    let service = Service { short: Cell::new(usize::MAX), ..Service::with(2876) };
    let (answer, _) = read(&service, Query::Resources).await;
    let error = answer.unwrap_err();
    assert!(error.to_string().contains("0 rows came of 2876"), "{error}");
    assert_eq!(service.asked(), 10);
}

#[tokio::test(start_paused = true)]
async fn what_goes_while_parts_are_read_is_no_error_nor_is_a_row_that_cannot_be_read() {
    // A fiftieth of 2,876, plus twenty, is 77.
    for (count, queries) in [(77, 5), (78, 9)] {
        let gone = (0..count).map(|n| id(n * 4)).collect();
        let service = Service { gone, ..Service::with(2876) };
        let (answer, read) = read(&service, Query::Resources).await;
        assert_eq!((answer.is_ok(), read.len()), (count == 77, 2876 - count));
        assert!(service.asked() >= queries, "{} queries", service.asked());
    }
    let poison: Vec<usize> = (0..90).map(|n| n * 30).collect();
    reads_around(Service::with(2876).poisoned(&poison), 2000).await;
}

#[tokio::test(start_paused = true)]
async fn four_minutes_are_all_that_silence_costs_whether_of_one_subscription_or_of_all() {
    for (broken, count) in [("*", 1000), ("*", 1), ("s0", 1000), ("s600", 1000)] {
        let (service, guids) = wide(count);
        let guids: Vec<&str> = guids.iter().map(String::as_str).collect();
        let silent: Failing = || failed(Failure::Timeout(Duration::from_secs(60)));
        let service = Service { broken: Some((vec![broken], silent)), hangs: true, ..service };
        let (lessons, start) = (lessons(), tokio::time::Instant::now());
        lessons.note_listed(count);
        let (answer, read) = read_over(&service, Query::Resources, &guids, &lessons).await;
        assert_eq!((answer.is_ok(), read.len()), if broken == "*" { (false, 0) } else { (true, 999) });
        _ = read_over(&service, Query::Containers, &guids, &lessons).await;
        assert!(start.elapsed() <= Duration::from_secs(240), "{broken} of {count}: {:?}", start.elapsed());
    }
}

/// A service with 1,000 subscriptions, some of which are never answered, and the GUIDs of all.
fn silent(some: impl IntoIterator<Item = usize>) -> (Service, Vec<String>) {
    let (service, guids) = wide(1000);
    let some = some.into_iter().map(|n| &*format!("s{n}").leak()).collect();
    let silent: Failing = || failed(Failure::Timeout(Duration::from_secs(60)));
    (Service { broken: Some((some, silent)), hangs: true, ..service }, guids)
}

#[tokio::test(start_paused = true)]
async fn several_subscriptions_without_an_answer_are_found_side_by_side_and_told_by_name() {
    for silent_ones in
        [vec![0, 1], vec![0, 300, 600, 999], (0..1000).step_by(50).collect(), (0..1000).step_by(4).collect()]
    {
        let (service, guids) = silent(silent_ones.iter().copied());
        let guids: Vec<&str> = guids.iter().map(String::as_str).collect();
        let (lessons, start) = (lessons(), tokio::time::Instant::now());
        for query in [Query::Containers, Query::Resources] {
            let (answer, _) = read_over(&service, query, &guids, &lessons).await;
            let answer = answer.unwrap();
            let count = silent_ones.len();
            assert_eq!((answer.covered.len(), answer.unread.len()), (1000 - count, count));
        }
        assert!(start.elapsed() <= Duration::from_secs(180), "{} of them: {:?}", silent_ones.len(), start.elapsed());
        let told: BTreeSet<String> = lessons.take_unread().into_iter().map(|(one, _)| one.into()).collect();
        assert_eq!(told, silent_ones.iter().map(|n| format!("s{n}")).collect());
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_answered_after_nearly_four_minutes_is_left_out_without_a_search_and_told() {
    let (service, guids) = silent([100, 300, 500, 700]);
    let guids: Vec<&str> = guids.iter().map(String::as_str).collect();
    let (lessons, start) = (lessons(), tokio::time::Instant::now());
    let mut unread = Vec::new();
    for batch in guids.chunks(200) {
        unread.push(
            read_over(&service, Query::Resources, batch, &lessons).await.0.map_or(200, |answer| answer.unread.len()),
        );
    }
    assert_eq!(unread, [1, 1, 200, 200, 0]);
    assert!(start.elapsed() <= Duration::from_secs(260), "{:?}", start.elapsed());
    let told = lessons.take_unread();
    assert_eq!(told.len(), 402);
    assert!(told.iter().any(|(one, error)| &**one == "s401" && error.to_string().contains("not asked over fewer")));
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_is_asked_about_alone_and_not_answered_fails_alone() {
    for (silent_ones, together) in
        [(vec![3], 1), (vec![999], 1), (vec![0, 1], 1), (vec![3, 90, 177, 264], 1), (vec![999], 999)]
    {
        let (service, guids) = silent(silent_ones.iter().copied());
        let guids: Vec<&str> = guids.iter().map(String::as_str).collect();
        let (lessons, start) = (Lessons::new(NonZeroUsize::new(together).unwrap()), tokio::time::Instant::now());
        lessons.note_listed(guids.len());
        for query in [Query::Resources, Query::Containers] {
            let (answer, read) = read_over(&service, query, &guids, &lessons).await;
            let count = silent_ones.len();
            assert_eq!((read.len(), answer.unwrap().unread.len()), (1000 - count, count));
        }
        assert!(start.elapsed() <= Duration::from_secs(240), "{silent_ones:?} by {together}: {:?}", start.elapsed());
        let told: BTreeSet<String> = lessons.take_unread().into_iter().map(|(one, _)| one.into()).collect();
        assert_eq!(told, silent_ones.iter().map(|n| format!("s{n}")).collect());
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_one_without_an_answer_does_not_keep_the_next_batch_from_being_read() {
    let (service, guids) = silent([0]);
    let guids: Vec<&str> = guids.iter().map(String::as_str).collect();
    let lessons = lessons();
    lessons.note_listed(guids.len());
    let (alone, others) = guids.split_at(1);
    let (answer, _) = read_over(&service, Query::Resources, alone, &lessons).await;
    assert!(answer.is_err());
    let (answer, read) = read_over(&service, Query::Resources, others, &lessons).await;
    assert_eq!((answer.unwrap().unread.len(), read.len()), (0, 999));
    assert_eq!(lessons.take_unread().len(), 1);
}
