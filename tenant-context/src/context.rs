//! The proof that a request is a verified tenant's.

use std::{
    fmt,
    future::Future,
    ops::Deref,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use crate::{
    Authenticate, EndReason, Identity, Lookup, Rejection, RequestHead, TenantId, Timer, Trail,
    UnixTime,
    expiry::Expiry,
    resolver,
    scope::{Current, Entered},
    upload::Upload,
};

/// The proof: whoever holds one serves a request, a job or a message whose credential was verified
/// and whose tenant was found active.
///
/// It has no public constructor, no `Default`, no `Deserialize`, and nothing converts into it. It
/// is made by the identity layer, or by [`TenantContext::admit`] for work that is no request, and
/// both go through an [`Authenticate`].
///
/// A context proves the past. [`check`](Self::check) says whether it still holds; every handle that
/// takes `&TenantContext` calls it on use, and [`ended`](Self::ended) resolves when it ends.
///
/// Handlers take it as an extractor (feature `axum`) or with
/// [`TenantContext::of`] from a request's extensions. Cloning is one reference count.
///
/// ```compile_fail
/// let forged = tenant_context::TenantContext::default();
/// ```
#[derive(Clone)]
pub struct TenantContext(Arc<Identity>);

impl TenantContext {
    /// The one place that makes a proof.
    pub(crate) fn prove(identity: Arc<Identity>, now: UnixTime) -> Result<Self, Rejection> {
        match identity.ended_at(now) {
            None => Ok(Self(identity)),
            Some(reason) => Err(reason.rejection().with_identity(identity)),
        }
    }

    /// Admits work that is no HTTP request: its metadata is presented as a head.
    ///
    /// # Errors
    ///
    /// What `authenticate` refuses; a suspended, closed or unknown tenant; an expired identity.
    pub fn admit(
        authenticate: &(impl Authenticate + ?Sized),
        head: &RequestHead<'_>,
    ) -> Lookup<Result<Self, Rejection>> {
        match authenticate.authenticate(head) {
            Lookup::Ready(Err(rejection)) => Lookup::Ready(Err(rejection)),
            Lookup::Ready(Ok(identity)) => {
                let clock = identity.clock();
                match identity.tenant().ensure_fresh(clock.coarse_monotonic()) {
                    Lookup::Ready(Ok(())) => {
                        let now = clock.coarse_unix();
                        Lookup::Ready(Self::prove(identity, now))
                    }
                    Lookup::Ready(Err(error)) => Lookup::Ready(Err(resolver::refuse(&error))),
                    Lookup::Pending(load) => Lookup::pending(async move {
                        load.await.map_err(|error| resolver::refuse(&error))?;
                        let now = identity.clock().coarse_unix();
                        Self::prove(identity, now)
                    }),
                }
            }
            Lookup::Pending(authenticating) => Lookup::pending(async move {
                let identity = authenticating.await?;
                let fresh = identity
                    .tenant()
                    .ensure_fresh(identity.clock().coarse_monotonic());
                fresh
                    .wait()
                    .await
                    .map_err(|error| resolver::refuse(&error))?;
                let now = identity.clock().unix();
                Self::prove(identity, now)
            }),
        }
    }

    /// The context of a request, if the identity layer has run.
    pub fn of(extensions: &http::Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// The context of a request, or the rejection that says that no identity layer has run.
    ///
    /// # Errors
    ///
    /// [`Rejection::context_missing`], and an error in the log that says what to add.
    pub fn required(extensions: &http::Extensions) -> Result<&Self, Rejection> {
        Self::of(extensions).ok_or_else(|| {
            tracing::error!(
                "no TenantContext in the request: put the identity layer (`tenant_auth::layer(..)`, or `TenantStack`) outside of this; \
                 on a route that is declared public take `Option<TenantContext>`"
            );
            Rejection::context_missing()
        })
    }

    /// The tenant's id.
    pub fn tenant_id(&self) -> &TenantId {
        self.0.tenant().id()
    }

    /// Whether this context still holds: the tenant is active, the credential neither revoked nor
    /// expired. Two atomic loads and a clock reading.
    ///
    /// # Errors
    ///
    /// The rejection to answer with.
    pub fn check(&self) -> Result<(), Rejection> {
        match self.0.ended() {
            None => Ok(()),
            Some(reason) => Err(reason.rejection()),
        }
    }

    /// Resolves when this context stops being valid: for `WebSocket`s, streams and long work in
    /// spawned tasks.
    ///
    /// It resolves at suspension, closure and revocation; at expiry too, if the registry was built
    /// with a [`timer`](crate::CachedRegistryBuilder::timer).
    ///
    /// ```
    /// # async fn serve(tenant: tenant_context::TenantContext, work: impl Future<Output = ()>) {
    /// use futures_util::future::{Either, select};
    /// match select(std::pin::pin!(work), tenant.ended()).await {
    ///     Either::Left(_) => {}
    ///     Either::Right((why, _)) => eprintln!("stopped: {why}"),
    /// }
    /// # }
    /// ```
    pub fn ended(&self) -> Ended {
        Ended {
            watch: Watch::new(self.clone(), Trail::detached()),
            expiry: None,
            expiry_known: false,
        }
    }

    pub(crate) fn identity(&self) -> &Arc<Identity> {
        &self.0
    }
}

impl Deref for TenantContext {
    type Target = Identity;

    fn deref(&self) -> &Identity {
        &self.0
    }
}

impl fmt::Debug for TenantContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TenantContext").field(&self.0).finish()
    }
}

