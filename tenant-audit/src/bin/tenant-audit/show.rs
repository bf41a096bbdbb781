//! Showing one event.

use std::{
    fmt::Write as _,
    fs,
    io::{self, BufRead, BufReader, Write},
    path::Path,
};

use serde_json::Value;
use tenant_audit::{ChainId, KeyDir, reveal};

use crate::{NOT_VERIFIED, named};

pub(crate) fn show(
    out: &mut impl Write,
    dir: &Path,
    event: &str,
    keys: Option<&Path>,
) -> io::Result<u8> {
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
