//! The token parser, with good signatures and with bad ones.
//!
//! The input is a header and claims, separated by a line feed. They are presented signed, so that the
//! claims are read too; unsigned, so that bytes that are no UTF-8 come to the parsers; and the input
//! is presented as it stands.

#![no_main]

use std::{
    future::Future,
    pin::pin,
    sync::OnceLock,
    task::{Context, Poll, Waker},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderValue, Request};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tenant_auth::{
    Authenticated, CachedRegistry, Issuer, MemoryRegistry, TenantContext, TenantId, TenantRecord,
    TokenMinter,
};
use tenant_context::RequestHead;

const ISSUER: &str = "https://id.example.com";

struct Door {
    minter: TokenMinter,
    auth: Authenticated,
}

impl Door {
    fn new() -> Self {
        let registry = MemoryRegistry::new();
        registry.insert(TenantRecord::new(TenantId::parse("acme").expect("an id")));
        let tenants = CachedRegistry::builder(registry)
            .build()
            .expect("a registry");
        let minter = TokenMinter::hs256("main", [7; 32]).expect("a secret");
        let issuer = Issuer::new(ISSUER)
            .audience("api")
            .key(minter.verifying_key());
        let auth = tenant_auth::layer(tenants)
            .jwt(issuer)
            .cache_capacity(0)
            .authenticate()
            .expect("a way in");
        Self { minter, auth }
    }

    /// `None` if the token cannot stand in a header.
    fn admit(&self, token: &[u8]) -> Option<TenantContext> {
        let value = HeaderValue::from_bytes(&[b"Bearer ", token].concat()).ok()?;
        let mut request = Request::new(());
        request.headers_mut().insert("authorization", value);
        let (head, ()) = request.into_parts();
        let decision = TenantContext::admit(&self.auth, &RequestHead::new(&head)).wait();
        match pin!(decision).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(decision) => decision.ok(),
            Poll::Pending => panic!("a registry in memory answers at once"),
        }
    }
}

fuzz_target!(|input: &[u8]| {
    static DOOR: OnceLock<Door> = OnceLock::new();
    let door = DOOR.get_or_init(Door::new);

    assert!(door.admit(input).is_none(), "no input holds the secret");
    let at = input.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let (header, rest) = input.split_at(at);
    let claims = rest.get(1..).unwrap_or_default();
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let unsigned = format!("{}.{}.{}", encode(header), encode(claims), encode(&[0; 32]));
    assert!(door.admit(unsigned.as_bytes()).is_none(), "no signature");

    let (Ok(header), Ok(claims)) = (std::str::from_utf8(header), std::str::from_utf8(claims))
    else {
        return;
    };
    let signed = door.minter.mint_raw(header, claims).expect("a signature");
    let Some(context) = door.admit(signed.as_bytes()) else {
        return;
    };
    // What was admitted reads the same to another parser, which takes the last of two members.
    let claims: Value = serde_json::from_str(claims).expect("JSON");
    let header: Value = serde_json::from_str(header).expect("JSON");
    assert_eq!(header["alg"], "HS256");
    assert_eq!(claims["iss"], ISSUER);
    assert_eq!(claims["sub"], context.principal().id().as_str());
    assert_eq!(claims["tenant_id"], context.tenant_id().as_str());
    assert!(
        claims["exp"].is_number() && claims.get("cnf").is_none() && header.get("crit").is_none()
    );
    assert!(
        context.scopes().len() <= 256
            && context.roles().len() <= 256
            && context.actors().len() <= 8
    );
});
