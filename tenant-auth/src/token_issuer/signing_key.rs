//! Private keys that sign tokens.

use std::{fmt, sync::Arc};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::EncodingKey;
use serde_json::{Map, Value, json};

use crate::{
    KeyError, KeyErrorKind, VerifyingKey,
    algorithm::Algorithm,
    crypto::{self, KeyMaterial, MIN_SECRET_LEN, Signer},
};

/// Two points and the 64 bytes of Ed25519 or P-256, encoded. RSA's are more: the token grows once.
const SIGNATURE_LEN: usize = 88;

/// A private key of a [`TokenIssuer`](crate::TokenIssuer), with its name: `EdDSA`, ES256 or RS256.
///
/// ```
/// use tenant_auth::SigningKey;
///
/// let key = SigningKey::eddsa_generate("2026-01")?;
/// assert!(key.public_jwk().unwrap().contains("2026-01"));
/// # Ok::<(), tenant_auth::KeyError>(())
/// ```
#[derive(Clone)]
pub struct SigningKey {
    algorithm: Algorithm,
    kid: Box<str>,
    signer: Arc<Signer>,
    verifying: VerifyingKey,
    public: Option<Map<String, Value>>,
}

/// PKCS#8 of an Ed25519 key up to its 32 bytes (RFC 8410 §7).
const ED25519_PKCS8: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// PKCS#8 of a P-256 key up to its 32 bytes (RFC 5958, RFC 5915).
const P256_PKCS8: [u8; 35] = [
    0x30, 0x41, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01,
    0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x04, 0x27, 0x30, 0x25, 0x02, 0x01,
    0x01, 0x04, 0x20,
];

impl SigningKey {
    /// A fresh Ed25519 key.
    ///
    /// # Errors
    ///
    /// [`KeyError`] if the operating system gives no randomness, or there is no backend.
    pub fn eddsa_generate(kid: impl Into<String>) -> Result<Self, KeyError> {
        let der = [ED25519_PKCS8.as_slice(), &secret()?].concat();
        Self::eddsa(kid.into(), EncodingKey::from_ed_der(&der))
    }

    /// An Ed25519 private key in PEM (`PRIVATE KEY`).
    ///
    /// # Errors
    ///
    /// [`KeyError`] if it is none.
    pub fn eddsa_pem(kid: impl Into<String>, pem: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        let key = EncodingKey::from_ed_pem(pem.as_ref()).map_err(|_| not_a_key("Ed25519"))?;
        Self::eddsa(kid.into(), key)
    }

    /// A fresh key on the curve P-256.
    ///
    /// # Errors
    ///
    /// As [`eddsa_generate`](Self::eddsa_generate).
    pub fn es256_generate(kid: impl Into<String>) -> Result<Self, KeyError> {
        let der = [P256_PKCS8.as_slice(), &secret()?].concat();
        // One number in four billion is beyond the curve's order, and an error.
        Self::es256(kid.into(), EncodingKey::from_ec_der(&der))
    }

    /// A private key on the curve P-256 in PEM (`PRIVATE KEY`, PKCS#8).
    ///
    /// # Errors
    ///
    /// [`KeyError`] if it is none.
    pub fn es256_pem(kid: impl Into<String>, pem: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        let key = EncodingKey::from_ec_pem(pem.as_ref()).map_err(|_| not_a_key("P-256"))?;
        Self::es256(kid.into(), key)
    }

    /// An RSA private key in PEM (`PRIVATE KEY` or `RSA PRIVATE KEY`), for RS256.
    ///
    /// # Errors
    ///
    /// [`KeyError`] if it is none, or below 2048 bits.
    pub fn rs256_pem(kid: impl Into<String>, pem: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        let key = EncodingKey::from_rsa_pem(pem.as_ref()).map_err(|_| not_a_key("RSA"))?;
        let components = crypto::provider()?
            .key_utils
            .rsa_pub_components_from_private_key;
        let (n, e) = components(key.as_bytes()).map_err(|_| not_a_key("RSA"))?;
        let public = json!({"kty": "RSA", "n": encode(&n), "e": encode(&e)});
        Self::new(
            kid.into(),
            Algorithm::Rs256,
            key,
            &KeyMaterial::rsa(&n, &e),
            public,
        )
    }

    /// For tests and single services: no issuer takes it.
    pub(crate) fn hs256(
        kid: impl Into<String>,
        secret: impl AsRef<[u8]>,
    ) -> Result<Self, KeyError> {
        let secret = secret.as_ref();
        let key = EncodingKey::from_secret(secret);
        let material = KeyMaterial::Secret(secret.to_vec());
        Self::new(kid.into(), Algorithm::Hs256, key, &material, Value::Null)
    }

