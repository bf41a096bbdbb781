//! Any JSON, by way of `serde_json`.

use std::{borrow::Cow, cell::Cell, fmt, ops::Range};

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

use super::{FEW, MAX_DEPTH, Names, Scalar, Tape, has_duplicates};
use crate::reason::Reason;

/// Reads one value that makes up all of `text`.
pub(super) fn read<'a>(text: &'a str, tape: &mut Tape<'a>) -> Result<(), Reason> {
    let fault = Cell::new("malformed");
    let mut reader = serde_json::Deserializer::from_str(text);
    let seed = Seed {
        tape,
        name: Cow::Borrowed(""),
        depth: MAX_DEPTH,
        input: text.as_bytes().as_ptr_range(),
        fault: &fault,
    };
    seed.deserialize(&mut reader).map_err(|_| fault.get())?;
    reader.end().map_err(|_| "malformed")
}

/// Reads one value onto the tape.
struct Seed<'s, 'a> {
    tape: &'s mut Tape<'a>,
    name: Cow<'a, str>,
    depth: usize,
    input: Range<*const u8>,
    /// Why reading stopped: serde's own errors carry only text.
    fault: &'s Cell<Reason>,
}

impl<'a> Seed<'_, 'a> {
    fn scalar(self, scalar: Scalar<'a>) {
        self.tape.push(self.name, scalar);
    }

    fn deeper<E: Error>(&self) -> Result<usize, E> {
        self.depth
            .checked_sub(1)
            .ok_or_else(|| self.fail("too_deep"))
    }

    fn fail<E: Error>(&self, reason: Reason) -> E {
        self.fault.set(reason);
        E::custom(reason)
    }

    /// Whether this is how `serde_json` begins a number if any crate of the application enables its
    /// feature `arbitrary_precision`. The input could hold the same name: then the name is a part of it,
    /// and begins an object.
    fn begins_number(&self, name: &str) -> bool {
        name == "$serde_json::private::Number" && !self.input.contains(&name.as_ptr())
    }
}

impl<'a> DeserializeSeed<'a> for Seed<'_, 'a> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'a>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Seed<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.scalar(Scalar::Null);
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.scalar(Scalar::Bool(value));
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.scalar(Scalar::Number(value.into()));
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.scalar(Scalar::Number(value.into()));
        Ok(())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("no number"))?;
        self.scalar(Scalar::Number(number));
        Ok(())
    }

    fn visit_borrowed_str<E>(self, text: &'a str) -> Result<(), E> {
        self.scalar(Scalar::Text(Cow::Borrowed(text)));
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.scalar(Scalar::Text(Cow::Owned(text.to_owned())));
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'a>>(mut self, mut items: A) -> Result<(), A::Error> {
        let depth = self.deeper()?;
        let at = self.tape.push(std::mem::take(&mut self.name), Scalar::List);
        while let Some(()) = items.next_element_seed(Seed {
            tape: &mut *self.tape,
            name: Cow::Borrowed(""),
            depth,
            input: self.input.clone(),
            fault: self.fault,
        })? {}
        self.tape.close(at);
        Ok(())
    }

    fn visit_map<A: MapAccess<'a>>(mut self, mut entries: A) -> Result<(), A::Error> {
        let depth = self.deeper()?;
        let mut names = Names::default();
        let mut at = None;
        while let Some(Name(name)) = entries.next_key()? {
            if at.is_none()
                && let Cow::Borrowed(borrowed) = name
                && self.begins_number(borrowed)
            {
                let digits: String = entries.next_value()?;
                let number = digits.parse().map_err(|_| A::Error::custom("no number"))?;
                self.scalar(Scalar::Number(number));
                return Ok(());
            }
            let open = *at.get_or_insert_with(|| {
                let own = std::mem::take(&mut self.name);
                self.tape.push(own, Scalar::Object)
            });
            if names.twice(&name, self.tape, open) {
                return Err(self.fail("duplicate_member"));
            }
            entries.next_value_seed(Seed {
                tape: &mut *self.tape,
                name,
                depth,
                input: self.input.clone(),
                fault: self.fault,
            })?;
        }
        let open = at.unwrap_or_else(|| self.tape.push(self.name, Scalar::Object));
        self.tape.close(open);
        if names.count > FEW && has_duplicates(self.tape, open) {
            self.fault.set("duplicate_member");
            return Err(A::Error::custom("duplicate_member"));
        }
        Ok(())
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
    use serde::de::value::{BorrowedStrDeserializer, MapDeserializer};

    #[test]
    fn a_number_in_the_arbitrary_precision_form_is_a_number() {
        let (mut tape, fault) = (Tape::default(), Cell::new("malformed"));
        let seed = Seed {
            tape: &mut tape,
            name: Cow::Borrowed(""),
            depth: 1,
            input: b"17".as_ptr_range(),
            fault: &fault,
        };
        let names = ["$serde_json::private::Number"].into_iter();
        let members = names.map(|name| (BorrowedStrDeserializer::new(name), "17".to_owned()));
        let read: Result<(), serde::de::value::Error> =
            seed.visit_map(MapDeserializer::new(members));
        read.unwrap();
        assert_eq!(tape.root().as_number().unwrap().as_u64(), Some(17));
    }
}
