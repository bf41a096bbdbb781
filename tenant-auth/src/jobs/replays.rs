//! Which jobs are running and which are done: bounded, and never forgotten while an envelope could
//! still be opened.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use parking_lot::Mutex;
use tenant_context::{TenantId, UnixTime};

use super::{JobId, OpenError, error::DeadReason};

#[derive(Debug)]
pub(super) struct Replays {
    capacity: usize,
    tenant_capacity: usize,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    jobs: HashMap<JobId, Entry>,
    by_expiry: BTreeSet<(UnixTime, JobId)>,
    /// How many are remembered of each tenant.
    of_tenant: HashMap<TenantId, usize>,
}

#[derive(Clone, Debug)]
struct Entry {
    tenant: TenantId,
    expires_at: UnixTime,
    done: bool,
}

/// There is no room to remember a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Replays {
    pub(super) fn new(capacity: usize, tenant_capacity: usize) -> Arc<Self> {
        Arc::new(Self {
            capacity,
            tenant_capacity,
            known: Mutex::default(),
        })
    }

    /// Marks a job as running, if it neither runs nor is done.
    pub(super) fn begin(
        self: &Arc<Self>,
        tenant: &TenantId,
        id: JobId,
        expires_at: UnixTime,
        now: UnixTime,
    ) -> Result<Result<Hold, OpenError>, Full> {
        if now >= expires_at {
            // It expired while its tenant was looked up. What was done of it may be forgotten.
            return Ok(Err(OpenError::Dead(DeadReason::Expired)));
        }
        let mut known = self.known.lock();
        known.forget_expired(now);
        match known.jobs.get(&id) {
            Some(entry) if entry.done => {
                return Ok(Err(OpenError::Dead(DeadReason::Replayed)));
            }
            Some(_) => return Ok(Err(OpenError::Running)),
            None if known.jobs.len() >= self.capacity => return Err(Full),
            None => {}
        }
        let theirs = known.of_tenant.get(tenant).copied().unwrap_or(0);
        if theirs >= self.tenant_capacity {
            return Err(Full);
        }
        let entry = Entry {
            tenant: tenant.clone(),
            expires_at,
            done: false,
        };
        known
            .of_tenant
            .insert(tenant.clone(), theirs.saturating_add(1));
        known.jobs.insert(id, entry);
        known.by_expiry.insert((expires_at, id));
        Ok(Ok(Hold {
            replays: Arc::clone(self),
            id,
            done: false,
        }))
    }
}

impl Known {
    fn forget_expired(&mut self, now: UnixTime) {
        // An expired envelope is refused as such: there is nothing to remember of it.
        while let Some((expires_at, id)) = self.by_expiry.first().copied() {
            if expires_at > now {
                break;
            }
            self.by_expiry.pop_first();
            self.remove(id);
        }
    }

    fn remove(&mut self, id: JobId) {
        let Some(entry) = self.jobs.remove(&id) else {
            return;
        };
        self.by_expiry.remove(&(entry.expires_at, id));
        if let Some(count) = self.of_tenant.get_mut(&entry.tenant) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.of_tenant.remove(&entry.tenant);
            }
        }
    }
}

/// A job that runs. Dropped before it is done, the job may be delivered again.
#[derive(Debug)]
pub(super) struct Hold {
    replays: Arc<Replays>,
    id: JobId,
    done: bool,
}

impl Hold {
    pub(super) fn done(mut self) {
        self.done = true;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut known = self.replays.known.lock();
        if self.done {
            if let Some(entry) = known.jobs.get_mut(&self.id) {
                entry.done = true;
            }
        } else {
            known.remove(self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: UnixTime = UnixTime::from_secs(43_200);
    const LATER: UnixTime = UnixTime::from_secs(43_260);
    const MINUTE: std::time::Duration = std::time::Duration::from_secs(60);

    fn begin(replays: &Arc<Replays>, id: u8, now: UnixTime) -> Result<Hold, String> {
        begin_of(replays, "acme", id, now)
    }

    /// Of a job that lives for a minute from now on.
    fn begin_of(
        replays: &Arc<Replays>,
        tenant: &str,
        id: u8,
        now: UnixTime,
    ) -> Result<Hold, String> {
        begin_until(replays, tenant, id, now, now.saturating_add(MINUTE))
    }

    fn begin_until(
        replays: &Arc<Replays>,
        tenant: &str,
        id: u8,
        now: UnixTime,
        end: UnixTime,
    ) -> Result<Hold, String> {
        let tenant = TenantId::parse(tenant).unwrap();
        match replays.begin(&tenant, JobId::new([id; 16]), end, now) {
            Ok(Ok(hold)) => Ok(hold),
            Ok(Err(error)) => Err(error.to_string()),
            Err(Full) => Err("full".to_owned()),
        }
    }

    #[test]
    fn a_job_runs_once_at_a_time_and_is_done_once() {
        let replays = Replays::new(10, 10);
        let hold = begin(&replays, 1, NOON).unwrap();
        assert_eq!(
            begin(&replays, 1, NOON).unwrap_err(),
            "the job is being worked on"
        );
        drop(hold);
        begin(&replays, 1, NOON).unwrap().done();
        assert_eq!(
            begin(&replays, 1, NOON).unwrap_err(),
            "the job is dead: job_replayed"
        );
        assert!(begin(&replays, 2, NOON).is_ok());
    }

    #[test]
    fn i6_what_is_done_is_remembered_until_its_envelope_expires_and_no_longer() {
        let replays = Replays::new(2, 2);
        begin(&replays, 1, NOON).unwrap().done();
        begin(&replays, 2, NOON).unwrap().done();
        assert_eq!(begin(&replays, 3, NOON).unwrap_err(), "full");
        assert!(
            begin(&replays, 1, NOON).is_err(),
            "no room is made by forgetting what is done"
        );
        begin(&replays, 3, LATER).unwrap().done();
        let known = replays.known.lock();
        assert_eq!(
            (
                known.jobs.len(),
                known.by_expiry.len(),
                known.of_tenant.len()
            ),
            (1, 1, 1)
        );
    }

    /// It is verified, its tenant is looked up, and only then is it looked for here: another moment.
    #[test]
    fn a_job_that_expires_while_it_is_opened_does_not_run_again() {
        let replays = Replays::new(10, 10);
        begin(&replays, 1, NOON).unwrap().done();
        assert_eq!(
            begin_until(&replays, "acme", 1, LATER, LATER).unwrap_err(),
            "the job is dead: job_expired"
        );
    }

    #[test]
    fn i6_one_tenants_jobs_do_not_take_anothers_room() {
        let replays = Replays::new(10, 2);
        begin_of(&replays, "acme", 1, NOON).unwrap().done();
        let running = begin_of(&replays, "acme", 2, NOON).unwrap();
        assert_eq!(begin_of(&replays, "acme", 3, NOON).unwrap_err(), "full");
        begin_of(&replays, "globex", 4, NOON).unwrap().done();
        drop(running);
        begin_of(&replays, "acme", 3, NOON).unwrap().done();
        assert_eq!(begin_of(&replays, "acme", 5, NOON).unwrap_err(), "full");
        begin_of(&replays, "acme", 5, LATER).unwrap().done();
        assert_eq!(replays.known.lock().of_tenant.len(), 1);
    }
}
