//! JSON as tokens and keys need it: member names are unique at every level, depth is bounded, text is
//! borrowed where it has no escapes.

use std::{borrow::Cow, cell::Cell, fmt};

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::reason::Reason;

/// How deep lists and objects may be nested: enough for the longest chain of actors.
const MAX_DEPTH: u8 = 16;

/// A JSON value.
#[derive(Debug, PartialEq)]
pub(crate) enum Json<'a> {
    Null,
    Bool(bool),
    Number(Number),
    Text(Cow<'a, str>),
    List(Vec<Self>),
    Object(Object<'a>),
}

/// A JSON object, its members sorted by name.
#[derive(Debug, PartialEq)]
pub(crate) struct Object<'a>(Vec<(Cow<'a, str>, Json<'a>)>);

impl<'a> Object<'a> {
    /// Reads one object that makes up all of `bytes`.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, Reason> {
        let fault = Cell::new("malformed");
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        let seed = Seed {
            depth: MAX_DEPTH,
            input: bytes,
            fault: &fault,
        };
        let value = seed.deserialize(&mut reader).map_err(|_| fault.get())?;
        reader.end().map_err(|_| "malformed")?;
        match value {
            Json::Object(object) => Ok(object),
            _ => Err("malformed"),
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Json<'a>> {
        let at = self
            .0
            .binary_search_by(|(known, _)| known.as_ref().cmp(name))
            .ok()?;
        self.0.get(at).map(|(_, value)| value)
    }

    pub(crate) fn into_members(self) -> impl Iterator<Item = (Cow<'a, str>, Json<'a>)> {
        self.0.into_iter()
    }
}

impl<'a> Json<'a> {
    pub(crate) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn into_text(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A list of texts and nothing else.
    pub(crate) fn into_texts(self) -> Option<Vec<Cow<'a, str>>> {
        match self {
            Self::List(items) => items.into_iter().map(Self::into_text).collect(),
            _ => None,
        }
    }

    pub(crate) fn into_value(self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(value),
            Self::Number(value) => Value::Number(value),
            Self::Text(text) => Value::String(text.into_owned()),
            Self::List(items) => Value::Array(items.into_iter().map(Self::into_value).collect()),
            Self::Object(object) => {
                let members = object.into_members();
                Value::Object(
                    members
                        .map(|(name, value)| (name.into_owned(), value.into_value()))
                        .collect::<Map<_, _>>(),
                )
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Seed<'f> {
    depth: u8,
    input: &'f [u8],
    /// Why reading stopped: serde's own errors carry only text.
    fault: &'f Cell<Reason>,
}

impl Seed<'_> {
    /// Whether these members are how `serde_json` presents a number if any crate of the application
    /// enables its feature `arbitrary_precision`. The input could hold the same name: then the name is a
    /// part of it, and the members are the object that they look like.
    fn is_number(&self, members: &[(Cow<'_, str>, Json<'_>)]) -> bool {
        match members {
            [(Cow::Borrowed("$serde_json::private::Number"), Json::Text(_))] => members
                .first()
                .is_some_and(|(name, _)| !self.input.as_ptr_range().contains(&name.as_ptr())),
            _ => false,
        }
    }

    fn deeper<E: Error>(self) -> Result<Self, E> {
        let depth = self.depth.checked_sub(1).ok_or_else(|| {
            self.fault.set("too_deep");
            E::custom("too deep")
        })?;
        Ok(Self { depth, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Json<'de>;

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<Json<'de>, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json<'de>, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json<'de>, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Json<'de>, E> {
        Number::from_f64(value)
            .map(Json::Number)
            .ok_or_else(|| E::custom("no number"))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json<'de>, A::Error> {
        let seed = self.deeper()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(seed)? {
            list.push(item);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json<'de>, A::Error> {
        let seed = self.deeper()?;
        let mut members = Vec::with_capacity(8);
        while let Some(Name(name)) = entries.next_key()? {
            members.push((name, entries.next_value_seed(seed)?));
        }
        if self.is_number(&members)
            && let [(_, Json::Text(digits))] = members.as_slice()
            && let Ok(number) = digits.parse()
        {
            return Ok(Json::Number(number));
        }
        members.sort_unstable_by(|(a, _): &(Cow<'_, str>, _), (b, _)| a.cmp(b));
        // Sorted, so that a hostile object of a thousand members costs no million comparisons.
        if members
            .windows(2)
            .any(|pair| matches!(pair, [(a, _), (b, _)] if a == b))
        {
            self.fault.set("duplicate_member");
            return Err(A::Error::custom("duplicate member"));
        }
        Ok(Json::Object(Object(members)))
    }
}

/// A member's name, borrowed if it has no escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de> serde::Deserialize<'de> for Name<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct Text;

        impl<'de> Visitor<'de> for Text {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member's name")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }

        reader.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::de::value::{BorrowedStrDeserializer, MapDeserializer};
    use serde_json::json;

    fn value(text: &str) -> Result<Value, Reason> {
        Object::parse(text.as_bytes()).map(|object| Json::Object(object).into_value())
    }

    #[test]
    fn a_duplicate_member_is_refused_at_every_level() {
        for text in [
            r#"{"a":1,"a":2}"#,
            r#"{"a":1,"b":0,"a":1}"#,
            r#"{"x":{"a":1,"a":1}}"#,
            r#"{"x":[{"a":1,"a":1}]}"#,
            r#"{"a":1,"\u0061":2}"#,
        ] {
            assert_eq!(value(text), Err("duplicate_member"), "{text}");
        }
        assert!(value(r#"{"a":{"a":1},"b":{"a":1}}"#).is_ok());
    }

    #[test]
    fn only_one_object_and_nothing_after_it_is_read() {
        for text in [
            "",
            "[]",
            "1",
            "\"a\"",
            "{}{}",
            "{} x",
            "{",
            "{\"a\":}",
            "{\"a\":1e999}",
        ] {
            assert_eq!(value(text), Err("malformed"), "{text}");
        }
        assert!(Object::parse(b"{\"a\":\"\xff\"}").is_err());
        assert!(value(" {} ").is_ok());
    }

    #[test]
    fn depth_is_bounded() {
        let nested =
            |depth: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
        assert!(value(&nested(15)).is_ok());
        assert_eq!(value(&nested(16)), Err("too_deep"));
        assert!(value(&nested(100_000)).is_err());
    }

    #[test]
    fn an_object_that_looks_like_serde_jsons_number_is_an_object() {
        for text in [
            r#"{"exp":{"$serde_json::private::Number":"17"}}"#,
            r#"{"exp":{"\u0024serde_json::private::Number":"17"}}"#,
        ] {
            let read = Object::parse(text.as_bytes()).unwrap();
            assert!(matches!(read.get("exp"), Some(Json::Object(_))), "{text}");
        }
    }

    #[test]
    fn a_number_in_the_arbitrary_precision_form_is_a_number() {
        let fault = Cell::new("malformed");
        let seed = Seed {
            depth: 1,
            input: b"17",
            fault: &fault,
        };
        let names = ["$serde_json::private::Number"].into_iter();
        let members = names.map(|name| (BorrowedStrDeserializer::new(name), "17".to_owned()));
        let number: Result<_, serde::de::value::Error> =
            seed.visit_map(MapDeserializer::new(members));
        assert_eq!(number.unwrap(), Json::Number(17.into()));
    }

    proptest! {
        #[test]
        fn what_serde_json_writes_is_read_back(
            members in proptest::collection::btree_map(".*", (".*", any::<i64>(), any::<bool>()), 0..8)
        ) {
            let written: Value = members
                .into_iter()
                .map(|(name, (text, number, flag))| (name, json!([text, number, flag, null, {"n": number}])))
                .collect::<Map<_, _>>()
                .into();
            prop_assert_eq!(value(&written.to_string()).unwrap(), written);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(Object::parse(&bytes));
        }
    }
}
