//! How the real Azure behaves where nobody would expect it.

use sandbox::estate::{Twin, lower};

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
