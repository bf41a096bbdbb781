//! Human, agent or service: by a rule of the issuer.

use tenant_context::PrincipalKind;

use crate::{
    json::Json,
    reason::{Claim, Reason},
};

/// How the kind of a token's subject is told: human, agent or service.
///
/// Actors of the `act` chain are told apart by the same claim inside of `act`; one without it is an
/// agent.
///
/// ```
/// use tenant_auth::{Issuer, KindRule, PrincipalKind, VerifyingKey};
///
/// // An issuer that marks the tokens of programs by `idtyp: app`, and those of people not at all:
/// let rule = KindRule::claim("idtyp").value("app", PrincipalKind::Service).absent(PrincipalKind::Human);
/// let issuer = Issuer::new("https://id.example.com").audience("api").kinds(rule);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KindRule {
    claim: Option<Box<str>>,
    values: Vec<(Box<str>, PrincipalKind)>,
    absent: PrincipalKind,
}

impl KindRule {
    /// By this claim, which says `human`, `agent` or `service`; absent is `human`, another value refuses
    /// the token. The default, with the claim `principal_kind`.
    pub fn claim(name: impl Into<String>) -> Self {
        use PrincipalKind::{Agent, Human, Service};
        Self {
            claim: Some(name.into().into()),
            values: [Human, Agent, Service]
                .map(|kind| (kind.as_str().into(), kind))
                .into(),
            absent: Human,
        }
    }

    /// All subjects of the issuer are of this kind, and all actors agents, whatever the token says: for an issuer whose
    /// tokens are of services only, which act for nobody. The tokens of [`propagate`](crate::propagate) say themselves who is what.
    pub const fn always(kind: PrincipalKind) -> Self {
        Self {
            claim: None,
            values: Vec::new(),
            absent: kind,
        }
    }

    /// Another value of the claim that says this kind.
    #[must_use]
    pub fn value(mut self, value: impl Into<String>, kind: PrincipalKind) -> Self {
        let value = value.into().into_boxed_str();
        self.values.retain(|(known, _)| *known != value);
        self.values.push((value, kind));
        self
    }

    /// The kind of a subject whose token has no such claim.
    #[must_use]
    pub const fn absent(mut self, kind: PrincipalKind) -> Self {
        self.absent = kind;
        self
    }

    pub(crate) fn claim_name(&self) -> Option<&str> {
        self.claim.as_deref()
    }

    /// The kind of a token's subject.
    pub(crate) fn kind(&self, claims: Json<'_, '_>) -> Result<PrincipalKind, Reason> {
        Ok(self.said(claims)?.unwrap_or(self.absent))
    }

    /// The kind of an actor.
    pub(crate) fn actor(&self, act: Json<'_, '_>) -> Result<PrincipalKind, Reason> {
        Ok(self.said(act)?.unwrap_or(PrincipalKind::Agent))
    }

    fn said(&self, object: Json<'_, '_>) -> Result<Option<PrincipalKind>, Reason> {
        let Some(value) = self.claim.as_ref().and_then(|name| object.get(name)) else {
            return Ok(None);
        };
        let said = value.as_text().ok_or(Claim::KIND.wrong_type)?;
        let known = self.values.iter().find(|(value, _)| **value == *said);
        known
            .map(|(_, kind)| Some(*kind))
            .ok_or(Claim::KIND.invalid)
    }
}

impl Default for KindRule {
    fn default() -> Self {
        Self::claim("principal_kind")
    }
}
