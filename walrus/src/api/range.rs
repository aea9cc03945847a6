//! `Range: bytes=…` of one part, as RFC 9110 has it. A header that makes no sense is ignored, and so is
//! one of several parts: the answer is then the whole.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    Whole,
    /// From the first byte to before the second.
    Part(u64, u64),
    /// Nothing of it exists.
    Unsatisfiable,
}

pub fn parse(header: Option<&str>, bytes: u64) -> Range {
    let Some(spec) = header.and_then(|text| text.trim().strip_prefix("bytes=")) else { return Range::Whole };
    let Some((first, last)) = spec.trim().split_once('-') else { return Range::Whole };
    let (from, to) = match (number(first), number(last)) {
        (Some(from), Some(last)) if from > last => return Range::Whole,
        (Some(from), Some(last)) => (from, last.saturating_add(1).min(bytes)),
        (Some(from), None) if last.trim().is_empty() => (from, bytes),
        (None, Some(suffix)) if first.trim().is_empty() => (bytes.saturating_sub(suffix), bytes),
        _ => return Range::Whole,
    };
    if from < to { Range::Part(from, to) } else { Range::Unsatisfiable }
}

fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_standard_says() {
        for (header, expected) in [
            ("bytes=0-", Range::Part(0, 100)),
            ("bytes=99-", Range::Part(99, 100)),
            ("bytes=10-19", Range::Part(10, 20)),
            ("bytes=10-1000", Range::Part(10, 100)),
            ("bytes=-10", Range::Part(90, 100)),
            ("bytes=-1000", Range::Part(0, 100)),
            ("bytes=0-99999999999999999999999", Range::Part(0, 100)),
            ("bytes=100-", Range::Unsatisfiable),
            ("bytes=-0", Range::Unsatisfiable),
            ("bytes=99999999999999999999999-", Range::Unsatisfiable),
            ("bytes=20-10", Range::Whole),
            ("bytes=0-1,5-6", Range::Whole),
            ("bytes=", Range::Whole),
            ("bytes=-", Range::Whole),
            ("bytes=a-b", Range::Whole),
            ("bytes=+1-5", Range::Whole),
            ("lines=0-1", Range::Whole),
        ] {
            assert_eq!(parse(Some(header), 100), expected, "{header}");
        }
        assert_eq!(parse(None, 100), Range::Whole);
    }
}
