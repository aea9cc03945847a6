//! Tells Rust's code from its comments and literals, without parsing it.
//!
//! Both views have the length and the line ends of the source, with blanks for what is not theirs: a
//! place in one is the same place in the other.

#[derive(Debug, PartialEq, Eq)]
pub struct Views {
    /// Comments and the insides of literals are blanks.
    pub code: String,
    /// Everything but comments is blanks.
    pub comments: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Code,
    Comment,
    Literal,
}

pub fn views(source: &str) -> Views {
    let chars: Vec<char> = source.chars().collect();
    let mut views = Views { code: String::with_capacity(chars.len()), comments: String::new() };
    let mut at = 0;
    while at < chars.len() {
        let (part, end) = next(&chars, at);
        for c in &chars[at..end] {
            let blank = if *c == '\n' { '\n' } else { ' ' };
            views.code.push(if part == Part::Code { *c } else { blank });
            views.comments.push(if part == Part::Comment { *c } else { blank });
        }
        at = end;
    }
    views
}

/// The part that begins at `at`, and where it ends.
fn next(chars: &[char], at: usize) -> (Part, usize) {
    let c = |offset: usize| chars.get(at + offset).copied().unwrap_or('\0');
    match c(0) {
        '/' if c(1) == '/' => (Part::Comment, find(chars, at, |i| chars[i] == '\n')),
        '/' if c(1) == '*' => (Part::Comment, block_comment_end(chars, at)),
        '"' => (Part::Literal, quoted_end(chars, at + 1, '"')),
        'r' | 'b' | 'c' if !follows_word(chars, at) => match literal_after_prefix(chars, at) {
            Some(end) => (Part::Literal, end),
            None => (Part::Code, at + 1),
        },
        '\'' if c(1) == '\\' => (Part::Literal, quoted_end(chars, at + 1, '\'')),
        '\'' if c(2) == '\'' => (Part::Literal, at + 3),
        _ => (Part::Code, at + 1),
    }
}

fn find(chars: &[char], from: usize, is_end: impl Fn(usize) -> bool) -> usize {
    (from..chars.len()).find(|i| is_end(*i)).unwrap_or(chars.len())
}

fn follows_word(chars: &[char], at: usize) -> bool {
    at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_')
}

fn block_comment_end(chars: &[char], at: usize) -> usize {
    let (mut depth, mut i) = (0, at);
    while i < chars.len() {
        let pair = (chars[i], chars.get(i + 1).copied().unwrap_or('\0'));
        match pair {
            ('/', '*') => depth += 1,
            ('*', '/') => depth -= 1,
            _ => {
                i += 1;
                continue;
            }
        }
        i += 2;
        if depth == 0 {
            break;
        }
    }
    i.min(chars.len())
}

fn quoted_end(chars: &[char], from: usize, quote: char) -> usize {
    let mut i = from;
    while i < chars.len() && chars[i] != quote {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    (i + 1).min(chars.len())
}

/// The end of `b"…"`, `r#"…"#`, `br"…"`, `c"…"`, `b'…'`; nothing when it is just a word.
fn literal_after_prefix(chars: &[char], at: usize) -> Option<usize> {
    let letters = chars[at..].iter().take(2).take_while(|c| matches!(c, 'r' | 'b' | 'c')).count();
    let raw = chars[at..at + letters].contains(&'r');
    let mut i = at + letters;
    let hashes = chars[i..].iter().take_while(|c| **c == '#').count();
    if raw && chars.get(i + hashes) == Some(&'"') {
        i += hashes + 1;
        let closes = |at: usize| {
            chars[at] == '"' && chars[at + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes
        };
        return Some((find(chars, i, closes) + 1 + hashes).min(chars.len()));
    }
    match chars.get(i) {
        Some('"') if !raw => Some(quoted_end(chars, i + 1, '"')),
        Some('\'') if !raw && chars[at] == 'b' => Some(quoted_end(chars, i + 1, '\'')),
        _ => None,
    }
}

/// The line, from 1, of a byte position.
pub fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count()
}

/// Where `word` stands in `text` as a word of its own.
pub fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let is_word = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    text.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = at.checked_sub(1).and_then(|i| text.as_bytes().get(i));
        !is_word(before) && !is_word(text.as_bytes().get(at + word.len()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, code: &str) {
        let views = views(source);
        assert_eq!(views.code, code, "{source}");
        assert_eq!(views.comments.chars().count(), source.chars().count());
    }

    #[test]
    fn literals_and_comments_are_no_code() {
        check("a(\"b{\") // c{", "a(    )      ");
        check("a /* b /* c */ d */ e", "a                   e");
        check("r#\"a\" {\"#; b", "         ; b");
        check("b\"{\\\"\"; br\"{\"; c\"{\"", "      ;      ;     ");
        check("'{' '\\'' b'{' 'a: &'b str", "              'a: &'b str");
        check("\"ä{\" x", "     x");
        check("for r in b {}", "for r in b {}");
        check("\"a\n{\"", "  \n  ");
        check("r#fn", "r#fn");
        check("\"open", "     ");
    }

    #[test]
    fn words_stand_alone() {
        assert_eq!(words("fn fna afn fn", "fn").collect::<Vec<_>>(), [0, 11]);
        assert_eq!(line_of("a\nb\nc", 4), 3);
    }
}
