//! Signed notes (C2SP `signed-note`, Ed25519), and the keys that sign and verify them.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::SinkError;

const ED25519: u8 = 1;
const MAX_NAME: usize = 200;
/// What a note's last line begins with.
const DASH: &str = "\u{2014} ";

fn bad(what: &'static str) -> SinkError {
    SinkError::new(what)
}

fn check_name(name: &str) -> Result<(), SinkError> {
    let fits = !name.is_empty()
        && name.len() <= MAX_NAME
        && name
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'+');
    fits.then_some(()).ok_or_else(|| {
        bad(
            "a checkpoint key's name is 1 to 200 characters of printable ASCII without space and `+`: take the log's own, `audit.example.com/api`",
        )
    })
}

/// Names a key in a signature's line.
fn key_id(name: &str, key: &VerifyingKey) -> [u8; 4] {
    let digest = Sha256::new()
        .chain_update(name)
        .chain_update([b'\n', ED25519])
        .chain_update(key.as_bytes())
        .finalize();
    digest.first_chunk().copied().unwrap_or_default()
}

/// Signs checkpoints. Keep it where whoever can write the log cannot read it, or somebody who has both can
/// write another history.
///
/// ```
/// use tenant_audit::{CheckpointSigner, CheckpointKey};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let signer = CheckpointSigner::generate("audit.example.com/api")?;
/// let secret: String = signer.secret();                        // into the vault
/// let public: CheckpointKey = signer.key().to_string().parse()?;   // to whoever verifies
/// # assert_eq!(CheckpointSigner::parse(&secret)?.key(), public);
/// # Ok(())
/// # }
/// ```
pub struct CheckpointSigner {
    name: String,
    key: SigningKey,
}

impl CheckpointSigner {
    /// A new key under a name, which is the checkpoints' origin.
    ///
    /// # Errors
    ///
    /// [`SinkError`] if the name is none, or the system gives no random bytes.
    pub fn generate(name: &str) -> Result<Self, SinkError> {
        check_name(name)?;
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut_slice()).map_err(|error| {
            SinkError::new(format!(
                "the system gives no random bytes for a key: {error}"
            ))
        })?;
        Ok(Self {
            name: name.to_owned(),
            key: SigningKey::from_bytes(&seed),
        })
    }

    /// Reads what [`secret`](Self::secret) gave: the `PRIVATE+KEY+…` of Go's `note` package.
    ///
    /// # Errors
    ///
    /// [`SinkError`], which does not repeat the text.
    pub fn parse(secret: &str) -> Result<Self, SinkError> {
        let wrong = || {
            bad(
                "this is no checkpoint signing key: it begins with `PRIVATE+KEY+`, and `tenant-audit keygen` makes one",
            )
        };
        let rest = secret
            .trim()
            .strip_prefix("PRIVATE+KEY+")
            .ok_or_else(wrong)?;
        let mut parts = rest.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(wrong());
        };
        check_name(name)?;
        let bytes = Zeroizing::new(STANDARD.decode(key).map_err(|_| wrong())?);
        let Some((&ED25519, seed)) = bytes.split_first() else {
            return Err(wrong());
        };
        let seed = Zeroizing::new(<[u8; 32]>::try_from(seed).map_err(|_| wrong())?);
        let key = SigningKey::from_bytes(&seed);
        if hex::encode(key_id(name, &key.verifying_key())) != id {
            return Err(wrong());
        }
        Ok(Self {
            name: name.to_owned(),
            key,
        })
    }

    /// The key as text, to be kept secret.
    pub fn secret(&self) -> String {
        let key = self.key();
        let mut bytes = Zeroizing::new(vec![ED25519]);
        bytes.extend_from_slice(self.key.as_bytes());
        let id = hex::encode(key.id());
        format!(
            "PRIVATE+KEY+{}+{id}+{}",
            self.name,
            STANDARD.encode(&*bytes)
        )
    }

    /// What verifies this key's signatures.
    pub fn key(&self) -> CheckpointKey {
        CheckpointKey {
            name: self.name.clone(),
            key: self.key.verifying_key(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The text, signed: a whole note.
    pub(crate) fn sign(&self, text: &str) -> String {
        let id = key_id(&self.name, &self.key.verifying_key());
        let signature = self.key.sign(text.as_bytes()).to_bytes();
        let signed = STANDARD.encode([&id[..], &signature].concat());
        format!("{text}\n{DASH}{} {signed}\n", self.name)
    }
}

impl fmt::Debug for CheckpointSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckpointSigner")
            .field("key", &self.key())
            .finish_non_exhaustive()
    }
}

