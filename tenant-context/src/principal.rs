//! Who acts: a human, an agent or a service.

use crate::PrincipalId;

/// What kind of actor a principal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum PrincipalKind {
    /// A person.
    Human,
    /// A program that acts by its own decisions, for somebody.
    Agent,
    /// A program that does what it was written to do.
    Service,
}

impl PrincipalKind {
    /// The kind in lower case, as records show it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Human => "human",
            Self::Agent => "agent",
            Self::Service => "service",
        }
    }
}

/// One actor: its kind and its id. Plain data that grants nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Principal {
    kind: PrincipalKind,
    id: PrincipalId,
}

impl Principal {
    /// An actor of this kind.
    pub const fn new(kind: PrincipalKind, id: PrincipalId) -> Self {
        Self { kind, id }
    }

    /// A person.
    pub const fn human(id: PrincipalId) -> Self {
        Self::new(PrincipalKind::Human, id)
    }

    /// An agent.
    pub const fn agent(id: PrincipalId) -> Self {
        Self::new(PrincipalKind::Agent, id)
    }

    /// A service.
    pub const fn service(id: PrincipalId) -> Self {
        Self::new(PrincipalKind::Service, id)
    }

    /// What kind of actor this is.
    pub const fn kind(&self) -> PrincipalKind {
        self.kind
    }

    /// The actor's id, unique among those of its kind within its tenant.
    pub const fn id(&self) -> &PrincipalId {
        &self.id
    }
}
