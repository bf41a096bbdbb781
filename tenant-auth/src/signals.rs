//! All signals of a request name one tenant: its credentials, its host, and what a trusted ingress says.

use std::sync::Arc;

use tenant_context::{Identity, Lookup, Rejection, RejectionKind, RequestHead, Resolver};

use crate::{
    host::{Hosts, Named},
    ingress::{Assertion, Gateway},
};

type Decision = Result<Arc<Identity>, Rejection>;

/// The signals beside the credentials.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    pub(crate) ingress: Option<Arc<Gateway>>,
    pub(crate) hosts: Option<Arc<Hosts>>,
}

impl Signals {
    /// What the credentials say, if all other signals agree. A credential that fails is refused, whatever
    /// else the request says.
    pub(crate) fn agree(
        &self,
        head: &RequestHead<'_>,
        resolver: &Resolver,
        credentials: impl FnOnce() -> Lookup<Decision>,
    ) -> Lookup<Decision> {
        let named = match self.hosts.as_ref().map(|hosts| hosts.read(head)) {
            Some(Err(rejection)) => return Lookup::Ready(Err(rejection)),
            Some(Ok(named)) => named,
            None => Named::Nobody,
        };
        let decided = match &self.ingress {
            None => credentials(),
            Some(gateway) => match gateway.read(head) {
                Err(rejection) => Lookup::Ready(Err(rejection)),
                Ok(assertion) => with_ingress(gateway, assertion, credentials(), resolver),
            },
        };
        match (&self.hosts, decided) {
            (None, decided) => decided,
            (Some(hosts), Lookup::Ready(decision)) => {
                Lookup::Ready(at_its_host(hosts, decision, &named))
            }
            (Some(hosts), pending) => {
                let (hosts, named) = (Arc::clone(hosts), named.into_owned());
                pending.map(move |decision| at_its_host(&hosts, decision, &named))
            }
        }
    }
}

fn at_its_host(hosts: &Hosts, decision: Decision, named: &Named<'_>) -> Decision {
    let identity = decision?;
    hosts.compare(&identity, named)?;
    Ok(identity)
}

fn with_ingress(
    gateway: &Arc<Gateway>,
    assertion: Assertion,
    credentials: Lookup<Decision>,
    resolver: &Resolver,
) -> Lookup<Decision> {
    let (tenant, principal) = match assertion {
        Assertion::Untrusted => return credentials,
        Assertion::Missing => return credentials.map(|decision| Err(unnamed(decision))),
        Assertion::Named(tenant, principal) => (tenant, principal),
    };
    match credentials {
        // Nothing else is presented: the gateway's word is the credential.
        Lookup::Ready(Err(rejection)) if rejection.kind() == RejectionKind::CredentialMissing => {
            gateway.identify(resolver, tenant, principal)
        }
        credentials => {
            let gateway = Arc::clone(gateway);
            credentials.map(move |decision| {
                let identity = decision?;
                gateway.compare(&identity, &tenant, &principal)?;
                Ok(identity)
            })
        }
    }
}

/// A trusted ingress that names nobody: what it forwards is not served, whatever else is presented.
fn unnamed(decision: Decision) -> Rejection {
    const REASON: &str = "ingress_header_missing";
    match decision {
        Err(rejection) if rejection.kind() == RejectionKind::CredentialMissing => {
            rejection.with_reason(REASON)
        }
        Err(rejection) => rejection,
        Ok(identity) => Rejection::malformed(REASON).with_identity(identity),
    }
}
