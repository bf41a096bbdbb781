//! How far a request's content has come: known to its body, and to the response.

use std::sync::atomic::{AtomicU8, Ordering};

use crate::EndReason;

/// The state of a request's content. One allocation for a request that has content.
#[derive(Debug, Default)]
pub(crate) struct Upload(AtomicU8);

/// 0 is open.
const ENDED: u8 = 1;
const SUSPENDED: u8 = 2;
const CLOSED: u8 = 3;
const REVOKED: u8 = 4;
const EXPIRED: u8 = 5;

impl Upload {
    /// The client has sent all of it.
    pub(crate) fn end(&self) {
        self.0.store(ENDED, Ordering::Release);
    }

    /// The reader was told that the context has ended, before the content had.
    pub(crate) fn cut(&self, reason: EndReason) {
        let state = match reason {
            EndReason::Suspended => SUSPENDED,
            EndReason::Closed => CLOSED,
            EndReason::Revoked => REVOKED,
            EndReason::Expired => EXPIRED,
        };
        self.0.store(state, Ordering::Release);
    }

    /// Whether the client may be sending still.
    pub(crate) fn is_open(&self) -> bool {
        self.0.load(Ordering::Acquire) != ENDED
    }

    /// Why the reader did not get all of it, if it was cut.
    pub(crate) fn was_cut(&self) -> Option<EndReason> {
        match self.0.load(Ordering::Acquire) {
            SUSPENDED => Some(EndReason::Suspended),
            CLOSED => Some(EndReason::Closed),
            REVOKED => Some(EndReason::Revoked),
            EXPIRED => Some(EndReason::Expired),
            _ => None,
        }
    }
}
