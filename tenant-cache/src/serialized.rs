//! Keys of any type that serde can serialise.

use std::fmt;

use serde::{Serialize, ser};

use crate::{CacheKey, KeyWriter};

/// A [`CacheKey`] of any type that is [`Serialize`]: every field, variant and length is written with its kind, so that two
/// values of unequal serialisation are two keys, whatever their types.
///
/// What a type's `Serialize` leaves out (`#[serde(skip)]`) is not in the key. Maps are written in the order of their
/// encoded keys, so a `HashMap` is one key however it iterates. A type whose `Serialize` fails is a key that finds
/// nothing but what failed alike: it is encoded as its error's text under a kind of its own.
///
/// ```
/// use tenant_cache::{Namespace, Rejection, Serialized, TenantContext};
///
/// #[derive(serde::Serialize)]
/// struct Filter { customer: u64, open: bool }
///
/// fn count(counts: &Namespace<u64>, tenant: &TenantContext) -> Result<Option<u64>, Rejection> {
///     counts.get(tenant, &Serialized(Filter { customer: 7, open: true }))
/// }
/// ```
///
/// There is no such wrapper for [`Hash`]: unequal values may write the same bytes into a hasher, and keys of two customers'
/// data must not depend on that they do not.
#[derive(Clone, Copy, Debug)]
#[allow(
    clippy::exhaustive_structs,
    reason = "it is made by naming what it wraps"
)]
pub struct Serialized<T>(pub T);

impl<T: Serialize> CacheKey for Serialized<T> {
    fn encode(&self, key: &mut KeyWriter) {
        let mut whole = KeyWriter::begin(0, 0);
        match self.0.serialize(Encoder(&mut whole)) {
            Ok(()) => key.tag(kind::SERIALIZED).bytes(whole.as_bytes()),
            Err(Failed(text)) => key.tag(kind::FAILED).text(&text),
        };
    }
}

/// What follows, of what serde's model knows beyond the kinds of [`KeyWriter`].
mod kind {
    pub(super) const SERIALIZED: u8 = 0x40;
    pub(super) const FAILED: u8 = 0x41;
    pub(super) const NONE: u8 = 0x42;
    pub(super) const SOME: u8 = 0x43;
    pub(super) const UNIT: u8 = 0x44;
    pub(super) const VARIANT: u8 = 0x45;
    pub(super) const SEQUENCE: u8 = 0x46;
    pub(super) const MAP: u8 = 0x47;
    pub(super) const FIELDS: u8 = 0x48;
    pub(super) const FLOAT32: u8 = 0x49;
    pub(super) const FLOAT64: u8 = 0x4a;
    /// Before each element, and [`END`] after the last.
    pub(super) const MORE: u8 = 0x01;
    pub(super) const END: u8 = 0x00;
}

#[derive(Debug)]
struct Failed(String);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failed {}

impl ser::Error for Failed {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

/// Writes one value.
struct Encoder<'a>(&'a mut KeyWriter);

/// Writes the elements of one value, each enclosed in its length.
struct Elements<'a> {
    key: &'a mut KeyWriter,
    /// The entries of a map, sorted at its end.
    entries: Vec<(Vec<u8>, Vec<u8>)>,
    pending: Vec<u8>,
}

fn alone<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, Failed> {
    let mut key = KeyWriter::begin(0, 0);
    value.serialize(Encoder(&mut key))?;
    Ok(key.as_bytes().to_vec())
}

impl<'a> Elements<'a> {
    const fn of(key: &'a mut KeyWriter) -> Self {
        Self {
            key,
            entries: Vec::new(),
            pending: Vec::new(),
        }
    }

    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failed> {
        self.key
            .tag(kind::MORE)
            .enclosing(|key| value.serialize(Encoder(key)))
    }

    fn end(self) {
        self.key.tag(kind::END);
    }
}

macro_rules! plain {
    ($($method:ident: $type:ty),*) => {$(
        fn $method(self, value: $type) -> Result<(), Failed> {
            value.encode(self.0);
            Ok(())
        }
    )*};
}

