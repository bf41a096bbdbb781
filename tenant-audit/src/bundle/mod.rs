//! What one tenant is given: its own records, and the proof that they are all of them up to a signed
//! checkpoint, without anything of another tenant's.

mod check;
mod export;

use serde::{Deserialize, Serialize};
use tenant_context::TenantId;

pub use self::{
    check::{VerifiedBundle, verify_bundle},
    export::{Export, export},
};

const FORMAT: &str = "tenant-audit-bundle/2";
/// A header holds a note and some twenty hashes.
const MAX_HEADER: u64 = 64 * 1024;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: String,
    from_hash: String,
    from_seq: u64,
    hash: String,
    index: usize,
    note: String,
    path: Vec<String>,
    seq: u64,
    tenant: TenantId,
    until: u64,
}
