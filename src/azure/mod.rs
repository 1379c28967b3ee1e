//! The Azure side: signing in, Resource Manager and Resource Graph.
//!
//! `credential` provides tokens. `arm` sends authorised requests within Resource Manager's rate limit. `graph` combines many
//! requests into a result that is proven complete, within the limits that `quota` tracks. `queries` builds the queries from the
//! pieces in `kql`. Nothing here knows about Port or about earlier runs.

pub(crate) mod arm;
pub(crate) mod credential;
pub(crate) mod graph;
pub(crate) mod kql;
pub(crate) mod queries;
pub(crate) mod quota;
mod sign_in;
mod sign_in_advice;
pub(crate) mod subscriptions;
