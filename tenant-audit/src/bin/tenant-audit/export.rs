//! What is taken out of a log: a tenant's records, the signed checkpoint.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use serde_json::Value;
use tenant_audit::{Export, SinkError, VerifyErrorKind};

use crate::{Format, NOT_VERIFIED, named, said};

pub(crate) fn checkpoint(out: &mut impl Write, dir: &Path) -> io::Result<u8> {
    let path = dir.join("checkpoint.json");
    let bytes = fs::read(&path).map_err(named(&path))?;
    let checkpoint: Value = serde_json::from_slice(&bytes)?;
    match checkpoint.get("note").and_then(Value::as_str) {
        Some(note) => write!(out, "{note}").map(|()| 0),
        None => Err(io::Error::other(format!(
            "{} is no checkpoint as it was written: run `tenant-audit verify`",
            path.display()
        ))),
    }
}

pub(crate) fn range(tenant: &str, since: Option<&str>, until: Option<&str>) -> io::Result<Export> {
    let build = || -> Result<Export, SinkError> {
        let mut export = Export::of(
            tenant
                .parse()
                .map_err(|error| SinkError::new(format!("{error}")))?,
        );
        if let Some(since) = since {
            export = export.since(since)?;
        }
        if let Some(until) = until {
            export = export.until(until)?;
        }
        Ok(export)
    };
    build().map_err(io::Error::other)
}

pub(crate) fn export(
    out: &mut impl Write,
    dir: &Path,
    export: &Export,
    format: Format,
) -> io::Result<u8> {
    let mut out = io::BufWriter::new(out);
    let written = match format {
        Format::Jsonl => export.bundle(dir, &mut out),
        Format::Ocsf => export.ocsf(dir, &mut out),
    };
    match written {
        Ok(()) => Ok(0),
        Err(finding) if finding.kind() == VerifyErrorKind::Unreadable => {
            Err(io::Error::other(finding))
        }
        Err(finding) => said(
            NOT_VERIFIED,
            writeln!(io::stderr(), "NOT VERIFIED, and not exported\n  {finding}"),
        ),
    }
}
