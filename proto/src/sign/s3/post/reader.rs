//! Reads a form as it arrives: the fields into a [`Form`], the file's bytes as slices of what was handed in.
//!
//! ```text
//!   Preamble ─boundary─► Between ─CRLF─► Head ─empty line─► Value ─boundary─► Between
//!                           │              └──────────────► File ─boundary─► End
//!                           └─`--`─► no file: refused
//! ```
//!
//! A boundary may be cut anywhere by the end of a buffer. It begins with the only CR in it, so what is held
//! back is always a beginning of it, and nothing but a number need be kept.
//!
//! Must not: hold more than [`FIELDS_BYTES_MAX`] bytes, whatever comes.

use bytes::{Buf, Bytes};
use memchr::{memmem, memrchr};

use super::super::line::take_line;
use super::form::Form;
use super::head::{PartHead, malformed};
use crate::refusal::S3Refusal;

/// Everything before the file's bytes: fields, boundaries, heads. S3's own limit.
pub const FIELDS_BYTES_MAX: usize = 20 * 1024;

/// What the reader has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FormStep {
    /// All fields that count are known, and the file begins.
    File,
    /// Some of the file's bytes. What follows the last of them says nothing.
    Data(Bytes),
}

#[derive(Debug)]
pub struct FormReader {
    state: State,
    /// CR LF `--` and the boundary.
    delimiter: memmem::Finder<'static>,
    /// How much of the delimiter the bytes before these were.
    held: usize,
    /// The beginning of a line that is not complete yet.
    line: Vec<u8>,
    head: PartHead,
    value: Vec<u8>,
    /// Bytes before the file.
    before: usize,
    form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Preamble,
    Between,
    Head,
    Value,
    File,
    End,
}

impl FormReader {
    /// `boundary` as [`boundary`](super::boundary) found it.
    pub fn new(boundary: &str) -> Self {
        let delimiter = format!("\r\n--{boundary}");
        Self {
            state: State::Preamble,
            delimiter: memmem::Finder::new(delimiter.as_bytes()).into_owned(),
            held: 2, // the first boundary stands at the beginning of a line, too
            line: Vec::new(),
            head: PartHead::default(),
            value: Vec::new(),
            before: 0,
            form: Form::default(),
        }
    }

    /// The fields so far; all of them from [`FormStep::File`] on.
    pub fn form(&self) -> &Form {
        &self.form
    }

    /// Takes from the front of `input` up to and including the next step. Nothing means that `input` is used
    /// up. After a refusal the reader must not be used again.
    ///
    /// # Errors
    /// `MalformedPOSTRequest`, `MaxPostPreDataLengthExceeded`, or there is no file.
    pub fn read(&mut self, input: &mut Bytes) -> Result<Option<FormStep>, S3Refusal> {
        while !input.is_empty() {
            match self.state {
                State::End => input.clear(),
                State::File => {
                    let (data, ended) = self.scan(input);
                    if ended {
                        self.state = State::End;
                    }
                    if !data.is_empty() {
                        return Ok(Some(FormStep::Data(data)));
                    }
                }
                State::Preamble | State::Between | State::Head | State::Value => {
                    if let Some(step) = self.read_bounded(input)? {
                        return Ok(Some(step));
                    }
                }
            }
        }
        Ok(None)
    }

    /// The verdict, once the body has ended.
    ///
    /// # Errors
    /// `MalformedPOSTRequest`: it broke off.
    pub fn finish(&self) -> Result<(), S3Refusal> {
        if self.state == State::End { Ok(()) } else { Err(malformed()) }
    }

    /// One step within the fields, shown no more bytes than the limit leaves: so nothing can grow beyond it.
    fn read_bounded(&mut self, input: &mut Bytes) -> Result<Option<FormStep>, S3Refusal> {
        let room = (FIELDS_BYTES_MAX + 1 - self.before).min(input.len());
        let mut window = input.slice(..room);
        let step = self.read_fields(&mut window)?;
        let taken = room - window.len();
        input.advance(taken);
        self.before += taken;
        if self.before > FIELDS_BYTES_MAX { Err(too_large()) } else { Ok(step) }
    }

