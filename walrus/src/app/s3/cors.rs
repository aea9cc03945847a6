//! Which pages of other sites may read a bucket: matching a request against the bucket's rules.

use karri_proto::aws::s3::{CORSConfiguration, CORSRule, S3Code, S3Fault};

const RULES_MAX: usize = 100;
const METHODS: [&str; 5] = ["GET", "PUT", "POST", "DELETE", "HEAD"];

/// A page's request.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    pub origin: &'a str,
    pub method: &'a str,
    /// `Access-Control-Request-Headers`
    pub headers: Option<&'a str>,
}

/// # Errors
/// `MalformedXML`, `InvalidRequest`
pub fn check(configuration: &CORSConfiguration) -> Result<(), S3Fault> {
    let rules = &configuration.cors_rules;
    if rules.is_empty() || rules.len() > RULES_MAX {
        return Err(S3Fault::new(S3Code::MalformedXml));
    }
    for rule in rules {
        if rule.allowed_methods.is_empty() || rule.allowed_origins.is_empty() {
            return Err(S3Fault::new(S3Code::MalformedXml));
        }
        if let Some(method) = rule.allowed_methods.iter().find(|method| !METHODS.contains(&method.as_str())) {
            let text =
                format!("Found unsupported HTTP method in CORS config. Unsupported method is {method}");
            return Err(S3Fault::saying(S3Code::InvalidRequest, text));
        }
        if let Some(origin) = rule.allowed_origins.iter().find(|origin| origin.matches('*').count() > 1) {
            let text = format!("AllowedOrigin \"{origin}\" can not have more than one wildcard.");
            return Err(S3Fault::saying(S3Code::InvalidRequest, text));
        }
        if let Some(header) = rule.allowed_headers.iter().find(|header| header.matches('*').count() > 1) {
            let text = format!("AllowedHeader \"{header}\" can not have more than one wildcard.");
            return Err(S3Fault::saying(S3Code::InvalidRequest, text));
        }
        if let Some(header) = rule.expose_headers.iter().find(|header| header.contains('*')) {
            let text = format!(
                "ExposeHeader \"{header}\" contains wildcard. We currently do not support wildcard for ExposeHeader."
            );
            return Err(S3Fault::saying(S3Code::InvalidRequest, text));
        }
    }
    Ok(())
}

/// The first rule that lets it.
pub fn rule<'a>(configuration: &'a CORSConfiguration, asked: Asked<'_>) -> Option<&'a CORSRule> {
    configuration.cors_rules.iter().find(|rule| {
        rule.allowed_methods.iter().any(|method| method == asked.method)
            && rule.allowed_origins.iter().any(|pattern| matches(pattern, asked.origin))
            && asked.headers.is_none_or(|headers| allows_headers(rule, headers))
    })
}

fn allows_headers(rule: &CORSRule, headers: &str) -> bool {
    let allowed = |name: &str| {
        let name = name.to_ascii_lowercase();
        rule.allowed_headers.iter().any(|pattern| matches(&pattern.to_ascii_lowercase(), &name))
    };
    headers.split(',').map(str::trim).filter(|name| !name.is_empty()).all(allowed)
}

/// One star at most.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, end)) => {
            text.len() >= start.len() + end.len() && text.starts_with(start) && text.ends_with(end)
        }
    }
}

/// The headers of the answer, beside those that it has anyway.
pub fn headers(rule: &CORSRule, asked: Asked<'_>) -> Vec<(&'static str, String)> {
    let anyone = rule.allowed_origins.iter().any(|origin| origin == "*");
    let origin = if anyone { "*" } else { asked.origin };
    let mut headers = vec![
        ("access-control-allow-origin", origin.to_owned()),
        ("access-control-allow-methods", rule.allowed_methods.join(", ")),
        ("vary", "Origin, Access-Control-Request-Headers, Access-Control-Request-Method".to_owned()),
    ];
    if !anyone {
        headers.push(("access-control-allow-credentials", "true".to_owned()));
    }
    if let Some(asked) = asked.headers {
        headers.push(("access-control-allow-headers", asked.to_ascii_lowercase()));
    }
    if !rule.expose_headers.is_empty() {
        headers.push(("access-control-expose-headers", rule.expose_headers.join(", ")));
    }
    headers.extend(rule.max_age_seconds.map(|age| ("access-control-max-age", age.to_string())));
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_matches_origin_method_and_headers() {
        let rule = |origin: &str, method: &str, header: &str| CORSRule {
            allowed_origins: vec![origin.into()],
            allowed_methods: vec![method.into()],
            allowed_headers: vec![header.into()],
            ..CORSRule::default()
        };
        let rules = CORSConfiguration { cors_rules: vec![rule("a*z", "GET", "x-*"), rule("*", "PUT", "*")] };
        let check = |origin, method, headers, expected: bool| {
            assert_eq!(
                super::rule(&rules, Asked { origin, method, headers }).is_some(),
                expected,
                "{origin}"
            );
        };
        check("az", "GET", None, true);
        check("abz", "GET", Some("X-a, x-b"), true);
        check("abz", "GET", Some("y"), false);
        check("a", "GET", None, false);
        check("q", "PUT", Some("y"), true);
        check("q", "DELETE", None, false);
    }
}
