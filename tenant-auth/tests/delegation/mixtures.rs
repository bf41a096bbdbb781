//! Chains of all kinds: agents, services that are called, jobs that are run, in any order.

use std::{cell::Cell, convert::Infallible, sync::Arc};

use futures_util::FutureExt;
use http::{Request, Response, header::AUTHORIZATION};
use parking_lot::Mutex;
use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
    test_runner::TestRunner,
};
use tenant_auth::{
    AccessToken, Delegation, Issuer, TenantContext, TokenMinter,
    jobs::Jobs,
    propagate::{PropagateLayer, ServiceTokens},
};
use tenant_context::{RoleGrants, Roles};
use tower::{Layer, ServiceExt, service_fn};

use crate::{
    trees::{ASKED, pattern},
    world::{World, bot, human, id},
};

const ORDERS: &str = "https://orders.internal";

#[derive(Clone, Copy, Debug)]
enum Step {
    Agent,
    Service,
    /// With these scopes, or with all that there is.
    Job(bool),
}

struct Mixture {
    world: World,
    services: TokenMinter,
    jobs: Jobs,
}

impl Mixture {
    fn new(roles: Roles) -> Self {
        let mut world = World::with_roles(roles);
        let services = TokenMinter::hs256("orders", [8; 32]).unwrap();
        let orders = Issuer::new(ORDERS).audience("api").chains_required();
        world.auth = tenant_auth::layer(world.tenants.clone())
            .jwt(world.issuer.as_issuer())
            .jwt(orders.key(services.verifying_key()))
            .authenticate()
            .unwrap();
        let jobs = Jobs::builder(world.tenants.clone())
            .queue("reports")
            .sign_with(TokenMinter::hs256("jobs", [9; 32]).unwrap())
            .on_dead_letter(|_| ())
            .build()
            .unwrap();
        Self {
            world,
            services,
            jobs,
        }
    }

    /// `None` if it is refused.
    fn derive(
        &self,
        above: &TenantContext,
        step: Step,
        scopes: &[String],
        prefix: Option<&str>,
    ) -> Option<TenantContext> {
        match step {
            Step::Agent => {
                let mut delegation = Delegation::to(bot("bot")).scopes(scopes.to_vec());
                if let Some(prefix) = prefix {
                    delegation = delegation.resource_prefix(prefix);
                }
                self.world.hire(above, delegation).ok()
            }
            Step::Service => self.call(above, scopes),
            Step::Job(narrowed) => {
                let job = self.jobs.prepare(above);
                let job = if narrowed {
                    job.scopes(scopes.to_vec())
                } else {
                    job
                };
                let envelope = job.seal(b"work").ok()?;
                let opened = self.jobs.open(Some(&envelope));
                let job = opened.now_or_never().unwrap().unwrap();
                Some(job.context().clone())
            }
        }
    }

    /// The context of the service that is called.
    fn call(&self, above: &TenantContext, scopes: &[String]) -> Option<TenantContext> {
        let sent = Arc::new(Mutex::new(None));
        let wire = Arc::clone(&sent);
        let client = service_fn(move |request: Request<()>| {
            *wire.lock() = request.headers().get(AUTHORIZATION).cloned();
            std::future::ready(Ok::<_, Infallible>(Response::new(())))
        });
        let tokens = ServiceTokens::new(ORDERS, "orders", self.services.clone()).unwrap();
        let tokens = tokens.clock(self.world.clock.clone());
        let layer = PropagateLayer::new(tokens, "api").unwrap();
        let client = layer.scopes(scopes.to_vec()).unwrap().layer(client);
        let call = above.scope(client.oneshot(Request::new(())));
        call.now_or_never().unwrap().ok()?;
        let header = sent.lock().take().unwrap();
        let token = header.to_str().unwrap().strip_prefix("Bearer ").unwrap();
        Some(self.world.present(token).unwrap())
    }
}

