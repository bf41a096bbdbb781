//! The table, the ratios and the JSON list.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::harness::Measured;

/// The command that makes the report.
pub const COMMAND: &str = "cargo run --release -p tenant-benches --bin report";

/// The list under stable names. Nanoseconds, allocations and bytes are for one operation.
pub fn json(measured: &[Measured]) -> Value {
    let rounded = |value: f64| (value * 100.0).round() / 100.0;
    measured
        .iter()
        .map(|row| {
            json!({
                "name": row.name,
                "ns_min": rounded(row.ns_min),
                "ns_median": rounded(row.ns_median),
                "allocs": rounded(row.allocs),
                "bytes": rounded(row.bytes),
            })
        })
        .collect()
}

fn find<'a>(measured: &'a [Measured], name: &str) -> Option<&'a Measured> {
    measured.iter().find(|row| row.name == name)
}

/// Whole numbers from ten on, one digit below; with the thousands apart.
fn number(value: f64) -> String {
    if value.is_nan() {
        return "–".to_owned();
    }
    if value.abs() < 9.95 {
        let text = format!("{value:.1}");
        return text
            .strip_suffix(".0")
            .map_or_else(|| text.clone(), str::to_owned);
    }
    let digits = format!("{value:.0}");
    let mut text = String::with_capacity(digits.len().saturating_mul(2));
    for (index, digit) in digits.chars().enumerate() {
        let left = digits.len().saturating_sub(index);
        if index > 0 && left % 3 == 0 && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The table of all rows, as Markdown that also reads in a terminal.
pub fn table(measured: &[Measured]) -> String {
    let mut lines = vec![
        [
            "row",
            "ns min",
            "ns median",
            "allocs",
            "bytes",
            "over its inner: ns min",
            "ns median",
            "allocs",
            "what is done",
        ]
        .map(str::to_owned),
    ];
    for row in measured {
        let inner = row.inner.and_then(|name| find(measured, name));
        let over = |figure: fn(&Measured) -> f64| {
            inner.map_or_else(String::new, |inner| number(figure(row) - figure(inner)))
        };
        let waits = match row.pended {
            0 => String::new(),
            times => format!(" (was not ready at once {times} times)"),
        };
        lines.push([
            format!("`{}`", row.name),
            number(row.ns_min),
            number(row.ns_median),
            number(row.allocs),
            number(row.bytes),
            over(|row| row.ns_min),
            over(|row| row.ns_median),
            over(|row| row.allocs),
            format!("{}{waits}", row.about),
        ]);
    }
    markdown(&lines)
}

/// Aligned columns: the first and the last to the left, figures to the right.
fn markdown<const N: usize>(lines: &[[String; N]]) -> String {
    let last = N.saturating_sub(1);
    let mut widths = [3_usize; N];
    for line in lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        for (column, (cell, width)) in line.iter().zip(widths).enumerate() {
            let _infallible = if column == 0 {
                write!(text, "| {cell:<width$}")
            } else if column == last {
                write!(text, " | {cell}")
            } else {
                write!(text, " | {cell:>width$}")
            };
        }
        text.push_str(" |\n");
        if index == 0 {
            for (column, width) in widths.iter().enumerate() {
                let dashes = "-".repeat(width.saturating_sub(1));
                let _infallible = if column == 0 || column == last {
                    write!(text, "| {dashes}- ")
                } else {
                    write!(text, "| {dashes}: ")
                };
            }
            text.push_str("|\n");
        }
    }
    text
}

/// One comparison: what, both figures, the result.
struct Comparison<'a> {
    measured: &'a [Measured],
    lines: Vec<[String; 4]>,
}

impl<'a> Comparison<'a> {
    fn new(measured: &'a [Measured]) -> Self {
        let head = ["comparison", "min", "median", "allocs"].map(str::to_owned);
        Self {
            measured,
            lines: vec![head],
        }
    }

    fn pair(&self, left: &str, right: &str) -> Option<(&'a Measured, &'a Measured)> {
        Some((find(self.measured, left)?, find(self.measured, right)?))
    }

    fn push(&mut self, what: String, min: String, median: String, allocs: String) {
        self.lines.push([what, min, median, allocs]);
    }

