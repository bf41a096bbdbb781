//! The chain of credentials alone, verifying each token anew, beside `jsonwebtoken::decode` alone.

use std::sync::Arc;

use http::header::AUTHORIZATION;
use jsonwebtoken::{DecodingKey, Validation};
use serde::Deserialize;

use super::{Definition, Shared, auth_hit, stack};
use crate::{
    Result,
    row::{Operation, Row},
    token::{AUDIENCE, Algorithm, ISSUER},
};

fn cold(
    definition: &'static Definition,
    shared: &Arc<Shared>,
    algorithm: Algorithm,
) -> Result<Row> {
    let authenticated = stack::credentials(shared, algorithm, 0)?.authenticate()?;
    let bearer = format!("Bearer {}", shared.tokens.token(algorithm)?);
    let head = auth_hit::head(AUTHORIZATION.as_str(), &bearer)?;
    Ok(definition.row(Operation::new(move || {
        auth_hit::admits(&authenticated, &head)
    })))
}

/// What a service reads of a token, as its author would write it.
#[derive(Debug, Deserialize)]
#[allow(dead_code, reason = "read for its cost, as a service would")]
struct Claims {
    sub: String,
    tenant_id: String,
    jti: String,
    scope: String,
    roles: Vec<String>,
    act: Option<Actor>,
}

#[derive(Debug, Deserialize)]
#[allow(dead_code, reason = "read for its cost, as a service would")]
struct Actor {
    sub: String,
}

fn decode(
    definition: &'static Definition,
    shared: &Arc<Shared>,
    algorithm: Algorithm,
) -> Result<Row> {
    // With the features of all crates on there are two providers, and none by default.
    let _standing = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    let key = shared.tokens.key(algorithm)?.verifying_bytes();
    let (algorithm, key, token) = (
        match algorithm {
            Algorithm::Hs256 => jsonwebtoken::Algorithm::HS256,
            Algorithm::Rs256 => jsonwebtoken::Algorithm::RS256,
            Algorithm::Es256 => jsonwebtoken::Algorithm::ES256,
            Algorithm::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        },
        match algorithm {
            Algorithm::Hs256 => DecodingKey::from_secret(key),
            Algorithm::Rs256 => DecodingKey::from_rsa_der(key),
            Algorithm::Es256 => DecodingKey::from_ec_der(key),
            Algorithm::EdDsa => DecodingKey::from_ed_der(key),
        },
        shared.tokens.token(algorithm)?,
    );
    let mut validation = Validation::new(algorithm);
    validation.set_issuer(&[ISSUER]);
    validation.set_audience(&[AUDIENCE]);
    validation.set_required_spec_claims(&["iss", "aud", "exp", "sub"]);
    Ok(definition.row(Operation::new(move || {
        jsonwebtoken::decode::<Claims>(&token, &key, &validation).is_ok()
    })))
}

macro_rules! rows {
    ($($algorithm:ident: $cold:ident, $peer:ident;)*) => {$(
        pub(super) fn $cold(definition: &'static Definition, shared: &Arc<Shared>) -> Result<Row> {
            cold(definition, shared, Algorithm::$algorithm)
        }

        pub(super) fn $peer(definition: &'static Definition, shared: &Arc<Shared>) -> Result<Row> {
            decode(definition, shared, Algorithm::$algorithm)
        }
    )*};
}

rows! {
    Hs256: hs256, peer_hs256;
    Rs256: rs256, peer_rs256;
    Es256: es256, peer_es256;
    EdDsa: eddsa, peer_eddsa;
}
