//! Takes an `aws-chunked` body apart, as a state machine over the bytes as they arrive.
//!
//! ```text
//!   Head ──size > 0──► Data ──all of it──► DataEnd ──CRLF──► Head
//!     └──size = 0──► Trailers ──empty line──► Done
//! ```
//!
//! Memory is bounded whatever the sizes: data is given out as slices of what was handed in, before the
//! signature of its chunk is known. A chunk's signature is checked when its last byte has passed, and
//! [`ChunkDecoder::finish`] has the last word on the final chunk, the length and the trailers. So nothing
//! may be committed before `finish` has agreed; what was written before is thrown away when it does not.
//! (Holding each chunk back until it is verified would buy nothing, and cost as much memory as a client
//! cares to ask for.)
//!
//! Where the format's description leaves room, AWS's behaviour decides: lines end with CRLF and nothing
//! else; the last CRLF may be missing; what follows the empty line after the trailers is ignored; framing
//! that breaks off or breaks its rules is `IncompleteBody`; a chunk may be smaller than 8 KiB only if it is
//! the last; a trailer that was not announced, or that was and does not come, is `MalformedTrailerError`.
//!
//! Must not: judge checksums; trailers are only handed out.

use bytes::{Buf, Bytes};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::framing::{ChunkSeed, Framing};
use super::line::take_line;
use super::wording::mismatch;
use crate::checksum::{Algorithm, malformed_trailer};
use crate::refusal::S3Refusal;

/// A chunk's size, its signature and white space fit easily.
const HEAD_BYTES_MAX: usize = 1024;
/// All trailers together.
const TRAILER_BYTES_MAX: usize = 8 * 1024;
/// Any chunk but the last.
const CHUNK_BYTES_MIN: u64 = 8 * 1024;
const TRAILER_SIGNATURE: &str = "x-amz-trailer-signature";
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// What followed the data: names in lower case, values trimmed. The signature is not among them.
pub type Trailers = Vec<(String, String)>;

#[derive(Debug)]
pub struct ChunkDecoder {
    state: State,
    /// The beginning of a line that is not complete yet.
    line: Vec<u8>,
    /// What `x-amz-decoded-content-length` says.
    expected: u64,
    /// The sizes of all chunks that have begun.
    announced: u64,
    chunks: u64,
    last_size: u64,
    signer: Option<Signer>,
    trailer: Option<Algorithm>,
    trailer_bytes: usize,
    trailers: Trailers,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    Data { left: u64 },
    DataEnd,
    Trailers,
    Done,
}

impl ChunkDecoder {
    /// `decoded_length` comes from [`decoded_length`](super::decoded_length), `trailer` from the checksum that
    /// the request announces in `x-amz-trailer`.
    pub fn new(framing: Framing, decoded_length: u64, trailer: Option<Algorithm>) -> Self {
        let signer = match framing {
            Framing::Unsigned => None,
            Framing::Signed { seed, trailers } => Some(Signer::new(&seed, trailers)),
        };
        Self {
            state: State::Head,
            line: Vec::new(),
            expected: decoded_length,
            announced: 0,
            chunks: 0,
            last_size: 0,
            signer,
            trailer,
            trailer_bytes: 0,
            trailers: Vec::new(),
        }
    }

