//! Random trees of agents, and random forgeries of their tokens.

use std::cell::Cell;

use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
    test_runner::TestRunner,
};
use tenant_auth::{AccessToken, Delegation, TenantContext};
use tenant_context::{RoleGrants, Roles, scope_covers};

use crate::world::{World, bot, human, id, secs};

pub fn pattern() -> impl Strategy<Value = String> {
    let segment = prop_oneof![Just("a"), Just("b"), Just("read"), Just("write"), Just("*")];
    vec(segment, 1..3).prop_map(|segments| segments.join(":"))
}

/// One agent of a tree: whose child it is, what it asks for, for how long, how long after the last one, under which prefix, and
/// whether it asks for no more than there is, by choosing.
#[derive(Clone, Debug)]
struct Agent {
    parent: Index,
    scopes: Vec<String>,
    ttl: u64,
    wait: u64,
    prefix: Option<String>,
    modest: Option<Vec<Index>>,
}

fn agent() -> impl Strategy<Value = Agent> {
    let prefix = proptest::option::of(prop_oneof![
        Just("p".to_owned()),
        Just("p/1".to_owned()),
        Just("q".to_owned())
    ]);
    let modest = proptest::option::weighted(0.8, vec(any::<Index>(), 1..4));
    let parts = (
        any::<Index>(),
        vec(pattern(), 1..4),
        1..1200_u64,
        0..60_u64,
        prefix,
        modest,
    );
    parts.prop_map(|(parent, scopes, ttl, wait, prefix, modest)| Agent {
        parent,
        scopes,
        ttl,
        wait,
        prefix,
        modest,
    })
}

/// By everything that anyone could be asked for.
pub const ASKED: [&str; 12] = [
    "a",
    "b",
    "a:read",
    "a:write",
    "b:read",
    "b:write",
    "read:a",
    "a:b:read",
    "billing:read",
    "*",
    "*:read",
    "a:*",
];

impl Agent {
    /// The scopes and the prefix that it asks this parent for.
    fn asks(self, above: &TenantContext) -> (Vec<String>, Option<String>) {
        let (mut scopes, mut prefix) = (self.scopes, self.prefix);
        if let Some(choice) = self.modest {
            let held = ASKED
                .map(str::to_owned)
                .into_iter()
                .chain(above.scopes().map(str::to_owned));
            let held: Vec<_> = held.filter(|scope| above.allows(scope)).collect();
            if !held.is_empty() {
                scopes = choice.iter().map(|at| at.get(&held).clone()).collect();
            }
            if let Some(whole) = above.resource_prefix() {
                prefix = prefix.map(|under| format!("{whole}/{under}"));
            }
        }
        (scopes, prefix)
    }
}

/// By everything that either could be asked for.
fn has_no_more(agent: &TenantContext, ancestor: &TenantContext) -> Result<(), TestCaseError> {
    for scope in ASKED {
        prop_assert!(!agent.allows(scope) || ancestor.allows(scope), "{scope}");
    }
    for scope in agent.scopes() {
        prop_assert!(
            ancestor
                .ceiling()
                .iter()
                .any(|held| scope_covers(held, scope))
        );
    }
    // Not by a leeway either.
    prop_assert!(agent.stated_expiry() <= ancestor.stated_expiry());
    prop_assert!(agent.expires_at() <= ancestor.stated_expiry());
    prop_assert_eq!(agent.tenant_id(), ancestor.tenant_id());
    prop_assert_eq!(agent.principal(), ancestor.principal());
    prop_assert!(
        agent.actors().ends_with(ancestor.actors())
            && agent.actors().len() > ancestor.actors().len()
    );
    prop_assert!(
        agent
            .parents()
            .iter()
            .any(|parent| Some(&parent.credential) == ancestor.credential())
    );
    if let Some(prefix) = ancestor.resource_prefix() {
        prop_assert!(agent.resource_prefix().unwrap().starts_with(prefix));
    }
    Ok(())
}