    /// `left` minus `right`.
    fn difference(&mut self, left: &str, right: &str, remark: &str) {
        if let Some((one, two)) = self.pair(left, right) {
            self.push(
                format!("`{left}` − `{right}`{remark}"),
                format!("{} ns", number(one.ns_min - two.ns_min)),
                format!("{} ns", number(one.ns_median - two.ns_median)),
                number(one.allocs - two.allocs),
            );
        }
    }

    /// `left` minus the sum of two.
    fn difference_of_two(&mut self, left: &str, [right, other]: [&str; 2], remark: &str) {
        if let (Some((one, two)), Some(three)) =
            (self.pair(left, right), find(self.measured, other))
        {
            self.push(
                format!("`{left}` − `{right}` − `{other}`{remark}"),
                format!("{} ns", number(one.ns_min - two.ns_min - three.ns_min)),
                format!(
                    "{} ns",
                    number(one.ns_median - two.ns_median - three.ns_median)
                ),
                number(one.allocs - two.allocs - three.allocs),
            );
        }
    }

    /// How many times `right` `left` takes.
    fn ratio(&mut self, left: &str, right: &str, remark: &str) {
        if let Some((one, two)) = self.pair(left, right) {
            self.push(
                format!("`{left}` ÷ `{right}`{remark}"),
                format!("× {}", quotient(one.ns_min, two.ns_min)),
                format!("× {}", quotient(one.ns_median, two.ns_median)),
                format!("{} : {}", number(one.allocs), number(two.allocs)),
            );
        }
    }

    /// The same, both without what stands inside of them.
    fn ratio_over_inner(&mut self, left: &str, right: &str) {
        let inner = |row: &Measured| row.inner.and_then(|name| find(self.measured, name));
        let Some((one, two)) = self.pair(left, right) else {
            return;
        };
        let (Some(in_one), Some(in_two)) = (inner(one), inner(two)) else {
            return;
        };
        self.push(
            format!("`{left}` ÷ `{right}`, each without its inner service"),
            format!(
                "× {}",
                quotient(one.ns_min - in_one.ns_min, two.ns_min - in_two.ns_min)
            ),
            format!(
                "× {}",
                quotient(
                    one.ns_median - in_one.ns_median,
                    two.ns_median - in_two.ns_median
                )
            ),
            format!(
                "{} : {}",
                number(one.allocs - in_one.allocs),
                number(two.allocs - in_two.allocs)
            ),
        );
    }
}

fn quotient(left: f64, right: f64) -> String {
    let value = left / right;
    if value < 10.0 {
        format!("{value:.2}")
    } else {
        number(value)
    }
}

/// What the rows say about each other.
pub fn ratios(measured: &[Measured]) -> String {
    let mut all = Comparison::new(measured);
    all.difference(
        "stack/warm",
        "noop",
        " (first aim: at most 650 ns and 5 allocations)",
    );
    all.difference("raw/stack", "noop", " (the floor: the same work by hand)");
    all.ratio_over_inner("stack/warm", "raw/stack");
    all.difference("stack/warm/in-router", "noop/in-router", "");
    for algorithm in ["eddsa", "hs256"] {
        all.ratio_over_inner(&format!("peer/expert/{algorithm}"), "stack/warm/in-router");
    }
    for algorithm in ["eddsa", "hs256"] {
        all.ratio_over_inner(
            &format!("peer/expert/{algorithm}"),
            &format!("stack/cold/{algorithm}"),
        );
    }
    for algorithm in ["hs256", "rs256", "es256", "eddsa"] {
        let (cold, raw) = (
            format!("stack/cold/{algorithm}"),
            format!("raw/sig/{algorithm}"),
        );
        all.difference(&cold, &raw, "");
        all.ratio(&cold, &raw, "");
        let cold = format!("auth/cold/{algorithm}");
        all.difference(&cold, &raw, "");
        all.ratio(&cold, &format!("peer/jsonwebtoken/{algorithm}"), "");
    }
    all.difference("delegate", "raw/sign/eddsa/delegated", " (bound: 3,000 ns)");
    all.ratio("peer/governor-4", "raw/gcra-4", "");
    all.ratio("limits/warm", "raw/gcra-4", "");
    all.difference("limits/warm", "raw/lock-and-swap", "");
    for threads in ["same", "other"] {
        let (ours, raw) = (
            format!("limits/2-threads/{threads}"),
            format!("raw/gcra-4/2-threads/{threads}"),
        );
        all.ratio(&ours, "limits/warm", "");
        all.ratio(&raw, "raw/gcra-4", "");
    }
    all.ratio("limits/warm/during-flood", "limits/warm", " (bound: 1.1)");
    all.ratio(
        "limits/layer/refused",
        "limits/layer/four-headers",
        " (an admission with the same headers; bound: 1)",
    );
    all.ratio(
        "limits/layer/refused",
        "limits/layer/headers",
        " (an admission with two of them)",
    );
    all.difference_of_two(
        "auth/hit",
        ["raw/token-hash", "raw/map-hit"],
        " (bound: 60 ns)",
    );
    all.ratio("cache/hit", "peer/moka-hit", "");
    all.ratio("cache/hit", "raw/cache-engine-hit", " (bound: 1.5)");
    all.ratio(
        "cache/sockets/with",
        "cache/sockets/without",
        " (requests a second)",
    );
    all.ratio("auth/hit/100k", "auth/hit", "");
    all.ratio("auth/hit/2-threads", "auth/hit", "");
    markdown_ratios(&all.lines)
}

