//! Makes entities from Azure's rows, with a mapping file or a webhook's mapping.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::DriftError;
use crate::comparison::{self, Hook, HookError};
use crate::config::{Config, Payload};
use crate::mapping::{self, Entity, FieldSet, Mapping, Unmade, WebhookMapping};
use crate::model::{Change, Operation};
use crate::port::Port;
use crate::run::Mapped;
use crate::sinks::entities::kind_of;
use crate::sinks::webhook::{self, Envelope};

/// Makes entities, and counts rows that make none.
pub(super) struct Maker {
    by: By,
    counts: RefCell<Unmade>,
}

enum By {
    Mapping(Arc<Mapping>),
    Webhook(WebhookMapping, Payload),
}

impl Maker {
    /// Uses the mapping in the file, or the webhook's as read from Port. Also returns notes.
    pub(super) async fn of(config: &Config, port: &Port) -> Result<(Self, Vec<String>), DriftError> {
        let (by, notes) = match (&config.port.mapping_file, &config.port.ingest_url) {
            (Some(file), _) => (By::Mapping(Mapped::read(file)?.mapping), Vec::new()),
            (None, Some(url)) => {
                let Hook { mapping, notes, .. } = comparison::of_url(port, url).await?;
                (By::Webhook(mapping, config.port.payload), notes)
            }
            (None, None) => return Err(HookError::Unknown.into()),
        };
        Ok((Self { by, counts: RefCell::default() }, notes))
    }

    /// The blueprints that are known in advance.
    pub(super) fn blueprints(&self) -> BTreeSet<String> {
        match &self.by {
            By::Mapping(mapping) => mapping.blueprints(),
            By::Webhook(webhook, _) => webhook.blueprints(),
        }
    }

    pub(super) fn field_sets(&self, blueprint: &str) -> Vec<FieldSet> {
        match &self.by {
            By::Mapping(mapping) => mapping.field_sets(blueprint),
            By::Webhook(webhook, _) => webhook.field_sets(blueprint),
        }
    }

    /// Whether Port searches for any of a blueprint's entities.
    pub(super) fn searches(&self, blueprint: &str) -> bool {
        match &self.by {
            By::Mapping(mapping) => mapping.searches(blueprint),
            By::Webhook(webhook, _) => webhook.searches(blueprint),
        }
    }

    /// The entities of a change. A delete has none.
    pub(super) fn entities(&self, change: &Change) -> Vec<Entity> {
        if change.operation == Operation::Delete {
            return Vec::new();
        }
        match &self.by {
            By::Mapping(mapping) => self.counts.borrow_mut().note(mapping.entities(kind_of(change), &change.row)),
            By::Webhook(webhook, payload) => self.by_webhook(webhook, *payload, change),
        }
    }

    /// The entities that exist after the operations of a post. Port silently drops operations that cannot be made.
    fn by_webhook(&self, webhook: &WebhookMapping, payload: Payload, change: &Change) -> Vec<Entity> {
        let mut entities: Vec<Entity> = Vec::new();
        for operation in webhook.operations(&webhook::body(payload, &[Envelope::new(change.clone())])) {
            match operation {
                Ok(mapping::Operation::Upsert(entity)) => entities.push(entity),
                Ok(mapping::Operation::Delete { blueprint, identifier, .. }) => {
                    entities.retain(|one| one.blueprint != blueprint || one.identifier != identifier);
                }
                Err(_) => self.counts.borrow_mut().dropped += 1,
            }
        }
        entities
    }

    pub(super) fn unmade(&self) -> Unmade {
        self.counts.borrow().clone()
    }
}
