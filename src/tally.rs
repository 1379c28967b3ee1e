//! What became of the envelopes of a run.

use crate::error::RunError;
use crate::port::dead_letter::DeadLetters;
use crate::port::webhook::Outcome;
use crate::report::Report;
use crate::sync::change::{Change, Operation};
use crate::sync::ledger::Fate;
use crate::text::printable;

/// Refused so often in a row, it is the webhook that is wrong and not the envelopes.
const REFUSED_IN_A_ROW: u64 = 10;

/// Counts envelopes, and keeps those that were refused.
#[derive(Debug)]
pub(crate) struct Tally {
    dead_letters: Option<DeadLetters>,
    upserts: u64,
    deletes: u64,
    refused: u64,
    failed: u64,
    refused_in_a_row: u64,
    webhook_is_wrong: bool,
}

impl Tally {
    pub(crate) fn new(dead_letters: Option<DeadLetters>) -> Self {
        Self {
            dead_letters,
            upserts: 0,
            deletes: 0,
            refused: 0,
            failed: 0,
            refused_in_a_row: 0,
            webhook_is_wrong: false,
        }
    }

    /// Counts an outcome, and tells what is to be remembered of it.
    pub(crate) fn record(&mut self, change: &Change, outcome: &Outcome) -> Fate {
        match outcome {
            Outcome::Accepted => {
                self.refused_in_a_row = 0;
                match change.operation {
                    Operation::Upsert => self.upserts += 1,
                    Operation::Delete => self.deletes += 1,
                }
                Fate::Accepted
            }
            Outcome::Refused(error) => {
                self.refused += 1;
                self.refused_in_a_row += 1;
                self.webhook_is_wrong |= self.refused_in_a_row >= REFUSED_IN_A_ROW;
                tracing::error!("refused: {}: {error}", printable(&change.resource_id()));
                match self.dead_letters.as_mut().map(|letters| letters.write(change, error)) {
                    Some(Err(error)) => {
                        tracing::error!("{error}");
                        Fate::Failed
                    }
                    _ => Fate::Refused,
                }
            }
            Outcome::Failed(error) => {
                self.failed += 1;
                tracing::error!("not delivered: {}: {error}", printable(&change.resource_id()));
                Fate::Failed
            }
        }
    }

    /// Whether what was refused may be taken for refused: the webhook itself is right.
    pub(crate) fn is_trustworthy(&self) -> bool {
        self.refused == 0 || !(self.webhook_is_wrong || self.upserts + self.deletes == 0)
    }

    /// Adds it all to the report. Envelopes that Port refused in an earlier run, and that were found again, are refused too.
    pub(crate) fn conclude(&self, still_refused: u64, report: &mut Report) {
        report.upserts = self.upserts;
        report.deletes = self.deletes;
        report.failed = self.refused + self.failed + still_refused;
        if self.failed > 0 {
            report.fail(&RunError::NotDelivered(self.failed));
        }
        if !self.is_trustworthy() {
            report.fail(&RunError::AllRefused(self.refused));
        } else if self.refused > 0 {
            report.fail(&RunError::EnvelopesRefused(self.refused));
        }
        if still_refused > 0 {
            report.fail(&RunError::StillRefused(still_refused));
        }
    }
}
