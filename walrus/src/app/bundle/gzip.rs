//! gunzip: one member or several, as `gzip -d` reads them, and nothing after the last.
//!
//! Behind a wrong key there is noise instead of a first header: that is told as a wrong key.

use super::error::BundleError;
use flate2::bufread::GzDecoder;
use std::io::{self, BufRead, ErrorKind, Read};

const MARK: [u8; 3] = [0x1f, 0x8b, 8];

pub(super) struct Gunzip<R: BufRead> {
    state: Option<State<R>>,
    members: u64,
}

enum State<R: BufRead> {
    Between(R),
    Inside(GzDecoder<R>),
}

impl<R: BufRead> Gunzip<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { state: Some(State::Between(inner)), members: 0 }
    }

    pub(super) fn inner(&mut self) -> Option<&mut R> {
        match self.state.as_mut()? {
            State::Between(inner) => Some(inner),
            State::Inside(decoder) => Some(decoder.get_mut()),
        }
    }

    /// Whether another member begins here; none does at the end.
    fn begins(&mut self, inner: &mut R) -> io::Result<bool> {
        let begin = inner.fill_buf()?;
        let seen = begin.len().min(MARK.len());
        if seen > 0 && begin[..seen] == MARK[..seen] {
            self.members += 1;
            return Ok(true);
        }
        if seen == 0 && self.members > 0 { Ok(false) } else { Err(self.not_gzip().into_io()) }
    }

    fn not_gzip(&self) -> BundleError {
        if self.members == 0 { BundleError::NotForThisCloud } else { BundleError::GzipTrailing }
    }

    fn told(&self, error: io::Error, has_header: bool) -> io::Error {
        let error = BundleError::from_io(error, |other| match other.kind() {
            ErrorKind::UnexpectedEof => BundleError::GzipCut,
            _ if !has_header && self.members == 1 => BundleError::NotForThisCloud,
            _ if !has_header => BundleError::GzipTrailing,
            _ => BundleError::GzipDamaged(other.to_string()),
        });
        error.into_io()
    }
}

impl<R: BufRead> Read for Gunzip<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        loop {
            match self.state.take() {
                None => return Ok(0),
                Some(State::Between(mut inner)) => {
                    let begins = self.begins(&mut inner);
                    let next = if matches!(begins, Ok(true)) {
                        State::Inside(GzDecoder::new(inner))
                    } else {
                        State::Between(inner)
                    };
                    self.state = Some(next);
                    if !begins? {
                        return Ok(0);
                    }
                }
                Some(State::Inside(mut decoder)) => match decoder.read(into) {
                    Ok(0) => self.state = Some(State::Between(decoder.into_inner())),
                    result => {
                        let has_header = decoder.header().is_some();
                        self.state = Some(State::Inside(decoder));
                        return result.map_err(|error| self.told(error, has_header));
                    }
                },
            }
        }
    }
}
