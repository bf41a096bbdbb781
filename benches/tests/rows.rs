//! Every row runs, under its stable name.

#![allow(missing_docs, reason = "tests")]

use tenant_benches::rows::{self, Shared};

const STABLE: &[&str] = &[
    "noop",
    "layer/identity",
    "layer/limits",
    "layer/cache",
    "layer/audit",
    "stack/warm",
    "stack/warm/in-router",
    "stack/cold/hs256",
    "stack/cold/rs256",
    "stack/cold/es256",
    "stack/cold/eddsa",
    "auth/bad-token/after-budget",
    "raw/sig/hs256",
    "raw/sig/rs256",
    "raw/sig/es256",
    "raw/sig/eddsa",
    "raw/gcra-4",
    "peer/expert/hs256",
    "peer/expert/eddsa",
    "peer/governor-4",
    "peer/limitador-4",
    "limits/warm",
    "limits/cold",
    "limits/refused",
    "limits/warm/during-flood",
    "limits/warm/during-memory",
    "limits/refused/headers",
    "limits/warm/1m-tenants",
    "limits/2-threads/same",
    "limits/2-threads/other",
    "limits/layer",
    "limits/bytes-per-key",
    "cache/hit",
    "cache/hit/10-tenants",
    "cache/hit/100-tenants",
    "cache/hit/1k-tenants",
    "cache/hit/10k-tenants",
    "cache/layer-hit",
    "cache/bytes-per-idle-partition",
    "cache/bytes-per-active-partition",
    "cache/sockets/without",
    "cache/sockets/with",
    "peer/moka-hit",
    "peer/response-cache-hit",
    "job/seal",
    "job/open",
    "mint/eddsa",
    "mint/es256",
    "mint/rs256",
    "delegate",
];

#[test]
fn stable_names_stay_and_every_row_answers_200() {
    let shared = Shared::new();
    for definition in rows::ALL {
        let mut row = definition.make(&shared).unwrap();
        for _ in 0..2 {
            row.work.prepare(4);
            row.work.run();
            row.work.settle();
        }
        let tally = row.work.tally();
        assert_eq!(tally.refused, 0, "{}: {:?}", row.name, tally.status);
    }
    for name in STABLE {
        assert!(rows::ALL.iter().any(|row| row.name == *name), "{name}");
    }
}

#[test]
fn names_differ_and_inner_rows_exist() {
    for (index, row) in rows::ALL.iter().enumerate() {
        let names = rows::ALL.iter().map(|other| other.name);
        assert_eq!(names.clone().filter(|name| *name == row.name).count(), 1);
        if let Some(inner) = row.inner {
            assert!(names.take(index).any(|name| name == inner), "{inner}");
        }
    }
}
