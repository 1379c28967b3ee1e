//! The members of groups and the groups of objects: of all kinds, at all times, and who is not shown.
use std::collections::BTreeSet;

use sandbox::directory::{GroupKind, Id, Kind};
use serde_json::{Value as Json, json};

use crate::{Asking, GROUPS, USERS, field, id_of, texts};

fn ids(items: &[Json]) -> BTreeSet<String> {
    items.iter().map(id_of).collect()
}

/// A group with one member of each kind, users first.
fn mixed(asking: &Asking) -> (Id, Vec<(Kind, Id)>) {
    let mut tenant = asking.sandbox.tenant();
    let group = tenant.create_group("mixed", GroupKind::Security);
    let members = vec![
        (Kind::User, tenant.create_user("Ada L")),
        (Kind::Group, tenant.create_group("inner", GroupKind::Security)),
        (Kind::Device, tenant.create_device("laptop")),
        (Kind::OrgContact, tenant.create_contact("supplier")),
        (Kind::ServicePrincipal, tenant.create_service_principal("robot")),
    ];
    for (_, member) in &members {
        assert!(tenant.join(group, *member));
    }
    (group, members)
}

#[tokio::test]
async fn members_are_of_five_kinds_and_say_which() {
    let asking = Asking::new().await;
    let (group, members) = mixed(&asking);
    let round = asking.round(GROUPS).await;
    let told = round.items().find(|item| item["id"] == group.to_string()).unwrap();
    for (kind, id) in members {
        let member = json!({"@odata.type": format!("#microsoft.graph.{}", kind.name()), "id": id.to_string()});
        assert!(told["members@delta"].as_array().unwrap().contains(&member), "{told}");
    }
    let inner = round.items().find(|item| item["displayName"] == "inner").unwrap();
    assert_eq!(inner.get("members@delta"), None, "a group of none has no members");
}

#[tokio::test]
async fn a_plain_read_of_members_leaves_out_service_principals_and_an_advanced_one_does_not() {
    let asking = Asking::new().await;
    let (group, members) = mixed(&asking);
    let all: Vec<Id> = members.iter().map(|(_, id)| *id).collect();
    let path = format!("/v1.0/groups/{group}/members");
    assert_eq!(ids(&asking.list(&path).await), texts(&all[..4]));
    let advanced = asking.get_eventual(&format!("{path}?$count=true")).await.ok();
    assert_eq!(ids(advanced["value"].as_array().unwrap()), texts(&all));
    assert_eq!(advanced["@odata.count"], 5);
    asking.refused(&format!("{path}?$count=true"), 400, "Request_UnsupportedQuery").await;
}

#[tokio::test]
async fn a_cast_takes_the_header_and_the_count() {
    let asking = Asking::new().await;
    let (group, members) = mixed(&asking);
    let path = format!("/v1.0/groups/{group}/members/microsoft.graph.user");
    asking.refused(&path, 400, "Request_UnsupportedQuery").await;
    asking.get_eventual(&path).await.is(400, "Request_UnsupportedQuery");
    let found = asking.get_eventual(&format!("{path}?$count=true&$select=id")).await.ok();
    assert_eq!(found["value"], json!([{"@odata.type": "#microsoft.graph.user", "id": members[0].1.to_string()}]));
}

#[tokio::test]
async fn members_come_in_pages_that_survive_a_leave_between_them() {
    let asking = Asking::new().await;
    let (group, users) = asking.group_of(5);
    let page = asking.get(&format!("/v1.0/groups/{group}/members?$select=id&$top=2")).await.ok();
    let first = ids(page["value"].as_array().unwrap());
    assert_eq!(first, texts(&users[..2]));
    asking.sandbox.tenant().leave(group, users[0]);
    let rest = asking.list(page["@odata.nextLink"].as_str().unwrap()).await;
    assert_eq!(ids(&rest), texts(&users[2..]));
}

