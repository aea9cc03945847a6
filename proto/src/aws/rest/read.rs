//! Reads an XML body: strict about its form, patient about what it does not know.
//!
//! A body is one document of UTF-8 text, without DTD, of bounded depth and length of lists; its elements
//! are known by their local names, in any namespace or none, and unknown ones are passed over. There is
//! no tree: each type reads its own children off the reader (quick-xml), which is made for it by
//! `cargo xtask codegen`. Whatever is wrong is `MalformedXml`, as S3 has one code for it.

use super::{FromText, RestFault};
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// Deeper than any document of S3's.
const DEPTH_MAX: usize = 24;

/// As many as the longest list of S3's has: the parts of an upload.
const ITEMS_MAX: usize = 10_000;

/// Many, for documents whose elements have one or two; to compare them all must stay cheap.
const ATTRIBUTES_MAX: usize = 16;

type Read<T> = Result<T, RestFault>;

/// What can be read from an element. The reader stands behind its start, and is left behind its end.
pub trait ReadXml: Sized {
    fn read(xml: &mut XmlReader<'_>, element: &Element<'_>) -> Read<Self>;
}

/// The start of an element.
pub struct Element<'a>(BytesStart<'a>);

pub struct XmlReader<'a> {
    reader: Reader<&'a [u8]>,
    depth: usize,
}

/// The whole of a body, whose root element has that name.
pub fn document<T: ReadXml>(body: &[u8], root: &str) -> Read<T> {
    optional_document(body, root)?.ok_or(RestFault::MissingBody)
}

/// As [`document`], or nothing if there is no body.
pub fn optional_document<T: ReadXml>(body: &[u8], root: &str) -> Read<Option<T>> {
    let text = checked_text(body)?;
    if text.trim_ascii().is_empty() {
        return Ok(None);
    }
    let mut xml = XmlReader::new(text);
    let element = xml.root()?;
    if element.name() != root {
        return Err(RestFault::MalformedXml("another root element is expected"));
    }
    let value = T::read(&mut xml, &element)?;
    xml.end()?;
    Ok(Some(value))
}

/// A body that is text, as it stands.
pub fn text(body: &[u8]) -> Read<String> {
    let text = std::str::from_utf8(body).map_err(|_| RestFault::invalid("body", "(not UTF-8)"))?;
    if text.is_empty() { Err(RestFault::MissingBody) } else { Ok(text.to_string()) }
}

/// XML is text, and has no control characters but these three.
fn checked_text(body: &[u8]) -> Read<&str> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let text = std::str::from_utf8(body).map_err(|_| RestFault::MalformedXml("it is not UTF-8"))?;
    let forbidden = |byte: u8| byte < b' ' && !matches!(byte, b'\t' | b'\n' | b'\r');
    match text.bytes().any(forbidden) || text.contains(['\u{FFFE}', '\u{FFFF}']) {
        true => Err(RestFault::MalformedXml("it has a character that XML forbids")),
        false => Ok(text),
    }
}

impl<'a> XmlReader<'a> {
    fn new(text: &'a str) -> Self {
        let mut reader = Reader::from_str(text);
        let config = reader.config_mut();
        config.expand_empty_elements = true;
        config.check_comments = true;
        Self { reader, depth: 0 }
    }

