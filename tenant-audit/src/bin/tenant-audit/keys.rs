//! Keys, made and destroyed.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use tenant_audit::{CheckpointSigner, KeyDir};

use crate::named;

pub(crate) fn shred(out: &mut impl Write, keys: &Path, tenant: &str) -> io::Result<u8> {
    let tenant = tenant.parse().map_err(io::Error::other)?;
    let keys = KeyDir::open(keys).map_err(io::Error::other)?;
    keys.shred(&tenant).map_err(io::Error::other)?;
    writeln!(out, "shredded: the key of {tenant}")?;
    Ok(0)
}

pub(crate) fn keygen(out: &mut impl Write, name: &str, path: &Path) -> io::Result<u8> {
    let signer = CheckpointSigner::generate(name).map_err(io::Error::other)?;
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let mut file = options.open(path).map_err(named(path))?;
    writeln!(file, "{}", signer.secret())?;
    file.sync_all()?;
    writeln!(out, "{}", signer.key())?;
    Ok(0)
}
