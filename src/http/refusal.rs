//! What a refusal says: its codes, its message, and whether a policy challenges the token.

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// Limits on what is kept of an error: characters of its message, characters per code, and number of codes.
pub(super) const LONGEST_MESSAGE: usize = 2000;
const LONGEST_CODE: usize = 100;
const MOST_CODES: usize = 16;

/// The error code of a claims challenge.
pub(super) const CHALLENGED: &str = "insufficient_claims";

/// Reads the codes and the message from an error body: Azure's `{"error": {code, message, details}}`, Port's
/// `{"error": …, "message": …}`, or the beginning of anything else.
pub(super) fn told(body: &[u8]) -> (Vec<String>, String) {
    #[derive(serde::Deserialize)]
    struct AzureBody {
        error: AzureError,
    }
    #[derive(serde::Deserialize)]
    struct AzureError {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
        #[serde(default)]
        details: Vec<AzureError>,
    }
    #[derive(serde::Deserialize)]
    struct PlainBody {
        #[serde(default)]
        error: Option<String>,
        message: String,
    }

    let (codes, message) = if let Ok(AzureBody { error }) = serde_json::from_slice(body) {
        let mut codes = vec![error.code];
        let mut messages = vec![error.message];
        for detail in error.details {
            codes.push(detail.code);
            messages.push(detail.message);
        }
        codes.retain(|code| !code.is_empty());
        codes.truncate(MOST_CODES);
        messages.retain(|message| !message.is_empty());
        (codes, messages.join(" "))
    } else if let Ok(PlainBody { error, message }) = serde_json::from_slice(body) {
        (error.into_iter().filter(|code| !code.is_empty()).collect(), message)
    } else {
        (Vec::new(), String::from_utf8_lossy(body.get(..LONGEST_MESSAGE).unwrap_or(body)).into_owned())
    };
    (codes.into_iter().map(|code| cut(code, LONGEST_CODE)).collect(), cut(message, LONGEST_MESSAGE))
}

fn cut(mut text: String, most: usize) -> String {
    if let Some((end, _)) = text.char_indices().nth(most) {
        text.truncate(end);
        text.shrink_to_fit();
    }
    text
}

/// Whether a policy asks for more than the token shows ("Claims challenges, claims requests and client capabilities",
/// Microsoft Entra): `error="insufficient_claims"`, or another error with `claims="…"`.
pub(super) fn is_challenge(headers: &HeaderMap) -> bool {
    headers.get_all(WWW_AUTHENTICATE).iter().any(|challenge| {
        let challenge = String::from_utf8_lossy(challenge.as_bytes()).to_ascii_lowercase();
        let mut words = challenge.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '=')));
        words.any(|word| word.starts_with("claims=") || word.trim_start_matches("error=") == CHALLENGED)
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use reqwest::StatusCode;
    use reqwest::header::HeaderValue;

    use super::*;
    use crate::error::Problem as _;
    use crate::http::{Answer, Failure, RequestError};

    #[test]
    fn an_azure_error_is_told_with_its_details() {
        let body = br#"{"error":{"code":"BadRequest","message":"Please provide below info.","details":[{"code":"ResponsePayloadTooLarge","message":"Response payload size is 17000000."}]}}"#;
        let (codes, message) = told(body);
        assert_eq!(codes, ["BadRequest", "ResponsePayloadTooLarge"]);
        assert_eq!(message, "Please provide below info. Response payload size is 17000000.");
    }

    #[test]
    fn an_error_is_kept_short_however_much_it_says() {
        let details: Vec<_> =
            (0..100).map(|_| serde_json::json!({"code": "c".repeat(500), "message": "é".repeat(500)})).collect();
        let body = serde_json::json!({"error": {"code": "x", "message": "y", "details": details}}).to_string();
        let (codes, message) = told(body.as_bytes());
        assert_eq!((codes.len(), message.chars().count()), (MOST_CODES, LONGEST_MESSAGE));
        assert!(codes.iter().all(|code| code.len() <= LONGEST_CODE));
    }

    #[test]
    fn a_page_of_html_is_told_by_its_beginning() {
        let (codes, message) = told(b"<html><body>Proxy says no</body></html>");
        assert!(codes.is_empty());
        assert!(message.starts_with("<html>"));
    }

    #[test]
    fn a_claims_challenge_is_a_policy_of_the_tenant_however_it_is_worded() {
        let advice = |challenges: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for challenge in challenges {
                headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
            }
            let answer = Answer { status: StatusCode::UNAUTHORIZED, headers, body: Bytes::new() };
            RequestError::new("GET", Failure::Status(answer.refusal())).advice().unwrap()
        };
        for challenge in [
            &[r#"Bearer realm="", error="insufficient_claims", claims="eyJhIjoxfQ==""#][..],
            &[r#"Bearer authorization_uri="https://x.example/", error="invalid_token", claims="eyJhIjoxfQ==""#],
            &["bearer ERROR=Insufficient_Claims"],
            &[r#"Bearer claims="eyJhIjoxfQ==""#],
            &["Negotiate", r#"Bearer error="insufficient_claims""#],
        ] {
            assert!(advice(challenge).contains("a policy of the tenant"), "{challenge:?}");
        }
        for challenge in [&[][..], &[r#"Bearer error="invalid_token", error_description="no claims here""#]] {
            assert!(advice(challenge).contains("AZURE_CLOUD"), "{challenge:?}");
        }
    }
}
