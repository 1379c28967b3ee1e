//! Port's webhook mapping: jq expressions that turn a body into catalog operations.
//!
//! Port differs from jq in two ways: it also reads `'…'` as a string, and its regular expressions support Unicode
//! (`\p{L}`), unlike jaq's standard library. So the three filters behind jaq's `test`, `sub` and the like are replaced.
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use jaq_core::load::{Arena, File, Loader};
use jaq_core::native::{self, Fun, bome, run, v};
use jaq_core::{Compiler, Ctx, Cv, Error, RunPtr, ValT as _, Vars, compile, data, unwrap_valr};
use jaq_json::{Val, read};
use regex::Regex;
use serde::Deserialize;
use serde_json::Value as Json;

use crate::catalog::{Entity, Operation};

/// Port reads this many items of a body.
const ITEMS_READ: usize = 500;

type Data = data::JustLut<Val>;

/// A compiled jq expression.
struct Jq(compile::Filter<jaq_core::Native<Data>>);

impl Jq {
    fn compile(text: &str) -> Result<Self, String> {
        let text = text.replace('\'', "\"");
        let replaced = ["matches", "split_matches", "split_"];
        let defs = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
        let funs = jaq_core::funs()
            .chain(jaq_std::funs().filter(|fun| !replaced.contains(&fun.0)))
            .chain(jaq_json::funs())
            .chain(regex_filters());
        let arena = Arena::default();
        let modules = Loader::new(defs)
            .load(&arena, File { code: text.as_str(), path: () })
            .map_err(|_| format!("not jq: {text}"))?;
        let filter =
            Compiler::default().with_funs(funs).compile(modules).map_err(|_| format!("unknown name in: {text}"))?;
        Ok(Self(filter))
    }

    /// The first result.
    fn first(&self, input: &Val) -> Result<Val, String> {
        let ctx = Ctx::<Data>::new(&self.0.lut, Vars::new([]));
        let first = self.0.id.run((ctx, input.clone())).map(unwrap_valr).next();
        first.unwrap_or(Ok(Val::Null)).map_err(|error| error.to_string())
    }
}

/// A single jq expression that gives a request's identifier.
pub(crate) struct Path(Jq);

impl Path {
    pub(crate) fn compile(text: &str) -> Result<Self, String> {
        Jq::compile(text).map(Self)
    }

    pub(crate) fn read(&self, request: &Request) -> Option<String> {
        string(&self.0.first(&request.0).ok()?)
    }
}

/// The input of a mapping: `{body, headers, queryParams}`.
pub(crate) struct Request(Val);

impl Request {
    pub(crate) fn parse(
        body: &[u8],
        headers: impl Iterator<Item = (String, String)>,
        query: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, String> {
        let body = read::parse_single(body).map_err(|error| format!("body is not JSON: {error}"))?;
        let object = |pairs: &mut dyn Iterator<Item = (String, String)>| {
            Val::from_map(pairs.map(|(key, value)| (Val::from(key), Val::from(value))).collect::<Vec<_>>())
        };
        let (mut headers, mut query) = (headers, query);
        let parts = [("body", Ok(body)), ("headers", object(&mut headers)), ("queryParams", object(&mut query))];
        let parts = parts.into_iter().map(|(name, value)| Ok((Val::from(name.to_owned()), value?)));
        let parts = parts.collect::<Result<Vec<_>, Error<Val>>>().map_err(|error| error.to_string())?;
        Val::from_map(parts).map(Self).map_err(|error| error.to_string())
    }
}

/// The mappings of one webhook.
pub(crate) struct Mapping(Vec<Entry>);

struct Entry {
    blueprint: String,
    action: Action,
    filter: Jq,
    items: Option<Jq>,
    identifier: Jq,
    title: Option<Jq>,
    properties: Vec<(String, Jq)>,
    relations: Vec<(String, Jq)>,
}

#[derive(Clone, Copy)]
enum Action {
    Create,
    Delete { dependents: bool },
}

/// The raw form of an entry.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Source {
    blueprint: String,
    operation: SourceOperation,
    filter: Option<String>,
    items_to_parse: Option<String>,
    entity: SourceEntity,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum SourceOperation {
    Name(String),
    #[serde(rename_all = "camelCase")]
    Detailed {
        #[serde(rename = "type")]
        name: String,
        #[serde(default = "yes")]
        delete_dependents: bool,
    },
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
struct SourceEntity {
    identifier: String,
    title: Option<String>,
    #[serde(default)]
    properties: BTreeMap<String, String>,
    #[serde(default)]
    relations: BTreeMap<String, String>,
}

impl Mapping {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let sources: Vec<Source> = serde_json::from_str(text).map_err(|error| format!("mapping: {error}"))?;
        sources.into_iter().map(Entry::compile).collect::<Result<_, _>>().map(Self)
    }

    /// The operations that the body asks for, in order, or why one cannot be made.
    pub(crate) fn operations(&self, request: &Request) -> Vec<Result<Operation, String>> {
        let mut operations = Vec::new();
        for entry in &self.0 {
            match entry.inputs(request) {
                Ok(inputs) => operations.extend(inputs.iter().filter_map(|input| entry.operation(input).transpose())),
                Err(error) => operations.push(Err(error)),
            }
        }
        operations
    }
}

impl Entry {
    fn compile(source: Source) -> Result<Self, String> {
        let (name, dependents) = match source.operation {
            SourceOperation::Name(name) => (name, true),
            SourceOperation::Detailed { name, delete_dependents } => (name, delete_dependents),
        };
        let action = match name.as_str() {
            "create" => Action::Create,
            "delete" => Action::Delete { dependents },
            _ => return Err(format!("mapping: no operation {name}")),
        };
        let all = |of: BTreeMap<String, String>| {
            of.into_iter().map(|(name, text)| Ok((name, Jq::compile(&text)?))).collect::<Result<Vec<_>, String>>()
        };
        Ok(Self {
            blueprint: source.blueprint,
            action,
            filter: Jq::compile(source.filter.as_deref().unwrap_or("true"))?,
            items: source.items_to_parse.as_deref().map(Jq::compile).transpose()?,
            identifier: Jq::compile(&source.entity.identifier)?,
            title: source.entity.title.as_deref().map(Jq::compile).transpose()?,
            properties: all(source.entity.properties)?,
            relations: all(source.entity.relations)?,
        })
    }

