//! Entities as Port holds them, beside what a mapping makes: which webhook makes them, what is read of a blueprint, and when two
//! are the same.

mod blueprint;
mod normal;
mod schema;
mod webhook;

pub(crate) use blueprint::{Blueprint, parsed};
pub(crate) use normal::{Difference, Normal, content, differences};
pub(crate) use schema::illegal;
pub(crate) use webhook::{Hook, HookError, of_url};
