//! The host as a second signal: `acme.saas.example.com` is for tenant `acme` only.

mod parse;

use std::{borrow::Cow, fmt, sync::Arc};

use tenant_context::{ConfigError, Identity, Rejection, RequestHead, TenantState};

use self::parse::{Host, is_label};

type BelongsTo = dyn Fn(&TenantState, &str) -> bool + Send + Sync;

/// The domain below which every tenant has its host.
///
/// A host is whatever a client sends, so it admits nobody: it is compared with the tenant of the
/// *credential*. No tenant is looked up by it, so another tenant's label and one that nobody has get the same
/// 403, from the same work.
///
/// ```
/// # use tenant_auth::{CachedRegistry, Issuer, MemoryRegistry, TokenMinter};
/// use tenant_auth::{OutsideHosts, Subdomain};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let tenants = CachedRegistry::builder(MemoryRegistry::new()).build()?;
/// # let issuer = Issuer::new("https://id.example.com").audience("api").key(TokenMinter::eddsa_generate("k")?.verifying_key());
/// let identity = tenant_auth::layer(tenants)
///     .jwt(issuer)
///     .subdomain(
///         Subdomain::of("saas.example.com")
///             .shared("api")                           // api.saas.example.com is for every tenant
///             .outside(OutsideHosts::Refused),         // the default: no other host is
///     )
///     .build()?;
/// # Ok(())
/// # }
/// ```
///
/// The host is `:authority`, or `Host`; if a request has both they must be the same (else 400). Port, case
/// and one trailing dot do not count. What is no host name (user information, percent-encoding, bytes beyond
/// ASCII, empty labels) is refused with 400. Names in other scripts are their A-labels, `xn--…`, and compared
/// as those. `X-Forwarded-Host` and `Forwarded` are not read: let your proxy send the host on.
///
/// On a public route without a credential there is no tenant to compare with: any host passes.
#[derive(Clone)]
#[must_use = "give it to `AuthLayerBuilder::subdomain`"]
pub struct Subdomain {
    domain: String,
    depth: usize,
    shared: Vec<String>,
    outside: OutsideHosts,
    belongs: Option<Arc<BelongsTo>>,
}

/// What a host that is not below the domain says, the domain itself, addresses and no host at all
/// included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OutsideHosts {
    /// It names no tenant that a credential could be of: 403, as for another tenant's.
    #[default]
    Refused,
    /// Nothing: the credential alone counts. For services that are also reached by an internal name.
    NoSignal,
}

impl Subdomain {
    /// Tenants have their hosts one label below this domain; by default the label is the tenant's id. An id
    /// that is no lower-case label (`Acme`, `a_b.c`) has no host then, and is refused at every tenant's host.
    pub fn of(domain: &str) -> Self {
        Self {
            domain: domain.to_ascii_lowercase(),
            depth: 1,
            shared: Vec::new(),
            outside: OutsideHosts::default(),
            belongs: None,
        }
    }

    /// How many labels below the domain a tenant's host may be: with 2, `eu.acme` is a label that is compared.
    /// Default 1; deeper hosts are refused.
    pub fn depth(mut self, labels: usize) -> Self {
        self.depth = labels;
        self
    }

    /// A host below the domain that is for every tenant (`api`, `www`). May be called for several.
    pub fn shared(mut self, label: &str) -> Self {
        self.shared.push(label.to_ascii_lowercase());
        self
    }

    /// What hosts that are not below the domain say. Default [`OutsideHosts::Refused`].
    pub fn outside(mut self, outside: OutsideHosts) -> Self {
        self.outside = outside;
        self
    }

    /// Says which labels are a tenant's, if they are not its id. The label is in lower case. The function
    /// should cost the same whatever the label is, and must not look up whose it might be.
    ///
    /// ```
    /// # use tenant_auth::Subdomain;
    /// let by_plan = Subdomain::of("saas.example.com")
    ///     .belongs(|tenant, label| label.strip_prefix("t-") == Some(tenant.id().as_str()));
    /// ```
    pub fn belongs(
        mut self,
        belongs: impl Fn(&TenantState, &str) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.belongs = Some(Arc::new(belongs));
        self
    }

