//! The sealed form of a job, as queues carry it.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use super::{
    DeadReason,
    wire::{Fault, Header, ID_LEN},
};
use crate::crypto::MAX_SIGNATURE_LEN;

const LEAD: &str = "tj1.";
/// A header holds at most what an identity may hold; an honest one has a few hundred bytes.
pub(super) const MAX_HEADER_LEN: usize = 64 * 1024;

/// A job as a queue carries it: visible ASCII, to be kept as it is.
///
/// What it says is trusted only after [`Jobs::open`](super::Jobs::open). It is signed and **not
/// encrypted**: whoever reads the queue reads the payload, and whoever can write to the queue can
/// submit a sealed job once more (see [replays](super#replays)). Its `Debug` shows nothing of it.
///
/// It is read and written by serde as a string, so that it can stand in a queue's message. Make the
/// field an `Option`: a message without an envelope then reaches the dead letter and not the parser.
///
/// ```
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Report { envelope: Option<tenant_auth::jobs::JobEnvelope> }
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobEnvelope(String);

/// A job's id: random, made when it was sealed, the same at every delivery.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId([u8; ID_LEN]);

impl JobEnvelope {
    /// An envelope as it came from a queue. Nothing is looked at before it is opened.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the queue.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Which job it says that it is, for whoever submitted it and will ask for its result. It is not verified: on
    /// the opening side take [`Job::id`](super::Job::id).
    pub fn id(&self) -> Option<JobId> {
        // As long as the text is, whatever it claims.
        let parts = Parts::read(self, self.0.len()).ok()?;
        Some(JobId::new(parts.header.id))
    }

    pub(super) fn seal(header: &[u8], signature: &[u8], payload: &[u8]) -> Self {
        let mut text = String::from(LEAD);
        URL_SAFE_NO_PAD.encode_string(header, &mut text);
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut text);
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(payload, &mut text);
        Self(text)
    }
}

/// An envelope taken apart. Nothing in it is trusted yet.
pub(super) struct Parts {
    pub(super) signed: Vec<u8>,
    pub(super) header: Header,
    pub(super) signature: Vec<u8>,
    pub(super) payload: Vec<u8>,
}

impl Parts {
    pub(super) fn read(envelope: &JobEnvelope, max_payload: usize) -> Result<Self, DeadReason> {
        let text = envelope
            .0
            .strip_prefix(LEAD)
            .ok_or_else(|| foreign_form(&envelope.0))?;
        let mut parts = text.split('.');
        let (Some(header), Some(signature), Some(payload), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(DeadReason::Malformed);
        };
        let signed = decode(header, MAX_HEADER_LEN)?;
        let header = Header::decode(&signed).map_err(|fault| match fault {
            Fault::Version => DeadReason::Version,
            Fault::Form => DeadReason::Malformed,
        })?;
        Ok(Self {
            signature: decode(signature, MAX_SIGNATURE_LEN)?,
            payload: decode(payload, max_payload)?,
            signed,
            header,
        })
    }
}

/// `tj2.…` is of another version; all else is no envelope.
fn foreign_form(text: &str) -> DeadReason {
    let version = text
        .strip_prefix("tj")
        .and_then(|rest| rest.split_once('.'));
    match version {
        Some((digits, _)) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
            DeadReason::Version
        }
        _ => DeadReason::Malformed,
    }
}

/// Base64url without padding; the unused bits of the last character are zero. The length is looked at
/// before anything is allocated.
fn decode(part: &str, most: usize) -> Result<Vec<u8>, DeadReason> {
    if part.len() > most.div_ceil(3).saturating_mul(4) {
        return Err(DeadReason::TooLong);
    }
    let bytes = URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| DeadReason::Malformed)?;
    if bytes.len() > most {
        return Err(DeadReason::TooLong);
    }
    Ok(bytes)
}

impl fmt::Debug for JobEnvelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JobEnvelope({} bytes)", self.0.len())
    }
}

impl JobId {
    pub(super) const fn new(bytes: [u8; ID_LEN]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JobId({self})")
    }
}
