//! What `drift` needs in addition to what a run needs.

use super::{Config, ConfigError, Problem};

impl Config {
    /// Requires Port's API, to read the catalog, and either a mapping file or a webhook, to make entities.
    pub fn check_comparable(&self) -> Result<(), ConfigError> {
        let wrong = |variable: &str, problem: &str| Problem { variable: variable.into(), problem: problem.into() };
        let mut problems = Vec::new();
        if self.port.api.is_none() {
            problems.push(wrong(
                "PORT_CLIENT_ID",
                "is not set: drift reads what Port holds over its API; set it and PORT_CLIENT_SECRET to what Port shows under \
                 … > Credentials",
            ));
        }
        if self.port.mapping_file.is_none() && self.port.ingest_url.is_none() {
            problems.push(wrong(
                "PORT_WEBHOOK_INGEST_URL",
                "is not set: drift reads the mapping of this webhook from Port, or that of MAPPING_FILE",
            ));
        }
        if problems.is_empty() { Ok(()) } else { Err(ConfigError(problems)) }
    }
}
