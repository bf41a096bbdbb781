//! The command line: `tenant-audit verify DIR`, and what belongs to it.

use std::{
    fs,
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use serde_json::{Value, json};
use tenant_audit::{CheckpointSigner, Finding, Verifier, VerifyErrorKind};

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
    /// Exit codes: 0 everything verifies; 1 something does not; 2 the directory, or what was given to hold it
    /// against, cannot be read.
    Verify {
        /// The directory that the service writes to.
        dir: PathBuf,
        /// A public key, `name+id+key`: there must be a checkpoint that it, or another one that is given, has
        /// signed.
        #[arg(long)]
        key: Vec<String>,
        /// A `checkpoint.json` that was kept elsewhere: all that it names must still be there.
        #[arg(long, value_name = "FILE")]
        against: Vec<PathBuf>,
        /// Print one JSON object instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Prints the directory's signed checkpoint, a C2SP signed note, to be kept elsewhere.
    Checkpoint {
        /// The directory that the service writes to.
        dir: PathBuf,
    },
    /// Writes one tenant's bundle to the output: all its records up to the signed checkpoint, and the proof,
    /// without anything of another tenant's.
    Export {
        /// The directory that the service writes to.
        dir: PathBuf,
        /// Whose records.
        #[arg(long)]
        tenant: String,
    },
    /// Verifies a tenant's bundle, offline, with the log's public key alone.
    ///
    /// Exit codes: as of `verify`.
    VerifyBundle {
        /// The bundle.
        file: PathBuf,
        /// A public key, `name+id+key`.
        #[arg(long, required = true)]
        key: Vec<String>,
    },
    /// Prints the records of one event: its outcome, and its intent if it had one. Verifies nothing.
    Show {
        /// The directory that the service writes to.
        dir: PathBuf,
        /// The event's id, as a record or a finding names it.
        event: String,
    },
    /// Makes a key that signs checkpoints: the secret goes to a new file, the public key to the output.
    Keygen {
        /// The log's name, which every checkpoint shows: `audit.example.com/api`.
        name: String,
        /// The file for the secret. It must not exist.
        #[arg(long, value_name = "FILE")]
        secret: PathBuf,
    },
}

const NOT_VERIFIED: u8 = 1;
const UNREADABLE: u8 = 2;

fn main() -> ExitCode {
    let mut out = io::stdout().lock();
    let code = match Cli::parse().command {
        Command::Verify {
            dir,
            key,
            against,
            json,
        } => verifier(&key, &against).and_then(|verifier| report(&mut out, &verifier, &dir, json)),
        Command::Checkpoint { dir } => checkpoint(&mut out, &dir),
        Command::Export { dir, tenant } => export(&mut out, &dir, &tenant),
        Command::VerifyBundle { file, key } => verify_bundle(&mut out, &file, &key),
        Command::Show { dir, event } => show(&mut out, &dir, &event),
        Command::Keygen { name, secret } => keygen(&mut out, &name, &secret),
    };
    match code {
        Ok(code) => code.into(),
        Err(error) => {
            // Nobody is left to be told if this fails too.
            let _told = writeln!(io::stderr(), "error: {error}");
            UNREADABLE.into()
        }
    }
}

fn named(path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    let path = path.display().to_string();
    move |error| io::Error::new(error.kind(), format!("{path}: {error}"))
}

fn verifier(keys: &[String], against: &[PathBuf]) -> io::Result<Verifier> {
    let mut verifier = Verifier::new();
    for key in keys {
        verifier = verifier.key(key.parse().map_err(io::Error::other)?);
    }
    for path in against {
        verifier = verifier.against(fs::read(path).map_err(named(path))?);
    }
    Ok(verifier)
}

fn checkpoint(out: &mut impl Write, dir: &Path) -> io::Result<u8> {
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

fn export(out: &mut impl Write, dir: &Path, tenant: &str) -> io::Result<u8> {
    let tenant = tenant.parse().map_err(io::Error::other)?;
    match tenant_audit::export(dir, &tenant, out) {
        Ok(()) => Ok(0),
        Err(finding) => Err(io::Error::other(finding)),
    }
}

fn verify_bundle(out: &mut impl Write, path: &Path, keys: &[String]) -> io::Result<u8> {
    let keys = keys.iter().map(|key| key.parse().map_err(io::Error::other));
    let keys = keys.collect::<io::Result<Vec<_>>>()?;
    let file = fs::File::open(path).map_err(named(path))?;
    match tenant_audit::verify_bundle(file, &keys) {
        Ok(verified) => {
            writeln!(
                out,
                "verified: {} records, all of {} up to the checkpoint",
                verified.records, verified.tenant
            )?;
            Ok(0)
        }
        Err(finding) => {
            writeln!(io::stderr(), "NOT VERIFIED\n  {finding}")?;
            Ok(if finding.kind() == VerifyErrorKind::Unreadable {
                UNREADABLE
            } else {
                NOT_VERIFIED
            })
        }
    }
}

fn show(out: &mut impl Write, dir: &Path, event: &str) -> io::Result<u8> {
    let mut found = false;
    for entry in fs::read_dir(dir).map_err(named(dir))? {
        let path = entry?.path();
        if path
            .extension()
            .is_none_or(|extension| extension != "jsonl")
        {
            continue;
        }
        let file = fs::File::open(&path).map_err(named(&path))?;
        for line in BufReader::new(file).split(b'\n') {
            let line = line?;
            let Ok(line) = serde_json::from_slice::<Value>(&line) else {
                continue;
            };
            let record = line.get("record");
            if record.and_then(|record| record.get("event_id")?.as_str()) == Some(event) {
                writeln!(out, "{}", serde_json::to_string_pretty(&line)?)?;
                found = true;
            }
        }
    }
    if found {
        return Ok(0);
    }
    writeln!(
        io::stderr(),
        "no record of {} has the event id {}",
        dir.display(),
        event.escape_debug()
    )?;
    Ok(NOT_VERIFIED)
}

fn keygen(out: &mut impl Write, name: &str, path: &Path) -> io::Result<u8> {
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

fn report(out: &mut impl Write, against: &Verifier, dir: &Path, json: bool) -> io::Result<u8> {
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
            writeln!(out, "{verdict}")?;
            Ok(0)
        }
        Ok(verified) => {
            writeln!(
                out,
                "verified: {} records, {} tenants, checkpoint {}",
                verified.records, verified.tenants, verified.checkpoint
            )?;
            if !verified.signed {
                writeln!(
                    out,
                    "no signature was checked: whoever can write the directory could have made all of it; give `--key`"
                )?;
            }
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
                let verdict = json!({"verified": false, "findings": as_json(&findings)});
                writeln!(out, "{verdict}")?;
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
