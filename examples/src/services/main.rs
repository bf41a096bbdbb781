//! Two services in two processes: `orders` calls `billing` on behalf of a tenant, over HTTP and gRPC.
//!
//! `orders` is this process; it starts `billing` as a child. A user's request to `orders` becomes two calls to `billing`, each with
//! a service token for that operation, tenant and chain of actors; the user's own token stays. Then forgeries are sent to `billing`.
//!
//! ```sh
//! cargo run -p tenant-examples --bin services         # fails if a row is not as it should be
//! ```

#![allow(
    clippy::disallowed_methods,
    reason = "an application spawns what the crates hand it"
)]

mod billing;
mod client;
mod forgeries;
mod orders;

use std::{
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

use tenant_auth::TokenMinter;
use tenant_context::BoxError;

/// Generated from `proto/billing.proto`.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]
pub(crate) mod proto {
    tonic::include_proto!("billing.v1");
}

/// The issuer of the tokens with which `orders` calls others.
pub(crate) const ORDERS: &str = "https://orders.internal";
/// What `billing` is called in tokens.
pub(crate) const BILLING: &str = "billing";

/// Where `billing` listens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    pub(crate) http: SocketAddr,
    pub(crate) grpc: SocketAddr,
}

/// The other process, which ends with this value.
struct Billing(Child);

impl Drop for Billing {
    fn drop(&mut self) {
        // It ends by itself when its standard input does; this is for the impatient.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Starts `billing` with the public keys of `orders`, and nothing else of it.
fn start(jwks: &str) -> Result<(Billing, Addresses), BoxError> {
    use std::io::{BufRead, BufReader, Write};

    let mut child = Command::new(std::env::current_exe()?)
        .arg("billing")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map(Billing)?;
    let stdin = child.0.stdin.as_mut().ok_or("the child has no input")?;
    writeln!(stdin, "{jwks}")?;
    let stdout = child.0.stdout.take().ok_or("the child has no output")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    let (http, grpc) = line.trim().split_once(' ').ok_or("billing did not start")?;
    let addresses = Addresses {
        http: http.parse()?,
        grpc: grpc.parse()?,
    };
    Ok((child, addresses))
}

#[allow(clippy::print_stdout, reason = "it is what this is for")]
#[tokio::main]
async fn main() -> Result<(), BoxError> {
    if std::env::args().nth(1).as_deref() == Some("billing") {
        return billing::serve().await;
    }
    let minter = TokenMinter::eddsa_generate("2026-01")?;
    let jwk = minter.public_jwk().ok_or("the key is no key pair")?;
    let (billing, addresses) = start(&format!("{{\"keys\":[{jwk}]}}"))?;
    println!(
        "orders is process {}, billing is process {}\n",
        std::process::id(),
        billing.0.id()
    );

    println!("a request of ada's to orders, which calls billing:");
    for call in orders::place(addresses, &minter).await? {
        println!("  {call}");
    }
    println!("\nforgeries, sent to billing:");
    println!("  {:<46}{:<8}gRPC", "presented", "HTTP");
    let mut admitted = Vec::new();
    for row in forgeries::send(addresses, &minter).await? {
        println!("  {:<46}{:<8}{}", row.presented, row.http, row.grpc);
        if (row.http, row.grpc) != row.expected {
            admitted.push(row.presented);
        }
    }
    if admitted.is_empty() {
        Ok(())
    } else {
        Err(format!("not refused as it should be: {admitted:?}").into())
    }
}
