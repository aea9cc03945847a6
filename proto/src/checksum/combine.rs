//! The CRC of a whole from the CRCs of its parts.
//!
//! A CRC is a remainder of polynomials over one bit. To put `B` behind `A` multiplies what is known of `A` by
//! x^(8·length of B) and adds what is known of `B`; what the three CRCs here do before and after cancels
//! out. A multiplication takes a step for each bit, and the power comes from a table of x^(8·2^k), so
//! completing an upload of 10,000 parts costs milliseconds.
//!
//! Must not: see data.

use super::algorithm::Algorithm;

/// Bits are reflected: the highest is the coefficient of x^0.
#[derive(Debug, Clone, Copy)]
struct Field {
    polynomial: u64,
    one: u64,
}

impl Field {
    fn of(algorithm: Algorithm) -> Option<Self> {
        match algorithm {
            Algorithm::Crc32 => Some(Self { polynomial: 0xedb8_8320, one: 1 << 31 }),
            Algorithm::Crc32c => Some(Self { polynomial: 0x82f6_3b78, one: 1 << 31 }),
            Algorithm::Crc64Nvme => Some(Self { polynomial: 0x9a6c_9329_ac4b_c9b5, one: 1 << 63 }),
            Algorithm::Sha1 | Algorithm::Sha256 | Algorithm::Sha512 | Algorithm::Md5 => None,
        }
    }

    fn multiply(self, a: u64, mut b: u64) -> u64 {
        let (mut product, mut bit) = (0, self.one);
        while bit != 0 {
            if a & bit != 0 {
                product ^= b;
            }
            // By x: the coefficient that leaves comes back as the polynomial.
            b = (b >> 1) ^ if b & 1 == 1 { self.polynomial } else { 0 };
            bit >>= 1;
        }
        product
    }
}

/// A CRC that grows by what is put behind it.
#[derive(Debug)]
pub(super) struct Combiner {
    field: Field,
    /// x^(8·2^k)
    powers: [u64; u64::BITS as usize],
    crc: u64,
    /// The last size and its factor: the parts of an upload have one size, mostly.
    known: (u64, u64),
}

impl Combiner {
    /// Of no bytes; nothing for what is no CRC.
    pub(super) fn new(algorithm: Algorithm) -> Option<Self> {
        let field = Field::of(algorithm)?;
        let mut power = field.one >> 8;
        let powers = std::array::from_fn(|_| {
            let this = power;
            power = field.multiply(this, this);
            this
        });
        Some(Self { field, powers, crc: 0, known: (0, field.one) })
    }

    /// Puts `bytes` bytes with this CRC behind what is there.
    pub(super) fn append(&mut self, crc: u64, bytes: u64) {
        if self.known.0 != bytes {
            self.known = (bytes, self.power(bytes));
        }
        self.crc = self.field.multiply(self.known.1, self.crc) ^ crc;
    }

    pub(super) fn crc(&self) -> u64 {
        self.crc
    }

    /// x^(8·bytes)
    fn power(&self, bytes: u64) -> u64 {
        let set = |(k, power): (usize, &u64)| (bytes >> k & 1 == 1).then_some(*power);
        let factors = self.powers.iter().enumerate().filter_map(set);
        factors.fold(self.field.one, |product, power| self.field.multiply(product, power))
    }
}
