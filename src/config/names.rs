//! Detects misspelt variable names: a misspelt filter would widen the scope to everything.

use strsim::damerau_levenshtein;

use crate::cli::variables;

/// Settings without a flag whose names are specific to this program.
const WITHOUT_FLAG: [&str; 6] = [
    "AZURE_CLIENT_SECRET",
    "AZURE_CLIENT_CERTIFICATE_PATH",
    "AZURE_CLIENT_CERTIFICATE_PASSWORD",
    "PORT_WEBHOOK_INGEST_URL",
    "PORT_WEBHOOK_SECRET",
    "PORT_CLIENT_SECRET",
];

/// Prefixes that only settings of this program have.
const PREFIXES: [&str; 17] = [
    "PORT_WEBHOOK_",
    "PORT_INGEST_",
    "PORT_CLIENT_",
    "MAPPING_FILE",
    "CHECKPOINT_",
    "RESOURCE_TYPE",
    "RESOURCE_COLUMN",
    "RESOURCE_GROUP_TAG",
    "RESOURCE_TAG",
    "DEAD_LETTER",
    "CHANGE_WINDOW",
    "CHANGE_OVERLAP",
    "FULL_SYNC_",
    "SUBSCRIPTION_BATCH",
    "INCLUDE_CHANGE_",
    "RUN_TIMEOUT",
    "ENTRA_",
];

/// Similar names that other tools use: Azure's login action, Ansible, and HashiCorp's tools.
const NEIGHBOURS: [&str; 7] = [
    "AZURE_CREDENTIALS",
    "AZURE_TENANT",
    "AZURE_CLIENT",
    "AZURE_SECRET",
    "CHECKPOINT_DISABLE",
    "CHECKPOINT_TIMEOUT",
    "CHECKPOINT_SIGNATURE",
];

/// Returns a warning for each name that is almost the name of a setting.
pub fn spelling_hints(names: &[String]) -> Vec<String> {
    let known: Vec<String> = variables().into_iter().chain(WITHOUT_FLAG.map(str::to_owned)).collect();
    let mut said: Vec<String> = names
        .iter()
        .filter_map(|name| {
            let meant = meant(name, &known)?;
            Some(format!("{name} is set, and there is no such setting; did you mean {meant}?"))
        })
        .collect();
    said.sort();
    said.dedup();
    said
}

fn meant<'a>(name: &str, known: &'a [String]) -> Option<&'a String> {
    let upper = name.to_ascii_uppercase();
    let is_known = known.iter().any(|known| known == name || (cfg!(windows) && *known == upper));
    if is_known || NEIGHBOURS.contains(&upper.as_str()) || is_service_link(&upper) {
        return None;
    }
    let plain = |name: &str| name.replace(['_', '-'], "");
    let distance = |known: &&String| damerau_levenshtein(&plain(&upper), &plain(known));
    let prefix = PREFIXES.iter().find(|prefix| upper.starts_with(**prefix));
    let family = |known: &&String| prefix.is_some_and(|prefix| is_of(prefix, known));
    // For example, PORT_WEBHOOK_URL means the one setting among them that ends in `_URL`.
    let last_word = |name: &str| name.rsplit('_').next().map(str::to_owned);
    let by_last_word = |known: &&String| (last_word(known) != last_word(&upper), distance(known));
    let nearest = known.iter().min_by_key(distance)?;
    // Allows one typo for each six letters, but none in the first letter.
    let is_near = distance(&nearest) <= (nearest.len() / 6).max(1) && upper.get(..1) == nearest.get(..1);
    if is_near { Some(nearest) } else { known.iter().filter(family).min_by_key(by_last_word) }
}

/// Whether a name with this prefix may have been meant for this setting.
fn is_of(prefix: &str, known: &str) -> bool {
    match prefix {
        "PORT_INGEST_" => known == "PORT_WEBHOOK_INGEST_URL",
        "RESOURCE_TAG" => known == "RESOURCE_GROUP_TAG_FILTERS",
        prefix => known.starts_with(prefix),
    }
}