    fn eddsa(kid: String, key: EncodingKey) -> Result<Self, KeyError> {
        use jsonwebtoken::jwk::EllipticCurve::Ed25519;
        let public = crypto::provider()?
            .key_utils
            .ed_pub_components_from_private_key;
        let x = public(key.as_bytes(), &Ed25519).map_err(|_| not_a_key("Ed25519"))?;
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": encode(&x)});
        Self::new(kid, Algorithm::EdDsa, key, &KeyMaterial::Ed25519(x), jwk)
    }

    fn es256(kid: String, key: EncodingKey) -> Result<Self, KeyError> {
        let public = crypto::provider()?
            .key_utils
            .ec_pub_components_from_private_key;
        let (_, x, y) = public(key.as_bytes(), jsonwebtoken::Algorithm::ES256)
            .map_err(|_| not_a_key("P-256"))?;
        let jwk = json!({"kty": "EC", "crv": "P-256", "x": encode(&x), "y": encode(&y)});
        let point = KeyMaterial::Ec([&[4], x.as_slice(), &y].concat());
        Self::new(kid, Algorithm::Es256, key, &point, jwk)
    }

    fn new(
        kid: String,
        algorithm: Algorithm,
        key: EncodingKey,
        public: &KeyMaterial,
        jwk: Value,
    ) -> Result<Self, KeyError> {
        let verifying = VerifyingKey::new(algorithm, Ok(public)).kid(&*kid);
        verifying.check()?;
        Ok(Self {
            algorithm,
            kid: kid.into(),
            signer: Arc::new(Signer::new(algorithm, key)?),
            verifying,
            public: match jwk {
                Value::Object(members) => Some(members),
                _ => None,
            },
        })
    }

    /// The key's name.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The key that verifies what this one signs.
    pub fn verifying_key(&self) -> VerifyingKey {
        self.verifying.clone()
    }

    /// The public key as a JWK (RFC 7517), for a key set. `None` for a secret, which is not published.
    pub fn public_jwk(&self) -> Option<String> {
        self.jwk().map(|jwk| jwk.to_string())
    }

    pub(crate) fn jwk(&self) -> Option<Value> {
        let mut jwk = self.public.clone()?;
        jwk.insert("kid".into(), (*self.kid).into());
        jwk.insert("alg".into(), self.algorithm.name().into());
        jwk.insert("use".into(), "sig".into());
        Some(Value::Object(jwk))
    }

    /// The header of this key's tokens, encoded.
    pub(crate) fn header(&self, typ: &str) -> String {
        let header = json!({"alg": self.algorithm.name(), "typ": typ, "kid": &*self.kid});
        encode(header.to_string().as_bytes())
    }

    pub(crate) fn sign_bytes(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.signer.sign(message)
    }

    /// A token of this header, which is encoded, and these claims (RFC 7515 §7.1).
    pub(crate) fn token(&self, header: &str, claims: &[u8]) -> Result<String, KeyError> {
        let claims_len = encoded_len(claims.len())?;
        let rest = claims_len.saturating_add(SIGNATURE_LEN);
        let mut token = Vec::with_capacity(header.len().saturating_add(rest));
        token.extend_from_slice(header.as_bytes());
        push_encoded(&mut token, claims)?;
        let signature = self.signer.sign(&token)?;
        push_encoded(&mut token, &signature)?;
        String::from_utf8(token).map_err(|_| unencoded())
    }
}

/// A point, and the bytes encoded.
fn push_encoded(token: &mut Vec<u8>, bytes: &[u8]) -> Result<(), KeyError> {
    token.push(b'.');
    let start = token.len();
    let length = encoded_len(bytes.len())?;
    token.resize(start.saturating_add(length), 0);
    let room = token.get_mut(start..).unwrap_or_default();
    match URL_SAFE_NO_PAD.encode_slice(bytes, room) {
        Ok(written) if written == length => Ok(()),
        _ => Err(unencoded()),
    }
}

fn encoded_len(bytes: usize) -> Result<usize, KeyError> {
    base64::encoded_len(bytes, false).ok_or_else(unencoded)
}

fn unencoded() -> KeyError {
    KeyError::new(KeyErrorKind::Signing, "the token cannot be encoded")
}

pub(crate) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn secret() -> Result<[u8; MIN_SECRET_LEN], KeyError> {
    let mut secret = [0; MIN_SECRET_LEN];
    getrandom::fill(&mut secret).map_err(|_| KeyError::randomness())?;
    Ok(secret)
}

fn not_a_key(what: &str) -> KeyError {
    KeyError::new(
        KeyErrorKind::Format,
        format!("this is no {what} private key in PKCS#8"),
    )
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("algorithm", &self.algorithm.name())
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}
