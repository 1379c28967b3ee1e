//! Real answers of the service, with names and ids replaced, and what is made of each.

use std::time::Duration;

use bytes::Bytes;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde_json::{Value as Json, json};

use super::client::quota_told;
use super::error::Trouble;
use super::error::tests::failed;
use super::page::{Body, Page};
use super::proof::{Proof, Standing};
use super::quota::{remaining, resets_after};
use super::row::Row;
use super::{GraphError, config};
use crate::error::{Exit, Problem as _};
use crate::http::{Answer, Failure};
use crate::model::{Finding, Operation, RecordKind, Stage};

fn headers(headers: &Json) -> HeaderMap {
    let pairs = headers.as_object().unwrap().iter();
    pairs.map(|(name, value)| (name.parse().unwrap(), value.as_str().unwrap().parse().unwrap())).collect()
}

/// A refusal, and what the headers said about the quota.
fn refused(status: u16, told: &Json, body: &Json) -> GraphError {
    let status = StatusCode::from_u16(status).unwrap();
    let answer = Answer { status, headers: headers(told), body: Bytes::from(body.to_string()) };
    failed(answer.success().err().unwrap())
}

/// The finding for a record, with the row that the queries make of what was recorded.
fn finding_of(properties: &Json) -> Finding {
    let id = properties["targetResourceId"].as_str().unwrap();
    let row = json!({
        "id": id,
        "resourceId": id.to_lowercase(),
        "sourceResourceId": "",
        "type": properties["targetResourceType"],
        "changeType": properties["changeType"],
        "changeTime": properties["changeAttributes"]["timestamp"],
        "changedProperties": properties["changes"],
        "changeAttributes": properties["changeAttributes"],
    });
    let body = json!({"totalRecords": 1, "count": 1, "data": [row], "facets": [], "resultTruncated": "false"});
    let page = Page::parse(&Bytes::from(body.to_string()), &config::Scope::default()).unwrap();
    let [Row::Of(finding)] = <[Row; 1]>::try_from(page.rows).unwrap() else { panic!("{id} is in a subscription") };
    finding
}

/// 2025: `resourcechanges`, from the scan that Azure makes every 30 hours; the time has no trailing zeros.
#[test]
fn a_record_of_the_system_is_one_as_any_other() {
    let finding = finding_of(&json!({
        "targetResourceId": "/subscriptions/00000000-0000-0000-0000-00000000000a/resourceGroups/RG-UPPER/providers/Microsoft.Web/connections/Mail",
        "targetResourceType": "microsoft.web/connections",
        "changeType": "Update",
        "changeAttributes": {
            "previousResourceSnapshotId": "08584531866189950363_00000000-0000-0000-0000-000000000003_2487705421_1748420266",
            "newResourceSnapshotId": "08584530786243043283_00000000-0000-0000-0000-000000000003_991515173_1748528261",
            "correlationId": "00000000-0000-0000-0000-000000000000",
            "changedByType": "System",
            "changesCount": 1,
            "clientType": "Unspecified",
            "timestamp": "2025-05-29T14:17:38.13Z",
            "changedBy": "System",
            "operation": "Unspecified"
        }
    }));
    let group = "/subscriptions/00000000-0000-0000-0000-00000000000a/resourcegroups/rg-upper";
    assert_eq!(finding.id().as_str(), format!("{group}/providers/microsoft.web/connections/mail"));
    assert_eq!((finding.id().container(), finding.id().stage()), (group, Stage::Leaf));
    let record = finding.record.unwrap();
    assert_eq!((record.kind, record.at), (RecordKind::Update, "2025-05-29T14:17:38.130Z".parse().unwrap()));
    let actor = finding.change.actor.unwrap();
    assert_eq!((&*actor.client_type, &*actor.operation), ("Unspecified", "Unspecified"));
}

/// 2023: seven decimals, an e-mail address, columns that no longer exist, values that are strings or null.
#[test]
fn an_older_record_has_its_time_and_its_actor() {
    let properties = json!({
        "targetResourceType": "microsoft.network/networkinterfaces",
        "targetResourceId": "/subscriptions/00000000-0000-0000-0000-00000000000a/resourceGroups/1627/providers/Microsoft.Network/networkInterfaces/vm837",
        "changeAttributes": {
            "correlationId": "00000000-0000-0000-0000-000000000003",
            "changesCount": 2,
            "timestamp": "2023-11-07T04:47:05.8860000Z",
            "changedByType": "User",
            "clientType": "Azure Portal",
            "operation": "Microsoft.Network/networkInterfaces/write",
            "changedBy": "someone@example.com"
        },
        "changeType": "Update",
        "changes": {
            "properties.primary": {
                "propertyChangeType": "Insert", "changeCategory": "User", "previousValue": null, "newValue": "True"
            },
            "properties.macAddress": {
                "propertyChangeType": "Insert", "changeCategory": "User", "previousValue": null, "newValue": "00-00-00-00-00-00"
            }
        }
    });
    let finding = finding_of(&properties);
    assert_eq!(finding.change.changed_at, Some("2023-11-07T04:47:05.886Z".parse().unwrap()));
    let actor = finding.change.actor.unwrap();
    assert_eq!((&*actor.client_type, &*actor.operation), ("Azure Portal", "Microsoft.Network/networkInterfaces/write"));
    let row: Json = serde_json::from_slice(&finding.change.row).unwrap();
    assert_eq!(row["changedProperties"], properties["changes"]);
}

