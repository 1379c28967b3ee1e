//! Parses a mapping file key by key, and collects all errors.
use std::collections::BTreeSet;

use super::expression::{Expression, Template};
use super::graph_query::Shape;
use super::resource::{Items, Resource, first_path};
use super::row::Lens;
use super::yaml::{Entry, Node, Value};
use super::{Kind, Mapping, Options, Problem};
use crate::jq::{self, Reads};

/// The keys of a YAML mapping, and its position in the file.
pub(super) struct Keys<'a> {
    path: String,
    pub(super) line: u64,
    entries: &'a [Entry],
}

impl<'a> Keys<'a> {
    pub(super) fn get(&self, key: &str) -> Option<&'a Node> {
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        (!matches!(entry.node.value, Value::Null)).then_some(&entry.node)
    }

    pub(super) fn path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

/// Reads a file and collects its errors.
#[derive(Default)]
pub(super) struct Reader {
    problems: Vec<Problem>,
}

/// Parses a file and passes its root to `read`.
pub(super) fn parse<T: Send>(
    text: &str,
    read: impl FnOnce(&mut Reader, &Node) -> Option<T> + Send,
) -> Result<T, Vec<Problem>> {
    let parse = || {
        let root = Node::parse(text).map_err(|problem| vec![problem])?;
        let mut reader = Reader::default();
        match read(&mut reader, &root) {
            Some(read) if reader.problems.is_empty() => Ok(read),
            _ => {
                reader.problems.sort_by_key(|problem| problem.line);
                Err(reader.problems)
            }
        }
    };
    // All expressions are compiled on one stack.
    jq::with_room(parse).unwrap_or_else(|| {
        let message = "cannot be read, as no thread can be started".to_owned();
        Err(vec![Problem { line: 1, key: String::new(), message }])
    })
}

