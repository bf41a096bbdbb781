//! What a gRPC client sees when its tenant is suspended, in all four kinds of call, over real sockets.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests"
)]

mod grpc;

use std::time::Duration;

use futures_util::stream;
use grpc::{House, LIMIT, house, house_with, streaming};
use tenant_context::TenantId;
use tokio::{sync::mpsc, time::timeout};
use tokio_stream_of::ReceiverStream;
use tonic::Code;
use tonic_types::StatusExt;

/// The one adapter that is needed, in place of a dependency.
mod tokio_stream_of {
    use std::{
        pin::Pin,
        task::{Context, Poll},
    };

    pub(crate) struct ReceiverStream<T>(pub(crate) tokio::sync::mpsc::Receiver<T>);

    impl<T> futures_util::Stream for ReceiverStream<T> {
        type Item = T;

        fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
            self.0.poll_recv(cx)
        }
    }
}

fn acme() -> TenantId {
    TenantId::parse("acme").unwrap()
}

fn text(text: &str) -> String {
    text.to_owned()
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(LIMIT, future).await.unwrap()
}

#[tokio::test]
async fn i5_a_finished_unary_answer_is_whole_although_its_tenant_was_suspended_meanwhile() {
    let mut house = house().await;
    let answer = soon(house.client.unary("ada", "/t/SuspendsItself")).await;
    assert_eq!(answer.unwrap(), "done", "the handler was allowed to finish");
    let refused = soon(house.client.unary("ada", "/t/Unary"))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(
        refused.get_error_details().error_info().unwrap().reason,
        "TENANT_SUSPENDED"
    );
    house.tenants.resume(&acme());
    let answer = soon(house.client.unary("ada", "/t/Unary")).await;
    assert_eq!(answer.unwrap(), "done", "resume restores");
}

#[tokio::test]
async fn i5_a_unary_handler_is_cut_if_the_layer_is_told_so() {
    let mut house = house_with(|layer| layer.cut_in_flight(true)).await;
    let mut client = house.client.clone();
    let call = tokio::spawn(async move { client.unary("ada", "/t/Hangs").await });
    assert_eq!(soon(house.seen.recv()).await.unwrap(), "Hangs");
    house.tenants.suspend(&acme());
    let refused = soon(call).await.unwrap().unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(soon(house.seen.recv()).await.unwrap(), "Hangs is dropped");
}

#[tokio::test]
async fn i5_a_server_stream_ends_with_a_status_and_nobody_elses_does() {
    let House {
        client, tenants, ..
    } = house().await;
    let one = || stream::iter([text("one")]);
    let mut ada = soon(streaming(&client, "ada", "/t/Events", one()))
        .await
        .unwrap();
    let mut gus = soon(streaming(&client, "gus", "/t/Events", one()))
        .await
        .unwrap();
    for stream in [&mut ada, &mut gus] {
        assert_eq!(soon(stream.message()).await.unwrap().unwrap(), "event");
    }
    tenants.suspend(&acme());
    let ended = soon(ada.message()).await.unwrap_err();
    assert_eq!(ended.code(), Code::PermissionDenied);
    assert_eq!(
        ended.get_error_details().error_info().unwrap().reason,
        "TENANT_SUSPENDED"
    );
    let still_open = timeout(Duration::from_millis(50), gus.message()).await;
    assert!(still_open.is_err(), "globex' stream goes on");
    tenants.resume(&acme());
    let mut again = soon(streaming(&client, "ada", "/t/Events", one()))
        .await
        .unwrap();
    assert_eq!(soon(again.message()).await.unwrap().unwrap(), "event");
}

#[tokio::test]
async fn i5_a_client_stream_that_is_cut_is_no_success_although_its_handler_says_so() {
    let mut house = house().await;
    let (send, receive) = mpsc::channel(4);
    let client = house.client.clone();
    let call = tokio::spawn(async move {
        streaming(&client, "ada", "/t/Upload", ReceiverStream(receive)).await
    });
    send.send(text("one")).await.unwrap();
    assert_eq!(soon(house.seen.recv()).await.unwrap(), "one");
    house.tenants.suspend(&acme());
    assert_eq!(
        soon(house.seen.recv()).await.unwrap(),
        "Upload ends with an error"
    );
    let error = match soon(call).await.unwrap() {
        Err(status) => status,
        Ok(mut answer) => soon(answer.message()).await.unwrap_err(),
    };
    assert_eq!(error.code(), Code::PermissionDenied);
    // The server reads no more of it.
    soon(send.closed()).await;
}

#[tokio::test]
async fn i5_a_call_in_both_directions_is_reset_while_the_client_is_sending_and_gets_a_status_afterwards()
 {
    for half_closed in [false, true] {
        let mut house = house().await;
        let (send, receive) = mpsc::channel(4);
        let chat = streaming(&house.client, "ada", "/t/Chat", ReceiverStream(receive));
        let mut chat = soon(chat).await.unwrap();
        send.send(text("hello")).await.unwrap();
        assert_eq!(soon(chat.message()).await.unwrap().unwrap(), "hello");
        assert_eq!(soon(house.seen.recv()).await.unwrap(), "hello");
        let kept = (!half_closed).then_some(send);
        if half_closed {
            assert_eq!(soon(house.seen.recv()).await.unwrap(), "Chat ends");
        }
        house.tenants.suspend(&acme());
        let ended = soon(chat.message()).await.unwrap_err();
        if half_closed {
            assert_eq!(ended.code(), Code::PermissionDenied);
        } else {
            assert_eq!(ended.code(), Code::Internal, "a reset: {ended:?}");
            assert!(
                ended.get_error_details().error_info().is_none(),
                "no status is sent"
            );
        }
        if let Some(send) = kept {
            // The client's side is told to stop as well.
            soon(send.closed()).await;
        }
    }
}

#[tokio::test]
async fn expiry_cuts_a_long_stream_if_the_layer_is_told_so() {
    let clock = tenant_testkit::ManualClock::new();
    for cut in [true, false] {
        let timer = clock.clone();
        let House { client, .. } = grpc::house_at(&clock, |layer| {
            if cut {
                layer.cut_at_expiry(timer)
            } else {
                layer
            }
        })
        .await;
        let one = stream::iter([text("one")]);
        let mut events = soon(streaming(&client, "short", "/t/Events", one))
            .await
            .unwrap();
        assert_eq!(soon(events.message()).await.unwrap().unwrap(), "event");
        clock.advance(Duration::from_secs(60));
        let next = timeout(
            Duration::from_millis(if cut { 20_000 } else { 50 }),
            events.message(),
        );
        match next.await {
            Ok(ended) => {
                assert!(cut);
                assert_eq!(ended.unwrap_err().code(), Code::Unauthenticated);
            }
            Err(_) => assert!(!cut),
        }
    }
}
