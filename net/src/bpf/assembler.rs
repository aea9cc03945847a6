//! The instructions that our programs are made of. Jumps go to labels, and only forward: so a program ends.

use super::Map;
use std::collections::BTreeMap;
use std::io::{Error, Result};

const INSTRUCTION_BYTES: usize = 8;
const MAP_ITSELF: u8 = 1;
const MAP_FIRST_VALUE: u8 = 2;

/// R0 has what a function or the program returns, R1 to R5 are a function's arguments and are lost with a call, R6 to R9
/// are kept, R10 is the end of the program's own memory (512 bytes).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Register {
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
    R6,
    R7,
    R8,
    R9,
    R10,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    One,
    Two,
    Four,
    Eight,
}

/// Of numbers without a sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Test {
    Equal,
    Different,
    Greater,
    Less,
    /// Some bit is in both.
    CommonBit,
}

impl Size {
    const fn code(self) -> u8 {
        match self {
            Size::Four => 0x00,
            Size::Two => 0x08,
            Size::One => 0x10,
            Size::Eight => 0x18,
        }
    }
}

impl Test {
    const fn code(self) -> u8 {
        match self {
            Test::Equal => 0x10,
            Test::Greater => 0x20,
            Test::CommonBit => 0x40,
            Test::Different => 0x50,
            Test::Less => 0xa0,
        }
    }
}

#[derive(Debug, Default)]
pub struct Assembler {
    code: Vec<[u8; INSTRUCTION_BYTES]>,
    labels: BTreeMap<&'static str, usize>,
    /// Where an instruction leads to a label.
    jumps: Vec<(usize, &'static str)>,
}

impl Assembler {
    fn put(&mut self, operation: u8, to: Register, from: u8, offset: i16, number: i32) {
        let ([low, high], [a, b, c, d]) = (offset.to_ne_bytes(), number.to_ne_bytes());
        // The two registers share a byte, by the machine's order as all else.
        let registers =
            if cfg!(target_endian = "big") { (to as u8) << 4 | from } else { from << 4 | to as u8 };
        self.code.push([operation, registers, low, high, a, b, c, d]);
    }

    pub fn set(&mut self, to: Register, number: i32) {
        self.put(0xb7, to, 0, 0, number);
    }

    pub fn set_wide(&mut self, to: Register, number: u64) {
        self.two(to, 0, number as u32, (number >> 32) as u32);
    }

    pub fn copy(&mut self, to: Register, from: Register) {
        self.put(0xbf, to, from as u8, 0, 0);
    }

    pub fn add(&mut self, to: Register, number: i32) {
        self.put(0x07, to, 0, 0, number);
    }

    pub fn subtract(&mut self, to: Register, from: Register) {
        self.put(0x1f, to, from as u8, 0, 0);
    }

    pub fn and(&mut self, to: Register, bits: i32) {
        self.put(0x57, to, 0, 0, bits);
    }

    /// A number of two bytes from the network's order, or into it.
    pub fn swap_two(&mut self, register: Register) {
        self.put(0xdc, register, 0, 0, 16);
    }

    pub fn load(&mut self, size: Size, to: Register, at: Register, offset: i16) {
        self.put(0x61 | size.code(), to, at as u8, offset, 0);
    }

    pub fn store(&mut self, size: Size, at: Register, offset: i16, from: Register) {
        self.put(0x63 | size.code(), at, from as u8, offset, 0);
    }

    /// Through a register that is free.
    pub fn move_bytes(
        &mut self,
        size: Size,
        (to, to_offset): (Register, i16),
        (from, from_offset): (Register, i16),
        by: Register,
    ) {
        self.load(size, by, from, from_offset);
        self.store(size, to, to_offset, by);
    }

    pub fn jump(&mut self, label: &'static str) {
        self.jumps.push((self.code.len(), label));
        self.put(0x05, Register::R0, 0, 0, 0);
    }

    pub fn jump_if(&mut self, left: Register, test: Test, number: i32, label: &'static str) {
        self.jumps.push((self.code.len(), label));
        self.put(0x05 | test.code(), left, 0, 0, number);
    }

    pub fn jump_if_registers(&mut self, left: Register, test: Test, right: Register, label: &'static str) {
        self.jumps.push((self.code.len(), label));
        self.put(0x0d | test.code(), left, right as u8, 0, 0);
    }

    pub fn label(&mut self, label: &'static str) {
        self.labels.insert(label, self.code.len());
    }

