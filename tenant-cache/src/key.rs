//! Keys: injective bytes, whose first part is always the tenant's.

use std::{convert::Infallible, fmt};

/// What finds a value within a namespace of a tenant's partition.
///
/// The encoding is injective over all types here taken together: `7_u32`, `7_u64` and `"7"` are three
/// keys, and so are `("a:b", "c")` and `("a", "b:c")`. A key never names its tenant, and cannot:
/// each tenant's entries are in a map of their own, and the namespace and its version are
/// written before the key, at fixed width.
///
/// A type that serde can serialise is a key as [`Serialized`](crate::Serialized). A type of your own writes its parts as one
/// tuple:
///
/// ```
/// use tenant_cache::{CacheKey, KeyWriter};
///
/// struct Page { list: String, number: u32 }
///
/// impl CacheKey for Page {
///     fn encode(&self, key: &mut KeyWriter) {
///         (&self.list, self.number).encode(key);
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a cache key",
    note = "integers, `bool`, `char`, text, bytes (a UUID's `as_bytes()`), `Option`s and tuples of them are; implement `tenant_cache::CacheKey` for a type of your own"
)]
pub trait CacheKey {
    /// Writes all that tells this key from others: of two keys that differ, neither may write the
    /// beginning of what the other writes. Everything [`KeyWriter`] offers keeps that by itself.
    fn encode(&self, key: &mut KeyWriter);
}

/// Collects a key's bytes, each part with its type and length. Short keys need no allocation.
#[derive(Clone)]
pub struct KeyWriter {
    /// The key, as long as it fits.
    short: [u8; INLINE],
    length: usize,
    /// Else all of it stands here. A vector that can do both took four times the instructions for each part.
    long: Vec<u8>,
}

const INLINE: usize = 256;

/// Bytes of a [`u64`] length.
const LENGTH: usize = 8;

/// Those of a part's type and length.
const HEAD: usize = 1 + LENGTH;

mod tag {
    pub(super) const BYTES: u8 = 0x01;
    pub(super) const TEXT: u8 = 0x02;
    pub(super) const NONE: u8 = 0x03;
    pub(super) const SOME: u8 = 0x04;
    pub(super) const TUPLE: u8 = 0x05;
    pub(super) const BOOL: u8 = 0x06;
    pub(super) const CHAR: u8 = 0x07;
    /// Nothing that a key can write begins with it.
    pub(super) const AUTHORITY: u8 = 0x08;
    pub(super) const UNSIGNED: u8 = 0x10;
    pub(super) const SIGNED: u8 = 0x20;
}

impl KeyWriter {
    /// Begins a key: two numbers at fixed width.
    pub(crate) fn begin(namespace: u32, version: u32) -> Self {
        let mut key = Self::empty();
        key.start(namespace, version);
        key
    }

    /// Nothing yet.
    #[inline]
    pub(crate) const fn empty() -> Self {
        Self {
            short: [0; INLINE],
            length: 0,
            long: Vec::new(),
        }
    }

    /// What [`begin`](Self::begin) writes, where the key is: moving it costs as much as writing it.
    #[inline]
    pub(crate) fn start(&mut self, namespace: u32, version: u32) {
        let both = (u64::from(namespace) << 32) | u64::from(version);
        self.add(&both.to_be_bytes());
    }

    /// Whose authority the key is of: before the key itself.
    pub(crate) fn authority(&mut self, number: u64) {
        self.fixed(tag::AUTHORITY, number.to_be_bytes());
    }

    /// The namespace that a key of [`begin`](Self::begin) was begun with.
    pub(crate) fn namespace_of(key: &[u8]) -> Option<(u32, &[u8])> {
        let (namespace, rest) = key.split_first_chunk::<4>()?;
        let (_version, rest) = rest.split_first_chunk::<4>()?;
        Some((u32::from_be_bytes(*namespace), rest))
    }

