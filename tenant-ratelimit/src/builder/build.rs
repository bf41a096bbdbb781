//! From what a builder has gathered to a limiter: all is checked here.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::AtomicU64},
};

use parking_lot::Mutex;
use tenant_context::{ConfigError, InstanceId};

use super::{RateLimitLayerBuilder, Says};
use crate::{
    Dimension, Limits, Quota, RateLimitLayer,
    cells::{Cross, Rate},
    charge::Terms,
    counts::Tally,
    decide::{Custom, Inner, Keyed, MAX_CUSTOM},
    endpoints::Endpoints,
    floors::Seats,
    key::Key,
    keys::{Kind, Places},
    rules::{EndpointRules, Rule, Rules},
    tenants::Tenants,
};

fn named(what: &str, error: &ConfigError) -> ConfigError {
    ConfigError::new(format!("limits: `{what}`: {error}"))
}

fn rate(what: &str, quota: Option<Quota>) -> Result<Option<Rate>, ConfigError> {
    let rate = quota.map(Rate::new).transpose();
    rate.map_err(|error| named(what, &error))
}

impl RateLimitLayerBuilder {
    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if there is no budget at all, a quota is none ([`Quota::check`]), an endpoint is no method and template
    /// or matches the same requests as another, floors add up to more than the whole, or a bound is zero.
    pub fn build(mut self) -> Result<RateLimitLayer, ConfigError> {
        self.check_bounds()?;
        let (endpoints, endpoint_rules) = self.endpoints()?;
        let seats = self.seats()?;
        let rules = self.rules(endpoint_rules, seats.as_ref())?;
        let in_flight = |(_, says): &(String, Says)| matches!(says, Says::InFlight(_));
        let holds = self.settle.is_some()
            || self.in_flight.tenant.is_some()
            || self.in_flight.agent.is_some()
            || self.endpoints.iter().any(in_flight);
        let custom: Vec<Custom> = self.custom.drain(..).map(|(custom, _)| custom).collect();
        let plans_tenants = self.tenant.is_some() || seats.is_some();
        let dimension = |counted: bool, name| counted.then(|| Key::dimension(name));
        let keyed = Keyed {
            agents: dimension(rules.keyed(Kind::AGENT).is_some(), "agent"),
            principals: dimension(rules.keyed(Kind::PRINCIPAL).is_some(), "principal"),
            delegations: dimension(rules.carried.is_some(), "delegation"),
        };
        let limits = Limits::new(Inner {
            instance: InstanceId::new(),
            clock: self.clock,
            tally: Tally::new(rules.dimensions()),
            rules: Mutex::new(Arc::new(rules)),
            generation: AtomicU64::new(0),
            plans: self.tenant,
            overrides: Mutex::new(HashMap::new()),
            plans_tenants,
            max_tenants: self.max_tenants,
            keyed,
            reads_head: !custom.is_empty() || self.cost.is_some(),
            custom,
            cost: self.cost,
            endpoints,
            seats,
            places: Arc::new(Places::new(self.max_keys)),
            tenants: Tenants::new(self.max_tenants),
        });
        Ok(RateLimitLayer::new(
            limits,
            self.headers,
            holds,
            self.settle,
        ))
    }

    fn rules(
        &self,
        endpoints: Vec<EndpointRules>,
        seats: Option<&Seats>,
    ) -> Result<Rules, ConfigError> {
        if let Some(tenant) = &self.tenant {
            tenant.check().map_err(|error| named("tenant", &error))?;
        }
        let global = rate("global", self.global)?;
        let kept = seats.zip(global.as_ref());
        let kept = kept.and_then(|(seats, global)| global.gcra.cost(seats.burst));
        let rule = |dimension, rate: Option<Rate>, most: Option<u32>| {
            (rate.is_some() || most.is_some()).then(|| Rule {
                terms: self.terms(dimension, most),
                rate,
            })
        };
        let agent = rate("agent", self.agent)?;
        let principal = rate("principal", self.principal)?;
        let mut keyed = vec![
            rule(Dimension::Agent, agent, self.in_flight.agent),
            rule(Dimension::Principal, principal, None),
        ];
        for (custom, quota) in &self.custom {
            let dimension = Dimension::Custom(custom.name);
            keyed.push(rule(dimension, rate(custom.name, Some(*quota))?, None));
        }
        let limited = self.tenant.is_some() || self.in_flight.tenant.is_some();
        let public = rate("public", self.public)?;
        let carried = self.terms(Dimension::Delegation, None);
        let mut rules = Rules {
            generation: 0,
            global: global.map(|rate| self.cross(Dimension::Global, rate)),
            public: public.map(|rate| self.cross(Dimension::Public, rate)),
            tenant: limited.then(|| self.terms(Dimension::Tenant, self.in_flight.tenant)),
            planned: self.tenant.is_some(),
            shadows: !self.shadows.is_empty(),
            plain: false,
            keyed: keyed.into(),
            carried: self.carried.then_some(carried),
            endpoints: endpoints.into(),
            share: self.max_keys_per_tenant,
            kept,
            floors_pace: seats.map_or(0, |seats| seats.pace),
        };
        rules.plain = rules.are_plain();
        Ok(rules)
    }

    fn seats(&self) -> Result<Option<Seats>, ConfigError> {
        let Some(floors) = &self.floors else {
            return Ok(None);
        };
        let Some(global) = self.global else {
            return Err(ConfigError::new(
                "limits: `floors` are parts of the global budget, and there is none; add `.global(quota)`",
            ));
        };
        global.check().map_err(|error| named("global", &error))?;
        let seats = floors.build(global);
        seats
            .map(Some)
            .map_err(|error| ConfigError::new(format!("limits: {error}")))
    }

