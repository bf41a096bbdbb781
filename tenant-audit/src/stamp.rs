//! Times as records show them.

use std::{borrow::Cow, time::Duration};

use serde::Deserialize;
use tenant_context::UnixTime;
use time::{Date, Month, OffsetDateTime, Time};

const MICROS_PER_SEC: u64 = 1_000_000;

/// Microseconds since 1970.
pub(crate) const fn micros(at: UnixTime) -> u64 {
    at.as_nanos() / 1_000
}

/// The time so many microseconds after a time as it is shown: the difference of the two as shown is exactly that.
pub(crate) fn after(at: UnixTime, micros: u64) -> UnixTime {
    UnixTime::from_nanos(self::micros(at).saturating_mul(1_000))
        .saturating_add(Duration::from_micros(micros))
}

/// RFC 3339, in UTC, with microseconds.
pub(crate) fn timestamp(at: UnixTime) -> String {
    let mut stamps = Stamps::default();
    String::from_utf8_lossy(stamps.of(at)).into_owned()
}

/// Writes times. Many records share a second, which is a calendar's work once.
#[derive(Debug, Default)]
pub(crate) struct Stamps {
    secs: Option<u64>,
    text: Vec<u8>,
}

impl Stamps {
    /// `1970-01-01T00:00:00.` is what one second's times have in common.
    const SHARED: usize = 20;

    /// RFC 3339, in UTC, with microseconds.
    pub(crate) fn of(&mut self, at: UnixTime) -> &[u8] {
        if self.secs != Some(at.as_secs()) {
            self.secs = Some(at.as_secs());
            self.text = second(at).into_bytes();
        }
        self.text.truncate(Self::SHARED);
        let mut digits = [b'0'; 6];
        let mut left = micros(at) % MICROS_PER_SEC;
        for digit in digits.iter_mut().rev() {
            *digit = b"0123456789"
                .get(usize::try_from(left % 10).unwrap_or_default())
                .copied()
                .unwrap_or(b'0');
            left /= 10;
        }
        self.text.extend_from_slice(&digits);
        self.text.push(b'Z');
        &self.text
    }
}

/// Reads a time as records show it, or with less of it: `2026-11-27`, `2026-11-27T21:00:00Z`, in UTC.
pub(crate) fn parse(text: &str) -> Option<UnixTime> {
    let (date, time) = match text.split_once('T') {
        Some((date, time)) => (date, time.strip_suffix('Z')?),
        None => (text, "00:00:00"),
    };
    let digits = |text: &str, length: usize| -> Option<u32> {
        let plain = text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| plain)
    };
    let small = |text: &str| u8::try_from(digits(text, 2)?).ok();
    let mut parts = date.splitn(3, '-');
    let year = i32::try_from(digits(parts.next()?, 4)?).ok()?;
    let month = Month::try_from(small(parts.next()?)?).ok()?;
    let date = Date::from_calendar_date(year, month, small(parts.next()?)?).ok()?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut parts = time.splitn(3, ':');
    let (hour, minute, second) = (
        small(parts.next()?)?,
        small(parts.next()?)?,
        small(parts.next()?)?,
    );
    let scale = 10_u32.checked_pow(9_u32.checked_sub(u32::try_from(fraction.len()).ok()?)?)?;
    let nanos = digits(fraction, fraction.len())?.checked_mul(scale)?;
    let time = Time::from_hms_nano(hour, minute, second, nanos).ok()?;
    let nanos = OffsetDateTime::new_utc(date, time).unix_timestamp_nanos();
    // What is later than can be expressed is as late as can be.
    let nanos = u128::try_from(nanos).ok()?;
    Some(UnixTime::from_nanos(
        u64::try_from(nanos).unwrap_or(u64::MAX),
    ))
}

/// When a record was made, by itself.
pub(crate) fn of_record(record: &str) -> Option<UnixTime> {
    #[derive(Deserialize)]
    struct Timed<'a> {
        #[serde(borrow)]
        timestamp: Cow<'a, str>,
    }
    let timed: Timed<'_> = serde_json::from_str(record).ok()?;
    parse(&timed.timestamp)
}

fn second(at: UnixTime) -> String {
    // A `UnixTime` ends in the year 2554, a calendar date in the year 9999.
    let date = i64::try_from(at.as_secs())
        .ok()
        .and_then(|secs| OffsetDateTime::from_unix_timestamp(secs).ok())
        .unwrap_or(OffsetDateTime::UNIX_EPOCH);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.",
        date.year(),
        u8::from(date.month()),
        date.day(),
        date.hour(),
        date.minute(),
        date.second(),
    )
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use time::format_description::well_known::Rfc3339;

    #[test]
    fn what_is_no_time_is_not_read_as_one() {
        assert_eq!(parse("1970-01-02"), Some(UnixTime::from_secs(86_400)));
        assert_eq!(parse("1970-01-01T00:00:01Z"), Some(UnixTime::from_secs(1)));
        assert_eq!(
            parse("1970-01-01T00:00:00.5Z"),
            Some(UnixTime::from_nanos(500_000_000))
        );
        for wrong in [
            "",
            "1970",
            "1970-1-1",
            "1970-13-01",
            "1970-02-30",
            "1970-01-01T00:00:00",
            "1970-01-01T24:00:00Z",
            "1970-01-01T00:00:00.Z",
            "1970-01-01T00:00:00.+1Z",
            "1970-01-01T00:00:00.1234567890Z",
            "1969-12-31",
            "+970-01-01",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn begin_and_duration_as_they_are_shown_make_the_end() {
        let at = UnixTime::from_nanos(1_999_999_999);
        assert_eq!(after(at, 2), UnixTime::from_nanos(2_000_001_000));
        assert_eq!(after(at, u64::MAX), UnixTime::from_nanos(u64::MAX));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in any::<String>()) {
            let _none_of_ours = parse(&text);
        }

        #[test]
        fn timestamps_are_rfc_3339(first in any::<u64>(), nanos in any::<u64>(), near in 0_u64..3_000_000_000) {
            let mut stamps = Stamps::default();
            for nanos in [first, nanos, nanos.saturating_add(near)] {
                let shown = std::str::from_utf8(stamps.of(UnixTime::from_nanos(nanos))).unwrap();
                let read = OffsetDateTime::parse(shown, &Rfc3339).unwrap();
                prop_assert_eq!(read.unix_timestamp_nanos(), i128::from(nanos.saturating_sub(nanos % 1_000)));
                prop_assert_eq!(shown.len(), 27);
                prop_assert_eq!(parse(shown), Some(UnixTime::from_nanos(nanos.saturating_sub(nanos % 1_000))));
            }
        }
    }
}
