//! What budgets are counted by.

use std::fmt;

/// What a budget is counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dimension {
    /// All requests, of all tenants.
    Global,
    /// All requests of one tenant.
    Tenant,
    /// The requests of one agent of one tenant, those of its sub-agents included.
    Agent,
    /// The requests on behalf of one principal of one tenant.
    Principal,
    /// The requests under one delegation, by the budget that it carries.
    Delegation,
    /// One tenant's requests to one endpoint.
    Endpoint,
    /// All tenants' requests to one endpoint.
    EndpointAcross,
    /// Requests without a tenant, to routes that are declared public.
    Public,
    /// The requests of one client address, before anybody knows whose they are.
    Address,
    /// A dimension of the application's own.
    Custom(&'static str),
}

impl Dimension {
    /// The dimension's name, as policies, problems and audit records show it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::Tenant => "tenant",
            Self::Agent => "agent",
            Self::Principal => "principal",
            Self::Delegation => "delegation",
            Self::Endpoint => "endpoint",
            Self::EndpointAcross => "endpoint-across",
            Self::Public => "public",
            Self::Address => "address",
            Self::Custom(name) => name,
        }
    }

    pub(crate) const fn description(self) -> &'static str {
        match self {
            Self::Global => "All requests to this service.",
            Self::Tenant => "All requests of this tenant.",
            Self::Agent => "All requests of this agent.",
            Self::Principal => "All requests of this principal.",
            Self::Delegation => "All requests under this delegation.",
            Self::Endpoint => "This tenant's requests to this endpoint.",
            Self::EndpointAcross => "All requests to this endpoint.",
            Self::Public => "All anonymous requests to this service.",
            Self::Address => "All requests from this address.",
            Self::Custom(_) => "Requests counted by this service's own rule.",
        }
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
