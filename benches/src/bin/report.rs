//! Prints the report, and writes it to `RESULTS.md`.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Parser;
use tenant_benches::{
    Result,
    harness::{self, Plan},
    machine, report, row,
    rows::{self, Definition, Shared},
};

/// Measures the layers, the whole stack, and what an expert assembles today, in one run.
///
/// Without options it takes under four minutes and writes benches/RESULTS.md and benches/plots.
#[derive(Debug, Parser)]
#[command(name = "report")]
struct Options {
    /// Writes the list of {name, `ns_min`, `ns_median`, allocs, bytes} to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Measures only rows whose name contains this, and what is inside of them; does not write RESULTS.md
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,

    /// Shows in a few seconds that every row runs; does not write RESULTS.md
    #[arg(long)]
    quick: bool,

    /// Measures for so many seconds
    #[arg(long, value_name = "N", default_value_t = 75)]
    seconds: u64,

    /// Writes the report to this file instead, also when it is partial
    #[arg(long, value_name = "FILE")]
    results: Option<PathBuf>,

    /// Runs one row without timing it, for a profiler
    #[arg(long, value_name = "NAME", conflicts_with_all = ["json", "filter", "quick", "results"])]
    only: Option<String>,

    /// How many operations `--only` runs after the warm-up
    #[arg(long, value_name = "N", default_value_t = 1000, requires = "only")]
    iterations: usize,

    /// Lists the rows
    #[arg(long)]
    list: bool,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let mut out = io::stdout().lock();
    if options.list {
        for row in rows::ALL {
            writeln!(out, "{:<24} {}", row.name, row.about)?;
        }
        return Ok(());
    }
    if let Some(name) = &options.only {
        return repeat(name, options.iterations);
    }
    let shared = Shared::new();
    let filter = options.filter.as_deref().unwrap_or_default();
    let chosen: Vec<&'static Definition> = rows::ALL
        .iter()
        .filter(|row| is_wanted(row, filter))
        .collect();
    if chosen.is_empty() {
        return Err("no row's name contains that; `--list` shows all".into());
    }
    let plan = if options.quick {
        Plan::quick()
    } else {
        Plan::of(Duration::from_secs(options.seconds))
    };
    let mut measured = Vec::with_capacity(chosen.len());
    for (heavy, share) in [(false, 0.7), (true, 0.3)] {
        // Heavy rows are not even made before the others are measured.
        let rows = chosen
            .iter()
            .filter(|row| row.heavy == heavy)
            .map(|row| row.make(&shared))
            .collect::<Result<Vec<_>>>()?;
        measured.extend(harness::measure(rows, plan.share(share))?);
    }
    let place = |name| rows::ALL.iter().position(|row| row.name == name);
    measured.sort_by_key(|row| place(row.name));

    let machine = machine::describe();
    write!(
        out,
        "{machine}\n{}\n{}",
        report::table(&measured),
        report::ratios(&measured)
    )?;
    if let Some(file) = &options.json {
        let list = serde_json::to_string_pretty(&report::json(&measured))?;
        fs::write(file, list + "\n").map_err(|error| named(file, &error))?;
    }
    let whole = options.filter.is_none() && !options.quick && !cfg!(debug_assertions);
    if whole {
        tenant_benches::plots::write()?;
    }
    let file = options
        .results
        .or_else(|| whole.then(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("RESULTS.md")));
    if let Some(file) = file {
        fs::write(&file, report::results(&measured, &machine))
            .map_err(|error| named(&file, &error))?;
    }
    Ok(())
}

/// Whether a row's name contains this, or the name of one that has it inside: a figure over its
/// inner service needs both.
fn is_wanted(row: &Definition, text: &str) -> bool {
    row.name.contains(text)
        || rows::ALL
            .iter()
            .any(|outer| outer.name.contains(text) && outer.inner == Some(row.name))
}

fn named(file: &Path, error: &io::Error) -> String {
    format!("cannot write {}: {error}", file.display())
}

/// Fewer than the audit's queue has places.
const BATCH: usize = 1024;

/// Batches of one row, the first one not watched: what is made once is made in it.
fn repeat(name: &str, iterations: usize) -> Result<()> {
    let definition = rows::ALL
        .iter()
        .find(|row| row.name == name)
        .ok_or_else(|| format!("there is no row {name:?}; `--list` shows all"))?;
    let shared = Shared::new();
    let mut row = definition.make(&shared)?;
    let work = &mut *row.work;
    work.prepare(BATCH);
    work.run();
    work.settle();
    let mut left = iterations;
    while left > 0 {
        let operations = left.min(BATCH);
        work.prepare(operations);
        row::watched(work);
        work.settle();
        left = left.saturating_sub(operations);
    }
    match work.tally().refused {
        0 => Ok(()),
        refused => Err(format!("{refused} of {iterations} operations were refused").into()),
    }
}
