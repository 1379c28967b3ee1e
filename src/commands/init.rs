//! The files that Port and GitHub need before the first run: blueprints, the webhook's mapping, and two workflows, with
//! the current settings filled in. `apply` uses them to set up Port.

pub mod apply;
mod blueprint;
mod webhook;

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::config::Coverage;
use crate::text::printable;

/// A file to generate: its name, and what to do with it.
struct File {
    name: &'static str,
    purpose: &'static str,
    text: &'static str,
    kind: Kind,
}

/// How settings are filled into a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    AsItIs,
    /// A JSON array, and the elements to add for Entra ID.
    List(&'static str),
    Workflow,
    Security,
}

/// For each: the part for Azure's resources, and the part for Entra ID.
const BLUEPRINTS: [&str; 2] =
    [include_str!("../../examples/port/blueprints.json"), include_str!("../../examples/port/entra/blueprints.json")];
const MAPPING: [&str; 2] =
    [include_str!("../../examples/port/mapping.json"), include_str!("../../examples/port/entra/mapping.json")];
const MAPPING_BATCH: [&str; 2] = [
    include_str!("../../examples/port/mapping-batch.json"),
    include_str!("../../examples/port/entra/mapping-batch.json"),
];
const SECURITY: &str = include_str!("../../examples/port/security.json");

const FILES: [File; 7] = [
    File {
        name: "blueprints.json",
        purpose: "create each in Port, in this order: Builder > + Blueprint > Edit JSON",
        text: BLUEPRINTS[0],
        kind: Kind::List(BLUEPRINTS[1]),
    },
    File {
        name: "mapping.json",
        purpose: "paste it into a webhook: Data sources > + Data source > Webhook; for PORT_WEBHOOK_PAYLOAD=single",
        text: MAPPING[0],
        kind: Kind::List(MAPPING[1]),
    },
    File {
        name: "mapping-batch.json",
        purpose: "in place of mapping.json, for PORT_WEBHOOK_PAYLOAD=batch",
        text: MAPPING_BATCH[0],
        kind: Kind::List(MAPPING_BATCH[1]),
    },
    File {
        name: "security.json",
        purpose: "security settings of the webhook, for signed posts; replace the secret with the value of PORT_WEBHOOK_SECRET",
        text: SECURITY,
        kind: Kind::Security,
    },
    File {
        name: "entities.yml",
        purpose: "in place of a webhook: MAPPING_FILE, to write entities over Port's API",
        text: include_str!("../../examples/port/entities.yml"),
        kind: Kind::AsItIs,
    },
    File {
        name: "azure-incremental-sync.yml",
        purpose: "goes to .github/workflows/ of a repository: what changed, every 15 minutes",
        text: include_str!("../../examples/github/azure-incremental-sync.yml"),
        kind: Kind::Workflow,
    },
    File {
        name: "azure-full-sync.yml",
        purpose: "goes there too: compares everything, when started by hand",
        text: include_str!("../../examples/github/azure-full-sync.yml"),
        kind: Kind::Workflow,
    },
];

/// A given setting to write into the workflows.
pub(crate) type Setting = (&'static str, String);

/// Why a file was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InitError {
    #[error("is \"{}\": expected one of {}", printable(.0), FILES.map(|file| file.name).join(", "))]
    Unknown(String),
    #[error("{} cannot be written: {error}", .path.display())]
    Write { path: PathBuf, error: io::Error },
    #[error("{} already exists and differs; it was left unchanged (--force replaces it)", .0.display())]
    Exists(PathBuf),
}

/// The files with these names, or all of them. If there are several, each has a heading with its name.
pub(crate) fn print(names: &[String], settings: &[Setting]) -> Result<String, InitError> {
    let files = named(names)?;
    let texts: Vec<String> = files
        .iter()
        .map(|file| match files.as_slice() {
            [_] => file.filled_in(settings),
            _ => format!("# ==> {}: {}\n{}", file.name, file.purpose, file.filled_in(settings)),
        })
        .collect();
    Ok(texts.join("\n"))
}

/// What to do with existing files that differ.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    Keep,
    Replace,
}

/// Writes the files with these names, or all of them, into a directory, and says what was done with each.
pub(crate) fn write(
    directory: &Path,
    names: &[String],
    settings: &[Setting],
    existing: Existing,
) -> Result<Vec<Result<String, InitError>>, InitError> {
    let files = named(names)?;
    fs::create_dir_all(directory).map_err(|error| InitError::Write { path: directory.to_owned(), error })?;
    Ok(files.iter().map(|file| file.write(directory, settings, existing)).collect())
}

