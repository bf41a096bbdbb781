//! Ids of another tenant's invoices, in many forms: each is as good as none.

use std::fmt::Write;

use serde_json::json;
use uuid::Uuid;

use super::{
    SEED,
    world::{Random, Side, World},
};
use crate::{
    client::{Answer, same, within},
    grpc::proto::{GetRequest, ListRequest, UpdateRequest},
};

/// An id as somebody wrote it.
struct Written {
    /// What a handler gets to read.
    text: String,
    /// On the URL, after `/invoices/`.
    path: String,
    /// Whether it still names the invoice, over HTTP and over gRPC.
    names: (bool, bool),
}

const FORMS: usize = 21;

/// An id in one of many forms. Two ids are written in the same way for the same `form` and `at`.
fn written(id: Uuid, form: usize, at: usize) -> Written {
    let plain = id.to_string();
    let encode = |text: &str| {
        text.bytes().fold(String::new(), |mut encoded, byte| {
            write!(encoded, "%{byte:02x}").unwrap();
            encoded
        })
    };
    let at = at % plain.len();
    let (before, rest) = plain.split_at(at);
    let (byte, after) = rest.split_at(1);
    let (text, path, names) = match form {
        0 => (plain.clone(), plain, (true, true)),
        1 => (plain.to_uppercase(), plain.to_uppercase(), (true, true)),
        2 => (
            id.simple().to_string(),
            id.simple().to_string(),
            (true, true),
        ),
        3 => (
            id.braced().to_string(),
            format!("%7B{plain}%7D"),
            (true, true),
        ),
        4 => (id.urn().to_string(), id.urn().to_string(), (true, true)),
        5 => (plain.clone(), encode(&plain), (true, true)),
        6 => (
            plain.clone(),
            format!("{before}{}{after}", encode(byte)),
            (true, true),
        ),
        7 => (encode(&plain), encode(&encode(&plain)), (false, false)),
        8 => {
            let flipped = Uuid::from_u128(id.as_u128() ^ (1 << (at * 3))).to_string();
            (flipped.clone(), flipped, (false, false))
        }
        9 => (
            format!("{before}g{after}"),
            format!("{before}g{after}"),
            (false, false),
        ),
        10 => (before.to_owned(), before.to_owned(), (false, false)),
        11 => (
            format!("{plain}{plain}"),
            format!("{plain}{plain}"),
            (false, false),
        ),
        12 => (format!("{plain}/"), format!("{plain}/"), (false, false)),
        13 => (format!("{plain} "), format!("{plain}%20"), (false, false)),
        14 => (
            format!("{before}\0{after}"),
            format!("{before}%00{after}"),
            (false, false),
        ),
        15 => (
            format!("{before}\u{ff11}{after}"),
            format!("{before}%EF%BC%91{after}"),
            (false, false),
        ),
        16 => (
            format!("../{plain}"),
            format!("..%2F{plain}"),
            (false, false),
        ),
        17 => (
            format!("{plain}\u{fffd}"),
            format!("{plain}%ff"),
            (false, false),
        ),
        18 => (
            plain.clone(),
            format!("{plain}?tenant=globex&id={plain}"),
            (true, true),
        ),
        19 => (format!("./{plain}"), format!("./{plain}"), (false, false)),
        _ => (format!("/{plain}"), format!("/{plain}"), (false, false)),
    };
    Written { text, path, names }
}

/// An answer in which the id that was sent, if it is told back, is no longer seen.
fn without(sent: &Written, answer: Answer) -> Answer {
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    let body = match sent.text.as_str() {
        "" => body,
        text => body.replace(text, "<id>"),
    };
    Answer {
        body: body.into(),
        ..answer
    }
}

