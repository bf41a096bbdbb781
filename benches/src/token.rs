//! Keys made at start, and the tokens that every row and every peer is given.

use std::{
    fmt,
    sync::OnceLock,
    time::{SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    hmac,
    rand::{SecureRandom, SystemRandom},
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair,
        Ed25519KeyPair, KeyPair, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256,
        RsaKeyPair,
    },
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};

use crate::Result;

/// Who issues the tokens.
pub const ISSUER: &str = "https://id.example.com";
/// Whom they are for.
pub const AUDIENCE: &str = "api";
/// Whose they are.
pub const TENANT: &str = "acme";
/// The bytes of the `EdDSA` token. The others carry the same claims under their own signatures.
pub const LENGTH: usize = 800;

/// A signature algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Algorithm {
    /// HMAC with SHA-256.
    Hs256,
    /// RSA 2048 with PKCS #1 v1.5 padding and SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// Its name in a token's header, which is also its key's id.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }
}

/// One key with both halves.
pub struct Key {
    algorithm: Algorithm,
    signer: Signer,
}

enum Signer {
    Hmac {
        secret: [u8; 32],
        key: Box<hmac::Key>,
    },
    Rsa(RsaKeyPair),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Key {
    fn generate(algorithm: Algorithm) -> Result<Self> {
        let signer = match algorithm {
            Algorithm::Hs256 => {
                let mut secret = [0; 32];
                SystemRandom::new().fill(&mut secret)?;
                Signer::Hmac {
                    secret,
                    key: Box::new(hmac::Key::new(hmac::HMAC_SHA256, &secret)),
                }
            }
            Algorithm::Rs256 => Signer::Rsa(RsaKeyPair::generate(KeySize::Rsa2048)?),
            Algorithm::Es256 => {
                Signer::Ecdsa(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?)
            }
            Algorithm::EdDsa => Signer::Ed25519(Ed25519KeyPair::generate()?),
        };
        Ok(Self { algorithm, signer })
    }

    /// The algorithm.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The secret of an HMAC key; of the others the public key: PKCS #1 DER, the uncompressed
    /// point, the 32 bytes.
    pub fn verifying_bytes(&self) -> &[u8] {
        match &self.signer {
            Signer::Hmac { secret, .. } => secret,
            Signer::Rsa(pair) => pair.public_key().as_ref(),
            Signer::Ecdsa(pair) => pair.public_key().as_ref(),
            Signer::Ed25519(pair) => pair.public_key().as_ref(),
        }
    }

    /// The public key in PEM, as issuers publish RSA and P-256 keys.
    ///
    /// # Errors
    ///
    /// The key is of another kind.
    pub fn pem(&self) -> Result<String> {
        let (label, der) = match &self.signer {
            Signer::Rsa(pair) => ("RSA PUBLIC KEY", pair.public_key().as_ref().to_vec()),
            Signer::Ecdsa(pair) => {
                let der: PublicKeyX509Der = pair.public_key().as_der()?;
                ("PUBLIC KEY", der.as_ref().to_vec())
            }
            Signer::Hmac { .. } | Signer::Ed25519(_) => return Err("use `verifying_bytes`".into()),
        };
        let encoded = STANDARD.encode(der);
        let mut lines = String::new();
        for line in encoded.as_bytes().chunks(64) {
            lines.push_str(std::str::from_utf8(line)?);
            lines.push('\n');
        }
        Ok(format!(
            "-----BEGIN {label}-----\n{lines}-----END {label}-----\n"
        ))
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let random = SystemRandom::new();
        Ok(match &self.signer {
            Signer::Hmac { key, .. } => hmac::sign(key, message).as_ref().to_vec(),
            Signer::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)?;
                signature
            }
            Signer::Ecdsa(pair) => pair.sign(&random, message)?.as_ref().to_vec(),
            Signer::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
        })
    }

    /// Signs these claims.
    fn token(&self, claims: &Value) -> Result<String> {
        let name = self.algorithm.name();
        let header = json!({ "typ": "JWT", "alg": name, "kid": name });
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&header), encode(claims));
        let signature = self.sign(signed.as_bytes())?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// A check of this key's signature under this token, the key parsed once.
    ///
    /// # Errors
    ///
    /// The token is not in three parts, or the key does not parse.
    pub fn raw_check(&self, token: &str) -> Result<Box<dyn FnMut() -> bool>> {
        let (signed, signature) = token.rsplit_once('.').ok_or("a token has three parts")?;
        let signed = signed.as_bytes().to_vec();
        let signature = URL_SAFE_NO_PAD.decode(signature)?;
        let parsed = match &self.signer {
            Signer::Hmac { key, .. } => {
                let key = key.clone();
                return Ok(Box::new(move || {
                    hmac::verify(&key, &signed, &signature).is_ok()
                }));
            }
            Signer::Rsa(_) => {
                ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, self.verifying_bytes())
            }
            Signer::Ecdsa(_) => {
                ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.verifying_bytes())
            }
            Signer::Ed25519(_) => ParsedPublicKey::new(&ED25519, self.verifying_bytes()),
        }?;
        Ok(Box::new(move || {
            parsed.verify_sig(&signed, &signature).is_ok()
        }))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// The claims of all tokens, long enough to give an `EdDSA` token of [`LENGTH`] bytes.
