//! Where a run writes to: Port's API, Port's webhook, or an output in place of either.

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::sync::Arc;

use super::mapped::{Mapped, tell_unmapped};
use super::{Estate, Run, RunError, Work};
use crate::config::{AzureConfig, Config, DryRun, Payload, PortConfig};
use crate::engine::{AnySink, Delivery, Replica};
use crate::error::Stop;
use crate::model::{Change, Names};
use crate::port::Port;
use crate::report::{Compared, Report};
use crate::sinks::entities::{self, Entities, Form};
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
    pub(super) async fn go(&self, report: &mut Report) -> Result<(), RunError> {
        match &self.mapped {
            Some(mapped) => Box::pin(self.write_entities(mapped, report)).await,
            None => Box::pin(self.post_envelopes(report)).await,
        }
    }

    /// Posts envelopes to Port's webhook, or prints them.
    async fn post_envelopes(&self, report: &mut Report) -> Result<(), RunError> {
        let proof = self.proof(report).await?;
        let AzureConfig { tenant_id, .. } = &self.config.azure;
        let port = &self.config.port;
        match &port.ingest_url {
            Some(url) if self.config.dry_run.is_none() => {
                let webhook = Webhook::new(tenant_id, port, url, &self.http)?.proven_by(proof);
                self.sync(&webhook, report).await.map(drop)
            }
            _ => {
                let line = |envelope: &Envelope| [&webhook::line(envelope)[..], b"\n"].concat().into();
                let preview = Preview::new(self.catalog(), |change, _| Envelope::new(change), line, self.output());
                self.sync(&preview, report).await.map(drop)
            }
        }
    }

    /// Reads each source that is to be synced, side by side. One that fails stops no other. What Azure says that there is, where it
    /// was read.
    pub(super) async fn sync(&self, sink: &dyn AnySink, report: &mut Report) -> Result<Option<Estate>, RunError> {
        report.notes.extend(self.note_workflow());
        if *self.work == Work::Sync {
            report.checkpoint = self.config.checkpoint.as_ref().map(|checkpoint| checkpoint.file.clone());
        }
        let longest_throttle = self.config.run_timeout.unwrap_or(self.config.limits.longest_throttle);
        let delivery = Delivery::new(sink, self.config.limits.patience(), longest_throttle);
        let mut beside = Report::new(self.config.mode.name());
        beside.dry_run = report.dry_run;
        let resources = async {
            if !self.has_resources() {
                return Ok(None);
            }
            let estate = self.discover(report).await?;
            Box::pin(self.transfer(sink, &delivery, &estate, report)).await?;
            Ok(Some(estate))
        };
        let entra = async {
            if self.has_entra() { Box::pin(self.sync_entra(sink, &delivery, &mut beside)).await } else { Ok(()) }
        };
        let (estate, entra) = tokio::join!(Box::pin(resources), Box::pin(entra));
        report.merge(beside);
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
    async fn proof(&self, report: &mut Report) -> Result<Option<Proof>, RunError> {
        let config = &self.config.port;
        let (Some(verify), Some(url), Some(api)) = (config.verify, &config.ingest_url, &config.api) else {
            return Ok(None);
        };
        let port = Port::new(api, &self.config.azure.tenant_id, Arc::clone(&self.http))?;
        let proof = Proof::begin(port, config, url, verify).await?;
        report.notes.extend_from_slice(proof.notes());
        Ok(Some(proof))
    }

    /// Writes entities over Port's API, or prints them.
    async fn write_entities(&self, mapped: &Mapped, report: &mut Report) -> Result<(), RunError> {
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
                let estate = self.sync(&entities, report).await?;
                if let Some((limit, estate)) = prune.zip(estate) {
                    Box::pin(self.prune(limit, &port, &form, &estate, report)).await;
                }
            }
            None => {
                let render = |change: Change, known: &Names| form.render(change, known);
                let preview = Preview::new(self.catalog(), render, entities::lines, self.output());
                let estate = self.sync(&preview, report).await?;
                if let Some(((limit, api), estate)) = prune.zip(api).zip(estate) {
                    let port = Port::new(api, tenant_id, Arc::clone(&self.http))?;
                    Box::pin(self.prune(limit, &port, &form, &estate, report)).await;
                }
            }
        }
        tell_unmapped(&form, report);
        Ok(())
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
