//! What makes entities of rows: the file of the mapping, read before anything is asked.

use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::RunError;
use super::problems::MappingError;
use crate::config::{self, Entra, EntraKind, EntraMember, ScopeTerms, those_of};
use crate::mapping::{Columns, Kind, Mapping};

/// The largest file that is read.
const LARGEST: u64 = 4 << 20;

/// A mapping, and a hash of the file that it is from.
pub(crate) struct Mapped {
    pub(crate) mapping: Arc<Mapping>,
    hash: String,
}

impl Mapped {
    pub(crate) fn read(file: &Path) -> Result<Self, RunError> {
        Self::of(file).map_err(|source| RunError::Mapping { file: file.to_owned(), source })
    }

    fn of(file: &Path) -> Result<Self, MappingError> {
        if std::fs::metadata(file)?.len() > LARGEST {
            return Err(MappingError::TooLarge(LARGEST));
        }
        let text = std::fs::read_to_string(file)?;
        let mapping = Mapping::parse(&text).map_err(MappingError::Malformed)?;
        let hash = Sha256::digest(&text).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { mapping: Arc::new(mapping), hash })
    }

    /// The scope, with the columns that the mapping reads.
    pub(crate) fn scope(mapped: Option<&Self>, scope: &config::Scope) -> config::Scope {
        match mapped {
            Some(mapped) => config::Scope { columns: mapped.columns(), ..scope.clone() },
            None => scope.clone(),
        }
    }

    /// The scope as a checkpoint remembers it.
    pub(crate) fn terms(mapped: Option<&Self>, scope: &config::Scope) -> ScopeTerms {
        ScopeTerms::of(scope).mapped_by(mapped.map(|mapped| mapped.hash.clone()))
    }

    /// What of Entra ID is synced: what a mapping makes entities of, or what the settings name.
    pub(crate) fn entra(mapped: Option<&Self>, entra: Option<&Entra>) -> Entra {
        let entra = entra.cloned();
        let Some(Self { mapping, .. }) = mapped else { return entra.unwrap_or_default() };
        let Some(entra) = entra else { return Entra::default() };
        let of = |kind| match kind {
            EntraKind::User | EntraKind::SignIn | EntraKind::Membership => Kind::User,
            EntraKind::Group => Kind::Group,
            EntraKind::Application => Kind::Application,
            EntraKind::ServicePrincipal => Kind::ServicePrincipal,
        };
        let kinds = EntraKind::ALL.into_iter().filter(|kind| mapping.has(of(*kind)));
        let more = kinds.clone().filter_map(|kind| match mapping.columns(of(kind)) {
            Columns::All => None,
            Columns::Names(names) => Some((kind, names)),
        });
        Entra { kinds: kinds.collect(), more: more.collect(), member: EntraMember::Object, ..entra }
    }

    /// Whether anything is made of Azure's resources.
    pub(crate) fn has_resources(mapped: Option<&Self>) -> bool {
        mapped.is_none_or(|mapped| Kind::ESTATE.into_iter().any(|kind| mapped.mapping.has(kind)))
    }

    fn columns(&self) -> config::Columns {
        let of = |kind| match self.mapping.columns(kind) {
            Columns::All => config::FURTHER.to_vec(),
            Columns::Names(names) => those_of(&names.iter().collect::<Vec<_>>()),
        };
        config::Columns { resources: of(Kind::Resource), containers: of(Kind::ResourceContainer) }
    }
}