fn named(names: &[String]) -> Result<Vec<&'static File>, InitError> {
    if names.is_empty() {
        return Ok(FILES.iter().collect());
    }
    let find = |name: &String| FILES.iter().find(|file| file.name == name).ok_or(InitError::Unknown(name.clone()));
    names.iter().map(find).collect()
}

impl File {
    fn filled_in(&self, settings: &[Setting]) -> String {
        match self.kind {
            Kind::List(entra) if settings.iter().any(|(name, _)| *name == "ENTRA_KINDS") => {
                list([self.text, entra], Coverage::ResourcesAndEntra)
            }
            Kind::AsItIs | Kind::List(_) => self.text.to_owned(),
            Kind::Workflow => workflow(self.text, settings),
            Kind::Security => security(self.text, settings),
        }
    }

    fn write(&self, directory: &Path, settings: &[Setting], existing: Existing) -> Result<String, InitError> {
        let path = directory.join(self.name);
        let text = self.filled_in(settings);
        let failed = |error| InitError::Write { path: path.clone(), error };
        let done = match create(&path, &text) {
            Ok(()) => "written",
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(failed(error)),
            Err(_) if is_same(&path, &text) => "already exists, unchanged",
            Err(_) if existing == Existing::Replace => {
                // Written next to it and then renamed, so that a link is replaced instead of followed.
                let new = directory.join(format!("{}.{}.new", self.name, std::process::id()));
                create(&new, &text).and_then(|()| fs::rename(&new, &path)).map_err(failed)?;
                "replaced"
            }
            Err(_) => return Err(InitError::Exists(path)),
        };
        Ok(format!("{}: {done}; {}", path.display(), self.purpose))
    }
}

/// Creates a world-readable file. `create_new` neither replaces a file nor follows a link.
fn create(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o644);
    options.open(path)?.write_all(text.as_bytes())
}

fn is_same(path: &Path, text: &str) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.len() == text.len() as u64)
        && fs::read(path).is_ok_and(|found| found == text.as_bytes())
}

/// The parts for Azure's resources and, if it is also synced, for Entra ID, as one JSON array.
fn list([azure, entra]: [&str; 2], coverage: Coverage) -> String {
    match (azure.trim_end().strip_suffix("\n]"), entra.strip_prefix('[')) {
        (Some(azure), Some(entra)) if coverage == Coverage::ResourcesAndEntra => format!("{azure},{entra}"),
        _ => azure.to_owned(),
    }
}

/// Puts settings into the `env` of a workflow's sync step, replacing those of the same name.
fn workflow(text: &str, settings: &[Setting]) -> String {
    const LAST_SECRET: &str = "PORT_WEBHOOK_INGEST_URL:";
    let mut filled = String::with_capacity(text.len());
    for line in text.lines() {
        let bare = line.trim_start().trim_start_matches("# ");
        if settings.iter().any(|(name, _)| bare.strip_prefix(name).is_some_and(|rest| rest.starts_with(':'))) {
            continue;
        }
        filled.push_str(line);
        filled.push('\n');
        if line.trim_start().starts_with(LAST_SECRET) {
            let indent = line.len() - line.trim_start().len();
            for (name, value) in settings {
                filled.push_str(&format!("{:indent$}{name}: {}\n", "", scalar(value)));
            }
        }
    }
    filled
}

/// The webhook's security settings with the given header and prefix.
fn security(text: &str, settings: &[Setting]) -> String {
    let places = [("PORT_WEBHOOK_SIGNATURE_HEADER", "x-port-signature"), ("PORT_WEBHOOK_SIGNATURE_PREFIX", "sha256=")];
    places.iter().fold(text.to_owned(), |text, (name, default)| {
        match settings.iter().find(|(given, _)| given == name) {
            Some((_, value)) => {
                let quoted = serde_json::Value::from(value.as_str()).to_string();
                text.replace(&format!("\"{default}\""), &quoted)
            }
            None => text,
        }
    })
}

