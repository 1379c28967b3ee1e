//! The subscription to forget with `forget`.

use super::error::ConfigError;
use super::reader::Reader;
use crate::cli::{ForgetArgs, Settings};
use crate::id::{is_guid, lower};
use crate::text::printable;

/// The id of the subscription, `/subscriptions/GUID` in lower case. Needs a checkpoint, because only that knows what
/// the catalog holds of a subscription.
pub fn forget_id(args: &ForgetArgs, settings: &Settings) -> Result<String, ConfigError> {
    let mut reader = Reader::new(settings, &|_| None);
    let text = lower(args.subscription.trim().trim_end_matches('/'));
    let guid = text.strip_prefix("/subscriptions/").unwrap_or(&text);
    if !is_guid(guid) {
        let problem = format!(
            "is \"{}\": expected the id of a subscription, a GUID; azure-incremental checkpoint shows those that it holds",
            printable(&args.subscription)
        );
        reader.wrong("SUBSCRIPTION", problem);
    }
    let file = settings.checkpoint_file.as_deref();
    reader.required("CHECKPOINT_FILE", file, "forget deletes what the checkpoint holds of a subscription");
    reader.finish(format!("/subscriptions/{guid}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUID: &str = "0a1b2c3d-0000-4000-8000-00000000abcd";

    fn id(subscription: &str, checkpoint: Option<&str>) -> Result<String, String> {
        let settings = Settings { checkpoint_file: checkpoint.map(str::to_owned), ..Settings::default() };
        let args = ForgetArgs { subscription: subscription.into(), yes: false };
        forget_id(&args, &settings).map_err(|error| error.to_string())
    }

    #[test]
    fn a_subscription_is_named_by_its_guid_or_its_id_in_any_case() {
        let named = [GUID.to_owned(), GUID.to_uppercase(), format!(" /Subscriptions/{}/ ", GUID.to_uppercase())];
        for text in named {
            assert_eq!(id(&text, Some("file")), Ok(format!("/subscriptions/{GUID}")), "{text}");
        }
    }

    #[test]
    fn what_is_no_subscription_is_refused_and_so_is_a_missing_checkpoint() {
        let group = format!("/subscriptions/{GUID}/resourceGroups/g");
        for text in ["", "x", "/subscriptions/", "/subscriptions/x", &GUID.replace('-', ""), &group] {
            let error = id(text, None).unwrap_err();
            assert!(
                error.contains("SUBSCRIPTION is") && error.contains("CHECKPOINT_FILE is not set"),
                "{text}: {error}"
            );
        }
        assert!(id(GUID, Some(" ")).is_err());
    }
}
