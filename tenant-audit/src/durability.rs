//! How sure a request's record must be before its client gets the answer: the decision alone.

use http::Method;
use tenant_context::ConfigError;

use crate::actions::RouteTable;

/// When a request's record is durable.
///
/// ```
/// use http::Method;
/// use tenant_audit::{Durability, MemorySink, WhenFull};
///
/// # fn main() -> Result<(), tenant_audit::ConfigError> {
/// let (audit, worker) = tenant_audit::layer(MemorySink::new())
///     .when_full(WhenFull::Refuse)
///     .unsafe_methods(Durability::Synced)                                  // the default
///     .route(Method::POST, "/search", Durability::Deferred)?               // reads, whatever its method says
///     .route(Method::POST, "/payments/{id}", Durability::IntentFirst)?
///     .build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Durability {
    /// Soon after the answer: a crash of the machine or the process loses what waits, some milliseconds'
    /// worth. The default for safe methods (RFC 9110 §9.2.1).
    ///
    /// ```
    /// # use http::{Request, Response};
    /// # use http_body_util::{BodyExt, Empty};
    /// # use tenant_audit::{Durability, MemorySink, TokioTimer};
    /// # use tower::{ServiceBuilder, ServiceExt};
    /// # type Body = Empty<bytes::Bytes>;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let sink = MemorySink::new();
    /// let (audit, worker) = tenant_audit::layer(sink.clone())
    ///     .timer(TokioTimer::new())
    ///     .safe_methods(Durability::Deferred)          // the default
    ///     .build()?;
    /// tokio::spawn(worker);
    /// let app = ServiceBuilder::new()
    ///     .layer(audit.clone())
    ///     .service_fn(async |_: Request<Body>| Ok::<_, std::convert::Infallible>(Response::new(Body::new())));
    /// app.oneshot(Request::get("/invoices").body(Body::new())?).await?;
    /// // The answer has waited for nothing. Whoever wants to know waits himself.
    /// audit.handle().flush().await?;
    /// assert_eq!(sink.records()[0]["outcome"], "success");
    /// # Ok(())
    /// # }
    /// ```
    Deferred,
    /// Before the answer ends: its last frame, or the whole answer if the handler gives it in one piece,
    /// waits for the group's sync. The default for all other methods.
    ///
    /// If the sink fails, or does not answer within [`sync_deadline`], the client gets 503
    /// `audit-unavailable` (a stream that has begun breaks off), and further requests of this kind are
    /// refused before their handlers run until the sink is back.
    ///
    /// ```
    /// # use http::{Request, Response};
    /// # use http_body_util::{BodyExt, Empty};
    /// # use tenant_audit::{Durability, MemorySink, TokioTimer};
    /// # use tower::{ServiceBuilder, ServiceExt};
    /// # type Body = Empty<bytes::Bytes>;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let sink = MemorySink::new();
    /// let (audit, worker) = tenant_audit::layer(sink.clone())
    ///     .timer(TokioTimer::new())
    ///     .unsafe_methods(Durability::Synced)          // the default
    ///     .build()?;
    /// tokio::spawn(worker);
    /// let app = ServiceBuilder::new()
    ///     .layer(audit.clone())
    ///     .service_fn(async |_: Request<Body>| Ok::<_, std::convert::Infallible>(Response::new(Body::new())));
    /// app.oneshot(Request::post("/invoices").body(Body::new())?).await?;
    /// // The sink had it before the client got its answer.
    /// assert_eq!(sink.records()[0]["outcome"], "success");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// [`sync_deadline`]: crate::AuditLayerBuilder::sync_deadline
    Synced,
    /// Before the handler runs: an intent is synced first, with the outcome `intent`; the outcome's record
    /// follows, deferred, under the same `event_id`. An intent whose outcome is missing is reported when the
    /// directory is opened again, as `audit.intent_open`.
    ///
    /// ```
    /// # use http::{Request, Response};
    /// # use http_body_util::{BodyExt, Empty};
    /// # use tenant_audit::{Durability, MemorySink, TokioTimer};
    /// # use tower::{ServiceBuilder, ServiceExt};
    /// # type Body = Empty<bytes::Bytes>;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let sink = MemorySink::new();
    /// let (audit, worker) = tenant_audit::layer(sink.clone())
    ///     .timer(TokioTimer::new())
    ///     .route(http::Method::POST, "/payments/{id}", Durability::IntentFirst)?
    ///     .build()?;
    /// tokio::spawn(worker);
    /// let kept = sink.clone();
    /// let app = ServiceBuilder::new()
    ///     .layer(audit.clone())
    ///     .layer(audit.gate())                             // `TenantStack` places it by itself
    ///     .service_fn(move |_: Request<Body>| {
    ///         // The sink has it before the handler runs.
    ///         assert_eq!(kept.records()[0]["outcome"], "intent");
    ///         async { Ok::<_, std::convert::Infallible>(Response::new(Body::new())) }
    ///     });
    /// app.oneshot(Request::post("/payments/17").body(Body::new())?).await?;
    /// audit.handle().flush().await?;
    /// let records = sink.records();
    /// assert_eq!(records[1]["outcome"], "success");
    /// assert_eq!(records[0]["event_id"], records[1]["event_id"]);
    /// # Ok(())
    /// # }
    /// ```
    IntentFirst,
}

