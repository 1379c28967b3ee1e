//! The mapping of a webhook in Port: which operations a request asks for.
use bytes::Bytes;

use super::expression::{Expression, Nulls, Template};
use super::resource::LARGEST;
use super::source::{self, Reader};
use super::yaml::{Node, Value};
use super::{Entity, Problem};
use crate::error::Cause;
use crate::jq::{self, Val};

/// Port reads this many items of a request.
const ITEMS_READ: usize = 500;

/// The mapping of a webhook: a JSON array, as in Port's API.
pub(crate) struct WebhookMapping(Vec<Entry>);

struct Entry {
    blueprint: String,
    action: Action,
    filter: Option<Expression>,
    items: Option<Expression>,
    fields: Vec<(String, Template)>,
}

#[derive(Clone, Copy)]
enum Action {
    Create,
    Delete { dependents: bool },
}

/// What to do with an entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Upsert(Entity),
    Delete { blueprint: String, identifier: String, dependents: bool },
}

impl WebhookMapping {
    /// Parses a mapping; reports all errors at once.
    pub(crate) fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        source::parse(text, |reader, root| {
            let Value::List(list) = &root.value else {
                reader.refuse(root.line, "", format!("is {}, not a list", root.kind()));
                return None;
            };
            let entries = list.iter().enumerate().map(|(index, node)| reader.entry(node, &format!("[{index}]")));
            let entries: Vec<_> = entries.collect();
            entries.into_iter().collect::<Option<_>>().map(Self)
        })
    }

    /// The blueprint and fields of each part that makes entities.
    pub(super) fn made(&self) -> impl Iterator<Item = (&str, &[(String, Template)])> {
        let made = self.0.iter().filter(|entry| matches!(entry.action, Action::Create));
        made.map(|entry| (entry.blueprint.as_str(), &entry.fields[..]))
    }

    /// The operations that a request with this body asks for, in order, or why one cannot be made.
    pub(crate) fn operations(&self, body: &[u8]) -> Vec<Result<Operation, Cause>> {
        let body = match Val::parse(body) {
            Ok(body) => body,
            Err(error) => return vec![Err(Cause::told(format!("the body is not JSON: {error}"), error))],
        };
        let empty = || Val::object([]);
        let fields = [("body", body), ("headers", empty()), ("queryParams", empty())];
        let request = Val::object(fields.map(|(key, value)| (key.into(), value)));
        let operations = self.0.iter().flat_map(|entry| {
            jq::guarded(|| entry.operations(&request)).unwrap_or_else(|error| vec![Err(error.into())])
        });
        operations.collect()
    }
}

impl Reader {
    fn entry(&mut self, node: &Node, path: &str) -> Option<Entry> {
        let keys = self.keys(node, path, &["blueprint", "operation", "filter", "itemsToParse", "entity"])?;
        let blueprint = self.required(&keys, "blueprint");
        let blueprint = blueprint.and_then(|node| self.text(node, &keys.path("blueprint")));
        let action = match keys.get("operation") {
            None => Some(Action::Create),
            Some(node) => self.action(node, &keys.path("operation")),
        };
        let filter = keys.get("filter").and_then(|node| self.expression(node, &keys.path("filter")));
        let items = keys.get("itemsToParse").and_then(|node| self.expression(node, &keys.path("itemsToParse")));
        let entity = self.required(&keys, "entity")?;
        let known = ["identifier", "title", "icon", "team", "properties", "relations"];
        let entity = self.keys(entity, &keys.path("entity"), &known)?;
        let fields = self.entity_fields(&entity);
        Some(Entry { blueprint: blueprint?.to_owned(), action: action?, filter, items, fields })
    }

    /// A name, or `{type, deleteDependents}`.
    fn action(&mut self, node: &Node, path: &str) -> Option<Action> {
        let (name, line, dependents) = match &node.value {
            Value::Map(_) => {
                let keys = self.keys(node, path, &["type", "deleteDependents"])?;
                let name = self.required(&keys, "type")?;
                (self.text(name, &keys.path("type"))?, keys.line, self.flag(&keys, "deleteDependents"))
            }
            _ => (self.text(node, path)?, node.line, None),
        };
        match name {
            "create" => Some(Action::Create),
            "delete" => Some(Action::Delete { dependents: dependents.unwrap_or(true) }),
            other => {
                self.refuse(line, path, format!("`{other}` is neither create nor delete"));
                None
            }
        }
    }
}

impl Entry {
    /// The request itself, or the request once for each of its items, with that as `item`.
    fn inputs(&self, request: &Val) -> Result<Vec<Val>, Cause> {
        let Some(items) = &self.items else { return Ok(vec![request.clone()]) };
        let list = items.first(request).map_err(|error| Cause::told(format!("{}: {error}", items.key), error))?;
        let list = list.unwrap_or_default();
        let list = list.items().ok_or_else(|| format!("{}: it gives {}, not an array", items.key, list.kind()))?;
        let with = |item: &Val| {
            let fields = request.fields().into_iter().flatten().map(|(key, value)| (key.clone(), value.clone()));
            Val::object(fields.chain([("item".into(), item.clone())]))
        };
        Ok(list.iter().take(ITEMS_READ).map(with).collect())
    }

    fn operations(&self, request: &Val) -> Vec<Result<Operation, Cause>> {
        match self.inputs(request) {
            Ok(inputs) => inputs.iter().filter_map(|input| self.operation(input).transpose()).collect(),
            Err(error) => vec![Err(error)],
        }
    }

    fn operation(&self, input: &Val) -> Result<Option<Operation>, Cause> {
        // A filter that fails counts as no match.
        if self.filter.as_ref().is_some_and(|filter| !matches!(filter.first(input), Ok(Some(Val::Bool(true))))) {
            return Ok(None);
        }
        let mut nulls = Nulls::default();
        let fields = self.fields.iter().filter(|(key, _)| key == "identifier" || matches!(self.action, Action::Create));
        let evaluate = |field: &Template, nulls: &mut Nulls| field.evaluate(input, nulls, &|_| false);
        let fields = fields.filter_map(|(key, field)| Some((key.as_str(), evaluate(field, &mut nulls)?)));
        let fields: Vec<_> = fields.collect();
        let identifier = fields.iter().find(|(key, _)| *key == "identifier");
        let Some(identifier) = identifier.and_then(|(_, value)| value.as_str()).map(str::to_owned) else {
            let why = nulls.errors.into_values().next().unwrap_or_else(|| "it is no text".into());
            return Err(Cause::told(format!("{}: no identifier: {why}", self.blueprint), why));
        };
        let blueprint = self.blueprint.clone();
        Ok(Some(match self.action {
            Action::Delete { dependents } => Operation::Delete { blueprint, identifier, dependents },
            Action::Create => {
                let body = Val::object(fields.into_iter().map(|(key, value)| (key.into(), value))).to_json(LARGEST);
                let body = body.ok_or_else(|| format!("{blueprint}: {identifier}: larger than 1 MiB"))?;
                Operation::Upsert(Entity { blueprint, identifier, body: Bytes::from(body) })
            }
        }))
    }
}