fn claims(padding: usize) -> Result<Value> {
    #[allow(
        clippy::disallowed_methods,
        reason = "tokens that the peers check against the system's clock"
    )]
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    Ok(json!({
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "auth0|5f7c8ec7c33c6c004bbafe82",
        "tenant_id": TENANT,
        "iat": now.saturating_sub(60),
        "exp": now.saturating_add(86_400),
        "jti": "b7b1c7a2-6f0e-4a52-9d1a-6d1b6b0f6a11",
        "scope": "invoices:read invoices:write reports:create",
        "roles": ["accountant"],
        "act": { "sub": "invoice-agent-7" },
        "nonce": "n".repeat(padding),
    }))
}

/// The keys and tokens of one run, each made when it is first asked for.
#[derive(Debug, Default)]
pub struct Tokens {
    keys: [OnceLock<Key>; 4],
}

impl Tokens {
    /// The run's key of this algorithm.
    ///
    /// # Errors
    ///
    /// No randomness.
    pub fn key(&self, algorithm: Algorithm) -> Result<&Key> {
        let [hs256, rs256, es256, eddsa] = &self.keys;
        let slot = match algorithm {
            Algorithm::Hs256 => hs256,
            Algorithm::Rs256 => rs256,
            Algorithm::Es256 => es256,
            Algorithm::EdDsa => eddsa,
        };
        if let Some(key) = slot.get() {
            return Ok(key);
        }
        let key = Key::generate(algorithm)?;
        Ok(slot.get_or_init(|| key))
    }

    /// The token of this algorithm: an agent's, acting for a person.
    ///
    /// # Errors
    ///
    /// The key cannot be made or does not sign.
    pub fn token(&self, algorithm: Algorithm) -> Result<String> {
        let model = self.key(Algorithm::EdDsa)?;
        let missing = LENGTH.saturating_sub(model.token(&claims(0)?)?.len());
        // Three bytes are four characters.
        let padding = missing.saturating_mul(3) / 4;
        self.key(algorithm)?.token(&claims(padding)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Algorithm; 4] = [
        Algorithm::Hs256,
        Algorithm::Rs256,
        Algorithm::Es256,
        Algorithm::EdDsa,
    ];

    #[test]
    fn the_eddsa_token_has_its_length() {
        let length = Tokens::default().token(Algorithm::EdDsa).unwrap().len();
        assert!((LENGTH - 1..=LENGTH).contains(&length), "{length}");
    }

    #[test]
    fn a_raw_check_accepts_the_token_and_nothing_else() {
        let tokens = Tokens::default();
        for algorithm in ALL {
            let (key, token) = (
                tokens.key(algorithm).unwrap(),
                tokens.token(algorithm).unwrap(),
            );
            assert!(key.raw_check(&token).unwrap()(), "{algorithm:?}");
            let other = token.replacen('.', ".A", 1);
            assert!(!key.raw_check(&other).unwrap()(), "{algorithm:?}");
        }
    }
}
