//! Signing in to Azure, and asking Resource Manager.
//!
//! `credential` provides tokens, `arm` sends authorised requests within Resource Manager's rate limit, `subscriptions` lists
//! what the principal can read, and `existence` asks for single things by their ids.

pub(crate) mod arm;
pub(crate) mod credential;
pub(crate) mod existence;
mod sign_in;
mod sign_in_advice;
pub(crate) mod subscriptions;