/// 2024: a child type, which has records but no row.
#[test]
fn a_record_of_a_child_is_in_the_group_of_its_parent_and_no_row_of_it_is_known() {
    let finding = finding_of(&json!({
        "targetResourceType": "microsoft.network/firewallpolicies/rulecollectiongroups",
        "targetResourceId": "/subscriptions/00000000-0000-0000-0000-00000000000a/resourceGroups/rg/providers/Microsoft.Network/firewallPolicies/pol/ruleCollectionGroups/g1",
        "changeAttributes": {
            "changedByType": "Unspecified",
            "changesCount": 13,
            "clientType": "Unspecified",
            "timestamp": "2024-12-20T04:37:51.074Z",
            "changedBy": "Unspecified",
            "operation": "Unspecified"
        },
        "changeType": "Update",
        "changes": {"properties.ruleCollections[0].action.type": {"previousValue": null, "newValue": "Allow"}}
    }));
    assert_eq!(&*finding.change.kind, "microsoft.network/firewallpolicies/rulecollectiongroups");
    assert_eq!(finding.id().container(), "/subscriptions/00000000-0000-0000-0000-00000000000a/resourcegroups/rg");
    assert_eq!((finding.exists, finding.record.unwrap().kind), (false, RecordKind::Update));
}

/// 2025: a record with a location, a tenant, and a group that its id does not name; a tag was removed.
#[test]
fn a_row_goes_by_its_id_whatever_its_other_columns_say() {
    let id = "/subscriptions/00000000-0000-0000-0000-00000000000a/resourcegroups/rgname/providers/microsoft.app/containerapps/app";
    let row = json!({
        "id": "/subscriptions/00000000-0000-0000-0000-00000000000a/resourceGroups/rgName/providers/Microsoft.App/containerApps/app",
        "resourceId": id,
        "sourceResourceId": id,
        "tenantId": "00000000-0000-0000-0000-0000000000ff",
        "location": "eastus2",
        "resourceGroup": "container-resources",
        "subscriptionId": "00000000-0000-0000-0000-00000000000a",
        "type": "microsoft.app/containerapps",
        "changeType": "Update",
        "changeTime": "2025-02-22T02:47:44.399Z",
        "changedProperties": {"tags.eee": {"previousValue": "eee", "newValue": null}}
    });
    let text = row.to_string();
    let body = format!(r#"{{"totalRecords":1,"count":1,"data":[{text}],"facets":[],"resultTruncated":"false"}}"#);
    let page = Page::parse(&Bytes::from(body), &config::Scope::default()).unwrap();
    let [Row::Of(finding)] = &page.rows[..] else { panic!("{page:?}") };
    assert_eq!(finding.id().container(), "/subscriptions/00000000-0000-0000-0000-00000000000a/resourcegroups/rgname");
    assert_eq!((finding.change.operation, &*finding.change.row), (Operation::Upsert, text.as_bytes()));
}

/// 2025, API version 2024-04-01: the quota, and rows that are not from a query of ours.
#[test]
fn a_small_answer_is_counted_and_its_headers_tell_the_quota() {
    let headers = headers(&json!({
        "x-ms-ratelimit-remaining-tenant-resource-requests": "10",
        "x-ms-user-quota-remaining": "10",
        "x-ms-user-quota-resets-after": "00:00:04",
        "x-ms-resource-graph-request-duration": "0:00:00:00.3676629",
        "x-ms-ratelimit-remaining-tenant-reads": "2199",
        "x-ms-routing-request-id": "JAPANWEST:20250210T023706Z:00000000-0000-0000-0000-000000000000"
    }));
    let ids: Vec<Json> =
        (0..13).map(|n| json!({"subscriptionId": format!("00000000-0000-0000-0000-{n:012}")})).collect();
    let body =
        json!({"totalRecords": 13, "count": 13, "data": ids, "facets": [], "resultTruncated": "false"}).to_string();
    let answer = Body::parse(body.as_bytes()).unwrap();
    assert_eq!((answer.total_records, answer.data.0.len()), (13, 13));
    assert_eq!((remaining(&headers), resets_after(&headers)), (Some(10), Some(Duration::from_secs(4))));
    assert_eq!(quota_told(&headers).unwrap().remaining, "10");
    assert!(Page::parse(&Bytes::from(body), &config::Scope::default()).is_err(), "its rows have no ids");
}

/// 2021: an error counts against the quota, too.
#[test]
fn a_query_that_is_not_understood_ends_it_and_is_told_with_every_code() {
    let told = json!({
        "x-ms-user-quota-remaining": "12",
        "x-ms-user-quota-resets-after": "00:00:05",
        "x-ms-ratelimit-remaining-tenant-resource-requests": "12"
    });
    let error = refused(
        400,
        &told,
        &json!({"error": {
            "code": "BadRequest",
            "message": "Please provide below info when asking for support: timestamp = 2021-04-01T08:01:45.5776189Z, correlationId = 00000000-0000-0000-0000-000000000000.",
            "details": [
                {"code": "InvalidQuery", "message": "Query is invalid. Please refer to the documentation."},
                {
                    "code": "ParserFailure", "message": "ParserFailure",
                    "line": 1, "characterPositionInLine": 11, "token": "<EOF>", "expectedToken": "\u{1cf}"
                }
            ]
        }}),
    );
    assert!(error.to_string().contains("status 400 (BadRequest, InvalidQuery, ParserFailure)"), "{error}");
    assert!(error.trouble().is_none() && !error.looks_at_none() && error.exit() == Exit::Failed);
    assert_eq!((remaining(&headers(&told)), resets_after(&headers(&told))), (Some(12), Some(Duration::from_secs(5))));
}

/// 2021: the first page of a result that claims not to be truncated, and is far from complete.
#[test]
fn a_page_with_a_token_proves_nothing_whatever_it_says_of_truncation() {
    let row = |name: &str| {
        let id = format!("/subscriptions/00000000-0000-0000-0000-00000000000a/resourceGroups/Tests/providers/{name}");
        json!({"id": id, "resourceId": id.to_lowercase()})
    };
    let names =
        ["Microsoft.ServiceBus/namespaces/t1", "Microsoft.Storage/storageAccounts/t2", "Microsoft.Web/sites/t3"];
    let mut body = json!({
        "totalRecords": 2876,
        "count": 3,
        "data": names.map(row),
        "facets": [],
        "resultTruncated": "false",
        "$skipToken": "ew0KICAiJGlkIjogIjEiLA0KICAiTWF4Um93cyI6IDMsDQogICJSb3dzVG9Ta2lwIjogOA0KfQ=="
    });
    let page = |body: &Json| Page::parse(&Bytes::from(body.to_string()), &config::Scope::default()).unwrap();
    let first = page(&body);
    assert_eq!((first.total, first.came, first.truncated), (2876, 3, false));
    let mut proof = Proof::default();
    assert_eq!(proof.add(&first), Standing::More);
    assert_eq!(proof.token(), body["$skipToken"].as_str());
    body.as_object_mut().unwrap().remove("$skipToken");
    assert_eq!(Proof::default().add(&page(&body)), Standing::Unproven);
}

/// From the documentation: the answer to a request for tables, and the only one there that says it is truncated.
#[test]
fn a_table_is_no_answer() {
    let body = json!({
        "totalRecords": 47,
        "count": 1,
        "data": {
            "columns": [{"name": "name", "type": "string"}, {"name": "type", "type": "string"}],
            "rows": [["x-nsg", "microsoft.network/networksecuritygroups"]]
        },
        "facets": [],
        "resultTruncated": "true"
    });
    let error = Page::parse(&Bytes::from(body.to_string()), &config::Scope::default()).unwrap_err();
    assert!(
        matches!(&error, Failure::Unreadable(problem) if problem.to_string().contains("an array of rows")),
        "{error}"
    );
    assert_eq!(failed(error).trouble(), Some(Trouble::Broken));
}

#[test]
fn a_refusal_because_no_subscription_is_known_is_an_answer() {
    let error = refused(
        400,
        &json!({}),
        &json!({"error": {
            "code": "BadRequest",
            "message": "Please provide below info when asking for support: timestamp = 2026-08-05T08:01:45.5776189Z, correlationId = 00000000-0000-0000-0000-000000000000.",
            "details": [{
                "code": "NoValidSubscriptionsInQueryRequest",
                "message": "There must be at least one subscription that is eligible to contain resources. Given: '00000000-0000-0000-0000-00000000000a'."
            }]
        }}),
    );
    assert!(error.looks_at_none() && error.trouble().is_none());
}

#[test]
fn a_refusal_for_the_quota_is_waited_for_and_asks_for_no_less() {
    let told =
        json!({"Retry-After": "1", "x-ms-user-quota-remaining": "0", "x-ms-user-quota-resets-after": "00:00:01"});
    let message = "Client application has been throttled and should not attempt to repeat the request until an amount of time has elapsed.";
    let body = json!({"error": {"code": "RateLimiting", "message": "", "details": [{"code": "RateLimiting", "message": message}]}});
    let answer =
        Answer { status: StatusCode::TOO_MANY_REQUESTS, headers: headers(&told), body: Bytes::from(body.to_string()) };
    assert_eq!(answer.refusal().retry_after, Some(Duration::from_secs(1)));
    let error = refused(429, &told, &body);
    assert!(error.trouble().is_none() && error.to_string().contains("throttled"), "{error}");
    assert_eq!((remaining(&headers(&told)), resets_after(&headers(&told))), (Some(0), Some(Duration::from_secs(1))));
}