impl<'a> ser::Serializer for Encoder<'a> {
    type Ok = ();
    type Error = Failed;
    type SerializeSeq = Elements<'a>;
    type SerializeTuple = Elements<'a>;
    type SerializeTupleStruct = Elements<'a>;
    type SerializeTupleVariant = Elements<'a>;
    type SerializeMap = Elements<'a>;
    type SerializeStruct = Elements<'a>;
    type SerializeStructVariant = Elements<'a>;

    plain!(
        serialize_bool: bool,
        serialize_i8: i8,
        serialize_i16: i16,
        serialize_i32: i32,
        serialize_i64: i64,
        serialize_i128: i128,
        serialize_u8: u8,
        serialize_u16: u16,
        serialize_u32: u32,
        serialize_u64: u64,
        serialize_u128: u128,
        serialize_char: char,
        serialize_str: &str,
        serialize_bytes: &[u8]
    );

    fn serialize_f32(self, value: f32) -> Result<(), Failed> {
        self.0
            .tag(kind::FLOAT32)
            .bytes(&value.to_bits().to_be_bytes());
        Ok(())
    }

    fn serialize_f64(self, value: f64) -> Result<(), Failed> {
        self.0
            .tag(kind::FLOAT64)
            .bytes(&value.to_bits().to_be_bytes());
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Failed> {
        self.0.tag(kind::NONE);
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Failed> {
        self.0
            .tag(kind::SOME)
            .enclosing(|key| value.serialize(Encoder(key)))
    }

    fn serialize_unit(self) -> Result<(), Failed> {
        self.0.tag(kind::UNIT);
        Ok(())
    }

    fn serialize_unit_struct(self, name: &'static str) -> Result<(), Failed> {
        self.0.tag(kind::UNIT).text(name);
        Ok(())
    }

    fn serialize_unit_variant(
        self,
        name: &'static str,
        number: u32,
        _variant: &'static str,
    ) -> Result<(), Failed> {
        number.encode(self.0.tag(kind::VARIANT).text(name));
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<(), Failed> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        number: u32,
        _variant: &'static str,
        value: &T,
    ) -> Result<(), Failed> {
        number.encode(self.0.tag(kind::VARIANT).text(name));
        let mut elements = Elements::of(self.0);
        elements.element(value)?;
        elements.end();
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Elements<'a>, Failed> {
        Ok(Elements::of(self.0.tag(kind::SEQUENCE)))
    }

    fn serialize_tuple(self, _: usize) -> Result<Elements<'a>, Failed> {
        Ok(Elements::of(self.0.tag(kind::FIELDS)))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Elements<'a>, Failed> {
        Ok(Elements::of(self.0.tag(kind::FIELDS)))
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        number: u32,
        _variant: &'static str,
        _: usize,
    ) -> Result<Elements<'a>, Failed> {
        number.encode(self.0.tag(kind::VARIANT).text(name));
        Ok(Elements::of(self.0))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Elements<'a>, Failed> {
        Ok(Elements::of(self.0.tag(kind::MAP)))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Elements<'a>, Failed> {
        Ok(Elements::of(self.0.tag(kind::FIELDS)))
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        number: u32,
        _variant: &'static str,
        _: usize,
    ) -> Result<Elements<'a>, Failed> {
        number.encode(self.0.tag(kind::VARIANT).text(name));
        Ok(Elements::of(self.0))
    }
}

macro_rules! listed {
    ($($trait:ident::$method:ident),*) => {$(
        impl ser::$trait for Elements<'_> {
            type Ok = ();
            type Error = Failed;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failed> {
                self.element(value)
            }

            fn end(self) -> Result<(), Failed> {
                Elements::end(self);
                Ok(())
            }
        }
    )*};
}

listed!(
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field
);

macro_rules! named {
    ($($trait:ident),*) => {$(
        impl ser::$trait for Elements<'_> {
            type Ok = ();
            type Error = Failed;

            /// With its name: a field that is sometimes skipped is told from its neighbour.
            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), Failed> {
                self.element(name)?;
                self.element(value)
            }

            fn end(self) -> Result<(), Failed> {
                Elements::end(self);
                Ok(())
            }
        }
    )*};
}

named!(SerializeStruct, SerializeStructVariant);

