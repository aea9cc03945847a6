//! How single values travel: text in a form, text in an element.
//!
//! Strict on what comes in (a wrong type is a fault that names the parameter), EC2's own spelling
//! on what goes out.

use super::{Params, WireFault, XmlWriter};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt::Write;
use std::str::FromStr;
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, Time, UtcOffset};

/// What can be read from a request. Structures read their members, scalars the node's own value.
pub trait Decode: Sized {
    fn decode(params: &mut Params) -> Result<Self, WireFault>;
}

/// What can be written inside an element of an answer.
pub trait Encode {
    fn encode(&self, xml: &mut XmlWriter);

    /// What stands in the start of the element, behind its name.
    fn attributes(&self, _xml: &mut XmlWriter) {}
}

/// The answer of an EC2 action that has nothing to say but that it was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Done;

impl Encode for Done {
    fn encode(&self, xml: &mut XmlWriter) {
        xml.element("return", &true);
    }
}

/// What an `XmlWriter` wrote before, to be sent again without encoding it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment<'a>(pub &'a str);

impl Encode for Fragment<'_> {
    fn encode(&self, xml: &mut XmlWriter) {
        xml.raw(self.0);
    }
}

impl Decode for String {
    fn decode(params: &mut Params) -> Result<Self, WireFault> {
        let text = params.take_value()?;
        // PostgreSQL cannot store it, XML cannot carry it, and no AWS value has it.
        match text.contains('\0') {
            false => Ok(text),
            true => Err(WireFault::invalid(
                params.path(),
                &text.replace('\0', "\\0"),
                "It contains a null character.",
            )),
        }
    }
}

impl Decode for bool {
    fn decode(params: &mut Params) -> Result<Self, WireFault> {
        let text = params.take_value()?;
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(WireFault::invalid(params.path(), &text, "Expecting true or false.")),
        }
    }
}

impl Decode for i32 {
    fn decode(params: &mut Params) -> Result<Self, WireFault> {
        parse(params, "Expecting an integer.")
    }
}

impl Decode for i64 {
    fn decode(params: &mut Params) -> Result<Self, WireFault> {
        parse(params, "Expecting an integer.")
    }
}

impl Decode for f64 {
    fn decode(params: &mut Params) -> Result<Self, WireFault> {
        let number: f64 = parse(params, "Expecting a number.")?;
        match number.is_finite() {
            true => Ok(number),
            false => Err(WireFault::invalid(params.path(), &number.to_string(), "Expecting a number.")),
        }
    }
}

impl Decode for OffsetDateTime {
    fn decode(params: &mut Params) -> Result<Self, WireFault> {
        let text = params.take_value()?;
        let fault =
            || WireFault::invalid(params.path(), &text, "Expecting a time such as 2026-01-02T03:04:05Z.");
        let parsed = Self::parse(&text, &Rfc3339)
            // Some old clients leave the zone out; EC2 has always meant UTC.
            .or_else(|_| Self::parse(&format!("{text}Z"), &Rfc3339))
            .map_err(|_| fault())?;
        parsed.checked_to_offset(UtcOffset::UTC).ok_or_else(fault)
    }
}

/// A blob: base64 on the wire.
impl Decode for Vec<u8> {
    fn decode(params: &mut Params) -> Result<Self, WireFault> {
        let mut text = params.take_value()?;
        // Old clients wrap their base64 into lines.
        text.retain(|c| !c.is_ascii_whitespace());
        STANDARD.decode(&text).map_err(|_| WireFault::invalid(params.path(), &text, "Expecting base64."))
    }
}

fn parse<T: FromStr>(params: &mut Params, expecting: &str) -> Result<T, WireFault> {
    let text = params.take_value()?;
    text.parse().map_err(|_| WireFault::invalid(params.path(), &text, expecting))
}

impl Encode for String {
    fn encode(&self, xml: &mut XmlWriter) {
        xml.text(self);
    }
}

impl Encode for str {
    fn encode(&self, xml: &mut XmlWriter) {
        xml.text(self);
    }
}

impl Encode for bool {
    fn encode(&self, xml: &mut XmlWriter) {
        xml.raw(if *self { "true" } else { "false" });
    }
}

impl Encode for i32 {
    fn encode(&self, xml: &mut XmlWriter) {
        let _ = write!(xml.buffer(), "{self}");
    }
}

impl Encode for i64 {
    fn encode(&self, xml: &mut XmlWriter) {
        let _ = write!(xml.buffer(), "{self}");
    }
}

impl Encode for f64 {
    fn encode(&self, xml: &mut XmlWriter) {
        // `{:?}` keeps the `.0` that EC2 writes for whole numbers.
        let _ = write!(xml.buffer(), "{self:?}");
    }
}

impl Encode for OffsetDateTime {
    fn encode(&self, xml: &mut XmlWriter) {
        let at = self.checked_to_offset(UtcOffset::UTC).unwrap_or(*self);
        let (date, time, out) = (at.date(), at.time(), xml.buffer());
        push_number(out, date.year().unsigned_abs(), 4);
        out.push('-');
        push_number(out, u8::from(date.month()).into(), 2);
        out.push('-');
        push_number(out, date.day().into(), 2);
        out.push('T');
        push_clock(out, time);
        out.push('.');
        push_number(out, time.millisecond().into(), 3);
        out.push('Z');
    }
}

/// A number with leading zeros. The formatter of the standard library is slow where a listing has a
/// thousand times.
pub(super) fn push_number(out: &mut String, number: u32, digits: u32) {
    for place in (0..digits).rev() {
        let digit = number / 10u32.pow(place) % 10;
        out.push(char::from_digit(digit, 10).unwrap_or('0'));
    }
}

/// `08:49:37`.
pub(super) fn push_clock(out: &mut String, time: Time) {
    push_number(out, time.hour().into(), 2);
    out.push(':');
    push_number(out, time.minute().into(), 2);
    out.push(':');
    push_number(out, time.second().into(), 2);
}

/// A blob: base64 on the wire.
impl Encode for Vec<u8> {
    fn encode(&self, xml: &mut XmlWriter) {
        STANDARD.encode_string(self, xml.buffer());
    }
}
