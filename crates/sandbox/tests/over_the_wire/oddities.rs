//! Surprising behaviour of the real Azure.

use sandbox::dates::Date;
use sandbox::estate::{Level, Twin, lower};

use super::*;

/// The rows of a query over all that the principal can read.
async fn rows(asking: &Asking, query: &str) -> Vec<Json> {
    let (status, answer) = asking.query(json!({"query": query})).await;
    assert_eq!(status, 200, "{answer}");
    answer["data"].as_array().unwrap().clone()
}

fn text<'a>(row: &'a Json, column: &str) -> &'a str {
    row[column].as_str().unwrap()
}

#[tokio::test]
async fn a_row_can_be_there_twice_and_a_join_multiplies_it() {
    let asking = Asking::of(settings()).await;
    let (resource, group, subscription, members) = {
        let estate = asking.sandbox.estate();
        let resource = estate.resources().values().next().unwrap();
        let group = &estate.groups()[&resource.group];
        let subscription = lower(&format!("/subscriptions/{}", estate.subscriptions()[group.subscription].guid));
        (resource.id.to_string(), group.id.to_string(), subscription, group.members.len())
    };
    let joined = format!(
        "resources | extend rg = tolower(resourceGroup), resourceId = tolower(id) | where resourceId startswith '{group}/'
        | join kind=leftouter (resourcecontainers | where type endswith 'resourcegroups' | where tolower(id) == '{group}'
            | project rg = tolower(name), rgTags = tags) on rg
        | project id, rg1, rgTags"
    );
    assert_eq!(rows(&asking, &joined).await.len(), members);
    asking.sandbox.estate().show_twice(&group, Twin::alike());
    asking.sandbox.estate().show_twice(&subscription, Twin::recased());
    assert_eq!(rows(&asking, &joined).await.len(), 2 * members);
    asking.sandbox.estate().show_twice(&resource, Twin::recased().with_tags(tags(&[("twin", "yes")])));
    assert_eq!(rows(&asking, &joined).await.len(), 2 * (members + 1));

    let twins = rows(&asking, &format!("resources | where tolower(id) == '{resource}' | project id, tags")).await;
    assert_eq!((twins.len(), lower(text(&twins[0], "id"))), (2, lower(text(&twins[1], "id"))));
    assert_ne!(twins[0]["id"], twins[1]["id"]);
    assert_eq!(twins.iter().filter(|twin| twin["tags"]["twin"] == "yes").count(), 1);
    let containers = |id: &str| format!("resourcecontainers | where tolower(id) == '{id}' | project id");
    let [one, other] = &rows(&asking, &containers(&group)).await[..] else { panic!("two rows") };
    assert_eq!(one, other);
    assert_eq!(rows(&asking, &containers(&subscription)).await.len(), 2);

    asking.sandbox.estate().delete_resource(&resource);
    asking.sandbox.clock().advance(Duration::from_secs(1));
    assert_eq!(rows(&asking, &joined).await.len(), 2 * (members - 1));
}

#[tokio::test]
async fn which_of_two_rows_comes_first_is_left_to_chance() {
    let asking = Asking::of(settings()).await;
    let id = asking.sandbox.estate().resources().keys().next().unwrap().to_string();
    asking.sandbox.estate().show_twice(&id, Twin::alike().with_tags(tags(&[("twin", "yes")])));
    let query = format!("resources | where tolower(id) == '{id}' | take 1 | project tags");
    let mut twins = 0;
    for _ in 0..64 {
        asking.sandbox.clock().advance(Duration::from_secs(1));
        twins += usize::from(rows(&asking, &query).await[0]["tags"]["twin"] == "yes");
    }
    assert!((16..48).contains(&twins), "{twins}");
}

