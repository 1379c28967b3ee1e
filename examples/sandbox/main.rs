//! A small Azure and a small Port on loopback, over TLS.
#[path = "mod.rs"]
mod sandbox;

fn main() {}
