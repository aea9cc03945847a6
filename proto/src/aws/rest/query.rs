//! The parameters of a query string, decoded once, looked up many times.
//!
//! A request has a handful, so they stay a list: looking through it is faster than making a map.

use super::RestFault;
use crate::sign::decode_component;
use std::borrow::Cow;

/// More than any request needs; the rest would only make look-ups slow.
const PARAMETERS_MAX: usize = 256;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query<'a> {
    pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Query<'a> {
    /// `raw` is what follows `?`, still encoded. A name without `=` has an empty value.
    pub fn parse(raw: &'a str) -> Result<Self, RestFault> {
        let parts = raw.split('&').filter(|part| !part.is_empty());
        let mut pairs = Vec::new();
        for part in parts {
            if pairs.len() == PARAMETERS_MAX {
                return Err(RestFault::TooManyParameters);
            }
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            pairs.push((decode(name)?, decode(value)?));
        }
        Ok(Self { pairs })
    }

    /// The first value of that name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_ref())
    }

    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.pairs.iter().map(|(name, _)| name.as_ref())
    }

    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (name.as_ref(), value.as_ref()))
    }
}

fn decode(raw: &str) -> Result<Cow<'_, str>, RestFault> {
    if !raw.bytes().any(|byte| byte == b'%' || byte == b'+') {
        return Ok(Cow::Borrowed(raw));
    }
    let text = String::from_utf8(decode_component(raw.as_bytes())).map_err(|_| RestFault::Uri)?;
    Ok(Cow::Owned(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_the_first_of_a_name_counts() {
        let query = Query::parse("acl&prefix=a%2Fb+c&prefix=z&empty=&%3D=%26&&x=1=2").unwrap();
        for (name, value) in [("acl", ""), ("prefix", "a/b c"), ("empty", ""), ("=", "&"), ("x", "1=2")] {
            assert_eq!(query.get(name), Some(value), "{name}");
        }
        assert!(!query.has("a"));
        assert_eq!(query.names().count(), 6);
    }

    #[test]
    fn what_is_no_text_and_what_is_too_much_is_refused() {
        assert_eq!(Query::parse("a=%ff").unwrap_err(), RestFault::Uri);
        assert_eq!(Query::parse("%c3=a").unwrap_err(), RestFault::Uri);
        let many = "a=1&".repeat(PARAMETERS_MAX);
        assert!(Query::parse(&many).is_ok());
        assert_eq!(Query::parse(&(many + "b=2")).unwrap_err(), RestFault::TooManyParameters);
    }
}
