//! A website's rules: what its configuration may say, which object a path means, where a rule sends a reader.
//!
//! Must not: know whether objects are there, or who may read them.

use karri_proto::aws::s3::{Redirect, RoutingRule, S3Code, S3Fault, WebsiteConfiguration};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

const RULES_MAX: usize = 50;
const MOVED: u16 = 301;
/// What must not stand as it is in a header's URL.
const PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'`')
    .add(b'{')
    .add(b'}')
    .add(b'%');

fn invalid(text: impl Into<std::borrow::Cow<'static, str>>) -> S3Fault {
    S3Fault::saying(S3Code::InvalidArgument, text)
}

/// # Errors
/// `InvalidArgument`
pub fn check(asked: &WebsiteConfiguration) -> Result<(), S3Fault> {
    let more =
        asked.index_document.is_some() || asked.error_document.is_some() || !asked.routing_rules.is_empty();
    match (&asked.redirect_all_requests_to, &asked.index_document) {
        (Some(_), _) if more => {
            return Err(invalid(
                "RedirectAllRequestsTo cannot be provided in conjunction with other Routing Rules.",
            ));
        }
        (Some(to), _) => check_host(&to.host_name)?,
        (None, None) => {
            return Err(invalid(
                "A value for IndexDocument Suffix must be provided if RedirectAllRequestsTo is empty",
            ));
        }
        (None, Some(index)) if index.suffix.is_empty() || index.suffix.contains('/') => {
            return Err(invalid("The IndexDocument Suffix is not well formed"));
        }
        (None, Some(_)) => {}
    }
    if asked.error_document.as_ref().is_some_and(|document| document.key.is_empty()) {
        return Err(invalid("The ErrorDocument Key is not well formed"));
    }
    if asked.routing_rules.len() > RULES_MAX {
        return Err(invalid(format!(
            "{} routing rules provided, the number of routing rules in a website configuration is limited to \
             {RULES_MAX}.",
            asked.routing_rules.len()
        )));
    }
    asked.routing_rules.iter().try_for_each(check_rule)
}

/// Nothing that ends a header's URL's host.
fn check_host(host: &str) -> Result<(), S3Fault> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    if host.is_empty() || !host.bytes().all(plain) {
        return Err(S3Fault::invalid_argument("HostName", host, "The HostName is not well formed"));
    }
    Ok(())
}

fn check_rule(rule: &RoutingRule) -> Result<(), S3Fault> {
    let to = &rule.redirect;
    if let Some(condition) = &rule.condition {
        if condition.http_error_code_returned_equals.is_none() && condition.key_prefix_equals.is_none() {
            let text = "Condition cannot be empty. To redirect all requests without a condition, the condition \
                        element shouldn't be present.";
            return Err(invalid(text));
        }
        if let Some(code) = &condition.http_error_code_returned_equals
            && !code.parse::<u16>().is_ok_and(|code| (400..600).contains(&code))
        {
            let text =
                format!("The provided HTTP error code ({code}) is not valid. Valid codes are 4XX or 5XX.");
            return Err(invalid(text));
        }
    }
    if to.replace_key_with.is_some() && to.replace_key_prefix_with.is_some() {
        return Err(invalid("You can only define ReplaceKeyPrefix or ReplaceKey but not both."));
    }
    let says_nothing = to.host_name.is_none()
        && to.protocol.is_none()
        && to.http_redirect_code.is_none()
        && to.replace_key_with.is_none()
        && to.replace_key_prefix_with.is_none();
    if says_nothing {
        return Err(S3Fault::new(S3Code::MalformedXml));
    }
    if let Some(host) = &to.host_name {
        check_host(host)?;
    }
    if let Some(code) = &to.http_redirect_code
        && !code.parse::<u16>().is_ok_and(|code| (301..400).contains(&code))
    {
        let text =
            format!("The provided HTTP redirect code ({code}) is not valid. Valid codes are 3XX except 300.");
        return Err(invalid(text));
    }
    Ok(())
}

/// The object that a path means.
pub fn document(asked: &WebsiteConfiguration, key: &str) -> String {
    let suffix = asked.index_document.as_ref().map_or("", |index| index.suffix.as_str());
    if key.is_empty() || key.ends_with('/') { format!("{key}{suffix}") } else { key.to_owned() }
}

/// The index that a path without a slash at its end may stand for.
pub fn index_below(asked: &WebsiteConfiguration, key: &str) -> Option<String> {
    let index = asked.index_document.as_ref()?;
    (!key.is_empty() && !key.ends_with('/')).then(|| format!("{key}/{}", index.suffix))
}

/// Where a reader is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub status: u16,
    pub location: String,
}

/// How the request came: what a redirect does not say stays so.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    pub host: &'a str,
    pub key: &'a str,
    /// As on the request line, with its question mark.
    pub query: &'a str,
}

pub fn redirect_all(configuration: &WebsiteConfiguration, asked: Asked<'_>) -> Option<Target> {
    let to = configuration.redirect_all_requests_to.as_ref()?;
    let protocol = to.protocol.as_deref().unwrap_or("http");
    let location = format!("{protocol}://{}/{}{}", to.host_name, encoded(asked.key), asked.query);
    Some(Target { status: MOVED, location })
}

/// What the first rule says that is meant; `error` is the status that the request would be answered with.
pub fn routed(rules: &[RoutingRule], asked: Asked<'_>, error: Option<u16>) -> Option<Target> {
    let rule = rules.iter().find(|rule| is_meant(rule, asked.key, error))?;
    let prefix = rule.condition.as_ref().and_then(|condition| condition.key_prefix_equals.as_deref());
    Some(target(&rule.redirect, prefix.unwrap_or_default(), asked))
}

fn is_meant(rule: &RoutingRule, key: &str, error: Option<u16>) -> bool {
    let Some(condition) = &rule.condition else { return error.is_none() };
    let wanted = condition.http_error_code_returned_equals.as_deref();
    let by_error = match (wanted, error) {
        (None, None) => true,
        (Some(wanted), Some(error)) => wanted.parse() == Ok(error),
        _ => false,
    };
    by_error && condition.key_prefix_equals.as_deref().is_none_or(|prefix| key.starts_with(prefix))
}

fn target(to: &Redirect, prefix: &str, asked: Asked<'_>) -> Target {
    let key = match (&to.replace_key_with, &to.replace_key_prefix_with) {
        (Some(key), _) => key.clone(),
        (None, Some(with)) => format!("{with}{}", asked.key.strip_prefix(prefix).unwrap_or(asked.key)),
        (None, None) => asked.key.to_owned(),
    };
    let protocol = to.protocol.as_deref().unwrap_or("http");
    let host = to.host_name.as_deref().unwrap_or(asked.host);
    let status = to.http_redirect_code.as_deref().and_then(|code| code.parse().ok()).unwrap_or(MOVED);
    Target { status, location: format!("{protocol}://{host}/{}", encoded(&key)) }
}

/// A key as a URL's path.
pub fn encoded(key: &str) -> String {
    utf8_percent_encode(key, PATH).to_string()
}

#[cfg(test)]
mod tests;
