//! Port's side: what a webhook makes of users and groups, and how the catalog is compared with the directory.
use std::collections::BTreeMap;

use sandbox::directory::{GroupKind, Id, Kind, life};
use sandbox::expected::{DirectoryScope, Membership, SignIns};
use sandbox::rng::Rng;
use sandbox::settings::{Dangling, DirectorySize};
use serde_json::{Value as Json, json};

use crate::{Asking, id_of, path_of, settings};

async fn with_port(delete_dependents: bool, dangling: Dangling) -> Asking {
    let mut settings = settings(|entra| entra.units = None);
    settings.port.dangling = dangling;
    settings.port.add_entra(delete_dependents);
    Asking::of(settings).await
}

impl Asking {
    async fn send(&self, kind: Kind, operation: &str, data: &Json) -> u16 {
        let body = json!({"type": kind.name(), "operation": operation, "data": data}).to_string();
        let status = self.client.post(self.sandbox.webhook_url()).body(body).send().await.unwrap().status();
        self.sandbox.port().settle().await;
        status.as_u16()
    }

    /// Posts an object as read, groups with their members.
    async fn copy(&self, kind: Kind, id: Id) {
        let select = match kind {
            Kind::User => {
                "?$select=userPrincipalName,displayName,givenName,surname,mail,jobTitle,department,\
                           officeLocation,accountEnabled,createdDateTime"
            }
            _ => "",
        };
        let mut data = self.get(&format!("{}{select}", path_of(kind, id))).await.ok();
        if kind == Kind::Group {
            let members = self.list(&format!("/v1.0/groups/{id}/members?$top=999&$select=id")).await;
            let users = members.iter().filter(|member| member["@odata.type"] == "#microsoft.graph.user");
            data["members"] = users.map(id_of).collect();
        }
        assert_eq!(self.send(kind, "upsert", &data).await, 202);
    }

    async fn copy_all(&self) {
        for kind in Kind::TRACKED {
            let ids = self.sandbox.tenant().ids(kind);
            for id in ids {
                self.copy(kind, id).await;
            }
        }
    }

    async fn differences(&self) -> Vec<String> {
        self.sandbox.diff_of_tenant(&DirectoryScope::default()).await
    }

    fn counts(&self) -> BTreeMap<&'static str, usize> {
        let port = self.sandbox.port();
        Kind::TRACKED.map(|kind| (kind.name(), port.with_catalog(|catalog| catalog.count(kind.blueprint())))).into()
    }
}

#[tokio::test]
async fn a_catalog_that_was_copied_equals_the_directory_until_that_changes() {
    let mut settings = settings(|entra| entra.units = None);
    settings.directory = DirectorySize::default();
    settings.port.add_entra(false);
    let asking = Asking::of(settings).await;
    asking.copy_all().await;
    // Port accepts no address with non-ASCII letters, and none is generated.
    assert_eq!(asking.sandbox.port().audit(), [""; 0]);
    assert_eq!(asking.differences().await, [""; 0]);
    assert_eq!(asking.counts().values().sum::<usize>(), 60 + 12 + 8 + 14);
    let mut rng = Rng::new(3);
    life::tick(&mut asking.sandbox.tenant(), &mut rng, 300);
    let differences = asking.differences().await;
    for what in ["missing entra-id-user", "stale   entra-id-user", "wrong   entra-id-user", "relation members"] {
        assert!(differences.iter().any(|line| line.contains(what)), "{what}: {differences:#?}");
    }
    asking.sandbox.port().clear().unwrap();
    asking.copy_all().await;
    assert_eq!(asking.differences().await, [""; 0]);
    assert_eq!(
        asking.sandbox.diff(&sandbox::expected::Scope::default()).await,
        [""; 0],
        "the estate is another matter"
    );
}

#[tokio::test]
async fn a_delete_with_dependents_takes_every_group_of_the_user_along() {
    for (dependents, groups) in [(true, 0), (false, 1)] {
        let asking = with_port(dependents, Dangling::Keep).await;
        let (group, users) = asking.group_of(2);
        asking.copy_all().await;
        asking.sandbox.tenant().delete(users[0]);
        asking.send(Kind::User, "delete", &json!({"id": users[0].to_string()})).await;
        assert_eq!(asking.counts()["group"], groups);
        let lost = asking.differences().await.iter().any(|line| *line == format!("missing entra-id-group {group}"));
        assert_eq!(lost, dependents);
    }
}

#[tokio::test]
async fn a_group_of_users_that_are_not_there_is_kept_refused_or_makes_them_bare() {
    for (dangling, users) in [(Dangling::Keep, 0), (Dangling::Refuse, 0), (Dangling::Create, 2)] {
        let asking = with_port(false, dangling).await;
        let (group, _) = asking.group_of(2);
        asking.copy(Kind::Group, group).await;
        let counts = asking.counts();
        assert_eq!((counts["user"], counts["group"]), (users, 1));
        // The group itself can be written separately, without its members.
        let is_refused = dangling == Dangling::Refuse;
        assert_eq!(!asking.sandbox.port().audit().is_empty(), is_refused);
        assert_eq!(asking.differences().await.iter().any(|line| line.contains("relation members")), is_refused);
    }
}

