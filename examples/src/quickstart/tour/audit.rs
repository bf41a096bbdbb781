//! The log of the tour itself: complete, verifiable, and no longer so once it was touched.

use std::{
    collections::HashMap,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;
use tenant_context::BoxError;

use super::{FILES, Row, Rows, Tour, shows};
use crate::client::PATIENCE;

/// What the tour reads of a line of the log.
#[derive(Deserialize)]
struct Line {
    record: Record,
}

#[derive(Deserialize)]
struct Record {
    request_id: Option<String>,
    tenant_id: Option<String>,
    reason: Option<String>,
    #[serde(skip)]
    file: String,
}

pub(super) async fn rows(tour: &Tour<'_>) -> Rows {
    let sent = tour.client.sent();
    let records = settled(tour, sent.len()).await?;
    let dir = tour.service.audit_dir.as_path();
    Ok(vec![
        complete(&sent, &records),
        own_files(&records),
        told_apart(&records),
        no_secrets(tour, dir)?,
        Row::new(
            FILES,
            "the log, verified",
            shows::ONE_RECORD,
            "verifies",
            verdict(dir),
        ),
        touched(dir)?,
    ])
}

fn complete(sent: &[String], records: &[Record]) -> Row {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for id in records
        .iter()
        .filter_map(|record| record.request_id.as_deref())
    {
        let count = seen.entry(id).or_default();
        *count = count.saturating_add(1);
    }
    let once = sent
        .iter()
        .filter(|id| seen.get(id.as_str()) == Some(&1))
        .count();
    let came_back = match (once == sent.len(), records.len()) {
        (true, records) => format!("{records} records, one for each"),
        (false, records) => format!("{records} records, just one for {once}"),
    };
    Row::new(
        FILES,
        format!("{} requests sent, refused ones included", sent.len()),
        shows::ONE_RECORD,
        format!("{} records, one for each", sent.len()),
        came_back,
    )
}

fn own_files(records: &[Record]) -> Row {
    let strays = records.iter().filter(|record| {
        let own = match &record.tenant_id {
            Some(tenant) => format!("tenant-{tenant}.jsonl"),
            None => "platform.jsonl".into(),
        };
        record.file != own
    });
    let tried = "records in another tenant's chain";
    Row::new(
        FILES,
        tried,
        shows::NO_BARE_IDS,
        "0",
        strays.count().to_string(),
    )
}

fn told_apart(records: &[Record]) -> Row {
    let count = |reason: &str| {
        let given = records.iter().filter_map(|record| record.reason.as_deref());
        given.filter(|given| *given == reason).count()
    };
    Row::new(
        FILES,
        "foreign and missing invoices, in the log",
        shows::ONE_404,
        "4 cross_tenant, 4 not_found",
        format!(
            "{} cross_tenant, {} not_found",
            count("cross_tenant"),
            count("not_found")
        ),
    )
}

fn no_secrets(tour: &Tour<'_>, dir: &Path) -> Result<Row, BoxError> {
    let mut found = 0_usize;
    for file in logs(dir)? {
        let log = fs::read_to_string(file)?;
        let leaked = tour.cast.secrets().filter(|secret| log.contains(secret));
        found = found.saturating_add(leaked.count());
    }
    Ok(Row::new(
        FILES,
        "tokens and keys in the log",
        shows::NO_SECRET,
        "0",
        found.to_string(),
    ))
}

/// One byte in the middle of each file, each in a copy of its own.
fn touched(dir: &Path) -> Result<Row, BoxError> {
    let mut files = Vec::new();
    for path in all_files(dir)? {
        let bytes = fs::read(&path)?;
        // The lock that keeps a second writer out is empty.
        if !bytes.is_empty() {
            files.push((path, bytes));
        }
    }
    let mut noticed = 0_usize;
    for touched in 0..files.len() {
        let copy = tempfile::tempdir()?;
        for (number, (path, bytes)) in files.iter().enumerate() {
            let mut bytes = bytes.clone();
            let middle = bytes.len() / 2;
            if let (true, Some(byte)) = (number == touched, bytes.get_mut(middle)) {
                *byte ^= 1;
            }
            fs::write(
                copy.path().join(path.file_name().unwrap_or_default()),
                bytes,
            )?;
        }
        if verdict(copy.path()) == "does not verify" {
            noticed = noticed.saturating_add(1);
        }
    }
    let tried = "one byte changed in a file, in a copy";
    let expected = format!("does not verify, for {0} of {0} files", files.len());
    let came_back = format!("does not verify, for {noticed} of {} files", files.len());
    Ok(Row::new(
        FILES,
        tried,
        shows::ONE_RECORD,
        expected,
        came_back,
    ))
}

fn verdict(dir: &Path) -> &'static str {
    match tenant_audit::verify(dir) {
        Ok(_report) => "verifies",
        Err(_) => "does not verify",
    }
}

/// This run's records, once all are written. An answer can reach the client a moment before the
/// server is done with it, so this looks again, but not for ever.
async fn settled(tour: &Tour<'_>, expected: usize) -> Result<Vec<Record>, BoxError> {
    let mut again = tokio::time::interval(Duration::from_millis(20));
    let complete = async {
        loop {
            again.tick().await;
            let records = written(tour).await?;
            if records.len() >= expected {
                return Ok(records);
            }
        }
    };
    match tokio::time::timeout(PATIENCE, complete).await {
        Ok(records) => records,
        Err(_elapsed) => written(tour).await,
    }
}

async fn written(tour: &Tour<'_>) -> Result<Vec<Record>, BoxError> {
    tour.service.audit.flush().await?;
    let mut records = Vec::new();
    for file in logs(&tour.service.audit_dir)? {
        let name = file
            .file_name()
            .map(OsStr::to_string_lossy)
            .unwrap_or_default();
        for line in fs::read_to_string(&file)?.lines() {
            let mut record = serde_json::from_str::<Line>(line)?.record;
            record.file = name.clone().into_owned();
            let id = record.request_id.as_deref().unwrap_or_default();
            if id.starts_with(tour.client.run()) {
                records.push(record);
            }
        }
    }
    Ok(records)
}

fn logs(dir: &Path) -> Result<Vec<PathBuf>, BoxError> {
    let mut files = all_files(dir)?;
    files.retain(|file| file.extension() == Some(OsStr::new("jsonl")));
    Ok(files)
}

fn all_files(dir: &Path) -> Result<Vec<PathBuf>, BoxError> {
    let entries = fs::read_dir(dir)?.map(|entry| entry.map(|entry| entry.path()));
    let mut files: Vec<PathBuf> = entries.collect::<Result<_, _>>()?;
    files.retain(|file| file.is_file());
    files.sort();
    Ok(files)
}