    fn event(&mut self) -> Read<Event<'a>> {
        let event = self.reader.read_event().map_err(|_| RestFault::MalformedXml("its markup is broken"))?;
        match &event {
            Event::Start(start) => {
                self.depth += 1;
                if self.depth > DEPTH_MAX {
                    return Err(RestFault::MalformedXml("it is too deep"));
                }
                checked_start(start)?;
            }
            Event::End(_) => self.depth = self.depth.saturating_sub(1),
            Event::Text(text) if text.contains("]]>") => {
                return Err(RestFault::MalformedXml("its text has a stray end of CDATA"));
            }
            Event::DocType(_) => return Err(RestFault::MalformedXml("it has a DTD")),
            _ => {}
        }
        Ok(event)
    }

    fn root(&mut self) -> Read<Element<'a>> {
        let mut first = true;
        loop {
            match self.event()? {
                Event::Start(start) => return Ok(Element(start)),
                Event::Decl(decl) if first => checked_encoding(decl.encoding())?,
                event => between(&event)?,
            }
            first = false;
        }
    }

    /// Nothing may follow the root element.
    fn end(&mut self) -> Read<()> {
        loop {
            match self.event()? {
                Event::Eof => return Ok(()),
                Event::Start(_) => return Err(RestFault::MalformedXml("it has two root elements")),
                event => between(&event)?,
            }
        }
    }

    /// The next child of the element that is being read; nothing at its end.
    pub fn child(&mut self) -> Read<Option<Element<'a>>> {
        loop {
            match self.event()? {
                Event::Start(start) => return Ok(Some(Element(start))),
                Event::End(_) => return Ok(None),
                event => between(&event)?,
            }
        }
    }

    /// The text of the element that is being read, which has no children.
    pub fn text(&mut self) -> Read<String> {
        let mut out = String::new();
        loop {
            match self.event()? {
                Event::Text(text) => out.push_str(&text.xml10_content()),
                Event::CData(text) => out.push_str(&text.xml10_content()),
                Event::GeneralRef(entity) => out.push(referred(&entity)?),
                Event::End(_) => return Ok(out),
                Event::Comment(_) | Event::PI(_) => {}
                Event::Eof => return Err(RestFault::MalformedXml("it ends early")),
                _ => return Err(RestFault::MalformedXml("an element is where text is expected")),
            }
        }
    }

    /// Passes over an element that is not known.
    pub fn skip(&mut self) -> Read<()> {
        let outside = self.depth.saturating_sub(1);
        while self.depth > outside {
            match self.event()? {
                Event::Eof => return Err(RestFault::MalformedXml("it ends early")),
                Event::GeneralRef(entity) => _ = referred(&entity)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// A child that may be there once.
    pub fn once<T: ReadXml>(&mut self, child: &Element<'_>, into: &mut Option<T>) -> Read<()> {
        if into.is_some() {
            return Err(RestFault::MalformedXml("an element is there twice"));
        }
        *into = Some(T::read(self, child)?);
        Ok(())
    }

    /// As [`XmlReader::once`], for text out of a closed list.
    pub fn once_of(&mut self, into: &mut Option<String>, choices: &[&str]) -> Read<()> {
        if into.is_some() {
            return Err(RestFault::MalformedXml("an element is there twice"));
        }
        *into = Some(self.chosen(choices)?);
        Ok(())
    }

    /// A child that is an item of a list without an element of its own.
    pub fn push<T: ReadXml>(&mut self, child: &Element<'_>, into: &mut Vec<T>) -> Read<()> {
        room(into)?;
        into.push(T::read(self, child)?);
        Ok(())
    }

    pub fn push_of(&mut self, into: &mut Vec<String>, choices: &[&str]) -> Read<()> {
        room(into)?;
        into.push(self.chosen(choices)?);
        Ok(())
    }

    /// A child that is a list, of elements of that name.
    pub fn list<T: ReadXml>(&mut self, item: &str, into: &mut Option<Vec<T>>) -> Read<()> {
        if into.is_some() {
            return Err(RestFault::MalformedXml("a list is there twice"));
        }
        let mut items = Vec::new();
        while let Some(child) = self.child()? {
            if child.name() == item { self.push(&child, &mut items)? } else { self.skip()? }
        }
        *into = Some(items);
        Ok(())
    }

    fn chosen(&mut self, choices: &[&str]) -> Read<String> {
        let text = self.text()?;
        match choices.contains(&text.as_str()) {
            true => Ok(text),
            false => Err(RestFault::MalformedXml("a value is not one of those that are defined")),
        }
    }
}

impl Element<'_> {
    /// The name without a prefix.
    pub fn name(&self) -> &str {
        local(self.0.name().0)
    }

    /// The attribute of that local name, out of a closed list.
    pub fn attribute_of(&self, name: &str, choices: &[&str]) -> Read<String> {
        let attributes = self.0.attributes().flatten();
        let value = attributes
            .filter(|attribute| local(attribute.key.0) == name)
            .find_map(|attribute| choices.iter().find(|choice| **choice == attribute.value));
        value
            .map(|choice| choice.to_string())
            .ok_or(RestFault::MalformedXml("an attribute is missing or wrong"))
    }
}

/// The end of every `read`: what the element must have.
pub fn need<T>(value: Option<T>) -> Read<T> {
    value.ok_or(RestFault::MalformedXml("an element is missing"))
}

pub fn need_some<T>(items: Vec<T>) -> Read<Vec<T>> {
    if items.is_empty() { Err(RestFault::MalformedXml("an element is missing")) } else { Ok(items) }
}

impl<T: FromText> ReadXml for T {
    fn read(xml: &mut XmlReader<'_>, _element: &Element<'_>) -> Read<Self> {
        let text = xml.text()?;
        T::from_text(&text).ok_or(RestFault::MalformedXml("a value is not of its type"))
    }
}

fn room<T>(items: &[T]) -> Read<()> {
    if items.len() < ITEMS_MAX { Ok(()) } else { Err(RestFault::MalformedXml("a list is too long")) }
}

/// What may stand between elements.
fn between(event: &Event<'_>) -> Read<()> {
    match event {
        Event::Comment(_) | Event::PI(_) => Ok(()),
        Event::Text(text) if text.bytes().all(|byte| byte.is_ascii_whitespace()) => Ok(()),
        Event::Eof => Err(RestFault::MalformedXml("it ends early")),
        _ => Err(RestFault::MalformedXml("something is where an element is expected")),
    }
}

/// Characters that XML 1.0 forbids are taken when they are written as references, since S3 writes keys
/// that have them so; only the null character is not.
fn referred(entity: &quick_xml::events::BytesRef<'_>) -> Read<char> {
    match &**entity {
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "amp" => Ok('&'),
        "quot" => Ok('"'),
        "apos" => Ok('\''),
        _ => match entity.resolve_char_ref() {
            Ok(Some(c)) => Ok(c),
            _ => Err(RestFault::MalformedXml("it refers to an unknown entity")),
        },
    }
}

/// quick-xml looks at neither names nor attributes until it is asked.
fn checked_start(start: &BytesStart<'_>) -> Read<()> {
    if !is_name(start.name().0) {
        return Err(RestFault::MalformedXml("the name of an element is broken"));
    }
    if start.attributes_raw().trim_ascii().is_empty() {
        return Ok(());
    }
    for (at, attribute) in start.attributes().enumerate() {
        if at == ATTRIBUTES_MAX {
            return Err(RestFault::MalformedXml("an element has too many attributes"));
        }
        let whole =
            attribute.is_ok_and(|attribute| is_name(attribute.key.0) && !attribute.value.contains('<'));
        if !whole {
            return Err(RestFault::MalformedXml("an attribute is broken"));
        }
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    let letter = |c: char| c.is_alphabetic() || c == '_' || c == ':';
    name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_alphanumeric() || c == '-' || c == '.')
}

fn local(name: &str) -> &str {
    name.rsplit_once(':').map_or(name, |(_, local)| local)
}

fn checked_encoding<E>(encoding: Option<Result<std::borrow::Cow<'_, str>, E>>) -> Read<()> {
    match encoding {
        None => Ok(()),
        Some(Ok(name)) if name.eq_ignore_ascii_case("utf-8") || name.eq_ignore_ascii_case("us-ascii") => {
            Ok(())
        }
        Some(_) => Err(RestFault::MalformedXml("it is in another encoding than UTF-8")),
    }
}
