//! Reads settings in unit tests, without the environment of the process.

use super::error::ConfigError;
use super::reader::{Environment, Reader};
use crate::cli::Settings;

/// Returns what `read` makes of these settings and variables, or what is wrong with them.
pub(super) fn read<'a, T>(
    settings: &'a Settings,
    variables: &'a [(&str, &str)],
    read: impl FnOnce(&mut Reader<'a>) -> T,
) -> Result<T, ConfigError> {
    // Leaked, so that it lives as long as the settings and `read` can be the path of a method.
    let environment: Environment<'a> = Box::leak(Box::new(|name: &str| {
        variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into())
    }));
    let mut reader = Reader::new(settings, environment);
    let value = read(&mut reader);
    reader.finish(value)
}
