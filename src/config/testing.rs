//! Reads settings in unit tests without the process environment.

use super::error::ConfigError;
use super::reader::{Environment, Reader};
use crate::cli::Settings;

/// The result of `read` for these settings and variables, or the problems found.
pub(super) fn read<'a, T>(
    settings: &'a Settings,
    variables: &'a [(&str, &str)],
    read: impl FnOnce(&mut Reader<'a>) -> T,
) -> Result<T, ConfigError> {
    // Leaked so that it lives as long as the settings, which lets `read` be the path of a method.
    let environment: Environment<'a> = Box::leak(Box::new(|name: &str| {
        variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into())
    }));
    let mut reader = Reader::new(settings, environment);
    let value = read(&mut reader);
    reader.finish(value)
}
