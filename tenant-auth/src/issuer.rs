//! Issuers: the unit of trust.

use std::time::Duration;

use tenant_context::{ConfigError, PrincipalKind, TenantId};

use crate::{KeySet, KeySource, VerifyingKey, jwt::Header, reason::Reason};

/// Whose tokens are accepted, for which audience, verified with which keys.
///
/// A token's `iss` only *selects* an issuer, byte for byte; keys belong to one issuer, so that
/// `(iss, kid)` names a key (RFC 8725 §3.8).
///
/// ```
/// use std::time::Duration;
/// use tenant_auth::{Issuer, VerifyingKey};
///
/// let issuer = Issuer::new("https://id.example.com")
///     .audience("api")
///     .tenant_claim("org_id")
///     .key(VerifyingKey::hs256([7; 32]).kid("2026-01"))
///     .leeway(Duration::from_secs(10));
/// ```
///
/// An issuer without an audience is another type, which no layer takes (RFC 8725 §3.9):
///
/// ```compile_fail
/// # fn layer(layer: tenant_auth::AuthLayerBuilder) -> tenant_auth::AuthLayerBuilder {
/// layer.jwt(tenant_auth::Issuer::new("https://id.example.com"))
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "an issuer is not trusted until a layer has it"]
pub struct Issuer {
    pub(crate) name: Box<str>,
    pub(crate) audiences: Vec<Box<str>>,
    pub(crate) tenant_claim: Box<str>,
    pub(crate) kinds: KindRule,
    pub(crate) leeway: Duration,
    pub(crate) max_age: Option<Duration>,
    pub(crate) require_jti: bool,
    tenants: Option<Vec<TenantId>>,
    typ: Option<Box<str>>,
    keys: Vec<VerifyingKey>,
    source: Option<KeySource>,
    skipped: usize,
}

/// An issuer whose audience has still to be said.
#[derive(Clone, Debug)]
#[must_use = "add `.audience(..)`: an issuer without one is not accepted"]
pub struct IssuerWithoutAudience {
    name: Box<str>,
}

impl IssuerWithoutAudience {
    /// Who the tokens must be for: one of the values of their `aud`.
    pub fn audience(self, audience: impl Into<String>) -> Issuer {
        Issuer {
            name: self.name,
            audiences: vec![audience.into().into()],
            tenant_claim: "tenant_id".into(),
            kinds: KindRule::default(),
            leeway: Duration::from_secs(30),
            max_age: None,
            require_jti: false,
            tenants: None,
            typ: None,
            keys: Vec::new(),
            source: None,
            skipped: 0,
        }
    }
}

/// How the kind of a token's subject is told: human, agent or service.
///
/// Actors of the `act` chain are told apart by the same claim inside of `act`; one without it is an
/// agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KindRule(pub(crate) Rule);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    Claim(Box<str>),
    Always(PrincipalKind),
}

impl KindRule {
    /// By this claim, which says `human`, `agent` or `service`; absent is `human`, another value refuses
    /// the token. The default, with the claim `principal_kind`.
    pub fn claim(name: impl Into<String>) -> Self {
        Self(Rule::Claim(name.into().into()))
    }

    /// All subjects of the issuer are of this kind: for one that issues tokens to services only.
    pub const fn always(kind: PrincipalKind) -> Self {
        Self(Rule::Always(kind))
    }

    pub(crate) fn claim_name(&self) -> Option<&str> {
        match &self.0 {
            Rule::Claim(name) => Some(name),
            Rule::Always(_) => None,
        }
    }

    pub(crate) const fn default_kind(&self) -> PrincipalKind {
        match self.0 {
            Rule::Claim(_) => PrincipalKind::Human,
            Rule::Always(kind) => kind,
        }
    }
}

impl Default for KindRule {
    fn default() -> Self {
        Self::claim("principal_kind")
    }
}

