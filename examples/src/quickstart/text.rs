//! What is printed before and after the tour.

use std::io::{self, Write};

use crate::{
    stack::{FREE, Service},
    tour::{Cast, Outcome},
};

/// What was started, and where.
pub(crate) fn greeting(out: &mut impl Write, service: &Service) -> io::Result<()> {
    let Service { http, grpc, .. } = service;
    writeln!(
        out,
        "An invoice API for many tenants, behind one stack: audit, identity, limits, cache.

  HTTP     http://{http}
  gRPC     http://{grpc}
  tenants  acme (plan pro), globex (plan free), initech (suspended)
  log      {}
",
        service.audit_dir.display()
    )
}

/// Lines to paste into a shell.
pub(crate) fn invitation(
    out: &mut impl Write,
    service: &Service,
    cast: &Cast,
    tour: &Outcome,
) -> io::Result<()> {
    let Service { http, grpc, .. } = service;
    let Cast {
        ada,
        bot,
        grace,
        robot,
        ..
    } = cast;
    let robot = robot.expose();
    let invoice = &tour.invoice;
    let requests = u32::try_from(FREE.requests()).unwrap_or(u32::MAX);
    let refill = FREE.period().checked_div(requests).unwrap_or_default();
    writeln!(
        out,
        r#"It keeps serving; Ctrl-C ends it. To go on by hand, paste these first (the tokens hold for 8 hours):

API=http://{http}
ADA={ada}
BOT={bot}
GRACE={grace}
ROBOT={robot}

Declared public; not declared, so without a token 401:
curl -isw '\n' $API/health
curl -isw '\n' $API/invoices

An invoice of acme, as acme 200, as globex 404, and 403 for who claims to be globex:
curl -isw '\n' -H "Authorization: Bearer $ADA" $API/invoices/{invoice}
curl -isw '\n' -H "Authorization: Bearer $GRACE" $API/invoices/{invoice}
curl -isw '\n' -H "Authorization: Bearer $ADA" -H "X-Tenant-ID: globex" $API/invoices

A person, an agent that acts for her, a service:
curl -sw '\n' -H "Authorization: Bearer $ADA" $API/whoami
curl -sw '\n' -H "Authorization: Bearer $BOT" $API/whoami
curl -sw '\n' -H "X-API-Key: $ROBOT" $API/whoami

A new invoice; all of acme's:
curl -sw '\n' -H "Authorization: Bearer $ADA" -H "Content-Type: application/json" \
  -d '{{"customer":"You","cents":4200}}' $API/invoices
curl -sw '\n' -H "Authorization: Bearer $ADA" $API/invoices

The same over gRPC, with the tool grpcurl, from the repository's root:
grpcurl -plaintext -import-path examples/proto -proto invoices.proto \
  -H "Authorization: Bearer $ADA" {grpc} invoices.v1.Invoices/List

A stream of changes, until you end it or acme is suspended:
curl -N -H "Authorization: Bearer $ADA" $API/events

The log may be verified while it serves:
cargo run -p tenant-audit --features cli -- verify {}

The tour has spent budgets, so a 429 right now is as it should be: globex gets a request back every {refill:?}."#,
        service.audit_dir.display()
    )
}

/// Where the log is, and how to verify it.
pub(crate) fn farewell(out: &mut impl Write, service: &Service) -> io::Result<()> {
    let dir = service.audit_dir.display();
    writeln!(
        out,
        "Verify the log yourself:  cargo run -p tenant-audit --features cli -- verify {dir}"
    )
}