    /// Adds bytes.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.part(tag::BYTES, bytes)
    }

    /// Adds text.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.part(tag::TEXT, text.as_bytes())
    }

    /// Adds several keys as one: where each begins and ends is part of what is written.
    pub fn tuple(&mut self, parts: &[&dyn CacheKey]) -> &mut Self {
        self.add(&head(tag::TUPLE, parts.len()));
        for part in parts {
            self.enclosed(*part);
        }
        self
    }

    /// Adds parts that `write` adds, enclosed as one.
    pub(crate) fn enclosing<E>(
        &mut self,
        write: impl FnOnce(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        let at = self.length;
        self.add(&length(0));
        let begin = self.length;
        write(self)?;
        let written = length(self.length.saturating_sub(begin));
        let whole = if self.is_short() {
            &mut self.short[..]
        } else {
            &mut self.long
        };
        if let Some(place) = whole.get_mut(at..begin)
            && place.len() == LENGTH
        {
            place.copy_from_slice(&written);
        }
        Ok(())
    }

    /// Adds one byte that says what follows.
    pub(crate) fn tag(&mut self, tag: u8) -> &mut Self {
        self.add(&[tag]);
        self
    }

    /// Adds that there are no bytes, which is not the same as no byte.
    pub(crate) fn none(&mut self) -> &mut Self {
        self.tag(tag::NONE)
    }

    fn part(&mut self, tag: u8, bytes: &[u8]) -> &mut Self {
        self.add(&head(tag, bytes.len()));
        self.add(bytes);
        self
    }

    fn fixed<const N: usize>(&mut self, tag: u8, bytes: [u8; N]) {
        self.add(&[tag]);
        self.add(&bytes);
    }

    #[inline]
    fn add(&mut self, bytes: &[u8]) {
        let end = self.length.saturating_add(bytes.len());
        match self.short.get_mut(self.length..end) {
            Some(place) => place.copy_from_slice(bytes),
            None => self.add_long(bytes),
        }
        self.length = end;
    }

    #[cold]
    fn add_long(&mut self, bytes: &[u8]) {
        if self.is_short() {
            self.long = self.as_bytes().to_vec();
        }
        self.long.extend_from_slice(bytes);
    }

    const fn is_short(&self) -> bool {
        self.length <= INLINE
    }

    /// The length is written once it is known: a part cannot run into its neighbour, whatever its
    /// own encoding is.
    fn enclosed(&mut self, part: &dyn CacheKey) {
        let written: Result<(), Infallible> = self.enclosing(|key| {
            part.encode(key);
            Ok(())
        });
        written.ok();
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.short.get(..self.length).unwrap_or(&self.long)
    }
}

fn length(length: usize) -> [u8; LENGTH] {
    u64::try_from(length).unwrap_or(u64::MAX).to_be_bytes()
}

fn head(tag: u8, bytes: usize) -> [u8; HEAD] {
    let mut head = [tag; HEAD];
    if let Some((_, place)) = head.split_first_chunk_mut::<1>() {
        place.copy_from_slice(&length(bytes));
    }
    head
}

impl fmt::Debug for KeyWriter {
    /// A key is tenant data: only its length is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyWriter")
            .field("len", &self.length)
            .finish_non_exhaustive()
    }
}

impl<K: CacheKey + ?Sized> CacheKey for &K {
    fn encode(&self, key: &mut KeyWriter) {
        (**self).encode(key);
    }
}

impl CacheKey for str {
    fn encode(&self, key: &mut KeyWriter) {
        key.text(self);
    }
}

impl CacheKey for String {
    fn encode(&self, key: &mut KeyWriter) {
        key.text(self);
    }
}

impl CacheKey for [u8] {
    fn encode(&self, key: &mut KeyWriter) {
        key.bytes(self);
    }
}

impl CacheKey for Vec<u8> {
    fn encode(&self, key: &mut KeyWriter) {
        key.bytes(self);
    }
}

impl<const N: usize> CacheKey for [u8; N] {
    fn encode(&self, key: &mut KeyWriter) {
        key.bytes(self);
    }
}

