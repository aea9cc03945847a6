//! Writes XML straight into one buffer: no tree, no intermediate strings.
//!
//! Escaping is done here rather than by quick-xml's writer because one pass must do two things: escape
//! what markup needs, and replace what XML 1.0 cannot carry at all (a control character in a console
//! log must not make the whole answer unreadable). quick-xml is the parser that the tests trust.

use super::Encode;
use std::fmt::Write;

const CAPACITY_BYTES: usize = 4096;

/// Stands for characters that XML 1.0 forbids, even escaped.
const REPLACEMENT: char = '\u{FFFD}';

/// Bytes of text that stand for themselves, whatever follows.
const PLAIN: [bool; 256] = {
    let (mut plain, mut byte) = ([true; 256], 0);
    while byte < 256 {
        let is_control = byte < 0x20 && byte != b'\t' as usize && byte != b'\n' as usize;
        plain[byte] = !is_control && !matches!(byte as u8, b'&' | b'<' | b'>' | b'"' | 0xEF);
        byte += 1;
    }
    plain
};

#[derive(Debug, Default)]
pub struct XmlWriter {
    out: String,
    references: bool,
}

impl XmlWriter {
    pub fn new() -> Self {
        Self { out: String::with_capacity(CAPACITY_BYTES), references: false }
    }

    /// Writes what XML forbids as a reference (`&#x1;`), as S3 does: a key must be told from another one,
    /// and a client whose parser refuses that asks for `encoding-type=url`.
    pub fn with_references() -> Self {
        Self { references: true, ..Self::new() }
    }

    pub fn finish(self) -> String {
        self.out
    }

    /// `<name>value</name>`.
    pub fn element<T: Encode + ?Sized>(&mut self, name: &str, value: &T) {
        self.out.push('<');
        self.out.push_str(name);
        value.attributes(self);
        self.out.push('>');
        value.encode(self);
        self.close(name);
    }

    /// An element, or nothing at all when there is no value.
    pub fn optional<T: Encode>(&mut self, name: &str, value: &Option<T>) {
        if let Some(value) = value {
            self.element(name, value);
        }
    }

    /// `<name><item>…</item>…</name>`; `<name/>` when empty, as EC2 writes it.
    pub fn list<T: Encode>(&mut self, name: &str, item: &str, values: &[T]) {
        if values.is_empty() {
            self.out.push('<');
            self.out.push_str(name);
            self.out.push_str("/>");
            return;
        }
        self.open(name);
        for value in values {
            self.element(item, value);
        }
        self.close(name);
    }

    /// A list without an element of its own.
    pub fn flat<T: Encode>(&mut self, item: &str, values: &[T]) {
        for value in values {
            self.element(item, value);
        }
    }

    /// As [`XmlWriter::list`], but nothing at all when empty.
    pub fn filled_list<T: Encode>(&mut self, name: &str, item: &str, values: &[T]) {
        if !values.is_empty() {
            self.list(name, item, values);
        }
    }

    /// A list in an answer that carries only what was asked for.
    pub fn sparse_list<T: Encode>(&mut self, name: &str, item: &str, values: &Option<Vec<T>>) {
        if let Some(values) = values {
            self.list(name, item, values);
        }
    }

    /// The start of a root element, in a namespace.
    pub fn open_in(&mut self, name: &str, namespace: &str) {
        self.out.push('<');
        self.out.push_str(name);
        self.attribute("xmlns", namespace);
        self.out.push('>');
    }

    /// Only within a start, from `Encode::attributes`.
    pub fn attribute(&mut self, name: &str, value: &str) {
        self.out.push(' ');
        self.out.push_str(name);
        self.out.push_str("=\"");
        self.text(value);
        self.out.push('"');
    }

    pub fn open(&mut self, name: &str) {
        self.out.push('<');
        self.out.push_str(name);
        self.out.push('>');
    }

    pub fn close(&mut self, name: &str) {
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push('>');
    }

