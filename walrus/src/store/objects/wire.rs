//! How compact values are put into a row's bytes: a version byte, then fields (tag, length, bytes). Numbers
//! take seven bits a byte, lowest first.

#[derive(Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub fn new(version: u8) -> Self {
        Self(vec![version])
    }

    pub fn done(self) -> Vec<u8> {
        self.0
    }

    pub fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    pub fn number(&mut self, mut number: u64) {
        while number > 127 {
            self.0.push(number as u8 | 128);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    pub fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// With their length.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.raw(bytes);
    }

    pub fn field(&mut self, tag: u8, fill: impl FnOnce(&mut Writer)) {
        let mut field = Writer::default();
        fill(&mut field);
        self.byte(tag);
        self.bytes(&field.0);
    }
}

/// Every function answers nothing when the bytes end too early.
#[derive(Debug)]
pub(super) struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    pub fn new(bytes: &'b [u8], version: u8) -> Option<Self> {
        let (first, rest) = bytes.split_first()?;
        (*first == version).then_some(Self(rest))
    }

    pub fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 127) << shift;
            if byte < 128 {
                return Some(number);
            }
        }
        None
    }

    pub fn bytes(&mut self) -> Option<&'b [u8]> {
        let count = usize::try_from(self.number()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    pub fn rest(&mut self) -> &'b [u8] {
        std::mem::take(&mut self.0)
    }

    pub fn text(&mut self) -> Option<String> {
        String::from_utf8(self.rest().to_vec()).ok()
    }

    pub fn pair(&mut self) -> Option<(String, String)> {
        let name = String::from_utf8(self.bytes()?.to_vec()).ok()?;
        Some((name, self.text()?))
    }

    /// The next field, or that there is none; nothing outside when the bytes are broken.
    #[allow(clippy::option_option, reason = "broken and ended are told apart")]
    pub fn field(&mut self) -> Option<Option<(u8, Reader<'b>)>> {
        if self.0.is_empty() {
            return Some(None);
        }
        let tag = self.byte()?;
        Some(Some((tag, Reader(self.bytes()?))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_size_read_back() {
        for number in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX] {
            let mut out = Writer::new(1);
            out.number(number);
            assert_eq!(Reader::new(&out.done(), 1).unwrap().number(), Some(number));
        }
        assert_eq!(Reader::new(&[1, 128], 1).unwrap().number(), None);
        assert_eq!(Reader::new(&[1, 5, 1], 1).unwrap().bytes(), None);
    }
}
