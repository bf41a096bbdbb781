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

    /// Keeps what a batch says, in one write however many tenants are new.
    pub(super) fn note(&mut self, dir: &Path, batch: &Batch) -> Result<(), SinkError> {
        if let Some(regions) = self.with(batch) {
            let path = dir.join(FILE);
            let bytes = regions.encode().map_err(|error| {
                SinkError::new("the tenants' regions cannot be encoded").with_source(error)
            })?;
            replace(&path, &bytes).map_err(explain("cannot be written", &path))?;
            *self = regions;
        }
        Ok(())
    }

    /// These and what a batch says, if that is anything new. What says nothing (the audit's own records of a tenant do not)
    /// changes nothing.
    fn with(&self, batch: &Batch) -> Option<Self> {
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
        changed
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

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::{ChainBatch, ChainId, Head};

    fn batch(tenants: &[(&str, Option<&str>)]) -> Batch {
        let lines = tenants.iter().map(|(tenant, region)| {
            let chain = ChainId::of_tenant(tenant.parse().unwrap());
            ChainBatch::new(chain, Head::default(), Vec::new(), region.map(Into::into))
        });
        Batch::new(lines.collect())
    }

    fn of(regions: &Regions, tenant: &str) -> Option<Arc<str>> {
        regions.of(&ChainId::of_tenant(tenant.parse().unwrap()).file_name())
    }

    #[test]
    fn a_batch_changes_all_that_it_says_at_once_and_nothing_if_that_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let mut regions = Regions::default();
        let several = batch(&[("acme", Some("eu")), ("globex", Some("us")), ("zeta", None)]);
        regions.note(dir.path(), &several).unwrap();
        assert_eq!(of(&regions, "acme").as_deref(), Some("eu"));
        assert_eq!(of(&regions, "globex").as_deref(), Some("us"));
        assert_eq!(of(&regions, "zeta"), None);
        assert_eq!(Regions::open(dir.path()).unwrap(), regions);

        // Nothing is written for what is known, or says nothing.
        std::fs::remove_file(dir.path().join(FILE)).unwrap();
        for known in [&several, &batch(&[("acme", None)])] {
            assert_eq!(regions.with(known), None);
            regions.note(dir.path(), known).unwrap();
        }
        assert!(!dir.path().join(FILE).exists());

        regions
            .note(dir.path(), &batch(&[("acme", Some("us"))]))
            .unwrap();
        let read = Regions::open(dir.path()).unwrap();
        assert_eq!(of(&read, "acme").as_deref(), Some("us"));
        assert_eq!(of(&read, "globex").as_deref(), Some("us"));
    }
}
