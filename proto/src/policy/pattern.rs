//! Text with wildcards and policy variables: `arn:aws:s3:::home/${aws:username}/*`.
//!
//! Must not: let a variable's value act as a wildcard, or a missing variable match anything.

use super::context::RequestContext;

/// How the text of a policy is to be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    /// `*` and `?` match; otherwise they stand for themselves.
    pub wildcards: bool,
    /// `${…}` is replaced: only in documents of version 2012-10-17.
    pub variables: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Many,
    One,
    Variable { name: String, default: Option<String> },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern(Vec<Part>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Glyph {
    Char(char),
    Many,
    One,
}

impl Pattern {
    pub(super) fn parse(text: &str, reading: Reading) -> Self {
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some(first) = rest.chars().next() {
            let variable = if reading.variables { variable(rest) } else { None };
            let (part, len) = match (first, variable) {
                (_, Some(found)) => found,
                ('*', _) if reading.wildcards => (Part::Many, 1),
                ('?', _) if reading.wildcards => (Part::One, 1),
                _ => (Part::Text(first.to_string()), first.len_utf8()),
            };
            push(&mut parts, part);
            rest = &rest[len..];
        }
        Pattern(parts)
    }

    /// The text that it stands for, if that is always the same.
    pub(super) fn literal(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// What it starts with, if anything may follow that.
    pub(super) fn open_ended(&self) -> Option<&str> {
        match self.0.as_slice() {
            [Part::Text(text), Part::Many] => Some(text),
            _ => None,
        }
    }

    fn is_any(&self) -> bool {
        self.0.as_slice() == [Part::Many]
    }

    /// Whether it can match this text, or one that starts with this text and goes on (`longer`), for some value
    /// of its variables.
    pub(super) fn can_match(&self, text: &str, longer: bool) -> bool {
        let mut glyphs = Vec::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => glyphs.extend(text.chars().map(Glyph::Char)),
                Part::Many | Part::Variable { .. } => glyphs.push(Glyph::Many),
                Part::One => glyphs.push(Glyph::One),
            }
        }
        let text = chars(text);
        if longer { (0..=glyphs.len()).any(|end| glob(&glyphs[..end], &text)) } else { glob(&glyphs, &text) }
    }

    /// Whether it matches the text, with variables from the request.
    pub(super) fn matches(&self, text: &str, cx: &RequestContext) -> bool {
        self.is_any() || self.glyphs(cx).is_some_and(|glyphs| glob(&glyphs, &chars(text)))
    }

    pub(super) fn matches_ignoring_case(&self, text: &str, cx: &RequestContext) -> bool {
        if self.is_any() {
            return true;
        }
        let lower = |c: char| c.to_lowercase().next().unwrap_or(c);
        let text: Vec<char> = text.chars().map(lower).collect();
        let Some(mut glyphs) = self.glyphs(cx) else { return false };
        for glyph in &mut glyphs {
            if let Glyph::Char(c) = glyph {
                *c = lower(*c);
            }
        }
        glob(&glyphs, &text)
    }

    /// As ARNs are compared: each of the six parts by itself, so that a wildcard in one does not
    /// reach into the next. The last part keeps its colons.
    pub(super) fn matches_arn(&self, arn: &str, cx: &RequestContext) -> bool {
        let Some(glyphs) = self.glyphs(cx) else { return false };
        if glyphs == [Glyph::Many] {
            return true;
        }
        let parts: Vec<&[Glyph]> = glyphs.splitn(6, |g| *g == Glyph::Char(':')).collect();
        let texts: Vec<&str> = arn.splitn(6, ':').collect();
        parts.len() == 6 && texts.len() == 6 && parts.iter().zip(texts).all(|(p, t)| glob(p, &chars(t)))
    }

    fn glyphs(&self, cx: &RequestContext) -> Option<Vec<Glyph>> {
        let mut out = Vec::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.extend(text.chars().map(Glyph::Char)),
                Part::Many => out.push(Glyph::Many),
                Part::One => out.push(Glyph::One),
                Part::Variable { name, default } => {
                    let value = cx.variable(name).or(default.as_deref())?;
                    out.extend(value.chars().map(Glyph::Char));
                }
            }
        }
        Some(out)
    }
}

fn chars(text: &str) -> Vec<char> {
    text.chars().collect()
}

