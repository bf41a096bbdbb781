//! Issuers: the unit of trust.

mod check;
mod kind;

use std::{collections::HashSet, time::Duration};

use tenant_context::{Claims, ConfigError, TenantId};

pub use self::kind::KindRule;

use crate::{
    Algorithm, KeySet, KeySource, VerifyingKey, algorithm::Algorithms, delegation::BUDGET,
    jwt::Header, reason::Reason,
};

/// Where the tenant stands in a template.
const PLACE: &str = "{tenant}";

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
    /// Whose name holds `{tenant}`: what stands before and after it.
    pub(crate) template: Option<(Box<str>, Box<str>)>,
    pub(crate) tenant_claim: Option<Vec<Box<str>>>,
    pub(crate) fixed_tenant: Option<TenantId>,
    pub(crate) kept: Vec<Box<str>>,
    pub(crate) kinds: KindRule,
    pub(crate) leeway: Duration,
    pub(crate) max_age: Option<Duration>,
    pub(crate) require_jti: bool,
    tenants: Option<HashSet<TenantId>>,
    chained: bool,
    max_depth: usize,
    operators_of: Option<TenantId>,
    typ: Option<Box<str>>,
    pub(crate) algorithms: Algorithms,
    keys: Vec<VerifyingKey>,
    /// Those of sets, which may hold more than is wanted.
    published: Vec<VerifyingKey>,
    source: Option<KeySource>,
    skipped: usize,
}

/// An issuer whose audience has still to be said.
#[derive(Clone, Debug)]
#[must_use = "add `.audience(..)`: an issuer without one is not accepted"]
pub struct IssuerWithoutAudience {
    name: Box<str>,
    is_template: bool,
}

impl IssuerWithoutAudience {
    /// Who the tokens must be for: one of the values of their `aud`.
    pub fn audience(self, audience: impl Into<String>) -> Issuer {
        let template = self.is_template.then(|| match self.name.split_once(PLACE) {
            Some((before, after)) => (before.into(), after.into()),
            // Said by `build`: it has no place for the tenant.
            None => (self.name.clone(), "".into()),
        });
        Issuer {
            name: self.name,
            audiences: vec![audience.into().into()],
            tenant_claim: template.is_none().then(|| vec!["tenant_id".into()]),
            template,
            fixed_tenant: None,
            // What a delegation is good for is known wherever it is presented.
            kept: vec![BUDGET.into()],
            kinds: KindRule::default(),
            leeway: Duration::from_secs(30),
            max_age: None,
            require_jti: false,
            tenants: None,
            chained: false,
            max_depth: Claims::MAX_ACTORS,
            operators_of: None,
            typ: None,
            algorithms: Algorithms::ALL,
            keys: Vec::new(),
            published: Vec::new(),
            source: None,
            skipped: 0,
        }
    }
}

