//! A synced answer that is a stream, or fails: its end waits for its record, and no end is made up.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::missing_panics_doc,
    clippy::unused_async,
    missing_docs,
    unreachable_pub,
    missing_debug_implementations,
    reason = "tests"
)]

mod common;

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use common::{Audit, Body, Mood, Unreliable, by, ended, now};
use futures_util::{FutureExt, stream};
use http::{HeaderMap, Method, Request, Response};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, StreamBody};
use tenant_audit::WhenFull;
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;

/// A stream's frames go out; its end waits.
#[test]
fn the_end_of_a_stream_waits_for_the_sync() {
    let sink = Unreliable::default();
    for mood in [Mood::Well, Mood::Fails] {
        let audit = Audit::on(sink.clone(), |builder| builder.when_full(WhenFull::Refuse));
        let service = audit.layer.layer(service_fn(|_: Request<Body>| async {
            let data = |text: &'static str| Ok::<_, Infallible>(Frame::data(Bytes::from(text)));
            let frames = stream::iter(["one", "two", "three"].map(data));
            Ok::<_, Infallible>(Response::new(StreamBody::new(frames)))
        }));
        let mut request = by("ada", "/events");
        *request.method_mut() = Method::POST;
        let answer = service.oneshot(request).now_or_never().unwrap().unwrap();
        let mut body = Box::pin(answer.into_body());
        for expected in ["one", "two", "three"] {
            let frame = body.frame().now_or_never().unwrap().unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), expected);
        }
        assert!(body.frame().now_or_never().is_none(), "the end waits");
        sink.mood(mood);
        audit.work();
        let end = body.frame().now_or_never().expect("it waits for ever");
        assert_eq!(end.is_none(), mood == Mood::Well);
        assert!(end.is_none_or(|frame| frame.is_err()), "no clean end");
    }
}

#[test]
fn trailers_wait_for_the_sync_and_are_not_sent_without_it() {
    let sink = Unreliable::default();
    for mood in [Mood::Well, Mood::Fails] {
        let audit = Audit::on(sink.clone(), |builder| builder.when_full(WhenFull::Refuse));
        let service = audit.layer.layer(service_fn(|_: Request<Body>| async {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().unwrap());
            let data = |text: &'static str| Ok::<_, Infallible>(Frame::data(Bytes::from(text)));
            let mut frames = Vec::from(["one", "two", "three"].map(data));
            frames.push(Ok(Frame::trailers(trailers)));
            Ok::<_, Infallible>(Response::new(StreamBody::new(stream::iter(frames))))
        }));
        let mut request = by("ada", "/pkg.Pay/Charge");
        *request.method_mut() = Method::POST;
        let answer = now(service.oneshot(request)).unwrap();
        let mut body = Box::pin(answer.into_body());
        for expected in ["one", "two", "three"] {
            let frame = now(body.frame()).unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), expected);
        }
        assert!(body.frame().now_or_never().is_none(), "the trailers wait");
        sink.mood(mood);
        audit.work();
        let end = now(body.frame()).unwrap();
        if mood == Mood::Well {
            assert!(end.unwrap().is_trailers());
        } else {
            assert!(end.is_err());
        }
        assert!(now(body.frame()).is_none(), "nothing follows");
    }
}

/// Fails, and says then that it has ended.
struct Fails(bool);

impl http_body::Body for Fails {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let failed = std::mem::replace(&mut self.0, true);
        Poll::Ready((!failed).then(|| Err(std::io::Error::other("the disk is gone"))))
    }

    fn is_end_stream(&self) -> bool {
        self.0
    }
}

#[test]
fn an_answer_that_fails_is_recorded_as_failed_and_is_no_empty_one() {
    let audit = Audit::with(|builder| builder.when_full(WhenFull::Refuse));
    let service = audit.layer.layer(service_fn(|_: Request<Body>| async {
        Ok::<_, Infallible>(Response::new(Fails(false)))
    }));
    let mut request = by("ada", "/invoices");
    *request.method_mut() = Method::POST;
    let answer = now(service.oneshot(request)).unwrap();
    let mut body = Box::pin(answer.into_body());
    assert!(!body.is_end_stream(), "servers ask no more at the end");
    assert!(now(body.frame()).unwrap().is_err());
    assert!(body.is_end_stream());
    assert_eq!(ended(&audit.one()), ("failure", Some("body_error")));
}
