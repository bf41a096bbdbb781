//! Accessors and statuses for tonic (feature `tonic`).

use tonic::{Code, Request, Status};

use crate::{Rejection, TenantContext, Trail, render::grpc};

impl TenantContext {
    /// The context of a gRPC request.
    ///
    /// ```
    /// use tenant_context::TenantContext;
    ///
    /// async fn whoami(request: tonic::Request<()>) -> Result<tonic::Response<String>, tonic::Status> {
    ///     let tenant = TenantContext::from_grpc(&request)?;
    ///     Ok(tonic::Response::new(tenant.tenant_id().to_string()))
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// `INTERNAL` if no identity layer has run; the log says what to add.
    pub fn from_grpc<T>(request: &Request<T>) -> Result<&Self, Status> {
        request.extensions().get().ok_or_else(|| {
            Status::from(
                Self::required(&http::Extensions::new())
                    .err()
                    .unwrap_or_else(Rejection::context_missing),
            )
        })
    }
}

impl Trail {
    /// The trail of a gRPC request; a detached one without an audit layer.
    pub fn from_grpc<T>(request: &Request<T>) -> Self {
        request.extensions().get().cloned().unwrap_or_default()
    }
}

/// The same status, message and details that a layer's refusal carries.
///
/// A `Status` cannot carry the reason to the audit: [`TenantScoped`](crate::TenantScoped) records its
/// own; for others use [`Trail::deny`].
impl From<Rejection> for Status {
    fn from(rejection: Rejection) -> Self {
        let details = grpc::status_details(&rejection);
        Self::with_details(
            Code::from_i32(grpc::code(&rejection).into()),
            rejection.to_string(),
            details.into(),
        )
    }
}
