//! The worker: one message of the queue after the other.

use std::time::Duration;

use apalis::prelude::{BoxDynError, Data, TaskBuilder, TaskSink};
use tenant_auth::jobs::RunError;
use tenant_context::{Rejection, TenantContext};

use crate::{Message, Service};

/// When a job is looked at again that could not start: its tenant is suspended, or nobody knows. A service waits for minutes.
const AGAIN: Duration = Duration::from_secs(1);

/// Works on one message. An error has the queue deliver it again, at once and 25 times at most: that is for what fails, and
/// not for who waits for his tenant. What is dead is told to the callback and taken as done.
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
        // It failed: the queue counts its deliveries.
        Err(error @ RunError::Failed(_)) => Err(error.to_string().into()),
        Err(error) if error.is_temporary() => {
            // Before this one is done: what is in the queue twice is worked on once, by its replay id.
            let later = TaskBuilder::new(message).run_after(AGAIN).build();
            service.queue.clone().push_task(later).await?;
            let mut report = service.report.lock();
            report.postponed = report.postponed.saturating_add(1);
            Ok(())
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