fn markdown_ratios(lines: &[[String; 4]]) -> String {
    if lines.len() > 1 {
        markdown(lines)
    } else {
        String::new()
    }
}

/// The whole of `RESULTS.md`.
pub fn results(measured: &[Measured], machine: &str) -> String {
    let batches = measured.iter().map(|row| row.batches).min().unwrap_or(0);
    format!(
        "# Results\n\n\
         Written by `{COMMAND}`; do not edit.\n\n\
         {machine}\n\
         Each figure is for one operation: for a service, one request from `poll_ready` to the end of the response's \
         body, the request's memory freed. A request is a `GET` with a bearer token (EdDSA: 800 bytes), six ordinary headers and no \
         extension map. One thread, no runtime; at least {batches} batches of every row, in turn; minimum and median of the batches. Rows that touch more \
         memory than the caches hold, or keep a thread busy, are made and measured after the others. Allocations are those of the request's thread. Every request was answered 200, or there would be no table. {AUDIT}\n\n\
         ## Rows\n\n{}\n\
         ## Ratios\n\n{}",
        table(measured),
        ratios(measured),
    )
}

/// What goes on beside the measured thread.
const AUDIT: &str = "In rows with audit the worker runs meanwhile on a thread of its own: it encodes and chains each record, \
     writes them to a file in a temporary directory, and syncs it; after each batch it is waited for, so its queue is never full. \
     In rows of the expert the appender's thread likewise writes each line to a file.";

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &'static str, inner: Option<&'static str>, ns: f64, allocs: f64) -> Measured {
        Measured {
            name,
            about: "",
            inner,
            ns_min: ns,
            ns_median: ns + 1.0,
            allocs,
            bytes: 0.0,
            batches: 1,
            pended: 0,
        }
    }

    #[test]
    fn numbers_read_well() {
        for (value, text) in [
            (0.0, "0"),
            (3.12, "3.1"),
            (9.96, "10"),
            (1234.5, "1,234"),
            (1_234_567.0, "1,234,567"),
            (-123.0, "-123"),
            (-1234.0, "-1,234"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn a_row_shows_what_it_costs_over_its_inner() {
        let rows = [
            row("noop", None, 100.0, 0.0),
            row("stack/warm", Some("noop"), 600.0, 4.0),
        ];
        let table = table(&rows);
        let line = table.lines().find(|line| line.contains("stack")).unwrap();
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        assert_eq!(
            cells[1..9],
            ["`stack/warm`", "600", "601", "4", "0", "500", "500", "4"]
        );
        assert!(ratios(&rows).contains("| 500 ns |"));
    }

    #[test]
    fn the_list_has_the_stable_members() {
        let list = json(&[row("noop", None, 100.126, 0.0)]);
        assert_eq!(
            list.to_string(),
            r#"[{"allocs":0.0,"bytes":0.0,"name":"noop","ns_median":101.13,"ns_min":100.13}]"#
        );
    }
}