    fn cross(&self, dimension: Dimension, rate: Rate) -> Arc<Cross> {
        let shadow = self.shadows.contains(&dimension);
        Arc::new(Cross::new(dimension, rate, shadow))
    }

    fn terms(&self, dimension: Dimension, most: Option<u32>) -> Terms {
        Terms {
            dimension,
            most,
            shadow: self.shadows.contains(&dimension),
        }
    }

    fn check_bounds(&self) -> Result<(), ConfigError> {
        let wrong = |says: String| Err(ConfigError::new(format!("limits: {says}")));
        let limits = self.global.is_some()
            || self.tenant.is_some()
            || self.agent.is_some()
            || self.principal.is_some()
            || self.public.is_some()
            || self.carried
            || !self.custom.is_empty()
            || self.in_flight.tenant.is_some()
            || self.in_flight.agent.is_some()
            || self
                .endpoints
                .iter()
                .any(|(_, says)| !matches!(says, Says::Cost(_)));
        if !limits {
            return wrong(
                "no budget is configured, so nothing would be limited; add `.tenant(Quota::per_second(100))` or another one, or leave the layer out".to_owned(),
            );
        }
        for (bound, value) in [
            ("max_tenants", self.max_tenants),
            ("max_keys", self.max_keys),
            ("max_keys_per_tenant", self.max_keys_per_tenant),
        ] {
            if value == 0 {
                return wrong(format!(
                    "`{bound}` is 0; set it to the number you expect, or leave it at its default"
                ));
            }
        }
        for (bound, most) in [
            ("tenant_in_flight", self.in_flight.tenant),
            ("agent_in_flight", self.in_flight.agent),
        ] {
            if most == Some(0) {
                return wrong(format!(
                    "`{bound}` is 0 and would refuse everything; allow at least one"
                ));
            }
        }
        if self.custom.len() > MAX_CUSTOM {
            return wrong(format!(
                "{} dimensions of your own; at most {MAX_CUSTOM} are counted: make one key of several with `Key::and`",
                self.custom.len()
            ));
        }
        self.check_names()
    }

    fn check_names(&self) -> Result<(), ConfigError> {
        let wrong = |says: String| Err(ConfigError::new(format!("limits: {says}")));
        for (at, (custom, _)) in self.custom.iter().enumerate() {
            let name = custom.name;
            let word = |byte: u8| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte)
            };
            if name.is_empty() || name.len() > 32 || !name.bytes().all(word) {
                return wrong(format!(
                    "dimension {name:?}: a name is 1 to 32 of `a-z0-9_-`, because clients are told it"
                ));
            }
            let earlier = self.custom.get(..at).unwrap_or_default();
            let standing = [
                Dimension::Global,
                Dimension::Tenant,
                Dimension::Agent,
                Dimension::Principal,
                Dimension::Delegation,
                Dimension::Endpoint,
                Dimension::EndpointAcross,
                Dimension::Public,
                Dimension::Address,
            ];
            if earlier.iter().any(|(known, _)| known.name == name)
                || standing.iter().any(|known| known.as_str() == name)
            {
                return wrong(format!(
                    "dimension {name:?} is there already; choose another name"
                ));
            }
        }
        Ok(())
    }

    /// The table of endpoints, and their rules in the same order.
    fn endpoints(&self) -> Result<(Endpoints, Vec<EndpointRules>), ConfigError> {
        let wrong = |error: ConfigError| ConfigError::new(format!("limits: {error}"));
        let mut table = Endpoints::default();
        let mut rules: Vec<EndpointRules> = Vec::new();
        for (name, says) in &self.endpoints {
            let at = match says {
                Says::Operation(_) => table.declare_operation(name),
                _ => table.declare(name),
            };
            let at = at.map_err(wrong)?;
            if at == rules.len() {
                rules.push(EndpointRules {
                    own: None,
                    across: None,
                });
            }
            let rate = |quota: Quota| {
                let error = |error| wrong(ConfigError::new(format!("endpoint {name:?}: {error}")));
                Rate::new(quota).map_err(error)
            };
            let Some(rules) = rules.get_mut(at) else {
                continue;
            };
            let own = rules.own.get_or_insert_with(|| Rule {
                terms: self.terms(Dimension::Endpoint, None),
                rate: None,
            });
            let twice = || {
                wrong(ConfigError::new(format!(
                    "endpoint {name:?} is given this twice; say it once"
                )))
            };
            match *says {
                Says::Quota(quota) | Says::Operation(quota) => {
                    if own.rate.replace(rate(quota)?).is_some() {
                        return Err(twice());
                    }
                }
                Says::Across(quota) => {
                    let across = self.cross(Dimension::EndpointAcross, rate(quota)?);
                    if rules.across.replace(across).is_some() {
                        return Err(twice());
                    }
                }
                Says::InFlight(0) => {
                    return Err(wrong(ConfigError::new(format!(
                        "endpoint {name:?}: 0 in flight would refuse everything; allow at least one"
                    ))));
                }
                Says::InFlight(most) => own.terms.most = Some(most),
                Says::Cost(cost) => table.set_cost(at, cost),
            }
        }
        for rules in &mut rules {
            let unused = |rule: &mut Rule| rule.rate.is_none() && rule.terms.most.is_none();
            rules.own.take_if(unused);
        }
        Ok((table, rules))
    }
}