impl CacheKey for bool {
    fn encode(&self, key: &mut KeyWriter) {
        key.fixed(tag::BOOL, [u8::from(*self)]);
    }
}

impl CacheKey for char {
    fn encode(&self, key: &mut KeyWriter) {
        key.fixed(tag::CHAR, u32::from(*self).to_be_bytes());
    }
}

impl<K: CacheKey> CacheKey for Option<K> {
    fn encode(&self, key: &mut KeyWriter) {
        match self {
            None => {
                key.none();
            }
            Some(some) => {
                key.tag(tag::SOME);
                key.enclosed(some);
            }
        }
    }
}

macro_rules! numbers {
    ($($kind:ident: $($number:ty = $code:literal),*;)*) => {$($(
        impl CacheKey for $number {
            fn encode(&self, key: &mut KeyWriter) {
                key.fixed(tag::$kind | $code, self.to_be_bytes());
            }
        }
    )*)*};
}

numbers! {
    UNSIGNED: u8 = 0, u16 = 1, u32 = 2, u64 = 3, u128 = 4, usize = 5;
    SIGNED: i8 = 0, i16 = 1, i32 = 2, i64 = 3, i128 = 4, isize = 5;
}

macro_rules! tuples {
    ($($($part:ident)+;)*) => {$(
        impl<$($part: CacheKey),+> CacheKey for ($($part,)+) {
            fn encode(&self, key: &mut KeyWriter) {
                #[allow(non_snake_case, reason = "a part is named as its type")]
                let ($($part,)+) = self;
                key.tuple(&[$($part),+]);
            }
        }
    )*};
}

