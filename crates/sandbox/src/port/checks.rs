//! Checks properties: their type, format and allowed values.
use std::net::{Ipv4Addr, Ipv6Addr};

use hyper::StatusCode;
use jiff::Timestamp;
use serde_json::Value as Json;
use url::Url;

use super::api::Refusal;
use crate::catalog::{Blueprint, Entity, Property, is_of_type};
use crate::settings::EntitySettings;

/// Rejects an entity with properties or relations that its blueprint does not allow.
pub(super) fn check(blueprint: &Blueprint, entity: &Entity, settings: &EntitySettings) -> Result<(), Refusal> {
    for (name, value) in &entity.properties {
        // Unknown properties have already been rejected or dropped.
        if let Some(property) = blueprint.schema.properties.get(name)
            && let Some(reason) = fault_of(property, value, settings.checks_formats)
        {
            return Err(unfit("invalid_request", format!("properties/{name} {reason}")));
        }
    }
    for (name, relation) in &blueprint.relations {
        let value = entity.relations.get(name).unwrap_or(&Json::Null);
        match value {
            Json::Null if relation.required && settings.checks_required => {
                return Err(unfit("required_relation", format!("Relation \"{name}\" is required")));
            }
            Json::Array(_) if !relation.many => {
                return Err(unfit("blueprint_schema_mismatch", format!("relations/{name} must be string")));
            }
            Json::String(_) if relation.many => {
                return Err(unfit("blueprint_schema_mismatch", format!("relations/{name} must be array")));
            }
            _ => {}
        }
    }
    let is_absent = |name: &&String| entity.properties.get(*name).is_none_or(Json::is_null);
    match blueprint.schema.required.iter().find(is_absent) {
        Some(name) if settings.checks_required => {
            Err(unfit("missing_property", format!("properties must have required property '{name}'")))
        }
        _ => Ok(()),
    }
}

pub(super) fn unfit(code: &'static str, message: String) -> Refusal {
    Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, code, message)
}

fn fault_of(property: &Property, value: &Json, checks_formats: bool) -> Option<String> {
    if value.is_null() {
        return None;
    }
    if !is_of_type(value, &property.ty) {
        return Some(format!("must be {}", property.ty));
    }
    if property.one_of.as_ref().is_some_and(|allowed| !allowed.contains(value)) {
        return Some("must be equal to one of the allowed values".to_owned());
    }
    if let (Some(ty), Json::Array(items)) = (property.items.as_ref().and_then(|items| items.ty.as_ref()), value)
        && !items.iter().all(|item| is_of_type(item, ty))
    {
        return Some(format!("items must be {ty}"));
    }
    let format = property.format.as_deref().filter(|_| checks_formats)?;
    let text = value.as_str()?;
    let fits = match format {
        "date-time" | "timer" => text.parse::<Timestamp>().is_ok(),
        "url" => Url::parse(text).is_ok(),
        "email" | "idn-email" | "user" => is_email(text),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        _ => true,
    };
    (!fits).then(|| format!("must match format \"{format}\""))
}

fn is_email(text: &str) -> bool {
    text.split_once('@').is_some_and(|(name, host)| {
        !name.is_empty() && host.contains('.') && !host.contains('@') && !text.contains(char::is_whitespace)
    })
}
