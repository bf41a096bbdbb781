//! Headers and keys of the limiter: what is added to a field that an inner service wrote keeps it a list in which no
//! policy stands twice; a cost is read as one number or not at all; a path is for at most the endpoint that it spells; keys
//! that are made of different bytes differ.

#![no_main]

use std::sync::OnceLock;

use http::{HeaderValue, Method};
use libfuzzer_sys::fuzz_target;
use sfv::{List, ListEntry, Parser};
use tenant_ratelimit::{
    Key,
    fuzzing::{Table, cost, merged},
};

fn names(field: &HeaderValue) -> Option<Vec<String>> {
    let list = Parser::new(field.as_bytes()).parse::<List>().ok()?;
    let name = |entry: &ListEntry| match entry {
        ListEntry::Item(item) => item.bare_item.as_string().map(|name| name.as_str().to_owned()),
        ListEntry::InnerList(_) => None,
    };
    list.iter().map(name).collect()
}

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut table = Table::default();
        for name in ["GET /a/{id}", "GET /a/b", "GET /files/{*rest}", "gRPC /p.S/M"] {
            table.declare(name).expect("a route");
        }
        table
    })
}

/// As the templates above read.
fn spelled(path: &str) -> Option<usize> {
    if path == "/p.S/M" {
        return Some(3);
    }
    if path == "/a/b" {
        return Some(1);
    }
    if let Some(rest) = path.strip_prefix("/files/") {
        return (!rest.is_empty()).then_some(2);
    }
    let id = path.strip_prefix("/a/")?;
    (!id.is_empty() && !id.contains('/')).then_some(0)
}

fuzz_target!(|bytes: &[u8]| {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let [one, other] = [lines.next(), lines.next()].map(Option::unwrap_or_default);

    let added = HeaderValue::from_static("\"tenant\";r=0;t=30, \"global\";r=0;t=1");
    if let Ok(known) = HeaderValue::from_bytes(one) {
        let list = merged(&known, &added);
        match names(&known).filter(|names| !names.is_empty()) {
            Some(begun) => {
                let names = names(&list).expect("still a list");
                assert!(names.starts_with(&begun), "{known:?} {list:?}");
                for name in ["tenant", "global"] {
                    let times = |names: &[String]| names.iter().filter(|it| *it == name).count();
                    assert!(times(&names) <= times(&begun).max(1), "{known:?} {list:?}");
                }
            }
            None => assert_eq!(list, known, "not ours to change"),
        }
    }

    let values: Vec<_> = [one, other].iter().filter_map(|it| HeaderValue::from_bytes(it).ok()).collect();
    for values in [values.get(..1).unwrap_or_default(), &values] {
        if let Some(cost) = cost(values) {
            let text = values[0].to_str().expect("digits");
            assert!(values.len() == 1 && text.parse() == Ok(cost), "{values:?}");
        }
    }

    if let Ok(path) = std::str::from_utf8(one) {
        assert_eq!(table().of(&Method::GET, path), spelled(path), "{path:?}");
        let mut own = Table::default();
        if own.declare(path).is_some() {
            assert_eq!(own.declare(path), Some(0), "the same words again");
        }
    }

    let key = |bytes: &[u8]| Key::unverified(bytes);
    assert_eq!(key(one) == key(other), one == other);
    // `a:b`,`c` and `a`,`b:c`.
    let joined = [one, other].concat();
    for cut in [0, one.len() / 2, joined.len()] {
        let (a, b) = joined.split_at(cut.min(joined.len()));
        assert_eq!(key(one).and(key(other)) == key(a).and(key(b)), a == one);
    }
});
