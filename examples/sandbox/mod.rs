//! The sandbox: an Azure estate with its history, the services that show it, and a Port that keeps a catalog.
#![allow(dead_code, reason = "the demo server, the tests and the bench each use a part of it")]

pub mod kql;