/// A YAML scalar with this value, in which GitHub finds no expression.
fn scalar(text: &str) -> String {
    let one_line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!("'{}'", one_line.replace('\'', "''").replace("${{", "${{ ''${{'' }}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_port_needs_is_printed_with_its_purpose() {
        let text = print(&[], &[]).unwrap();
        for file in &FILES {
            assert!(text.contains(&format!("# ==> {}: ", file.name)));
        }
        for needed in ["azureSubscription", "itemsToParse", "cron:", "workflow_dispatch"] {
            assert!(text.contains(needed), "{needed}");
        }
    }

    #[test]
    fn one_file_is_printed_as_it_is() {
        let text = print(&["mapping.json".into()], &[]).unwrap();
        assert!(serde_json::from_str::<serde_json::Value>(&text).unwrap().is_array());
        for text in [BLUEPRINTS, MAPPING, MAPPING_BATCH] {
            let entries = |text: &str| serde_json::from_str::<Vec<serde_json::Value>>(text).unwrap();
            assert_eq!(list(text, Coverage::Resources), text[0]);
            assert_eq!(
                entries(&list(text, Coverage::ResourcesAndEntra)),
                [entries(text[0]), entries(text[1])].concat()
            );
        }
        assert!(print(&["../x".into()], &[]).unwrap_err().to_string().contains("blueprints.json"));
    }

    #[test]
    fn settings_stand_in_both_workflows_in_place_of_what_was_there() {
        let settings = [("CHANGE_WINDOW_MINUTES", "90".into()), ("RESOURCE_TYPES", r#"["a/b"]"#.into())];
        for file in FILES.iter().filter(|file| file.kind == Kind::Workflow) {
            let text = file.filled_in(&settings);
            let of = |name: &str| text.lines().filter(|line| line.contains(&format!("{name}:"))).count();
            assert_eq!((of("CHANGE_WINDOW_MINUTES"), of("RESOURCE_TYPES")), (1, 1), "{}", file.name);
            assert!(text.contains("\n          CHANGE_WINDOW_MINUTES: '90'\n"), "{text}");
        }
    }

    #[test]
    fn the_security_of_the_webhook_has_the_header_that_was_given_and_no_secret() {
        let names = ["security.json".to_owned()];
        let plain: serde_json::Value = serde_json::from_str(&print(&names, &[]).unwrap()).unwrap();
        assert_eq!(plain["signatureHeaderName"], "x-port-signature");
        assert_eq!(plain["signatureAlgorithm"], "sha256");
        let own =
            [("PORT_WEBHOOK_SIGNATURE_HEADER", "x-own".into()), ("PORT_WEBHOOK_SIGNATURE_PREFIX", "\"v1=".into())];
        let own: serde_json::Value = serde_json::from_str(&print(&names, &own).unwrap()).unwrap();
        assert_eq!((&own["signatureHeaderName"], &own["signaturePrefix"]), (&"x-own".into(), &"\"v1=".into()));
    }

    #[test]
    fn a_value_neither_ends_its_scalar_nor_becomes_an_expression() {
        assert_eq!(scalar("O'Connor"), "'O''Connor'");
        assert_eq!(scalar("a\nb: c"), "'a b: c'");
        assert_eq!(scalar("${{ secrets.X }}"), "'${{ ''${{'' }} secrets.X }}'");
    }

    #[test]
    fn a_file_that_is_there_is_left_as_it_is_and_that_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let write = |existing| write(directory.path(), &[], &[], existing).unwrap();
        assert!(write(Existing::Keep).iter().all(|done| done.as_ref().is_ok_and(|line| line.contains("written"))));
        assert!(
            write(Existing::Keep)
                .iter()
                .all(|done| done.as_ref().is_ok_and(|line| line.contains("already exists, unchanged")))
        );
        let mapping = directory.path().join("mapping.json");
        fs::write(&mapping, "mine").unwrap();
        let failed: Vec<String> =
            write(Existing::Keep).into_iter().filter_map(Result::err).map(|error| error.to_string()).collect();
        assert_eq!(failed.len(), 1);
        assert!(failed[0].contains("mapping.json already exists"), "{failed:?}");
        assert_eq!(fs::read(&mapping).unwrap(), b"mine");
        assert!(write(Existing::Replace).iter().any(|done| done.as_ref().is_ok_and(|line| line.contains("replaced"))));
        assert_ne!(fs::read(&mapping).unwrap(), b"mine");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_never_written_through_and_everybody_may_read_the_files() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let directory = tempfile::tempdir().unwrap();
        let precious = directory.path().join("precious");
        symlink(&precious, directory.path().join("mapping.json")).unwrap();
        assert!(write(directory.path(), &[], &[], Existing::Keep).unwrap().iter().any(Result::is_err));
        fs::write(&precious, "untouched").unwrap();
        assert!(write(directory.path(), &[], &[], Existing::Replace).unwrap().iter().all(Result::is_ok));
        assert_eq!(fs::read(&precious).unwrap(), b"untouched");
        let mode = fs::metadata(directory.path().join("blueprints.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o133, 0, "{mode:o}");
        assert_eq!(mode & 0o600, 0o600, "{mode:o}");
    }
}
