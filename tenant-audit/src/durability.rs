//! How sure a request's record must be before its client gets the answer: the decision alone.

use std::fmt;

use http::Method;
use tenant_context::ConfigError;

/// When a request's record is durable.
///
/// ```
/// use http::Method;
/// use tenant_audit::{Durability, MemorySink, WhenFull};
///
/// # fn main() -> Result<(), tenant_audit::ConfigError> {
/// let (audit, worker) = tenant_audit::layer(MemorySink::new())
///     .when_full(WhenFull::Refuse)
///     .unsafe_methods(Durability::Synced)                                  // the default
///     .route(Method::POST, "/search", Durability::Deferred)?               // reads, whatever its method says
///     .route(Method::POST, "/payments/{id}", Durability::IntentFirst)?
///     .build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Durability {
    /// Soon after the answer: a crash of the machine or the process loses what waits, some milliseconds'
    /// worth. The default for safe methods (RFC 9110 §9.2.1).
    Deferred,
    /// Before the answer ends: its last frame, or the whole answer if the handler gives it in one piece,
    /// waits for the group's sync. The default for all other methods.
    ///
    /// If the sink fails, or does not answer within [`sync_deadline`], the client gets 503
    /// `audit-unavailable` (a stream that has begun breaks off), and further requests of this kind are
    /// refused before their handlers run until the sink is back.
    ///
    /// [`sync_deadline`]: crate::AuditLayerBuilder::sync_deadline
    Synced,
    /// Before the handler runs: an intent is synced first, with the outcome `intent`; the outcome's record
    /// follows, deferred, under the same `event_id`. An intent whose outcome is missing is reported when the
    /// directory is opened again, as `audit.intent_open`.
    IntentFirst,
}

type Routes = matchit::Router<Vec<(Method, Durability)>>;

/// The durability of each request.
#[derive(Clone)]
pub(crate) struct Policy {
    pub(crate) safe: Durability,
    pub(crate) others: Durability,
    routes: Option<Box<Routes>>,
    declared: Vec<(Method, String, Durability)>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            safe: Durability::Deferred,
            others: Durability::Synced,
            routes: None,
            declared: Vec::new(),
        }
    }
}

impl Policy {
    pub(crate) fn declare(
        &mut self,
        method: Method,
        template: &str,
        durability: Durability,
    ) -> Result<(), ConfigError> {
        self.declared
            .push((method, template.to_owned(), durability));
        let mut grouped: Vec<(&str, Vec<(Method, Durability)>)> = Vec::new();
        for (method, template, durability) in &self.declared {
            let rule = (method.clone(), *durability);
            match grouped.iter_mut().find(|(known, _)| known == template) {
                Some((_, rules)) => rules.push(rule),
                None => grouped.push((template, vec![rule])),
            }
        }
        let mut routes = matchit::Router::new();
        for (template, rules) in grouped {
            routes.insert(template, rules).map_err(|error| {
                ConfigError::new(format!(
                    "audit layer: route {template:?} is no template: {error}"
                ))
            })?;
        }
        self.routes = Some(Box::new(routes));
        Ok(())
    }

    /// What holds for a request. Without declared routes one comparison.
    pub(crate) fn of(&self, method: &Method, path: &str) -> Durability {
        if let Some(routes) = &self.routes
            && let Ok(found) = routes.at(path)
            && let Some((_, durability)) = found.value.iter().find(|(known, _)| known == method)
        {
            return *durability;
        }
        if method.is_safe() {
            self.safe
        } else {
            self.others
        }
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("safe", &self.safe)
            .field("others", &self.others)
            .field("routes", &self.declared)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_come_before_classes() {
        let mut policy = Policy::default();
        for (method, template, durability) in [
            (Method::POST, "/search", Durability::Deferred),
            (Method::GET, "/search", Durability::Synced),
            (Method::POST, "/pay/{id}", Durability::IntentFirst),
        ] {
            policy.declare(method, template, durability).unwrap();
        }
        for (method, path, durability) in [
            (Method::GET, "/", Durability::Deferred),
            (Method::HEAD, "/search", Durability::Deferred),
            (Method::GET, "/search", Durability::Synced),
            (Method::POST, "/search", Durability::Deferred),
            (Method::POST, "/search/", Durability::Synced),
            (Method::POST, "/pay/7", Durability::IntentFirst),
            (Method::DELETE, "/pay/7", Durability::Synced),
        ] {
            assert_eq!(policy.of(&method, path), durability, "{method} {path}");
        }
        let error = policy
            .declare(Method::GET, "/{a}{b}", Durability::Synced)
            .unwrap_err();
        assert!(error.to_string().contains("is no template"));
    }
}
