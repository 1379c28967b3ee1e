//! Additional Resource Graph columns in rows.

use super::reader::Reader;
use super::value::Form;
use crate::text::printable;

const NAME: &str = "RESOURCE_COLUMNS";

/// The additional columns of `resources` and `resourcecontainers` ("Azure Resource Graph table and resource type
/// reference").
pub(crate) const FURTHER: [&str; 9] =
    ["extendedLocation", "identity", "kind", "managedBy", "plan", "properties", "sku", "tenantId", "zones"];

/// The columns that every row has.
const ALWAYS: [&str; 7] = ["id", "name", "type", "location", "tags", "subscriptionId", "resourceGroup"];

/// Additional columns, without duplicates, in alphabetical order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    /// Columns of resources.
    pub resources: Vec<&'static str>,
    /// Columns of resource groups.
    pub containers: Vec<&'static str>,
}

impl Reader<'_> {
    pub(super) fn columns(&mut self) -> Columns {
        let Some(text) = self.set(NAME, self.settings.resource_columns.as_deref(), Form::Lines) else {
            return Columns::default();
        };
        if self.settings.mapping_file.as_deref().is_some_and(|file| !file.trim().is_empty()) {
            let problem = "is for the webhook's envelopes: with MAPPING_FILE, the columns that the mapping reads are asked for; unset it";
            self.wrong(NAME, problem.into());
        }
        let names: Vec<String> = if text.starts_with('[') {
            self.json(NAME, text, r#"use a JSON array of strings, such as ["sku", "properties"]"#).unwrap_or_default()
        } else {
            text.split(',').map(|name| name.trim().to_owned()).collect()
        };
        for name in &names {
            if !FURTHER.iter().chain(&ALWAYS).any(|known| known.eq_ignore_ascii_case(name)) {
                let known = FURTHER.join(", ");
                self.wrong(
                    NAME,
                    format!("names \"{}\", which is no column: expected some of {known}", printable(name)),
                );
            }
        }
        Columns { resources: those_of(&names), containers: Vec::new() }
    }
}

/// Those names that are additional columns, without duplicates.
pub(crate) fn those_of<T: AsRef<str>>(names: &[T]) -> Vec<&'static str> {
    FURTHER.into_iter().filter(|known| names.iter().any(|name| known.eq_ignore_ascii_case(name.as_ref()))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::read;
    use super::*;
    use crate::cli::Settings;

    fn columns(text: &str) -> Result<Vec<&'static str>, String> {
        let settings = Settings { resource_columns: Some(text.into()), ..Settings::default() };
        let columns = read(&settings, &[], Reader::columns).map_err(|error| error.to_string())?;
        Ok(columns.resources)
    }

    #[test]
    fn columns_come_as_a_list_or_json_in_any_case_and_what_is_always_there_is_no_further_one() {
        assert_eq!(columns("sku, Properties,name, SKU"), Ok(vec!["properties", "sku"]));
        assert_eq!(columns(r#"["managedBy"]"#), Ok(vec!["managedBy"]));
        assert_eq!(columns(" "), Ok(Vec::new()));
    }

    #[test]
    fn a_column_that_there_is_not_is_named() {
        let error = columns("sku, price; drop").unwrap_err();
        assert!(error.contains("RESOURCE_COLUMNS names \"price; drop\", which is no column"), "{error}");
    }

    #[test]
    fn a_mapping_says_itself_what_it_reads() {
        let settings = Settings {
            resource_columns: Some("sku".into()),
            mapping_file: Some("mapping.yml".into()),
            ..Settings::default()
        };
        let error = read(&settings, &[], Reader::columns).unwrap_err().to_string();
        assert!(error.starts_with("RESOURCE_COLUMNS is for the webhook's envelopes"), "{error}");
    }
}