/// Neighbouring text becomes one part.
fn push(parts: &mut Vec<Part>, part: Part) {
    match (parts.last_mut(), part) {
        (Some(Part::Text(text)), Part::Text(more)) => text.push_str(&more),
        (_, part) => parts.push(part),
    }
}

/// A `${…}` at the start of the text, and its length in bytes. `${*}`, `${?}` and `${$}` are the
/// characters themselves; `${name, 'default'}` has a default.
fn variable(text: &str) -> Option<(Part, usize)> {
    let inner = text.strip_prefix("${")?;
    let end = inner.find('}')?;
    let body = inner[..end].trim();
    let part = match body.split_once(',') {
        _ if matches!(body, "*" | "?" | "$") => Part::Text(body.to_owned()),
        Some((name, default)) => {
            let default = default.trim().strip_prefix('\'')?.strip_suffix('\'')?;
            Part::Variable { name: name.trim().to_owned(), default: Some(default.to_owned()) }
        }
        None => Part::Variable { name: body.to_owned(), default: None },
    };
    Some((part, end + 3))
}

/// Greedy matching that only ever returns to the last `*`: at worst text times pattern.
fn glob(pattern: &[Glyph], text: &[char]) -> bool {
    let (mut p, mut t, mut retry) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some(Glyph::Many) => {
                retry = Some((p + 1, t));
                p += 1;
            }
            Some(Glyph::One) => (p, t) = (p + 1, t + 1),
            Some(Glyph::Char(c)) if *c == text[t] => (p, t) = (p + 1, t + 1),
            _ => {
                let Some((after, from)) = retry else { return false };
                retry = Some((after, from + 1));
                (p, t) = (after, from + 1);
            }
        }
    }
    pattern[p..].iter().all(|g| *g == Glyph::Many)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: Reading = Reading { wildcards: true, variables: true };

    fn check(pattern: &str, text: &str, want: bool) {
        let cx =
            RequestContext::new("", "").key("aws:username", "b*b").key("aws:tag", "x").key("aws:tag", "y");
        assert_eq!(Pattern::parse(pattern, FULL).matches(text, &cx), want, "{pattern} on {text}");
    }

    #[test]
    fn wildcards() {
        for text in ["", "a", "abc/d:e"] {
            check("*", text, true);
        }
        check("a?c*", "abc", true);
        check("a?c*", "abbc", false);
        check("*a*a*b", "aaaaab", true);
        check("*a*a*b", "aaaaac", false);
        check("", "", true);
        check("", "a", false);
    }

    #[test]
    fn variables_are_literal_and_must_exist() {
        check("home/${aws:UserName}/*", "home/b*b/x", true);
        check("home/${aws:username}/*", "home/bob/x", false);
        check("${aws:userid}", "", false);
        check("${aws:userid, 'no one'}", "no one", true);
        check("${aws:tag}", "x", false);
        check("${*}${?}${$}{", "*?${", true);
        check("${*}", "any", false);
        check("${unclosed", "${unclosed", true);
    }

    #[test]
    fn what_could_match_is_known_without_a_request() {
        let check = |pattern: &str, text: &str, exactly: bool, longer: bool| {
            let pattern = Pattern::parse(pattern, FULL);
            assert_eq!(
                (pattern.can_match(text, false), pattern.can_match(text, true)),
                (exactly, longer),
                "{pattern:?}"
            );
        };
        check("b", "b", true, true);
        check("b/k*", "b/", false, true);
        check("b/*", "b", false, true);
        check("*", "b/", true, true);
        check("b*x", "b/", false, true);
        check("c/*", "b/", false, false);
        check("${aws:username}/k", "b/", false, true);
        assert_eq!(Pattern::parse("vpc-1", FULL).literal(), Some("vpc-1"));
        assert_eq!(Pattern::parse("vpc-*", FULL).literal(), None);
        assert_eq!(Pattern::parse("AROA1:*", FULL).open_ended(), Some("AROA1:"));
    }

    #[test]
    fn arns_match_part_by_part() {
        let cx = RequestContext::default();
        let matches = |p: &str, arn: &str| Pattern::parse(p, FULL).matches_arn(arn, &cx);
        assert!(matches("arn:aws:sns:*:1:t*", "arn:aws:sns:eu:1:topic:x"));
        assert!(!matches("arn:aws:sns:*:t*", "arn:aws:sns:eu:1:topic"));
        assert!(matches("*", "arn:aws:sns:eu:1:topic"));
    }
}