impl Reader {
    pub(super) fn refuse(&mut self, line: u64, key: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem { line, key: key.into(), message: message.into() });
    }

    /// The keys of a mapping. Reports keys that are not in `known`.
    pub(super) fn keys<'a>(&mut self, node: &'a Node, path: &str, known: &[&str]) -> Option<Keys<'a>> {
        let Value::Map(entries) = &node.value else {
            self.refuse(node.line, path, format!("is {}, not a mapping", node.kind()));
            return None;
        };
        let keys = Keys { path: path.to_owned(), line: node.line, entries };
        for entry in entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            let message = match entry.key.as_str() {
                "entityDeletionThreshold" => {
                    "means nothing here, as a run deletes what Azure says is gone, and no more; remove it".to_owned()
                }
                "exportEnvVariables" => "is not read, as expressions see no environment; remove it".to_owned(),
                _ => format!("is not known here; known are {}", known.join(", ")),
            };
            self.refuse(entry.line, keys.path(&entry.key), message);
        }
        Some(keys)
    }

    pub(super) fn required<'a>(&mut self, keys: &Keys<'a>, key: &str) -> Option<&'a Node> {
        let node = keys.get(key);
        if node.is_none() {
            self.refuse(keys.line, keys.path(key), "is missing");
        }
        node
    }

    pub(super) fn text<'a>(&mut self, node: &'a Node, path: &str) -> Option<&'a str> {
        match &node.value {
            Value::Text(text) => Some(text),
            Value::Bool(true) => Some("true"),
            Value::Bool(false) => Some("false"),
            _ => {
                self.refuse(node.line, path, format!("is {}, not a text", node.kind()));
                None
            }
        }
    }

    pub(super) fn flag(&mut self, keys: &Keys<'_>, key: &str) -> Option<bool> {
        let node = keys.get(key)?;
        if let Value::Bool(is) = node.value {
            return Some(is);
        }
        self.refuse(node.line, keys.path(key), "is neither true nor false");
        None
    }

    pub(super) fn expression(&mut self, node: &Node, path: &str) -> Option<Expression> {
        let text = self.text(node, path)?;
        match Expression::compile(path, text) {
            Ok(expression) => Some(expression),
            Err(message) => {
                self.refuse(node.line, path, message);
                None
            }
        }
    }

    fn template(&mut self, node: &Node, path: &str) -> Option<Template> {
        match &node.value {
            Value::Map(entries) => self.fields(entries, path).map(Template::Object),
            Value::List(items) => {
                let items: Vec<_> = items.iter().map(|item| self.template(item, path)).collect();
                items.into_iter().collect::<Option<_>>().map(Template::List)
            }
            _ => self.expression(node, path).map(Template::Jq),
        }
    }

    fn fields(&mut self, entries: &[Entry], path: &str) -> Option<Vec<(String, Template)>> {
        let fields = entries.iter().map(|entry| {
            let template = self.template(&entry.node, &format!("{path}.{}", entry.key));
            Some((entry.key.clone(), template?))
        });
        let fields: Vec<_> = fields.collect();
        fields.into_iter().collect()
    }

    pub(super) fn root(&mut self, root: &Node) -> Option<Mapping> {
        let known = ["resources", "createMissingRelatedEntities", "enableMergeEntity", "deleteDependentEntities"];
        let keys = self.keys(root, "", &known)?;
        let options = Options {
            create_missing_related_entities: self.flag(&keys, "createMissingRelatedEntities").unwrap_or(false),
            enable_merge_entity: self.flag(&keys, "enableMergeEntity").unwrap_or(true),
            delete_dependent_entities: self.flag(&keys, "deleteDependentEntities").unwrap_or(false),
        };
        let node = self.required(&keys, "resources")?;
        let Value::List(list) = &node.value else {
            self.refuse(node.line, "resources", format!("is {}, not a list", node.kind()));
            return None;
        };
        if list.is_empty() {
            self.refuse(node.line, "resources", "is empty, so nothing would be written");
        }
        let resources =
            list.iter().enumerate().map(|(index, node)| self.resource(node, &format!("resources[{index}]")));
        let resources: Vec<_> = resources.collect();
        Some(Mapping { options, resources: resources.into_iter().collect::<Option<_>>()? })
    }

    fn resource(&mut self, node: &Node, path: &str) -> Option<Resource> {
        let keys = self.keys(node, path, &["kind", "selector", "port"])?;
        let named = self.required(&keys, "kind");
        let named = named.and_then(|node| Some((node.line, self.text(node, &keys.path("kind"))?)));
        let kind = named.and_then(|(line, name)| self.kind(line, &keys.path("kind"), name));
        let selector = self.required(&keys, "selector");
        let port = self.required(&keys, "port");
        let port = port.and_then(|node| {
            self.keys(
                node,
                &keys.path("port"),
                &["entity", "itemsToParse", "itemsToParseName", "itemsToParseTopLevelTransform"],
            )
        });
        let items = port.as_ref().and_then(|port| self.items(port));
        let entity = port.and_then(|port| {
            let node = self.required(&port, "entity")?;
            let entity = self.keys(node, &port.path("entity"), &["mappings"])?;
            self.required(&entity, "mappings").map(|node| (node, entity.path("mappings")))
        });
        let entity = entity.and_then(|(node, path)| self.entity(node, &path));
        let (_, name) = named?;
        let selector = selector.and_then(|node| self.selector(node, &keys.path("selector"), kind?, name));
        let ((selector, types, shape, selects), (blueprint, fields)) = selector.zip(entity)?;
        let lens = Lens::default();
        let mut resource = Resource { kind: kind?, types, shape, selects, selector, items, blueprint, fields, lens };
        resource.lens = resource.lens();
        self.foreign(&resource, keys.line);
        Some(resource)
    }

    /// Reports expressions that read columns which only the query would have made.
    fn foreign(&mut self, resource: &Resource, line: u64) {
        let mut read = Vec::new();
        resource.each(&mut |expression| {
            if let Reads::Names(names) = expression.program.reads() {
                let made = names.iter().find(|name| resource.shape.makes(name));
                read.extend(made.map(|name| (expression.key.clone(), name.clone())));
            }
        });
        for (key, name) in read {
            let message = format!("reads `.{name}`, which graphQuery makes; as it is not run here, compute it in jq");
            self.refuse(line, key, message);
        }
    }

    fn kind(&mut self, line: u64, path: &str, name: &str) -> Option<Kind> {
        let kind = match name {
            "subscription" => Kind::Subscription,
            "resourceContainer" => Kind::ResourceContainer,
            "resource" | "cloudResource" => Kind::Resource,
            name if name.eq_ignore_ascii_case("Microsoft.Resources/resourceGroups") => Kind::ResourceContainer,
            name => {
                let is_it = |(known, _): &&(&str, Kind)| known.eq_ignore_ascii_case(name);
                if let Some((_, kind)) = Kind::DIRECTORY.iter().find(is_it) {
                    return Some(*kind);
                }
                let known = "subscription, resourceContainer, Microsoft.Resources/resourceGroups, resource, cloudResource, /users, \
                             /groups, /applications and /servicePrincipals";
                self.refuse(line, path, format!("`{name}` is not read yet; what is read is {known}"));
                return None;
            }
        };
        Some(kind)
    }

    #[allow(clippy::type_complexity, reason = "what a selector says, taken apart at once")]
    fn selector(
        &mut self,
        node: &Node,
        path: &str,
        kind: Kind,
        name: &str,
    ) -> Option<(Expression, Option<BTreeSet<String>>, Shape, BTreeSet<String>)> {
        // The API version that an exporter asks for makes no difference to Resource Graph's data.
        let known: &[&str] = match (kind, name) {
            (kind, _) if kind.is_of_directory() => &["query", "data_path", "query_params"],
            (_, "cloudResource") => &["query", "resourceKinds"],
            (Kind::Subscription, _) => &["query", "apiVersion", "apiParams"],
            _ => &["query", "apiVersion", "apiParams", "graphQuery", "subscription"],
        };
        let keys = self.keys(node, path, known)?;
        let query = self.required(&keys, "query");
        let query = query.and_then(|node| self.expression(node, &keys.path("query")));
        let mut types = None;
        if name == "cloudResource" {
            let node = self.required(&keys, "resourceKinds")?;
            let Value::Map(entries) = &node.value else {
                self.refuse(node.line, keys.path("resourceKinds"), format!("is {}, not a mapping", node.kind()));
                return None;
            };
            types = Some(entries.iter().map(|entry| entry.key.to_lowercase()).collect());
        }
        let shape = match keys.get("graphQuery") {
            None => Shape::default(),
            Some(node) => match Shape::parse(self.text(node, &keys.path("graphQuery"))?, kind) {
                Ok(shape) => shape,
                Err(message) => {
                    self.refuse(node.line, keys.path("graphQuery"), message);
                    return None;
                }
            },
        };
        let selects = self.query_params(&keys)?;
        Some((query?, types, shape, selects))
    }

    /// The properties that Port's generic exporter would request from Microsoft Graph. A delta query supports no other
    /// parameters.
    fn query_params(&mut self, keys: &Keys<'_>) -> Option<BTreeSet<String>> {
        if let Some(node) = keys.get("data_path") {
            let path = keys.path("data_path");
            if self.text(node, &path)?.trim() != ".value" {
                self.refuse(node.line, path, "is not `.value`, where Microsoft Graph has its objects");
            }
        }
        let mut selects = BTreeSet::new();
        let Some(node) = keys.get("query_params") else { return Some(selects) };
        let path = keys.path("query_params");
        let Value::Map(entries) = &node.value else {
            self.refuse(node.line, path, format!("is {}, not a mapping", node.kind()));
            return None;
        };
        for entry in entries {
            let path = format!("{path}.{}", entry.key);
            match entry.key.as_str() {
                "$select" => {
                    let names = self.text(&entry.node, &path)?.split(',').map(|name| name.trim().to_owned());
                    selects.extend(names.filter(|name| !name.is_empty()));
                }
                // Pages and members are always read completely.
                "$top" | "$expand" | "$count" => {}
                _ => self.refuse(
                    entry.line,
                    path,
                    "is not asked of changes; leave objects out by `selector.query`, or by ENTRA_USERS",
                ),
            }
        }
        Some(selects)
    }

    fn items(&mut self, port: &Keys<'_>) -> Option<Items> {
        let name = match port.get("itemsToParseName") {
            Some(node) => self.text(node, &port.path("itemsToParseName"))?.to_owned(),
            None => "item".to_owned(),
        };
        let transforms = self.flag(port, "itemsToParseTopLevelTransform").unwrap_or(true);
        let node = port.get("itemsToParse")?;
        let path = port.path("itemsToParse");
        let list = self.expression(node, &path)?;
        let taken_out = match transforms.then(|| first_path(self.text(node, &path)?)) {
            None => None,
            Some(Some(target)) => match Expression::compile(&path, &format!("del({target})")) {
                Ok(delete) => Some(delete),
                Err(message) => {
                    self.refuse(node.line, path, message);
                    return None;
                }
            },
            Some(None) => {
                let message = "names no path to take out of the row, so that no item would be made; \
                               set itemsToParseTopLevelTransform to false";
                self.refuse(node.line, path, message);
                return None;
            }
        };
        Some(Items { list, name, taken_out })
    }

    fn entity(&mut self, node: &Node, path: &str) -> Option<(Expression, Vec<(String, Template)>)> {
        let keys =
            self.keys(node, path, &["identifier", "title", "icon", "team", "blueprint", "properties", "relations"])?;
        let blueprint = self.required(&keys, "blueprint");
        let blueprint = blueprint.and_then(|node| self.expression(node, &keys.path("blueprint")));
        let fields = self.entity_fields(&keys);
        Some((blueprint?, fields))
    }

    /// The templates of an entity's identifier and other fields, in file order.
    pub(super) fn entity_fields(&mut self, keys: &Keys<'_>) -> Vec<(String, Template)> {
        self.required(keys, "identifier");
        let mut fields = Vec::new();
        for Entry { key, node, .. } in keys.entries {
            let path = keys.path(key);
            let template = match (key.as_str(), &node.value) {
                (_, Value::Null) => None,
                ("properties" | "relations" | "identifier" | "team", Value::Map(entries)) => {
                    self.fields(entries, &path).map(Template::Object)
                }
                ("properties" | "relations", _) => {
                    self.refuse(node.line, path, format!("is {}, not a mapping", node.kind()));
                    None
                }
                ("identifier" | "team" | "title" | "icon", _) => self.expression(node, &path).map(Template::Jq),
                _ => None,
            };
            fields.extend(template.map(|template| (key.clone(), template)));
        }
        fields
    }
}
