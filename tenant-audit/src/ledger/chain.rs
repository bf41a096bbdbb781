//! One chain, as far as it is written or about to be, and what is added to it.

use std::sync::Arc;

use tenant_context::{TrailFacts, UnixTime};

use crate::{
    ChainBatch, ChainId, Head,
    actor::Actor,
    chain::{ChainKey, FieldHasher, hex_digits, seal},
    draft::{Draft, What},
    record::Encoder,
    request::Intent,
    stamp::micros,
};

/// One chain, as far as it is written or about to be.
pub(super) struct Chain {
    pub(super) id: ChainId,
    key: ChainKey,
    pub(super) head: Head,
    /// This process's mark in the chain's event ids, in hexadecimal digits.
    mark: [u8; 16],
    pub(super) region: Option<Arc<str>>,
    /// Where the chain's lines of the current batch stand.
    pub(super) slot: Option<usize>,
}

/// What a record's place in its chain adds to it.
pub(super) struct Content<'a> {
    pub(super) actor: Actor<'a>,
    pub(super) at: UnixTime,
    pub(super) facts: &'a TrailFacts,
    pub(super) what: What<'a>,
    /// The intent whose outcome this is.
    pub(super) intent: Option<&'a Intent>,
}

impl Chain {
    /// The mark differs from chain to chain: an id shows its tenant nothing of the others.
    pub(super) fn new(id: ChainId, head: Head, secret: u64) -> Self {
        let digest = FieldHasher::new("tenant-audit/mark/1")
            .field(&secret.to_be_bytes())
            .field(id.file_name().as_bytes())
            .finish();
        let mut mark = [b'0'; 16];
        if let Some(bytes) = digest.first_chunk::<8>() {
            hex_digits(bytes, &mut mark);
        }
        Self {
            key: ChainKey::of(&id),
            id,
            head,
            mark,
            region: None,
            slot: None,
        }
    }

    /// Ordered by time; unique by the process's mark and the number in the chain.
    fn event_id(&self, at: UnixTime, out: &mut Vec<u8>) {
        out.clear();
        hexadecimal(micros(at), 14, out);
        out.push(b'-');
        out.extend_from_slice(&self.mark);
        out.push(b'-');
        hexadecimal(self.head.seq.saturating_add(1), 1, out);
    }

    /// Adds a record, and gives its event id.
    pub(super) fn add<'a>(
        &mut self,
        content: &'a Content<'_>,
        encoder: &mut Encoder,
        batch: &mut Vec<ChainBatch>,
        spare: &mut Vec<Vec<u8>>,
        buffer: &'a mut Vec<u8>,
    ) -> Option<&'a str> {
        let event_id = if let Some(intent) = content.intent {
            &*intent.event_id
        } else {
            self.event_id(content.at, buffer);
            // Digits and dashes.
            std::str::from_utf8(buffer).unwrap_or_default()
        };
        let draft = Draft {
            event_id,
            tenant: self.id.tenant().map(AsRef::as_ref),
            actor: content.actor,
            at: content.at,
            facts: content.facts,
            what: content.what,
        };
        let slot = *self.slot.get_or_insert(batch.len());
        if slot == batch.len() {
            let lines = spare.pop().unwrap_or_default();
            batch.push(ChainBatch::new(
                self.id.clone(),
                self.head,
                lines,
                self.region.clone(),
            ));
        }
        let lines = batch.get_mut(slot)?;
        let sealed = lines.push(content.at, |out| {
            seal(&self.key, &mut self.head, out, |out| {
                encoder.encode(&draft, out)
            })
        });
        if let Err(error) = sealed {
            // Text, integers and finite numbers always encode.
            tracing::error!(
                error = &error as &dyn std::error::Error,
                event_id,
                "a record could not be encoded"
            );
            return None;
        }
        lines.head = self.head;
        match content.what {
            What::Intent(_) => lines.opened.push(event_id.to_owned()),
            _ if content.intent.is_some() => lines.closed.push(event_id.to_owned()),
            _ => {}
        }
        Some(event_id)
    }
}

/// At least so many hexadecimal digits.
fn hexadecimal(value: u64, least: usize, out: &mut Vec<u8>) {
    let mut digits = [b'0'; 16];
    hex_digits(&value.to_be_bytes(), &mut digits);
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    let from = zeros.min(digits.len().saturating_sub(least));
    out.extend_from_slice(digits.get(from..).unwrap_or_default());
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn hexadecimal_is_as_the_standard_library_writes_it(value in any::<u64>(), shift in 0_u32..64) {
            for value in [value, value >> shift, 0] {
                let mut out = Vec::new();
                hexadecimal(value, 14, &mut out);
                prop_assert_eq!(String::from_utf8(out).unwrap(), format!("{value:014x}"));
                let mut out = Vec::new();
                hexadecimal(value, 1, &mut out);
                prop_assert_eq!(String::from_utf8(out).unwrap(), format!("{value:x}"));
            }
        }
    }
}
