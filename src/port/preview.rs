//! A dry run: envelopes go to an output as JSON lines, in the order in which they would be posted, and nowhere else.

use std::io::{self, ErrorKind, Write};

use tokio::sync::{mpsc, oneshot};

use super::envelope::{self, CHUNK};
use super::webhook::Outcome;
use crate::config::Payload;
use crate::sync::change::Change;
use crate::sync::outbox::Block;

/// The output cannot take the envelopes.
#[derive(Debug, thiserror::Error)]
#[error("the envelopes cannot be written: {0}")]
pub(crate) struct PreviewError(io::Error);

/// Writes blocks as they come, and tells `record` of each envelope. It ends early when the reader of the output has gone, which
/// is no error, or when `stop` is ready.
pub(crate) async fn deliver(
    mut blocks: mpsc::Receiver<Block>,
    stop: impl Future,
    mut record: impl FnMut(&Change, &Outcome),
    output: impl Write + Send + 'static,
) -> Result<(), PreviewError> {
    let (lines, written) = write_behind(output);
    let pump = async {
        while let Some(block) = blocks.recv().await {
            for chunk in block.changes.chunks(CHUNK) {
                let mut text = Vec::new();
                for change in chunk {
                    text.extend_from_slice(&envelope::body(Payload::Single, std::slice::from_ref(change)));
                    text.push(b'\n');
                }
                if lines.send(text).await.is_err() {
                    return;
                }
                for change in chunk {
                    record(change, &Outcome::Accepted);
                }
            }
        }
    };
    tokio::select! {
        () = pump => {}
        // What is being written may wait for a reader that does not read.
        _ = stop => return Ok(()),
    }
    drop(lines);
    match written.await {
        Ok(Err(error)) if error.kind() != ErrorKind::BrokenPipe => Err(PreviewError(error)),
        _ => Ok(()),
    }
}

/// Takes chunks of lines for a thread that writes them, so that a slow reader holds up nothing but the envelopes; and tells how
/// that ended. The thread is nobody's to wait for: the program may end while it hangs.
fn write_behind(mut output: impl Write + Send + 'static) -> (mpsc::Sender<Vec<u8>>, oneshot::Receiver<io::Result<()>>) {
    let (lines, mut waiting) = mpsc::channel::<Vec<u8>>(1);
    let (done, written) = oneshot::channel();
    std::thread::spawn(move || {
        let mut write = || {
            while let Some(text) = waiting.blocking_recv() {
                output.write_all(&text)?;
                output.flush()?;
            }
            Ok(())
        };
        let result = write();
        drop(waiting);
        _ = done.send(result);
    });
    (lines, written)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::azure::graph::Row;
    use crate::sync::outbox::Rank;

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

    fn changes(count: usize) -> Vec<Change> {
        let row = |name| format!(r#"{{"resourceId":"/subscriptions/s/{name}","type":"a/b"}}"#);
        (0..count).map(|name| Change::parse(row(name).into()).unwrap()).collect()
    }

    async fn preview(output: Output, count: usize) -> (Result<(), PreviewError>, usize) {
        let (sender, blocks) = mpsc::channel(2);
        let feed = async move {
            for change in changes(count) {
                if sender.send(Block { rank: Rank::Resources, changes: vec![change] }).await.is_err() {
                    break;
                }
            }
        };
        let mut recorded = 0;
        let deliver = deliver(blocks, std::future::pending::<()>(), |_, _| recorded += 1, output);
        let (result, ()) = tokio::join!(deliver, feed);
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
            assert_eq!(envelope["data"]["resourceId"], format!("/subscriptions/s/{place}"));
        }
        assert_eq!(text.lines().count(), 250);
    }

    #[tokio::test]
    async fn a_reader_that_has_gone_is_no_error_and_ends_the_run() {
        let (result, recorded) =
            preview(Output { broken: Some(ErrorKind::BrokenPipe), ..Output::default() }, 250).await;
        assert!(result.is_ok());
        assert!(recorded < 250);
    }

    #[tokio::test]
    async fn a_full_disk_is_an_error() {
        let (result, _) = preview(Output { broken: Some(ErrorKind::StorageFull), ..Output::default() }, 5).await;
        assert!(result.unwrap_err().to_string().contains("cannot be written"));
    }
}
