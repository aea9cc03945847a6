//! The restXml wire, which S3 speaks: a request is a method, a path, a query, headers and a body.
//!
//! `s3::generated` holds the types, written by `cargo xtask codegen`; the modules here are the runtime
//! that they call. It knows where a member travels and how a value is spelled. It does not know S3's
//! words for what is wrong (`s3::fault`), nor which request is which operation (`s3::router`), and must
//! not panic on anything that a client sends.

pub mod fault;
pub mod head;
pub mod metadata;
pub mod query;
pub mod read;
pub mod request;
pub mod scalar;

pub use fault::RestFault;
pub use head::Head;
pub use metadata::Metadata;
pub use query::Query;
pub use read::{ReadXml, XmlReader};
pub use request::{RestRequest, Take};
pub use scalar::FromText;

use super::XmlWriter;
use http::HeaderMap;

/// What stands before the root element of an answer. An answer that must show signs of life while it
/// is being made sends this first, then white space, then [`RestOutput::root`].
pub const PROLOGUE: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

/// What the body of a request or an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyKind {
    None,
    /// A document: decoded into, or encoded from, the members of the structure.
    Xml,
    /// Text that is one member of the structure as it stands (a bucket's policy).
    Text,
    /// Bytes that never become a member: they travel beside the structure.
    Stream,
}

/// An operation: its request type names it, and what answers it.
pub trait RestAction: Sized + Send + Sync + 'static {
    const NAME: &'static str;
    /// Of an answer that is a success, unless the answer itself says another (`RestOutput::status`).
    const STATUS: u16;
    const REQUEST_BODY: BodyKind;
    const ANSWER_BODY: BodyKind;
    /// More of a body is not worth reading.
    const BODY_BYTES_MAX: usize = 0;
    type Output: RestOutput;

    /// `body` is the whole body where `REQUEST_BODY` is `Xml` or `Text`, and is not looked at otherwise.
    fn decode(request: &RestRequest<'_>, body: &[u8]) -> Result<Self, RestFault>;
}

/// An answer: a status, headers, and a body unless that is a stream.
pub trait RestOutput: Send + Sync + 'static {
    fn status(&self, usual: u16) -> u16 {
        usual
    }

    fn head(&self, _head: &mut Head<'_>) {}

    /// The root element of an XML answer with all that is in it, without [`PROLOGUE`].
    fn root(&self, _xml: &mut XmlWriter) {}

    /// The body of an answer that is text.
    fn text(&self) -> &str {
        ""
    }
}

/// The answer of an operation that has nothing to say but that it was done.
impl RestOutput for () {}

/// An answer without its stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

/// An answer as it travels. `Content-Type` is set where the body is made here.
pub fn answer<A: RestAction>(output: &A::Output) -> Answer {
    let mut headers = HeaderMap::with_capacity(HEADERS_USUAL);
    output.head(&mut Head::new(&mut headers));
    let body = match A::ANSWER_BODY {
        BodyKind::None | BodyKind::Stream => String::new(),
        BodyKind::Text => {
            headers.insert(http::header::CONTENT_TYPE, head::JSON);
            output.text().to_string()
        }
        BodyKind::Xml => {
            headers.insert(http::header::CONTENT_TYPE, head::XML);
            let mut xml = XmlWriter::with_references();
            xml.raw(PROLOGUE);
            output.root(&mut xml);
            xml.finish()
        }
    };
    Answer { status: output.status(A::STATUS), headers, body }
}

/// Room for what an object's answer has, with what the edge adds.
const HEADERS_USUAL: usize = 24;

#[cfg(test)]
mod tests;