    /// Takes from the front of `input` up to and including the next piece of data. Nothing means that
    /// `input` is used up. After a refusal the decoder must not be used again.
    ///
    /// # Errors
    /// The framing is broken, longer than announced, or a chunk has another signature.
    pub fn decode(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, S3Refusal> {
        while !input.is_empty() {
            match self.state {
                State::Data { left } => return self.take_data(left, input).map(Some),
                State::Done => input.clear(),
                State::Head => {
                    if self.take_line(input, HEAD_BYTES_MAX, incomplete)? {
                        self.begin_chunk()?;
                    }
                }
                State::DataEnd => {
                    if self.take_line(input, 2, incomplete)? {
                        self.line.clear();
                        self.state = State::Head;
                    }
                }
                State::Trailers => {
                    let room = TRAILER_BYTES_MAX.saturating_sub(self.trailer_bytes);
                    if self.take_line(input, room, malformed_trailer)? {
                        self.read_trailer()?;
                    }
                }
            }
        }
        Ok(None)
    }

    /// The verdict, once the body has ended. Only now is the data known to be what was signed.
    ///
    /// # Errors
    /// The body broke off, has another length than announced, or its trailers are wrong.
    pub fn finish(mut self) -> Result<Trailers, S3Refusal> {
        let ended = matches!(self.state, State::Trailers | State::Done) && self.line.is_empty();
        if !ended {
            return Err(incomplete());
        }
        if let Some(signer) = self.signer.take_if(|signer| signer.trailers) {
            signer.check_trailers(!self.trailers.is_empty())?;
        }
        if self.announced != self.expected {
            return Err(self.wrong_length(self.announced));
        }
        if self.trailer.is_some() && self.trailers.is_empty() {
            return Err(malformed_trailer());
        }
        Ok(self.trailers)
    }

    fn take_data(&mut self, left: u64, input: &mut Bytes) -> Result<Bytes, S3Refusal> {
        let length = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
        let piece = input.split_to(length);
        let left = left - length as u64;
        self.state = if left == 0 { State::DataEnd } else { State::Data { left } };
        if let Some(signer) = &mut self.signer {
            signer.hasher.update(&piece);
            if left == 0 {
                signer.check_chunk()?;
            }
        }
        Ok(piece)
    }

    /// Whether a whole line, CRLF included, is in `self.line` now.
    fn take_line(
        &mut self,
        input: &mut Bytes,
        bytes_max: usize,
        refuse: fn() -> S3Refusal,
    ) -> Result<bool, S3Refusal> {
        // One byte more than may come is enough to see that it does.
        let room = (bytes_max + 1).saturating_sub(self.line.len()).min(input.len());
        let mut window = input.slice(..room);
        let whole = take_line(&mut self.line, &mut window);
        input.advance(room - window.len());
        if self.line.len() > bytes_max { Err(refuse()) } else { Ok(whole) }
    }

    fn begin_chunk(&mut self) -> Result<(), S3Refusal> {
        let head = ChunkHead::read(&self.line, self.signer.is_some()).ok_or_else(incomplete)?;
        let size = head.size;
        if size > 0 && self.chunks > 0 && self.last_size < CHUNK_BYTES_MIN {
            return Err(self.too_small());
        }
        let announced = self.announced.saturating_add(size);
        if announced > self.expected {
            return Err(self.wrong_length(announced));
        }
        if let Some(signer) = &mut self.signer {
            signer.claimed = head.signature.to_owned();
            if size == 0 {
                signer.check_chunk()?;
            }
        }
        (self.announced, self.last_size) = (announced, size);
        self.chunks += 1;
        self.state = if size == 0 { State::Trailers } else { State::Data { left: size } };
        self.line.clear();
        Ok(())
    }

    fn read_trailer(&mut self) -> Result<(), S3Refusal> {
        self.trailer_bytes += self.line.len();
        let line = std::str::from_utf8(&self.line).map_err(|_| malformed_trailer())?;
        if line == "\r\n" {
            self.state = State::Done;
            self.line.clear();
            return Ok(());
        }
        let (name, value) = line.split_once(':').ok_or_else(malformed_trailer)?;
        // Some clients end a trailer with LF CRLF; AWS takes the LF for white space.
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim().to_owned());
        let announced = self.trailer.is_some_and(|algorithm| algorithm.header() == name);
        match &mut self.signer {
            Some(signer) if !signer.trailers || signer.trailer_signature.is_some() => {
                return Err(malformed_trailer());
            }
            Some(signer) if name == TRAILER_SIGNATURE => signer.trailer_signature = Some(value),
            _ if !announced => return Err(malformed_trailer()),
            signer => {
                if let Some(signer) = signer {
                    signer.hasher.update(format!("{name}:{value}\n"));
                }
                self.trailers.retain(|(known, _)| *known != name); // the last one counts
                self.trailers.push((name, value));
            }
        }
        self.line.clear();
        Ok(())
    }

