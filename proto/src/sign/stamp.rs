//! The date forms that signatures use.
//!
//! Must not: read the clock.

use time::format_description::well_known::{Rfc2822, Rfc3339};
use time::macros::format_description;
use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time};

/// `20150830T123600Z`, exactly: ISO 8601's basic form, the only one that Version 4 signs.
pub(super) fn parse_basic(text: &str) -> Option<OffsetDateTime> {
    let bytes = text.as_bytes();
    if bytes.len() != 16 || bytes[8] != b'T' || bytes[15] != b'Z' {
        return None;
    }
    let date = Date::from_calendar_date(
        digits(&bytes[0..4])?.into(),
        Month::try_from(u8::try_from(digits(&bytes[4..6])?).ok()?).ok()?,
        u8::try_from(digits(&bytes[6..8])?).ok()?,
    );
    let part = |at: usize| u8::try_from(digits(&bytes[at..at + 2])?).ok();
    let time = Time::from_hms(part(9)?, part(11)?, part(13)?);
    Some(PrimitiveDateTime::new(date.ok()?, time.ok()?).assume_utc())
}

fn digits(bytes: &[u8]) -> Option<u16> {
    bytes.iter().try_fold(0u16, |sum, b| Some(sum * 10 + u16::try_from(char::from(*b).to_digit(10)?).ok()?))
}

/// A `Date` header: basic ISO 8601 or the HTTP form (`Mon, 09 Sep 2011 23:36:00 GMT`). The day of the week
/// says nothing that the date does not, so a wrong one is let pass.
pub(super) fn parse_http(text: &str) -> Option<OffsetDateTime> {
    let without_weekday = || text.split_once(", ").map_or(text, |(_, rest)| rest);
    parse_basic(text).or_else(|| OffsetDateTime::parse(without_weekday(), &Rfc2822).ok())
}

/// Version 2's `2011-10-03T15:19:30`, with or without fraction and zone; no zone means UTC.
pub(super) fn parse_extended(text: &str) -> Option<OffsetDateTime> {
    let parse = |t: &str| OffsetDateTime::parse(t, &Rfc3339).ok();
    parse(text).or_else(|| parse(&format!("{text}Z")))
}

/// `20150830T123600Z`
pub fn basic(at: OffsetDateTime) -> String {
    let form = format_description!("[year][month][day]T[hour][minute][second]Z");
    at.to_offset(time::UtcOffset::UTC).format(&form).unwrap_or_default()
}

/// `2015-08-30T12:36:00Z`
pub fn extended(at: OffsetDateTime) -> String {
    let form = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    at.to_offset(time::UtcOffset::UTC).format(&form).unwrap_or_default()
}

/// `Tue, 27 Mar 2007 19:36:42 GMT`
pub(super) fn http_date(at: OffsetDateTime) -> String {
    let form = format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    at.to_offset(time::UtcOffset::UTC).format(&form).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn basic_form_is_read_and_written() {
        let at = datetime!(2015-08-30 12:36:00 UTC);
        assert_eq!(parse_basic("20150830T123600Z"), Some(at));
        assert_eq!(basic(at), "20150830T123600Z");
        for bad in
            ["", "20150830", "20150230T000000Z", "2015083OT123600Z", "20150830T246000Z", "é0150830T12360Z"]
        {
            assert_eq!(parse_basic(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_other_forms() {
        let at = datetime!(2011-10-03 15:19:30 UTC);
        for text in [
            "2011-10-03T15:19:30",
            "2011-10-03T15:19:30Z",
            "2011-10-03T15:19:30.000Z",
            "2011-10-03T17:19:30+02:00",
        ] {
            assert_eq!(parse_extended(text), Some(at), "{text}");
        }
        for text in
            ["Mon, 03 Oct 2011 15:19:30 GMT", "Fri, 03 Oct 2011 17:19:30 +0200", "3 Oct 2011 15:19:30 GMT"]
        {
            assert_eq!(parse_http(text), Some(at), "{text}");
        }
        for bad in ["", "Bad Date", "Mon, ", "Mon, 31 Feb 2011 15:19:30 GMT"] {
            assert_eq!(parse_http(bad), None, "{bad}");
        }
        assert_eq!(http_date(at), "Mon, 03 Oct 2011 15:19:30 GMT");
        assert_eq!(extended(at), "2011-10-03T15:19:30Z");
    }
}
