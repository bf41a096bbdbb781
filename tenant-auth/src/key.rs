//! Keys that verify tokens: each for one algorithm.

use std::{fmt, sync::Arc};

use jsonwebtoken::DecodingKey;

use crate::{
    KeyError,
    algorithm::Algorithm,
    crypto::{self, KeyMaterial, Verifier},
};

/// A key that verifies tokens of one issuer with one algorithm. A token's `alg` must agree with it
/// (RFC 8725 §3.1): a public RSA key is never an HMAC secret.
///
/// Making a key never fails, so that it can stand inside a builder's chain: what is wrong with it is
/// said by [`AuthLayerBuilder::build`](crate::AuthLayerBuilder::build), or by [`check`](Self::check).
///
/// ```
/// use tenant_auth::VerifyingKey;
///
/// let pem = "-----BEGIN PUBLIC KEY-----
/// MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
/// -----END PUBLIC KEY-----";
/// VerifyingKey::eddsa_pem(pem).kid("2026-01").check()?;
/// assert!(VerifyingKey::hs256("too short").check().is_err());
/// # Ok::<(), tenant_auth::KeyError>(())
/// ```
#[derive(Clone)]
#[must_use = "a key verifies nothing until an issuer has it"]
pub struct VerifyingKey {
    algorithm: Algorithm,
    kid: Option<Arc<str>>,
    /// Tells two keys apart without showing them.
    fingerprint: [u8; 32],
    verifier: Result<Arc<Verifier>, KeyError>,
}

impl VerifyingKey {
    /// A shared secret of at least 32 random bytes, for HS256 (RFC 7518 §3.2).
    ///
    /// Whoever verifies can sign too: prefer a key pair unless both are one service.
    pub fn hs256(secret: impl AsRef<[u8]>) -> Self {
        let material = KeyMaterial::Secret(secret.as_ref().to_vec());
        Self::new(Algorithm::Hs256, Ok(&material))
    }

    /// An RSA public key of 2048 to 8192 bits in PEM (`PUBLIC KEY` or `RSA PUBLIC KEY`), for RS256.
    pub fn rs256_pem(pem: impl AsRef<[u8]>) -> Self {
        Self::new(Algorithm::Rs256, rsa_pem(pem.as_ref()).as_ref())
    }

    /// A public key on the curve P-256 in PEM (`PUBLIC KEY`), for ES256.
    pub fn es256_pem(pem: impl AsRef<[u8]>) -> Self {
        let point = public_pem(pem.as_ref())
            .and_then(|pem| bytes_of(DecodingKey::from_ec_pem(pem), "P-256"));
        Self::new(Algorithm::Es256, point.map(KeyMaterial::Ec).as_ref())
    }

    /// An Ed25519 public key in PEM (`PUBLIC KEY`), for `EdDSA` (RFC 8037).
    pub fn eddsa_pem(pem: impl AsRef<[u8]>) -> Self {
        let key = public_pem(pem.as_ref())
            .and_then(|pem| bytes_of(DecodingKey::from_ed_pem(pem), "Ed25519"));
        Self::new(Algorithm::EdDsa, key.map(KeyMaterial::Ed25519).as_ref())
    }

    /// The 32 bytes of an Ed25519 public key, for `EdDSA` (RFC 8037).
    pub fn eddsa_raw(key: impl AsRef<[u8]>) -> Self {
        let material = KeyMaterial::Ed25519(key.as_ref().to_vec());
        Self::new(Algorithm::EdDsa, Ok(&material))
    }

    /// Names the key: a token whose `kid` is this one is verified with it. A key without a name takes
    /// the tokens of its algorithm that no named key takes.
    pub fn kid(mut self, kid: impl Into<String>) -> Self {
        self.kid = Some(kid.into().into());
        self
    }

    /// Whether the key can be used.
    ///
    /// # Errors
    ///
    /// [`KeyError`] with a sentence on what is wrong with it.
    pub fn check(&self) -> Result<(), KeyError> {
        self.verifier.as_ref().map(|_| ()).map_err(Clone::clone)
    }

    pub(crate) fn new(algorithm: Algorithm, key: Result<&KeyMaterial, &KeyError>) -> Self {
        let verifier = match key {
            Ok(material) => Verifier::new(algorithm, material).map(Arc::new),
            Err(error) => Err(error.clone()),
        };
        Self {
            algorithm,
            kid: None,
            fingerprint: key.map_or([0; 32], KeyMaterial::fingerprint),
            verifier,
        }
    }

    pub(crate) const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether this is the same key, under the same name, for the same algorithm.
    pub(crate) fn is(&self, other: &Self) -> bool {
        (self.algorithm, &self.kid, self.fingerprint)
            == (other.algorithm, &other.kid, other.fingerprint)
    }

    pub(crate) const fn name(&self) -> Option<&Arc<str>> {
        self.kid.as_ref()
    }

    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.verifier
            .as_ref()
            .is_ok_and(|verifier| verifier.verifies(message, signature))
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyingKey")
            .field("algorithm", &self.algorithm.name())
            .field("kid", &self.kid)
            .field("error", &self.verifier.as_ref().err())
            .finish_non_exhaustive()
    }
}

/// A PEM that holds a public key. `jsonwebtoken` would take the public half of a private RSA key and
/// the first bits of a certificate too.
fn public_pem(pem: &[u8]) -> Result<&[u8], KeyError> {
    let text = std::str::from_utf8(pem).map_err(|_| KeyError::format("a PEM is text"))?;
    let label = text
        .trim_start()
        .strip_prefix("-----BEGIN ")
        .and_then(|rest| rest.split_once("-----"))
        .map(|(label, _)| label);
    match label {
        Some("PUBLIC KEY" | "RSA PUBLIC KEY") => Ok(pem),
        Some(label) if label.contains("PRIVATE KEY") => Err(KeyError::format(
            "this PEM holds a private key; a service that verifies tokens needs the public one only",
        )),
        Some("CERTIFICATE") => Err(KeyError::format(
            "this PEM holds a certificate; extract its key with `openssl x509 -pubkey -noout`",
        )),
        _ => Err(KeyError::format(
            "this is no PEM of a public key; it begins with `-----BEGIN PUBLIC KEY-----`",
        )),
    }
}

fn rsa_pem(pem: &[u8]) -> Result<KeyMaterial, KeyError> {
    let der = bytes_of(DecodingKey::from_rsa_pem(public_pem(pem)?), "RSA")?;
    let components = crypto::provider()?
        .key_utils
        .rsa_pub_components_from_public_key;
    let (n, e) = components(&der).map_err(|_| not_a_key("RSA"))?;
    Ok(KeyMaterial::rsa(&n, &e))
}

fn bytes_of(
    key: jsonwebtoken::errors::Result<DecodingKey>,
    what: &str,
) -> Result<Vec<u8>, KeyError> {
    let key = key.map_err(|_| not_a_key(what))?;
    key.try_get_as_bytes()
        .map(<[u8]>::to_vec)
        .map_err(|_| not_a_key(what))
}

fn not_a_key(what: &str) -> KeyError {
    KeyError::format(format!("this PEM holds no {what} public key"))
}
