//! The counts through the `metrics` crate (feature `metrics`): one series for admissions, and for refusals and shadows one for
//! each declared dimension. Never one for each tenant: their number has no bound.

#[cfg(feature = "metrics")]
pub(crate) use self::on::{DimensionMeters, Meters};

#[cfg(not(feature = "metrics"))]
pub(crate) use self::off::{DimensionMeters, Meters};

#[cfg(feature = "metrics")]
mod on {
    use std::fmt;

    use metrics::{Counter, counter, describe_counter};

    use crate::Dimension;

    const ADMITTED: &str = "tenant_ratelimit_admitted_total";
    const REFUSED: &str = "tenant_ratelimit_refused_total";
    const SHADOWED: &str = "tenant_ratelimit_shadowed_total";

    pub(crate) struct Meters(Counter);

    impl Meters {
        pub(crate) fn new() -> Self {
            describe_counter!(ADMITTED, "Requests that every budget admitted.");
            describe_counter!(
                REFUSED,
                "Requests that were refused, by the binding dimension."
            );
            describe_counter!(SHADOWED, "Requests that a shadow would have refused.");
            Self(counter!(ADMITTED))
        }

        #[inline]
        pub(crate) fn admit(&self) {
            self.0.increment(1);
        }
    }

    pub(crate) struct DimensionMeters {
        refused: Counter,
        shadowed: Counter,
    }

    impl DimensionMeters {
        pub(crate) fn new(dimension: Dimension) -> Self {
            Self {
                refused: counter!(REFUSED, "dimension" => dimension.as_str()),
                shadowed: counter!(SHADOWED, "dimension" => dimension.as_str()),
            }
        }

        pub(crate) fn refuse(&self) {
            self.refused.increment(1);
        }

        pub(crate) fn shadow(&self) {
            self.shadowed.increment(1);
        }
    }

    impl fmt::Debug for Meters {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Meters")
        }
    }

    impl fmt::Debug for DimensionMeters {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("DimensionMeters")
        }
    }
}

#[cfg(not(feature = "metrics"))]
mod off {
    use crate::Dimension;

    #[derive(Debug)]
    pub(crate) struct Meters;

    impl Meters {
        pub(crate) const fn new() -> Self {
            Self
        }

        #[allow(clippy::unused_self, reason = "the feature's has one")]
        pub(crate) const fn admit(&self) {}
    }

    #[derive(Debug)]
    pub(crate) struct DimensionMeters;

    #[allow(clippy::unused_self, reason = "the feature's has one")]
    impl DimensionMeters {
        pub(crate) const fn new(_: Dimension) -> Self {
            Self
        }

        pub(crate) const fn refuse(&self) {}

        pub(crate) const fn shadow(&self) {}
    }
}
