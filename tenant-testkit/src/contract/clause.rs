//! The clauses of the contract.

use std::fmt;

/// A clause of the tower contract, as a server and the layers around rely on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Clause {
    /// The instance of the inner service that was polled ready is the one that is called, also when
    /// the decision is pending, and however the caller clones and swaps.
    RightClone,
    /// `poll_ready` asks the inner service: its back-pressure is seen, a waiting caller is woken, its
    /// error comes through.
    Readiness,
    /// A request that the layer answers itself gives the inner reservation back while the layer's
    /// service lives on.
    RefusalReturns,
    /// While the decision is pending the request keeps its reservation and lends it to nobody;
    /// dropping the request gives it back.
    PendingKeeps,
    /// A response future dropped after any number of polls leaves nothing behind: no reservation,
    /// no second call, no request body.
    DroppedAnywhere,
    /// A panic in the handler's `call`, future or body leaves the layer usable and leaves nothing
    /// behind.
    HandlerPanics,
    /// Clones share no readiness: two of them interleave freely.
    Clones,
    /// An admitted request calls the handler once, a refused one never, and a completed future is
    /// not polled again.
    ExactlyOnce,
    /// The handler's error comes through, and gives its reservation back.
    Errors,
    /// The handler reads the request's body as it was sent: frames, trailers, errors, announced
    /// length.
    RequestBody,
    /// The client reads the response's body as the handler wrote it; a refusal's body keeps its
    /// announcements; a body dropped half-way is released.
    ResponseBody,
    /// Whoever polled last is woken, and nothing is pending without being woken.
    Wakers,
}

impl Clause {
    /// All clauses.
    pub const ALL: [Self; 12] = [
        Self::RightClone,
        Self::Readiness,
        Self::RefusalReturns,
        Self::PendingKeeps,
        Self::DroppedAnywhere,
        Self::HandlerPanics,
        Self::Clones,
        Self::ExactlyOnce,
        Self::Errors,
        Self::RequestBody,
        Self::ResponseBody,
        Self::Wakers,
    ];

    /// A short name, for the head of a table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RightClone => "right clone",
            Self::Readiness => "readiness",
            Self::RefusalReturns => "refusal returns",
            Self::PendingKeeps => "pending keeps",
            Self::DroppedAnywhere => "drop anywhere",
            Self::HandlerPanics => "panics",
            Self::Clones => "clones",
            Self::ExactlyOnce => "exactly once",
            Self::Errors => "errors",
            Self::RequestBody => "request body",
            Self::ResponseBody => "response body",
            Self::Wakers => "wakers",
        }
    }
}

impl fmt::Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RightClone => "the instance polled ready is the one that is called",
            Self::Readiness => "readiness is the inner service's",
            Self::RefusalReturns => "a refusal gives the reservation back",
            Self::PendingKeeps => "a pending decision keeps its reservation",
            Self::DroppedAnywhere => "a future dropped at any await leaves nothing behind",
            Self::HandlerPanics => "a panic in the handler leaves the layer usable",
            Self::Clones => "clones share no readiness",
            Self::ExactlyOnce => "the handler is called once if admitted, else never",
            Self::Errors => "the handler's error comes through",
            Self::RequestBody => "the request's body arrives as it was sent",
            Self::ResponseBody => "the response's body arrives as it was written",
            Self::Wakers => "whoever polled last is woken",
        })
    }
}
