//! Two tenants against each other, over real sockets: whatever is tried, none learns of the other.

#![allow(clippy::arithmetic_side_effects, reason = "tests")]

mod headers;
mod ids;
mod world;

use std::{collections::HashMap, sync::Arc};

use axum::http::{StatusCode, header};
use serde_json::{Value, json};
use tenant_auth::NewToken;
use tokio::task::JoinSet;

use self::{
    headers::tricks,
    ids::attack,
    world::{Random, World, mint, of},
};
use crate::{
    client::{Answer, within},
    grpc::proto::ListRequest,
    store::Invoice,
};

const SEED: u64 = 0x5eed_0f1d;

/// Everything that the cache keeps: there is one cacheable route, and each query is a key of its own.
const CACHED: [&str; 4] = [
    "/totals?",
    "/totals?of=all&",
    "/totals?of=ALL&",
    "/totals?tenant=globex&",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn isolation_what_one_warmed_no_other_is_answered_with() {
    let world = World::start().await;
    let token = |token: &NewToken| mint(&world.minter, token);
    let totals = async |url: &str, token: &str, stored: bool| {
        let call = world.client.get(url).bearer(token);
        let call = if stored {
            call.header(header::CACHE_CONTROL, "only-if-cached")
        } else {
            call
        };
        call.send().await.unwrap()
    };
    let hit = |answer: &Answer| answer.header("cache-status").contains("; hit");
    let everybody = [
        ("Ada", world.acme.token.clone()),
        (
            "her narrower token",
            token(&of("acme", "ada").scopes(["invoices:read"])),
        ),
        (
            "her token with a role",
            token(
                &of("acme", "ada")
                    .scopes(["invoices:read"])
                    .roles(["viewer"]),
            ),
        ),
        (
            "another at acme",
            token(&of("acme", "alan").scopes(["invoices:read"])),
        ),
        ("globex", world.globex.token.clone()),
        (
            "globex' Ada",
            token(&of("globex", "ada").scopes(["invoices:read", "invoices:write"])),
        ),
    ];
    for (number, (warming, token)) in everybody.iter().enumerate() {
        let urls = CACHED.map(|url| format!("{url}by={number}"));
        for url in &urls {
            let first = totals(url, token, false).await;
            assert!(
                first.status.is_success() && !hit(&first),
                "{warming}, {url}: {first:?}"
            );
            let again = totals(url, token, true).await;
            assert!(
                hit(&again) && again.body == first.body,
                "{warming}, {url}: {again:?}"
            );
        }
        for (who, other) in everybody.iter().filter(|(who, _)| who != warming) {
            for url in &urls {
                let tried = format!("{url} as {who}, warmed by {warming}");
                let stored = totals(url, other, true).await;
                assert_eq!(
                    stored.status,
                    StatusCode::GATEWAY_TIMEOUT,
                    "{tried}: {stored:?}"
                );
                assert!(
                    stored.body.is_empty() && !hit(&stored),
                    "{tried}: {stored:?}"
                );
            }
            let head = format!("HEAD {}", urls[0]);
            let head = world.raw(&head, Some(other), &[b"Cache-Control: only-if-cached"]);
            assert_eq!(head.await.code, 504, "as {who}, warmed by {warming}");
        }
        for host in ["Host: globex.example", "Host: ", "Host: 127.0.0.1"] {
            let headers = [host.as_bytes(), b"Cache-Control: only-if-cached"];
            let line = format!("GET {}", urls[0]);
            let other = world.raw(&line, Some(token), &headers).await;
            assert_eq!(other.code, 504, "another host, {host:?}: {}", other.text);
        }
        let anonymous = world.client.get(&urls[0]).send().await.unwrap();
        assert_eq!(anonymous.status, StatusCode::UNAUTHORIZED);
    }
    // An agent has a small budget of its own: once is enough.
    let agent = token(&of("acme", "ada").agent("ledger-bot"));
    let stored = totals("/totals?by=0", &agent, true).await;
    assert_eq!(stored.status, StatusCode::GATEWAY_TIMEOUT, "{stored:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn isolation_every_request_has_one_record_in_its_own_tenants_chain() {
    let world = World::start().await;
    attack(&world, SEED + 1, 150).await;
    for (headers, _) in tricks() {
        world
            .raw("GET /whoami", Some(&world.globex.token), &headers)
            .await;
        world.raw("GET /whoami", None, &headers).await;
    }
    let log = world.log().await;
    let mut seen: HashMap<&str, u64> = HashMap::new();
    for (_, record) in &log {
        *seen
            .entry(record["request_id"].as_str().unwrap())
            .or_default() += 1;
    }
    for id in world.sent() {
        assert_eq!(seen.remove(id.as_str()), Some(1), "records of request {id}");
    }
    assert_eq!(
        seen,
        HashMap::new(),
        "records of requests that were not sent"
    );
    for (file, record) in &log {
        let (own, actor) = match record["tenant_id"].as_str() {
            None => ("platform.jsonl", None),
            Some("acme") => ("tenant-acme.jsonl", Some("ada")),
            Some(_) => ("tenant-globex.jsonl", Some("grace")),
        };
        assert_eq!(file, own, "{record}");
        assert_eq!(record["actor_id"].as_str(), actor, "{record}");
        let text = record.to_string();
        for side in [&world.acme, &world.globex] {
            assert!(
                !text.contains(&side.canary) && !text.contains(&side.token),
                "{text}"
            );
        }
    }
    for (side, other) in [world.sides(false), world.sides(true)] {
        let crossed = log.iter().filter(|(_, record)| {
            record["reason"] == "cross_tenant" && record["tenant_id"] == side.tenant
        });
        let foreign = |record: &Value| {
            let named = record["resource_id"].as_str().unwrap();
            other
                .invoices
                .iter()
                .any(|invoice| invoice.id.to_string() == named)
        };
        let (foreign, all) = crossed.fold((0, 0), |(found, all), (_, record)| {
            (found + u64::from(foreign(record)), all + 1)
        });
        assert!(
            all > 0 && foreign == all,
            "{}: {foreign} of {all}",
            side.tenant
        );
    }
    tenant_audit::verify(&world.service.audit_dir).unwrap();
}

/// What a tenant's own requests are answered with, while the other's go to the same URLs.
async fn hammer(world: &World, swapped: bool, seed: u64) {
    let (own, other) = world.sides(swapped);
    let client = &world.client;
    let mut random = Random(seed);
    for number in 0..60 {
        let operation = random.below(7);
        let tried = format!(
            "seed {seed:#x}, operation {number}, {operation}, as {}",
            own.tenant
        );
        let mine = random.pick(&own.invoices).id;
        let theirs = random.pick(&other.invoices).id;
        let few = u64::try_from(random.below(50)).unwrap();
        let (answer, expected) = match operation {
            0 => (world.get("/invoices", &own.token).await, 200),
            1 => (world.get("/totals", &own.token).await, 200),
            2 => (
                world.get(&format!("/invoices/{mine}"), &own.token).await,
                200,
            ),
            3 => (
                world.get(&format!("/invoices/{theirs}"), &own.token).await,
                404,
            ),
            4 | 5 => {
                let (id, code) = if operation == 4 {
                    (mine, 200)
                } else {
                    (theirs, 404)
                };
                let change = json!({ "cents": own.cents + few });
                let call = client.patch(&format!("/invoices/{id}"), &change);
                (call.bearer(&own.token).send().await.unwrap(), code)
            }
            _ => {
                let asked = client.rpc(&own.token, ListRequest {}).unwrap();
                let list = within(client.invoices().list(asked))
                    .await
                    .unwrap()
                    .unwrap();
                let invoices = &list.get_ref().invoices;
                assert_eq!(invoices.len(), own.invoices.len(), "{tried}");
                let is_own = |customer: &str| customer.starts_with(&own.canary);
                assert!(
                    invoices.iter().all(|it| is_own(&it.customer)),
                    "{tried}: {list:?}"
                );
                continue;
            }
        };
        let text = String::from_utf8_lossy(&answer.body);
        assert_eq!(answer.code(), expected, "{tried}: {text}");
        assert!(!text.contains(&other.canary), "{tried}: {text}");
        match operation {
            0 | 2 | 4 => assert!(text.contains(&own.canary), "{tried}: {text}"),
            1 => {
                let cents = answer.json()["cents"].as_u64().unwrap();
                let count = u64::try_from(own.invoices.len()).unwrap();
                let range = own.cents * count..(own.cents + 50) * count;
                assert!(range.contains(&cents), "{tried}: {text}");
            }
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn isolation_two_tenants_at_once_on_the_same_urls() {
    let world = Arc::new(World::start().await);
    let mut tasks = JoinSet::new();
    for number in 0..8 {
        let world = Arc::clone(&world);
        tasks.spawn(async move { hammer(&world, number % 2 == 1, SEED + number).await });
    }
    while let Some(ended) = within(tasks.join_next()).await.unwrap() {
        ended.unwrap();
    }
    for side in [&world.acme, &world.globex] {
        let ids = |invoices: &[Invoice]| invoices.iter().map(|it| it.id).collect::<Vec<_>>();
        assert_eq!(ids(&world.list(side).await), ids(&side.invoices));
    }
}
