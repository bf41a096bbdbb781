//! Keys of the cache: two that are unequal are never encoded alike, and none is the beginning of another.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tenant_cache::{CacheKey, KeyWriter, Serialized, fuzzing};

/// Reads keys off the input.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    fn bytes(&mut self) -> Vec<u8> {
        let length = usize::from(self.byte() % 8);
        (0..length).map(|_| self.byte()).collect()
    }

    fn key(&mut self, depth: u8) -> Key {
        match self.byte() % if depth == 0 { 7 } else { 10 } {
            0 => Key::U8(self.byte()),
            1 => Key::U64(self.byte().into()),
            2 => Key::Bool(self.byte() % 2 == 0),
            3 => Key::Text(String::from_utf8_lossy(&self.bytes()).into_owned()),
            4 => Key::Bytes(self.bytes()),
            5 => Key::Serialized(self.bytes()),
            6 => Key::None,
            7 => Key::Some(Box::new(self.key(depth - 1))),
            8 => Key::Two(Box::new(self.key(depth - 1)), Box::new(self.key(depth - 1))),
            _ => Key::One(Box::new(self.key(depth - 1))),
        }
    }
}

#[derive(Debug, PartialEq)]
enum Key {
    U8(u8),
    U64(u64),
    Bool(bool),
    Text(String),
    Bytes(Vec<u8>),
    Serialized(Vec<u8>),
    None,
    Some(Box<Key>),
    One(Box<Key>),
    Two(Box<Key>, Box<Key>),
}

impl CacheKey for Key {
    fn encode(&self, key: &mut KeyWriter) {
        match self {
            Self::U8(it) => it.encode(key),
            Self::U64(it) => it.encode(key),
            Self::Bool(it) => it.encode(key),
            Self::Text(it) => it.encode(key),
            Self::Bytes(it) => it.encode(key),
            Self::Serialized(it) => Serialized(it).encode(key),
            Self::None => None::<u8>.encode(key),
            Self::Some(it) => Some(&**it).encode(key),
            Self::One(it) => (&**it,).encode(key),
            Self::Two(a, b) => (&**a, &**b).encode(key),
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut reader = Reader(bytes);
    let (one, other) = (reader.key(4), reader.key(4));
    let (a, b) = (fuzzing::encoded(&one), fuzzing::encoded(&other));
    assert_eq!(one == other, a == b, "{one:?} {other:?}");
    if one != other {
        assert!(!a.starts_with(&b) && !b.starts_with(&a), "{one:?} {other:?}");
    }
});
