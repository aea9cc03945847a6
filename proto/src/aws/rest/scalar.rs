//! How single values are spelled in headers, parameters and elements.
//!
//! One reader serves all three places: S3 means the same by `true`, `3` and a time wherever they stand.
//! A reader only says whether the text is a value; whose fault it is, and in what words, depends on the
//! place.

use crate::aws::scalar::{push_clock, push_number};
use time::format_description::well_known::{Iso8601, Rfc3339};
use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time, UtcOffset};

pub trait FromText: Sized {
    fn from_text(text: &str) -> Option<Self>;
}

impl FromText for String {
    fn from_text(text: &str) -> Option<Self> {
        Some(text.to_string())
    }
}

impl FromText for bool {
    fn from_text(text: &str) -> Option<Self> {
        match text.trim() {
            "1" => Some(true),
            "0" => Some(false),
            word if word.eq_ignore_ascii_case("true") => Some(true),
            word if word.eq_ignore_ascii_case("false") => Some(false),
            _ => None,
        }
    }
}

impl FromText for i32 {
    fn from_text(text: &str) -> Option<Self> {
        text.trim().parse().ok()
    }
}

impl FromText for i64 {
    fn from_text(text: &str) -> Option<Self> {
        text.trim().parse().ok()
    }
}

/// Any form that S3 takes anywhere: ISO 8601 with or without a time of day, and HTTP's three.
impl FromText for OffsetDateTime {
    fn from_text(text: &str) -> Option<Self> {
        let text = text.trim();
        let at = match text.as_bytes().first()? {
            b'0'..=b'9' => iso(text),
            _ => http(text),
        }?;
        at.checked_to_offset(UtcOffset::UTC)
    }
}

fn iso(text: &str) -> Option<OffsetDateTime> {
    let whole =
        OffsetDateTime::parse(text, &Rfc3339).or_else(|_| OffsetDateTime::parse(text, &Iso8601::DEFAULT));
    // Without a zone, or without a time of day, UTC is meant.
    whole
        .ok()
        .or_else(|| PrimitiveDateTime::parse(text, &Iso8601::DEFAULT).ok().map(PrimitiveDateTime::assume_utc))
        .or_else(|| Date::parse(text, &Iso8601::DEFAULT).ok().map(|date| date.midnight().assume_utc()))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`, and as older clients write it `Sunday, 06-Nov-94 08:49:37 GMT` and
/// `Sun Nov  6 08:49:37 1994`. The day of the week is not looked at.
fn http(text: &str) -> Option<OffsetDateTime> {
    let parts: Vec<&str> = text.split([' ', '-', ',']).filter(|part| !part.is_empty()).collect();
    let (day, month, year, time) = match *parts.as_slice() {
        [_, day, month, year, time, "GMT" | "UTC" | "+0000"] => (day, month, year, time),
        [_, month, day, time, year] => (day, month, year, time),
        _ => return None,
    };
    let year = match (year.len(), year.parse::<i32>().ok()?) {
        (4, year) => year,
        // Two digits belong to the century that keeps them from lying far ahead.
        (2, year) => year + if year < 70 { 2000 } else { 1900 },
        _ => return None,
    };
    let month = MONTHS.iter().position(|name| name.eq_ignore_ascii_case(month))?;
    let month = Month::try_from(u8::try_from(month + 1).ok()?).ok()?;
    let mut clock = time.split(':').map(|part| part.parse::<u8>().ok());
    let time = Time::from_hms(clock.next()??, clock.next()??, clock.next()??).ok()?;
    let date = Date::from_calendar_date(year, month, day.parse().ok()?).ok()?;
    clock.next().is_none().then(|| date.with_time(time).assume_utc())
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
pub fn http_date(at: OffsetDateTime) -> String {
    let at = at.checked_to_offset(UtcOffset::UTC).unwrap_or(at);
    let mut text = String::with_capacity(29);
    text.push_str(DAYS[usize::from(at.weekday().number_days_from_monday())]);
    text.push_str(", ");
    push_number(&mut text, at.day().into(), 2);
    text.push(' ');
    text.push_str(MONTHS[usize::from(u8::from(at.month())) - 1]);
    text.push(' ');
    push_number(&mut text, at.year().unsigned_abs(), 4);
    text.push(' ');
    push_clock(&mut text, at.time());
    text.push_str(" GMT");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use time::macros::datetime;

    #[test]
    fn times_are_read_in_every_form_that_clients_write() {
        let expected = datetime!(1994-11-06 08:49:37 UTC);
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "1994-11-06T08:49:37Z",
            "1994-11-06T08:49:37.000Z",
            "1994-11-06T08:49:37",
            "1994-11-06T09:49:37+01:00",
            "19941106T084937Z",
            " 1994-11-06T08:49:37Z ",
        ] {
            assert_eq!(OffsetDateTime::from_text(text), Some(expected), "{text}");
        }
        assert_eq!(OffsetDateTime::from_text("1994-11-06"), Some(datetime!(1994-11-06 00:00 UTC)));
    }

    #[test]
    fn what_is_no_value_is_refused() {
        for text in [
            "",
            " ",
            "soon",
            "Sun, 06 Nov 1994 08:49 GMT",
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "1994-13-01",
            "5",
        ] {
            assert_eq!(OffsetDateTime::from_text(text), None, "{text}");
        }
        for text in ["", "yes", "2", "truee"] {
            assert_eq!(bool::from_text(text), None, "{text}");
        }
        for text in ["", "a", "1.5", "2147483648", "0x1"] {
            assert_eq!(i32::from_text(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_date_survives_its_own_spelling(seconds in 0i64..4_102_444_800) {
            let at = OffsetDateTime::from_unix_timestamp(seconds).unwrap();
            prop_assert_eq!(OffsetDateTime::from_text(&http_date(at)), Some(at));
        }

        #[test]
        fn no_text_makes_a_reader_fall(text in any::<String>()) {
            let _ = OffsetDateTime::from_text(&text);
            let _ = http(&text);
        }
    }
}
