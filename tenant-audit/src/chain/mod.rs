//! The hash chain: which chain a record belongs to, and the line that holds it.

mod hash;
mod id;
mod line;

pub use self::{hash::Head, id::ChainId};
pub(crate) use self::{
    hash::{ChainKey, FieldHasher, Hash, digest, hex_digits, parse_hash},
    id::escaped,
    line::{
        Content, Fault, before, follow, head_of, inline, is_last, record_of, seal, spill, spilled,
        withhold,
    },
};