#[test]
fn authority_never_grows_in_any_tree_of_agents() {
    let role = prop_oneof![
        Just(None),
        Just(Some("admin")),
        Just(Some("developer")),
        Just(Some("viewer"))
    ];
    let trees = (
        vec(pattern(), 1..4),
        role,
        any::<bool>(),
        vec(agent(), 1..12),
    );
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(128)
    };
    // A property of trees that never grow says nothing.
    let (hired, refused, deepest) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let outcome = TestRunner::new(config).run(&trees, |(scopes, role, limited, agents)| {
        let world = World::new();
        let mut root = AccessToken::new(id("acme"), human("ada")).roles(role);
        if limited || role.is_none() {
            root = root.scopes(scopes);
        }
        let root = world
            .present(world.issuer.access_token(&root).unwrap().expose())
            .unwrap();
        let mut tree = vec![(root, None::<usize>)];
        for (number, agent) in agents.into_iter().enumerate() {
            let ttl = agent.ttl;
            world.clock.advance(secs(agent.wait));
            let parent = agent.parent.index(tree.len());
            let (above, _) = &tree[parent];
            let (scopes, prefix) = agent.asks(above);
            let mut delegation = Delegation::to(bot(&format!("bot-{number}")))
                .scopes(scopes.clone())
                .ttl(secs(ttl));
            if let Some(prefix) = &prefix {
                delegation = delegation.resource_prefix(prefix.as_str());
            }
            let covered = scopes.iter().all(|scope| above.allows(scope));
            match world.hire(above, delegation) {
                Ok(child) => {
                    prop_assert!(covered);
                    deepest.set(deepest.get().max(child.actors().len()));
                    hired.set(hired.get() + 1);
                    tree.push((child, Some(parent)));
                }
                Err(reason) => {
                    refused.set(refused.get() + 1);
                    prop_assert!(
                        !covered || reason != "delegation_wider" || above.actors().is_empty(),
                        "{}",
                        reason
                    );
                }
            }
        }
        // Every agent against every one of its ancestors.
        for (agent, mut up) in tree.iter().map(|(agent, up)| (agent, *up)) {
            while let Some(at) = up {
                let (ancestor, next) = &tree[at];
                has_no_more(agent, ancestor)?;
                up = *next;
            }
        }
        Ok(())
    });
    outcome.unwrap();
    assert!(
        hired.get() > 100 && refused.get() > 100 && deepest.get() > 2,
        "{hired:?} hired, {refused:?} refused, {deepest:?} deep"
    );
}

/// Roots of random roles with random exceptions; agents of agents; and whoever has the issuer's key writes other scopes
/// and roles into a token of theirs. What is accepted allows nothing that any ancestor does not.
#[test]
fn authority_never_grows_along_a_chain_whoever_signs_it() {
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
    let cases = (
        vec(grants, 0..3),
        proptest::option::of(vec(pattern(), 0..3)),
        vec(vec(any::<Index>(), 1..4), 1..4),
        vec(
            prop_oneof![pattern(), select(&ASKED).prop_map(str::to_owned)],
            1..3,
        ),
        proptest::bool::weighted(0.1),
    );
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(768)
    };
    let (accepted, refused) = (Cell::new(0), Cell::new(0));
    let outcome = TestRunner::new(config).run(&cases, |(grants, scopes, choices, forged, role)| {
        let names: Vec<_> = (0..grants.len())
            .map(|number| format!("role-{number}"))
            .collect();
        let known = names.iter().zip(grants);
        let roles = known.fold(Roles::none(), |roles, (name, grants)| {
            roles.role(name.as_str(), grants)
        });
        let world = World::with_roles(roles);
        let mut token =
            AccessToken::new(id("acme"), human("ada")).roles(names.iter().map(String::as_str));
        if let Some(scopes) = scopes {
            token = token.scopes(scopes);
        }
        let mut line = vec![world.rooted(&token)];
        for (depth, choice) in choices.iter().enumerate() {
            let above = &line[depth];
            let held: Vec<_> = ASKED.iter().filter(|scope| above.allows(scope)).collect();
            if held.is_empty() {
                return Ok(());
            }
            let scopes = choice.iter().map(|at| **at.get(&held));
            let delegation = Delegation::to(bot(&format!("bot-{depth}"))).scopes(scopes);
            let minted = world.issuer.delegate(above, delegation).unwrap();
            let altered = world.altered(minted.expose(), |claims| {
                claims["scope"] = forged.join(" ").into();
                if role {
                    claims["roles"] = serde_json::json!(names);
                }
            });
            match altered {
                Err(_) => refused.set(refused.get() + 1),
                Ok(altered) => {
                    accepted.set(accepted.get() + 1);
                    for ancestor in &line {
                        has_no_more(&altered, ancestor)?;
                    }
                    for name in &names {
                        prop_assert!(altered.require_role(name).is_err());
                    }
                }
            }
            line.push(world.present(minted.expose()).unwrap());
        }
        Ok(())
    });
    outcome.unwrap();
    assert!(
        accepted.get() > 20 && refused.get() > 100,
        "{accepted:?} accepted, {refused:?} refused"
    );
}
