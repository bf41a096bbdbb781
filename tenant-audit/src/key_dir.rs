//! Keys of personal values in a directory.

use std::{
    fmt, fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use tenant_context::TenantId;
use zeroize::Zeroizing;

use crate::{
    ChainId, SinkError, TenantKey, TenantKeys,
    sink::file::disk::{self, explain},
};

/// What stands in a key's place when it was shredded.
const SHREDDED: &[u8] = b"shredded\n";

/// Keeps one key for each tenant in a directory: not in the audit's own, and not in its backups, or shredding
/// erases nothing.
///
/// A key is read whenever it is needed, so that shredding holds at once, also by another process. What a file
/// system or a disk keeps of a file that was overwritten is its own: use one that keeps nothing, or a key service
/// behind [`TenantKeys`].
///
/// ```
/// use tenant_audit::{KeyDir, TenantKeys};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let tmp = tempfile::tempdir()?;
/// let keys = KeyDir::open(tmp.path().join("keys"))?;
/// let acme = "acme".parse()?;
/// assert!(keys.key(&acme)?.is_some());
/// keys.shred(&acme)?;                      // the tenant has left
/// assert!(keys.key(&acme)?.is_none());     // for ever
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct KeyDir {
    dir: PathBuf,
}

impl KeyDir {
    /// Opens a directory, and makes it if there is none.
    ///
    /// # Errors
    ///
    /// [`SinkError`] if it cannot be made.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, SinkError> {
        let dir = dir.as_ref().to_path_buf();
        disk::make_dir(&dir).map_err(explain("cannot be made", &dir))?;
        Ok(Self { dir })
    }

    /// Destroys a tenant's key, for ever: nothing that is sealed under it can be read again, and no new key is made.
    /// Every record and every proof verifies as before.
    ///
    /// # Errors
    ///
    /// [`SinkError`] if it cannot be overwritten: then the key may still be there.
    pub fn shred(&self, tenant: &TenantId) -> Result<(), SinkError> {
        let path = self.path(tenant);
        let failed = |error| explain("cannot be shredded", &path)(error);
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_file() => {
                // In its own place first: whatever replaces a file leaves the old one's blocks as they are.
                let length = usize::try_from(metadata.len())
                    .unwrap_or_default()
                    .min(1 << 16);
                let mut file = fs::OpenOptions::new()
                    .write(true)
                    .open(&path)
                    .map_err(failed)?;
                file.write_all(&vec![0; length]).map_err(failed)?;
                file.sync_all().map_err(failed)?;
            }
            Ok(_) => return Err(failed(io::Error::other("it is no regular file"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        disk::replace(&path, SHREDDED).map_err(failed)?;
        disk::sync_dir(&self.dir).map_err(failed)
    }

    fn path(&self, tenant: &TenantId) -> PathBuf {
        let chain = ChainId::of_tenant(tenant.clone());
        self.dir.join(format!("{}.key", chain.stem()))
    }

    fn make(&self, path: &Path) -> Result<TenantKey, SinkError> {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(bytes.as_mut_slice()).map_err(|error| {
            SinkError::new(format!(
                "the system gives no random bytes for a key: {error}"
            ))
        })?;
        let failed = |error| explain("cannot be made", path)(error);
        // Whole from its first moment on, and of two who make one at a time the first one's stays.
        let new = path.with_extension(format!("{}.new", hex::encode(getrandom_name())));
        let text = Zeroizing::new(hex::encode(bytes.as_slice()) + "\n");
        let made = disk::private()
            .write(true)
            .create_new(true)
            .open(&new)
            .and_then(|mut file| {
                file.write_all(text.as_bytes())?;
                file.sync_all()
            })
            .and_then(|()| fs::hard_link(&new, path));
        // What is left of it is no key of anybody's.
        let _removed = fs::remove_file(&new);
        // Durable before anything is sealed under it.
        made.and_then(|()| disk::sync_dir(&self.dir))
            .map_err(failed)?;
        Ok(TenantKey::new(*bytes))
    }
}

/// So that two do not write to one file.
fn getrandom_name() -> [u8; 8] {
    getrandom::u64().unwrap_or_default().to_be_bytes()
}

impl TenantKeys for KeyDir {
    fn key(&self, tenant: &TenantId) -> Result<Option<TenantKey>, SinkError> {
        let path = self.path(tenant);
        disk::regular(&path)?;
        let text = match fs::read(&path) {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return match self.make(&path) {
                    // Another thread, or process, was faster.
                    Err(_) if path.exists() => self.key(tenant),
                    made => made.map(Some),
                };
            }
            Err(error) => return Err(explain("cannot be read", &path)(error)),
        };
        if text.as_slice() == SHREDDED {
            return Ok(None);
        }
        let mut bytes = Zeroizing::new([0; 32]);
        let digits = text.strip_suffix(b"\n").unwrap_or_default();
        hex::decode_to_slice(digits, bytes.as_mut_slice()).map_err(|_| {
            SinkError::new(format!(
                "{} is no key of a tenant as it was written: restore it, or shred it",
                path.display()
            ))
        })?;
        Ok(Some(TenantKey::new(*bytes)))
    }
}

impl fmt::Debug for KeyDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyDir")
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}
