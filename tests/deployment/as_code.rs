//! Azure and Port set up as code. The tools of Bicep and Terraform need downloads, and Port's dashboards an account, so
//! this checks what is possible without them.

use std::collections::BTreeSet;

use regex::Regex;
use serde_json::Value;

use super::{list, read, text};

/// A file without comments, and the same without the text in quotes.
fn code(path: &str) -> (String, String) {
    let source = read(path);
    let part = Regex::new(r"(?s)'(?:\\.|[^'\\])*'|//[^\n]*").unwrap();
    let code = part.replace_all(&source, |found: &regex::Captures| match &found[0] {
        comment if comment.starts_with("//") => String::new(),
        quoted => quoted.to_owned(),
    });
    let bare = part.replace_all(&code, "").into_owned();
    (code.into_owned(), bare)
}

#[test]
fn the_bicep_files_are_balanced_and_name_only_what_they_declare() {
    // Nothing depends on these.
    let last = ["job", "github", "assignment"];
    let declaration = Regex::new(r"(?m)^\s*(?:param|resource|var) (\w+)").unwrap();
    let usage = Regex::new(r"(?:: |parent: |= |\$\{)([a-z]\w*)\.(?:id|appId|name|properties|listKeys)").unwrap();
    for path in ["examples/bicep/main.bicep", "examples/container-apps/main.bicep"] {
        let (code, bare) = code(path);
        assert!(!bare.contains('\''), "{path}: a quote is left open");
        let mut open = Vec::new();
        for character in bare.chars() {
            match character {
                '(' => open.push(')'),
                '[' => open.push(']'),
                '{' => open.push('}'),
                ')' | ']' | '}' => assert_eq!(open.pop(), Some(character), "{path}"),
                _ => {}
            }
        }
        assert!(open.is_empty(), "{path}: {open:?}");
        let declared: Vec<_> = declaration.captures_iter(&code).map(|found| found[1].to_owned()).collect();
        assert!(declared.len() >= 5, "{path}: {declared:?}");
        for found in usage.captures_iter(&code) {
            assert!(declared.contains(&found[1].to_owned()), "{path}: {} is not declared", &found[1]);
        }
        for name in &declared {
            let uses = Regex::new(&format!(r"\b{name}\b")).unwrap().find_iter(&code).count();
            assert!(uses >= 2 || last.contains(&name.as_str()), "{path}: {name} is not used");
        }
    }
}

#[test]
fn terraform_names_only_what_it_declares() {
    let source = read("examples/terraform/main.tf");
    let mut declared: Vec<String> = Vec::new();
    for found in Regex::new(r#"(?m)^(resource|variable) "(\w+)"(?: "(\w+)")?"#).unwrap().captures_iter(&source) {
        declared.push(match &found[1] {
            "variable" => format!("var.{}", &found[2]),
            _ => format!("{}.{}", &found[2], &found[3]),
        });
    }
    assert!(declared.len() >= 9, "{declared:?}");
    let used = Regex::new(r"\b(var\.\w+|azure(?:ad|rm)_\w+\.\w+)").unwrap();
    let used: Vec<&str> = used.find_iter(&source).map(|found| found.as_str()).collect();
    let unknown: Vec<&&str> = used.iter().filter(|name| !declared.iter().any(|one| one == **name)).collect();
    assert!(used.len() >= 12 && unknown.is_empty(), "{unknown:?}");
}

/// The trusted subjects are repeated in three places, and the role is defined in one.
#[test]
fn bicep_terraform_and_the_guide_trust_the_same_and_read_the_one_role() {
    let role: Value = serde_json::from_str(&read("examples/azure/role.json")).unwrap();
    let action = text(&role["Actions"][0]);
    for (path, branch) in [
        ("examples/bicep/main.bicep", ":ref:refs/heads/${branch}"),
        ("examples/terraform/main.tf", ":ref:refs/heads/${var.branch}"),
        ("docs/azure.md", ":ref:refs/heads/main"),
    ] {
        let source = read(path);
        for expected in ["https://token.actions.githubusercontent.com", "api://AzureADTokenExchange", "repo:", branch] {
            assert!(source.contains(expected), "{path} has no {expected}");
        }
        assert!(!source.contains(action), "{path} copies the role");
        let reads = ["../azure/role.json", "(roles.md)"].iter().any(|role| source.contains(role));
        assert!(reads, "{path} leads to no role");
    }
}

#[test]
fn the_dashboard_shows_what_the_blueprints_have_in_rows_that_are_full() {
    let json = |path: &str| -> Value { serde_json::from_str(&read(path)).unwrap() };
    let blueprints = json("examples/port/blueprints.json");
    let page = json("examples/port/dashboard.json");
    let root = &page["widgets"][0];
    let mut placed = BTreeSet::new();
    for row in list(&root["layout"]) {
        let columns = list(&row["columns"]);
        assert_eq!(columns.iter().filter_map(|column| column["size"].as_u64()).sum::<u64>(), 12, "{row}");
        placed.extend(columns.iter().map(|column| text(&column["id"])));
    }
    let widgets = list(&root["widgets"]);
    assert_eq!(placed, widgets.iter().map(|widget| text(&widget["id"])).collect());
    for widget in widgets {
        let mut known = list(&blueprints).iter().filter(|blueprint| blueprint["identifier"] == widget["blueprint"]);
        let blueprint = known.next().unwrap_or_else(|| panic!("{widget} is of no blueprint"));
        if let Some(property) = widget["property"].as_str() {
            let name = property.strip_prefix("property#").unwrap();
            assert!(blueprint["schema"]["properties"][name].is_object(), "{widget}");
        }
    }
}