/// Claims with a meaning of their own: neither the tenant nor the kind is read from them.
const RESERVED: [&str; 15] = [
    "act",
    "aud",
    "cnf",
    "exp",
    "iat",
    "iss",
    "jti",
    "may_act",
    "nbf",
    "resource_prefix",
    "roles",
    "scope",
    "scopes",
    "scp",
    "sub",
];

impl Issuer {
    /// The longest leeway.
    pub const MAX_LEEWAY: Duration = Duration::from_secs(300);

    /// An issuer by its name, exactly as it stands in its tokens' `iss`.
    #[allow(
        clippy::new_ret_no_self,
        reason = "an issuer without an audience is another type, so that no layer takes it"
    )]
    pub fn new(name: impl Into<String>) -> IssuerWithoutAudience {
        IssuerWithoutAudience {
            name: name.into().into(),
        }
    }

    /// Accepts another audience too.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audiences.push(audience.into().into());
        self
    }

    /// The claim that names the tenant: a member of the token's top level, URL-named ones included.
    /// Default `tenant_id`. It is required, and must be a text.
    pub fn tenant_claim(mut self, name: impl Into<String>) -> Self {
        self.tenant_claim = name.into().into();
        self
    }

    /// The only tenants this issuer may speak for; a token that names another is refused. Without it the
    /// issuer speaks for **every** tenant: right for a provider of your own, wrong for one that a
    /// customer brings, whose tokens could name another customer.
    pub fn tenants(mut self, tenants: impl IntoIterator<Item = TenantId>) -> Self {
        self.tenants.get_or_insert_default().extend(tenants);
        self
    }

    pub(crate) fn speaks_for(&self, tenant: &TenantId) -> Result<(), Reason> {
        match &self.tenants {
            Some(tenants) if !tenants.contains(tenant) => Err("issuer_tenant"),
            _ => Ok(()),
        }
    }

    /// How humans, agents and services are told apart.
    pub fn kinds(mut self, rule: KindRule) -> Self {
        self.kinds = rule;
        self
    }

    /// Adds a key.
    pub fn key(mut self, key: VerifyingKey) -> Self {
        self.keys.push(key);
        self
    }

    /// Adds the usable keys of a set.
    pub fn key_set(mut self, set: KeySet) -> Self {
        self.skipped = self.skipped.saturating_add(set.skipped().len());
        self.keys.extend(set.into_keys());
        self
    }

    /// Takes the keys from a set that is kept up to date: see [`KeyRefresher`](crate::KeyRefresher). It stands
    /// in place of [`key`](Self::key) and [`key_set`](Self::key_set).
    pub fn keys(mut self, source: KeySource) -> Self {
        self.source = Some(source);
        self
    }

    /// Requires this `typ` in every header, with or without `application/`, in any case (RFC 8725
    /// §3.11; `at+jwt` is that of RFC 9068). Without it, tokens of no type, `JWT` and `at+jwt` are
    /// accepted, and tokens made for another purpose are not.
    pub fn typ(mut self, typ: impl Into<String>) -> Self {
        self.typ = Some(typ.into().into());
        self
    }

    /// How far the issuer's clock may be off. Default 30 s, at most [`MAX_LEEWAY`](Self::MAX_LEEWAY). A
    /// token lives this much longer than its `exp` says.
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway;
        self
    }

    /// Refuses tokens that were issued longer ago than this, whatever their `exp` says, and tokens
    /// without `iat`. Default: no bound.
    pub fn max_age(mut self, max_age: Duration) -> Self {
        self.max_age = Some(max_age);
        self
    }

    /// Refuses tokens without a `jti`. Without this, such a token is named by a digest of what its
    /// signature covers: in the audit, and for [`Revocation::token`](crate::Revocation::token).
    pub fn require_jti(mut self) -> Self {
        self.require_jti = true;
        self
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        self.fault().map_or(Ok(()), |fault| {
            Err(ConfigError::new(format!("issuer {:?}: {fault}", self.name)))
        })
    }

    fn fault(&self) -> Option<String> {
        if self.name.is_empty() {
            return Some("the name is empty; use the exact `iss` of its tokens".into());
        }
        if self.audiences.iter().any(|audience| audience.is_empty()) {
            return Some(
                "an audience is empty; name this service as the issuer does in `aud`".into(),
            );
        }
        let claims = [Some(&*self.tenant_claim), self.kinds.claim_name()];
        for claim in claims.into_iter().flatten() {
            if claim.is_empty() || RESERVED.contains(&claim) {
                return Some(format!(
                    "the claim {claim:?} has a meaning of its own; choose another for the tenant and the kind"
                ));
            }
        }
        if Some(&*self.tenant_claim) == self.kinds.claim_name() {
            return Some("the tenant and the kind are read from one claim; choose two".into());
        }
        if self.tenants.as_ref().is_some_and(Vec::is_empty) {
            return Some(
                "`tenants` is empty, which refuses every token; name the tenants it may speak for"
                    .into(),
            );
        }
        if self.typ.as_deref() == Some("") {
            return Some("`typ` is empty; use `at+jwt`, or leave it out".into());
        }
        if self.leeway > Self::MAX_LEEWAY {
            return Some(format!(
                "a leeway of {:?} keeps expired tokens alive; use at most {:?}",
                self.leeway,
                Self::MAX_LEEWAY
            ));
        }
        if self.max_age == Some(Duration::ZERO) {
            return Some("`max_age` is 0, which refuses every token".into());
        }
        self.key_fault()
    }

    fn key_fault(&self) -> Option<String> {
        if let Some(source) = &self.source {
            return if self.keys.is_empty() && self.skipped == 0 {
                source.fault(&self.name)
            } else {
                Some("it has keys of its own and a source of keys; choose one".into())
            };
        }
        if self.keys.is_empty() {
            return Some(if self.skipped > 0 {
                format!(
                    "none of the {} keys of its set can be used; `KeySet::skipped` says why",
                    self.skipped
                )
            } else {
                "it has no key; add `.key(..)`, `.key_set(..)` or `.keys(..)`".into()
            });
        }
        for (index, key) in self.keys.iter().enumerate() {
            let kid = key.name().map_or("without a kid", AsRef::as_ref);
            if let Err(error) = key.check() {
                return Some(format!("key {kid:?}: {error}"));
            }
            let same = |other: &VerifyingKey| {
                other.name() == key.name() && other.algorithm() == key.algorithm()
            };
            if self.keys.iter().skip(index.saturating_add(1)).any(same) {
                return Some(format!(
                    "two {} keys are named {kid:?}; give each a `.kid(..)` of its own",
                    key.algorithm()
                ));
            }
        }
        None
    }

    /// The keys it was given, or else the source of them.
    pub(crate) fn take_keys(&mut self) -> (Vec<VerifyingKey>, Option<KeySource>) {
        (std::mem::take(&mut self.keys), self.source.take())
    }

    pub(crate) fn accepts_type(&self, header: &Header<'_>) -> Result<(), Reason> {
        let presented = header.typ.as_deref().map(subtype);
        let accepted = match (&self.typ, presented) {
            (None, None) => true,
            (None, Some(typ)) => ["jwt", "at+jwt"]
                .iter()
                .any(|known| typ.eq_ignore_ascii_case(known)),
            (Some(_), None) => false,
            (Some(required), Some(typ)) => typ.eq_ignore_ascii_case(subtype(required)),
        };
        if accepted { Ok(()) } else { Err("typ") }
    }
}

/// A media type without its `application/` (RFC 7515 §4.1.9).
fn subtype(typ: &str) -> &str {
    const PREFIX: &str = "application/";
    match (typ.get(..PREFIX.len()), typ.get(PREFIX.len()..)) {
        (Some(prefix), Some(rest)) if prefix.eq_ignore_ascii_case(PREFIX) => rest,
        _ => typ,
    }
}
