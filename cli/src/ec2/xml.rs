//! EC2's XML answers as a tree of names and texts: enough for a client that reads a few fields.

use anyhow::{Context, bail};
use quick_xml::Reader;
use quick_xml::events::Event;

/// Our own server's answers are shallow; anything deeper is not one.
const DEPTH_MAX: usize = 32;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Element {
    pub name: String,
    pub content: String,
    pub children: Vec<Element>,
}

impl Element {
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let mut reader = Reader::from_str(text);
        let mut open: Vec<Element> = vec![Element::default()];
        loop {
            match reader.read_event()? {
                Event::Start(tag) => {
                    if open.len() > DEPTH_MAX {
                        bail!("the XML is nested too deeply");
                    }
                    open.push(Element::named(tag.local_name().as_ref()));
                }
                Event::Empty(tag) => {
                    let element = Element::named(tag.local_name().as_ref());
                    top(&mut open)?.children.push(element);
                }
                Event::End(_) => {
                    let done = open.pop().context("an end tag too many")?;
                    top(&mut open)?.children.push(done);
                }
                Event::Text(text) => top(&mut open)?.content.push_str(&text),
                Event::GeneralRef(reference) => {
                    let resolved = match reference.resolve_char_ref()? {
                        Some(character) => character.to_string(),
                        None => named_entity(&reference)?.to_owned(),
                    };
                    top(&mut open)?.content.push_str(&resolved);
                }
                Event::CData(text) => top(&mut open)?.content.push_str(&text),
                Event::Eof => break,
                _ => {}
            }
        }
        let root = open.pop().filter(|_| open.is_empty()).context("an element is not closed")?;
        root.children.into_iter().next().context("there is no element")
    }

    fn named(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    pub fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.name == name)
    }

    pub fn at(&self, path: &[&str]) -> Option<&Element> {
        path.iter().try_fold(self, |element, name| element.child(name))
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.child(name).map(|child| child.content.as_str())
    }

    /// The `<item>`s of a set.
    pub fn items(&self, set: &str) -> impl Iterator<Item = &Element> {
        self.child(set).into_iter().flat_map(|set| set.children.iter().filter(|child| child.name == "item"))
    }
}

fn top(open: &mut [Element]) -> anyhow::Result<&mut Element> {
    open.last_mut().context("an end tag too many")
}

fn named_entity(name: &str) -> anyhow::Result<&'static str> {
    Ok(match name {
        "lt" => "<",
        "gt" => ">",
        "amp" => "&",
        "apos" => "'",
        "quot" => "\"",
        _ => bail!("unknown entity &{name};"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_becomes_a_tree() {
        let text = r#"<?xml version="1.0"?><R xmlns="x"><requestId>r-1</requestId><imagesSet><item>
            <name>a &amp; &#98;</name></item><item/></imagesSet></R>"#;
        let answer = Element::parse(text).unwrap();
        assert_eq!((answer.name.as_str(), answer.text("requestId")), ("R", Some("r-1")));
        let names: Vec<_> = answer.items("imagesSet").map(|item| item.text("name")).collect();
        assert_eq!(names, [Some("a & b"), None]);
        assert_eq!(answer.items("absent").count(), 0);
    }

    #[test]
    fn what_is_not_an_answer_is_an_error() {
        let deep = "<a>".repeat(100) + &"</a>".repeat(100);
        for text in ["", "no", "<a>", "<a></b>", "</a>", "<a>&bomb;</a>", &deep] {
            assert!(Element::parse(text).is_err(), "{text}");
        }
    }
}
