//! The tour: the service driven over its sockets, and a table of what came back.

mod audit;
mod budgets;
mod cache;
mod cast;
mod credentials;
mod isolation;
mod routes;
mod suspension;
mod table;

use std::{
    io::{self, Write},
    sync::OnceLock,
};

use tenant_context::BoxError;
use tonic::Status;

pub(crate) use self::cast::Cast;
use self::table::{Row, Table};
use crate::{
    client::{Answer, Client, code},
    stack::Service,
};

/// What a row shows, by the numbers of the invariants.
mod shows {
    pub(super) const PROOF: &str = "1 proof";
    pub(super) const NO_BARE_IDS: &str = "2 no bare ids";
    pub(super) const SIGNALS_AGREE: &str = "3 all signals agree";
    pub(super) const ALL_OR_NONE: &str = "4 all or none";
    pub(super) const AT_ONCE: &str = "5 ends at once";
    pub(super) const FAIL_CLOSED: &str = "7 fail closed";
    pub(super) const NO_SECRET: &str = "8 no secret leaves";
    pub(super) const ONE_RECORD: &str = "9 one record each";
    pub(super) const ONE_404: &str = "12 one 404";
}

const HTTP: &str = "HTTP";
const GRPC: &str = "gRPC";
/// Over HTTP and over gRPC.
const BOTH: &str = "both";
const FILES: &str = "file";

/// What came back over HTTP and over gRPC: `401 | 16 UNAUTHENTICATED`.
fn both<T>(answer: &Answer, reply: &Result<T, Status>) -> String {
    format!("{} | {}", answer.code(), code(reply))
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