    /// The request itself, or the request once for each of its items, with that as `item`.
    fn inputs(&self, request: &Request) -> Result<Vec<Val>, String> {
        let Some(items) = &self.items else { return Ok(vec![request.0.clone()]) };
        let (Val::Arr(items), Val::Obj(base)) = (items.first(&request.0)?, &request.0) else {
            return Err(format!("{}: itemsToParse is no array", self.blueprint));
        };
        let with = |item: &Val| {
            let pairs = base.iter().map(|(key, value)| (key.clone(), value.clone()));
            Val::from_map(pairs.chain([(Val::from("item".to_owned()), item.clone())]))
        };
        let inputs = items.iter().take(ITEMS_READ).map(with).collect::<Result<_, _>>();
        inputs.map_err(|error: Error<Val>| error.to_string())
    }

    fn operation(&self, input: &Val) -> Result<Option<Operation>, String> {
        // A filter that fails counts as no match.
        if !matches!(self.filter.first(input), Ok(Val::Bool(true))) {
            return Ok(None);
        }
        let blueprint = self.blueprint.clone();
        let identifier = self
            .identifier
            .first(input)
            .and_then(|value| string(&value).ok_or_else(|| format!("{blueprint}: identifier is no string: {value}")))?;
        let evaluate = |of: &[(String, Jq)]| {
            of.iter().map(|(name, jq)| Ok((name.clone(), json(&jq.first(input)?)))).collect::<Result<_, String>>()
        };
        Ok(Some(match self.action {
            Action::Delete { dependents } => Operation::Delete { blueprint, identifier, dependents },
            Action::Create => {
                let title = self.title.as_ref().map(|title| title.first(input)).transpose()?;
                let entity = Entity {
                    title: title.as_ref().and_then(string),
                    properties: evaluate(&self.properties)?,
                    relations: evaluate(&self.relations)?,
                };
                Operation::Upsert { blueprint, identifier, entity }
            }
        }))
    }
}

fn string(value: &Val) -> Option<String> {
    match value {
        Val::TStr(text) => Some(String::from_utf8_lossy(text).into_owned()),
        _ => None,
    }
}

fn json(value: &Val) -> Json {
    match value {
        Val::Null => Json::Null,
        Val::Bool(is) => Json::Bool(*is),
        Val::Num(number) => serde_json::from_str(&number.to_string()).unwrap_or(Json::Null),
        Val::BStr(text) | Val::TStr(text) => String::from_utf8_lossy(text).into_owned().into(),
        Val::Arr(items) => items.iter().map(json).collect(),
        Val::Obj(pairs) => {
            let pairs = pairs.iter().map(|(key, value)| (string(key).unwrap_or_default(), json(value)));
            Json::Object(pairs.collect())
        }
    }
}

fn regex_filters() -> impl Iterator<Item = Fun<Data>> {
    let filters: [native::Filter<RunPtr<Data>>; 3] = [
        ("matches", v(2), |cv| bome(parts(cv, false, true))),
        ("split_matches", v(2), |cv| bome(parts(cv, true, true))),
        ("split_", v(2), |cv| bome(parts(cv, true, false))),
    ];
    filters.into_iter().map(run::<Data>)
}

thread_local! {
    /// Compiling `\p{L}` takes far longer than matching with it.
    static COMPILED: RefCell<HashMap<String, Rc<Regex>>> = RefCell::default();
}

fn regex(pattern: &str, flags: &str) -> Result<Rc<Regex>, Error<Val>> {
    let inline: String = flags.chars().filter(|flag| "imsx".contains(*flag)).collect();
    let pattern = if inline.is_empty() { pattern.to_owned() } else { format!("(?{inline}){pattern}") };
    COMPILED.with_borrow_mut(|compiled| {
        if let Some(regex) = compiled.get(&pattern) {
            return Ok(Rc::clone(regex));
        }
        let regex = Regex::new(&pattern).map_err(|error| Error::str(format_args!("invalid regex: {error}")))?;
        let regex = Rc::new(regex);
        compiled.insert(pattern, Rc::clone(&regex));
        Ok(regex)
    })
}

/// The basis of jq's regex filters: the text between matches, and each match as an array of its groups.
fn parts(mut cv: Cv<'_, Data>, between: bool, matches: bool) -> Result<Val, Error<Val>> {
    let (flags, pattern) = (cv.0.pop_var(), cv.0.pop_var());
    let text = |value: &Val| string(value).ok_or_else(|| Error::str(format_args!("{value} is no string")));
    let (flags, pattern, subject) = (text(&flags)?, text(&pattern)?, text(&cv.1)?);
    let regex = regex(&pattern, &flags)?;
    let mut parts = Vec::new();
    let mut end = 0;
    for captures in regex.captures_iter(&subject) {
        let Some(whole) = captures.get(0) else { continue };
        if flags.contains('n') && whole.is_empty() {
            continue;
        }
        if between {
            parts.push(Val::from(subject[end..whole.start()].to_owned()));
            end = whole.end();
        }
        if matches {
            let groups = captures.iter().zip(regex.capture_names());
            let groups = groups.filter_map(|(found, name)| Some(group(&subject, found?, name)));
            parts.push(groups.collect::<Result<Val, _>>()?);
        }
        if !flags.contains('g') {
            break;
        }
    }
    if between {
        parts.push(Val::from(subject[end..].to_owned()));
    }
    Ok(parts.into_iter().collect())
}

fn group(subject: &str, found: regex::Match<'_>, name: Option<&str>) -> Result<Val, Error<Val>> {
    let count = |text: &str| Val::from(text.chars().count() as isize);
    let fields = [
        ("offset", Some(count(&subject[..found.start()]))),
        ("length", Some(count(found.as_str()))),
        ("string", Some(Val::from(found.as_str().to_owned()))),
        ("name", name.map(|name| Val::from(name.to_owned()))),
    ];
    Val::from_map(fields.into_iter().filter_map(|(key, value)| Some((Val::from(key.to_owned()), value?))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expected::legal;
    use crate::settings::{MAPPING, MAPPING_BATCH};
    use serde_json::json;

    fn request(body: &Json) -> Request {
        let header = [("x-delivery-id".to_owned(), "1".to_owned())];
        Request::parse(body.to_string().as_bytes(), header.into_iter(), std::iter::empty()).unwrap()
    }

    fn resource(id: &str, group: &str) -> Json {
        json!({"type": "resource", "operation": "upsert", "data": {
            "resourceId": id, "name": "N", "type": "a/b", "location": "here", "tags": {"A": "1"},
            "subscriptionId": "s", "resourceGroup": group}})
    }

    #[test]
    fn the_shipped_mapping_makes_every_id_legal_and_none_alike() {
        let mapping = Mapping::parse(MAPPING).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for id in
            ["/a b", "/a_b", "/a=32=b", "/a(b)", "/a'b", "/é日本ß", "/a😀", "/a\u{301}", "/a\\b", "/a\"b", "/#&~,"]
        {
            let operations = mapping.operations(&request(&resource(id, "g h")));
            let [Ok(Operation::Upsert { identifier, entity, .. })] = &operations[..] else { panic!("{operations:?}") };
            assert_eq!(*identifier, legal(id));
            assert!(crate::catalog::is_legal(identifier), "{identifier}");
            assert_eq!(entity.relations["resourceGroup"], "/subscriptions/s/resourcegroups/g=32=h");
            assert_eq!(entity.properties["tags"], json!({"A": "1"}));
            assert!(seen.insert(identifier.clone()));
        }
    }

    #[test]
    fn a_resource_of_no_group_relates_to_none() {
        let operations = Mapping::parse(MAPPING).unwrap().operations(&request(&resource("/r", "")));
        let [Ok(Operation::Upsert { entity, .. })] = &operations[..] else { panic!("{operations:?}") };
        assert_eq!(entity.relations["resourceGroup"], Json::Null);
    }

    #[test]
    fn the_batch_mapping_reads_every_item_up_to_the_five_hundredth() {
        let items: Vec<Json> = (0..501).map(|n| resource(&format!("/{n}"), "g")).collect();
        let operations = Mapping::parse(MAPPING_BATCH).unwrap().operations(&request(&json!({"items": items})));
        assert_eq!(operations.len(), 500);
        assert!(operations.iter().all(Result::is_ok));
    }

    #[test]
    fn single_quotes_are_strings_as_port_reads_them() {
        let path = Path::compile(".headers['x-delivery-id'] + ':' + (.body | ascii_downcase | gsub(' ';'_'))").unwrap();
        assert_eq!(path.read(&request(&json!("A B"))).as_deref(), Some("1:a_b"));
    }

    #[test]
    fn a_mapping_that_is_none_is_refused() {
        assert!(Mapping::parse("{}").is_err());
        assert!(Jq::compile(".a |").is_err());
        assert!(Jq::compile("nonesuch(.a)").is_err());
    }
}
