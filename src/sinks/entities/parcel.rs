//! A change as the entities that a mapping makes from its row. Pure.

use std::cell::OnceCell;

use bytes::Bytes;
use serde_json::json;
use serde_json::value::RawValue;

use crate::engine::{Content, ContentHasher, Parcel};
use crate::mapping::Entity;
use crate::model::{Change, Names, Operation};

/// Separates blueprint and identifier; neither contains it.
const SPACE: char = ' ';

/// An entity's key in Port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name<'a> {
    pub(super) blueprint: &'a str,
    pub(super) identifier: &'a str,
}

impl<'a> Name<'a> {
    /// Parses the remembered form.
    fn parse(text: &'a str) -> Option<Self> {
        let (blueprint, identifier) = text.split_once(SPACE)?;
        Some(Self { blueprint, identifier })
    }

    /// Builds the remembered form.
    pub(super) fn join(blueprint: &str, identifier: &str) -> String {
        format!("{blueprint}{SPACE}{identifier}")
    }
}

/// The Azure id that an identifier stands for. Characters that Port does not allow may be encoded as their number
/// between two `=`, as the examples do. `None` if the identifier is not an Azure id.
pub(crate) fn arm_id(identifier: &str) -> Option<String> {
    let mut parts = identifier.split('=');
    let mut id = parts.next()?.to_owned();
    while let (Some(number), Some(rest)) = (parts.next(), parts.next()) {
        id.push(char::from_u32(number.parse().ok()?)?);
        id += rest;
    }
    (parts.next().is_none() && id.get(..15)?.eq_ignore_ascii_case("/subscriptions/")).then_some(id)
}

/// A change, the entities that its row makes, and those that it made before but no longer makes.
#[derive(Clone, Debug)]
pub(crate) struct Mapped {
    change: Change,
    made: Vec<Entity>,
    /// If the row could not be mapped, includes all earlier names.
    names: Names,
    gone: Vec<Box<str>>,
    is_uncertain: bool,
    content: OnceCell<Content>,
}

impl Mapped {
    fn of(change: Change) -> Self {
        Self {
            change: bare(change),
            made: Vec::new(),
            names: Names::UNKNOWN,
            gone: Vec::new(),
            is_uncertain: false,
            content: OnceCell::new(),
        }
    }

    pub(super) fn upsert(change: Change, made: Vec<Entity>, known: &Names) -> Self {
        let names = names(&made);
        let gone = known.iter().filter(|one| names.iter().all(|name| name != *one)).map(Into::into).collect();
        Self { made, names, gone, ..Self::of(change) }
    }

    /// The row could not be mapped completely, so nothing is deleted.
    pub(super) fn uncertain(change: Change, made: Vec<Entity>, known: &Names) -> Self {
        Self { names: names(&made).with(known), made, is_uncertain: true, ..Self::of(change) }
    }

    /// A partial row; its entities belong to the full row.
    pub(super) fn part(change: Change, made: Vec<Entity>) -> Self {
        Self { made, ..Self::of(change) }
    }

    pub(super) fn delete(change: Change, names: &Names) -> Self {
        let gone = names.iter().map(Into::into).collect();
        Self { gone, ..Self::of(change) }
    }

    pub(super) fn made(&self) -> &[Entity] {
        &self.made
    }

    pub(super) fn gone(&self) -> impl Iterator<Item = Name<'_>> {
        self.gone.iter().filter_map(|name| Name::parse(name))
    }

    fn hashed(&self, mut hasher: ContentHasher) -> Content {
        for Entity { blueprint, body, .. } in &self.made {
            for part in [blueprint.as_bytes(), body] {
                hasher.write(&(part.len() as u64).to_le_bytes());
                hasher.write(part);
            }
        }
        if self.is_uncertain {
            hasher.write(b"uncertain");
        }
        hasher.finish()
    }

    /// The requests to Port, each as a line of JSON.
    fn requests(&self) -> impl Iterator<Item = Box<RawValue>> {
        let made = self.made.iter().filter_map(|entity| {
            let body: &RawValue = serde_json::from_slice(&entity.body).ok()?;
            Some(serde_json::value::to_raw_value(&Upsert { blueprint: &entity.blueprint, entity: body }))
        });
        let gone = self.gone().map(|Name { blueprint, identifier }| {
            serde_json::value::to_raw_value(&json!({"blueprint": blueprint, "delete": identifier}))
        });
        made.chain(gone).filter_map(Result::ok)
    }
}

#[derive(serde::Serialize)]
struct Upsert<'a> {
    blueprint: &'a str,
    entity: &'a RawValue,
}

/// Drops the row: only the entities are sent.
fn bare(change: Change) -> Change {
    Change { row: Bytes::new(), ..change }
}

/// The names of entities, as far as they are known here: Port may search for one.
fn names(made: &[Entity]) -> Names {
    let named = made.iter().filter(|one| !one.identifier.is_empty());
    let names: Vec<String> = named.map(|one| Name::join(&one.blueprint, &one.identifier)).collect();
    Names::known(names.iter().map(String::as_str))
}

impl Parcel for Mapped {
    fn change(&self) -> &Change {
        &self.change
    }

    fn content(&self, hasher: &ContentHasher) -> Content {
        *self.content.get_or_init(|| self.hashed(hasher.clone()))
    }

    fn size(&self) -> usize {
        let made: usize = self.made.iter().map(|entity| entity.body.len() + 1).sum();
        made + self.gone.iter().map(|name| name.len() + 1).sum::<usize>()
    }

    /// `resend` reads the resource id.
    fn letter(&self) -> Bytes {
        let lines: Vec<Box<RawValue>> = self.requests().collect();
        let operation = match self.change.operation {
            Operation::Upsert => "upsert",
            Operation::Delete => "delete",
        };
        let letter =
            json!({"data": {"resourceId": self.change.id.as_str()}, "operation": operation, "entities": lines});
        letter.to_string().into()
    }

    fn names(&self) -> Names {
        self.names.clone()
    }

    fn is_void(&self) -> bool {
        self.made.is_empty() && self.gone.is_empty()
    }
}

/// The lines that a dry run prints: one for each entity.
pub(crate) fn lines(parcel: &Mapped) -> Bytes {
    parcel.requests().map(|line| format!("{line}\n")).collect::<String>().into()
}
