//! The ids to send with `resend`.

use serde::Deserialize;

use super::error::{ConfigError, Problem};
use crate::cli::ResendArgs;
use crate::id::{lower, under};
use crate::text::printable;

/// Collects the ids from the command line and from a dead-letter file, in lower case and without duplicates. The error
/// names every invalid id and every invalid line.
pub fn resend_ids(args: &ResendArgs) -> Result<Vec<String>, ConfigError> {
    let mut problems = Vec::new();
    let mut ids: Vec<String> = args.ids.clone();
    if let Some(path) = &args.from {
        match std::fs::read_to_string(path) {
            Ok(text) => {
                for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
                    match dead_letter_id(line) {
                        Ok(id) => ids.push(id),
                        Err(error) => problems.push(Problem {
                            variable: "--from".into(),
                            problem: format!(
                                "{}, line {}: not a dead letter: {}",
                                path.display(),
                                number + 1,
                                printable(&error.to_string())
                            ),
                        }),
                    }
                }
            }
            Err(error) => {
                problems.push(Problem { variable: "--from".into(), problem: format!("{}: {error}", path.display()) });
            }
        }
    }
    for id in &mut ids {
        *id = lower(id.trim().trim_end_matches('/'));
        if id.strip_prefix("/subscriptions/").is_none_or(str::is_empty) {
            problems.push(Problem {
                variable: "ID".into(),
                problem: format!("\"{}\" is not a resource id: expected /subscriptions/…", printable(id)),
            });
        }
    }
    ids.sort();
    ids.dedup();
    if problems.is_empty() { Ok(ids) } else { Err(ConfigError(problems)) }
}

fn dead_letter_id(line: &str) -> Result<String, serde_json::Error> {
    #[derive(Deserialize)]
    struct Letter {
        envelope: Envelope,
    }
    #[derive(Deserialize)]
    struct Envelope {
        data: Data,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Data {
        resource_id: String,
        #[serde(default)]
        subscription_id: Option<String>,
    }
    let Letter { envelope: Envelope { data: Data { resource_id, subscription_id } } } = serde_json::from_str(line)?;
    Ok(under(&subscription_id.unwrap_or_default(), &resource_id).unwrap_or(resource_id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[&str], file: Option<&str>) -> Result<Vec<String>, String> {
        let directory = tempfile::tempdir().unwrap();
        let from = file.map(|text| {
            let path = directory.path().join("dead.jsonl");
            std::fs::write(&path, text).unwrap();
            path
        });
        let args = ResendArgs { ids: ids.iter().map(|id| (*id).to_owned()).collect(), from, allow_delete: false };
        resend_ids(&args).map_err(|error| error.to_string())
    }

    #[test]
    fn ids_come_from_the_command_line_and_the_file_each_once_in_lower_case() {
        let file = "{\"envelope\": {\"data\": {\"resourceId\": \"/subscriptions/B\"}}}\n\n\
                    {\"envelope\": {\"data\": {\"resourceId\": \"/providers/x/y/z\", \"subscriptionId\": \"b\"}}}\n";
        let found = ids(&["/subscriptions/b/", " /subscriptions/A"], Some(file));
        assert_eq!(
            found,
            Ok(["/subscriptions/a", "/subscriptions/b", "/subscriptions/b//providers/x/y/z"].map(Into::into).into())
        );
    }

    #[test]
    fn each_invalid_id_and_line_is_named() {
        let error = ids(&["vault", "/subscriptions/"], Some("{}\nx\n")).unwrap_err();
        for said in ["line 1: not a dead letter", "line 2: not a dead letter", "\"vault\"", "\"/subscriptions\""] {
            assert!(error.contains(said), "{said}: {error}");
        }
        assert_eq!(error.lines().count(), 4, "{error}");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let args = ResendArgs { ids: Vec::new(), from: Some("/nowhere/dead.jsonl".into()), allow_delete: false };
        assert!(resend_ids(&args).unwrap_err().to_string().starts_with("--from /nowhere/dead.jsonl: "));
    }
}
