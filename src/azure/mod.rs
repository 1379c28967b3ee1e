//! Signing in to Azure, and asking Resource Manager.
//!
//! `credential` provides tokens, `arm` sends authorised requests within Resource Manager's rate limit, and `subscriptions` lists
//! what the principal can read.

pub(crate) mod arm;
pub(crate) mod credential;
mod sign_in;
mod sign_in_advice;
pub(crate) mod subscriptions;
