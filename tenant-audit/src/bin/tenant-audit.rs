//! The command line: `tenant-audit verify DIR`.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use serde_json::json;
use tenant_audit::{Finding, VerifyErrorKind, verify};

/// Checks audit logs.
#[derive(Parser)]
#[command(name = "tenant-audit", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Verifies every chain in a directory, and names what was altered by file, line and record.
    ///
    /// Exit codes: 0 everything verifies; 1 something does not; 2 the directory cannot be read.
    Verify {
        /// The directory that the service writes to.
        dir: PathBuf,
        /// Print one JSON object instead of text.
        #[arg(long)]
        json: bool,
    },
}

const NOT_VERIFIED: u8 = 1;
const UNREADABLE: u8 = 2;

fn main() -> ExitCode {
    let Command::Verify { dir, json } = Cli::parse().command;
    match report(&dir, json) {
        Ok(code) => code.into(),
        // Whoever read the output is gone.
        Err(_closed) => UNREADABLE.into(),
    }
}

fn report(dir: &std::path::Path, json: bool) -> io::Result<u8> {
    let mut out = io::stdout().lock();
    match verify(dir) {
        Ok(verified) if json => {
            let verdict = json!({
                "verified": true,
                "records": verified.records,
                "tenants": verified.tenants,
                "unsealed": verified.unsealed,
                "recovered": verified.recovered,
                "checkpoint": verified.checkpoint,
            });
            writeln!(out, "{verdict}")?;
            Ok(0)
        }
        Ok(verified) => {
            writeln!(
                out,
                "verified: {} records, {} tenants, checkpoint {}",
                verified.records, verified.tenants, verified.checkpoint
            )?;
            if verified.unsealed > 0 {
                writeln!(
                    out,
                    "{} records are beyond the checkpoint: a writer is at work, or ended without a clean shutdown",
                    verified.unsealed
                )?;
            }
            if verified.recovered > 0 {
                writeln!(
                    out,
                    "{} torn writes are accounted for by recovery records",
                    verified.recovered
                )?;
            }
            Ok(0)
        }
        Err(error) => {
            let findings: Vec<&Finding> = error.findings().collect();
            if json {
                writeln!(
                    out,
                    "{}",
                    json!({"verified": false, "findings": as_json(&findings)})
                )?;
            } else {
                let mut err = io::stderr().lock();
                writeln!(err, "NOT VERIFIED")?;
                for finding in &findings {
                    writeln!(err, "  {finding}")?;
                }
            }
            let unreadable = findings
                .iter()
                .all(|finding| finding.kind() == VerifyErrorKind::Unreadable);
            Ok(if unreadable { UNREADABLE } else { NOT_VERIFIED })
        }
    }
}

fn as_json(findings: &[&Finding]) -> Vec<serde_json::Value> {
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
