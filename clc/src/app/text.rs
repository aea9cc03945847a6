//! Text that clients bring and that answers repeat.

/// Whether answers can carry it unchanged: XML has no other control characters than these.
pub fn is_plain(text: &str) -> bool {
    text.chars().all(|c| matches!(c, '\t' | '\n') || !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_not_plain() {
        for text in ["", "a b", "ü 魚 🐟", "two\nlines\tand a tab"] {
            assert!(is_plain(text), "{text:?}");
        }
        for text in ["\0", "a\u{1}", "bell\u{7}", "\r\n", "\u{7f}", "\u{85}", "\u{fffe}", "\u{ffff}"] {
            assert!(!is_plain(text), "{text:?}");
        }
    }
}
