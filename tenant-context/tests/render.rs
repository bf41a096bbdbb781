//! Refusals on the wire, HTTP and gRPC side by side.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Full};
use proptest::prelude::*;
use serde_json::Value;
use tenant_context::{Challenge, Protocol, Rejection, RenderLayer, Rendered, Violation};
use tonic::Status;
use tonic_types::StatusExt;
use tower::{Layer, ServiceExt, service_fn};

/// What a client gets when the inner service refuses with `rejection`.
async fn answer(
    rejection: &Rejection,
    protocol: Protocol,
    layer: RenderLayer,
) -> (http::response::Parts, Bytes) {
    let refused = rejection.clone();
    let inner = service_fn(move |_: Request<Empty<Bytes>>| {
        let refused = refused.clone();
        // A handler does not know the protocol: the layer must not depend on it.
        async move {
            Ok::<_, Infallible>(
                refused
                    .to_response(Protocol::Http)
                    .map(|()| Empty::<Bytes>::new()),
            )
        }
    });
    let mut request = Request::new(Empty::new());
    if protocol == Protocol::Grpc {
        *request.method_mut() = http::Method::POST;
        request.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/grpc"),
        );
    }
    let (parts, body) = layer
        .layer(inner)
        .oneshot(request)
        .await
        .unwrap()
        .into_parts();
    (parts, body.collect().await.unwrap().to_bytes())
}

fn challenge() -> Arc<Challenge> {
    Arc::new(Challenge::bearer("api").unwrap().and_api_key())
}

#[tokio::test]
async fn every_cause_has_its_answer_in_both_protocols() {
    let wait = Some(Duration::from_millis(1500));
    let table: Vec<(Rejection, u16, i32, &str)> = vec![
        (
            Rejection::credential_missing(),
            401,
            16,
            "CREDENTIAL_MISSING",
        ),
        (
            Rejection::malformed("credential_malformed"),
            400,
            16,
            "REQUEST_MALFORMED",
        ),
        (
            Rejection::credential_invalid("signature"),
            401,
            16,
            "CREDENTIAL_INVALID",
        ),
        (Rejection::tenant_mismatch(), 403, 7, "TENANT_MISMATCH"),
        (Rejection::tenant_suspended(), 403, 7, "TENANT_SUSPENDED"),
        (
            Rejection::insufficient_scope(["a:read", "b:write"]),
            403,
            7,
            "INSUFFICIENT_SCOPE",
        ),
        (Rejection::not_found(), 404, 5, "NOT_FOUND"),
        (Rejection::cross_tenant(), 404, 5, "NOT_FOUND"),
        (
            Rejection::quota_exceeded("tenant", wait),
            429,
            8,
            "QUOTA_EXCEEDED",
        ),
        (
            Rejection::overloaded(Duration::from_secs(2)),
            503,
            14,
            "OVERLOADED",
        ),
        (Rejection::store_unavailable(), 503, 14, "STORE_UNAVAILABLE"),
        (Rejection::context_missing(), 500, 13, "INTERNAL"),
    ];
    for (rejection, status, code, info) in table {
        let (parts, body) = answer(&rejection, Protocol::Http, RenderLayer::new()).await;
        assert_eq!(parts.status, status, "{rejection:?}");
        assert_eq!(
            parts.headers[header::CONTENT_TYPE],
            "application/problem+json"
        );
        assert_eq!(
            parts.headers[header::CONTENT_LENGTH],
            body.len().to_string()
        );
        let problem: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(problem["status"], status);
        assert!(
            problem["title"].is_string()
                && problem["detail"].is_string()
                && problem["type"].is_string()
        );
        assert!(problem.get("instance").is_none());

        let (parts, body) = answer(&rejection, Protocol::Grpc, RenderLayer::new()).await;
        assert_eq!(
            parts.status,
            StatusCode::OK,
            "a gRPC client must never see {status}"
        );
        assert_eq!(parts.headers[header::CONTENT_TYPE], "application/grpc");
        assert!(body.is_empty());
        assert!(!parts.headers.contains_key(header::RETRY_AFTER));
        let grpc = Status::from_header_map(&parts.headers).unwrap();
        assert_eq!(grpc.code() as i32, code, "{rejection:?}");
        assert_eq!(grpc.message(), rejection.to_string());
        let details = grpc.check_error_details().unwrap();
        assert_eq!(details.error_info().unwrap().reason, info);
        assert_eq!(details.error_info().unwrap().domain, "tenant-context");
        assert_eq!(
            details.retry_info().map(|retry| retry.retry_delay),
            rejection.retry_after().map(Some)
        );
        // The same status reaches a client when a tonic handler returns it.
        let returned = Status::from(rejection.clone());
        assert_eq!(
            (returned.code(), returned.details()),
            (grpc.code(), grpc.details())
        );
    }
}

