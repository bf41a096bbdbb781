//! Personal values: a commitment in the record, the value itself only under the tenant's key.

use std::{borrow::Cow, fmt, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use serde_json::Value;
use tenant_context::{Personal, TenantId};
use zeroize::Zeroizing;

use crate::{
    SinkError,
    chain::{FieldHasher, Hash, parse_hash},
    draft::Draft,
    json::{self, Members, key},
    text,
};

const COMMITMENT: &str = "tenant-audit/personal/1";
const PLACE: &str = "tenant-audit/personal-place/1";
const SALT: usize = 16;
const NONCE: usize = 24;

/// A tenant's key for personal values. It is erased when it is dropped.
pub struct TenantKey(Zeroizing<[u8; 32]>);

impl TenantKey {
    /// A key of 32 random bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The key itself, for whoever keeps it.
    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for TenantKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TenantKey(…)")
    }
}

/// Where the keys of personal values are kept: [`KeyDir`](crate::KeyDir), or a key service of yours.
///
/// The worker asks once for each record that has personal values, on its own task: answer from memory or a local
/// file. Whoever answers with a key that is not the tenant's makes the value unreadable; whoever forgets a key makes
/// all values sealed under it unreadable for ever, which is what shredding is.
pub trait TenantKeys: Send + Sync + 'static {
    /// The tenant's key, made if it has none. `None`: it was shredded, and no new one is to be made.
    ///
    /// # Errors
    ///
    /// What failed: the record is written with the commitment alone, and the value is lost.
    fn key(&self, tenant: &TenantId) -> Result<Option<TenantKey>, SinkError>;
}

/// The keys that the worker asks for.
pub(crate) struct Keyring(pub(crate) Arc<dyn TenantKeys>);

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyring(…)")
    }
}

impl Keyring {
    fn key(&self, tenant: Option<&str>) -> Option<TenantKey> {
        let tenant = TenantId::parse(tenant?).ok()?;
        match self.0.key(&tenant) {
            Ok(key) => key,
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    %tenant,
                    "no key for a personal value: its record holds the commitment alone"
                );
                None
            }
        }
    }
}

/// Which value of which record: what is sealed for one place opens in no other.
struct Place<'a> {
    tenant: &'a str,
    event_id: &'a str,
    name: &'a str,
}

impl Place<'_> {
    fn fields(&self, hasher: FieldHasher) -> FieldHasher {
        hasher
            .field(self.tenant.as_bytes())
            .field(self.event_id.as_bytes())
            .field(self.name.as_bytes())
    }

    fn commit(&self, salt: &[u8], value: &str) -> Hash {
        self.fields(FieldHasher::new(COMMITMENT).field(salt))
            .field(value.as_bytes())
            .finish()
    }

    fn bound(&self) -> Hash {
        self.fields(FieldHasher::new(PLACE)).finish()
    }

    fn seal(&self, key: &TenantKey, salt: &[u8; SALT], value: &str) -> Option<String> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).ok()?;
        let content = Zeroizing::new([salt.as_slice(), value.as_bytes()].concat());
        let payload = Payload {
            msg: &content,
            aad: &self.bound(),
        };
        let cipher = XChaCha20Poly1305::new(key.bytes().into());
        let sealed = cipher.encrypt(&XNonce::from(nonce), payload).ok()?;
        Some(STANDARD.encode([nonce.as_slice(), &sealed].concat()))
    }

    /// The value, if the key opens it and it is what the record commits to.
    fn open(&self, key: &TenantKey, sealed: &str, commitment: &Hash) -> Option<String> {
        let sealed = STANDARD.decode(sealed).ok()?;
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE>()?;
        let payload = Payload {
            msg: sealed,
            aad: &self.bound(),
        };
        let cipher = XChaCha20Poly1305::new(key.bytes().into());
        let content = Zeroizing::new(cipher.decrypt(&XNonce::from(*nonce), payload).ok()?);
        let (salt, value) = content.split_at_checked(SALT)?;
        let value = std::str::from_utf8(value).ok()?;
        (self.commit(salt, value) == *commitment).then(|| value.to_owned())
    }
}