/// What a request brings.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Arrives {
    /// It says that it is gRPC.
    pub(crate) grpc: bool,
    /// It has content.
    pub(crate) content: bool,
}

/// The durability of each request.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) safe: Durability,
    pub(crate) others: Durability,
    routes: RouteTable<Durability>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            safe: Durability::Deferred,
            others: Durability::Synced,
            routes: RouteTable::default(),
        }
    }
}

impl Policy {
    pub(crate) fn declare(
        &mut self,
        method: Method,
        template: &str,
        durability: Durability,
    ) -> Result<(), ConfigError> {
        self.routes.declare(method, template, durability)
    }

    /// What holds for a request. A gRPC call is no safe method, whatever it comes under. Without declared routes
    /// one comparison.
    ///
    /// What a client calls its request is not believed where there is content: tonic serves a gRPC call under any
    /// method and any content type. A route that is not declared for the method is then as strict as for POST.
    pub(crate) fn of(&self, method: &Method, path: &str, arrives: Arrives) -> Durability {
        let method = if arrives.grpc { &Method::POST } else { method };
        if let Some(durability) = self.routes.of(method, path) {
            return *durability;
        }
        if arrives.content {
            let posted = self.routes.of(&Method::POST, path).copied();
            return posted.map_or(self.others, |posted| posted.max(self.others));
        }
        if method.is_safe() {
            self.safe
        } else {
            self.others
        }
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn routes_come_before_classes() {
        let mut policy = Policy::default();
        for (method, template, durability) in [
            (Method::POST, "/search", Durability::Deferred),
            (Method::GET, "/search", Durability::Synced),
            (Method::POST, "/pay/{id}", Durability::IntentFirst),
        ] {
            policy.declare(method, template, durability).unwrap();
        }
        for (method, path, durability) in [
            (Method::GET, "/", Durability::Deferred),
            (Method::HEAD, "/search", Durability::Synced),
            (Method::GET, "/search", Durability::Synced),
            (Method::POST, "/search", Durability::Deferred),
            (Method::POST, "/search/", Durability::Synced),
            (Method::POST, "/pay/7", Durability::IntentFirst),
            (Method::DELETE, "/pay/7", Durability::Synced),
        ] {
            assert_eq!(
                policy.of(&method, path, Arrives::default()),
                durability,
                "{method} {path}"
            );
        }
        // Whatever method a gRPC call comes under.
        let grpc = Arrives {
            grpc: true,
            content: true,
        };
        assert_eq!(policy.of(&Method::GET, "/s/m", grpc), Durability::Synced);
        assert_eq!(
            policy.of(&Method::GET, "/pay/7", grpc),
            Durability::IntentFirst
        );
        let error = policy
            .declare(Method::GET, "/{a}{b}", Durability::Synced)
            .unwrap_err();
        assert!(error.to_string().contains("is no template"));
    }

    #[test]
    fn a_request_with_content_is_as_strict_as_a_post_whatever_it_is_called() {
        let mut policy = Policy::default();
        for (template, durability) in [
            ("/pkg.Pay/Charge", Durability::IntentFirst),
            ("/pkg.Pay/Search", Durability::Deferred),
        ] {
            policy.declare(Method::POST, template, durability).unwrap();
        }
        policy
            .declare(Method::GET, "/search", Durability::Deferred)
            .unwrap();
        let content = Arrives {
            grpc: false,
            content: true,
        };
        for (method, path, durability) in [
            (Method::GET, "/pkg.Pay/Charge", Durability::IntentFirst),
            (Method::PUT, "/pkg.Pay/Charge", Durability::IntentFirst),
            (Method::GET, "/pkg.Pay/Search", Durability::Synced),
            (Method::GET, "/", Durability::Synced),
            (Method::GET, "/search", Durability::Deferred),
        ] {
            let found = policy.of(&method, path, content);
            assert_eq!(found, durability, "{method} {path}");
        }
    }
}
