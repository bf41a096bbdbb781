//! What verification finds.

use std::{
    error::Error,
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum VerifyErrorKind {
    /// The directory or a file cannot be read: nothing is known of it.
    Unreadable,
    /// There is no checkpoint: it was removed, or this is no audit directory.
    CheckpointMissing,
    /// The checkpoint is not as it was written.
    CheckpointAltered,
    /// There is no checkpoint that one of the given keys has signed.
    Unsigned,
    /// A chain that the checkpoint names has no file: it was removed or renamed.
    FileMissing,
    /// A file with the ending of a chain has no chain's name.
    UnknownFile,
    /// A line is not one that was written here.
    Malformed,
    /// A record is missing, was repeated or changed places.
    OutOfOrder {
        /// The number that should stand here.
        expected: u64,
        /// The number that does.
        found: u64,
    },
    /// A record does not continue the one before it.
    Unlinked,
    /// A record's bytes are not those that were hashed, or it is another chain's.
    Altered,
    /// A chain's records are not those that the checkpoint names.
    NotAsCheckpointed,
    /// The chain's end was cut off.
    Cut {
        /// The last record's number, by the checkpoint.
        expected: u64,
        /// The last record's number.
        found: u64,
    },
    /// A record's text is not there, only its digest: nothing in a directory says so of itself.
    Withheld,
    /// A chain does not begin with its first record, and no record accounts for what is missing.
    Unaccounted,
    /// A record is too long for its line, and the file of its own that has it is missing.
    SpillMissing,
    /// A file that has a record too long for its line is not what the line says.
    SpillAltered,
    /// The file ends within a line, or has a record too long for a line that is not written yet: a writer is at work, or
    /// ended within a write. Opening the directory for writing accounts for it.
    Torn,
}

impl fmt::Display for VerifyErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable => f.write_str("it cannot be read"),
            Self::CheckpointMissing => f.write_str(
                "the checkpoint is missing: it was removed, or this is not an audit directory",
            ),
            Self::CheckpointAltered => f.write_str("the checkpoint was altered"),
            Self::Unsigned => f.write_str("no checkpoint was signed by a key that was given"),
            Self::FileMissing => {
                f.write_str("the file is missing, and the checkpoint says it has records")
            }
            Self::UnknownFile => f.write_str("no chain has a file of this name"),
            Self::Malformed => f.write_str("the line is not one that was written here"),
            Self::OutOfOrder { expected, found } => {
                write!(f, "record {found} stands where record {expected} should")
            }
            Self::Unlinked => f.write_str("the record does not continue the one before it"),
            Self::Altered => {
                f.write_str("the record was altered, or belongs to another tenant's chain")
            }
            Self::NotAsCheckpointed => f.write_str("the record is not the one in the checkpoint"),
            Self::Cut { expected, found } => write!(
                f,
                "the end was cut off: the checkpoint names record {expected}, the last one is {found}"
            ),
            Self::Withheld => f.write_str("the record is withheld where it should be"),
            Self::Unaccounted => f.write_str(
                "the chain's beginning is missing, and no record says that it had been kept for long enough",
            ),
            Self::SpillMissing => {
                f.write_str("the record is missing: it is too long for its line, which has its digest")
            }
            Self::SpillAltered => {
                f.write_str("the record was altered: its line has another length or digest")
            }
            Self::Torn => f.write_str(
                "the file ends within a line, or before it: a writer is at work, or ended within a write",
            ),
        }
    }
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug)]
pub struct Finding {
    pub(super) file: PathBuf,
    pub(super) line: Option<u64>,
    pub(super) event_id: Option<String>,
    pub(super) kind: VerifyErrorKind,
    pub(super) source: Option<Arc<io::Error>>,
}

impl Finding {
    pub(crate) const fn new(file: PathBuf, kind: VerifyErrorKind) -> Self {
        Self {
            file,
            line: None,
            event_id: None,
            kind,
            source: None,
        }
    }

    pub(crate) fn io(file: PathBuf, error: io::Error) -> Self {
        Self {
            source: Some(Arc::new(error)),
            ..Self::new(file, VerifyErrorKind::Unreadable)
        }
    }

    /// The file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The line, from 1 on.
    pub const fn line(&self) -> Option<u64> {
        self.line
    }

    /// The record's `event_id`, as it stands there now.
    pub fn event_id(&self) -> Option<&str> {
        self.event_id.as_deref()
    }

    /// What is wrong.
    pub const fn kind(&self) -> VerifyErrorKind {
        self.kind
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A file's name is anybody's who can write the directory.
        write!(f, "{}", self.file.to_string_lossy().escape_debug())?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        if let Some(event) = &self.event_id {
            write!(f, ", record {event}")?;
        }
        write!(f, ": {}", self.kind)?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl Error for Finding {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source
            .as_deref()
            .map(|error| error as &(dyn Error + 'static))
    }
}

/// A directory that does not verify: at least one finding, at most one for each file.
#[derive(Clone, Debug)]
pub struct VerifyError {
    first: Finding,
    others: Vec<Finding>,
}

impl VerifyError {
    pub(super) const fn one(finding: Finding) -> Self {
        Self {
            first: finding,
            others: Vec::new(),
        }
    }

    pub(super) const fn new(first: Finding, others: Vec<Finding>) -> Self {
        Self { first, others }
    }

    /// What was found in the first file that does not verify.
    pub const fn first(&self) -> &Finding {
        &self.first
    }

    /// All that was found, file by file.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        match self.others.len() {
            0 => Ok(()),
            more => write!(f, " (and {more} more)"),
        }
    }
}

impl Error for VerifyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.first
            .source
            .as_deref()
            .map(|error| error as &(dyn Error + 'static))
    }
}
