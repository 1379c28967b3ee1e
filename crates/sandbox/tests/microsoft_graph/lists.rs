//! Lists, single objects, lookups by ids, and deleted objects.
use sandbox::directory::{GroupKind, Id, Kind};
use sandbox::settings::AboveMost;
use serde_json::{Value as Json, json};

use crate::{Asking, field, id_of, path_of, texts};

#[tokio::test]
async fn a_page_of_a_list_has_a_hundred_unless_asked_for_up_to_999() {
    let asking = Asking::new().await;
    let (_, users) = asking.group_of(1_050);
    for (top, first) in [("", 100), ("?$top=999", 999), ("?$top=7", 7), ("?$top=1000", 999)] {
        let path = format!("/v1.0/users{top}");
        assert_eq!(asking.get(&path).await.ok()["value"].as_array().unwrap().len(), first, "{top}");
    }
    assert_eq!(
        asking
            .list("/v1.0/users?$top=999&$select=id")
            .await
            .iter()
            .map(id_of)
            .collect::<std::collections::BTreeSet<_>>(),
        texts(&users)
    );
    asking.set(|entra| entra.lists.above_most = AboveMost::Ignored);
    assert_eq!(asking.get("/v1.0/users?$top=1000").await.ok()["value"].as_array().unwrap().len(), 100);
    asking.set(|entra| entra.lists.above_most = AboveMost::Refused);
    asking.refused("/v1.0/users?$top=1000", 400, "BadRequest").await;
    asking.refused("/v1.0/users?$top=0", 400, "BadRequest").await;
    asking.set(|entra| entra.lists.page = 500);
    assert_eq!(asking.get("/v1.0/users?$top=999").await.ok()["value"].as_array().unwrap().len(), 500);
}

#[tokio::test]
async fn a_list_shows_what_is_selected_with_null_where_there_is_nothing() {
    let asking = Asking::new().await;
    let ada = asking.user("Ada L");
    let page = asking.get("/v1.0/users?$select=id,department,accountEnabled").await.ok();
    assert_eq!(page["value"], json!([{"id": ada.to_string(), "department": null, "accountEnabled": true}]));
    let defaults = asking.get("/v1.0/users").await.ok();
    assert_eq!((&defaults["value"][0]["givenName"], defaults["value"][0].get("accountEnabled")), (&json!("Ada"), None));
    asking.refused("/v1.0/users?$select=shoeSize", 400, "BadRequest").await;
    asking.refused("/v1.0/users?$select=skills", 501, "NotImplemented").await;
    asking.refused("/v1.0/users?$filter=accountEnabled eq true", 400, "Request_UnsupportedQuery").await;
    let by_id = asking.get(&format!("/v1.0/users?$filter=id eq '{ada}'")).await.ok();
    assert_eq!(by_id["value"][0]["id"], ada.to_string());
}

#[tokio::test]
async fn an_expand_shows_twenty_members_and_says_nothing_of_the_rest() {
    let asking = Asking::new().await;
    asking.group_of(25);
    let page = asking.get("/v1.0/groups?$expand=members($select=id)").await.ok();
    let group = &page["value"][0];
    assert_eq!(group["members"].as_array().unwrap().len(), 20);
    assert!(!page.to_string().contains("nextLink"), "{page}");
    asking.set(|entra| entra.lists.expanded = 13);
    let page = asking.get("/v1.0/groups?$expand=members").await.ok();
    assert_eq!(page["value"][0]["members"].as_array().unwrap().len(), 13);
    asking.refused("/v1.0/users?$expand=manager", 400, "Request_UnsupportedQuery").await;
}

