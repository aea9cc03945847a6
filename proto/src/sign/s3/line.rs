//! Lines that end with CRLF, as they arrive.

use bytes::Bytes;
use memchr::memchr;

/// Moves bytes from the front of `input` to `line`; whether a whole line, CRLF included, is there now.
pub fn take_line(line: &mut Vec<u8>, input: &mut Bytes) -> bool {
    while !input.is_empty() {
        let end = memchr(b'\n', input).map_or(input.len(), |at| at + 1);
        line.extend_from_slice(&input.split_to(end));
        if line.ends_with(b"\r\n") {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_ends_with_crlf_and_nothing_else_wherever_it_is_cut() {
        let text = b"a\nb\rc\r\nrest";
        for cut in 0..=text.len() {
            let mut line = Vec::new();
            let (mut first, mut second) =
                (Bytes::from_static(&text[..cut]), Bytes::from_static(&text[cut..]));
            let whole = take_line(&mut line, &mut first) || take_line(&mut line, &mut second);
            assert!(whole, "cut at {cut}");
            assert_eq!(line, b"a\nb\rc\r\n");
            assert_eq!([&first[..], &second].concat(), b"rest");
        }
        let (mut line, mut input) = (Vec::new(), Bytes::from_static(b"half"));
        assert!(!take_line(&mut line, &mut input));
        assert_eq!((&line[..], input.len()), (&b"half"[..], 0));
    }
}
