//! Files and directories, handled with care: regular files only, nobody else's to read, replaced as one step.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    path::Path,
};

use crate::SinkError;

const LOCK: &str = "lock";

/// Which directory a path names.
pub(crate) type Identity = (u64, u64);

pub(crate) fn explain(what: &str, path: &Path) -> impl FnOnce(io::Error) -> SinkError {
    let message = format!("{} {what}", path.display());
    move |error| SinkError::new(format!("{message}: {error}")).with_source(error)
}

/// Replaces a file, as one step. What stands in the new one's place is removed, not followed: it may be a
/// link to somewhere else.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = private().write(true).create_new(true).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)
}

/// A file that is written to is a regular one: a link may lead anywhere, a pipe blocks.
pub(crate) fn regular(path: &Path) -> Result<(), SinkError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.is_file() => Err(SinkError::new(format!(
            "{} is no regular file: somebody else put it there; move it away",
            path.display()
        ))),
        _ => Ok(()),
    }
}

/// Opens a file that is a regular one, for reading.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    File::open(path)
}

/// Records are nobody else's to read.
#[cfg(unix)]
pub(crate) fn private() -> OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

#[cfg(not(unix))]
pub(crate) fn private() -> OpenOptions {
    OpenOptions::new()
}

pub(crate) fn make_dir(dir: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        builder.mode(0o700);
    }
    builder.create(dir)
}

#[cfg(unix)]
pub(crate) fn identity(dir: &Path) -> io::Result<Identity> {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(dir)?;
    Ok((metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
pub(crate) fn identity(dir: &Path) -> io::Result<Identity> {
    fs::metadata(dir).map(|_| (0, 0))
}

/// Whether an open file is the one that stands at a path.
#[cfg(unix)]
pub(crate) fn is_at(open: &fs::Metadata, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::symlink_metadata(path)
        .is_ok_and(|there| (there.dev(), there.ino()) == (open.dev(), open.ino()))
}

#[cfg(not(unix))]
pub(crate) fn is_at(_: &fs::Metadata, path: &Path) -> bool {
    path.exists()
}

/// Makes new names durable.
#[cfg(unix)]
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Elsewhere a directory cannot be synced by itself.
#[cfg(not(unix))]
pub(crate) fn sync_dir(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Makes this process, and this caller, the one writer of a directory for as long as the file is held.
pub(crate) fn lock(dir: &Path) -> Result<File, SinkError> {
    let path = dir.join(LOCK);
    regular(&path)?;
    let file = private()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(explain("cannot be opened", &path))?;
    match fs4::FileExt::try_lock(&file) {
        Ok(()) => Ok(file),
        Err(fs4::TryLockError::WouldBlock) => Err(SinkError::new(format!(
            "{} is written to by another process, or by another sink of this one: a directory has one writer; give this one its own",
            dir.display()
        ))),
        Err(fs4::TryLockError::Error(error)) => Err(explain("cannot be locked", &path)(error)),
    }
}