/// Verifies checkpoints: a C2SP verifier key, `name+id+key`.
#[derive(Clone, PartialEq, Eq)]
pub struct CheckpointKey {
    name: String,
    key: VerifyingKey,
}

impl CheckpointKey {
    fn id(&self) -> [u8; 4] {
        key_id(&self.name, &self.key)
    }

    /// The text of a note that this key has signed. Other signatures are no matter: a note may carry those
    /// of an older key, a newer one and of witnesses.
    pub(crate) fn open<'a>(&self, note: &'a str) -> Option<&'a str> {
        // The text ends with the line feed before the empty line.
        let at = note.rfind("\n\n")?.checked_add(1)?;
        let (text, signatures) = note.split_at_checked(at)?;
        let signatures = signatures.strip_prefix('\n')?.strip_suffix('\n')?;
        let mut verified = false;
        for line in signatures.split('\n') {
            let (name, signed) = line.strip_prefix(DASH)?.split_once(' ')?;
            let signed = STANDARD.decode(signed).ok()?;
            let (id, signature) = signed.split_first_chunk()?;
            if name == self.name && *id == self.id() {
                let signature = Signature::from_slice(signature).ok()?;
                self.key.verify_strict(text.as_bytes(), &signature).ok()?;
                verified = true;
            }
        }
        verified.then_some(text)
    }

    /// The key's name, which is the checkpoints' origin.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for CheckpointKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = STANDARD.encode([&[ED25519][..], self.key.as_bytes()].concat());
        write!(f, "{}+{}+{key}", self.name, hex::encode(self.id()))
    }
}

impl fmt::Debug for CheckpointKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CheckpointKey({self})")
    }
}

impl FromStr for CheckpointKey {
    type Err = SinkError;

    fn from_str(text: &str) -> Result<Self, SinkError> {
        let wrong = || {
            bad(
                "this is no checkpoint key: it is `name+id+key`, the public half that `tenant-audit keygen` prints",
            )
        };
        let mut parts = text.trim().splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(wrong());
        };
        check_name(name)?;
        let bytes = STANDARD.decode(key).map_err(|_| wrong())?;
        let Some((&ED25519, key)) = bytes.split_first() else {
            return Err(wrong());
        };
        let key = <[u8; 32]>::try_from(key).map_err(|_| wrong())?;
        let key = Self {
            name: name.to_owned(),
            key: VerifyingKey::from_bytes(&key).map_err(|_| wrong())?,
        };
        (hex::encode(key.id()) == id)
            .then_some(key)
            .ok_or_else(wrong)
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The example of Go's `golang.org/x/mod/sumdb/note`.
    const PETER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const NOTE: &str = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n\
        \n\
        \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    #[test]
    fn a_foreign_note_verifies() {
        let key: CheckpointKey = PETER.parse().unwrap();
        let text = key.open(NOTE).unwrap();
        assert!(text.starts_with("If you think") && text.ends_with("problem is.\n"));
        assert_eq!(key.to_string(), PETER);
    }

    #[test]
    fn i8_a_signer_does_not_show_its_secret() {
        let signer = CheckpointSigner::generate("log.example").unwrap();
        let secret = signer.secret();
        // `PRIVATE+KEY+name+id+key`, and base64 has a plus of its own.
        let encoded = secret.splitn(5, '+').last().unwrap();
        assert!(!format!("{signer:?}").contains(encoded));
        let error = CheckpointSigner::parse(&secret.replace("log", "lug")).unwrap_err();
        assert!(!error.to_string().contains(encoded));
    }

    proptest! {
        #[test]
        fn no_byte_of_a_signed_note_is_free_to_change(text in "[a-z]{1,8}\n[0-9]{1,3}\n[a-z]{3}\n", at in any::<prop::sample::Index>(), flip in 1_u8..128) {
            let signer = CheckpointSigner::generate("log.example").unwrap();
            let note = signer.sign(&text);
            prop_assert_eq!(signer.key().open(&note), Some(&*text));
            let other = CheckpointSigner::generate("log.example").unwrap();
            prop_assert_eq!(other.key().open(&note), None);
            let mut bytes = note.clone().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            if let Ok(changed) = String::from_utf8(bytes) {
                prop_assert_eq!(signer.key().open(&changed), None);
            }
        }

        #[test]
        fn any_text_is_read_without_a_panic(note in any::<String>()) {
            let key: CheckpointKey = PETER.parse().unwrap();
            prop_assert_eq!(key.open(&note), None);
            prop_assert!(note.parse::<CheckpointKey>().is_err());
        }
    }
}