/// Random operations of either tenant on the other's invoices: each is answered as for an invoice
/// that does not exist.
pub(super) async fn attack(world: &World, seed: u64, operations: usize) {
    let client = &world.client;
    let mut random = Random(seed);
    for number in 0..operations {
        let (asking, other) = world.sides(random.below(2) == 1);
        let (form, at) = (random.below(FORMS), random.below(36));
        let foreign = written(random.pick(&other.invoices).id, form, at);
        let missing = written(random.uuid(), form, at);
        // Over gRPC what is no id names no invoice either: one answer.
        let plain = written(random.uuid(), 0, 0);
        let operation = random.below(7);
        let tried = format!(
            "seed {seed:#x}, operation {number}: kind {operation}, as {}, id {:?}",
            asking.tenant, foreign.path
        );
        let clean = |answer: &str| {
            assert!(!answer.contains(&other.canary), "{tried}: {answer}");
            assert!(
                !answer.contains(&other.cents.to_string()),
                "{tried}: {answer}"
            );
        };
        match operation {
            0..=3 => {
                let body = match operation {
                    0 | 1 => None,
                    2 => Some(json!({ "cents": 1, "tenant": other.tenant })),
                    _ => Some(
                        random
                            .pick(&[json!({ "cents": -1 }), json!({}), json!([1])])
                            .clone(),
                    ),
                };
                let ask = async |id: &Written| {
                    let path = format!("/invoices/{}", id.path);
                    let call = match &body {
                        None => client.get(&path),
                        Some(body) => client.patch(&path, body),
                    };
                    let answer = call.bearer(&asking.token).send().await.unwrap();
                    without(id, answer)
                };
                let (answer, none) = (ask(&foreign).await, ask(&missing).await);
                assert!(answer.status.is_client_error(), "{tried}: {answer:?}");
                assert!(answer.same_as(&none), "{tried}:\n{answer:?}\n{none:?}");
                clean(&format!("{answer:?}"));
            }
            4 => {
                let get = async |id: &Written| {
                    let asked = client.rpc(
                        &asking.token,
                        GetRequest {
                            id: id.text.clone(),
                        },
                    );
                    within(client.invoices().get(asked.unwrap())).await.unwrap()
                };
                let (reply, none) = (get(&foreign).await, get(&plain).await);
                assert!(same(&reply, &none), "{tried}:\n{reply:?}\n{none:?}");
                clean(&format!("{reply:?}"));
            }
            5 => {
                let update = async |id: &Written| {
                    let id = id.text.clone();
                    let asked = client.rpc(&asking.token, UpdateRequest { id, cents: 1 });
                    within(client.invoices().update(asked.unwrap()))
                        .await
                        .unwrap()
                };
                let (reply, none) = (update(&foreign).await, update(&plain).await);
                assert!(same(&reply, &none), "{tried}:\n{reply:?}\n{none:?}");
                clean(&format!("{reply:?}"));
            }
            _ => {
                let path = format!(
                    "/invoices?tenant={}&id={}",
                    other.tenant, other.invoices[0].id
                );
                let list = world.get(&path, &asking.token).await;
                assert!(list.status.is_success(), "{tried}: {list:?}");
                clean(&format!("{list:?}"));
                let asked = client.rpc(&asking.token, ListRequest {}).unwrap();
                let list = within(client.invoices().list(asked))
                    .await
                    .unwrap()
                    .unwrap();
                assert_eq!(
                    list.get_ref().invoices.len(),
                    asking.invoices.len(),
                    "{tried}"
                );
                clean(&format!("{list:?}"));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn isolation_random_foreign_ids_are_as_good_as_none() {
    let world = World::start().await;
    attack(&world, SEED, 400).await;
    for side in [&world.acme, &world.globex] {
        assert_eq!(
            world.list(side).await,
            side.invoices,
            "{} was changed",
            side.tenant
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn isolation_the_forms_of_an_id_that_were_tried_do_name_an_invoice() {
    let world = World::start().await;
    let Side {
        token, invoices, ..
    } = &world.globex;
    for form in 0..FORMS {
        let id = written(invoices[0].id, form, 20);
        let answer = world.get(&format!("/invoices/{}", id.path), token).await;
        assert_eq!(
            answer.status.is_success(),
            id.names.0,
            "{}: {answer:?}",
            id.path
        );
        let asked = world
            .client
            .rpc(
                token,
                GetRequest {
                    id: id.text.clone(),
                },
            )
            .unwrap();
        let reply = within(world.client.invoices().get(asked)).await.unwrap();
        assert_eq!(reply.is_ok(), id.names.1, "{}: {reply:?}", id.text);
    }
}