    pub(crate) fn build(self) -> Result<Hosts, ConfigError> {
        let error = |what: String| {
            Err(ConfigError::new(format!(
                "tenant_auth: `subdomain`: {what}"
            )))
        };
        let labels = |name: &str, least: usize| {
            name.split('.').count() >= least && name.split('.').all(is_label)
        };
        if !labels(&self.domain, 2) || self.domain.len() > 190 {
            return error(format!(
                "{:?} is no domain to have tenants below; write `saas.example.com`, other scripts as `xn--…`",
                self.domain
            ));
        }
        if !(1..=8).contains(&self.depth) {
            return error(format!("a depth of {}; choose 1 to 8 labels", self.depth));
        }
        if let Some(label) = self.shared.iter().find(|label| !labels(label, 1)) {
            return error(format!("{label:?} is no label; write `api`"));
        }
        Ok(Hosts(self))
    }
}

impl fmt::Debug for Subdomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subdomain")
            .field("domain", &self.domain)
            .field("depth", &self.depth)
            .field("shared", &self.shared)
            .field("outside", &self.outside)
            .finish_non_exhaustive()
    }
}

/// A checked [`Subdomain`].
#[derive(Clone, Debug)]
pub(crate) struct Hosts(Subdomain);

/// What a request's host says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Named<'a> {
    /// Nothing that would have to agree.
    Nobody,
    /// A tenant, by a label in lower case.
    Label(Cow<'a, str>),
    /// A host that is no tenant's.
    Foreign,
}

impl Named<'_> {
    pub(crate) fn into_owned(self) -> Named<'static> {
        match self {
            Self::Nobody => Named::Nobody,
            Self::Label(label) => Named::Label(Cow::Owned(label.into_owned())),
            Self::Foreign => Named::Foreign,
        }
    }
}

impl Hosts {
    /// What the request's host says. No allocation if it is in lower case.
    ///
    /// # Errors
    ///
    /// 400 if it is no host, or there are two.
    pub(crate) fn read<'a>(&self, head: &RequestHead<'a>) -> Result<Named<'a>, Rejection> {
        let label = match parse::read(head)? {
            Some(Host::Name(name)) => self.label(name),
            Some(Host::Literal(_)) | None => None,
        };
        let Some(label) = label else {
            return Ok(match self.0.outside {
                OutsideHosts::Refused => Named::Foreign,
                OutsideHosts::NoSignal => Named::Nobody,
            });
        };
        let label = if label.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(label.to_ascii_lowercase())
        } else {
            Cow::Borrowed(label)
        };
        if self.0.shared.iter().any(|shared| *shared == label) {
            return Ok(Named::Nobody);
        }
        if label.split('.').count() > self.0.depth {
            return Ok(Named::Foreign);
        }
        Ok(Named::Label(label))
    }

    /// The labels below the domain.
    fn label<'a>(&self, name: &'a str) -> Option<&'a str> {
        let at = name.len().checked_sub(self.0.domain.len())?;
        let (label, domain) = name.split_at_checked(at)?;
        let label = label.strip_suffix('.')?;
        domain.eq_ignore_ascii_case(&self.0.domain).then_some(label)
    }

    /// The credential's tenant is the host's.
    pub(crate) fn compare(
        &self,
        identity: &Arc<Identity>,
        named: &Named<'_>,
    ) -> Result<(), Rejection> {
        let agrees = match named {
            Named::Nobody => true,
            Named::Foreign => false,
            Named::Label(label) => match &self.0.belongs {
                Some(belongs) => belongs(identity.tenant(), label),
                None => identity.tenant().id().as_str() == label,
            },
        };
        if agrees {
            Ok(())
        } else {
            Err(Rejection::tenant_mismatch().with_identity(Arc::clone(identity)))
        }
    }
}
