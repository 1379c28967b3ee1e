//! When a request is on its way. With HTTP/2 many share a connection, which takes so many at once as the server says: the others
//! wait in the client, and no time that an answer has begins until their turn.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::Reason;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::oneshot;

/// A body that tells when it is first asked for, which is once its request has a connection, or a stream of one.
pub(super) struct Announced {
    bytes: Option<Bytes>,
    asked: Option<oneshot::Sender<()>>,
}

impl Announced {
    /// The body, and what is ready once it is asked for or given up.
    pub(super) fn new(bytes: Bytes) -> (Self, oneshot::Receiver<()>) {
        let (asked, is_asked) = oneshot::channel();
        (Self { bytes: Some(bytes), asked: Some(asked) }, is_asked)
    }
}

impl Body for Announced {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        // Nobody waits for it any more if it was given up.
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

/// Whether the server did nothing with the request, and says so: it takes fewer at once than it was sent before it said how
/// many, or closes the connection in good order (RFC 9113, section 8.7). The client cannot send such a body again by itself.
pub(super) fn is_refused(error: &reqwest::Error) -> bool {
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
