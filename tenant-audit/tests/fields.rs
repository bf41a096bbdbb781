//! What a record says beside who did what: several resources, tools, addresses, traces, actions by route.

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

use std::convert::Infallible;

use common::{Audit, Body, request};
use futures_util::FutureExt;
use http::{Method, Request, Response};
use serde_json::{Value, json};
use tenant_audit::{Durability, Event, WhenFull};
use tenant_context::{PeerAddress, Trail};
use tenant_testkit::{context, tenants};
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;

fn sent(audit: &Audit, request: Request<Body>, handle: fn(&Trail)) -> Value {
    let service = audit
        .layer
        .layer(service_fn(move |request: Request<Body>| async move {
            handle(&Trail::of(request.extensions()));
            Ok::<_, Infallible>(Response::new(Body::default()))
        }));
    let answer = service.oneshot(request).now_or_never().unwrap().unwrap();
    drop(answer.into_body());
    audit.one()
}

#[test]
fn several_resources_of_one_request_are_named() {
    let record = sent(&Audit::new(), request("/merge"), |trail| {
        trail
            .action("invoice.merge")
            .resource("invoice", 18)
            .access("invoice.read", "invoice", 17)
            .access("invoice.write", "invoice", 18);
    });
    assert_eq!(
        record["accesses"],
        json!([
            {"action": "invoice.read", "resource_id": "17", "resource_type": "invoice"},
            {"action": "invoice.write", "resource_id": "18", "resource_type": "invoice"},
        ])
    );
    assert_eq!(record["resource_id"], "18");
}

#[test]
fn i6_an_export_of_many_rows_names_some_and_counts_the_rest() {
    let record = sent(&Audit::new(), request("/export"), |trail| {
        for n in 0..1_000 {
            trail.access("invoice.read", "invoice", n);
        }
    });
    assert_eq!(
        record["accesses"].as_array().unwrap().len(),
        Trail::MAX_ACCESSES
    );
    assert_eq!(record["accesses_dropped"], 1_000 - Trail::MAX_ACCESSES);
}

#[test]
fn an_agents_tool_calls_are_records_of_their_own_or_of_their_request() {
    let record = sent(&Audit::new(), request("/mcp"), |trail| {
        trail.tool_call("search_invoices", Some("call_7f3a"));
    });
    assert_eq!(record["action"], "tool.search_invoices");
    assert_eq!(
        record["tool"],
        json!({"call_id": "call_7f3a", "name": "search_invoices"})
    );

    let audit = Audit::new();
    let tenants = tenants(&["acme"], &audit.clock);
    let ada = context(&tenants, "acme", "ada");
    let event = Event::tool_call("pay", None).access("invoice.read", "invoice", 17);
    audit.handle.try_record(&ada, event).unwrap();
    let record = audit.one();
    assert_eq!(
        (&record["action"], &record["tool"]),
        (&json!("tool.pay"), &json!({"name": "pay"}))
    );
}

#[test]
fn the_clients_address_is_recorded_and_no_header_is_believed() {
    let mut request = request("/");
    let headers = request.headers_mut();
    headers.insert("x-forwarded-for", "203.0.113.9".parse().unwrap());
    request
        .extensions_mut()
        .insert(PeerAddress::new(([192, 0, 2, 1], 4711).into()));
    let record = sent(&Audit::new(), request, |_| ());
    assert_eq!(record["ip_address"], "192.0.2.1");
}

#[test]
fn the_trace_is_taken_where_it_was_asked_for_alone() {
    let traced = || {
        let mut request = request("/");
        let line = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        request
            .headers_mut()
            .insert("traceparent", line.parse().unwrap());
        request
    };
    let record = sent(&Audit::new(), traced(), |_| ());
    assert!(record.get("trace_id").is_none());
    let audit = Audit::with(|builder| builder.when_full(WhenFull::Refuse).trace_context());
    let record = sent(&audit, traced(), |_| ());
    assert_eq!(record["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(record["span_id"], "00f067aa0ba902b7");
}

#[test]
fn actions_have_the_names_of_their_routes_unless_the_handler_says_another() {
    let audit = || {
        Audit::with(|builder| {
            builder
                .when_full(WhenFull::Refuse)
                .unsafe_methods(Durability::Deferred)
                .action(Method::GET, "/invoices/{id}", "invoice.read")
                .unwrap()
                .action(Method::POST, "/billing.v1.Invoices/Void", "invoice.void")
                .unwrap()
        })
    };
    let action = |request, handle| sent(&audit(), request, handle)["action"].clone();
    assert_eq!(action(request("/invoices/17"), |_| ()), "invoice.read");
    assert_eq!(action(request("/invoices"), |_| ()), "http.get");
    let said: fn(&Trail) = |trail| {
        trail.action("invoice.export");
    };
    assert_eq!(action(request("/invoices/17"), said), "invoice.export");
    let mut grpc = request("/billing.v1.Invoices/Void");
    *grpc.method_mut() = Method::POST;
    grpc.headers_mut()
        .insert("content-type", "application/grpc".parse().unwrap());
    assert_eq!(action(grpc, |_| ()), "invoice.void");
}
