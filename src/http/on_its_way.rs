//! When a request is really sent. With HTTP/2, many requests share a connection, which takes as many at once as the
//! server allows. The others wait in the client, and their timeouts do not start until their turn.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::num::NonZeroUsize;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::Reason;
use http_body::{Body, Frame, SizeHint};
use reqwest::RequestBuilder;
use tokio::sync::oneshot;

use super::{Answer, Failure, Http};

/// How often a server may turn a request away unprocessed before that counts as a failure.
const MOST_REFUSALS: u32 = 3;

impl Http {
    /// One attempt at a post among many concurrent ones: its timeout starts when it is sent. Those ahead of it on the
    /// same connection may each take as long. `request` makes it, without its body.
    pub(crate) async fn attempt_post(
        &self,
        request: impl Fn() -> RequestBuilder,
        body: Bytes,
        side_by_side: NonZeroUsize,
        largest: usize,
    ) -> Result<Answer, Failure> {
        let timeout = self.limits.post_timeout;
        let longest = timeout.saturating_mul(u32::try_from(side_by_side.get()).unwrap_or(u32::MAX));
        let mut refusals = 0..MOST_REFUSALS;
        loop {
            let may_be_refused = refusals.next().is_some();
            let (body, is_on_its_way) = Announced::new(body.clone());
            let request = request().body(reqwest::Body::wrap(body));
            let mut exchange = pin!(async {
                match request.send().await {
                    Err(error) if may_be_refused && is_refused(&error) => Ok(None),
                    sent => self.received(sent, timeout, largest).await.map(Some),
                }
            });
            let result = tokio::select! {
                biased;
                result = &mut exchange => result,
                waited = tokio::time::timeout(longest, is_on_its_way) => match waited {
                    Ok(_) => tokio::time::timeout(timeout, exchange).await.unwrap_or(Err(Failure::Timeout(timeout))),
                    Err(_) => Err(Failure::Timeout(longest)),
                },
            };
            if let Some(packed) = result? {
                return packed.unpack();
            }
        }
    }
}

/// A body that signals when it is first polled, which is when its request has a connection, or a stream of one.
struct Announced {
    bytes: Option<Bytes>,
    asked: Option<oneshot::Sender<()>>,
}

impl Announced {
    /// The body, and a receiver that completes when the body is polled or dropped.
    fn new(bytes: Bytes) -> (Self, oneshot::Receiver<()>) {
        let (asked, is_asked) = oneshot::channel();
        (Self { bytes: Some(bytes), asked: Some(asked) }, is_asked)
    }
}

impl Body for Announced {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        // The receiver is gone if the attempt was given up.
        _ = self.asked.take().map(|asked| asked.send(()));
        Poll::Ready(self.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

/// Whether the server says that it did nothing with the request: it was sent more at once than it takes before it could
/// say so, or it closes the connection gracefully (RFC 9113, section 8.7). The client cannot resend such a body by
/// itself.
fn is_refused(error: &reqwest::Error) -> bool {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(error) = cause.downcast_ref::<h2::Error>() {
            let is_refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
            let is_closed = error.is_go_away() && error.reason() == Some(Reason::NO_ERROR);
            return error.is_remote() && (is_refused || is_closed);
        }
        source = cause.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::config::{Limits, NetworkConfig};

    /// Posts to a server that refuses this many streams and then answers. Returns the result, and how many it saw.
    #[expect(clippy::default_trait_access, reason = "the crate of the response is no dependency")]
    async fn posted(refused: usize) -> (Result<Answer, Failure>, usize) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let client = crate::http::bare().no_proxy().http2_prior_knowledge().build().unwrap();
        let http = Http::new(1, Limits::default(), NetworkConfig::default()).unwrap();
        let mut seen = 0;
        let serve = async {
            let mut connection = h2::server::handshake(listener.accept().await.unwrap().0).await.unwrap();
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                assert_eq!(request.headers()["content-length"], "5");
                seen += 1;
                if seen <= refused {
                    respond.send_reset(Reason::REFUSED_STREAM);
                } else {
                    respond.send_response(Default::default(), true).unwrap();
                }
            }
        };
        let post = http.attempt_post(|| client.post(&url), Bytes::from_static(b"hello"), NonZeroUsize::MIN, 100);
        let result = tokio::select! {
            result = post => result,
            () = serve => unreachable!("the client keeps the connection"),
        };
        (result, seen)
    }

    #[tokio::test]
    async fn what_a_server_refuses_to_look_at_is_sent_again_at_once_a_few_times() {
        for refused in [0, 1, 3] {
            let (result, seen) = posted(refused).await;
            assert_eq!((result.map(|answer| answer.status.as_u16()).ok(), seen), (Some(200), refused + 1));
        }
        let (result, seen) = posted(4).await;
        assert!(matches!(result, Err(Failure::Interrupted(_))));
        assert_eq!(seen, 4);
    }
}