tuples! {
    A;
    A B;
    A B C;
    A B C D;
    A B C D E;
    A B C D E F;
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(key: &(impl CacheKey + ?Sized)) -> Vec<u8> {
        let mut writer = KeyWriter::begin(1, 2);
        key.encode(&mut writer);
        writer.as_bytes().to_vec()
    }

    /// Any key of the types here, so that equality of values and of encodings can be compared.
    #[derive(Clone, Debug, PartialEq)]
    enum Any {
        U8(u8),
        U32(u32),
        U64(u64),
        I64(i64),
        Bool(bool),
        Text(String),
        Bytes(Vec<u8>),
        Maybe(Option<Box<Any>>),
        One(Box<Any>),
        Two(Box<Any>, Box<Any>),
        Three(Box<Any>, Box<Any>, Box<Any>),
    }

    impl CacheKey for Box<Any> {
        fn encode(&self, key: &mut KeyWriter) {
            (**self).encode(key);
        }
    }

    impl CacheKey for Any {
        fn encode(&self, key: &mut KeyWriter) {
            match self {
                Self::U8(n) => n.encode(key),
                Self::U32(n) => n.encode(key),
                Self::U64(n) => n.encode(key),
                Self::I64(n) => n.encode(key),
                Self::Bool(b) => b.encode(key),
                Self::Text(text) => text.encode(key),
                Self::Bytes(bytes) => bytes.encode(key),
                Self::Maybe(maybe) => maybe.encode(key),
                Self::One(a) => (a,).encode(key),
                Self::Two(a, b) => (a, b).encode(key),
                Self::Three(a, b, c) => (a, b, c).encode(key),
            }
        }
    }

    /// Small alphabets, so that near-collisions come up.
    fn any_key() -> impl Strategy<Value = Any> {
        let leaf = prop_oneof![
            (0..3_u8).prop_map(Any::U8),
            (0..3_u32).prop_map(Any::U32),
            (0..3_u64).prop_map(Any::U64),
            (-1..2_i64).prop_map(Any::I64),
            any::<bool>().prop_map(Any::Bool),
            "[ab:]{0,3}".prop_map(Any::Text),
            prop::collection::vec(0..3_u8, 0..4).prop_map(Any::Bytes),
            Just(Any::Maybe(None)),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            let boxed = inner.prop_map(Box::new).boxed();
            prop_oneof![
                boxed.clone().prop_map(|a| Any::Maybe(Some(a))),
                boxed.clone().prop_map(Any::One),
                (boxed.clone(), boxed.clone()).prop_map(|(a, b)| Any::Two(a, b)),
                (boxed.clone(), boxed.clone(), boxed).prop_map(|(a, b, c)| Any::Three(a, b, c)),
            ]
        })
    }

    #[test]
    fn joined_cache_keys_collide() {
        assert_ne!(encode(&("a:b", "c")), encode(&("a", "b:c")));
        assert_ne!(encode(&("a", "")), encode(&("", "a")));
        assert_ne!(encode(&(("a", "b"), "c")), encode(&("a", ("b", "c"))));
        assert_ne!(encode(&("a",)), encode("a"));
    }

    #[test]
    fn i11_parts_of_no_fixed_number_do_not_run_into_their_neighbours() {
        struct List(Vec<u32>);
        impl CacheKey for List {
            fn encode(&self, key: &mut KeyWriter) {
                for number in &self.0 {
                    number.encode(key);
                }
            }
        }
        let two = |a: &[u32], b: &[u32]| encode(&(List(a.into()), List(b.into())));
        assert_ne!(two(&[1, 2], &[3]), two(&[1], &[2, 3]));
        assert_ne!(two(&[1], &[]), two(&[], &[1]));
        assert_ne!(
            encode(&(Some(List(vec![1])), 2_u32)),
            encode(&(Some(List(vec![1, 2])),))
        );
    }

    #[test]
    fn every_byte_of_every_part_counts() {
        // As long as a hash that truncates would look at, and longer.
        for length in [1, 20, 72, 255, 256, 1000] {
            for at in [0, length / 2, length - 1] {
                let one = "x".repeat(length);
                let mut other = one.clone();
                other.replace_range(at..=at, "y");
                assert_ne!(
                    encode(one.as_str()),
                    encode(other.as_str()),
                    "{length} {at}"
                );
            }
        }
        assert_ne!(encode(&7_u32), encode(&7_u64));
        assert_ne!(encode(&7_u32), encode(&7_i32));
        assert_ne!(encode("a"), encode(b"a"));
        assert_eq!(encode("a"), encode(&String::from("a")));
    }

    #[test]
    fn a_key_is_the_same_whether_it_is_short_or_long() {
        for length in 190..300_u64 {
            let text = "x".repeat(usize::try_from(length).unwrap());
            let mut expected = vec![0, 0, 0, 1, 0, 0, 0, 2, tag::TUPLE];
            expected.extend(2_u64.to_be_bytes());
            expected.extend((9 + length).to_be_bytes());
            expected.push(tag::TEXT);
            expected.extend(length.to_be_bytes());
            expected.extend(text.bytes());
            expected.extend(9_u64.to_be_bytes());
            expected.push(tag::UNSIGNED | 3);
            expected.extend(7_u64.to_be_bytes());
            assert_eq!(encode(&(text, 7_u64)), expected, "{length}");
        }
    }

    #[test]
    fn i2_the_prefix_is_not_the_keys_to_write() {
        let prefix = |namespace, version| {
            let mut writer = KeyWriter::begin(namespace, version);
            writer.text("key");
            writer.as_bytes().to_vec()
        };
        let all = [
            prefix(1, 1),
            prefix(2, 1),
            prefix(1, 2),
            prefix(256, 1),
            prefix(1, 256),
        ];
        for (n, one) in all.iter().enumerate() {
            for other in all.iter().skip(n + 1) {
                assert_ne!(one, other);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn i11_the_encoding_is_injective(a in any_key(), b in any_key()) {
            prop_assert_eq!(a == b, encode(&a) == encode(&b), "{:?} {:?}", a, b);
        }

        #[test]
        fn i11_no_key_is_the_beginning_of_another(a in any_key(), b in any_key()) {
            prop_assume!(a != b);
            prop_assert!(!encode(&a).starts_with(&encode(&b)));
        }
    }
}
