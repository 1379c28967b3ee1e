//! Signing in to Azure, and requests to Resource Manager.
//!
//! `credential` provides tokens, `api` sends authorised requests to Resource Manager and Microsoft Graph,
//! `subscriptions` lists what the principal can read, and `existence` looks up single ids.

pub(crate) mod api;
pub(crate) mod credential;
pub(crate) mod existence;
mod sign_in;
mod sign_in_advice;
pub(crate) mod subscriptions;
