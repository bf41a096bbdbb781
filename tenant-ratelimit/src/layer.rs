//! The layer.

use std::sync::Arc;

use tenant_context::{StackPart, stack::place};
use tower_layer::Layer;

use crate::{Headers, Limits, RateLimit, Settle};

/// Enforces budgets: all that a request falls under are charged, or none. See [the crate's
/// documentation](crate).
///
/// Clones spend the same budgets: give one to the HTTP server and one to the gRPC server.
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until it wraps a service"]
pub struct RateLimitLayer {
    limits: Limits,
    shape: Shape,
}

/// What a limiter's services do besides charging.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) headers: Headers,
    /// Whether something is held until the response has ended.
    pub(crate) holds: bool,
    pub(crate) settle: Option<Arc<Settle>>,
}

impl RateLimitLayer {
    pub(crate) fn new(
        limits: Limits,
        headers: Headers,
        holds: bool,
        settle: Option<Settle>,
    ) -> Self {
        let settle = settle.map(Arc::new);
        let shape = Shape {
            headers,
            holds,
            settle,
        };
        Self { limits, shape }
    }

    /// The same budgets, for code that is no request.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }
}

impl StackPart for RateLimitLayer {
    type Place = place::Limits;
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = RateLimit<S>;

    fn layer(&self, inner: S) -> RateLimit<S> {
        RateLimit::new(inner, self.limits.clone(), self.shape.clone())
    }
}
