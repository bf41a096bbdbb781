//! Sets of keys (RFC 7517).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    KeyError, KeyErrorKind, VerifyingKey,
    algorithm::{Algorithm, Algorithms},
    crypto::KeyMaterial,
    json::{Json, Tape},
};

/// An issuer's public keys, read from a JWK set (RFC 7517 §5).
///
/// A key that cannot be used is left out and reported by [`skipped`](Self::skipped): one bad key
/// never spoils the set. Left out are keys of unknown type, curve or algorithm, keys for encryption,
/// symmetric keys (`oct`: a secret in a published set is none), RSA keys below 2048 bits, keys that
/// carry their private half, and a second key of the same `kid` and algorithm.
///
/// A key without `alg` is used with RS256 (RSA), ES256 (P-256), ES384 (P-384) or `EdDSA` (Ed25519), and
/// with that alone.
///
/// ```
/// use tenant_auth::KeySet;
///
/// let set = KeySet::from_json(r#"{"keys": [
///     {"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": "Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE"},
///     {"kty": "oct", "kid": "b", "k": "c2VjcmV0"}
/// ]}"#)?;
/// assert_eq!((set.len(), set.skipped().len()), (1, 1));
/// assert_eq!(set.skipped()[0].kid(), Some("b"));
/// # Ok::<(), tenant_auth::KeyError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a set verifies nothing until an issuer has it"]
pub struct KeySet {
    keys: Vec<VerifyingKey>,
    skipped: Vec<SkippedKey>,
    /// Where the keys stand.
    places: Vec<usize>,
}

/// A key of a set that was left out.
#[derive(Clone, Debug)]
pub struct SkippedKey {
    index: usize,
    kid: Option<Box<str>>,
    error: KeyError,
}

impl SkippedKey {
    /// The key's place in the set, from 0.
    pub const fn index(&self) -> usize {
        self.index
    }

    /// The key's name, if it has one that could be read.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Why it was left out.
    pub const fn error(&self) -> &KeyError {
        &self.error
    }
}

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

impl KeySet {
    /// The most bytes of a set.
    pub const MAX_LEN: usize = 512 * 1024;
    /// The most keys of a set.
    pub const MAX_KEYS: usize = 256;
    /// The most bytes of a key's name.
    pub const MAX_KID_LEN: usize = 256;

    /// Reads a set.
    ///
    /// # Errors
    ///
    /// [`KeyError`] if it is no JSON object with a list `keys`, or is longer than
    /// [`MAX_LEN`](Self::MAX_LEN) or [`MAX_KEYS`](Self::MAX_KEYS). A set in which no key can be used is
    /// none of these: the layer that is given it does not build.
    pub fn from_json(json: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        let json = json.as_ref();
        if json.len() > Self::MAX_LEN {
            return Err(KeyError::format(format!(
                "the key set has {} bytes; at most {} are read",
                json.len(),
                Self::MAX_LEN
            )));
        }
        let document: Document<'_> = serde_json::from_slice(json).map_err(|_| {
            KeyError::format("this is no JWK set: a JSON object with a list `keys` (RFC 7517 §5)")
        })?;
        if document.keys.len() > Self::MAX_KEYS {
            return Err(KeyError::format(format!(
                "the key set has {} keys; at most {} are read",
                document.keys.len(),
                Self::MAX_KEYS
            )));
        }
        let mut set = Self {
            keys: Vec::new(),
            skipped: Vec::new(),
            places: Vec::new(),
        };
        for (index, raw) in document.keys.into_iter().enumerate() {
            let (kid, key) = read(raw.get());
            match key.and_then(|key| set.admit(key)) {
                Ok(()) => set.places.push(index),
                Err(error) => set.skipped.push(SkippedKey { index, kid, error }),
            }
        }
        Ok(set)
    }

    /// How many keys can be used.
    pub const fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether no key can be used.
    pub const fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys that were left out, and why.
    pub fn skipped(&self) -> &[SkippedKey] {
        &self.skipped
    }

    /// Leaves out the keys of other algorithms.
    pub(crate) fn only(&mut self, algorithms: Algorithms) {
        let keys = std::mem::take(&mut self.keys);
        let places = std::mem::take(&mut self.places);
        for (key, index) in keys.into_iter().zip(places) {
            if algorithms.contains(key.algorithm()) {
                self.keys.push(key);
                self.places.push(index);
                continue;
            }
            let (kid, algorithm) = (key.name().map(|kid| (**kid).into()), key.algorithm());
            let error =
                KeyError::unsupported(format!("the issuer's `algorithms` do not list {algorithm}"));
            self.skipped.push(SkippedKey { index, kid, error });
        }
    }

    pub(crate) fn into_keys(self) -> Vec<VerifyingKey> {
        self.keys
    }

    fn admit(&mut self, key: VerifyingKey) -> Result<(), KeyError> {
        key.check()?;
        let taken = |known: &VerifyingKey| {
            known.name() == key.name() && known.algorithm() == key.algorithm()
        };
        if key.name().is_some() && self.keys.iter().any(taken) {
            return Err(KeyError::format(
                "another key of the set has the same `kid` and algorithm",
            ));
        }
        self.keys.push(key);
        Ok(())
    }
}

