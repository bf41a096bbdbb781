//! The probe: how the layer is made, which requests there are, and the run.

use std::fmt;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tenant_context::BoxError;
use tower_service::Service;

use super::{
    Clause, Outcome, ProbeBody, ProbeService, Report, checks,
    rig::{Kind, caught},
};

/// What a layer makes of a [`ProbeService`]: implemented for every such service.
pub trait Layered:
    Service<
        Request<ProbeBody>,
        Response = Response<<Self as Layered>::Body>,
        Error = <Self as Layered>::Failure,
    > + Clone
{
    /// The response's body.
    type Body: Body<Data = Bytes, Error: Into<BoxError>>;
    /// The service's error.
    type Failure: Into<BoxError>;
}

impl<S, B> Layered for S
where
    S: Service<Request<ProbeBody>, Response = Response<B>, Error: Into<BoxError>> + Clone,
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    type Body = B;
    type Failure = S::Error;
}

type MakeRequest = Box<dyn Fn() -> Request<ProbeBody>>;

/// Puts a layer to the contract. See the [module](super).
///
/// Every check wraps a new handler and sends a few dozen requests. A layer that counts (a limiter)
/// is made anew by its closure, or given room for some thousands; requests that a cache would answer
/// are no admitted requests.
#[must_use = "a probe does nothing until `check` or `run`"]
pub struct Probe<F> {
    name: String,
    layer: F,
    admitted: MakeRequest,
    others: Vec<(Kind, MakeRequest)>,
    between: Box<dyn Fn()>,
    exceptions: Vec<(Clause, &'static str)>,
}

impl Probe<()> {
    /// A probe of the layer with this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            layer: (),
            admitted: Box::new(|| Request::new(ProbeBody::default())),
            others: Vec::new(),
            between: Box::new(|| ()),
            exceptions: Vec::new(),
        }
    }

    /// How the layer wraps a service: `|handler| layer.layer(handler)`.
    pub fn layer<F, S>(self, layer: F) -> Probe<F>
    where
        F: Fn(ProbeService) -> S,
        S: Layered,
    {
        Probe {
            name: self.name,
            layer,
            admitted: self.admitted,
            others: self.others,
            between: self.between,
            exceptions: self.exceptions,
        }
    }
}

impl<F> Probe<F> {
    /// A request that reaches the handler, its decision being there at once. Default: `GET /` without
    /// headers or extensions. Its body is replaced where a check needs one of its own.
    pub fn admitted(mut self, request: impl Fn() -> Request<ProbeBody> + 'static) -> Self {
        self.admitted = Box::new(request);
        self
    }

    /// A request that the layer answers itself: a refusal, or a cache hit.
    pub fn refused(self, request: impl Fn() -> Request<ProbeBody> + 'static) -> Self {
        self.other(Kind::Refused, request)
    }

    /// A request that reaches the handler after the layer's decision was pending at first.
    pub fn pending(self, request: impl Fn() -> Request<ProbeBody> + 'static) -> Self {
        self.other(Kind::Pending, request)
    }

    /// A request that the layer answers itself after its decision was pending at first.
    pub fn pending_refused(self, request: impl Fn() -> Request<ProbeBody> + 'static) -> Self {
        self.other(Kind::PendingRefused, request)
    }

    /// What happens in the outside world whenever something is pending: turns a clock, drives a
    /// worker.
    pub fn between_polls(mut self, turn: impl Fn() + 'static) -> Self {
        self.between = Box::new(turn);
        self
    }

    /// A clause that this layer is not meant to keep, and why. If it keeps it after all, that is a
    /// failure too: an exception does not outlive its reason.
    pub fn except(mut self, clause: Clause, why: &'static str) -> Self {
        self.exceptions.push((clause, why));
        self
    }

    fn other(mut self, kind: Kind, request: impl Fn() -> Request<ProbeBody> + 'static) -> Self {
        self.others.retain(|(known, _)| *known != kind);
        self.others.push((kind, Box::new(request)));
        self
    }

    pub(super) fn kinds(&self) -> impl Iterator<Item = Kind> {
        std::iter::once(Kind::Admitted).chain(self.others.iter().map(|(kind, _)| *kind))
    }

    pub(super) fn has(&self, kind: Kind) -> bool {
        self.kinds().any(|known| known == kind)
    }

    pub(super) fn request(&self, kind: Kind) -> Request<ProbeBody> {
        let other = self.others.iter().find(|(known, _)| *known == kind);
        other.map_or(&self.admitted, |(_, make)| make)()
    }

    pub(super) fn turn(&self) {
        (self.between)();
    }
}

impl<F, S> Probe<F>
where
    F: Fn(ProbeService) -> S,
    S: Layered,
{
    pub(super) fn wrap(&self, handler: ProbeService) -> S {
        (self.layer)(handler)
    }

    /// Checks every clause, and reports.
    pub fn run(&self) -> Report {
        let outcomes = Clause::ALL.map(|clause| (clause, self.outcome(clause)));
        Report {
            layer: self.name.clone(),
            outcomes: outcomes.into(),
        }
    }

    /// Checks every clause.
    ///
    /// # Panics
    ///
    /// If a clause is broken: with the whole report.
    #[track_caller]
    #[allow(
        clippy::must_use_candidate,
        reason = "the report is for those who keep a matrix"
    )]
    pub fn check(&self) -> Report {
        let report = self.run();
        assert!(report.broken().is_empty(), "{report}");
        report
    }

    fn outcome(&self, clause: Clause) -> Outcome {
        match clause {
            Clause::RefusalReturns
                if !self.has(Kind::Refused) && !self.has(Kind::PendingRefused) =>
            {
                return Outcome::NotApplicable("it answers no request itself");
            }
            Clause::PendingKeeps if !self.has(Kind::Pending) => {
                return Outcome::NotApplicable("its decisions are never pending");
            }
            _ => {}
        }
        let exception = self.exceptions.iter().find(|(known, _)| *known == clause);
        match (caught(|| checks::check(clause, self)), exception) {
            (Ok(()), None) => Outcome::Held,
            (Ok(()), Some(_)) => {
                Outcome::Broken("it is excepted, but held: remove the exception".to_owned())
            }
            (Err(_), Some((_, why))) => Outcome::Excepted(why),
            (Err(why), None) => Outcome::Broken(why),
        }
    }
}

impl<F> fmt::Debug for Probe<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe")
            .field("name", &self.name)
            .field("kinds", &self.kinds().collect::<Vec<_>>())
            .field("exceptions", &self.exceptions)
            .finish_non_exhaustive()
    }
}