#[tokio::test]
async fn a_required_property_that_is_missing_and_an_address_that_is_none_show_in_the_audit_log_alone() {
    let asking = with_port(false, Dangling::Keep).await;
    let data = |principal: Json, mail: &str| json!({"id": "u", "displayName": "Ada", "userPrincipalName": principal, "mail": mail});
    for (data, reason) in [
        (data(Json::Null, "a@b.example"), "must have required property 'userPrincipalName'"),
        (data("a@b.example".into(), ""), "properties/mail must match format \"email\""),
    ] {
        assert_eq!(asking.send(Kind::User, "upsert", &data).await, 202);
        let audit = asking.sandbox.port().audit();
        assert!(audit.last().unwrap().contains(reason), "{audit:?}");
    }
    assert_eq!(asking.counts()["user"], 0);
    for principal in ["a_b.example#EXT#@c.example", "o'neil@b.example"] {
        asking.send(Kind::User, "upsert", &data(principal.into(), "a@b.example")).await;
    }
    assert_eq!((asking.counts()["user"], asking.sandbox.port().audit().len()), (1, 2));
    // Port may be less strict.
    {
        let mut api = asking.sandbox.port().api_settings();
        (api.entities.checks_formats, api.entities.checks_required) = (false, false);
    }
    asking.send(Kind::User, "upsert", &data(Json::Null, "")).await;
    assert_eq!(asking.sandbox.port().audit().len(), 2);
}

#[tokio::test]
async fn a_body_of_more_than_half_a_mebibyte_is_refused() {
    let asking = with_port(false, Dangling::Keep).await;
    let members = |count: usize| json!({"id": "g", "members": vec!["00000000-0000-0000-0000-000000000000"; count]});
    assert_eq!(asking.send(Kind::Group, "upsert", &members(13_400)).await, 202);
    assert_eq!(asking.send(Kind::Group, "upsert", &members(13_500)).await, 413);
}

#[tokio::test]
async fn what_is_not_sent_of_an_entity_stays_as_it_was() {
    let asking = with_port(false, Dangling::Keep).await;
    let (group, _) = asking.group_of(1);
    asking.copy_all().await;
    asking.sandbox.tenant().rename(group, "other");
    let data = asking.get(&path_of(Kind::Group, group)).await.ok();
    asking.send(Kind::Group, "upsert", &data).await;
    assert_eq!(asking.differences().await, [""; 0]);
}

#[tokio::test]
async fn what_is_expected_follows_from_the_scope() {
    let asking = with_port(false, Dangling::Keep).await;
    let (group, users) = asking.group_of(4);
    {
        let mut tenant = asking.sandbox.tenant();
        tenant.make_guest(users[0], true);
        tenant.enable(users[1], false);
        tenant.delete(users[2]);
        let robot = tenant.create_service_principal("robot");
        tenant.set(robot, "appOwnerOrganizationId", life::MICROSOFT);
        tenant.join(group, robot);
        let device = tenant.create_device("laptop");
        tenant.join(group, device);
        let hidden = tenant.create_group("hidden", GroupKind::Microsoft365);
        tenant.hide_members(hidden, true);
        tenant.join(hidden, users[3]);
    }
    let expected = |scope: &DirectoryScope| asking.sandbox.expected_of_tenant(scope);
    let all = DirectoryScope::default();
    let members = |scope: &DirectoryScope| {
        let key = (Kind::Group.blueprint().to_owned(), group.to_string());
        expected(scope).catalog.entities[&key].relations.get("members").map(|members| members.as_array().unwrap().len())
    };
    let count = |scope: &DirectoryScope| expected(scope).catalog.entities.len();
    assert_eq!((count(&all), members(&all)), (6, Some(3)));
    let no_guests = DirectoryScope { guests: false, ..all.clone() };
    assert_eq!((count(&no_guests), members(&no_guests)), (5, Some(2)));
    let enabled = DirectoryScope { disabled: false, ..all.clone() };
    assert_eq!((count(&enabled), members(&enabled)), (5, Some(2)));
    assert_eq!(count(&DirectoryScope { microsoft: false, ..all.clone() }), 5);
    let capped = DirectoryScope { most_members: Some(2), ..all.clone() };
    assert_eq!((members(&capped), expected(&capped).unknown.len()), (None, 1));
    assert_eq!(expected(&DirectoryScope { hidden: false, ..all.clone() }).unknown.len(), 1);
    let of_users = DirectoryScope { membership: Membership::User, ..all.clone() };
    let key = (Kind::User.blueprint().to_owned(), users[3].to_string());
    assert_eq!(members(&of_users), None);
    assert_eq!(expected(&of_users).catalog.entities[&key].relations["groups"].as_array().unwrap().len(), 2);
    let none = DirectoryScope { membership: Membership::None, ..all.clone() };
    assert_eq!((members(&none), expected(&none).catalog.entities[&key].relations.len()), (None, 0));
    asking.sandbox.tenant().sign_in(users[3]);
    let last = |sign_ins| {
        let scope = DirectoryScope { sign_ins, ..all.clone() };
        expected(&scope).catalog.entities[&key].properties.get("lastSignInDateTime").cloned()
    };
    assert_eq!(last(SignIns::None), None);
    assert_eq!(last(SignIns::Exact), Some("2023-11-14T22:13:20Z".into()));
    assert_eq!(last(SignIns::Day), Some("2023-11-14T00:00:00Z".into()));
}