fn read(jwk: &str) -> (Option<Box<str>>, Result<VerifyingKey, KeyError>) {
    let mut tape = Tape::default();
    let jwk = match tape.read(jwk.as_bytes()) {
        Ok(()) => tape.root(),
        Err("duplicate_member") => {
            return (
                None,
                Err(KeyError::format("a member stands twice (RFC 7517 §4)")),
            );
        }
        Err(_) => return (None, Err(KeyError::format("the key is no JSON object"))),
    };
    match text(jwk, "kid") {
        Ok(Some(kid)) if kid.len() > KeySet::MAX_KID_LEN => {
            (None, Err(KeyError::format("the `kid` is too long")))
        }
        Ok(Some(kid)) => (Some(kid.into()), key(jwk).map(|key| key.kid(kid))),
        Ok(None) => (None, key(jwk)),
        Err(error) => (None, Err(error)),
    }
}

fn key(jwk: Json<'_, '_>) -> Result<VerifyingKey, KeyError> {
    if ["d", "k", "p", "q"]
        .into_iter()
        .any(|name| jwk.get(name).is_some())
    {
        return Err(KeyError::unsupported(
            "the key carries its secret: no secret is taken from a set that is published",
        ));
    }
    if let Some(purpose) = text(jwk, "use")?
        && purpose != "sig"
    {
        return Err(KeyError::unsupported(
            "the key is not for signatures (`use`)",
        ));
    }
    if let Some(operations) = jwk.get("key_ops") {
        let verifies = operations
            .texts()
            .is_some_and(|mut names| names.any(|name| name == "verify"));
        if !verifies {
            return Err(KeyError::unsupported(
                "the key is not for verifying (`key_ops`)",
            ));
        }
    }
    let kty = text(jwk, "kty")?.ok_or_else(|| KeyError::format("the key has no `kty`"))?;
    let (default, material) = match (kty, text(jwk, "crv")?) {
        ("RSA", _) => (
            Algorithm::Rs256,
            KeyMaterial::rsa(&bytes(jwk, "n")?, &bytes(jwk, "e")?),
        ),
        ("EC", Some("P-256")) => (Algorithm::Es256, point(jwk, 32)?),
        ("EC", Some("P-384")) => (Algorithm::Es384, point(jwk, 48)?),
        ("OKP", Some("Ed25519")) => (Algorithm::EdDsa, KeyMaterial::Ed25519(bytes(jwk, "x")?)),
        ("EC" | "OKP", _) => return Err(KeyError::unsupported("the curve is not supported")),
        _ => return Err(KeyError::unsupported("the type (`kty`) is not supported")),
    };
    let algorithm = match text(jwk, "alg")? {
        None => default,
        Some(name) => Algorithm::from_name(name)
            .ok_or_else(|| KeyError::unsupported("the algorithm (`alg`) is not supported"))?,
    };
    Ok(VerifyingKey::new(algorithm, Ok(&material)))
}

fn text<'t>(jwk: Json<'t, '_>, name: &'static str) -> Result<Option<&'t str>, KeyError> {
    let Some(value) = jwk.get(name) else {
        return Ok(None);
    };
    let text = value.as_text();
    text.map(Some)
        .ok_or_else(|| KeyError::format(format!("`{name}` is no text")))
}

fn bytes(jwk: Json<'_, '_>, name: &'static str) -> Result<Vec<u8>, KeyError> {
    let text = text(jwk, name)?.ok_or_else(|| KeyError::format(format!("`{name}` is missing")))?;
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| KeyError::format(format!("`{name}` is no base64url")))
}

/// Both coordinates at full length (RFC 7518 §6.2.1.2).
fn point(jwk: Json<'_, '_>, length: usize) -> Result<KeyMaterial, KeyError> {
    let (x, y) = (bytes(jwk, "x")?, bytes(jwk, "y")?);
    if x.len() != length || y.len() != length {
        return Err(KeyError::new(
            KeyErrorKind::Format,
            format!("`x` and `y` have {length} bytes each on this curve"),
        ));
    }
    Ok(KeyMaterial::Ec([&[4], x.as_slice(), &y].concat()))
}
