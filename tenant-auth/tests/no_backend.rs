//! Without a backend for signatures no layer is built, and the error says what to enable.

#![cfg(not(any(feature = "aws_lc_rs", feature = "rust_crypto")))]
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use tenant_auth::{Issuer, KeyErrorKind, TokenMinter, VerifyingKey};

#[test]
fn without_a_backend_no_layer_is_built() {
    let tenants = tenant_testkit::tenants(&["acme"], &tenant_testkit::ManualClock::new());
    let issuer = Issuer::new("https://id.example.com")
        .audience("api")
        .key(VerifyingKey::hs256([7; 32]));
    let error = tenant_auth::layer(tenants).jwt(issuer).build().unwrap_err();
    assert!(
        error.to_string().contains("enable its feature `aws_lc_rs`"),
        "{error}"
    );
    let error = TokenMinter::eddsa_generate("a").unwrap_err();
    assert_eq!(error.kind(), KeyErrorKind::NoBackend);
}
