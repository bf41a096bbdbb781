//! Headers, hosts and metadata beside a good token: none of them chooses the tenant.

use axum::http::Uri;
use tonic::{
    Code,
    transport::{Channel, Endpoint},
};

use super::world::World;
use crate::{
    client::within,
    grpc::proto::{GetRequest, WhoAmIRequest, invoices_client::InvoicesClient},
};

/// Headers beside Ada's good token, and what becomes of it: `Some(code)`, or the answer is the same
/// as without them.
pub(super) fn tricks() -> Vec<(Vec<&'static [u8]>, Option<u16>)> {
    let mut tricks: Vec<(Vec<&'static [u8]>, Option<u16>)> = vec![
        (vec![b"X-Tenant-ID: acme"], None),
        (vec![b"X-Tenant-ID:  \tacme \t"], None),
        (vec![b"X-Tenant-ID: acme", b"x-tenant-id: acme"], None),
        (vec![b"X-Tenant-ID: ACME"], Some(403)),
        (
            vec![b"X-Tenant-ID: acme", b"X-Tenant-ID: globex"],
            Some(403),
        ),
        (
            vec![b"X-Tenant-ID: globex", b"X-Tenant-ID: acme"],
            Some(403),
        ),
        (vec![b"X-Tenant-ID: acme", b"X-Org-ID: globex"], Some(403)),
        (vec![b"X-Tenant-ID: acme,globex"], Some(403)),
        (vec![b"X-Tenant-ID: acme;globex"], Some(403)),
        (vec![b"X-Tenant-ID: \"acme\""], Some(403)),
        (vec![b"X-Tenant-ID:"], Some(403)),
        (vec![b"X-Tenant-ID: *"], Some(403)),
        (vec![b"X-Tenant-ID: \xff\xfe"], Some(403)),
        (vec![b"X-Tenant-ID: acme\xc2\xa0"], Some(403)),
        (vec![b"X-Tenant-ID: \xd0\xb0cme"], Some(403)),
        (
            vec![b"X-Tenant-ID: globex", b"Connection: X-Tenant-ID"],
            Some(403),
        ),
        (vec![b"Authorization: Bearer x"], Some(400)),
        (vec![b"authorization:"], Some(400)),
        (vec![b"X-API-Key: sk_test_x"], Some(401)),
    ];
    let forged: [&[u8]; 7] = [
        b"X-Tenant-ID: globex",
        b"x-tenant-id: globex",
        b"X-TENANT-ID: globex",
        b"X-Tenant: globex",
        b"X-oRGANIZATION-iD: globex",
        b"X-Org-ID: globex",
        b"Organization-ID: globex",
    ];
    tricks.extend(forged.map(|header| (vec![header], Some(403))));
    let ignored: [&[u8]; 14] = [
        b"X_Tenant_ID: globex",
        b"Tenant: globex",
        b"Cookie: tenant=globex; X-Tenant-ID=globex",
        b"X-Forwarded-Host: globex.example",
        b"Forwarded: host=globex.example",
        b"X-User: grace",
        b"X-Original-URL: /invoices?tenant=globex",
        b"X-Rewrite-URL: /health",
        b"X-HTTP-Method-Override: OPTIONS",
        b"Connection: Authorization",
        b"TE: trailers",
        b"Host: globex.example",
        b"Host: globex@127.0.0.1",
        b"Host: \xff",
    ];
    tricks.extend(ignored.map(|header| (vec![header], None)));
    tricks.push((vec![b"Host: acme.example", b"Host: globex.example"], None));
    tricks
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn isolation_headers_and_hosts_lead_to_no_other_tenant() {
    let world = World::start().await;
    let (ada, globex) = (world.acme.token.as_str(), &world.globex);
    let foreign = format!("GET /invoices/{}", globex.invoices[0].id);
    for line in ["GET /whoami", "GET /invoices", foreign.as_str()] {
        let plain = world.raw(line, Some(ada), &[]).await;
        for (headers, expected) in tricks() {
            let tried = headers.iter().map(|header| String::from_utf8_lossy(header));
            let tried = format!("{line} with {:?}", tried.collect::<Vec<_>>());
            let answer = world.raw(line, Some(ada), &headers).await;
            match expected {
                None => assert_eq!(answer.lasting(), plain.lasting(), "{tried}"),
                Some(code) => assert_eq!(answer.code, code, "{tried}: {}", answer.text),
            }
            assert!(
                !answer.text.contains(&globex.canary),
                "{tried}: {}",
                answer.text
            );
        }
    }
    // An absolute target, and the other's key beside the token.
    let absolute = world
        .raw("GET http://globex.example/whoami", Some(ada), &[])
        .await;
    assert!(
        absolute.text.contains(r#""tenant":"acme""#),
        "{}",
        absolute.text
    );
    let key = format!("X-API-Key: {}", world.globex_key.expose());
    let two = world.raw("GET /whoami", Some(ada), &[key.as_bytes()]).await;
    assert_eq!(two.code, 403, "{}", two.text);
    // Without a token none of it is a credential.
    for (headers, _) in tricks() {
        let answer = world.raw("GET /whoami", None, &headers).await;
        assert!(
            matches!(answer.code, 400 | 401),
            "{headers:?}: {}",
            answer.text
        );
    }
}

/// Names and values of metadata.
type Pairs = &'static [(&'static str, &'static str)];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn isolation_metadata_and_authorities_lead_to_no_other_tenant() {
    let world = World::start().await;
    let ada = world.acme.token.as_str();
    let mut clients = vec![world.client.invoices()];
    for origin in ["http://globex.example", "https://globex"] {
        let endpoint = Endpoint::from_shared(format!("http://{}", world.service.grpc)).unwrap();
        let origin: Uri = origin.parse().unwrap();
        let channel: Channel = endpoint.origin(origin).connect_lazy();
        clients.push(InvoicesClient::new(channel));
    }
    let metadata: [(Pairs, Option<Code>); 7] = [
        (&[], None),
        (&[("x-tenant-id", "acme")], None),
        (&[("tenant", "globex"), ("grpc-tenant", "globex")], None),
        (&[("x-tenant-id", "globex")], Some(Code::PermissionDenied)),
        (
            &[("x-tenant-id", "acme"), ("x-tenant-id", "globex")],
            Some(Code::PermissionDenied),
        ),
        (
            &[("organization-id", "globex")],
            Some(Code::PermissionDenied),
        ),
        (
            &[("authorization", "Bearer x")],
            Some(Code::Unauthenticated),
        ),
    ];
    for client in &mut clients {
        for (pairs, expected) in metadata {
            let mut asked = world.client.rpc(ada, WhoAmIRequest {}).unwrap();
            for (name, value) in pairs {
                asked.metadata_mut().append(*name, value.parse().unwrap());
            }
            match (within(client.who_am_i(asked)).await.unwrap(), expected) {
                (Ok(reply), None) => assert_eq!(reply.get_ref().tenant, "acme", "{pairs:?}"),
                (Err(status), Some(code)) => {
                    assert_eq!(status.code(), code, "{pairs:?}: {status:?}");
                }
                (reply, _) => panic!("{pairs:?}: {reply:?}"),
            }
        }
        let id = world.globex.invoices[0].id.to_string();
        let asked = world.client.rpc(ada, GetRequest { id }).unwrap();
        let reply = within(client.get(asked)).await.unwrap();
        assert_eq!(reply.unwrap_err().code(), Code::NotFound);
    }
}