#[tokio::test]
async fn a_delete_of_a_member_is_silent_in_the_groups_delta_until_the_purge() {
    let asking = Asking::new().await;
    let (group, users) = asking.group_of(2);
    let path = format!("/v1.0/groups/{group}/members");
    let link = asking.round(GROUPS).await.link;
    asking.sandbox.tenant().delete(users[0]);
    assert!(asking.round(&link).await.ids().is_empty());
    assert_eq!(ids(&asking.list(&path).await), texts(&users[1..]));
    asking.sandbox.tenant().restore(users[0]);
    assert!(asking.round(&link).await.ids().is_empty());
    assert_eq!(ids(&asking.list(&path).await), texts(&users));
    asking.sandbox.tenant().purge(users[0]);
    let round = asking.round(&link).await;
    assert_eq!(
        round.only()["members@delta"],
        json!([{
        "@odata.type": "#microsoft.graph.user", "id": users[0].to_string(), "@removed": {"reason": "deleted"}}])
    );
}

#[tokio::test]
async fn what_a_filter_lets_in_is_silent_in_the_groups_delta() {
    let asking = Asking::new().await;
    let (_, users) = asking.group_of(2);
    let (of_groups, of_users) =
        (asking.round(GROUPS).await.link, asking.round(&format!("{USERS},userType,accountEnabled")).await.link);
    {
        let mut tenant = asking.sandbox.tenant();
        tenant.make_guest(users[0], true);
        tenant.enable(users[1], false);
    }
    assert!(asking.round(&of_groups).await.ids().is_empty());
    let round = asking.round(&of_users).await;
    assert_eq!(round.ids(), texts(&users));
    assert!(round.items().any(|item| item["userType"] == "Guest" && item["accountEnabled"] == true));
}

#[tokio::test]
async fn the_groups_of_a_user_are_those_that_are_there_directly_or_by_others() {
    let asking = Asking::new().await;
    let (inner, users) = asking.group_of(1);
    let (outer, outmost) = {
        let mut tenant = asking.sandbox.tenant();
        let (outer, outmost) =
            (tenant.create_group("o", GroupKind::Security), tenant.create_group("p", GroupKind::Security));
        tenant.join(outer, inner);
        tenant.join(outmost, outer);
        // A cycle must end.
        tenant.join(inner, outmost);
        (outer, outmost)
    };
    let path = format!("/v1.0/users/{}/memberOf", users[0]);
    let transitive = format!("/v1.0/users/{}/transitiveMemberOf?$select=id", users[0]);
    assert_eq!(ids(&asking.list(&path).await), texts(&[inner]));
    assert_eq!(ids(&asking.list(&transitive).await), texts(&[inner, outer, outmost]));
    let cast = format!("/v1.0/users/{}/memberOf/microsoft.graph.group", users[0]);
    asking.refused(&cast, 400, "Request_UnsupportedQuery").await;
    let advanced = asking.get_eventual(&format!("{cast}?$count=true")).await.ok();
    assert_eq!(field(advanced["value"].as_array().unwrap(), "displayName"), ["group"]);
    asking.sandbox.tenant().delete(inner);
    assert_eq!(asking.list(&path).await, [Json::Null; 0]);
    assert_eq!(asking.list(&transitive).await, [Json::Null; 0]);
}

#[tokio::test]
async fn who_leaves_and_rejoins_between_two_rounds_is_told_as_a_member() {
    let asking = Asking::new().await;
    let (group, users) = asking.group_of(1);
    let link = asking.round(GROUPS).await.link;
    asking.sandbox.tenant().leave(group, users[0]);
    asking.sandbox.tenant().join(group, users[0]);
    let round = asking.round(&link).await;
    assert_eq!(round.members()[&group.to_string()], [(users[0].to_string(), true)].into());
    assert!(!asking.sandbox.tenant().join(group, users[0]), "nobody joins twice");
}

#[tokio::test]
async fn a_deleted_group_takes_and_shows_no_members() {
    let asking = Asking::new().await;
    let (group, users) = asking.group_of(1);
    asking.sandbox.tenant().delete(group);
    assert!(!asking.sandbox.tenant().leave(group, users[0]));
    asking.refused(&format!("/v1.0/groups/{group}/members"), 404, "Request_ResourceNotFound").await;
    asking.sandbox.tenant().restore(group);
    assert_eq!(ids(&asking.list(&format!("/v1.0/groups/{group}/members")).await), texts(&users));
}
