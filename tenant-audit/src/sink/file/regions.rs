//! Where each tenant's data must stay, as far as the log was told: what another sink reads again from it goes there too.

use std::{collections::BTreeMap, io, path::Path, sync::Arc};

use serde::{Deserialize, Serialize};

use super::disk::{explain, replace};
use crate::{Batch, SinkError};

const FILE: &str = "regions.json";
const SCHEMA: &str = "tenant-audit-regions/1";

/// The last known region of each chain that has one, by the chains' names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Regions(BTreeMap<String, Arc<str>>);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RegionsJson {
    regions: BTreeMap<String, String>,
    schema: String,
}

impl Regions {
    pub(super) fn open(dir: &Path) -> Result<Self, SinkError> {
        let path = dir.join(FILE);
        match crate::verify::read(&path) {
            Ok(bytes) => Self::decode(&bytes).ok_or_else(|| {
                SinkError::new(format!(
                    "{} does not say which regions tenants are of: put back what was written; without it, other sinks \
                     would get records where they must not be",
                    path.display()
                ))
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(explain("cannot be read", &path)(error)),
        }
    }

    pub(super) fn of(&self, chain: &str) -> Option<Arc<str>> {
        self.0.get(chain).map(Arc::clone)
    }

    /// Keeps what a batch says. What says nothing (the audit's own records of a tenant do not) changes nothing.
    pub(super) fn note(&mut self, dir: &Path, batch: &Batch) -> Result<(), SinkError> {
        let mut changed: Option<Self> = None;
        for lines in batch.chains() {
            let Some(region) = lines.region() else {
                continue;
            };
            let name = lines.chain().file_name();
            if self.0.get(&name).is_none_or(|known| **known != *region) {
                let regions = changed.get_or_insert_with(|| self.clone());
                regions.0.insert(name, region.into());
            }
        }
        if let Some(regions) = changed {
            let path = dir.join(FILE);
            let bytes = regions.encode().map_err(|error| {
                SinkError::new("the tenants' regions cannot be encoded").with_source(error)
            })?;
            replace(&path, &bytes).map_err(explain("cannot be written", &path))?;
            *self = regions;
        }
        Ok(())
    }

    fn encode(&self) -> serde_json::Result<Vec<u8>> {
        let regions = self.0.iter();
        serde_json::to_vec(&RegionsJson {
            regions: regions
                .map(|(chain, region)| (chain.clone(), region.to_string()))
                .collect(),
            schema: SCHEMA.to_owned(),
        })
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let read: RegionsJson = serde_json::from_slice(bytes).ok()?;
        let regions = read.regions.into_iter();
        let regions = regions.map(|(chain, region)| (chain, region.into()));
        (read.schema == SCHEMA).then(|| Self(regions.collect()))
    }
}
