//! A minted token's claims.

use serde::Serialize;
use tenant_context::{Claims, Principal, RoleGrants, UnixTime};

use super::{Subject, joined, refused};
use crate::KeyError;

/// The claims in the order in which they are written.
#[derive(Serialize)]
pub(crate) struct Body<'a> {
    jti: &'a str,
    iss: &'a str,
    aud: &'a str,
    tenant_id: &'a str,
    sub: &'a str,
    principal_kind: &'static str,
    iat: u64,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) scope: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(crate) roles: &'a [Box<str>],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) org_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) resource_prefix: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) act: Option<Act<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tenant_chain: Option<Chain<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(crate) budget: &'a [serde_json::Value],
}

/// An actor, and whoever it acts after (RFC 8693 §4.1).
#[derive(Serialize)]
pub(crate) struct Act<'a> {
    sub: &'a str,
    principal_kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[serde(rename = "act")]
    earlier: Option<Box<Act<'a>>>,
}

impl<'a> Act<'a> {
    /// `actor` before `earlier`, the latest of which comes first.
    pub(crate) fn chain(actor: &'a Principal, earlier: &'a [Principal]) -> Self {
        let of = |principal: &'a Principal, earlier| Self {
            sub: principal.id().as_str(),
            principal_kind: principal.kind().as_str(),
            earlier,
        };
        let inner = earlier.iter().rev().fold(None, |inner, principal| {
            Some(Box::new(of(principal, inner)))
        });
        of(actor, inner)
    }
}

/// What a delegated token was derived from, and why.
#[derive(Serialize)]
pub(crate) struct Chain<'a> {
    /// The parent first.
    pub(crate) parents: Vec<Link<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) purpose: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) operator_of: Option<&'a str>,
    /// Until when what is sealed with it may live, if a job is among what it was derived from. Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) until: Option<u64>,
}

/// One credential in the chain: what it is revoked by, and what bounded it.
#[derive(Serialize)]
pub(crate) struct Link<'a> {
    pub(crate) jti: &'a str,
    /// An API key has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) iss: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) iat: Option<u64>,
    /// The API key that was presented beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) api_key: Option<&'a str>,
    pub(crate) exp: u64,
    pub(crate) scope: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) roles: Option<Vec<Left>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) resource_prefix: Option<&'a str>,
}

/// What a role left of a credential's scopes.
#[derive(Serialize)]
pub(crate) struct Left {
    scope: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    except: String,
}

/// Whether a list of scopes separated by spaces has no more of them than a verifier takes.
fn fits(scopes: &str) -> bool {
    let spaces = scopes.bytes().filter(|byte| *byte == b' ').count();
    spaces < Claims::MAX_GRANTS
}

impl Link<'_> {
    fn grants_fit(&self) -> bool {
        let roles = self.roles.as_deref().unwrap_or_default();
        let role = |role: &Left| fits(&role.scope) && fits(&role.except);
        fits(&self.scope) && roles.len() <= Claims::MAX_GRANTS && roles.iter().all(role)
    }
}

impl Left {
    /// A role's scopes as they stand in a token.
    pub(crate) fn of(role: &RoleGrants) -> Result<Self, KeyError> {
        let joined = |scopes: Vec<&str>| joined(&scopes);
        Ok(Self {
            scope: joined(role.scopes().collect())?,
            except: joined(role.exceptions().collect())?,
        })
    }
}

impl<'a> Body<'a> {
    pub(super) fn new(issuer: &'a str, subject: &'a Subject<'a>, expires_at: UnixTime) -> Self {
        Self {
            jti: "",
            iss: issuer,
            aud: subject.audience,
            tenant_id: subject.tenant.as_str(),
            sub: subject.principal.id().as_str(),
            principal_kind: subject.principal.kind().as_str(),
            iat: subject.now.as_secs(),
            exp: expires_at.as_secs(),
            scope: None,
            roles: &[],
            sid: None,
            org_id: None,
            resource_prefix: None,
            act: None,
            tenant_chain: None,
            budget: &[],
        }
    }

    /// The claims as JSON, of the token of this name.
    /// Whether there are no more scopes and roles in any list than a verifier takes.
    pub(super) fn grants_fit(&self) -> bool {
        let links = self.tenant_chain.iter().flat_map(|chain| &chain.parents);
        self.scope.is_none_or(fits)
            && self.roles.len() <= Claims::MAX_GRANTS
            && links.into_iter().all(Link::grants_fit)
    }

    pub(super) fn into_json(self, jti: &'a str) -> Result<Vec<u8>, KeyError> {
        let mut claims = Vec::with_capacity(1024);
        serde_json::to_writer(&mut claims, &Self { jti, ..self })
            .map_err(|_| refused("the claims cannot be written"))?;
        Ok(claims)
    }
}