/// Whether Kubernetes or Docker sets this variable for a service ("Accessing the Service", Kubernetes), for example
/// `PORT_SERVICE_HOST`, `PORT_PORT_443_TCP_ADDR` and `PORT_443_TCP`.
fn is_service_link(name: &str) -> bool {
    let words: Vec<&str> = name.split('_').collect();
    let is_number = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    let is_link = |words: &[&str]| match words {
        ["PORT", number, "TCP" | "UDP" | "SCTP", ..] => is_number(number),
        ["SERVICE", "HOST" | "PORT", ..] => true,
        ["PORT"] => true,
        _ => false,
    };
    (0..words.len()).any(|start| words.get(start..).is_some_and(is_link))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant_by(name: &str) -> Option<String> {
        let said = spelling_hints(&[name.to_owned()]).pop()?;
        said.strip_prefix(&format!("{name} is set, and there is no such setting; did you mean "))?
            .strip_suffix('?')
            .map(str::to_owned)
    }

    #[test]
    fn a_name_that_is_nearly_one_of_ours_is_told() {
        for (name, meant) in [
            ("RESOURCE_GROUP_TAG_FILTER", "RESOURCE_GROUP_TAG_FILTERS"),
            ("RESOURCE_GROUPS_TAG_FILTERS", "RESOURCE_GROUP_TAG_FILTERS"),
            ("RESOURCE_GROUP_FILTERS", "RESOURCE_GROUP_TAG_FILTERS"),
            ("RESOURCE_TAG_FILTERS", "RESOURCE_GROUP_TAG_FILTERS"),
            ("resource_group_tag_filters", "RESOURCE_GROUP_TAG_FILTERS"),
            ("RESOURCE_TYPE", "RESOURCE_TYPES"),
            ("RESOURCE_TYPES_FILTER", "RESOURCE_TYPES"),
            ("CHECKPOINT_PATH", "CHECKPOINT_FILE"),
            ("CHECKPOINTFILE", "CHECKPOINT_FILE"),
            ("CHECK_POINT_FILE", "CHECKPOINT_FILE"),
            ("PORT_WEBHOOK_URL", "PORT_WEBHOOK_INGEST_URL"),
            ("PORT_INGEST_URL", "PORT_WEBHOOK_INGEST_URL"),
            ("PORT_WEBHOOK_SECRETS", "PORT_WEBHOOK_SECRET"),
            ("PORT_WEBHOOK_SIGNING_SECRET", "PORT_WEBHOOK_SECRET"),
            ("AZURE_TENANTID", "AZURE_TENANT_ID"),
            ("AZURE_TENNANT_ID", "AZURE_TENANT_ID"),
            ("AZURE_CLIENT_SECERT", "AZURE_CLIENT_SECRET"),
            ("DRYRUN", "DRY_RUN"),
            ("SYNC_MOD", "SYNC_MODE"),
            ("DEAD_LETTERS", "DEAD_LETTER_FILE"),
            ("RUN_TIMEOUT", "RUN_TIMEOUT_SECONDS"),
            ("CHANGE_WINDOW", "CHANGE_WINDOW_MINUTES"),
            ("FULL_SYNC_HOURS", "FULL_SYNC_EVERY_HOURS"),
            ("ENTRA_KIND", "ENTRA_KINDS"),
            ("ENTRA_GROUP_MEMBERSHIP", "ENTRA_MEMBERSHIP"),
        ] {
            assert_eq!(meant_by(name).as_deref(), Some(meant), "{name}");
        }
    }

    #[test]
    fn what_others_read_is_let_be() {
        for name in [
            "AZURE_TENANT_ID",
            "AZURE_CLIENT_SECRET",
            "AZURE_CONFIG_DIR",
            "AZURE_AUTHORITY_HOST",
            "AZURE_SUBSCRIPTION_ID",
            "AZURE_CREDENTIALS",
            "AZURE_TENANT",
            "AZURE_CLOUD_NAME",
            "AZURE_FEDERATED_TOKEN_FILE",
            "AZURE_TOKEN_CREDENTIALS",
            "AZURE_CORE_COLLECT_TELEMETRY",
            "AZURE_HTTP_USER_AGENT",
            "AZURE_EXTENSION_DIR",
            "AZURE_USERNAME",
            "AZURE_LOG_LEVEL",
            "AZURE_REGIONAL_AUTHORITY_NAME",
            "PORT",
            "PORT_443_TCP",
            "PORT_443_TCP_ADDR",
            "PORT_PORT",
            "PORT_PORT_443_TCP_PROTO",
            "PORT_SERVICE_HOST",
            "PORT_SERVICE_PORT_HTTPS",
            "PORT_WEBHOOK_SERVICE_HOST",
            "PORT_WEBHOOK_PORT_8080_TCP",
            "CHECKPOINT_PORT",
            "PORT_CLIENT_ID",
            "PORT_CLIENT_SECRET",
            "PORT_BASE_URL",
            "CHECKPOINT_DISABLE",
            "RESOURCE_GROUP",
            "RESOURCE_GROUP_NAME",
            "GOPROXY",
            "HTTPS_PROXY",
            "FTP_PROXY",
            "NO_COLOR",
            "RUST_LOG",
            "RUST_BACKTRACE",
            "SSL_CERT_DIR",
            "LOG_LEVEL",
            "PATH",
            "",
        ] {
            assert_eq!(meant_by(name), None, "{name}");
        }
    }
}
