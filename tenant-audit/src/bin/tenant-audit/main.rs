//! The command line: `tenant-audit verify DIR`, and what belongs to it.

mod export;
mod keys;
mod show;
mod verdict;

use std::{
    error::Error,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand, ValueEnum};

use self::{
    export::{checkpoint, export, range},
    keys::{keygen, shred},
    show::show,
    verdict::{report, verifier, verify_bundle},
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
