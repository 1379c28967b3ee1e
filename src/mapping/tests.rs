use super::*;

use serde_json::{Value, json};

fn file(name: &str) -> Mapping {
    let path = format!("{}/testdata/{name}", env!("CARGO_MANIFEST_DIR"));
    mapping(&std::fs::read_to_string(path).unwrap())
}

fn mapping(text: &str) -> Mapping {
    Mapping::parse(text).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

fn problems(text: &str) -> Vec<String> {
    let problems = Mapping::parse(text).map(|_| ()).unwrap_err();
    problems.iter().map(ToString::to_string).collect()
}

/// A mapping with this selector, these mappings (one `key: value` a line), and more keys of `port`.
fn of_resources(selector: &str, port: &str, mappings: &str) -> String {
    let lines = |text: &str, indent: &str| text.lines().map(|line| format!("{indent}{line}\n")).collect::<String>();
    format!(
        "resources:\n- kind: resource\n  selector:\n{}  port:\n{}    entity:\n      mappings:\n{}",
        lines(selector, "    "),
        lines(port, "    "),
        lines(mappings, "        ")
    )
}

fn row() -> Value {
    json!({
        "id": "/subscriptions/S/resourceGroups/My RG/providers/Microsoft.Web/sites/App", "name": "App",
        "type": "microsoft.web/sites", "location": "westeurope", "tags": {"team": "a"}, "subscriptionId": "S",
        "resourceGroup": "my rg", "sku": {"name": "F1"}, "properties": {"list": [{"n": 1}, {"n": 2}], "some_key": 5},
    })
}

fn made(mapping: &Mapping, kind: Kind, row: &Value) -> Made {
    mapping.entities(kind, row.to_string().as_bytes())
}

fn body(entity: &Entity) -> &str {
    std::str::from_utf8(&entity.body).unwrap()
}

/// The bodies of the entities that a resource row becomes.
fn bodies(text: &str, row: &Value) -> Vec<String> {
    made(&mapping(text), Kind::Resource, row).entities.iter().map(|entity| body(entity).to_owned()).collect()
}

#[test]
fn the_default_mapping_of_oceans_azure_integration_is_read_as_it_is() {
    let mapping = file("ocean-azure.yaml");
    let subscription =
        json!({"id": "/subscriptions/S", "subscriptionId": "S", "displayName": "Prod", "tags": {"a": "b"}});
    let made_of = made(&mapping, Kind::Subscription, &subscription);
    assert_eq!(
        made_of.entities.iter().map(|entity| (entity.blueprint.as_str(), body(entity))).collect::<Vec<_>>(),
        [("azureSubscription", r#"{"identifier":"/subscriptions/S","title":"Prod","properties":{"tags":{"a":"b"}}}"#)]
    );
    let group = json!({"id": "/subscriptions/S-1/resourceGroups/My RG", "name": "My RG", "location": "north",
        "tags": null, "properties": {"provisioningState": "Succeeded"}});
    let made_of = made(&mapping, Kind::ResourceContainer, &group);
    assert_eq!(
        body(&made_of.entities[0]),
        concat!(
            r#"{"identifier":"/subscriptions/S-1/resourcegroups/my rg","title":"My RG","properties":"#,
            r#"{"location":"north","provisioningState":"Succeeded","tags":null},"#,
            r#""relations":{"subscription":"/subscriptions/s-1"}}"#
        )
    );
    assert_eq!(made_of.nulls, Nulls::default());
    assert_eq!(mapping.blueprints(), ["azureResourceGroup", "azureSubscription"].map(str::to_owned).into());
    let names = ["id", "location", "name", "properties", "tags"].map(str::to_owned);
    assert_eq!(mapping.columns(Kind::ResourceContainer), Columns::Names(names.into()));
}

#[test]
fn the_default_mapping_of_oceans_resource_graph_integration_is_read_as_it_is() {
    let mapping = file("ocean-azure-resource-graph.yaml");
    let all =
        Options { create_missing_related_entities: true, enable_merge_entity: true, delete_dependent_entities: true };
    assert_eq!(mapping.options(), all);
    let mut row = row();
    row["resourceGroup"] = "My RG".into();
    assert_eq!(
        body(&made(&mapping, Kind::Resource, &row).entities[0]),
        concat!(
            r#"{"identifier":"/subscriptions/S/resourceGroups/My_RG/providers/Microsoft.Web/sites/App","title":"App","#,
            r#""properties":{"tags":{"team":"a"},"location":"westeurope"},"#,
            r#""relations":{"resource_group":"/subscriptions/S/resourceGroups/my_rg"}}"#
        )
    );
    let names = ["id", "location", "name", "resourceGroup", "subscriptionId", "tags"].map(str::to_owned);
    assert_eq!(mapping.columns(Kind::Resource), Columns::Names(names.into()));
}

#[test]
fn everything_that_is_wrong_is_told_at_once_with_its_line() {
    let text = r#"
resources:
  - kind: user
    selector: {query: 'true'}
    port: {entity: {mappings: {identifier: .id, blueprint: '"b"'}}}
  - kind: resource
    selector:
      query: .a ==
      tags: {}
    port:
      itemsToParse: range(3)
      entity:
        mappings:
          identifier: .id | nothing
          properties:
            x: [.a, 'split(']
            y: |
              .name | $row
  - kind: cloudResource
    selector: {query: 'true'}
    port: {entity: {mappings: {title: .name, colour: red}}}
  - kind: resource
    port: []
entityDeletionThreshold: 0.9
enableMergeEntity: maybe
"#;
    let known = "subscription, resourceContainer, Microsoft.Resources/resourceGroups, resource, cloudResource, /users, /groups, \
                 /applications and /servicePrincipals";
    assert_eq!(
        problems(text),
        [
            &format!("line 3: resources[0].kind `user` is not read yet; what is read is {known}"),
            "line 8: resources[1].selector.query not jq, character 6: it ends where term is expected, in `.a ==`",
            "line 9: resources[1].selector.tags is not known here; known are query, apiVersion, apiParams, graphQuery, subscription",
            "line 11: resources[1].port.itemsToParse names no path to take out of the row, so that no item would be made; \
             set itemsToParseTopLevelTransform to false",
            "line 14: resources[1].port.entity.mappings.blueprint is missing",
            "line 14: resources[1].port.entity.mappings.identifier not jq, character 7: there is no function nothing/0, in `.id | nothing`",
            "line 16: resources[1].port.entity.mappings.properties.x not jq, character 7: a closing parenthesis is missing, in `split(`",
            "line 18: resources[1].port.entity.mappings.properties.y not jq, character 9: there is no variable $row, in `.name | $row`",
            "line 20: resources[2].selector.resourceKinds is missing",
            "line 21: resources[2].port.entity.mappings.colour is not known here; known are identifier, title, icon, team, \
             blueprint, properties, relations",
            "line 21: resources[2].port.entity.mappings.blueprint is missing",
            "line 21: resources[2].port.entity.mappings.identifier is missing",
            "line 22: resources[3].selector is missing",
            "line 23: resources[3].port is a list, not a mapping",
            "line 24: entityDeletionThreshold means nothing here, as a run deletes what Azure says is gone, and no more; remove it",
            "line 25: enableMergeEntity is neither true nor false",
        ]
    );
    assert!(problems("a: [")[0].starts_with("line 1: not YAML that is read"), "{:?}", problems("a: ["));
    assert_eq!(problems("resources: []"), ["line 1: resources is empty, so nothing would be written"]);
}

#[test]
fn what_is_not_said_is_the_default_that_destroys_nothing() {
    let text = of_resources("query: 'true'", "", "identifier: .id\nblueprint: \"'b'\"");
    let safe =
        Options { create_missing_related_entities: false, enable_merge_entity: true, delete_dependent_entities: false };
    assert_eq!(mapping(&text).options(), safe);
}

#[test]
fn the_body_has_the_keys_of_the_file_in_their_order() {
    let mappings = "relations: {to: .none}\nicon: '\"Azure\"'\nidentifier: .name\nblueprint: '\"b\"'\nproperties: {z: .sku.name, a: .tags}\n\
                    team: '[.tags.team]'\ntitle: .location";
    let text = of_resources("query: 'true'", "", mappings);
    let expected = r#"{"relations":{"to":null},"icon":"Azure","identifier":"App","properties":{"z":"F1","a":{"team":"a"}},"team":["a"],"title":"westeurope"}"#;
    assert_eq!(bodies(&text, &row()), [expected]);
    assert_eq!(bodies(&text, &row()), bodies(&text, &row()));
    assert_eq!(
        bodies(&of_resources("query: 'true'", "", "identifier: 5\nblueprint: '\"b\"'"), &row()),
        [r#"{"identifier":5}"#]
    );
}

#[test]
fn a_search_is_evaluated_leaf_by_leaf_and_has_no_key() {
    let mappings = r#"blueprint: '"b"'
identifier:
  combinator: '"and"'
  rules:
  - {property: '"$title"', operator: '"="', value: .name}
relations:
  owner: {combinator: '"or"', rules: [{property: '"mail"', operator: '"in"', value: '[.tags[]]'}]}"#;
    let text = of_resources("query: 'true'", "", mappings);
    let made_of = made(&mapping(&text), Kind::Resource, &row());
    assert_eq!(
        body(&made_of.entities[0]),
        concat!(
            r#"{"identifier":{"combinator":"and","rules":[{"property":"$title","operator":"=","value":"App"}]},"#,
            r#""relations":{"owner":{"combinator":"or","rules":[{"property":"mail","operator":"in","value":["a"]}]}}}"#
        )
    );
    assert_eq!(made_of.entities[0].identifier, "");
    assert_eq!(mapping(&text).keys(Kind::Resource, row().to_string().as_bytes()), (vec![], 1));
}

#[test]
fn what_becomes_of_a_row_is_counted() {
    let counted = |query: &str, identifier: &str| {
        let mappings = format!("identifier: {identifier}\nblueprint: '\"b\"'\ntitle: .name | error\nicon: empty");
        let made = made(&mapping(&of_resources(&format!("query: {query}"), "", &mappings)), Kind::Resource, &row());
        (made.entities.len(), made.filtered, made.dropped, made.failed, made.nulls.count)
    };
    assert_eq!(counted("'true'", ".id"), (1, 0, 0, 0, 2));
    assert_eq!(counted(".location == 'north'", ".id"), (0, 1, 0, 0, 0));
    assert_eq!(counted(".location", ".id"), (0, 0, 0, 1, 0));
    assert_eq!(counted(".location | error", ".id"), (0, 0, 0, 1, 0));
    for falsy in [".none", "'false'", "'0'", "'\"\"'", "'[]'", "'{}'"] {
        assert_eq!(counted("'true'", falsy), (0, 0, 1, 0, 2), "{falsy}");
    }
    assert_eq!(counted("'true'", "'[1]'"), (0, 0, 0, 1, 2));

    let text = of_resources("query: .name", "", "identifier: .id\nblueprint: '\"b\"'");
    let made_of = made(&mapping(&text), Kind::Resource, &row());
    let message = made_of.nulls.errors.get("resources[0].selector.query").map(ToString::to_string);
    assert_eq!(message.as_deref(), Some("it gives string, neither true nor false"));
    assert_eq!(mapping(&text).entities(Kind::Resource, b"{").failed, 1);
}

#[test]
fn a_row_becomes_an_entity_for_each_of_its_items() {
    let mappings =
        "identifier: .name + \"/\" + (.item.n | tostring)\nblueprint: '\"b\"'\nproperties: {left: .properties}";
    let port = "itemsToParse: .properties.list | map(select(.n > 0))";
    assert_eq!(
        bodies(&of_resources("query: .item.n != 3", port, mappings), &row()),
        [
            r#"{"identifier":"App/1","properties":{"left":{"some_key":5}}}"#,
            r#"{"identifier":"App/2","properties":{"left":{"some_key":5}}}"#,
        ]
    );
    let whole = format!("{port}\nitemsToParseTopLevelTransform: false\nitemsToParseName: it");
    let mappings = "identifier: .it.n | tostring\nblueprint: '\"b\"'\ntitle: .properties.list | length";
    let text = of_resources("query: .it.n == 2", &whole, mappings);
    assert_eq!(bodies(&text, &row()), [r#"{"identifier":"2","title":2}"#]);
    // The name of the items is not a column.
    assert_eq!(mapping(&text).columns(Kind::Resource), Columns::Names(["properties".to_owned()].into()));
    let made_of = made(&mapping(&text), Kind::Resource, &json!({"properties": {"list": 5}}));
    assert_eq!((made_of.entities.len(), made_of.failed), (0, 1));
}

#[test]
fn the_path_that_is_taken_out_is_the_one_that_ocean_finds() {
    for (expression, path) in [
        (".file.content", Some(".file.content")),
        ("(.file.content)", Some(".file.content")),
        (". as $all | .file.content", Some(".file.content")),
        (".a[0].b | map(.c)", Some(".a[0].b")),
        (".[0].b // []", Some(".[0].b")),
        (".a // []", Some(".a")),
        ("$items | .b", Some(".b")),
        (". | .b", Some(".b")),
        ("[.a]", None),
        (".", None),
        ("map(.a)", None),
    ] {
        assert_eq!(resource::first_path(expression), path, "{expression}");
    }
}

#[test]
fn only_rows_of_the_types_that_are_named_become_cloud_resources() {
    let text = "resources: [{kind: cloudResource, selector: {query: 'true', resourceKinds: {Microsoft.Web/Sites: '2023-12-01'}}, \
                port: {entity: {mappings: {identifier: .id, blueprint: '\"b\"'}}}}]";
    let mapping = mapping(text);
    assert_eq!(made(&mapping, Kind::Resource, &row()).entities.len(), 1);
    let mut other = row();
    other["type"] = "microsoft.web/sites/slots".into();
    assert_eq!(made(&mapping, Kind::Resource, &other), Made::default());
    assert_eq!(mapping.columns(Kind::Resource), Columns::Names(["id".to_owned(), "type".to_owned()].into()));
}

#[test]
fn a_row_is_read_in_azures_spelling_and_in_the_exporters() {
    let title = |kind: &str, of: Kind, title: &str, row: &Value| {
        let text = of_resources("query: 'true'", "", &format!("identifier: .id\nblueprint: '\"b\"'\ntitle: {title}"));
        let mapping = mapping(&text.replace("kind: resource", &format!("kind: {kind}")));
        let made = made(&mapping, of, row);
        serde_json::from_slice::<Value>(&made.entities[0].body).unwrap()["title"].clone()
    };
    let resource = |text: &str| title("resource", Kind::Resource, text, &row());
    assert_eq!(resource(".subscription_id + .subscriptionId"), "SS");
    assert_eq!(resource(".resourceId"), row()["id"].as_str().unwrap().to_lowercase());
    assert_eq!(resource(".resource_group"), "my rg");
    assert_eq!(resource(".properties.some_key"), 5);
    assert_eq!(resource(".properties.someKey"), Value::Null);
    for row in [json!({"id": "/s", "displayName": "Prod"}), json!({"id": "/s", "name": "Prod"})] {
        for name in [".display_name", ".displayName", ".name"] {
            assert_eq!(title("subscription", Kind::Subscription, name, &row), "Prod", "{name} of {row}");
        }
    }
}

#[test]
fn the_columns_of_a_kind_are_those_that_any_of_its_expressions_reads() {
    let columns = |query: &str, mappings: &str| {
        mapping(&of_resources(&format!("query: {query}"), "", &format!("blueprint: '\"b\"'\n{mappings}")))
            .columns(Kind::Resource)
    };
    let names = |names: &[&str]| Columns::Names(names.iter().map(|name| (*name).to_owned()).collect());
    let mappings =
        "identifier: .resourceId\nrelations: {in: '.subscription_id + .resource_group'}\nproperties: {a: .sku.name}";
    assert_eq!(columns(".kind == 'x'", mappings), names(&["id", "kind", "resourceGroup", "sku", "subscriptionId"]));
    assert_eq!(columns("'true'", "identifier: .id\nproperties: {all: .}"), Columns::All);
}

#[test]
fn the_key_of_a_deleted_resource_is_made_of_what_is_known_of_it() {
    let known = json!({"id": "/S/r/App", "name": "App", "type": "microsoft.web/sites", "location": null, "tags": {},
        "subscriptionId": "S", "resourceGroup": "g"});
    let keys = |query: &str, port: &str, mappings: &str| {
        mapping(&of_resources(&format!("query: {query}"), port, mappings))
            .keys(Kind::Resource, known.to_string().as_bytes())
    };
    let key = |identifier: &str| vec![("b".to_owned(), identifier.to_owned())];
    let by_id = "blueprint: '\"b\"'\nidentifier: .id | ascii_downcase\ntitle: .sku.name";
    assert_eq!(keys("'true'", "", by_id), (key("/s/r/app"), 0));
    assert_eq!(keys(".type == 'microsoft.web/sites'", "", by_id), (key("/s/r/app"), 0));
    assert_eq!(keys(".type == 'other'", "", by_id), (vec![], 0));
    assert_eq!(keys(".sku.name == 'F1'", "", by_id), (vec![], 1));
    assert_eq!(keys("'true'", "", "blueprint: '\"b\"'\nidentifier: .properties.uuid"), (vec![], 1));
    assert_eq!(keys("'true'", "", "blueprint: .kind\nidentifier: .id"), (vec![], 1));
    let items = "blueprint: '\"b\"'\nidentifier: .item";
    assert_eq!(keys("'true'", "itemsToParse: .id | split(\"/\") | .[2:]", items).0.len(), 2);
    assert_eq!(keys("'true'", "itemsToParse: .properties.list", items), (vec![], 1));
    assert_eq!(keys("'true'", "", "blueprint: '\"b\"'\nidentifier: 12"), (key("12"), 0));
}

#[test]
fn a_graph_query_may_choose_and_order_columns_and_no_more() {
    let query = |query: &str, title: &str| {
        let selector = format!("query: 'true'\ngraphQuery: |\n  {}", query.replace('\n', "\n  "));
        of_resources(&selector, "", &format!("identifier: .id\nblueprint: '\"b\"'\ntitle: {title}"))
    };
    let title = |text: &str| serde_json::from_str::<Value>(&bodies(text, &row())[0]).unwrap()["title"].clone();
    assert_eq!(title(&query("Resources | project id, name | order by id", ".name")), "App");
    assert_eq!(title(&query("resources // all | where\n| project id", ".name")), Value::Null);
    assert_eq!(title(&query("resources | project-away sku", ".sku")), Value::Null);
    assert_eq!(title(&query("resources | extend name = tolower(name)", ".name")), "app");
    for (text, wrong) in [
        (query("resources | where type == 'a | b'", ".name"), "it cannot filter by `where type == 'a | b'`"),
        (query("resources | take 5", ".name"), "it cannot filter by `take 5`"),
        (query("resources | join kind=inner (x) on id", ".name"), "only `join kind=leftouter` leaves every row"),
        (query("resources | union other", ".name"), "`union` does more than choose and order columns"),
        (query("advisorresources", ".name"), "reads from `advisorresources`"),
        (query("resources | extend zone = zones[0]", ".zone"), "reads `.zone`, which graphQuery makes"),
    ] {
        let problems = problems(&text);
        assert!(problems.len() == 1 && problems[0].contains(wrong), "{problems:?}");
    }
}

#[test]
fn an_entity_that_port_would_not_take_is_failed() {
    let text = of_resources("query: 'true'", "", "identifier: .id\nblueprint: '\"b\"'\ntitle: '\"é\" * 600000'");
    let made_of = made(&mapping(&text), Kind::Resource, &row());
    assert_eq!((made_of.entities.len(), made_of.failed), (0, 1));

    let deep = "identifier: .id\nblueprint: '\"b\"'\nproperties: {a: 'reduce range(127) as $i (1; [.])'}";
    let made_of = made(&mapping(&of_resources("query: 'true'", "", deep)), Kind::Resource, &row());
    assert_eq!((made_of.entities.len(), made_of.failed), (0, 1));
}

fn shipped(name: &str) -> WebhookMapping {
    let path = format!("{}/examples/port/{name}", env!("CARGO_MANIFEST_DIR"));
    WebhookMapping::parse(&std::fs::read_to_string(path).unwrap()).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

fn envelope(operation: &str, id: &str) -> Value {
    json!({"type": "resource", "operation": operation, "data": {"resourceId": id, "name": "N", "type": "a/b",
        "location": "here", "tags": {"A": "1"}, "subscriptionId": "s", "resourceGroup": "g h"}})
}

#[test]
fn the_mapping_of_a_webhook_makes_operations_of_a_request() {
    let mapping = shipped("mapping.json");
    let upsert = mapping.operations(envelope("upsert", "/é (b)").to_string().as_bytes());
    let [Ok(Operation::Upsert(entity))] = &upsert[..] else { panic!("{upsert:?}") };
    assert_eq!((entity.blueprint.as_str(), entity.identifier.as_str()), ("azureCloudResources", "/é=32==40=b=41="));
    assert_eq!(
        body(entity),
        concat!(
            r#"{"identifier":"/é=32==40=b=41=","title":"N","properties":{"tags":{"A":"1"},"type":"a/b","location":"here"},"#,
            r#""relations":{"resourceGroup":"/subscriptions/s/resourcegroups/g=32=h"}}"#
        )
    );
    let delete = mapping.operations(envelope("delete", "/r").to_string().as_bytes());
    let [Ok(Operation::Delete { blueprint, identifier, .. })] = &delete[..] else { panic!("{delete:?}") };
    assert_eq!((blueprint.as_str(), identifier.as_str()), ("azureCloudResources", "/r"));
    assert!(mapping.operations(b"{}").is_empty());
    assert!(mapping.operations(b"{")[0].is_err());
}

#[test]
fn of_a_batch_five_hundred_items_are_read() {
    let items: Vec<_> = (0..501).map(|n| envelope("upsert", &format!("/{n}"))).collect();
    let operations = shipped("mapping-batch.json").operations(json!({"items": items}).to_string().as_bytes());
    assert_eq!(operations.iter().filter(|operation| operation.is_ok()).count(), 500);
    assert_eq!(operations.len(), 500);
}

#[test]
fn a_webhooks_mapping_is_read_as_port_reads_it() {
    let operations = |entry: &str, request: &str| {
        WebhookMapping::parse(&format!("[{entry}]")).unwrap().operations(request.as_bytes())
    };
    let delete = r#"{"blueprint": "b", "operation": {"type": "delete", "deleteDependents": false}, "filter": ".body.ok == 'yes'",
        "entity": {"identifier": ".body.id"}}"#;
    let kept = Operation::Delete { blueprint: "b".to_owned(), identifier: "x".to_owned(), dependents: false };
    assert_eq!(operations(delete, r#"{"ok": "yes", "id": "x"}"#), [Ok(kept)]);
    assert_eq!(operations(delete, r#"{"ok": "no", "id": "x"}"#), []);
    let failing = delete.replace(".body.ok == 'yes'", ".body.ok | error");
    assert_eq!(operations(&failing, r#"{"ok": "yes", "id": "x"}"#), []);
    assert_eq!(operations(delete, r#"{"ok": "yes", "id": 5}"#), [Err("b: no identifier: it is no text".into())]);
    let items = r#"{"blueprint": "b", "itemsToParse": ".body.list", "entity": {"identifier": ".item"}}"#;
    assert_eq!(operations(items, "{}"), [Err("[0].itemsToParse: it gives null, not an array".into())]);

    let wrong = r#"[
        {"blueprint": "b", "operation": "update", "entity": {"identifier": ".a |"}},
        {"operation": "create", "entity": {"title": ".a"}, "more": 1}
    ]"#;
    let problems: Vec<_> =
        WebhookMapping::parse(wrong).map(|_| ()).unwrap_err().iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "line 2: [0].operation `update` is neither create nor delete",
            "line 2: [0].entity.identifier not jq, character 5: it ends where term is expected, in `.a |`",
            "line 3: [1].more is not known here; known are blueprint, operation, filter, itemsToParse, entity",
            "line 3: [1].blueprint is missing",
            "line 3: [1].entity.identifier is missing",
        ]
    );
}

const GROUPS: &str = "
resources:
- kind: /groups
  selector:
    query: 'true'
    data_path: '.value'
    query_params: {$top: '999', $expand: 'members($select=id)', $select: 'mailNickname, id'}
  port:
    entity:
      mappings:
        identifier: .id
        blueprint: '\"g\"'
        properties: {name: .displayName}
        relations: {members: '[.members[]?.id]'}
";

#[test]
fn a_group_whose_members_are_not_known_keeps_its_relation() {
    let mapping = Mapping::parse(GROUPS).unwrap();
    let body =
        |row: &str| String::from_utf8(mapping.entities(Kind::Group, row.as_bytes()).entities[0].body.to_vec()).unwrap();
    let known = body(r#"{"id":"g","displayName":"G","members":[{"id":"a"}]}"#);
    assert_eq!(known, r#"{"identifier":"g","properties":{"name":"G"},"relations":{"members":["a"]}}"#);
    let unknown = body(r#"{"id":"g","displayName":"G"}"#);
    assert_eq!(unknown, r#"{"identifier":"g","properties":{"name":"G"},"relations":{}}"#);
    let columns = ["displayName", "id", "mailNickname", "members"].map(str::to_owned);
    assert_eq!(mapping.columns(Kind::Group), Columns::Names(columns.into()));
    assert!(mapping.has(Kind::Group) && !mapping.has(Kind::User));
}

#[test]
fn what_a_delta_cannot_be_asked_is_refused_by_name() {
    let text = GROUPS.replace("$top: '999'", "$filter: 'x'").replace("'.value'", ".items");
    let Err(problems) = Mapping::parse(&text) else { panic!("it is read") };
    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert!(problems[0].contains("data_path is not `.value`"), "{problems:?}");
    assert!(problems[1].contains("query_params.$filter is not asked of changes"), "{problems:?}");
}
