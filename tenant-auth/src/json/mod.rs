//! JSON as tokens and keys need it, in one pass: member names are unique at every level, depth is
//! bounded, text is borrowed where it has no escapes, and what is small costs no allocation.

mod plain;
mod with_serde;

use std::borrow::Cow;

use serde_json::{Number, Value};
use smallvec::SmallVec;

use crate::reason::Reason;

/// How deep lists and objects may be nested: enough for the longest chain of actors.
const MAX_DEPTH: usize = 16;
/// The most values that cost no allocation.
const INLINE: usize = 40;
/// Objects of more members than this are looked at for duplicates by sorting, so that a hostile one of
/// a thousand members costs no million comparisons.
const FEW: usize = 32;

/// A document: its values in the order in which they stand.
#[derive(Debug, Default)]
pub(crate) struct Tape<'a> {
    nodes: SmallVec<[Node<'a>; INLINE]>,
}

#[derive(Debug)]
struct Node<'a> {
    /// The member's name; empty in lists.
    name: Cow<'a, str>,
    scalar: Scalar<'a>,
    /// How many nodes it takes: itself, and all that is in it.
    size: usize,
}

#[derive(Debug)]
enum Scalar<'a> {
    Null,
    Bool(bool),
    Number(Number),
    Text(Cow<'a, str>),
    List,
    Object,
}

/// A value of a document: its node, and those of all that is in it.
#[derive(Clone, Copy)]
pub(crate) struct Json<'t, 'a>(&'t [Node<'a>]);

impl<'a> Tape<'a> {
    /// Reads one object that makes up all of `bytes`, in place of what was read before.
    ///
    /// What is written as issuers write it is read by [`plain`], all else by `serde_json`: what the first takes
    /// the second takes too, and reads the same.
    pub(crate) fn read(&mut self, bytes: &'a [u8]) -> Result<(), Reason> {
        let text = std::str::from_utf8(bytes).map_err(|_| "malformed")?;
        self.nodes.clear();
        if plain::read(text, self).is_none() {
            self.nodes.clear();
            with_serde::read(text, self)?;
        }
        match self.nodes.first().map(|root| &root.scalar) {
            Some(Scalar::Object) => Ok(()),
            _ => Err("malformed"),
        }
    }

    /// The object that was read.
    pub(crate) fn root(&self) -> Json<'_, 'a> {
        Json(&self.nodes)
    }

    fn push(&mut self, name: Cow<'a, str>, scalar: Scalar<'a>) -> usize {
        let at = self.nodes.len();
        let size = 1;
        self.nodes.push(Node { name, scalar, size });
        at
    }

    /// The object or list at `at` ends here.
    fn close(&mut self, at: usize) {
        let end = self.nodes.len();
        if let Some(node) = self.nodes.get_mut(at) {
            node.size = end.saturating_sub(at);
        }
    }
}

impl<'t, 'a: 't> Json<'t, 'a> {
    fn node(&self) -> Option<&'t Node<'a>> {
        self.0.first()
    }

    /// The member's name.
    pub(crate) fn name(&self) -> &'t str {
        self.node().map_or("", |node| &node.name)
    }

    pub(crate) fn as_text(&self) -> Option<&'t str> {
        match &self.node()?.scalar {
            Scalar::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn as_number(&self) -> Option<&'t Number> {
        match &self.node()?.scalar {
            Scalar::Number(number) => Some(number),
            _ => None,
        }
    }

    /// The members of an object.
    pub(crate) fn members(&self) -> Option<Children<'t, 'a>> {
        match &self.node()?.scalar {
            Scalar::Object => Some(self.children()),
            _ => None,
        }
    }

    /// The values of a list.
    pub(crate) fn items(&self) -> Option<Children<'t, 'a>> {
        match &self.node()?.scalar {
            Scalar::List => Some(self.children()),
            _ => None,
        }
    }

    /// The texts of a list that has nothing else.
    pub(crate) fn texts(&self) -> Option<impl Iterator<Item = &'t str> + Clone + use<'t, 'a>> {
        match &self.node()?.scalar {
            Scalar::List => {}
            _ => return None,
        }
        let items = self.children();
        items
            .clone()
            .all(|item| item.as_text().is_some())
            .then(|| items.filter_map(|item| item.as_text()))
    }

    /// The object's member of this name.
    pub(crate) fn get(&self, name: &str) -> Option<Self> {
        self.members()?.find(|member| member.name() == name)
    }

    /// What stands at the end of this path of names.
    pub(crate) fn at_path(&self, path: &[Box<str>]) -> Option<Self> {
        path.iter().try_fold(*self, |value, name| value.get(name))
    }

    fn children(&self) -> Children<'t, 'a> {
        Children(self.0.get(1..).unwrap_or_default())
    }

    /// About how much memory it takes to keep: the bytes of its names and texts, and 8 for each value.
    pub(crate) fn weight(&self) -> usize {
        self.0.iter().fold(0, |sum, node| {
            let text = match &node.scalar {
                Scalar::Text(text) => text.len(),
                _ => 0,
            };
            sum.saturating_add(node.name.len())
                .saturating_add(text)
                .saturating_add(8)
        })
    }

    pub(crate) fn to_value(self) -> Value {
        let Some(node) = self.node() else {
            return Value::Null;
        };
        match &node.scalar {
            Scalar::Null => Value::Null,
            Scalar::Bool(value) => Value::Bool(*value),
            Scalar::Number(value) => Value::Number(value.clone()),
            Scalar::Text(text) => Value::String(text.to_string()),
            Scalar::List => self.children().map(Self::to_value).collect(),
            Scalar::Object => {
                let member = |child: Self| (child.name().to_owned(), child.to_value());
                self.children().map(member).collect()
            }
        }
    }
}

