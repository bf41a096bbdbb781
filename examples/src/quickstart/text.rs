//! What is printed before and after the tour.

use std::io::{self, Write};

use crate::{
    stack::{FREE_PER_MINUTE, Service},
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
        ada, bot, grace, robot, ..
    } = cast;
    let robot = robot.expose();
    let invoice = &tour.invoice;
    let refill = 60.0 / f64::from(FREE_PER_MINUTE);
    writeln!(
        out,
        r#"It keeps serving; Ctrl-C ends it. The tokens hold for 8 hours. Paste them first:

API=http://{http}
ADA={ada}
BOT={bot}
GRACE={grace}
ROBOT={robot}

curl -i $API/health                                                    # declared public: 200
curl -i $API/invoices                                                  # no token: 401
curl -s -H "Authorization: Bearer $ADA" $API/invoices                  # acme's invoices
curl -s -H "Authorization: Bearer $GRACE" $API/invoices                # globex'
curl -i -H "Authorization: Bearer $ADA" $API/invoices/{invoice}
curl -i -H "Authorization: Bearer $GRACE" $API/invoices/{invoice}
curl -i -H "Authorization: Bearer $ADA" -H 'X-Tenant-ID: globex' $API/invoices      # 403
curl -s -H "Authorization: Bearer $BOT" $API/whoami                    # an agent, for its human
curl -s -H "X-API-Key: $ROBOT" $API/whoami                             # a service
curl -s --json '{{"customer":"You","cents":4200}}' -H "Authorization: Bearer $ADA" $API/invoices
curl -N -H "Authorization: Bearer $ADA" $API/events                    # every change, as it comes
grpcurl -plaintext -import-path examples/proto -proto invoices.proto \
  -H "authorization: Bearer $ADA" {grpc} invoices.v1.Invoices/List     # the same over gRPC

The tour has spent budgets: a 429 right now is the right answer. globex gets a request back every {refill} s."#
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
