//! A request's record while it is open: a guard that queues it, whatever happens to the request.

use std::{fmt, sync::Arc};

use http::{Extensions, HeaderMap, HeaderName, Method, Response, StatusCode, header};
use http_body::Body;
use tenant_context::{Protocol, Rejection, Trail, TrailCell};

use crate::{
    outcome::End,
    queue::{Entry, Place},
    request::{Arrival, PathText, Progress, Request},
};

/// The open record of one request. Dropping it queues it, so exactly one is written.
pub(crate) struct Open {
    cell: Arc<TrailCell<Request>>,
    /// Taken once, when the record is queued.
    place: Option<Place>,
}

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

impl Open {
    /// Opens the record of a request, and its trail.
    pub(crate) fn begin<B>(place: Place, request: &mut http::Request<B>, arrival: Arrival) -> Self {
        let cell = Arc::new(TrailCell::new(Request {
            request_id: request.extensions().get().cloned(),
            method: request.method().clone(),
            path: PathText::of(request.uri().path()),
            protocol: Protocol::of(request.headers()),
            arrival,
            progress: Progress::new(),
        }));
        request.extensions_mut().insert(Trail::on(&cell));
        Self {
            cell,
            place: Some(place),
        }
    }

    fn progress(&self) -> &Progress {
        &self.cell.record().progress
    }

    /// Runs foreign code: if it panics, the record says so.
    pub(crate) fn run<R>(&self, f: impl FnOnce() -> R) -> R {
        self.progress().running(true);
        let result = f();
        self.progress().running(false);
        result
    }

    /// Takes in the head of the answer.
    pub(crate) fn answer<B: Body>(&self, response: &Response<B>) {
        let (status, progress) = (response.status(), self.progress());
        progress.answered(status);
        self.note_rejection(response.extensions());
        if self.cell.record().protocol == Protocol::Grpc {
            progress.grpc(grpc_status(response.headers()));
            return;
        }
        let bodiless = self.cell.record().method == Method::HEAD
            || status.is_informational()
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        progress.expect(if bodiless {
            Some(0)
        } else {
            content_length(response.headers()).or_else(|| response.body().size_hint().exact())
        });
    }

    fn note_rejection(&self, extensions: &Extensions) {
        let Some(rejection) = extensions.get::<Rejection>() else {
            return;
        };
        self.progress().refused();
        self.cell.with(|facts| {
            if facts.identity.is_none() {
                facts.identity = rejection.identity().cloned();
            }
            facts.rejection = Some(rejection.clone());
        });
    }

    /// Takes in a part of the body.
    pub(crate) fn data(&self, bytes: usize) {
        self.progress().data(bytes);
    }

    /// Takes in the trailers.
    pub(crate) fn trailers(&self, trailers: &HeaderMap) {
        if self.cell.record().protocol == Protocol::Grpc {
            self.progress().grpc(grpc_status(trailers));
        }
    }

    /// Queues the record, unless it is queued.
    pub(crate) fn finish(&mut self, end: End) {
        let Some(place) = self.place.take() else {
            return;
        };
        let now = place.door().clock.monotonic();
        let request = self.cell.record();
        let duration = now.saturating_since(request.arrival.monotonic);
        request.progress.end(end, duration);
        place.fill(Entry::Request(Arc::clone(&self.cell)));
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let progress = self.progress();
        let end = if progress.is_running() {
            End::Panicked
        } else if !progress.is_answered() {
            End::Cancelled
        } else if progress.is_delivered() {
            End::Complete
        } else {
            End::BodyDropped
        };
        self.finish(end);
    }
}

fn grpc_status(headers: &HeaderMap) -> Option<u32> {
    headers.get(GRPC_STATUS)?.to_str().ok()?.parse().ok()
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Open")
            .field("request", self.cell.record())
            .finish_non_exhaustive()
    }
}
