//! What the layers cost, and what an expert assembles today costs, measured in one run.
//!
//! The program `report` prints a table and writes it to `RESULTS.md`; `cargo bench` runs the same rows under
//! criterion. All rows are driven without a runtime, on one thread, by the same loop: a batch of
//! requests is made, then timed from `poll_ready` to the last frame of the response's body.
//!
//! | module | what |
//! |---|---|
//! | [`rows`] | the rows by their stable names |
//! | [`harness`] | samples in turn over all rows, minimum and median, allocations |
//! | [`report`] | the table, the ratios, the list as JSON |
//! | [`row`], [`drive`] | a row's batch; a request's way through a service |
//! | [`request`], [`token`] | what every row is given |
//! | [`allocations`] | the counting allocator |
//! | [`plot`] | charts as SVG, for the program `plots` |
//! | [`machine`] | what the figures were measured on |

pub mod allocations;
pub mod drive;
pub mod harness;
pub mod machine;
pub mod plot;
pub mod plots;
pub mod report;
pub mod request;
pub mod row;
pub mod rows;
pub mod token;

/// An error of a benchmark, in words.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The result of setting up or measuring a row.
pub type Result<T> = std::result::Result<T, BoxError>;
