//! The plots of the limits: what floors do, by a simulation on a hand-turned clock, and what a decision costs among so many
//! tenants.

#![allow(
    clippy::cast_precision_loss,
    reason = "counts and times of one run are far below 2^52"
)]

use std::{fs, path::Path};

use crate::{
    Result,
    plot::{Chart, Line},
    rows::simulation,
};

/// Writes them to `benches/plots`.
///
/// # Errors
///
/// A limiter does not build, a file is not written, or the build is for development: that draws only what takes no
/// time to measure.
pub fn write() -> Result<()> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("plots");
    fs::create_dir_all(&directory)?;
    fs::write(directory.join("fair.svg"), fair()?.svg())?;
    if cfg!(debug_assertions) {
        return Err("fair.svg is written; what tenants cost is drawn by a release build".into());
    }
    fs::write(directory.join("tenants.svg"), tenants()?.svg())?;
    Ok(())
}

/// One loud tenant against fifty quiet ones.
fn fair() -> Result<Chart> {
    let share = |served: &simulation::Second| {
        served.quiet_admitted as f64 / served.quiet_asked as f64 * 100.0
    };
    let with = simulation::loud_against_quiet(true)?;
    let without = simulation::loud_against_quiet(false)?;
    let line = |name: &str,
                colour,
                seconds: &[simulation::Second],
                of: &dyn Fn(&simulation::Second) -> f64| {
        let points = seconds
            .iter()
            .enumerate()
            .map(|(second, served)| (second as f64, of(served)));
        Line::new(name, colour, points)
    };
    let used = |served: &simulation::Second| {
        (served.quiet_admitted as f64 + served.loud_admitted as f64) / 10.0
    };
    Ok(Chart::new(
        "50 quiet tenants within their floors; from second 10 to 40 one asks for twice the whole. Percent",
        "seconds, of the simulation's clock",
        vec![
            line("quiet, with floors", "#1b7837", &with, &share),
            line(
                "quiet, first come first served",
                "#b2182b",
                &without,
                &share,
            ),
            line("of the whole, with floors", "#2166ac", &with, &used),
        ],
    ))
}

fn tenants() -> Result<Chart> {
    let curve = simulation::curve()?;
    Ok(Chart::new(
        "A warm decision, four budgets, each time for another of so many tenants. ns, the fastest batch",
        "tenants",
        vec![
            Line::new("decision", "#2166ac", curve.iter().map(|point| (point.tenants as f64, point.decision))),
            Line::new("reading its identity alone", "#777777", curve.iter().map(|point| (point.tenants as f64, point.touch))),
        ],
    )
    .in_powers())
}
