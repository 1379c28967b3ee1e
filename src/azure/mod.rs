//! Azure's side: signing in, Resource Manager, Resource Graph.

pub(crate) mod arm;
pub mod cloud;
pub(crate) mod credential;
pub(crate) mod graph;
pub(crate) mod kql;
pub(crate) mod queries;
pub(crate) mod quota;
mod sign_in;
pub(crate) mod subscriptions;
