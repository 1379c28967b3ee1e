//! Faults that tests or users inject: which answers fail, how often, and how.
mod rules;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http_body_util::{BodyExt as _, Either, Full, StreamBody};
use hyper::body::Frame;
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};
use serde_json::{Value as Json, json};

use crate::answers::gzip;
use crate::server::{HangUp, Reply, json, reply, with_header};
pub use rules::{Faults, Rule, RuleId};

#[derive(Clone)]
pub enum Fault {
    /// This answer instead of the real one.
    Status {
        status: u16,
        headers: Vec<(String, String)>,
        body: String,
    },
    /// Never answers.
    Hang,
    /// The answer, delayed.
    Slow(Duration),
    /// Closes the connection before the answer begins.
    Reset,
    /// Closes the connection in the middle of the answer.
    ResetInBody,
    /// The answer one byte at a time.
    Drip(Duration),
    /// The first half of the answer, as if it were complete.
    Truncated,
    /// 200 with noise.
    Garbage,
    /// 200 with an HTML page, as proxies return.
    Html,
    /// 200 with an empty body.
    Empty,
    /// 200 with JSON nested too deeply for any stack.
    Deep,
    /// 200 with an endless body.
    Endless,
    /// 200 with a few kilobytes of gzip that expand to 64 MB.
    Bomb,
    /// The answer, wrongly declared as gzip.
    LyingGzip,
    Redirect(String),
    /// This status, echoing the whole request, as some proxies and frameworks do.
    Echo(u16),
    /// This status and body, with `SENT` replaced by the whole request, escaped for a JSON string.
    Quote(u16, String),
    /// The edited answer: a foreign `nextLink`, a BOM, rows that are `null`, and so on.
    Edit(Arc<dyn Fn(String) -> String + Send + Sync>),
    /// Port only: closes the connection, and applies the request later, when `Port::apply_late` is called.
    Late,
    /// Port's API only: the token has just been revoked when the request arrives.
    Revoked,
    /// Resource Graph only: the rows differ from those that exist.
    Unstable(Shift),
}

/// What is wrong with an answer's rows. All but the last apply to pages after the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shift {
    /// A row was removed: the page skips one.
    Removed,
    /// A row was added: the page repeats one.
    Added,
    /// A row was added and one after the page was removed: it repeats one, and the count stays the same.
    Swapped,
    /// The previous page comes again instead.
    Repeated,
    /// Has only half of its rows, and the next page begins where it should have ended.
    Halved,
    /// Has only half of its rows, and the next page begins after those.
    Shorter,
    /// Leaves out this percentage of all rows, always the same ones, and does not count them.
    Lacking(u8),
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status { status, .. } => write!(f, "Status({status})"),
            Self::Hang => f.write_str("Hang"),
            Self::Slow(by) => write!(f, "Slow({by:?})"),
            Self::Reset => f.write_str("Reset"),
            Self::ResetInBody => f.write_str("ResetInBody"),
            Self::Drip(every) => write!(f, "Drip({every:?})"),
            Self::Truncated => f.write_str("Truncated"),
            Self::Garbage => f.write_str("Garbage"),
            Self::Html => f.write_str("Html"),
            Self::Empty => f.write_str("Empty"),
            Self::Deep => f.write_str("Deep"),
            Self::Endless => f.write_str("Endless"),
            Self::Bomb => f.write_str("Bomb"),
            Self::LyingGzip => f.write_str("LyingGzip"),
            Self::Echo(status) => write!(f, "Echo({status})"),
            Self::Quote(status, body) => write!(f, "Quote({status}, {:.60})", body.trim_start_matches('x')),
            Self::Redirect(to) => write!(f, "Redirect({to})"),
            Self::Edit(_) => f.write_str("Edit"),
            Self::Late => f.write_str("Late"),
            Self::Revoked => f.write_str("Revoked"),
            Self::Unstable(shift) => write!(f, "Unstable({shift:?})"),
        }
    }
}

