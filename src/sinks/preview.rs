//! A dry run: writes parcels to an output as JSON lines, in the order in which they would be posted.

use std::io::{self, ErrorKind, Write};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::engine::{Fault, Limits, Parcel, Receipt, Sink, SinkError};
use crate::error::{Exit, Problem};
use crate::model::{Change, Names};

/// Lines per write.
const CHUNK: usize = 100;

/// The output cannot be written to.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot write the envelopes: {0}")]
pub(crate) struct PreviewError(Arc<io::Error>);

/// Renders a change as a sink's parcel.
type Render<'a, P> = dyn Fn(Change, &Names) -> P + 'a;

/// An output in place of a sink, with the sink's parcels and identity.
pub(crate) struct Preview<'a, P> {
    identity: String,
    render: Box<Render<'a, P>>,
    lines: fn(&P) -> Bytes,
    chunks: mpsc::Sender<Chunk>,
}

/// Lines to write, and the channel that reports the result.
struct Chunk {
    text: Vec<u8>,
    written: oneshot::Sender<io::Result<()>>,
}

impl<'a, P> Preview<'a, P> {
    /// Previews the sink with this identity: `render` makes its parcels, and `lines` what is printed of each.
    pub(crate) fn new(
        identity: String,
        render: impl Fn(Change, &Names) -> P + 'a,
        lines: fn(&P) -> Bytes,
        output: impl Write + Send + 'static,
    ) -> Self {
        Self { identity, render: Box::new(render), lines, chunks: write_behind(output) }
    }
}

impl<P: Parcel> Sink for Preview<'_, P> {
    type Parcel = P;
    type Error = PreviewError;

    fn name(&self) -> &'static str {
        "the output"
    }

    fn identity(&self) -> String {
        self.identity.clone()
    }

    fn limits(&self) -> Limits {
        // No `landing`: a write may block forever if nobody reads the output.
        let parcels = NonZeroUsize::new(CHUNK).unwrap_or(NonZeroUsize::MIN);
        Limits { in_flight: NonZeroUsize::MIN, parcels, deletes: parcels, bytes: usize::MAX, landing: Duration::ZERO }
    }

    async fn render(&self, changes: Vec<(Change, Names)>) -> Vec<P> {
        changes.into_iter().map(|(change, known)| (self.render)(change, &known)).collect()
    }

    async fn send(&self, parcels: &[&P], _delivery: Uuid) -> Result<Receipt<PreviewError>, PreviewError> {
        let mut text = Vec::new();
        for parcel in parcels {
            text.extend_from_slice(&(self.lines)(parcel));
        }
        let (written, result) = oneshot::channel();
        // The writer stops at its first error and reports it only to the chunk it was writing.
        let gone = || io::Error::from(ErrorKind::BrokenPipe);
        let result = match self.chunks.send(Chunk { text, written }).await {
            Ok(()) => result.await.unwrap_or_else(|_| Err(gone())),
            Err(_) => Err(gone()),
        };
        result.map_err(|error| PreviewError(Arc::new(error)))?;
        Ok(vec![Ok(()); parcels.len()].into())
    }
}

impl Problem for PreviewError {
    fn exit(&self) -> Exit {
        match self.fault() {
            Fault::Closed => Exit::Ok,
            _ => Exit::Failed,
        }
    }
}

impl SinkError for PreviewError {
    fn fault(&self) -> Fault {
        match self.0.kind() {
            ErrorKind::BrokenPipe => Fault::Closed,
            _ => Fault::Broken,
        }
    }
}