impl ser::SerializeMap for Elements<'_> {
    type Ok = ();
    type Error = Failed;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Failed> {
        self.pending = alone(key)?;
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failed> {
        let key = std::mem::take(&mut self.pending);
        self.entries.push((key, alone(value)?));
        Ok(())
    }

    fn end(mut self) -> Result<(), Failed> {
        self.entries.sort_unstable();
        for (key, value) in &self.entries {
            self.key.tag(kind::MORE).bytes(key).bytes(value);
        }
        Elements::end(self);
        Ok(())
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use proptest::prelude::*;

    use super::*;

    fn encoded(value: impl Serialize) -> Vec<u8> {
        let mut key = KeyWriter::begin(1, 1);
        Serialized(value).encode(&mut key);
        key.as_bytes().to_vec()
    }

    #[derive(Clone, Debug, PartialEq, Serialize)]
    enum Shape {
        Unit,
        Other,
        One(u8),
        Text(String),
        Two(Option<String>, Vec<u8>),
        Named { a: Vec<String>, b: Option<u8> },
        Map(BTreeMap<String, Option<u8>>),
        Deep(Box<Shape>, (u8, bool)),
    }

    fn shape() -> impl Strategy<Value = Shape> {
        let text = || "[ab]{0,2}";
        let leaf = prop_oneof![
            Just(Shape::Unit),
            Just(Shape::Other),
            (0..3_u8).prop_map(Shape::One),
            text().prop_map(Shape::Text),
            (
                prop::option::of(text()),
                prop::collection::vec(0..2_u8, 0..3)
            )
                .prop_map(|(a, b)| Shape::Two(a, b)),
            (
                prop::collection::vec(text(), 0..3),
                prop::option::of(0..2_u8)
            )
                .prop_map(|(a, b)| Shape::Named { a, b }),
            prop::collection::btree_map(text(), prop::option::of(0..2_u8), 0..3)
                .prop_map(Shape::Map),
        ];
        leaf.prop_recursive(2, 6, 1, |inner| {
            (inner, 0..2_u8, any::<bool>()).prop_map(|(a, b, c)| Shape::Deep(Box::new(a), (b, c)))
        })
    }

    #[test]
    fn what_serialises_differently_is_another_key() {
        let all = [
            encoded(7_u8),
            encoded(7_u16),
            encoded(7_i8),
            encoded("7"),
            encoded('7'),
            encoded(Some(7_u8)),
            encoded(None::<u8>),
            encoded(()),
            encoded([7_u8]),
            encoded(vec![7_u8]),
            encoded((7_u8, 8_u8)),
            encoded(vec![7_u8, 8]),
            encoded(vec![vec![7_u8], vec![8]]),
            encoded(vec![vec![7_u8, 8]]),
            encoded(("a", "")),
            encoded(("", "a")),
            encoded(1.0_f32),
            encoded(1.0_f64),
            encoded(0.0_f64),
            encoded(-0.0_f64),
            encoded(f64::NAN),
        ];
        for (n, one) in all.iter().enumerate() {
            for (m, other) in all.iter().enumerate().skip(n + 1) {
                assert_ne!(one, other, "{n} {m}");
            }
        }
    }

    #[test]
    fn a_map_is_one_key_however_it_iterates() {
        let pairs: Vec<(String, u8)> = (0..40).map(|n| (format!("k{n}"), n)).collect();
        let one: HashMap<_, _> = pairs.iter().cloned().collect();
        let other: HashMap<_, _> = pairs.into_iter().rev().collect();
        assert_eq!(encoded(&one), encoded(&other));
    }

    #[test]
    fn a_type_that_does_not_serialise_is_no_other_types_key() {
        struct Fails(&'static str);
        impl Serialize for Fails {
            fn serialize<S: ser::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(ser::Error::custom(self.0))
            }
        }
        assert_ne!(encoded(Fails("a")), encoded("a"));
        assert_ne!(encoded(Fails("a")), encoded(Fails("b")));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn i11_serialised_keys_are_injective(a in shape(), b in shape()) {
            prop_assert_eq!(a == b, encoded(&a) == encoded(&b), "{:?} {:?}", a, b);
        }
    }
}