/// The scope of a watched context; of a public route, that of nobody: what an outer scope's tenant may do, its
/// anonymous request may not.
pub(crate) fn enter<'a>(
    watch: Option<&'a mut Watch>,
    nobody: &'a mut Option<Current>,
) -> Entered<'a> {
    watch.map_or_else(|| Entered::new(nobody), Watch::enter)
}

/// A context and its scope, watched for the context's end from the moment the watch was made: a tenant
/// that is suspended and resumed in between has ended too.
#[derive(Debug)]
pub(crate) struct Watch {
    /// Out of its place only while code runs in this scope.
    current: Option<Current>,
    epoch: u32,
    key: Option<usize>,
    /// The request's content, if it has any.
    upload: Option<Arc<Upload>>,
    /// Set when expiry is an end too.
    expiry: Option<Box<Expiry>>,
}

impl Watch {
    pub(crate) fn new(context: TenantContext, trail: Trail) -> Self {
        let epoch = context.tenant().read().epoch;
        Self {
            current: Some(Current { context, trail }),
            epoch,
            key: None,
            upload: None,
            expiry: None,
        }
    }

    /// With a timer, expiry is an end too.
    pub(crate) fn until_expiry(mut self, timer: Option<&Arc<dyn Timer>>) -> Self {
        self.expiry = timer.map(|timer| Box::new(Expiry::new(Arc::clone(timer))));
        self
    }

    /// A watch of the request's content, which tells this one how far it has come.
    pub(crate) fn of_upload(&mut self) -> Option<Self> {
        let context = self.current.as_ref()?.context.clone();
        let upload = self.upload.get_or_insert_with(Arc::default);
        let timer = self.expiry.as_ref().map(|expiry| expiry.timer());
        let mut watch = Self::new(context, Trail::detached()).until_expiry(timer);
        // Since the admission, as this one.
        watch.epoch = self.epoch;
        watch.upload = Some(Arc::clone(upload));
        Some(watch)
    }

    pub(crate) const fn upload(&self) -> Option<&Arc<Upload>> {
        self.upload.as_ref()
    }

    fn identity(&self) -> Option<&Arc<Identity>> {
        self.current.as_ref().map(|current| &current.context.0)
    }

    /// The context's scope, until what this returns is dropped. No closure: a request would be moved into it
    /// and out of it again.
    pub(crate) fn enter(&mut self) -> Entered<'_> {
        Entered::new(&mut self.current)
    }

    /// Two atomic loads.
    pub(crate) fn ended(&self) -> Option<EndReason> {
        let Some(identity) = self.identity() else {
            return Some(EndReason::Revoked);
        };
        let cut_off = identity.cut_off().or_else(|| {
            (identity.tenant().read().epoch != self.epoch).then_some(EndReason::Suspended)
        });
        match self.expiry {
            Some(_) => cut_off.or_else(|| identity.ended()),
            None => cut_off,
        }
    }

    /// Registers for the end, then looks once more: the order that misses none.
    pub(crate) fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<EndReason> {
        if let Some(current) = &self.current {
            current.context.tenant().register(&mut self.key, cx.waker());
            if let Some(expiry) = &mut self.expiry
                && expiry.poll(&current.context.0, cx).is_ready()
            {
                return Poll::Ready(self.ended().unwrap_or(EndReason::Expired));
            }
        }
        self.ended().map_or(Poll::Pending, Poll::Ready)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let (Some(_), Some(current)) = (self.key, &self.current) {
            current.context.tenant().deregister(&mut self.key);
        }
    }
}

/// The future of [`TenantContext::ended`].
#[must_use = "futures do nothing unless polled"]
pub struct Ended {
    watch: Watch,
    expiry: Option<Expiry>,
    expiry_known: bool,
}

impl Future for Ended {
    type Output = EndReason;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<EndReason> {
        let this = &mut *self;
        if let Poll::Ready(reason) = this.watch.poll_ended(cx) {
            return Poll::Ready(reason);
        }
        let Some(identity) = this.watch.identity() else {
            return Poll::Ready(EndReason::Revoked);
        };
        if identity.clock().unix() >= identity.expires_at() {
            return Poll::Ready(EndReason::Expired);
        }
        if !this.expiry_known {
            let directory = identity.tenant().directory();
            let timer = directory.and_then(|directory| directory.settings().timer.clone());
            this.expiry = timer.map(Expiry::new);
            this.expiry_known = true;
        }
        match &mut this.expiry {
            None => Poll::Pending,
            Some(expiry) => expiry.poll(identity, cx).map(|()| EndReason::Expired),
        }
    }
}

impl fmt::Debug for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ended")
            .field("watch", &self.watch)
            .finish_non_exhaustive()
    }
}