/// By everything that either could be asked for.
fn has_no_more(
    lower: &TenantContext,
    upper: &TenantContext,
    roles: &[String],
) -> Result<(), TestCaseError> {
    for scope in ASKED {
        prop_assert!(!lower.allows(scope) || upper.allows(scope), "{}", scope);
    }
    for role in roles {
        let (has, had) = (lower.require_role(role), upper.require_role(role));
        prop_assert!(has.is_err() || had.is_ok(), "{}", role);
    }
    for path in ["p", "p/1", "p/1/x", "q"] {
        let (has, had) = (lower.require_resource(path), upper.require_resource(path));
        prop_assert!(has.is_err() || had.is_ok(), "{}", path);
    }
    prop_assert_eq!(lower.tenant_id(), upper.tenant_id());
    prop_assert_eq!(lower.principal(), upper.principal());
    prop_assert!(lower.actors().ends_with(upper.actors()));
    Ok(())
}

#[test]
fn authority_never_grows_along_any_mixture_of_agents_services_and_jobs() {
    let wide = prop_oneof![Just("*".to_owned()), pattern()];
    let grants = (vec(wide, 0..3), vec(pattern(), 0..3), any::<bool>());
    let grants = grants.prop_map(|(scopes, except, token_only)| {
        let role = if token_only {
            RoleGrants::only_the_credentials()
        } else {
            RoleGrants::new(scopes)
        };
        role.except(except)
    });
    let step = prop_oneof![
        Just(Step::Agent),
        Just(Step::Service),
        any::<bool>().prop_map(Step::Job)
    ];
    let prefix = proptest::option::of(select(&["p", "p/1", "q"]));
    let one = (
        step,
        vec(any::<Index>(), 1..4),
        proptest::option::weighted(0.2, pattern()),
        prefix,
    );
    let cases = (
        vec(grants, 0..3),
        proptest::option::of(vec(pattern(), 0..3)),
        vec(one, 1..6),
    );
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(768)
    };
    // A property of chains that are never made says nothing.
    let (made, refused, deepest) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let outcome = TestRunner::new(config).run(&cases, |(grants, scopes, steps)| {
        let mut names: Vec<_> = (0..grants.len())
            .map(|number| format!("role-{number}"))
            .collect();
        let known = names.iter().zip(grants);
        let mixture = Mixture::new(known.fold(Roles::none(), |roles, (name, grants)| {
            roles.role(name.as_str(), grants)
        }));
        names.push("unknown".to_owned());
        let root = AccessToken::new(id("acme"), human("ada"));
        let mut root = root.roles(names.iter().map(String::as_str));
        if let Some(scopes) = scopes {
            root = root.scopes(scopes);
        }
        let mut line = vec![mixture.world.rooted(&root)];
        for (step, choice, wider, prefix) in steps {
            let above = line.last().unwrap();
            let held: Vec<_> = ASKED.iter().filter(|scope| above.allows(scope)).collect();
            let mut scopes: Vec<String> = Vec::new();
            if !held.is_empty() {
                scopes.extend(choice.iter().map(|at| (**at.get(&held)).to_owned()));
            }
            scopes.extend(wider);
            if scopes.is_empty() {
                break;
            }
            match mixture.derive(above, step, &scopes, prefix) {
                Some(below) => {
                    made.set(made.get() + 1);
                    for upper in &line {
                        has_no_more(&below, upper, &names)?;
                    }
                    if !matches!(step, Step::Job(_)) {
                        // A job has an end of its own.
                        let end = line.last().unwrap().stated_expiry();
                        prop_assert!(below.expires_at() <= end);
                    }
                    line.push(below);
                    deepest.set(deepest.get().max(line.len()));
                }
                None => refused.set(refused.get() + 1),
            }
        }
        Ok(())
    });
    outcome.unwrap();
    assert!(
        made.get() > 100 && refused.get() > 20 && deepest.get() > 4,
        "{made:?} made, {refused:?} refused, {deepest:?} deep"
    );
}