#[tokio::test]
async fn one_object_is_read_by_its_id_while_it_is_there() {
    let asking = Asking::new().await;
    let ids = {
        let mut tenant = asking.sandbox.tenant();
        [
            (Kind::User, tenant.create_user("Ada L")),
            (Kind::Group, tenant.create_group("g", GroupKind::Security)),
            (Kind::Application, tenant.create_application("a")),
            (Kind::ServicePrincipal, tenant.create_service_principal("s")),
        ]
    };
    for (kind, id) in ids {
        let path = path_of(kind, id);
        let one = asking.get(&format!("{path}?$select=displayName")).await.ok();
        assert_eq!(one.as_object().unwrap().len(), 2, "{one}");
        asking.sandbox.tenant().delete(id);
        asking.refused(&path, 404, "Request_ResourceNotFound").await;
        asking.sandbox.tenant().restore(id);
        assert_eq!(asking.get(&path).await.ok()["id"], id.to_string());
    }
    asking.refused(&path_of(Kind::Group, ids[0].1), 404, "Request_ResourceNotFound").await;
    asking.refused("/v1.0/users/nobody", 404, "Request_ResourceNotFound").await;
    asking.refused("/v1.0/planets", 400, "BadRequest").await;
    asking.refused("/beta/users", 400, "BadRequest").await;
}

#[tokio::test]
async fn of_many_ids_those_come_that_are_there() {
    let asking = Asking::new().await;
    let (group, users) = asking.group_of(3);
    asking.sandbox.tenant().delete(users[1]);
    let path = "/v1.0/directoryObjects/getByIds";
    let ids = |ids: &[Id]| ids.iter().map(Id::to_string).collect::<Vec<_>>();
    let all = ids(&[users[0], users[1], group]);
    let found = asking.post(path, &json!({"ids": all})).await.ok();
    let value = found["value"].as_array().unwrap();
    assert_eq!(field(value, "id"), [&users[0].to_string(), &group.to_string()]);
    assert_eq!(field(value, "@odata.type"), ["#microsoft.graph.user", "#microsoft.graph.group"]);
    let found = asking.post(path, &json!({"ids": all, "types": ["group"]})).await.ok();
    assert_eq!(field(found["value"].as_array().unwrap(), "id"), [&group.to_string()]);
    let many = |count: usize| json!({"ids": vec![users[0].to_string(); count]});
    asking.post(path, &many(1_000)).await.ok();
    asking.post(path, &many(1_001)).await.is(400, "Request_BadRequest");
    asking.post(path, &json!({"ids": ["no id"]})).await.is(400, "Request_BadRequest");
    asking.post(path, &json!({})).await.is(400, "Request_BadRequest");
}

#[tokio::test]
async fn what_is_deleted_and_can_be_restored_is_listed_by_kind() {
    let asking = Asking::new().await;
    let (group, users) = asking.group_of(3);
    {
        let mut tenant = asking.sandbox.tenant();
        tenant.delete(users[0]);
        tenant.purge(users[1]);
        tenant.delete(group);
    }
    let deleted = asking.list("/v1.0/directory/deletedItems/microsoft.graph.user?$select=id").await;
    assert_eq!(deleted, [json!({"id": users[0].to_string(), "deletedDateTime": "2023-11-14T22:13:20Z"})]);
    let groups = asking.list("/v1.0/directory/deletedItems/microsoft.graph.group").await;
    assert_eq!(field(&groups, "id"), [&group.to_string()]);
    assert_eq!(asking.list("/v1.0/directory/deletedItems/microsoft.graph.application").await, [Json::Null; 0]);
    asking.refused("/v1.0/directory/deletedItems/microsoft.graph.planet", 400, "BadRequest").await;
}

#[tokio::test]
async fn those_that_are_there_are_counted_for_who_asks_in_the_advanced_way() {
    let asking = Asking::new().await;
    let (_, users) = asking.group_of(3);
    asking.sandbox.tenant().delete(users[0]);
    let page = asking.get_eventual("/v1.0/users?$count=true&$top=1").await.ok();
    assert_eq!((&page["@odata.count"], page["value"].as_array().unwrap().len()), (&json!(2), 1));
    assert_eq!(asking.get("/v1.0/users?$count=true").await.ok().get("@odata.count"), None);
}
