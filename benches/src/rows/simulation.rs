//! What the plots show.

#![allow(
    clippy::cast_precision_loss,
    reason = "counts and times of one run are far below 2^52"
)]

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tenant_context::{Clock, Monotonic, TenantContext, UnixTime};
use tenant_ratelimit::{Floors, Limits, Quota};

use super::limits::World;
use crate::Result;

/// What was asked for and admitted in one second.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Second {
    /// By all quiet tenants together.
    pub quiet_asked: u64,
    /// Of them.
    pub quiet_admitted: u64,
    /// Of the loud one's.
    pub loud_admitted: u64,
}

/// A clock that is turned by hand.
#[derive(Clone, Debug, Default)]
struct Hand(Arc<AtomicU64>);

impl Clock for Hand {
    fn monotonic(&self) -> Monotonic {
        Monotonic::from_secs(1)
            .saturating_add(Duration::from_millis(self.0.load(Ordering::Relaxed)))
    }

    fn unix(&self) -> UnixTime {
        UnixTime::from_secs(1_700_000_000)
    }
}

/// 1,000 a second in all, a floor of 10 a second for each of 51 tenants. Fifty ask for 8 a second, and from second 10 to 40 one
/// for 2,000.
///
/// # Errors
///
/// The limiter does not build.
pub fn loud_against_quiet(floors: bool) -> Result<Vec<Second>> {
    let clock = Hand::default();
    let builder = tenant_ratelimit::layer()
        .global(Quota::per_second(1_000).burst(2_000))
        .clock(clock.clone());
    let builder = if floors {
        builder.floors(Floors::each(Quota::per_second(10), 51))
    } else {
        builder
    };
    let limits = builder.build()?.limits().clone();
    let world = World::new(51)?;
    let tenants = (0..51)
        .map(|n| world.context(n, 0))
        .collect::<Result<Vec<_>>>()?;
    let ask = |limits: &Limits, tenant: &TenantContext| limits.check(tenant, None, 1).is_ok();
    let mut seconds = Vec::new();
    for second in 0..50_u64 {
        let mut served = Second::default();
        for ms in 0..1_000_u64 {
            clock.0.fetch_add(1, Ordering::Relaxed);
            for (at, tenant) in (0_u64..).zip(&tenants) {
                if at == 0 {
                    let times = if (10..40).contains(&second) { 2 } else { 0 };
                    for _ in 0..times {
                        served.loud_admitted = served
                            .loud_admitted
                            .wrapping_add(u64::from(ask(&limits, tenant)));
                    }
                } else if ms.wrapping_add(at.wrapping_mul(17)).checked_rem(125) == Some(0) {
                    served.quiet_asked = served.quiet_asked.wrapping_add(1);
                    served.quiet_admitted = served
                        .quiet_admitted
                        .wrapping_add(u64::from(ask(&limits, tenant)));
                }
            }
        }
        seconds.push(served);
    }
    Ok(seconds)
}

/// What a decision costs among so many tenants.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Point {
    /// How many.
    pub tenants: usize,
    /// ns for a decision, in the fastest batch.
    pub decision: f64,
    /// ns for reading the tenant's identity and nothing else: what the cache misses of whoever asks cost.
    pub touch: f64,
}

fn fastest(mut operation: impl FnMut() -> bool) -> f64 {
    const BATCH: u32 = 20_000;
    let mut fastest = f64::MAX;
    for _ in 0..30 {
        #[allow(
            clippy::disallowed_methods,
            reason = "a benchmark measures the system's time"
        )]
        let start = Instant::now();
        for _ in 0..BATCH {
            black_box(operation());
        }
        fastest = fastest.min(start.elapsed().as_nanos() as f64 / f64::from(BATCH));
    }
    fastest
}

/// From 1 to 1,000,000 tenants.
///
/// # Errors
///
/// The limiter does not build.
pub fn curve() -> Result<Vec<Point>> {
    let mut points = Vec::new();
    for power in 0..=6_u32 {
        let tenants = 10_usize.pow(power);
        let [decision, touch] = super::limits::among_and_touch(tenants)?;
        points.push(Point {
            tenants,
            decision: fastest(decision),
            touch: fastest(touch),
        });
    }
    Ok(points)
}