/// Writes chunks of lines on a separate thread, so that a slow reader delays only the envelopes. The thread is never
/// joined: the program may exit while a write hangs.
fn write_behind(mut output: impl Write + Send + 'static) -> mpsc::Sender<Chunk> {
    let (chunks, mut waiting) = mpsc::channel::<Chunk>(1);
    std::thread::spawn(move || {
        while let Some(Chunk { text, written }) = waiting.blocking_recv() {
            let result = output.write_all(&text).and_then(|()| output.flush());
            let has_failed = result.is_err();
            // The run may already have ended.
            _ = written.send(result);
            if has_failed {
                break;
            }
        }
    });
    chunks
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::engine::{Content, ContentHasher, Delivered, Delivery, DeliveryError, Order, Rendered, Wave};
    use crate::model::{Id, Operation};
    use crate::retry::Patience;

    #[derive(Clone, Default)]
    struct Output {
        text: Arc<Mutex<Vec<u8>>>,
        broken: Option<ErrorKind>,
    }

    impl Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.broken {
                Some(kind) => Err(kind.into()),
                None => self.text.lock().unwrap().write(bytes),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Row(Change);

    impl Parcel for Row {
        fn change(&self) -> &Change {
            &self.0
        }

        fn content(&self, _: &ContentHasher) -> Content {
            Content(0)
        }

        fn size(&self) -> usize {
            self.0.row.len()
        }

        fn letter(&self) -> Bytes {
            self.0.row.clone()
        }
    }

    fn rows(count: usize) -> Vec<Row> {
        let change = |name| Change {
            id: Id::new(format!("/s/{name}"), 2, 2).unwrap(),
            operation: Operation::Upsert,
            label: "resource",
            kind: "a/b".into(),
            changed_at: None,
            actor: None,
            row: format!(r#"{{"resourceId":"/s/{name}"}}"#).into(),
        };
        (0..count).map(|name| Row(change(name))).collect()
    }

    const PATIENCE: Patience = Patience {
        retries: 0,
        first: Duration::ZERO,
        longest: Duration::ZERO,
        longest_asked: Duration::ZERO,
        deadline: None,
    };

    async fn preview(output: impl Write + Send + 'static, count: usize) -> (Result<(), DeliveryError>, usize) {
        let sink =
            Preview::new("x".into(), |change, _| Row(change), |row| [&row.0.row[..], b"\n"].concat().into(), output);
        let (sender, orders) = mpsc::channel(2);
        let feed = async move {
            for row in rows(count) {
                if sender.send(Order::Post { wave: Wave::Leaves, parcels: vec![Box::new(row)] }).await.is_err() {
                    break;
                }
            }
        };
        let mut recorded = 0;
        let delivery = Delivery::new(&sink, PATIENCE, Duration::MAX);
        let record = |_, outcome| recorded += usize::from(matches!(outcome, Delivered::Accepted));
        let (result, ()) = tokio::join!(delivery.run(orders, std::future::pending::<()>(), record), feed);
        (result, recorded)
    }

    #[tokio::test]
    async fn every_envelope_is_a_line_in_its_order() {
        let output = Output::default();
        let (result, recorded) = preview(output.clone(), 250).await;
        assert!(result.is_ok());
        assert_eq!(recorded, 250);
        let text = String::from_utf8(output.text.lock().unwrap().clone()).unwrap();
        for (place, line) in text.lines().enumerate() {
            let envelope: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(envelope["resourceId"], format!("/s/{place}"));
        }
        assert_eq!(text.lines().count(), 250);
    }

    #[tokio::test]
    async fn a_reader_that_has_gone_is_no_error_and_ends_the_run() {
        let (result, recorded) =
            preview(Output { broken: Some(ErrorKind::BrokenPipe), ..Output::default() }, 250).await;
        assert!(result.is_ok());
        assert_eq!(recorded, 0);
    }

    #[tokio::test]
    async fn a_full_disk_is_an_error() {
        let (result, _) = preview(Output { broken: Some(ErrorKind::StorageFull), ..Output::default() }, 5).await;
        let error = result.unwrap_err();
        assert!(error.to_string().contains("cannot write"));
        assert_eq!(error.exit(), Exit::Failed);
    }

    /// An output whose reader never reads.
    struct Stuck;

    impl Write for Stuck {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            std::thread::sleep(Duration::from_secs(3600));
            Ok(0)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_reader_that_does_not_read_holds_up_no_end() {
        let sink = Preview::new("x".into(), |change, _| Row(change), |row| row.0.row.clone(), Stuck);
        let (sender, orders) = mpsc::channel(2);
        sender
            .send(Order::Post {
                wave: Wave::Leaves,
                parcels: rows(3).into_iter().map(|row| -> Rendered { Box::new(row) }).collect(),
            })
            .await
            .unwrap();
        let stop = tokio::time::sleep(Duration::from_millis(20));
        let delivery = Delivery::new(&sink, PATIENCE, Duration::MAX);
        let run = delivery.run(orders, stop, |_, _| panic!("nothing is written"));
        tokio::time::timeout(Duration::from_secs(5), run).await.unwrap().unwrap();
    }
}
