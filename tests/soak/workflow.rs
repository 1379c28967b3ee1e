//! A workflow: the program's configuration, and the part of a world that it syncs.

use std::path::Path;

use azure_incremental::cli::Settings as Flags;
use azure_incremental::config::Config;
use sandbox::Sandbox;

use super::engine::config;

pub(crate) struct Workflow<S> {
    pub(crate) config: Config,
    pub(crate) scope: S,
}

impl<S> Workflow<S> {
    /// `more` overrides the sandbox's environment for the program.
    pub(crate) fn new(sandbox: &Sandbox, name: &str, flags: Flags, scope: S, more: &[(String, String)]) -> Self {
        let file = sandbox.directory().join(format!("{name}.json"));
        let flags = Flags { checkpoint_file: Some(file.display().to_string()), ..flags };
        Self { config: config(sandbox, flags, more), scope }
    }

    /// Its checkpoint.
    pub(crate) fn file(&self) -> &Path {
        &self.config.checkpoint.as_ref().unwrap().file
    }
}
