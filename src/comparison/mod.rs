//! Compares the entities in Port with those that a mapping makes: finds the webhook, reads blueprints, and decides when
//! two entities are equal.

mod blueprint;
mod normal;
mod schema;
mod webhook;

pub(crate) use blueprint::{Blueprint, parsed};
pub(crate) use normal::{Difference, Normal, content, differences};
pub(crate) use schema::illegal;
pub(crate) use webhook::{Hook, HookError, of_url};