/// The values in a list or an object, one after the other.
#[derive(Clone)]
pub(crate) struct Children<'t, 'a>(&'t [Node<'a>]);

impl<'t, 'a: 't> Iterator for Children<'t, 'a> {
    type Item = Json<'t, 'a>;

    fn next(&mut self) -> Option<Json<'t, 'a>> {
        let (child, rest) = self.0.split_at_checked(self.0.first()?.size)?;
        self.0 = rest;
        Some(Json(child))
    }
}

/// The names of an object that have been seen: one bit for each kind of name, so that most new names are
/// compared with none.
#[derive(Default)]
struct Names {
    kinds: u64,
    count: usize,
}

impl Names {
    /// Whether each was looked at.
    const fn are_few(&self) -> bool {
        self.count <= FEW
    }

    /// Whether the object at `open` has this name already. Many names are looked at in the end instead.
    #[inline]
    fn twice(&mut self, name: &str, tape: &Tape<'_>, open: usize) -> bool {
        self.count = self.count.saturating_add(1);
        if !self.are_few() {
            return false;
        }
        let byte = |byte: Option<&u8>| usize::from(byte.copied().unwrap_or_default());
        let (first, last) = (byte(name.as_bytes().first()), byte(name.as_bytes().last()));
        let kind = first ^ (last << 2) ^ (name.len() << 1);
        let bit = 1_u64.rotate_left(u32::try_from(kind & 63).unwrap_or_default());
        let fresh = self.kinds & bit == 0;
        self.kinds |= bit;
        !fresh && siblings(tape, open).any(|known| known.name() == name)
    }
}

/// What is in the object at `open`, which has not been closed.
fn siblings<'t, 'a>(tape: &'t Tape<'a>, open: usize) -> Children<'t, 'a> {
    let inside = tape.nodes.get(open.saturating_add(1)..);
    Children(inside.unwrap_or_default())
}

fn has_duplicates(tape: &Tape<'_>, open: usize) -> bool {
    let mut names: Vec<&str> = siblings(tape, open).map(|member| member.name()).collect();
    names.sort_unstable();
    names
        .windows(2)
        .any(|pair| matches!(pair, [a, b] if a == b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Map, json};

    fn value(text: &str) -> Result<Value, Reason> {
        let mut tape = Tape::default();
        tape.read(text.as_bytes())?;
        Ok(tape.root().to_value())
    }

    #[test]
    fn a_duplicate_member_is_refused_at_every_level() {
        let many: Vec<_> = (0..100).map(|n| format!("\"k{n}\":1")).collect();
        let many = many.join(",");
        for text in [
            r#"{"a":1,"a":2}"#,
            r#"{"a":1,"b":0,"a":1}"#,
            r#"{"x":{"a":1,"a":1}}"#,
            r#"{"x":[{"a":1,"a":1}]}"#,
            r#"{"a":{"b":{"a":1}},"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            &format!("{{{many},\"k0\":1}}"),
            &format!("{{\"x\":{{{many},\"k99\":1}}}}"),
        ] {
            assert_eq!(value(text), Err("duplicate_member"), "{text}");
        }
        assert!(value(r#"{"a":{"a":1},"b":{"a":1}}"#).is_ok());
        assert!(value(&format!("{{{many}}}")).is_ok());
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
        assert!(Tape::default().read(b"{\"a\":\"\xff\"}").is_err());
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
    fn a_member_is_found_beside_whatever_stands_in_its_siblings() {
        let mut tape = Tape::default();
        let text = r#"{"x":{"a":[1,{"a":2}],"c":{}},"a":{"b":["p","q"]},"d":[1]}"#;
        tape.read(text.as_bytes()).unwrap();
        let root = tape.root();
        let path: [Box<str>; 2] = ["a".into(), "b".into()];
        let texts: Vec<_> = root.at_path(&path).unwrap().texts().unwrap().collect();
        assert_eq!(texts, ["p", "q"]);
        assert!(root.get("b").is_none() && root.get("c").is_none());
        assert!(root.get("d").unwrap().texts().is_none());
        assert!(root.get("a").unwrap().get("b").unwrap().get("p").is_none());
        let names: Vec<_> = root
            .members()
            .unwrap()
            .map(|member| member.name())
            .collect();
        assert_eq!(names, ["x", "a", "d"]);
    }

    #[test]
    fn an_object_that_looks_like_serde_jsons_number_is_an_object() {
        for text in [
            r#"{"exp":{"$serde_json::private::Number":"17"}}"#,
            r#"{"exp":{"\u0024serde_json::private::Number":"17"}}"#,
        ] {
            let mut tape = Tape::default();
            tape.read(text.as_bytes()).unwrap();
            let exp = tape.root().get("exp").unwrap();
            assert!(
                exp.as_number().is_none() && exp.members().is_some(),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_serde_json_writes_is_read_back(
            members in proptest::collection::btree_map(".*", (".*", any::<i64>(), any::<bool>()), 0..40)
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
            let _unread = Tape::default().read(&bytes);
        }
    }
}