#[tokio::test]
async fn challenges_follow_rfc_6750_and_never_say_which_check_failed() {
    let lines = |rejection: Rejection| async move {
        let (parts, _) = answer(
            &rejection.with_challenge(challenge()),
            Protocol::Http,
            RenderLayer::new(),
        )
        .await;
        let lines = parts.headers.get_all(header::WWW_AUTHENTICATE);
        lines
            .iter()
            .map(|line| line.to_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        lines(Rejection::credential_missing()).await,
        [r#"Bearer realm="api""#, r#"ApiKey realm="api""#]
    );
    assert_eq!(
        lines(Rejection::malformed("x")).await,
        [r#"Bearer realm="api", error="invalid_request""#]
    );
    let causes = [
        "signature",
        "expired",
        "revoked",
        "audience",
        "tenant_unknown",
    ];
    let first = lines(Rejection::credential_invalid(causes[0])).await;
    assert!(
        first[0].starts_with(r#"Bearer realm="api", error="invalid_token", error_description=""#)
    );
    for cause in causes {
        assert_eq!(
            lines(Rejection::credential_invalid(cause)).await,
            first,
            "{cause}"
        );
    }
    assert_eq!(
        lines(Rejection::insufficient_scope(["a:read", "b:write"])).await,
        [r#"Bearer realm="api", error="insufficient_scope", scope="a:read b:write""#]
    );
    assert!(lines(Rejection::tenant_mismatch()).await.is_empty());
    assert!(lines(Rejection::cross_tenant()).await.is_empty());
}

#[tokio::test]
async fn protected_resource_metadata_is_named_where_configured() {
    let challenge = Challenge::bearer("api")
        .unwrap()
        .resource_metadata("https://api.example/.well-known/x")
        .unwrap();
    let rejection = Rejection::credential_missing().with_challenge(Arc::new(challenge));
    let (parts, _) = answer(&rejection, Protocol::Http, RenderLayer::new()).await;
    assert_eq!(
        parts.headers[header::WWW_AUTHENTICATE],
        r#"Bearer realm="api", resource_metadata="https://api.example/.well-known/x""#
    );
    for hostile in ["a\"b", "a\\b", "a\nb", "ä"] {
        assert!(Challenge::bearer(hostile).is_err(), "{hostile:?}");
    }
}

#[tokio::test]
async fn i12_another_tenants_resource_and_a_missing_one_are_the_same_bytes() {
    for protocol in [Protocol::Http, Protocol::Grpc] {
        let (missing, missing_body) =
            answer(&Rejection::not_found(), protocol, RenderLayer::new()).await;
        let (foreign, foreign_body) =
            answer(&Rejection::cross_tenant(), protocol, RenderLayer::new()).await;
        assert_eq!(
            (missing.status, &missing.headers, missing_body),
            (foreign.status, &foreign.headers, foreign_body)
        );
    }
    assert_ne!(
        Rejection::not_found().reason(),
        Rejection::cross_tenant().reason(),
        "the audit tells them apart"
    );
}

/// `answer` writes the head twice, as a layer and the renderer around it do.
#[tokio::test]
async fn all_headers_and_budgets_of_a_refusal_are_said_once_each() {
    let name = |text: &str| text.parse::<header::HeaderName>().unwrap();
    let mut rejection = Rejection::quota_exceeded("export", None);
    for (header, value) in [
        ("x-one", "a"),
        ("x-two", "b"),
        ("x-one", "c"),
        ("x-three", "d"),
    ] {
        rejection = rejection.with_header(name(header), HeaderValue::from_static(value));
    }
    for policy in ["export", "tenant", "global"] {
        rejection = rejection.with_violation(Violation::new(policy, "a budget"));
    }
    let (parts, body) = answer(&rejection, Protocol::Http, RenderLayer::new()).await;
    let all = |header: &str| {
        let values = parts.headers.get_all(name(header));
        values.iter().cloned().collect::<Vec<_>>()
    };
    assert_eq!(all("x-one"), ["a", "c"]);
    assert_eq!(
        (all("x-two"), all("x-three")),
        (
            vec![HeaderValue::from_static("b")],
            vec![HeaderValue::from_static("d")]
        )
    );
    let problem: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        problem["violated-policies"],
        serde_json::json!(["export", "tenant", "global"])
    );
    assert_eq!(rejection.reason(), "rate_limited:export");
    for dimension in ["global", "tenant", "agent", "endpoint", "principal"] {
        let reason = format!("rate_limited:{dimension}");
        assert_eq!(Rejection::quota_exceeded(dimension, None).reason(), reason);
    }
}

#[tokio::test]
async fn quota_problems_name_the_policies_in_both_protocols() {
    let rejection = Rejection::quota_exceeded("tenant", Some(Duration::from_nanos(1)))
        .with_violation(Violation::new("tenant", "requests of this tenant"))
        .with_header(
            "ratelimit-policy".parse().unwrap(),
            HeaderValue::from_static(r#""tenant";q=100;w=60"#),
        );
    let (parts, body) = answer(&rejection, Protocol::Http, RenderLayer::new()).await;
    let problem: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        problem["type"],
        "https://iana.org/assignments/http-problem-types#quota-exceeded"
    );
    assert_eq!(problem["violated-policies"][0], "tenant");
    assert_eq!(parts.headers["ratelimit-policy"], r#""tenant";q=100;w=60"#);
    let (parts, _) = answer(&rejection, Protocol::Grpc, RenderLayer::new()).await;
    let details = Status::from_header_map(&parts.headers)
        .unwrap()
        .get_error_details();
    assert_eq!(
        details.quota_failure().unwrap().violations[0].subject,
        "tenant"
    );
    assert_eq!(
        details.retry_info().unwrap().retry_delay,
        Some(Duration::from_nanos(1))
    );
}

#[tokio::test]
async fn an_application_renders_its_own_envelope_and_keeps_status_and_headers() {
    let layer = RenderLayer::new().render_with(|rejection| {
        Rendered::new(
            HeaderValue::from_static("application/json"),
            format!(r#"{{"oops":"{rejection}"}}"#),
        )
    });
    let (parts, body) = answer(
        &Rejection::store_unavailable(),
        Protocol::Http,
        layer.clone(),
    )
    .await;
    assert_eq!(
        (parts.status.as_u16(), &parts.headers[header::RETRY_AFTER]),
        (503, &HeaderValue::from(1))
    );
    assert_eq!(body, r#"{"oops":"The service cannot decide right now."}"#);
    let (parts, body) = answer(&Rejection::store_unavailable(), Protocol::Grpc, layer).await;
    assert_eq!(
        (parts.headers["grpc-status"].to_str().unwrap(), body.len()),
        ("14", 0)
    );
}

#[tokio::test]
async fn what_is_no_refusal_passes_unchanged() {
    let inner = service_fn(|_: Request<Empty<Bytes>>| async {
        let mut response = Response::new(Full::new(Bytes::from_static(b"hello")));
        *response.status_mut() = StatusCode::NOT_FOUND;
        Ok::<_, Infallible>(response)
    });
    let response = RenderLayer::new()
        .layer(inner)
        .oneshot(Request::new(Empty::new()))
        .await
        .unwrap();
    assert_eq!(response.status(), 404);
    assert!(response.headers().is_empty());
    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        "hello"
    );
}

#[tokio::test]
async fn i7_a_stack_without_render_still_denies() {
    let response = Rejection::tenant_suspended().to_response(Protocol::Http);
    assert_eq!(response.status(), 403);
    let response = Rejection::tenant_suspended().to_response(Protocol::Grpc);
    assert_eq!(
        (
            response.status().as_u16(),
            response.headers()["grpc-status"].to_str().unwrap()
        ),
        (200, "7")
    );
}

/// Whatever stands outside reads the answer's extensions: nothing of the request's is to be found there.
#[test]
fn an_answer_in_the_memory_of_a_requests_extensions_has_none_of_them() {
    #[derive(Clone)]
    struct OfTheRequest;
    for (content_type, protocol) in [
        ("application/json", Protocol::Http),
        ("application/grpc", Protocol::Grpc),
    ] {
        let request = Request::post("/")
            .header("content-type", content_type)
            .extension(OfTheRequest)
            .body(())
            .unwrap();
        let refused = Rejection::tenant_suspended();
        let told = refused.to_response(protocol);
        let response = refused.respond_to(request);
        assert!(response.extensions().get::<OfTheRequest>().is_none());
        assert!(response.extensions().get::<Rejection>().is_some());
        assert_eq!(response.status(), told.status());
        assert_eq!(response.headers(), told.headers());
    }
}

#[test]
fn i8_no_reason_and_no_source_in_what_a_client_sees() {
    let rejection = Rejection::credential_invalid("canary_reason")
        .with_source(std::io::Error::other("canary source"));
    let response = rejection.to_response(Protocol::Http);
    let shown = format!("{rejection} {:?} {}", response.headers(), response.status());
    assert!(!shown.contains("canary"), "{shown}");
}

proptest! {
    #[test]
    fn retry_after_is_rounded_up_and_never_zero(nanos in 0..u64::MAX) {
        let wait = Duration::from_nanos(nanos);
        let response = Rejection::quota_exceeded("x", Some(wait)).to_response(Protocol::Http);
        let secs: u64 = response.headers()[header::RETRY_AFTER].to_str().unwrap().parse().unwrap();
        prop_assert!(secs >= 1);
        prop_assert!(Duration::from_secs(secs) >= wait);
        prop_assert!(secs == 1 || Duration::from_secs(secs.saturating_sub(1)) < wait);
    }

    #[test]
    fn scopes_from_code_never_break_a_header(scope in any::<String>()) {
        let response = Rejection::insufficient_scope([scope]).to_response(Protocol::Http);
        prop_assert_eq!(response.status(), 403);
    }
}

#[tokio::test]
async fn the_refusal_of_head_has_the_length_and_no_content() {
    let refusing = || {
        service_fn(async |_: Request<Empty<Bytes>>| {
            let refused = Rejection::credential_missing().to_response(Protocol::Http);
            Ok::<_, Infallible>(refused.map(|()| Empty::<Bytes>::new()))
        })
    };
    let ask = |method: http::Method| {
        let service = RenderLayer::new().layer(refusing());
        let request = Request::builder().method(method).body(Empty::new());
        async move {
            let answer = service.oneshot(request.unwrap()).await.unwrap();
            let (parts, body) = answer.into_parts();
            let length = parts.headers[header::CONTENT_LENGTH]
                .to_str()
                .unwrap()
                .to_owned();
            (length, body.collect().await.unwrap().to_bytes().len())
        }
    };
    let (length, content) = ask(http::Method::GET).await;
    assert_eq!(length, content.to_string());
    assert_eq!(ask(http::Method::HEAD).await, (length, 0));
}
