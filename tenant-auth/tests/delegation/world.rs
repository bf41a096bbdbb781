//! One issuer, its verifier, and whoever has its key and keeps to no rule.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::FutureExt;
use http::Request;
use serde_json::{Value, json};
use tenant_auth::{
    AccessToken, Authenticated, CachedRegistry, Delegation, MemoryRegistry, Operators, Principal,
    PrincipalId, Rejection, SigningKey, TenantContext, TenantId, TenantRecord, TokenIssuer,
    TokenMinter,
};
use tenant_context::{RequestHead, Roles};
use tenant_testkit::{ManualClock, tenants};

pub const NAME: &str = "https://id.example.com";
pub const NOW: u64 = ManualClock::START.as_secs();

pub struct World {
    pub clock: ManualClock,
    pub tenants: CachedRegistry,
    pub issuer: TokenIssuer,
    pub auth: Authenticated,
    /// Signs with the issuer's own key whatever it is told.
    pub forger: TokenMinter,
}

impl World {
    pub fn new() -> Self {
        let clock = ManualClock::new();
        let tenants = tenants(&["acme", "globex", "staff"], &clock);
        Self::of(clock, tenants)
    }

    /// One in which roles mean this.
    pub fn with_roles(roles: Roles) -> Self {
        let clock = ManualClock::new();
        let registry = MemoryRegistry::new();
        registry.insert(TenantRecord::new(id("acme")));
        let tenants = CachedRegistry::builder(registry)
            .clock(clock.clone())
            .roles(roles)
            .build()
            .unwrap();
        Self::of(clock, tenants)
    }

    fn of(clock: ManualClock, tenants: CachedRegistry) -> Self {
        let pem = include_bytes!("../fixtures/ed25519.private.pem");
        let operators = Operators::of(id("staff")).scopes(["*:read"]);
        let issuer = TokenIssuer::builder(NAME, "api")
            .key(SigningKey::eddsa_pem("main", pem).unwrap())
            .operators(operators)
            .clock(clock.clone())
            .build()
            .unwrap();
        let auth = tenant_auth::layer(tenants.clone())
            .jwt(issuer.as_issuer())
            .authenticate()
            .unwrap();
        let forger = TokenMinter::eddsa_pem("main", pem).unwrap();
        Self {
            clock,
            tenants,
            issuer,
            auth,
            forger,
        }
    }

    pub fn present(&self, token: &str) -> Result<TenantContext, Rejection> {
        let request = Request::builder().header("authorization", format!("Bearer {token}"));
        let (head, ()) = request.body(()).unwrap().into_parts();
        TenantContext::admit(&self.auth, &RequestHead::new(&head))
            .wait()
            .now_or_never()
            .unwrap()
    }

    pub fn root(&self, scopes: &[&str]) -> TenantContext {
        self.rooted(&AccessToken::new(id("acme"), human("ada")).scopes(scopes.iter().copied()))
    }

    pub fn rooted(&self, token: &AccessToken) -> TenantContext {
        self.present(self.issuer.access_token(token).unwrap().expose())
            .unwrap()
    }

    pub fn hire(
        &self,
        parent: &TenantContext,
        delegation: Delegation,
    ) -> Result<TenantContext, String> {
        match self.issuer.delegate(parent, delegation) {
            Ok(token) => Ok(self.present(token.expose()).unwrap()),
            Err(rejection) => Err(rejection.reason().to_owned()),
        }
    }

    /// What becomes of a token of other claims than the issuer wrote, signed with its key.
    pub fn altered(
        &self,
        token: &str,
        change: impl FnOnce(&mut Value),
    ) -> Result<TenantContext, Rejection> {
        let part = |at: usize| {
            URL_SAFE_NO_PAD
                .decode(token.split('.').nth(at).unwrap())
                .unwrap()
        };
        let mut claims = serde_json::from_slice(&part(1)).unwrap();
        change(&mut claims);
        let header = String::from_utf8(part(0)).unwrap();
        let token = self.forger.mint_raw(&header, &claims.to_string()).unwrap();
        self.present(&token)
    }

    /// Why a token of these claims, signed with the issuer's key, is refused.
    pub fn forged(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = json!({
            "iss": NAME, "aud": "api", "tenant_id": "acme", "sub": "ada", "iat": NOW, "exp": NOW + 300, "jti": "child",
            "scope": "invoices:read", "act": {"sub": "bot", "principal_kind": "agent"},
            "tenant_chain": {"parents": [{"jti": "parent", "exp": NOW + 600, "scope": "invoices:*"}]},
        });
        change(&mut claims);
        let header = r#"{"alg":"EdDSA","kid":"main","typ":"at+jwt"}"#;
        let token = self.forger.mint_raw(header, &claims.to_string()).unwrap();
        match self.present(&token) {
            Ok(_) => "ok".to_owned(),
            Err(rejection) => rejection.reason().to_owned(),
        }
    }
}

pub fn id(tenant: &str) -> TenantId {
    TenantId::parse(tenant).unwrap()
}

pub fn human(name: &str) -> Principal {
    Principal::human(PrincipalId::parse(name).unwrap())
}

pub fn bot(name: &str) -> Principal {
    Principal::agent(PrincipalId::parse(name).unwrap())
}

pub fn to(name: &str, scopes: &[&str]) -> Delegation {
    Delegation::to(bot(name)).scopes(scopes.iter().copied())
}

pub fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}