impl Issuer {
    /// The most claims that are kept.
    pub const MAX_KEPT_CLAIMS: usize = 32;
    /// The most bytes of a token's kept claims together, their names and 8 for each value included.
    pub const MAX_KEPT_LEN: usize = 4096;
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
            is_template: false,
        }
    }

    /// All issuers whose names are this text with a tenant's id in place of `{tenant}`, such as
    /// `https://id.example.com/{tenant}`: a provider that has one name for each of its customers, and one set
    /// of keys for all of them. The tenant is what stands there.
    ///
    /// An issuer that is trusted by its own name is that one, whatever templates there are. Providers
    /// with keys for each customer are issuers of their own: see [`Issuers`](crate::Issuers).
    ///
    /// ```
    /// use tenant_auth::{Issuer, VerifyingKey};
    ///
    /// let issuer = Issuer::template("https://id.example.com/{tenant}/v2")
    ///     .audience("api")
    ///     .key(VerifyingKey::hs256([7; 32]));
    /// ```
    pub fn template(name: impl Into<String>) -> IssuerWithoutAudience {
        IssuerWithoutAudience {
            name: name.into().into(),
            is_template: true,
        }
    }

    /// Accepts another audience too.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audiences.push(audience.into().into());
        self
    }

    /// The claim that names the tenant: a member of the token's top level, URL-named ones included
    /// (`https://example.com/tenant`). Default `tenant_id`, unless the tenant is [fixed](Self::fixed_tenant) or
    /// part of the [name](Self::template). It is required, and must be a text.
    pub fn tenant_claim(self, name: impl Into<String>) -> Self {
        self.tenant_path([name])
    }

    /// The claim that names the tenant, where it stands inside of others: `["organization", "id"]` is the
    /// member `id` of the member `organization`.
    pub fn tenant_path<S: Into<String>>(mut self, path: impl IntoIterator<Item = S>) -> Self {
        let names = path.into_iter().map(|name| name.into().into_boxed_str());
        self.tenant_claim = Some(names.collect());
        self
    }

    /// All tokens of this issuer are this tenant's: for a provider that one customer brings. No claim is
    /// asked, unless one is named after this; then both must agree.
    pub fn fixed_tenant(mut self, tenant: TenantId) -> Self {
        self.fixed_tenant = Some(tenant);
        self.tenant_claim = None;
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

    /// Keeps this claim with the identity, for `ctx.claim::<T>("…")`: it is not read from the token again.
    /// At most [`MAX_KEPT_CLAIMS`](Self::MAX_KEPT_CLAIMS); a token whose kept claims are longer than
    /// [`MAX_KEPT_LEN`](Self::MAX_KEPT_LEN) is refused. All other claims are dropped.
    ///
    /// What is kept is part of the identity's authority: two tokens that differ in it share nothing that is
    /// cached. Keep what decides, not what is new in each token.
    pub fn keep_claim(mut self, name: impl Into<String>) -> Self {
        self.kept.push(name.into().into());
        self
    }

    /// Refuses tokens with actors that do not say what they were derived from: those of a
    /// [`TokenIssuer`](crate::TokenIssuer) all do. Without it, a chain is verified where a token has one.
    pub const fn chains_required(mut self) -> Self {
        self.chained = true;
        self
    }

    /// Refuses tokens whose chain has more actors than this. Default, and at most: [`Claims::MAX_ACTORS`].
    pub const fn max_depth(mut self, actors: usize) -> Self {
        if actors < self.max_depth {
            self.max_depth = actors;
        }
        self
    }

    pub(crate) const fn depth(&self) -> usize {
        self.max_depth
    }

    pub(crate) const fn chained(&self) -> bool {
        self.chained
    }

    /// Accepts operators' tokens: with them, members of this one tenant act in others
    /// ([`TokenIssuer::operate`](crate::TokenIssuer::operate)). Default: a chain that crosses tenants is refused.
    pub fn operators_of(mut self, staff: TenantId) -> Self {
        self.operators_of = Some(staff);
        self
    }

    pub(crate) fn has_operators_of(&self, staff: &TenantId) -> bool {
        self.operators_of.as_ref() == Some(staff)
    }

    /// How humans, agents and services are told apart.
    pub fn kinds(mut self, rule: KindRule) -> Self {
        self.kinds = rule;
        self
    }

    /// The only algorithms of its tokens (RFC 8725 §3.1). Each key has one algorithm, and verifies with no other;
    /// this bounds what keys there may be: a [`key`](Self::key) of another does not build, and those of a
    /// [set](Self::key_set) are left out, whatever the issuer publishes later. Without it there is no bound
    /// beside the keys.
    ///
    /// ```
    /// use tenant_auth::{Algorithm, Issuer, Issuers, VerifyingKey};
    ///
    /// let issuer = Issuer::new("https://id.example.com").audience("api").algorithms([Algorithm::EdDsa]);
    /// let wrong = issuer.key(VerifyingKey::hs256([7; 32]).kid("old"));
    /// let error = Issuers::new().add(wrong).unwrap_err();
    /// assert!(error.to_string().contains("HS256"));
    /// ```
    pub fn algorithms(mut self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.algorithms = Algorithms::only(algorithms);
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
        self.published.extend(set.into_keys());
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

    /// The tenant in a name that this template gives.
    pub(crate) fn tenant_of<'n>(&self, name: &'n str) -> Option<&'n str> {
        let (before, after) = self.template.as_ref()?;
        tenant_between(before, after, name)
    }

    /// The keys it was given, or else the source of them.
    pub(crate) fn take_keys(&mut self) -> (Vec<VerifyingKey>, Option<KeySource>) {
        let mut keys = std::mem::take(&mut self.keys);
        let mut published = std::mem::take(&mut self.published);
        published.retain(|key| self.algorithms.contains(key.algorithm()));
        keys.extend(published);
        (keys, self.source.take())
    }

    pub(crate) fn accepts_type(&self, header: &Header<'_>) -> Result<(), Reason> {
        let presented = header.typ.map(subtype);
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

/// Whether a name is one that this template gives.
pub(crate) fn is_of_template(template: &str, name: &str) -> bool {
    let parts = template.split_once(PLACE);
    parts.is_some_and(|(before, after)| tenant_between(before, after, name).is_some())
}

/// Whether this is a template's name and not an issuer's own.
pub(crate) fn is_template(name: &str) -> bool {
    name.contains(PLACE)
}

fn tenant_between<'n>(before: &str, after: &str, name: &'n str) -> Option<&'n str> {
    let tenant = name.strip_prefix(before)?.strip_suffix(after)?;
    TenantId::is_valid(tenant).then_some(tenant)
}

/// A media type without its `application/` (RFC 7515 §4.1.9).
fn subtype(typ: &str) -> &str {
    const PREFIX: &str = "application/";
    match (typ.get(..PREFIX.len()), typ.get(PREFIX.len()..)) {
        (Some(prefix), Some(rest)) if prefix.eq_ignore_ascii_case(PREFIX) => rest,
        _ => typ,
    }
}