#[tokio::test]
async fn the_listing_can_name_a_subscription_twice() {
    let mut settings = settings();
    settings.azure.listing_page = 3;
    let asking = Asking::of(settings).await;
    let guid = asking.sandbox.estate().subscriptions()[0].guid.clone();
    assert!(asking.sandbox.estate().list_twice(&guid));
    let first: Json = asking.listing(&asking.listing_url()).await.json().await.unwrap();
    let second: Json = asking.listing(text(&first, "nextLink")).await.json().await.unwrap();
    assert_eq!(first["value"][0]["subscriptionId"], *guid);
    assert_eq!(second["value"][0]["subscriptionId"], guid.to_ascii_uppercase());
    assert_eq!(second["value"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_query_of_more_tables_than_the_service_allows_is_refused() {
    let mut settings = settings();
    settings.azure.remote_tables = 1;
    let asking = Asking::of(settings).await;
    let with = |more: &str| json!({"query": format!("resources | join (resourcecontainers) on id {more}")});
    assert_eq!(asking.query(with("")).await.0, 200);
    for more in ["| union resourcechanges", "| join kind=inner (resources) on id"] {
        let (status, answer) = asking.query(with(more)).await;
        assert_eq!(status, 400);
        assert_eq!(answer["error"]["details"][0]["code"], "DisallowedMaxNumberOfRemoteTables");
    }
}

/// Guids of the subscriptions.
fn guids(asking: &Asking) -> Vec<String> {
    asking.sandbox.estate().subscriptions().iter().map(|one| one.guid.to_string()).collect()
}

/// How many rows and records a query over these subscriptions returns.
async fn counts(asking: &Asking, subscriptions: &[&String]) -> (u64, u64, u64) {
    let count = async |table: &str| {
        let query = json!({"query": format!("{table} | where isnotempty(subscriptionId) | project id"), "subscriptions": subscriptions});
        let (status, answer) = asking.query(query).await;
        assert_eq!(status, 200, "{answer}");
        answer["totalRecords"].as_u64().unwrap()
    };
    (count("resources").await, count("resourcecontainers").await, count("resourcechanges").await)
}

#[tokio::test]
async fn what_resource_graph_does_not_know_is_left_out_and_refused_where_nothing_else_is_asked_for() {
    let asking = Asking::of(settings()).await;
    let guids = guids(&asking);
    let [first, second] = [&guids[0], &guids[1]];
    let touched: Vec<_> = asking.sandbox.estate().resources().keys().cloned().collect();
    for id in &touched {
        asking.sandbox.estate().touch_resource(id);
    }
    let (alone, both) = (counts(&asking, &[second]).await, counts(&asking, &[first, second]).await);
    assert!(alone.0 < both.0 && alone.1 < both.1 && alone.2 < both.2);

    let now = asking.sandbox.clock().now_ms();
    assert!(asking.sandbox.estate().know_from(first, now + 60_000));
    assert_eq!(counts(&asking, &[first, second]).await, alone);
    let (status, answer) = asking.query(json!({"query": "resources", "subscriptions": [first]})).await;
    assert_eq!((status, text(&answer["error"], "code")), (400, "BadRequest"));
    assert_eq!(answer["error"]["details"][0]["code"], "NoValidSubscriptionsInQueryRequest");
    assert!(text(&answer["error"]["details"][0], "message").ends_with(&format!("Given: '{first}'.")));
    asking.sandbox.clock().advance(Duration::from_secs(60));
    assert_eq!(counts(&asking, &[first, second]).await, both);

    // What is permanent stays so when everything else becomes visible.
    assert!(asking.sandbox.estate().never_know(first));
    assert!(asking.sandbox.estate().describe_subscription(first, "Disabled", "AAD_2015-09-01"));
    asking.sandbox.estate().catch_up();
    assert_eq!(counts(&asking, &[first, second]).await, alone);
    let listed: Json = asking.listing(&asking.listing_url()).await.json().await.unwrap();
    assert_eq!(listed["value"][0]["state"], "Disabled");
    assert_eq!(listed["value"][0]["subscriptionPolicies"]["quotaId"], "AAD_2015-09-01");
    assert!(!asking.sandbox.diff(&Scope::default()).await.iter().any(|line| line.contains(first.as_str())));
}

#[tokio::test]
async fn a_role_on_a_group_shows_the_group_and_what_is_in_it() {
    let asking = Asking::of(settings()).await;
    let guid = guids(&asking)[0].clone();
    let (group, members) = {
        let mut estate = asking.sandbox.estate();
        let group = estate.groups().values().find(|one| one.subscription == 0 && !one.members.is_empty()).unwrap();
        let (group, members) = (group.id.clone(), group.members.len() as u64);
        let all: Vec<_> = estate.resources().keys().cloned().collect();
        for id in &all {
            estate.touch_resource(id);
        }
        estate.grant_groups(&guid, [group.clone()]);
        (group, members)
    };
    assert_eq!(counts(&asking, &[&guid]).await, (members, 1, members));
    let expected = asking.sandbox.expected(&Scope::default());
    let within = expected.catalog.entities.keys().filter(|(_, id)| id.starts_with(&format!("/subscriptions/{guid}")));
    assert_eq!(within.count() as u64, 1 + members);
    assert!(expected.open.contains(&format!("/subscriptions/{guid}")));
    assert!(!expected.hidden.iter().any(|hidden| **hidden == *group));
}

#[tokio::test]
async fn a_deleted_subscription_is_a_record_without_a_row() {
    let asking = Asking::of(settings()).await;
    let guid = guids(&asking)[0].clone();
    assert!(asking.sandbox.estate().delete_subscription(&guid));
    assert!(!asking.sandbox.estate().retag_subscription(&guid, None));
    asking.sandbox.clock().advance(Duration::from_secs(1));
    assert_eq!(counts(&asking, &[&guid]).await.1, 0);
    let query = format!(
        "resourcecontainerchanges | where tolower(properties.targetResourceId) == '/subscriptions/{guid}'
        | project changeType = tostring(properties.changeType), id"
    );
    assert_eq!(rows(&asking, &query).await[0]["changeType"], "Delete");
    let listed: Json = asking.listing(&asking.listing_url()).await.json().await.unwrap();
    assert_eq!(listed["value"][0]["state"], "Deleted");
    let expected = asking.sandbox.expected(&Scope::default());
    assert!(!expected.catalog.entities.keys().any(|(_, id)| id.contains(&*guid)));
    assert!(expected.hidden.is_empty());
}

/// The rows of a query with 120 rows on three pages.
async fn three_pages(asking: &Asking) -> Vec<Json> {
    let (mut pages, mut token) = (Vec::new(), Json::Null);
    loop {
        let options = json!({"$top": 40, "$skipToken": token});
        let body = json!({"query": "resources | project id | order by id asc", "options": options});
        let (status, page) = asking.query(body).await;
        assert_eq!(status, 200);
        token = page["$skipToken"].clone();
        pages.push(page);
        if token.is_null() {
            return pages;
        }
    }
}

fn ids(pages: &[Json]) -> Vec<&str> {
    pages.iter().flat_map(|page| page["data"].as_array().unwrap()).map(|row| text(row, "id")).collect()
}

#[tokio::test]
async fn a_page_repeats_another_or_has_fewer_rows() {
    let asking = Asking::of(settings()).await;
    let all = three_pages(&asking).await;
    assert_eq!(all.len(), 3);
    for (shift, sizes, lost) in [
        (Shift::Repeated, vec![40, 40, 40], 40),
        (Shift::Halved, vec![40, 20, 40], 20),
        (Shift::Shorter, vec![40, 20, 40, 20], 0),
    ] {
        asking.sandbox.faults().clear();
        asking.sandbox.faults().add(Route::Graph, Rule::new(Fault::Unstable(shift)).times(1));
        let pages = three_pages(&asking).await;
        let counts: Vec<u64> = pages.iter().map(|page| page["count"].as_u64().unwrap()).collect();
        assert_eq!(counts, sizes, "{shift:?}");
        assert!(pages.iter().all(|page| page["totalRecords"] == 120));
        let mut ids = ids(&pages);
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 120 - lost, "{shift:?}");
    }
}

#[tokio::test]
async fn parts_are_empty_or_short_and_prove_themselves_all_the_same() {
    let asking = Asking::of(settings()).await;
    let part =
        |part: usize| json!({"query": format!("resources | where hash(tolower(id)) % 2 == {part} | project id")});
    let totals = async || {
        let (first, second) = (asking.query(part(0)).await.1, asking.query(part(1)).await.1);
        for answer in [&first, &second] {
            assert_eq!(answer["totalRecords"], answer["count"]);
            assert_eq!(answer["totalRecords"], answer["data"].as_array().unwrap().len());
        }
        (first["totalRecords"].as_u64().unwrap(), second["totalRecords"].as_u64().unwrap())
    };
    let real = totals().await;
    assert_eq!(real.0 + real.1, 120);
    asking.sandbox.faults().add(Route::Graph, Rule::new(Fault::lacking(100)).parts().times(1));
    assert_eq!(totals().await, (0, real.1));
    asking.sandbox.faults().add(Route::Graph, Rule::new(Fault::lacking(30)).parts());
    let short = totals().await;
    assert!(short.0 > 0 && short.0 < real.0 && short.1 < real.1);
    assert_eq!(totals().await, short, "the same rows are lacking each time");
    assert_eq!(asking.query(json!({"query": "resources | project id"})).await.1["totalRecords"], 120);
}

#[tokio::test]
async fn an_answer_contradicts_itself() {
    let asking = Asking::of(settings()).await;
    let once = async |fault: Fault| {
        asking.sandbox.faults().add(Route::Graph, Rule::new(fault).times(1));
        let (status, answer) = asking.query(json!({"query": "resources | project id"})).await;
        assert_eq!((status, answer["data"].as_array().unwrap().len()), (200, 120));
        answer
    };
    assert_eq!(text(&once(Fault::with_error()).await["error"], "code"), "InternalServerError");
    assert_eq!(once(Fault::miscounted(-1)).await["count"], 119);
    for word in [json!("True"), json!(true), json!("perhaps"), Json::Null] {
        assert_eq!(once(Fault::truncation(word.clone())).await["resultTruncated"], word);
    }
}

#[tokio::test]
async fn a_question_over_many_subscriptions_or_over_one_of_them_fails() {
    let asking = Asking::of(settings()).await;
    let guids = guids(&asking);
    let ask = async |subscriptions: &[String]| {
        let body = json!({"query": "resources | count", "subscriptions": subscriptions});
        asking.try_query(body).await.map_or(0, |answer| answer.status().as_u16())
    };
    let faults = asking.sandbox.faults();
    for (fault, status) in [(Fault::status(504), 504), (Fault::Reset, 0)] {
        faults.clear();
        faults.add(Route::Graph, Rule::new(fault.clone()).over(2));
        assert_eq!((ask(&guids).await, ask(&guids[1..]).await), (status, 200), "{fault:?}");
        faults.clear();
        faults.add(Route::Graph, Rule::new(fault.clone()).naming(&guids[0].to_uppercase()));
        assert_eq!((ask(&guids).await, ask(&guids[..1]).await), (status, status), "{fault:?}");
        assert_eq!(ask(&guids[1..]).await, 200, "{fault:?}");
    }
}

#[tokio::test]
async fn records_are_kept_for_so_long_as_is_said() {
    let asking = Asking::of(settings()).await;
    let day = Duration::from_secs(24 * 60 * 60);
    let id = asking.sandbox.estate().resources().keys().next().unwrap().clone();
    asking.sandbox.estate().touch_resource(&id);
    let count = async || rows(&asking, "resourcechanges | project id").await.len();
    asking.sandbox.estate().keep_records(14 * day);
    asking.sandbox.clock().advance(8 * day);
    assert_eq!(count().await, 1);
    asking.sandbox.estate().keep_records(7 * day);
    assert_eq!(count().await, 0);
}

#[tokio::test]
async fn children_have_records_and_never_a_row() {
    let asking = Asking::of(settings()).await;
    life::children(&mut asking.sandbox.estate(), &mut Rng::new(1), 50);
    let records = "resourcechanges
        | project id, resourceId = tolower(properties.targetResourceId), type = tolower(properties.targetResourceType)";
    let records = rows(&asking, records).await;
    assert_eq!(records.len(), 50);
    let locks = records.iter().find(|record| text(record, "type") == "microsoft.authorization/locks").unwrap();
    assert!(text(locks, "resourceId").contains("/providers/microsoft.authorization/locks/child-"));
    let revisions = records.iter().find(|record| text(record, "type").ends_with("/revisions")).unwrap();
    assert!(text(revisions, "resourceId").contains("/revisions/child-"));
    asking.sandbox.clock().advance(Duration::from_secs(60));
    assert_eq!(rows(&asking, "resources | project id").await.len(), 120);
}

#[tokio::test]
async fn resources_are_in_no_group_or_in_one_that_has_no_row() {
    let mut settings = settings();
    settings.estate = EstateSize { subscriptions: 1, groups: 0, resources: 0 };
    let asking = Asking::of(settings).await;
    let guid = guids(&asking)[0].clone();
    {
        let mut estate = asking.sandbox.estate();
        for (level, name) in [(Level::Subscription, "in-sub"), (Level::Tenant, "in-tenant")] {
            estate.create_resource_at(level, &guid, "Microsoft.Security/pricings", name, None).unwrap();
        }
        let group = estate.create_group_without_row(&guid, "No-Row").unwrap();
        estate.create_resource(&group, "Microsoft.Web/sites", "site", "here", None).unwrap();
    }
    asking.sandbox.clock().advance(Duration::from_secs(1));
    let query = "resources | project id = tolower(id), subscriptionId, resourceGroup = tolower(resourceGroup) | order by id asc";
    let rows: Vec<Json> = rows(&asking, query).await;
    let columns = |row: &Json| ["id", "subscriptionId", "resourceGroup"].map(|column| text(row, column).to_owned());
    assert_eq!(
        rows.iter().map(columns).collect::<Vec<_>>(),
        [
            ["/providers/microsoft.security/pricings/in-tenant".to_owned(), guid.clone(), String::new()],
            [
                format!("/subscriptions/{guid}/providers/microsoft.security/pricings/in-sub"),
                guid.clone(),
                String::new()
            ],
            [
                format!("/subscriptions/{guid}/resourcegroups/no-row/providers/microsoft.web/sites/site"),
                guid.clone(),
                "no-row".to_owned()
            ],
        ]
    );
    assert_eq!(counts(&asking, &[&guid]).await, (3, 1, 3));
    let tag = vec![("env".to_owned(), "prod".to_owned())];
    let resources = |scope: Scope| asking.sandbox.expected(&scope).catalog.count("azureCloudResources");
    assert_eq!(resources(Scope { exclude: tag.clone(), ..Scope::default() }), 3);
    assert_eq!(resources(Scope { include: tag, ..Scope::default() }), 0);
    assert_eq!(asking.sandbox.expected(&Scope::default()).catalog.count("azureResourceGroup"), 0);
}

/// Types and times of an id's records, by time.
async fn history(asking: &Asking, id: &str) -> Vec<(String, String)> {
    let query = format!(
        "resourcechanges | where tolower(properties.targetResourceId) == '{id}'
        | project id, kind = tostring(properties.changeType), at = tostring(properties.changeAttributes.timestamp)
        | order by at asc, kind asc"
    );
    rows(asking, &query).await.iter().map(|row| (text(row, "kind").to_owned(), text(row, "at").to_owned())).collect()
}

#[tokio::test]
async fn records_bear_equal_times_or_the_wrong_ones() {
    let asking = Asking::of(settings()).await;
    let now = asking.sandbox.clock().now_ms();
    let group = asking.sandbox.estate().groups().keys().next().unwrap().clone();
    let id = {
        let mut estate = asking.sandbox.estate();
        let id = estate.create_resource(&group, "Microsoft.Web/sites", "new", "here", None).unwrap();
        estate.dated(now - 60_000, |estate| estate.touch_resource(&id));
        estate.dated(now, |estate| estate.recreate_resource(&id, tags(&[("again", "yes")])));
        id
    };
    let history = history(&asking, &id).await;
    let kinds: Vec<&str> = history.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["Update", "Create", "Create", "Delete"]);
    assert_eq!(history[2].1, history[3].1);
    assert!(history[0].1 < history[1].1);
    let row = rows(&asking, &format!("resources | where tolower(id) == '{id}' | project id, tags")).await;
    assert_eq!(row[0]["tags"]["again"], "yes");
}

#[tokio::test]
async fn rows_of_a_subscription_come_later_than_its_own() {
    let asking = Asking::of(settings()).await;
    let guid = guids(&asking)[0].clone();
    let (resources, containers, _) = counts(&asking, &[&guid]).await;
    let now = asking.sandbox.clock().now_ms();
    {
        let mut estate = asking.sandbox.estate();
        estate.sight().withhold(&guid, 100, now + 60_000);
        estate.sight().withhold(&guid, 50, now + 120_000);
    }
    assert_eq!(counts(&asking, &[&guid]).await, (0, 1, 0));
    asking.sandbox.clock().advance(Duration::from_secs(60));
    let half = counts(&asking, &[&guid]).await;
    assert!(0 < half.0 && half.0 < resources && 1 <= half.1 && half.1 <= containers, "{half:?}");
    asking.sandbox.clock().advance(Duration::from_secs(60));
    assert_eq!(counts(&asking, &[&guid]).await, (resources, containers, 0));
}

#[tokio::test]
async fn a_row_is_there_in_one_answer_and_not_in_the_next() {
    let asking = Asking::of(settings()).await;
    let group = asking.sandbox.estate().groups().keys().next().unwrap().to_string();
    asking.sandbox.estate().sight().flicker(&group);
    let query = format!("resourcecontainers | where tolower(id) == '{group}' | project id");
    let mut seen = 0;
    for _ in 0..64 {
        asking.sandbox.clock().advance(Duration::from_secs(1));
        seen += rows(&asking, &query).await.len();
    }
    assert!((16..48).contains(&seen), "{seen}");
}

#[tokio::test]
async fn a_group_goes_with_a_record_and_what_is_in_it_without() {
    let asking = Asking::of(settings()).await;
    let group = asking.sandbox.estate().groups().keys().next().unwrap().to_string();
    let members = asking.sandbox.estate().groups()[&*group].members.len();
    assert!(asking.sandbox.estate().delete_group_alone(&group));
    asking.sandbox.clock().advance(Duration::from_secs(1));
    assert_eq!(rows(&asking, "resourcecontainerchanges | project id").await.len(), 1);
    assert_eq!(rows(&asking, "resourcechanges | project id").await.len(), 0);
    assert_eq!(rows(&asking, "resources | project id").await.len(), 120 - members);
}

#[tokio::test]
async fn the_date_of_answers_is_off_while_records_keep_the_time() {
    let asking = Asking::of(settings()).await;
    let dates = async || {
        let listing = asking.listing(&asking.listing_url()).await;
        let query = asking.try_query(json!({"query": "resources | project id, now = now() | take 1"})).await.unwrap();
        let date = |answer: &Response| answer.headers().get("date").map(|date| date.to_str().unwrap().to_owned());
        let dates = (date(&listing), date(&query));
        assert_eq!(query.json::<Json>().await.unwrap()["data"][0]["now"], "2023-11-14T22:13:20.0000000Z");
        dates
    };
    let (now, ahead) = ("Tue, 14 Nov 2023 22:13:20 GMT", "Tue, 14 Nov 2023 23:13:20 GMT");
    assert_eq!(dates().await, (Some(now.to_owned()), Some(now.to_owned())));
    asking.sandbox.dates().set(Route::Graph, Date::Off(3_600_000));
    assert_eq!(dates().await, (Some(now.to_owned()), Some(ahead.to_owned())));
    asking.sandbox.dates().set(Route::Graph, Date::Jumping(vec![0, 3_600_000]));
    assert_eq!((dates().await.1, dates().await.1), (Some(now.to_owned()), Some(ahead.to_owned())));
    asking.sandbox.dates().set_all(&Date::Absent);
    assert_eq!(dates().await, (None, None));
    let signed_in = asking.sign_in(TENANT, CLIENT, SECRET).await;
    assert!(signed_in.headers().get("date").is_none());
    asking.sandbox.dates().set_all(&Date::True);
    assert!(asking.sign_in(TENANT, CLIENT, SECRET).await.headers().contains_key("date"));
}
