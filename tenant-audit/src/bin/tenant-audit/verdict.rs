//! What verification says, as text, JSON and exit code.

use std::{
    fs,
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tenant_audit::{Finding, Verifier, VerifyErrorKind};

use crate::{NOT_VERIFIED, UNREADABLE, named, said};

pub(crate) fn verifier(keys: &[String], against: &[PathBuf]) -> io::Result<Verifier> {
    let mut verifier = Verifier::new();
    for key in keys {
        verifier = verifier.key(key.parse().map_err(io::Error::other)?);
    }
    for path in against {
        verifier = verifier.against(fs::read(path).map_err(named(path))?);
    }
    Ok(verifier)
}

pub(crate) fn verify_bundle(
    out: &mut impl Write,
    path: &Path,
    keys: &[String],
    json: bool,
) -> io::Result<u8> {
    let keys = keys.iter().map(|key| key.parse().map_err(io::Error::other));
    let keys = keys.collect::<io::Result<Vec<_>>>()?;
    let file = fs::File::open(path).map_err(named(path))?;
    match tenant_audit::verify_bundle(file, &keys) {
        Ok(verified) if json => {
            let verdict = json!({
                "verified": true,
                "tenant": verified.tenant,
                "records": verified.records,
                "first": verified.first,
                "withheld": verified.withheld,
            });
            said(0, writeln!(out, "{verdict}"))
        }
        Ok(verified) => {
            let mut text = vec![format!(
                "verified: {} records of {}, all from its record {} on up to the checkpoint",
                verified.records, verified.tenant, verified.first
            )];
            if verified.withheld > 0 {
                text.push(format!(
                    "but {} later ones, whose digests alone are here",
                    verified.withheld
                ));
            }
            said(0, writeln!(out, "{}", text.join("\n")))
        }
        Err(finding) => {
            let code = if finding.kind() == VerifyErrorKind::Unreadable {
                UNREADABLE
            } else {
                NOT_VERIFIED
            };
            let written = if json {
                let verdict = json!({"verified": false, "findings": as_json(&[&finding])});
                writeln!(out, "{verdict}")
            } else {
                writeln!(io::stderr(), "NOT VERIFIED\n  {finding}")
            };
            said(code, written)
        }
    }
}

/// A bar on the terminal, if there is one and nothing else is to read the output.
fn watched(verifier: Verifier) -> Verifier {
    if !io::stderr().is_terminal() {
        return verifier;
    }
    verifier.on_progress(|done, total| {
        const WIDTH: u64 = 40;
        let share = |of: u64| {
            done.saturating_mul(of)
                .checked_div(total)
                .unwrap_or(of)
                .min(of)
        };
        let filled = usize::try_from(share(WIDTH)).unwrap_or_default();
        let bar = "#".repeat(filled);
        let end = if done >= total { "\r\x1b[K" } else { "" };
        // Nobody is left to be told if this fails.
        let _shown = write!(io::stderr(), "\r[{bar:<40}] {:>3} %{end}", share(100));
    })
}

pub(crate) fn report(
    out: &mut impl Write,
    against: Verifier,
    dir: &Path,
    json: bool,
) -> io::Result<u8> {
    let against = if json { against } else { watched(against) };
    match against.verify(dir) {
        Ok(verified) if json => {
            let verdict = json!({
                "verified": true,
                "records": verified.records,
                "tenants": verified.tenants,
                "unsealed": verified.unsealed,
                "recovered": verified.recovered,
                "bytes": verified.bytes,
                "signed": verified.signed,
                "checkpoint": verified.checkpoint,
            });
            said(0, writeln!(out, "{verdict}"))
        }
        Ok(verified) => {
            let mut text = vec![format!(
                "verified: {} records, {} tenants, checkpoint {}",
                verified.records, verified.tenants, verified.checkpoint
            )];
            if !verified.signed {
                text.push("no signature was checked: whoever can write the directory could have made all of it; give `--key`".to_owned());
            }
            if verified.unsealed > 0 {
                text.push(format!("{} records are beyond the checkpoint: a writer is at work, or ended without a clean shutdown",
                    verified.unsealed));
            }
            if verified.recovered > 0 {
                text.push(format!(
                    "{} torn writes are accounted for by recovery records",
                    verified.recovered
                ));
            }
            said(0, writeln!(out, "{}", text.join("\n")))
        }
        Err(error) => {
            let findings: Vec<&Finding> = error.findings().collect();
            let unreadable = findings
                .iter()
                .all(|finding| finding.kind() == VerifyErrorKind::Unreadable);
            let code = if unreadable { UNREADABLE } else { NOT_VERIFIED };
            let written = if json {
                let verdict = json!({"verified": false, "findings": as_json(&findings)});
                writeln!(out, "{verdict}")
            } else {
                let mut text = vec!["NOT VERIFIED".to_owned()];
                for finding in &findings {
                    text.push(format!("  {finding}"));
                }
                writeln!(io::stderr(), "{}", text.join("\n"))
            };
            said(code, written)
        }
    }
}

fn as_json(findings: &[&Finding]) -> Vec<Value> {
    findings
        .iter()
        .map(|finding| {
            json!({
                "file": finding.file().to_string_lossy(),
                "line": finding.line(),
                "event_id": finding.event_id(),
                "problem": finding.kind().to_string(),
            })
        })
        .collect()
}
