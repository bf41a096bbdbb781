//! `traceparent` (W3C Trace Context): read strictly, passed on with a span of one's own.

use std::fmt::{self, Write};

use http::{HeaderMap, HeaderName};

/// `traceparent`.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// A trace and a span in it: what `traceparent` says (W3C Trace Context §3.2.2).
///
/// It comes from outside, so it names nothing but itself: no decision depends on it.
///
/// ```
/// use tenant_context::TraceParent;
///
/// let sent = TraceParent::parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").ok_or("no traceparent")?;
/// assert_eq!(sent.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
/// let next = sent.child([7; 8]);
/// assert_eq!(next.to_string(), "00-4bf92f3577b34da6a3ce929d0e0e4736-0707070707070707-01");
/// # Ok::<(), &str>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceParent {
    /// Lower-case hexadecimal digits.
    trace: [u8; 32],
    span: [u8; 16],
    sampled: bool,
}

impl TraceParent {
    /// Of exactly one header that is well formed.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut lines = headers.get_all(TRACEPARENT).iter();
        let (Some(line), None) = (lines.next(), lines.next()) else {
            return None;
        };
        Self::parse(line.as_bytes())
    }

    /// `00-`, 32 and 16 lower-case hexadecimal digits, and flags, of which only `sampled` is kept; all zeros name
    /// nothing. A later version may say more after another dash (§3.2.4).
    pub fn parse(line: &[u8]) -> Option<Self> {
        let (version, rest) = line.split_first_chunk::<2>()?;
        let (trace, rest) = rest.strip_prefix(b"-")?.split_first_chunk::<32>()?;
        let (span, rest) = rest.strip_prefix(b"-")?.split_first_chunk::<16>()?;
        let (flags, rest) = rest.strip_prefix(b"-")?.split_first_chunk::<2>()?;
        let hex = |digits: &[u8]| {
            digits
                .iter()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let named = |digits: &[u8]| hex(digits) && digits.iter().any(|byte| *byte != b'0');
        let ended = rest.is_empty() || (version != b"00" && rest.starts_with(b"-"));
        let valid =
            hex(version) && version != b"ff" && named(trace) && named(span) && hex(flags) && ended;
        let [_, flags] = flags;
        valid.then_some(Self {
            trace: *trace,
            span: *span,
            // An odd digit: the lowest bit is set.
            sampled: matches!(flags, b'1' | b'3' | b'5' | b'7' | b'9' | b'b' | b'd' | b'f'),
        })
    }

    /// A trace that begins here, sampled. The bytes are random.
    pub fn begin(trace: [u8; 16], span: [u8; 8]) -> Self {
        Self {
            trace: hex(named(trace)),
            span: hex(named(span)),
            sampled: true,
        }
    }

    /// The same trace, one span further: what a call to another service is told. The bytes are random.
    #[must_use]
    pub fn child(self, span: [u8; 8]) -> Self {
        Self {
            span: hex(named(span)),
            ..self
        }
    }

    /// The trace, as 32 lower-case hexadecimal digits.
    pub fn trace_id(&self) -> &str {
        std::str::from_utf8(&self.trace).unwrap_or_default()
    }

    /// The caller's span, as 16 lower-case hexadecimal digits.
    pub fn span_id(&self) -> &str {
        std::str::from_utf8(&self.span).unwrap_or_default()
    }

    /// Whether the caller may have recorded the trace (§3.2.2.5.1).
    pub const fn is_sampled(&self) -> bool {
        self.sampled
    }
}

/// All zeros name nothing, so they are never made.
fn named<const N: usize>(mut id: [u8; N]) -> [u8; N] {
    if let Some(last) = id.last_mut() {
        *last |= 1;
    }
    id
}

fn hex<const BYTES: usize, const DIGITS: usize>(bytes: [u8; BYTES]) -> [u8; DIGITS] {
    let mut digits = [b'0'; DIGITS];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
        for (digit, nibble) in pair.iter_mut().zip([byte >> 4, byte & 15]) {
            let letter = char::from_digit(nibble.into(), 16).unwrap_or('0');
            *digit = u8::try_from(letter).unwrap_or(b'0');
        }
    }
    digits
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("00-")?;
        f.write_str(self.trace_id())?;
        f.write_char('-')?;
        f.write_str(self.span_id())?;
        f.write_str(if self.sampled { "-01" } else { "-00" })
    }
}

impl fmt::Debug for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn it_is_taken_as_the_standard_writes_it_and_not_otherwise() {
        let good = TraceParent::parse(GOOD.as_bytes()).unwrap();
        assert_eq!(good.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(good.span_id(), "00f067aa0ba902b7");
        assert_eq!(good.to_string(), GOOD);
        let later = GOOD.replacen("00", "cc", 1) + "-more";
        assert_eq!(TraceParent::parse(later.as_bytes()), Some(good));
        for wrong in [
            GOOD.to_uppercase(),
            format!("{GOOD}-more"),
            format!("{GOOD}0"),
            GOOD.replacen("00", "ff", 1),
            GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
            GOOD.replace('-', "_"),
            GOOD.replace("-01", "-0x"),
            String::new(),
        ] {
            assert_eq!(TraceParent::parse(wrong.as_bytes()), None, "{wrong}");
        }
        let mut headers = HeaderMap::new();
        headers.append(TRACEPARENT, GOOD.parse().unwrap());
        assert_eq!(TraceParent::of(&headers), Some(good));
        headers.append(TRACEPARENT, GOOD.parse().unwrap());
        assert_eq!(TraceParent::of(&headers), None, "two of them");
    }

    #[test]
    fn of_the_flags_only_the_known_one_goes_on() {
        for (flags, on) in [("00", "00"), ("01", "01"), ("fe", "00"), ("ff", "01")] {
            let sent = GOOD.replace("-01", &format!("-{flags}"));
            let read = TraceParent::parse(sent.as_bytes()).unwrap();
            assert_eq!(read.is_sampled(), on == "01");
            assert!(read.to_string().ends_with(on), "{flags}");
        }
    }

    #[test]
    fn what_is_made_is_well_formed_also_of_zeros() {
        for bytes in [0, 0xff, 0x5a] {
            let begun = TraceParent::begin([bytes; 16], [bytes; 8]);
            let child = begun.child([bytes; 8]);
            for made in [begun, child] {
                let read = TraceParent::parse(made.to_string().as_bytes());
                assert_eq!(read, Some(made));
                assert_eq!(made.trace_id(), begun.trace_id());
            }
        }
    }
}
