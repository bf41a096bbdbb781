//! The worker: one message of the queue after the other.

use apalis::prelude::{BoxDynError, Data};
use tenant_auth::jobs::RunError;
use tenant_context::{Rejection, TenantContext};

use crate::{Message, Service};

/// Works on one message. An error has the queue deliver it again; what is dead is told to the callback and taken as done.
pub(crate) async fn work(message: Message, service: Data<Service>) -> Result<(), BoxDynError> {
    {
        let mut report = service.report.lock();
        report.taken = report.taken.saturating_add(1);
        // Whatever the last job was, nothing of its tenant is left.
        if TenantContext::current().is_ok() {
            report.left_over = report.left_over.saturating_add(1);
        }
    }
    let outcome = match service.jobs.open(message.envelope.as_ref()).await {
        Ok(job) => {
            let id = job.id().to_string();
            let service = &service;
            job.run(|tenant, payload| async move {
                // What the service allows is asked of the job too.
                tenant.require("reports:write")?;
                let month: String = serde_json::from_slice(&payload)
                    .map_err(|_| Rejection::malformed("job_payload"))?;
                render(service, &id, &month).await
            })
            .await
        }
        Err(error) => Err(RunError::Open(error)),
    };
    let result = match outcome {
        Ok(()) => Ok(()),
        Err(error) if error.is_temporary() => {
            let mut report = service.report.lock();
            report.postponed = report.postponed.saturating_add(1);
            Err(error.to_string().into())
        }
        Err(_) => Ok(()),
    };
    service.progress.notify_waiters();
    result
}

/// Makes the report. Whose it is no argument says: it is found in the scope, at whatever depth.
async fn render(service: &Service, job: &str, month: &str) -> Result<(), Rejection> {
    let tenant = TenantContext::current()?;
    let text = format!("{}'s report for {month}", tenant.tenant_id());
    service.results.keep(&tenant, job, &text).await?;
    let done = (tenant.tenant_id().to_string(), month.to_owned());
    service.report.lock().done.push(done);
    Ok(())
}
