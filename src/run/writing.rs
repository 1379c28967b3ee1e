//! Where a run writes to: Port's API, Port's webhook, or an output in place of either.

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::sync::Arc;

use super::problems::Shortfall;
use super::{Estate, Mapped, Run, RunError, Work};
use crate::config::{AzureConfig, Config, DryRun, Payload, PortConfig};
use crate::engine::{AnySink, Delivery, Replica};
use crate::error::Stop;
use crate::mapping::Unmade;
use crate::model::{Change, Names};
use crate::port::Port;
use crate::report::Compared;
use crate::sinks::entities::{self, Entities, Form, Unmapped};
use crate::sinks::preview::Preview;
use crate::sinks::webhook::{self, Envelope, Proof, Webhook};
use crate::text::Neutralized;

/// Which catalog a run writes to; `None` where a dry run was told of none.
pub(crate) fn catalog(config: &Config) -> Option<String> {
    let (tenant, port) = (config.azure.tenant_id.as_str(), &config.port);
    match &port.mapping_file {
        Some(_) => port.api.as_ref().map(|api| entities::identity(tenant, api)),
        None => port.ingest_url.as_ref().map(|url| webhook::identity(tenant, port, url.expose())),
    }
}

impl<S: Future<Output = Stop>> Run<'_, S> {
    /// Writes to the sink that the settings name.
    pub(super) async fn go(&self) -> Result<(), RunError> {
        match &self.mapped {
            Some(mapped) => Box::pin(self.write_entities(mapped)).await,
            None => Box::pin(self.post_envelopes()).await,
        }
    }

    /// Posts envelopes to Port's webhook, or prints them.
    async fn post_envelopes(&self) -> Result<(), RunError> {
        let proof = self.proof().await?;
        let AzureConfig { tenant_id, .. } = &self.config.azure;
        let port = &self.config.port;
        match &port.ingest_url {
            Some(url) if self.config.dry_run.is_none() => {
                let webhook = Webhook::new(tenant_id, port, url, &self.http)?.proven_by(proof);
                self.sync(&webhook).await.map(drop)
            }
            _ => {
                let line = |envelope: &Envelope| [&webhook::line(envelope)[..], b"\n"].concat().into();
                let preview = Preview::new(self.catalog(), |change, _| Envelope::new(change), line, self.output());
                self.sync(&preview).await.map(drop)
            }
        }
    }

    /// Reads each source that is to be synced, side by side. One that fails stops no other. What Azure says that there is, where it
    /// was read.
    pub(super) async fn sync(&self, sink: &dyn AnySink) -> Result<Option<Estate>, RunError> {
        self.report().notes.extend(self.note_workflow());
        if *self.work == Work::Sync {
            self.report().checkpoint = self.config.checkpoint.as_ref().map(|checkpoint| checkpoint.file.clone());
        }
        let longest_throttle = self.config.run_timeout.unwrap_or(self.config.limits.longest_throttle);
        let delivery = Delivery::new(sink, self.config.limits.patience(), longest_throttle);
        let resources = Box::pin(self.sync_resources(&delivery));
        let entra = Box::pin(self.sync_entra(&delivery));
        let (estate, entra) = tokio::join!(resources, entra);
        let mut report = self.report();
        let entra = entra.and_then(|beside| {
            let Some(beside) = beside else { return Ok(()) };
            report.merge(beside);
            self.check_stop()
        });
        report.retried += delivery.retried();
        report.closed |= delivery.is_closed();
        if let Some(start) = report.start.filter(|_| self.replica.remembers()) {
            let totals = self.replica.totals()?;
            report.compared = Some(Compared { held: totals.held, in_doubt: totals.in_doubt });
            self.replica.set_last_run(self.with_workflows(&report.account(start)));
        }
        match (estate, entra) {
            (Err(error), Err(other)) if !matches!(error, RunError::Stopped(_)) => {
                report.fail(&error);
                Err(other)
            }
            (Err(error), _) | (_, Err(error)) => Err(error),
            (Ok(estate), Ok(())) => Ok(estate),
        }
    }

    /// What posts to the webhook are held against, where that was asked for.
    async fn proof(&self) -> Result<Option<Proof>, RunError> {
        let config = &self.config.port;
        let (Some(verify), Some(url), Some(api)) = (config.verify, &config.ingest_url, &config.api) else {
            return Ok(None);
        };
        let port = Port::new(api, &self.config.azure.tenant_id, Arc::clone(&self.http))?;
        let proof = Proof::begin(port, config, url, verify).await?;
        self.report().notes.extend_from_slice(proof.notes());
        Ok(Some(proof))
    }

    /// Writes entities over Port's API, or prints them.
    async fn write_entities(&self, mapped: &Mapped) -> Result<(), RunError> {
        let AzureConfig { tenant_id, .. } = &self.config.azure;
        let api = self.config.port.api.as_ref();
        let form = Form::new(Arc::clone(&mapped.mapping));
        let prune = self.config.prune.filter(|_| *self.work == Work::Sync);
        let form = Arc::new(if prune.is_some() { form.remembering() } else { form });
        match api.filter(|_| self.config.dry_run.is_none()) {
            Some(api) => {
                let port = Port::new(api, tenant_id, Arc::clone(&self.http))?;
                port.sign_in().await?;
                let entities = Entities::new(&port, Arc::clone(&form), self.catalog());
                let estate = self.sync(&entities).await?;
                if let Some((limit, estate)) = prune.zip(estate) {
                    Box::pin(self.prune(limit, &port, &form, &estate)).await;
                }
            }
            None => {
                let render = |change: Change, known: &Names| form.render(change, known);
                let preview = Preview::new(self.catalog(), render, entities::lines, self.output());
                let estate = self.sync(&preview).await?;
                if let Some(((limit, api), estate)) = prune.zip(api).zip(estate) {
                    let port = Port::new(api, tenant_id, Arc::clone(&self.http))?;
                    Box::pin(self.prune(limit, &port, &form, &estate)).await;
                }
            }
        }
        self.tell_unmapped(&form);
        Ok(())
    }

    /// Tells of rows of which no entity came.
    fn tell_unmapped(&self, form: &Form) {
        let Unmapped { unmade: Unmade { dropped, failed, first }, unnamed } = form.unmapped();
        let mut report = self.report();
        if dropped > 0 {
            report.notes.push(format!(
                "{dropped} entities of the mapping have no identifier or no blueprint, and were left out"
            ));
        }
        if unnamed > 0 {
            report.notes.push(format!(
                "{unnamed} deletes could not be made: what is left of the resources does not give their identifiers"
            ));
        }
        if failed > 0 {
            report.fail(&Shortfall::Unmapped { rows: failed, first: first.unwrap_or_default() });
        }
    }

    /// A dry run that was told of no catalog goes by that of the checkpoint.
    fn catalog(&self) -> String {
        catalog(self.config).or_else(|| self.replica.terms().map(|was| was.sink)).unwrap_or_default()
    }

    /// Where a dry run prints.
    pub(super) fn output(&self) -> Box<dyn Write + Send> {
        match self.config.dry_run {
            Some(DryRun::Counts) => Box::new(io::sink()),
            Some(DryRun::Envelopes) | None => Box::new(Neutralized(io::stdout())),
        }
    }
}

/// How many pages are read ahead of the posts. Posted one by one, a page takes as long as ten queries, and more of them would
/// only wait, in memory. Posted in lists, it takes as long as a query: the quota's 15 then read ten thousand rows in one go,
/// these and the look, the records and the containers.
pub(super) fn pages_at_once(port: &PortConfig) -> NonZeroUsize {
    const FEW: NonZeroUsize = NonZeroUsize::new(2).unwrap();
    const MANY: NonZeroUsize = NonZeroUsize::new(11).unwrap();
    match port.payload {
        Payload::Batch if port.mapping_file.is_none() => MANY,
        Payload::Single | Payload::Batch => FEW,
    }
}