    /// The map, as functions for maps take it.
    pub fn map(&mut self, to: Register, map: &Map) {
        self.wide(to, MAP_ITSELF, map);
    }

    /// Where the value of a map is that has only one.
    pub fn value_of(&mut self, to: Register, map: &Map) {
        self.wide(to, MAP_FIRST_VALUE, map);
    }

    fn wide(&mut self, to: Register, what: u8, map: &Map) {
        self.two(to, what, map.descriptor().cast_unsigned(), 0);
    }

    /// The one instruction that is two.
    fn two(&mut self, to: Register, what: u8, low: u32, high: u32) {
        self.put(0x18, to, what, 0, low.cast_signed());
        self.put(0, Register::R0, 0, 0, high.cast_signed());
    }

    /// One of [`super::skb`]'s functions.
    pub fn call(&mut self, function: i32) {
        self.put(0x85, Register::R0, 0, 0, function);
    }

    pub fn exit(&mut self) {
        self.put(0x95, Register::R0, 0, 0, 0);
    }

    pub fn finish(mut self) -> Result<Vec<u8>> {
        for (at, label) in &self.jumps {
            let wrong = || Error::other(format!("a jump to {label}, which is not further on"));
            let to = self.labels.get(label).ok_or_else(wrong)?;
            let ahead =
                to.checked_sub(at + 1).and_then(|ahead| i16::try_from(ahead).ok()).ok_or_else(wrong)?;
            self.code[*at][2..4].copy_from_slice(&ahead.to_ne_bytes());
        }
        Ok(self.code.concat())
    }
}

#[cfg(test)]
mod tests {
    use super::Register::{R0, R1, R2, R6, R10};
    use super::*;

    /// As the kernel's own documents write instructions: operation, registers, offset, number.
    fn check(make: impl FnOnce(&mut Assembler), expected: &[(u8, u8, i16, i32)]) {
        let mut assembler = Assembler::default();
        make(&mut assembler);
        let bytes = assembler.finish().unwrap();
        let read = |each: &[u8]| {
            let number = i32::from_ne_bytes(each[4..8].try_into().unwrap());
            (each[0], each[1], i16::from_ne_bytes([each[2], each[3]]), number)
        };
        let read: Vec<_> = bytes.chunks(INSTRUCTION_BYTES).map(read).collect();
        assert_eq!(read, expected);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn instructions_are_as_the_kernel_has_them() {
        check(|a| a.set(R0, -1), &[(0xb7, 0x00, 0, -1)]);
        check(|a| a.copy(R6, R1), &[(0xbf, 0x16, 0, 0)]);
        check(|a| a.add(R2, -32), &[(0x07, 0x02, 0, -32)]);
        check(|a| a.subtract(R0, R2), &[(0x1f, 0x20, 0, 0)]);
        check(|a| a.swap_two(R1), &[(0xdc, 0x01, 0, 16)]);
        for (size, load, store) in [
            (Size::One, 0x71, 0x73),
            (Size::Two, 0x69, 0x6b),
            (Size::Four, 0x61, 0x63),
            (Size::Eight, 0x79, 0x7b),
        ] {
            check(|a| a.load(size, R1, R6, 40), &[(load, 0x61, 40, 0)]);
            check(|a| a.store(size, R10, -8, R1), &[(store, 0x1a, -8, 0)]);
        }
        check(|a| a.set_wide(R1, 7 << 32 | 5), &[(0x18, 0x01, 0, 5), (0, 0, 0, 7)]);
        check(|a| a.call(1), &[(0x85, 0, 0, 1)]);
        check(Assembler::exit, &[(0x95, 0, 0, 0)]);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn a_jump_leads_to_what_follows_its_label_and_never_back() {
        let there = |a: &mut Assembler| {
            a.jump_if(R1, Test::Different, 7, "end");
            a.jump_if_registers(R1, Test::Greater, R2, "end");
            a.label("end");
            a.exit();
        };
        check(there, &[(0x55, 0x01, 1, 7), (0x2d, 0x21, 0, 0), (0x95, 0, 0, 0)]);
        let mut back = Assembler::default();
        back.label("start");
        back.jump("start");
        assert!(back.finish().unwrap_err().to_string().contains("start"));
        let mut nowhere = Assembler::default();
        nowhere.jump("end");
        assert!(nowhere.finish().is_err());
    }
}
