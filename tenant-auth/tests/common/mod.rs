//! A service's credentials under test: an issuer, API keys, two tenants, and a clock turned by hand.

use std::time::Duration;

use futures_util::FutureExt;
use http::{HeaderValue, Request};
use serde_json::{Value, json};
use tenant_auth::{
    ApiKeySecret, ApiKeys, AuthLayerBuilder, Authenticated, CachedRegistry, CredentialId, Issuer,
    NewApiKey, NewToken, Principal, PrincipalId, Rejection, TenantContext, TenantId, TokenMinter,
};
use tenant_context::RequestHead;
use tenant_testkit::ManualClock;

pub const ISSUER: &str = "https://id.example.com";
/// When the test's clock begins, in seconds.
pub const NOW: u64 = ManualClock::START.as_secs();

pub struct Fixture {
    pub clock: ManualClock,
    pub tenants: CachedRegistry,
    pub minter: TokenMinter,
    pub keys: ApiKeys,
    pub auth: Authenticated,
}

impl Fixture {
    pub fn new() -> Self {
        Self::with(|issuer| issuer)
    }

    pub fn with(change: impl FnOnce(Issuer) -> Issuer) -> Self {
        let clock = ManualClock::new();
        let tenants = tenant_testkit::tenants(&["acme", "Acme", "globex", &"a".repeat(64)], &clock);
        let minter = TokenMinter::eddsa_generate("main").unwrap();
        let keys = ApiKeys::builder("sk", "live", [7; 32])
            .clock(clock.clone())
            .build()
            .unwrap();
        let issuer = Issuer::new(ISSUER)
            .audience("api")
            .key(minter.verifying_key());
        let auth = tenant_auth::layer(tenants.clone())
            .jwt(change(issuer))
            .api_keys(keys.clone())
            .authenticate()
            .unwrap();
        Self {
            clock,
            tenants,
            minter,
            keys,
            auth,
        }
    }

    /// The same world behind a layer with other settings, which trusts the same issuer and keys.
    pub fn layered(self, change: impl FnOnce(AuthLayerBuilder) -> AuthLayerBuilder) -> Self {
        let issuer = Issuer::new(ISSUER)
            .audience("api")
            .key(self.minter.verifying_key());
        let builder = tenant_auth::layer(self.tenants.clone())
            .jwt(issuer)
            .api_keys(self.keys.clone());
        let auth = change(builder).authenticate().unwrap();
        Self { auth, ..self }
    }

    pub fn admit(&self, request: Request<()>) -> Result<TenantContext, Rejection> {
        let (head, ()) = request.into_parts();
        TenantContext::admit(&self.auth, &RequestHead::new(&head))
            .wait()
            .now_or_never()
            .expect("the test's registry answers at once")
    }

    pub fn bearer(&self, token: &str) -> Result<TenantContext, Rejection> {
        self.admit(bearer(token))
    }

    /// The reason why a token is refused: `ok` if it is not.
    pub fn reason(&self, token: &str) -> String {
        reason(self.bearer(token))
    }

    #[allow(clippy::needless_pass_by_value, reason = "it is built on the spot")]
    pub fn token(&self, new: NewToken) -> String {
        self.minter.mint(&new, &self.clock).unwrap()
    }

    /// A good token of ada at acme.
    pub fn good(&self) -> String {
        self.token(ada())
    }

    /// A token of these claims, whatever they are.
    pub fn forge(&self, claims: &Value) -> String {
        self.minter.mint_raw(HEADER, &claims.to_string()).unwrap()
    }

    pub fn api_key(&self, tenant: &str, principal: &str) -> (ApiKeySecret, CredentialId) {
        now(self.keys.issue(new_key(tenant, principal)))
    }
}

/// What a store in memory answers: at once.
pub fn now<T, E: std::fmt::Debug>(answer: impl Future<Output = Result<T, E>>) -> T {
    answer.now_or_never().expect("at once").unwrap()
}

pub const HEADER: &str = r#"{"alg":"EdDSA","kid":"main"}"#;

pub fn ada() -> NewToken {
    NewToken::new(ISSUER, "api", "acme", "ada").expires_in(Duration::from_secs(600))
}

/// The claims of a good token, to be spoilt.
pub fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": "api", "exp": NOW + 600, "sub": "ada", "tenant_id": "acme",
        "nbf": NOW, "iat": NOW, "jti": "1", "scope": "read", "roles": ["admin"],
    })
}

pub fn with(name: &str, value: impl Into<Value>) -> Value {
    let mut claims = claims();
    claims[name] = value.into();
    claims
}

pub fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

pub fn bearer(token: &str) -> Request<()> {
    with_header("authorization", format!("Bearer {token}").as_bytes())
}

pub fn with_header(name: &'static str, value: &[u8]) -> Request<()> {
    let mut request = Request::new(());
    let value = HeaderValue::from_bytes(value).unwrap();
    request.headers_mut().insert(name, value);
    request
}

pub fn in_header(key: &str) -> Request<()> {
    with_header("x-api-key", key.as_bytes())
}

pub fn both(token: &str, key: &str) -> Request<()> {
    let mut request = bearer(token);
    let key = HeaderValue::from_str(key).unwrap();
    request.headers_mut().insert("x-api-key", key);
    request
}

pub fn new_key(tenant: &str, principal: &str) -> NewApiKey {
    let principal = Principal::human(PrincipalId::parse(principal).unwrap());
    NewApiKey::new(TenantId::parse(tenant).unwrap(), principal)
}

pub fn reason(decision: Result<TenantContext, Rejection>) -> String {
    match decision {
        Ok(_) => "ok".to_owned(),
        Err(rejection) => rejection.reason().to_owned(),
    }
}
