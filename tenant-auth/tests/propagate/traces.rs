//! The trace and the id of a request, in what its handler calls.

use std::sync::Arc;

use futures_util::FutureExt;
use http::{Request, Response};
use tenant_auth::Issuer;
use tenant_context::{RequestId, TenantStack, TraceParent, Trail, TrailCell};
use tower::{Layer, ServiceExt};

use crate::fixture::{Fixture, ISSUER};

#[test]
fn a_trace_goes_on_or_begins() {
    let fixture = Fixture::new();
    let ada = fixture.context(|claims| claims);
    let with = |values: &[&str]| {
        let mut request = Request::new(());
        for value in values {
            request
                .headers_mut()
                .append("traceparent", value.parse().unwrap());
        }
        let sent = fixture.send(&ada, request).unwrap();
        assert_eq!(sent.get_all("traceparent").iter().count(), 1);
        assert_eq!(sent.get_all("x-request-id").iter().count(), 1);
        sent["traceparent"].to_str().unwrap().to_owned()
    };
    let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    assert_eq!(with(&[good]), good);
    for bad in [
        &[][..],
        &[good, good],
        &["00-00000000000000000000000000000000-00f067aa0ba902b7-01"],
        &["00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"],
        &["00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"],
        &["00-4bf9-00f067aa0ba902b7-01"],
        &["ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"],
    ] {
        let made = with(bad);
        assert!(
            made != good && made.len() == 55 && made.starts_with("00-") && made.ends_with("-01"),
            "{made}"
        );
        assert_eq!(with(&[&made]), made, "what is made is valid");
    }
}

/// What a handler calls is part of the request's trace, if the audit layer takes it, and has the request's id.
#[test]
fn the_inbound_trace_and_id_go_on() {
    let fixture = Fixture::new();
    let ada = fixture.context(|claims| claims);
    let inbound = fixture.send(&ada, Request::new(())).unwrap();
    let identity = tenant_auth::layer(fixture.tenants.clone())
        .jwt(
            Issuer::new(ISSUER)
                .audience("billing")
                .key(fixture.minter.verifying_key()),
        )
        .build()
        .unwrap();
    let client = fixture.client.clone();
    let handler = tower::service_fn(move |_: Request<_>| {
        let sent = client.clone().oneshot(Request::new(()));
        async move { sent.await.map(|_| Response::new(String::new())) }
    });
    let service = TenantStack::new().identity(identity).layer(handler);
    let sent = |trace: Option<TraceParent>| {
        let id = RequestId::make();
        let cell = Arc::new(
            TrailCell::new(())
                .with_request_id(Some(id.clone()))
                .with_trace(trace),
        );
        let mut request = Request::new(String::new());
        *request.headers_mut() = inbound.clone();
        request.extensions_mut().insert(Trail::on(&cell));
        let answer = service.clone().oneshot(request).now_or_never().unwrap();
        assert_eq!(answer.unwrap().status(), 200);
        let headers = fixture.wire.0.lock().last().cloned().unwrap();
        assert_eq!(headers["x-request-id"].to_str().unwrap(), id.to_string());
        TraceParent::of(&headers).unwrap()
    };
    for flags in ["00", "01"] {
        let line = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
        let trace = TraceParent::parse(line.as_bytes());
        let (one, other) = (sent(trace), sent(trace));
        for next in [one, other] {
            assert_eq!(next.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
            assert_ne!(next.span_id(), "00f067aa0ba902b7");
            assert_eq!(next.is_sampled(), flags == "01");
        }
        assert_ne!(one.span_id(), other.span_id(), "each call is a span");
    }
    assert_ne!(sent(None).trace_id(), sent(None).trace_id());
}
