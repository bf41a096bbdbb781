//! The command line: `tenant-audit verify DIR`, and what belongs to it.

use std::{
    error::Error,
    fmt::Write as _,
    fs,
    io::{self, BufRead, BufReader, IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand, ValueEnum};
use serde_json::{Value, json};
use tenant_audit::{
    ChainId, CheckpointSigner, Export, Finding, KeyDir, SinkError, Verifier, VerifyErrorKind,
    reveal,
};

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
    /// Writes one tenant's records up to the signed checkpoint to the output, with the proof, without anything of
    /// another tenant's. The tenant's chain is verified first.
    ///
    /// Exit codes: 0 written; 1 the chain does not verify, nothing whole was written; 2 something cannot be read.
    Export {
        /// The directory that the service writes to.
        dir: PathBuf,
        /// Whose records.
        #[arg(long)]
        tenant: String,
        /// From the first record of this time on: 2026-11-27 or 2026-11-27T21:00:00Z, in UTC.
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
        /// Up to the last record before this time. Of what comes later the digests alone are written.
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
        /// A bundle with its proof, or events of the Open Cybersecurity Schema Framework.
        #[arg(long, value_enum, default_value_t = Format::Jsonl)]
        format: Format,
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
        /// Print one JSON object instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Prints the records of one event: its outcome, and its intent if it had one. Verifies nothing.
    Show {
        /// The directory that the service writes to.
        dir: PathBuf,
        /// The event's id, as a record or a finding names it.
        event: String,
        /// The directory of the tenants' keys: shows personal values too.
        #[arg(long, value_name = "DIR")]
        keys: Option<PathBuf>,
    },
    /// Destroys a tenant's key for ever: nobody can read its personal values any more. All records and proofs verify
    /// as before.
    Shred {
        /// The directory of the tenants' keys.
        keys: PathBuf,
        /// Whose key.
        #[arg(long)]
        tenant: String,
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

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// The bundle: `verify-bundle` checks it.
    Jsonl,
    /// API Activity events, one a line.
    Ocsf,
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
        } => verifier(&key, &against).and_then(|verifier| report(&mut out, verifier, &dir, json)),
        Command::Checkpoint { dir } => checkpoint(&mut out, &dir),
        Command::Export {
            dir,
            tenant,
            since,
            until,
            format,
        } => range(&tenant, since.as_deref(), until.as_deref())
            .and_then(|range| export(&mut out, &dir, &range, format)),
        Command::VerifyBundle { file, key, json } => verify_bundle(&mut out, &file, &key, json),
        Command::Show { dir, event, keys } => show(&mut out, &dir, &event, keys.as_deref()),
        Command::Shred { keys, tenant } => shred(&mut out, &keys, &tenant),
        Command::Keygen { name, secret } => keygen(&mut out, &name, &secret),
    };
    match code {
        Ok(code) => code.into(),
        // Whoever reads has enough: `… | head`.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to be told if this fails too.
            let _told = writeln!(io::stderr(), "error: {error}");
            UNREADABLE.into()
        }
    }
}

/// Whether a reader of the output is gone, whatever the error stands in.
fn is_broken_pipe(error: &io::Error) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let kind = error.downcast_ref().map(io::Error::kind);
        if kind == Some(io::ErrorKind::BrokenPipe) {
            return true;
        }
        // An error in an `io::Error` is no source of it, its source is.
        let inner = error.downcast_ref().and_then(io::Error::get_ref);
        cause = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    false
}

/// A verdict counts, whether or not somebody reads what is said of it.
fn said(code: u8, written: io::Result<()>) -> io::Result<u8> {
    match written {
        Err(error) if !is_broken_pipe(&error) => Err(error),
        _ => Ok(code),
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

fn range(tenant: &str, since: Option<&str>, until: Option<&str>) -> io::Result<Export> {
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

fn export(out: &mut impl Write, dir: &Path, export: &Export, format: Format) -> io::Result<u8> {
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

fn verify_bundle(out: &mut impl Write, path: &Path, keys: &[String], json: bool) -> io::Result<u8> {
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

fn show(out: &mut impl Write, dir: &Path, event: &str, keys: Option<&Path>) -> io::Result<u8> {
    let mut found = false;
    for entry in fs::read_dir(dir).map_err(named(dir))? {
        let path = entry?.path();
        let regular = fs::symlink_metadata(&path).is_ok_and(|file| file.is_file());
        if !regular || path.extension().is_none_or(|ending| ending != "jsonl") {
            continue;
        }
        let file = fs::File::open(&path).map_err(named(&path))?;
        for line in BufReader::new(file).split(b'\n') {
            let line = line?;
            let Ok(line) = serde_json::from_slice::<Value>(&line) else {
                continue;
            };
            let spilled = spilled(&path, &line);
            let record = line.get("record").or(spilled.as_ref());
            if record.and_then(|record| record.get("event_id")?.as_str()) == Some(event) {
                writeln!(out, "{}", pretty(&line)?)?;
                if let Some(spilled) = &spilled {
                    writeln!(out, "{}", pretty(spilled)?)?;
                }
                if let (Some(keys), Some(record)) = (keys, record) {
                    show_personal(out, record, keys)?;
                }
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

/// JSON that steers no terminal: nothing was verified, so a line may be anybody's. Inside of its strings alone are
/// characters that JSON leaves as they are and a terminal does not.
fn pretty(value: &Value) -> io::Result<String> {
    let text = serde_json::to_string_pretty(value)?;
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '\n' || c == ' ' || c.escape_debug().len() == 1 || matches!(c, '"' | '\\' | '\'') {
            shown.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a string does not fail.
            let _infallible = write!(shown, "\\u{unit:04x}");
        }
    }
    Ok(shown)
}

/// The record that is too long for its line.
fn spilled(file: &Path, line: &Value) -> Option<Value> {
    line.get("spilled")?;
    let (chain, _) = ChainId::from_segment_name(file.file_name()?.to_str()?)?;
    let seq = line.get("seq")?.as_u64()?;
    let record = fs::read(file.with_file_name(chain.spill_name(seq))).ok()?;
    serde_json::from_slice(&record).ok()
}

fn show_personal(out: &mut impl Write, record: &Value, keys: &Path) -> io::Result<()> {
    let keys = KeyDir::open(keys).map_err(io::Error::other)?;
    for (name, value) in reveal(record, &keys).map_err(io::Error::other)? {
        match value {
            Some(value) => writeln!(out, "{}: {}", name.escape_debug(), value.escape_debug())?,
            None => writeln!(
                out,
                "{}: gone, or not what the record commits to",
                name.escape_debug()
            )?,
        }
    }
    Ok(())
}

fn shred(out: &mut impl Write, keys: &Path, tenant: &str) -> io::Result<u8> {
    let tenant = tenant.parse().map_err(io::Error::other)?;
    let keys = KeyDir::open(keys).map_err(io::Error::other)?;
    keys.shred(&tenant).map_err(io::Error::other)?;
    writeln!(out, "shredded: the key of {tenant}")?;
    Ok(0)
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

fn report(out: &mut impl Write, against: Verifier, dir: &Path, json: bool) -> io::Result<u8> {
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
