//! The release: the tag and what must match it, the package, and the workflow.

use regex::Regex;

use super::{list, read, text, yaml};

#[test]
fn what_people_copy_names_the_version_that_it_comes_with() {
    let named = Regex::new(
        r"(?m)(?:azure-incremental/azure-incremental(?:@v|:)|^\s*(?:VERSION|version): )(\d+\.\d+\.\d+[0-9A-Za-z.-]*)",
    )
    .unwrap();
    let mut found = 0;
    for path in [
        "README.md",
        "examples/azure-devops/azure-pipelines.yml",
        "examples/compose/compose.yaml",
        "examples/container-apps/main.bicep",
        "examples/github/azure-full-sync.yml",
        "examples/github/azure-incremental-sync.yml",
        "examples/github/minimal-oidc.yml",
        "examples/github/minimal-secret.yml",
        "examples/gitlab/.gitlab-ci.yml",
        "examples/kubernetes/cronjob.yaml",
    ] {
        let source = read(path);
        let versions: Vec<_> = named.captures_iter(&source).map(|found| found[1].to_owned()).collect();
        assert!(!versions.is_empty(), "{path} names no version");
        for version in versions {
            assert_eq!(version, env!("CARGO_PKG_VERSION"), "{path}");
            found += 1;
        }
    }
    assert!(found >= 10);
}

#[test]
fn every_target_that_is_fetched_is_built_and_every_archive_is_named_alike() {
    let release = yaml(&read(".github/workflows/release.yml"));
    let built = list(&release["jobs"]["build"]["strategy"]["matrix"]["include"]);
    let built: Vec<&str> = built.iter().map(|entry| text(&entry["target"])).collect();
    let fetch = read(".ci/fetch");
    let target = Regex::new(r"target=([a-z0-9_-]+)").unwrap();
    let fetched: Vec<_> = target.captures_iter(&fetch).map(|found| found[1].to_owned()).collect();
    assert_eq!(fetched.len(), 5);
    for target in fetched {
        assert!(built.contains(&target.as_str()), "{target} is not built");
    }
    assert!(fetch.contains("name=azure-incremental-$version-$target\n"));
    assert!(read(".ci/package").contains("name=azure-incremental-v$version-$target\n"));
    let manifest = read("Cargo.toml");
    assert!(manifest.contains("/azure-incremental-v{ version }-{ target }{ archive-suffix }\""));
    assert!(manifest.contains("\"azure-incremental-v{ version }-{ target }/{ bin }{ binary-ext }\""));
}

#[test]
fn the_package_holds_every_file_that_its_sources_include() {
    let listed = std::process::Command::new(env!("CARGO"))
        .args(["package", "--list", "--allow-dirty", "--offline", "--locked"])
        .current_dir(super::root())
        .output()
        .unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let listed = String::from_utf8(listed.stdout).unwrap().replace('\\', "/");
    let listed: Vec<&str> = listed.lines().collect();
    let include = Regex::new(r#"include_str!\("((?:\.\./)+)([^"]+)"\)"#).unwrap();
    let mut included = 0;
    for source in listed.iter().filter(|path| path.starts_with("src/") && path.ends_with(".rs")) {
        for found in include.captures_iter(&read(source)) {
            // The path leads to the root of the package.
            assert_eq!(found[1].matches('/').count(), source.matches('/').count(), "{source}");
            assert!(listed.contains(&&found[2]), "{source} includes {}, which is not packaged", &found[2]);
            included += 1;
        }
    }
    assert!(included >= 6);
    assert!(listed.contains(&"build.rs") && listed.contains(&"README.md") && listed.contains(&"LICENSE"));
    assert!(!listed.iter().any(|path| path.starts_with("tests/") || path.starts_with(".github/")), "{listed:?}");
}

#[cfg(unix)]
mod tag {
    use std::fs;
    use std::path::Path;
    use std::process::Command;

    use super::super::{copy, root};

    const VERSION: &str = env!("CARGO_PKG_VERSION");

    fn released() -> tempfile::TempDir {
        let directory = copy(&[
            "Cargo.toml",
            "Cargo.lock",
            "CHANGELOG.md",
            "README.md",
            "docs/places.md",
            "examples/github/azure-full-sync.yml",
            "examples/kubernetes/cronjob.yaml",
        ]);
        let section =
            format!("## [{VERSION}] - 2026-01-01\n\n### Added\n\n- Everything.\n\n## [0.0.1] - 2025-01-01\n\n- Less.");
        replace(directory.path(), "CHANGELOG.md", "## [Unreleased]", &format!("## [Unreleased]\n\n{section}"));
        directory
    }

    fn replace(directory: &Path, file: &str, from: &str, to: &str) {
        let path = directory.join(file);
        let source = fs::read_to_string(&path).unwrap();
        assert!(source.contains(from), "{file} has no {from}");
        fs::write(path, source.replacen(from, to, 1)).unwrap();
    }

    fn check(tag: &str, directory: &Path) -> Result<String, String> {
        let output =
            Command::new("bash").arg(root().join(".ci/release-check")).arg(tag).arg(directory).output().unwrap();
        match output.status.success() {
            true => Ok(String::from_utf8(output.stdout).unwrap()),
            false => Err(String::from_utf8(output.stderr).unwrap()),
        }
    }

    #[test]
    fn a_tag_that_all_agree_with_is_released_with_its_notes() {
        let directory = released();
        let notes = check(&format!("v{VERSION}"), directory.path()).unwrap();
        assert_eq!(notes.trim(), "### Added\n\n- Everything.");
    }

    #[test]
    fn a_tag_that_something_disagrees_with_is_not_released() {
        let refuses = |tag: &str, directory: &Path, why: &str| {
            let error = check(tag, directory).unwrap_err();
            assert!(error.contains(why), "{error}");
        };
        let tag = format!("v{VERSION}");
        let own = format!("name = \"azure-incremental\"\nversion = \"{VERSION}\"");
        refuses("v99.0.0", released().path(), "but Cargo.toml says");
        refuses(VERSION, released().path(), "is no version");
        refuses("v1.2", released().path(), "is no version");

        let directory = released();
        replace(directory.path(), "Cargo.lock", &own, "name = \"azure-incremental\"\nversion = \"9.9.9\"");
        refuses(&tag, directory.path(), "but Cargo.lock says 9.9.9");

        let directory = released();
        replace(directory.path(), "CHANGELOG.md", &format!("## [{VERSION}] - "), "## [9.9.9] - ");
        refuses(&tag, directory.path(), "CHANGELOG.md has no section");

        let directory = released();
        replace(directory.path(), "examples/kubernetes/cronjob.yaml", &format!(":{VERSION}"), ":9.9.9");
        refuses(
            &tag,
            directory.path(),
            "but there is azure-incremental/azure-incremental:9.9.9 in examples/kubernetes/cronjob.yaml",
        );
    }
}
