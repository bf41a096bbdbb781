//! ```sh
//! cargo run --manifest-path examples/jobs/Cargo.toml
//! ```

use tenant_context::BoxError;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let directory = tempfile::tempdir()?;
    let report = tenant_example_jobs::run(&directory.path().join("queue.sqlite")).await?;
    println!("{report:#?}");
    Ok(())
}
