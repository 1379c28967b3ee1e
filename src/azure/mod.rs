//! Azure's side: signing in, Resource Manager, Resource Graph.
//!
//! `credential` gives a token, `arm` puts it on a request and keeps to Resource Manager's rate, `graph` makes a proven result of
//! many requests, under the quota of `quota`. What is asked is in `queries`, made of the pieces in `kql`. Nothing here knows of
//! Port, or of what was read before.

pub(crate) mod arm;
pub(crate) mod credential;
pub(crate) mod graph;
pub(crate) mod kql;
pub(crate) mod queries;
pub(crate) mod quota;
mod sign_in;
pub(crate) mod subscriptions;