/// Writes the values under their names, in canonical order; of two with one name the later one counts.
pub(crate) fn write(
    values: &[(Cow<'static, str>, Personal)],
    draft: &Draft<'_>,
    keys: Option<&mut Keyring>,
    out: &mut Vec<u8>,
) {
    let key = keys.and_then(|keys| keys.key(draft.tenant));
    let mut sorted: Vec<(Cow<'_, str>, &Personal)> = values
        .iter()
        .map(|(name, value)| (text::member(name), value))
        .collect();
    sorted.sort_by(|(a, _), (b, _)| json::by_utf16(a, b));
    let mut last: Option<&str> = None;
    let mut unique = Vec::with_capacity(sorted.len());
    for (name, value) in sorted.iter().rev() {
        if last != Some(name) {
            unique.push((name, *value));
        }
        last = Some(name);
    }
    out.push(b'{');
    for (n, (name, value)) in unique.into_iter().rev().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        json::string(name, out);
        out.push(b':');
        let place = Place {
            tenant: draft.tenant.unwrap_or_default(),
            event_id: draft.event_id,
            name,
        };
        one(&place, value.reveal(), key.as_ref(), out);
    }
    out.push(b'}');
}

fn one(place: &Place<'_>, value: &str, key: Option<&TenantKey>, out: &mut Vec<u8>) {
    let mut salt = Zeroizing::new([0; SALT]);
    let mut members = Members::begin(out);
    // Without a salt nothing is said at all: a commitment that can be guessed would show the value.
    if getrandom::fill(salt.as_mut_slice()).is_ok() {
        let commitment = hex::encode(place.commit(salt.as_slice(), value));
        members.plain(key!("commitment"), commitment.as_bytes());
        if let Some(sealed) = key.and_then(|key| place.seal(key, &salt, value)) {
            members.plain(key!("sealed"), sealed.as_bytes());
        }
    }
    members.end();
}

/// The personal values of a record, by name: those that the tenant's key opens and that are what the record
/// commits to. `None` in place of a value that is gone.
///
/// `record` is what stands under `record` in a chain's line.
///
/// # Errors
///
/// What the keys say.
pub fn reveal(
    record: &Value,
    keys: &dyn TenantKeys,
) -> Result<Vec<(String, Option<String>)>, SinkError> {
    let text = |name: &str| record.get(name).and_then(Value::as_str);
    let (Some(tenant), Some(event_id)) = (text("tenant_id"), text("event_id")) else {
        return Ok(Vec::new());
    };
    let Some(values) = record.get("personal").and_then(Value::as_object) else {
        return Ok(Vec::new());
    };
    let Ok(id) = TenantId::parse(tenant) else {
        return Ok(Vec::new());
    };
    let key = keys.key(&id)?;
    let open = |(name, value): (&String, &Value)| {
        let field = |name: &str| value.get(name).and_then(Value::as_str);
        let place = Place {
            tenant,
            event_id,
            name,
        };
        let opened = key.as_ref().and_then(|key| {
            let commitment = parse_hash(field("commitment")?)?;
            place.open(key, field("sealed")?, &commitment)
        });
        (name.clone(), opened)
    };
    Ok(values.iter().map(open).collect())
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn i8_what_is_sealed_opens_in_its_place_alone_and_under_its_key_alone() {
        let (key, other) = (TenantKey::new([1; 32]), TenantKey::new([2; 32]));
        let place = |tenant, event_id, name| Place {
            tenant,
            event_id,
            name,
        };
        let here = place("acme", "e1", "email");
        let salt = [7; SALT];
        // Nobody guesses a value and looks whether it is the one.
        assert_ne!(here.commit(&salt, "ada"), here.commit(&[8; SALT], "ada"));
        let sealed = here.seal(&key, &salt, "ada@example.com").unwrap();
        let commitment = here.commit(&salt, "ada@example.com");
        assert_eq!(
            here.open(&key, &sealed, &commitment).as_deref(),
            Some("ada@example.com")
        );
        assert_eq!(here.open(&other, &sealed, &commitment), None);
        assert_eq!(
            here.open(&key, &sealed, &[0; 32]),
            None,
            "not what was committed to"
        );
        for elsewhere in [
            place("globex", "e1", "email"),
            place("acme", "e2", "email"),
            place("acme", "e1", "phone"),
            place("acmee", "1", "email"),
        ] {
            assert_eq!(elsewhere.open(&key, &sealed, &commitment), None);
            assert_ne!(elsewhere.commit(&salt, "ada@example.com"), commitment);
        }
        assert_ne!(here.commit(&[8; SALT], "ada@example.com"), commitment);
    }
}