impl Fault {
    pub fn status(status: u16) -> Self {
        let body = format!(r#"{{"error":{{"code":"Sandbox{status}","message":"a fault of the sandbox"}}}}"#);
        Self::Status { status, headers: Vec::new(), body }
    }

    /// A status with a `Retry-After`, in seconds or as a date.
    pub fn retry_after(status: u16, after: &str) -> Self {
        Self::status(status).with_header(RETRY_AFTER.as_str(), after)
    }

    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        if let Self::Status { headers, .. } = &mut self {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    pub fn with_body(mut self, text: &str) -> Self {
        if let Self::Status { body, .. } = &mut self {
            text.clone_into(body);
        }
        self
    }

    pub fn edit(edit: impl Fn(String) -> String + Send + Sync + 'static) -> Self {
        Self::Edit(Arc::new(edit))
    }

    /// Resource Graph only: the answer claims more rows than there are.
    pub fn short() -> Self {
        let total = r#""totalRecords":"#;
        Self::edit(move |answer| answer.replacen(total, &format!("{total}1"), 1))
    }

    /// Resource Graph only: silently leaves out this percentage of the rows.
    pub fn lacking(percent: u8) -> Self {
        Self::Unstable(Shift::Lacking(percent))
    }

    /// Resource Graph only: a 200 with its rows and also an error.
    pub fn with_error() -> Self {
        let error = json!({"code": "InternalServerError", "message": "An unexpected error occurred."});
        Self::edit_field("error", move |_| error.clone())
    }

    /// Resource Graph only: `count` is off by this much.
    pub fn miscounted(by: i64) -> Self {
        Self::edit_field("count", move |count| json!(count.as_i64().unwrap_or(0) + by))
    }

    /// Resource Graph only: sets `resultTruncated`, whether true or not.
    pub fn truncation(word: Json) -> Self {
        Self::edit_field("resultTruncated", move |_| word.clone())
    }

    /// Microsoft Graph only: the links to the next page and the next round lead to this origin.
    pub fn foreign_links(origin: &str) -> Self {
        let origin = origin.to_owned();
        Self::edit(move |answer| {
            let link = |name: &str| format!("\"@odata.{name}\":\"");
            let mut edited = answer;
            for name in [link("nextLink"), link("deltaLink")] {
                if let Some((before, rest)) = edited.split_once(&name)
                    && let Some(path) = rest.find("/v1.0/")
                {
                    edited = format!("{before}{name}{origin}{}", &rest[path..]);
                }
            }
            edited
        })
    }

    /// Edits a field of the answer.
    fn edit_field(name: &'static str, edit: impl Fn(&Json) -> Json + Send + Sync + 'static) -> Self {
        Self::edit(move |answer| {
            let Ok(mut json) = serde_json::from_str::<Json>(&answer) else { return answer };
            json[name] = edit(&json[name]);
            json.to_string()
        })
    }

    /// Whether the fault is based on the real answer.
    fn needs_answer(&self) -> bool {
        matches!(
            self,
            Self::Slow(_)
                | Self::ResetInBody
                | Self::Drip(_)
                | Self::Truncated
                | Self::LyingGzip
                | Self::Edit(_)
                | Self::Unstable(_)
        )
    }
}

/// An error that echoes the request, in a form that each of the program's readers takes as an error text.
pub(crate) fn echo(status: u16, parts: &Parts, body: &[u8]) -> Reply {
    let text = sent(parts, body);
    let body = serde_json::json!({"message": text, "error_description": text, "error_codes": [7_000_000]});
    json(StatusCode::from_u16(status).unwrap_or(StatusCode::IM_A_TEAPOT), body.to_string())
}

/// The same in a test's own words.
pub(crate) fn quote(status: u16, quoting: &str, parts: &Parts, body: &[u8]) -> Reply {
    let text = serde_json::Value::from(sent(parts, body)).to_string();
    let body = quoting.replace("SENT", text.trim_matches('"'));
    json(StatusCode::from_u16(status).unwrap_or(StatusCode::IM_A_TEAPOT), body)
}

fn sent(parts: &Parts, body: &[u8]) -> String {
    let headers = parts.headers.iter().filter(|(name, _)| *name != "content-type" && *name != "accept");
    let headers: String = headers.map(|(name, value)| format!("{name}: {value:?}; ")).collect();
    let form = String::from_utf8_lossy(body.get(..4096).unwrap_or(body)).into_owned();
    format!("Cannot {} {}; {headers}{form}", parts.method, parts.uri)
}

/// The faulty reply to a request; `answer` produces the real one.
pub(crate) async fn fail(fault: Fault, applied: bool, answer: impl Future<Output = Reply>) -> Result<Reply, HangUp> {
    let real = if fault.needs_answer() || applied { Some(answer.await) } else { None };
    Ok(match (fault, real) {
        (Fault::Status { status, headers, body }, _) => {
            let mut reply = json(StatusCode::from_u16(status).unwrap_or(StatusCode::IM_A_TEAPOT), body);
            for (name, value) in headers {
                if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                    with_header(&mut reply, name, value);
                }
            }
            reply
        }
        (Fault::Hang, _) => std::future::pending().await,
        (Fault::Reset, _) => return Err(HangUp),
        (Fault::Garbage, _) => {
            let noise: Vec<u8> = (0..4096_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
            json(StatusCode::OK, noise)
        }
        (Fault::Html, _) => {
            let page = "<!DOCTYPE html><html><body><h1>Blocked by your proxy</h1></body></html>";
            reply(StatusCode::OK, "text/html", page)
        }
        (Fault::Empty, _) => json(StatusCode::OK, ""),
        (Fault::Deep, _) => json(StatusCode::OK, r#"{"value":"#.to_owned() + &"[".repeat(200_000)),
        (Fault::Endless, _) => endless(),
        (Fault::Bomb, _) => bomb(),
        (Fault::Redirect(to), _) => {
            let mut reply = json(StatusCode::TEMPORARY_REDIRECT, "");
            if let Ok(to) = HeaderValue::try_from(to) {
                with_header(&mut reply, LOCATION, to);
            }
            reply
        }
        (Fault::Slow(by), Some(real)) => {
            tokio::time::sleep(by).await;
            real
        }
        (Fault::ResetInBody, Some(real)) => {
            let (head, body) = taken(real).await;
            let half = body.slice(..body.len() / 2);
            let frames = stream::once(async { Ok(Frame::data(half)) }).chain(stream::once(async {
                // Otherwise the first half would not be sent.
                tokio::time::sleep(Duration::from_millis(5)).await;
                Err(io::Error::other("reset"))
            }));
            streamed(head, frames)
        }
        (Fault::Drip(every), Some(real)) => {
            let (head, body) = taken(real).await;
            let drops = stream::unfold(0, move |at| {
                let body = body.clone();
                async move {
                    tokio::time::sleep(every).await;
                    (at < body.len()).then(|| (Ok(Frame::data(body.slice(at..=at))), at + 1))
                }
            });
            streamed(head, drops)
        }
        (Fault::Truncated, Some(real)) => {
            let (head, body) = taken(real).await;
            Response::from_parts(head, Either::Left(Full::new(body.slice(..body.len() / 2))))
        }
        (Fault::LyingGzip, Some(mut real)) => {
            with_header(&mut real, CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            real
        }
        (Fault::Edit(edit), Some(real)) => {
            let (head, body) = taken(real).await;
            let edited = edit(String::from_utf8_lossy(&body).into_owned());
            Response::from_parts(head, Either::Left(Full::new(Bytes::from(edited))))
        }
        (_, Some(real)) => real,
        (_, None) => return Err(HangUp),
    })
}

async fn taken(real: Reply) -> (hyper::http::response::Parts, Bytes) {
    let (mut head, body) = real.into_parts();
    head.headers.remove(CONTENT_LENGTH);
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    (head, body)
}

fn streamed(
    head: hyper::http::response::Parts,
    frames: impl futures::Stream<Item = io::Result<Frame<Bytes>>> + Send + 'static,
) -> Reply {
    Response::from_parts(head, Either::Right(StreamBody::new(frames).boxed_unsync()))
}

fn endless() -> Reply {
    let (head, _) = json(StatusCode::OK, "").into_parts();
    let chunk = Bytes::from(vec![b' '; 64 * 1024]);
    let frames = stream::unfold(true, move |first| {
        let chunk = if first { Bytes::from_static(br#"{"value":["#) } else { chunk.clone() };
        async move { Some((Ok(Frame::data(chunk)), false)) }
    });
    streamed(head, frames)
}

fn bomb() -> Reply {
    let mut large = br#"{"value":["#.to_vec();
    large.resize(64 << 20, b' ');
    let mut bomb = json(StatusCode::OK, gzip(&large));
    with_header(&mut bomb, CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    bomb
}
