//! The tour: the service driven over its sockets, and a table of what came back.

mod audit;
mod budgets;
mod cache;
mod cast;
mod credentials;
mod isolation;
mod routes;
mod suspension;

use std::{
    io::{self, Write},
    sync::OnceLock,
};

use tenant_context::BoxError;

pub(crate) use self::cast::Cast;
use crate::{client::Client, stack::Service};

/// What a row shows, by the numbers of the invariants.
mod shows {
    pub(super) const PROOF: &str = "1 proof";
    pub(super) const NO_BARE_IDS: &str = "2 no bare ids";
    pub(super) const SIGNALS_AGREE: &str = "3 all signals agree";
    pub(super) const FREE_DENIAL: &str = "4 denials are free";
    pub(super) const AT_ONCE: &str = "5 ends at once";
    pub(super) const FAIL_CLOSED: &str = "7 fail closed";
    pub(super) const NO_SECRET: &str = "8 no secret leaves";
    pub(super) const ONE_RECORD: &str = "9 one record each";
    pub(super) const ONE_404: &str = "12 one 404";
}

const HTTP: &str = "HTTP";
const GRPC: &str = "gRPC";
const FILES: &str = "file";

/// One line of the table.
struct Row {
    way: &'static str,
    tried: String,
    expected: String,
    came_back: String,
    invariant: &'static str,
    ok: bool,
}

impl Row {
    /// What came back must be this text.
    fn new(
        way: &'static str,
        tried: impl Into<String>,
        invariant: &'static str,
        expected: impl ToString,
        came_back: impl ToString,
    ) -> Self {
        let (expected, came_back) = (expected.to_string(), came_back.to_string());
        let ok = expected == came_back;
        Self {
            way,
            tried: tried.into(),
            expected,
            came_back,
            invariant,
            ok,
        }
    }

    /// What came back varies, and `ok` says whether it is as it should be.
    fn holds(self, ok: bool) -> Self {
        Self { ok, ..self }
    }
}

/// What every part of the tour works with.
struct Tour<'a> {
    client: &'a Client,
    cast: &'a Cast,
    service: &'a Service,
    /// An invoice of acme, once there is one.
    invoice: OnceLock<String>,
}

type Rows = Result<Vec<Row>, BoxError>;

/// How the tour went.
pub(crate) struct Outcome {
    /// How many rows differ from what they should be.
    pub(crate) differing: usize,
    /// An invoice of acme.
    pub(crate) invoice: String,
}

/// Drives the service and prints the table.
pub(crate) async fn run(
    client: &Client,
    cast: &Cast,
    service: &Service,
    out: &mut impl Write,
) -> io::Result<Outcome> {
    let tour = Tour {
        client,
        cast,
        service,
        invoice: OnceLock::new(),
    };
    let mut table = Table::new(out)?;
    table.group("One tenant's data", isolation::rows(&tour).await)?;
    table.group("Who is asking", credentials::rows(&tour).await)?;
    table.group("What is public", routes::rows(&tour).await)?;
    table.group("Cached per tenant", cache::rows(&tour).await)?;
    table.group("Suspended", suspension::rows(&tour).await)?;
    table.group("Budgets", budgets::rows(&tour).await)?;
    table.group("The audit log", audit::rows(&tour).await)?;
    let differing = table.end()?;
    let invoice = tour.invoice.into_inner().unwrap_or_default();
    Ok(Outcome { differing, invoice })
}

/// Prints rows as they come.
struct Table<'a, W> {
    out: &'a mut W,
    rows: usize,
    differing: usize,
}

impl<'a, W: Write> Table<'a, W> {
    fn new(out: &'a mut W) -> io::Result<Self> {
        line(out, "", "", "tried", "what came back", "invariant")?;
        Ok(Self {
            out,
            rows: 0,
            differing: 0,
        })
    }

    fn group(&mut self, title: &str, rows: Rows) -> io::Result<()> {
        writeln!(self.out, "{title}")?;
        let rows = rows.unwrap_or_else(|error| {
            let nothing = Row::new("", "the rest of this part", "", "an answer", error);
            vec![nothing]
        });
        for row in rows {
            self.rows = self.rows.saturating_add(1);
            let mark = if row.ok { "ok" } else { "!!" };
            line(self.out, mark, row.way, &row.tried, &row.came_back, row.invariant)?;
            if !row.ok {
                self.differing = self.differing.saturating_add(1);
                line(self.out, "", "", "", &format!("should be: {}", row.expected), "")?;
            }
        }
        self.out.flush()
    }

    fn end(self) -> io::Result<usize> {
        match self.differing {
            0 => writeln!(self.out, "\n{} rows, all as they should be.\n", self.rows)?,
            some => writeln!(self.out, "\n{} rows, {some} NOT as they should be.\n", self.rows)?,
        }
        Ok(self.differing)
    }
}

fn line(
    out: &mut impl Write,
    mark: &str,
    way: &str,
    tried: &str,
    came_back: &str,
    invariant: &str,
) -> io::Result<()> {
    let line = format!("  {mark:2}  {way:4}  {tried:43}  {came_back:42}  {invariant}");
    writeln!(out, "{}", line.trim_end())
}
