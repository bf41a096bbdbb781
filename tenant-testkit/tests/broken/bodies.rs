//! Layers whose bodies lie.

use std::{
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::future::{self, FutureExt};
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tenant_testkit::contract::{Clause, ProbeBody, ProbeError, ProbeFuture, ProbeService, Report};
use tower_service::Service;

use crate::{calling, caught, poll_ready, probe, refusal, refuses, refusing, sound};

/// A body that lies in one way.
struct Lies<B> {
    inner: B,
    lie: Lie,
}

#[derive(Clone, Copy, PartialEq)]
enum Lie {
    Ended,
    Length,
    Truncates,
    SwallowsErrors,
    DropsTrailers,
    PollsAfterEnd,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Lies<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let lie = self.lie;
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        match (&polled, lie) {
            (Poll::Ready(Some(Err(_))), Lie::SwallowsErrors) => Poll::Ready(None),
            (Poll::Ready(Some(Ok(frame))), Lie::DropsTrailers) if frame.is_trailers() => {
                Poll::Ready(None)
            }
            (Poll::Ready(Some(Ok(_))), Lie::Truncates)
                if self.inner.size_hint().exact() == Some(5) =>
            {
                self.lie = Lie::Ended;
                Poll::Ready(None)
            }
            (Poll::Ready(None), Lie::PollsAfterEnd) => {
                drop(Pin::new(&mut self.inner).poll_frame(cx));
                Poll::Ready(None)
            }
            _ => polled,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.lie == Lie::Ended || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.lie == Lie::Length {
            return SizeHint::with_exact(1);
        }
        self.inner.size_hint()
    }
}

fn response_body(lie: Lie) -> Report {
    probe(calling(move |inner, request| {
        inner
            .call(request)
            .map(move |answer| answer.map(|response| response.map(|inner| Lies { inner, lie })))
    }))
}

#[test]
fn a_response_body_that_lies() {
    for (lie, message) in [
        (Lie::Ended, "`is_end_stream` was true"),
        (Lie::Length, "`size_hint` said 1 to"),
        (Lie::Truncates, "`size_hint` said 8 to"),
        (Lie::SwallowsErrors, "sees a complete response"),
        (Lie::DropsTrailers, "the client read"),
        (Lie::PollsAfterEnd, "after its end"),
    ] {
        caught(&response_body(lie), Clause::ResponseBody, message);
    }
}

fn request_body(lie: Lie) -> Report {
    #[derive(Clone)]
    struct Wraps(ProbeService, Lie);

    impl Service<Request<ProbeBody>> for Wraps {
        type Response = Response<ProbeBody>;
        type Error = ProbeError;
        type Future = ProbeFuture<Lies<ProbeBody>>;

        fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ProbeError>> {
            poll_ready(&mut self.0, cx)
        }

        fn call(&mut self, request: Request<ProbeBody>) -> Self::Future {
            let lie = self.1;
            self.0.call(request.map(|inner| Lies { inner, lie }))
        }
    }

    probe(move |inner| Wraps(inner, lie))
}

#[test]
fn a_request_body_that_lies() {
    for (lie, message) in [
        (Lie::Length, "`size_hint` said 1 to"),
        (Lie::SwallowsErrors, "the handler read"),
        (Lie::DropsTrailers, "the handler read"),
        (Lie::PollsAfterEnd, "after its end"),
    ] {
        caught(&request_body(lie), Clause::RequestBody, message);
    }
}

#[test]
fn a_request_body_that_is_thrown_away() {
    let report = probe(calling(|inner, request| {
        inner.call(request.map(|_| ProbeBody::default()))
    }));
    caught(&report, Clause::RequestBody, "the handler read");
}

#[test]
fn a_request_body_that_is_kept() {
    let kept = Arc::<Mutex<Vec<ProbeBody>>>::default();
    let report = probe(calling(move |inner: &mut ProbeService, request| {
        let kept = Arc::clone(&kept);
        inner.call(request.map(|body| {
            kept.lock().push(body);
            ProbeBody::default()
        }))
    }));
    caught(
        &report,
        Clause::DroppedAnywhere,
        "a request's body was kept",
    );
}

#[test]
fn a_response_body_dropped_half_way_that_lives_on() {
    struct Outlives(Option<ProbeBody>);

    impl Body for Outlives {
        type Data = Bytes;
        type Error = ProbeError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, ProbeError>>> {
            let Some(inner) = &mut self.0 else {
                return Poll::Ready(None);
            };
            let polled = Pin::new(inner).poll_frame(cx);
            if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
                self.0 = None;
            }
            polled
        }
    }

    impl Drop for Outlives {
        fn drop(&mut self) {
            mem::forget(self.0.take());
        }
    }

    let report = probe(calling(|inner, request| {
        inner
            .call(request)
            .map(|answer| answer.map(|response| response.map(|body| Outlives(Some(body)))))
    }));
    caught(
        &report,
        Clause::ResponseBody,
        "dropped after 0 frames: a response's body was kept",
    );
}

#[test]
fn a_refusal_whose_length_is_wrong() {
    let report = refusing(calling(|inner, request| {
        if !refuses(&request) {
            return sound(inner, request);
        }
        *inner = inner.clone();
        let mut refused = refusal();
        let headers = refused.headers_mut();
        headers.insert("content-length", 2.into());
        future::ok(refused).boxed()
    }));
    caught(
        &report,
        Clause::ResponseBody,
        "`content-length` is not the 0 bytes",
    );
}
