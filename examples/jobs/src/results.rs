//! What came of jobs, in the same database: every statement takes the tenant from the context.

use apalis_sqlite::SqlitePool;
use tenant_context::{BoxError, Rejection, TenantContext};

/// Results, each its own tenant's.
#[derive(Clone, Debug)]
pub struct Results(SqlitePool);

fn failed(error: sqlx::Error) -> Rejection {
    Rejection::store_unavailable().with_source(error)
}

impl Results {
    pub(crate) async fn open(pool: &SqlitePool) -> Result<Self, BoxError> {
        sqlx::query(
            "CREATE TABLE IF NOT EXISTS results (tenant TEXT NOT NULL, job TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (tenant, job))",
        )
        .execute(pool)
        .await?;
        Ok(Self(pool.clone()))
    }

    /// Keeps a job's result. A second delivery of the job changes nothing.
    ///
    /// # Errors
    ///
    /// A rejection, if the context has ended or the database failed.
    pub async fn keep(
        &self,
        tenant: &TenantContext,
        job: &str,
        body: &str,
    ) -> Result<(), Rejection> {
        tenant.check()?;
        sqlx::query(
            "INSERT INTO results (tenant, job, body) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        )
        .bind(tenant.tenant_id().as_str())
        .bind(job)
        .bind(body)
        .execute(&self.0)
        .await
        .map_err(failed)?;
        Ok(())
    }

    /// A job's result, if it is this tenant's. Another tenant's and none are one answer.
    ///
    /// # Errors
    ///
    /// A rejection: 404, or the context has ended, or the database failed.
    pub async fn read(&self, tenant: &TenantContext, job: &str) -> Result<String, Rejection> {
        tenant.check()?;
        sqlx::query_scalar("SELECT body FROM results WHERE tenant = ? AND job = ?")
            .bind(tenant.tenant_id().as_str())
            .bind(job)
            .fetch_optional(&self.0)
            .await
            .map_err(failed)?
            .ok_or_else(Rejection::not_found)
    }

    /// How many results this tenant has.
    ///
    /// # Errors
    ///
    /// A rejection, if the context has ended or the database failed.
    pub async fn count(&self, tenant: &TenantContext) -> Result<i64, Rejection> {
        tenant.check()?;
        sqlx::query_scalar("SELECT count(*) FROM results WHERE tenant = ?")
            .bind(tenant.tenant_id().as_str())
            .fetch_one(&self.0)
            .await
            .map_err(failed)
    }
}
