//! What can be wrong with the form of a REST request. The words for it are the service's.

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestFault {
    /// Not XML, or not the document that the operation takes. The reason is for logs.
    #[error("malformed XML: {0}")]
    MalformedXml(&'static str),
    #[error("the body is empty")]
    MissingBody,
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A header or parameter whose value is not of its type.
    #[error("{name} cannot be {value:?}")]
    Invalid { name: &'static str, value: String },
    /// The path or the query is no text.
    #[error("the URI is not valid UTF-8")]
    Uri,
    #[error("the query has too many parameters")]
    TooManyParameters,
}

impl RestFault {
    pub fn invalid(name: &'static str, value: &str) -> Self {
        Self::Invalid { name, value: value.to_string() }
    }
}
