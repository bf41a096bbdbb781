//! Any subset of the signals in any order, against the rule.

use proptest::prelude::*;
use tenant_auth::{NewToken, OutsideHosts, Subdomain};

use crate::{
    common::ISSUER,
    edge::{Answer, Door, GATEWAY, STRANGER},
    gateway::{from, gateway, header},
};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Credential {
    Of(&'static str),
    Bad,
}

#[derive(Clone, Debug)]
struct Signals {
    token: Option<Credential>,
    key: Option<Credential>,
    host: Option<&'static str>,
    header: Option<&'static str>,
    trusted: bool,
}

fn signals() -> impl Strategy<Value = (Signals, Vec<usize>)> {
    let tenant = || prop_oneof![3 => Just("acme"), 1 => Just("globex")];
    let credential = || {
        let one = prop_oneof![4 => tenant().prop_map(Credential::Of), 1 => Just(Credential::Bad)];
        proptest::option::of(one)
    };
    let host = prop_oneof![3 => tenant(), 1 => Just("nobody"), 1 => Just("api")];
    let signals = (
        credential(),
        credential(),
        proptest::option::of(host),
        proptest::option::of(tenant()),
        any::<bool>(),
    )
        .prop_map(|(token, key, host, header, trusted)| Signals {
            token,
            key,
            host,
            header,
            trusted,
        });
    (signals, Just((0..4).collect::<Vec<usize>>()).prop_shuffle())
}

/// What the rule says: by the sentence, not by the code.
fn expected(signals: &Signals) -> Result<&'static str, u16> {
    let presented: Vec<Credential> = signals.token.into_iter().chain(signals.key).collect();
    if presented.contains(&Credential::Bad) {
        return Err(401);
    }
    let mut named: Vec<&'static str> = Vec::new();
    for credential in &presented {
        if let Credential::Of(tenant) = credential {
            named.push(tenant);
        }
    }
    let agreed = named.windows(2).all(|pair| pair[0] == pair[1]);
    if signals.trusted && signals.header.is_none() {
        return Err(match (presented.is_empty(), agreed) {
            (true, _) => 401,
            (false, true) => 400,
            (false, false) => 403,
        });
    }
    if presented.is_empty() && !signals.trusted {
        return Err(401);
    }
    named.extend(signals.header);
    named.extend(signals.host.filter(|label| *label != "api"));
    let tenant = named[0];
    if named.iter().all(|name| *name == tenant) {
        Ok(tenant)
    } else {
        Err(403)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn i3_all_signals_agree_in_any_subset_and_order((signals, order) in signals()) {
        thread_local! {
            static DOOR: Door = Door::new(|layer| {
                let principal = tenant_auth::PrincipalId::parse("ada").unwrap();
                layer
                    .ingress(gateway().principal(tenant_auth::Principal::human(principal)))
                    .subdomain(
                        Subdomain::of("saas.example.com")
                            .shared("api")
                            .outside(OutsideHosts::NoSignal),
                    )
            });
        }
        DOOR.with(|door| {
            let mut request = from(if signals.trusted { GATEWAY } else { STRANGER });
            for signal in order {
                request = match signal {
                    0 => match signals.token {
                        Some(Credential::Of(tenant)) => {
                            let token = door.fixture.token(NewToken::new(ISSUER, "api", tenant, "ada"));
                            header(request, "authorization", &format!("Bearer {token}"))
                        }
                        Some(Credential::Bad) => {
                            let token = format!("Bearer {}x", door.fixture.good());
                            header(request, "authorization", &token)
                        }
                        None => request,
                    },
                    1 => match signals.key {
                        Some(Credential::Of(tenant)) => {
                            let key = door.fixture.api_key(tenant, "ada").0;
                            header(request, "x-api-key", key.expose())
                        }
                        Some(Credential::Bad) => header(request, "x-api-key", "sk_live_x"),
                        None => request,
                    },
                    2 => match signals.host {
                        Some(label) => header(request, "host", &format!("{label}.saas.example.com")),
                        None => request,
                    },
                    _ => match signals.header {
                        Some(tenant) => header(request, "x-tenant-id", tenant),
                        None => request,
                    },
                };
            }
            let answer = match door.send(request) {
                Answer::Served(tenant, _) => Ok(tenant),
                Answer::Refused(status, _) => Err(status),
            };
            prop_assert_eq!(answer, expected(&signals).map(str::to_owned), "{:?}", signals);
            Ok(())
        })?;
    }
}