    /// S3 notices one chunk late, and numbers the chunk at which it does.
    fn too_small(&self) -> S3Refusal {
        let text = "Only the last chunk is allowed to have a size less than 8192 bytes";
        S3Refusal::new(403, "InvalidChunkSizeError", text)
            .with("Chunk", (self.chunks + 1).to_string())
            .with("BadChunkSize", self.last_size.to_string())
    }

    fn wrong_length(&self, provided: u64) -> S3Refusal {
        let text = "You did not provide the number of bytes specified by the Content-Length HTTP header";
        S3Refusal::new(400, "IncompleteBody", text)
            .with("NumberBytesExpected", self.expected.to_string())
            .with("NumberBytesProvided", provided.to_string())
    }
}

fn incomplete() -> S3Refusal {
    S3Refusal::new(400, "IncompleteBody", "The request body terminated unexpectedly")
}

/// `SIZE[;chunk-signature=HEX]`, with white space wherever one could like it.
struct ChunkHead<'a> {
    size: u64,
    signature: &'a str,
}

impl<'a> ChunkHead<'a> {
    fn read(line: &'a [u8], signed: bool) -> Option<Self> {
        let line = std::str::from_utf8(line).ok()?;
        let (size, extension) = line.split_once(';').unwrap_or((line, ""));
        let size = size.trim_matches([' ', '\t', '\r', '\n']);
        if size.is_empty() || size.len() > 16 || !size.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let size = u64::from_str_radix(size, 16).ok()?;
        if !signed {
            return Some(Self { size, signature: "" });
        }
        let (name, signature) = extension.split_once('=')?;
        let signature = signature.trim();
        let is_one = name.trim() == "chunk-signature" && !signature.is_empty() && !signature.contains(';');
        is_one.then_some(Self { size, signature })
    }
}

/// The chain of signatures: each covers the one before it.
struct Signer {
    mac: Hmac<Sha256>,
    /// `DATE\nSCOPE\n`
    context: String,
    access_key_id: String,
    previous: String,
    /// Of the chunk under way, then of the trailers.
    hasher: Sha256,
    /// The signature of the chunk under way, as sent.
    claimed: String,
    trailers: bool,
    trailer_signature: Option<String>,
}

/// Says nothing: there is a key in it.
impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer(…)")
    }
}

impl Signer {
    fn new(seed: &ChunkSeed, trailers: bool) -> Self {
        Self {
            mac: Hmac::new_from_slice(&seed.key).expect("HMAC takes keys of any length"),
            context: format!("{}\n{}\n", seed.stamp, seed.scope),
            access_key_id: seed.access_key_id.clone(),
            previous: seed.signature.clone(),
            hasher: Sha256::new(),
            claimed: String::new(),
            trailers,
            trailer_signature: None,
        }
    }

    fn check_chunk(&mut self) -> Result<(), S3Refusal> {
        let hash = hex::encode(self.hasher.finalize_reset());
        let claimed = std::mem::take(&mut self.claimed);
        self.check("AWS4-HMAC-SHA256-PAYLOAD", &format!("{EMPTY_SHA256}\n{hash}"), claimed)
    }

    /// A signed body whose trailers are announced has at least one, and their signature.
    fn check_trailers(mut self, any: bool) -> Result<(), S3Refusal> {
        let claimed = self.trailer_signature.take().filter(|_| any).ok_or_else(incomplete)?;
        let hash = hex::encode(self.hasher.finalize_reset());
        self.check("AWS4-HMAC-SHA256-TRAILER", &hash, claimed)
    }

    fn check(&mut self, kind: &str, hashes: &str, claimed: String) -> Result<(), S3Refusal> {
        let text = format!("{kind}\n{}{}\n{hashes}", self.context, self.previous);
        let expected = hex::encode(self.mac.clone().chain_update(&text).finalize().into_bytes());
        if !bool::from(expected.as_bytes().ct_eq(claimed.as_bytes())) {
            return Err(mismatch(&self.access_key_id, text.as_bytes(), &claimed, None));
        }
        self.previous = claimed;
        Ok(())
    }
}
