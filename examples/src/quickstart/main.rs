//! A multi-tenant invoice API over HTTP and gRPC, behind one tenant stack; a tour of it; and `curl`
//! lines to go on with. Begin with `stack.rs`, then read `http.rs`.

mod client;
mod grpc;
mod http;
#[cfg(test)]
mod isolation;
mod stack;
mod store;
mod text;
mod tour;

use std::{
    io::{self, Write},
    net::Ipv4Addr,
    path::PathBuf,
    process::ExitCode,
};

use clap::Parser;
use tenant_auth::{ApiKeys, TokenMinter};
use tenant_context::BoxError;
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::{client::Client, stack::Service, tour::Cast};

const HTTP_PORT: u16 = 8080;

/// An invoice API for many tenants, over HTTP and gRPC, behind one tenant stack on loopback.
///
/// It drives itself over its sockets, prints what came back, then serves until Ctrl-C.
#[derive(Parser)]
#[command(name = "quickstart")]
struct Args {
    /// End after the tour; fail if any row differs from what it should be
    #[arg(long)]
    once: bool,
    /// HTTP port, 0 for a free one [default: 8080; with --once a free one]
    #[arg(long)]
    port: Option<u16>,
    /// gRPC port, 0 for a free one [default: the HTTP port and one; with --once a free one]
    #[arg(long)]
    grpc_port: Option<u16>,
    /// Directory of the audit log [default: a new one under the system's temporary directory]
    #[arg(long, value_name = "DIR")]
    audit_dir: Option<PathBuf>,
    /// Show the layers' own log on stderr
    #[arg(long, short)]
    verbose: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    if args.verbose {
        tracing_subscriber::fmt()
            .with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG)
            .with_writer(io::stderr)
            .init();
    }
    match run(args).await {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_differing) => ExitCode::FAILURE,
        // Whoever read the output has read enough.
        Err(error) if is_broken_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell if stderr is closed.
            writeln!(io::stderr(), "quickstart: {error}").ok();
            ExitCode::from(2)
        }
    }
}

fn is_broken_pipe(error: &(dyn std::error::Error + 'static)) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Returns how many rows of the tour differ from what they should be.
async fn run(args: Args) -> Result<usize, BoxError> {
    let port = args.port.unwrap_or(if args.once { 0 } else { HTTP_PORT });
    let http = listen("HTTP", "--port", port).await?;
    let next = if port == 0 { 0 } else { port.saturating_add(1) };
    let grpc = listen("gRPC", "--grpc-port", args.grpc_port.unwrap_or(next)).await?;
    let audit_dir = match args.audit_dir {
        Some(dir) => dir,
        None => tempfile::Builder::new()
            .prefix("quickstart-audit-")
            .tempdir()?
            .keep(),
    };

    let minter = TokenMinter::eddsa_generate("quickstart")?;
    let secret = [Uuid::new_v4().into_bytes(), Uuid::new_v4().into_bytes()].concat();
    let api_keys = ApiKeys::in_memory("sk", "demo", secret)?;
    let cast = Cast::mint(&minter, &api_keys).await?;
    let key = minter.verifying_key();
    let mut service = stack::start((http, grpc), key, api_keys, audit_dir)?;

    let mut out = io::stdout();
    text::greeting(&mut out, &service)?;
    let client = Client::new(service.http, service.grpc)?;
    let tour = tour::run(&client, &cast, &service, &mut out).await?;
    if !args.once {
        text::invitation(&mut out, &service, &cast, &tour)?;
        serve(&mut service).await?;
    }
    service.audit.flush().await?;
    text::farewell(&mut out, &service)?;
    Ok(tour.differing)
}

/// Until Ctrl-C, or until a task ends that should not.
async fn serve(service: &mut Service) -> Result<(), BoxError> {
    tokio::select! {
        interrupt = tokio::signal::ctrl_c() => Ok(interrupt?),
        Some(ended) = service.tasks.join_next() => {
            ended??;
            Err("a server ended by itself".into())
        }
    }
}

async fn listen(what: &str, option: &str, port: u16) -> Result<TcpListener, BoxError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(|error| {
        format!("cannot listen on 127.0.0.1:{port} for {what}: {error}; choose another port with {option}, 0 for a free one").into()
    })
}
