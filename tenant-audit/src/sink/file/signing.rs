//! When the next checkpoint is signed.

use std::{fmt, time::Duration};

use tenant_context::{Clock, Monotonic, SystemClock};

use super::{checkpoint::Checkpoint, heads::Heads};
use crate::{CheckpointSigner, SinkError};

type Publish = Box<dyn Fn(&str) + Send>;

/// What the file thread signs with, and when.
pub(super) struct Signing {
    signer: CheckpointSigner,
    every: Duration,
    publish: Publish,
    clock: SystemClock,
    last: Option<Monotonic>,
    /// Something was written since.
    unsigned: bool,
}

impl Signing {
    pub(super) fn new(signer: CheckpointSigner, every: Duration, publish: Publish) -> Self {
        Self {
            signer,
            every,
            publish,
            clock: SystemClock::new(),
            last: None,
            unsigned: true,
        }
    }

    pub(super) const fn written(&mut self) {
        self.unsigned = true;
    }

    /// How long what is written may still stay unsigned; `None`: everything is signed.
    pub(super) fn left(&self) -> Option<Duration> {
        if !self.unsigned {
            return None;
        }
        let since = self.last.map_or(Duration::MAX, |last| {
            self.clock.monotonic().saturating_since(last)
        });
        Some(self.every.saturating_sub(since))
    }

    /// Signs; nothing if everything is signed.
    pub(super) fn sign(&self, heads: &Heads) -> Result<Option<Checkpoint>, SinkError> {
        if !self.unsigned {
            return Ok(None);
        }
        Checkpoint::sign(heads, &self.signer, self.clock.unix()).map(Some)
    }

    /// The next attempt comes after another interval.
    pub(super) fn failed(&mut self) {
        self.last = Some(self.clock.monotonic());
    }

    /// The checkpoint is written.
    pub(super) fn signed(&mut self, checkpoint: &Checkpoint) {
        self.unsigned = false;
        self.last = Some(self.clock.monotonic());
        (self.publish)(&checkpoint.note);
    }
}

impl fmt::Debug for Signing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signing")
            .field("signer", &self.signer)
            .field("every", &self.every)
            .finish_non_exhaustive()
    }
}
