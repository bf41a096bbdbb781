//! The same API over gRPC, behind the same stack.

use std::pin::Pin;

use futures_util::{Stream, StreamExt, stream};
use tenant_context::{ForTenant, Principal, Rejection, TenantContext, Trail};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use self::proto::{
    CreateRequest, GetRequest, HealthReply, HealthRequest, Invoice, ListReply, ListRequest,
    PingReply, PingRequest, ReportReply, ReportRequest, UpdateRequest, WatchReply, WatchRequest,
    WhoAmIReply, WhoAmIRequest, health_server::Health, invoices_server::Invoices,
    late_server::Late,
};
use crate::store::{self, READ, Store};

/// Generated from `proto/invoices.proto`.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]
pub(crate) mod proto {
    tonic::include_proto!("invoices.v1");
}

/// The invoices of whoever proves whose they are.
pub(crate) struct InvoiceApi(pub(crate) Store);

/// Declared public.
pub(crate) struct HealthApi;

/// Added to the server after the stack.
pub(crate) struct LateApi;

impl From<store::Invoice> for Invoice {
    fn from(invoice: store::Invoice) -> Self {
        Self {
            id: invoice.id.to_string(),
            customer: invoice.customer,
            cents: invoice.cents,
        }
    }
}

/// An id that is none names no invoice: one answer, 5 `NOT_FOUND`.
fn parse(id: &str) -> Result<Uuid, Rejection> {
    Uuid::parse_str(id).map_err(|_| Rejection::not_found())
}

#[tonic::async_trait]
impl Invoices for InvoiceApi {
    async fn create(&self, request: Request<CreateRequest>) -> Result<Response<Invoice>, Status> {
        let tenant = TenantContext::from_grpc(&request)?.clone();
        let trail = Trail::from_grpc(&request);
        trail.action("invoice.create");
        let new = request.into_inner();
        let invoice = self.0.create(&tenant, new.customer, new.cents)?;
        trail.resource("invoice", invoice.id);
        Ok(Response::new(invoice.into()))
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListReply>, Status> {
        let tenant = TenantContext::from_grpc(&request)?;
        Trail::from_grpc(&request).action("invoice.list");
        let invoices = self
            .0
            .list(tenant)?
            .into_iter()
            .map(Invoice::from)
            .collect();
        Ok(Response::new(ListReply { invoices }))
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<Invoice>, Status> {
        let tenant = TenantContext::from_grpc(&request)?;
        let id = parse(&request.get_ref().id)?;
        Trail::from_grpc(&request)
            .action("invoice.read")
            .resource("invoice", id);
        tenant.require(READ)?;
        let invoice = self.0.find(id).for_tenant(tenant)?;
        Ok(Response::new(invoice.into()))
    }

    async fn update(&self, request: Request<UpdateRequest>) -> Result<Response<Invoice>, Status> {
        let tenant = TenantContext::from_grpc(&request)?;
        let id = parse(&request.get_ref().id)?;
        Trail::from_grpc(&request)
            .action("invoice.update")
            .resource("invoice", id);
        let invoice = self.0.update(tenant, id, request.get_ref().cents)?;
        Ok(Response::new(invoice.into()))
    }

    async fn report(
        &self,
        request: Request<ReportRequest>,
    ) -> Result<Response<ReportReply>, Status> {
        let tenant = TenantContext::from_grpc(&request)?;
        Trail::from_grpc(&request).action("report.run");
        let totals = self.0.totals(tenant)?;
        Ok(Response::new(ReportReply {
            invoices: totals.invoices,
            cents: totals.cents,
        }))
    }

    async fn who_am_i(
        &self,
        request: Request<WhoAmIRequest>,
    ) -> Result<Response<WhoAmIReply>, Status> {
        let tenant = TenantContext::from_grpc(&request)?;
        Trail::from_grpc(&request).action("whoami");
        Ok(Response::new(WhoAmIReply {
            tenant: tenant.tenant_id().to_string(),
            principal: name(tenant.principal()),
            actor: name(tenant.actor()),
        }))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchReply, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let tenant = TenantContext::from_grpc(&request)?;
        Trail::from_grpc(&request).action("events.watch");
        let open = stream::iter([WatchReply { changed: None }]);
        let changes = self.0.changes(tenant)?.map(|invoice| WatchReply {
            changed: Some(invoice.into()),
        });
        Ok(Response::new(Box::pin(open.chain(changes).map(Ok))))
    }
}

fn name(principal: &Principal) -> String {
    format!("{} {}", principal.kind().as_str(), principal.id())
}

#[tonic::async_trait]
impl Health for HealthApi {
    async fn check(&self, _: Request<HealthRequest>) -> Result<Response<HealthReply>, Status> {
        Ok(Response::new(HealthReply { serving: true }))
    }
}

#[tonic::async_trait]
impl Late for LateApi {
    async fn ping(&self, _: Request<PingRequest>) -> Result<Response<PingReply>, Status> {
        Ok(Response::new(PingReply {}))
    }
}