    fn read_fields(&mut self, input: &mut Bytes) -> Result<Option<FormStep>, S3Refusal> {
        match self.state {
            State::Between => self.read_between(input)?,
            State::Head => {
                if take_line(&mut self.line, input) {
                    return self.read_head();
                }
            }
            State::Value => {
                let (data, ended) = self.scan(input);
                self.value.extend_from_slice(&data);
                if ended {
                    self.end_value()?;
                }
            }
            State::Preamble | State::File | State::End => {
                if self.scan(input).1 {
                    self.state = State::Between;
                }
            }
        }
        Ok(None)
    }

    /// After a boundary: `--` for the last one, else white space and the end of the line.
    fn read_between(&mut self, input: &mut Bytes) -> Result<(), S3Refusal> {
        while self.line.len() < 2 && !input.is_empty() {
            self.line.push(input.get_u8());
        }
        if self.line == b"--" {
            let text = "POST requires exactly one file upload per request.";
            return Err(S3Refusal::argument(text, "file", "0"));
        }
        if self.line == b"\r\n" || take_line(&mut self.line, input) {
            if !self.line.trim_ascii().is_empty() {
                return Err(malformed());
            }
            self.line.clear();
            self.head = PartHead::default();
            self.state = State::Head;
        }
        Ok(())
    }

    fn read_head(&mut self) -> Result<Option<FormStep>, S3Refusal> {
        let line = std::mem::take(&mut self.line);
        let line = std::str::from_utf8(&line).map_err(|_| malformed())?.trim_end_matches(['\r', '\n']);
        if !line.is_empty() {
            self.head.read(line)?;
            return Ok(None);
        }
        let name = self.head.name.as_deref().filter(|name| !name.is_empty()).ok_or_else(malformed)?;
        if !name.eq_ignore_ascii_case("file") {
            self.state = State::Value;
            return Ok(None);
        }
        self.state = State::File;
        self.form.begin_file(self.head.filename.as_deref(), self.head.content_type.take())?;
        Ok(Some(FormStep::File))
    }

    fn end_value(&mut self) -> Result<(), S3Refusal> {
        let value = String::from_utf8(std::mem::take(&mut self.value)).map_err(|_| malformed())?;
        let name = self.head.name.take().unwrap_or_default();
        self.form.insert(&name, value);
        self.state = State::Between;
        Ok(())
    }

    /// What comes before the next boundary, as far as it is there, and whether the boundary has passed.
    fn scan(&mut self, input: &mut Bytes) -> (Bytes, bool) {
        let delimiter = self.delimiter.needle();
        if self.held > 0 {
            let rest = &delimiter[self.held..];
            let length = rest.len().min(input.len());
            if input[..length] == rest[..length] {
                input.advance(length);
                self.held += length;
                let whole = self.held == delimiter.len();
                self.held = if whole { 0 } else { self.held };
                return (Bytes::new(), whole);
            }
            // It was data after all.
            let data = Bytes::copy_from_slice(&delimiter[..self.held]);
            self.held = 0;
            return (data, false);
        }
        if let Some(at) = self.delimiter.find(input) {
            let data = input.split_to(at);
            input.advance(delimiter.len());
            return (data, true);
        }
        let begun = memrchr(b'\r', input).filter(|at| delimiter.starts_with(&input[*at..]));
        let data = input.split_to(begun.unwrap_or(input.len()));
        self.held = input.len();
        input.clear();
        (data, false)
    }
}

pub(super) fn too_large() -> S3Refusal {
    let text = "Your POST request fields preceding the upload file were too large.";
    S3Refusal::new(400, "MaxPostPreDataLengthExceeded", text)
        .with("MaxPostPreDataLengthInBytes", FIELDS_BYTES_MAX.to_string())
}