    /// Text, escaped.
    pub fn text(&mut self, text: &str) {
        let bytes = text.as_bytes();
        let (mut plain_from, mut at) = (0, 0);
        while let Some(skipped) = bytes[at..].iter().position(|byte| !PLAIN[usize::from(*byte)]) {
            at += skipped;
            let byte = bytes[at];
            let instead = match byte {
                b'&' => "&amp;",
                b'<' => "&lt;",
                b'>' => "&gt;",
                b'"' => "&quot;",
                // A parser would turn a bare carriage return into a line feed.
                b'\r' => "&#13;",
                // Only the first byte of U+FFFE and U+FFFF (EF BF BE/BF) is looked at; the rest is plain.
                0xEF if !matches!(bytes[at..], [_, 0xBF, 0xBE | 0xBF, ..]) => {
                    at += 1;
                    continue;
                }
                _ => "",
            };
            self.out.push_str(&text[plain_from..at]);
            match instead {
                "" if self.references && byte == 0xEF => {
                    let last = bytes.get(at + 2).map_or(0, |byte| byte & 1);
                    self.out.push_str(if last == 0 { "&#xfffe;" } else { "&#xffff;" });
                }
                "" if self.references => _ = write!(self.out, "&#x{byte:x};"),
                "" => self.out.push(REPLACEMENT),
                _ => self.out.push_str(instead),
            }
            at += if byte == 0xEF { 3 } else { 1 };
            plain_from = at;
        }
        self.out.push_str(&text[plain_from..]);
    }

    /// Text that is known to need no escaping, or a fragment that an `XmlWriter` wrote before.
    pub fn raw(&mut self, fragment: &str) {
        self.out.push_str(fragment);
    }

    pub(crate) fn buffer(&mut self) -> &mut String {
        &mut self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text_read_back(text: &str) -> String {
        let mut xml = XmlWriter::new();
        xml.element("t", text);
        let written = xml.finish();
        let mut reader = quick_xml::Reader::from_str(&written);
        let mut out = String::new();
        loop {
            match reader.read_event().unwrap() {
                quick_xml::events::Event::Text(part) => out.push_str(&part),
                quick_xml::events::Event::GeneralRef(part) => {
                    let entity = format!("&{};", &*part);
                    out.push_str(&quick_xml::escape::unescape(&entity).unwrap());
                }
                quick_xml::events::Event::Eof => return out,
                _ => {}
            }
        }
    }

    #[test]
    fn what_xml_cannot_carry_is_replaced_and_the_rest_kept() {
        assert_eq!(
            text_read_back("a\u{0}b\u{1b}[31m\u{FFFE}\u{FFFF}ï·\u{FEFF}"),
            "a\u{FFFD}b\u{FFFD}[31m\u{FFFD}\u{FFFD}ï·\u{FEFF}"
        );
        assert_eq!(text_read_back("a\r\n\t<&>\"'é𝄞"), "a\r\n\t<&>\"'é𝄞");
    }

    #[test]
    fn an_absent_value_is_absent_and_an_empty_list_is_an_empty_element() {
        let mut xml = XmlWriter::new();
        xml.optional("gone", &None::<String>);
        xml.list("tagSet", "item", &Vec::<String>::new());
        xml.list("set", "item", &["a".to_string()]);
        assert_eq!(xml.finish(), "<tagSet/><set><item>a</item></set>");
    }

    #[test]
    fn what_xml_cannot_carry_is_a_reference_where_it_must_be_told_apart() {
        let mut xml = XmlWriter::with_references();
        xml.text("a\u{0}\u{1f}\u{FFFE}b\u{FFFF}\r<ï·");
        assert_eq!(xml.finish(), "a&#x0;&#x1f;&#xfffe;b&#xffff;&#13;&lt;ï·");
    }

    proptest! {
        #[test]
        fn any_text_is_well_formed_and_survives(text in any::<String>()) {
            let allowed = |c: char| c >= ' ' && c != '\u{FFFE}' && c != '\u{FFFF}' || matches!(c, '\t' | '\n' | '\r');
            let expected: String = text.chars().map(|c| if allowed(c) { c } else { REPLACEMENT }).collect();
            prop_assert_eq!(text_read_back(&text), expected);
        }
    }
}
