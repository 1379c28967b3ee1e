//! A response as it came: compressed, it takes a tenth of the memory while it waits.

use std::io::Read;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_ENCODING, HeaderMap};

use super::{Answer, Failure, SMALL};
use crate::error::Cause;

/// The one coding offered to servers, "Content Codings", RFC 9110, section 8.4.1.3.
pub(super) const GZIP: &str = "gzip";

/// The most bytes that DEFLATE makes of one.
const EXPANSION: usize = 1032;

/// A complete response whose body may be compressed.
pub(crate) struct Packed {
    answer: Answer,
    /// The largest size when decompressed, in bytes.
    largest: usize,
}

impl Packed {
    pub(super) fn new(answer: Answer, largest: usize) -> Self {
        Self { answer, largest }
    }

    /// How many bytes were received.
    pub(crate) fn len(&self) -> usize {
        self.answer.body.len()
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.answer.status
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.answer.headers
    }

    /// Returns the response if it is a success, and its error otherwise.
    pub(crate) fn success(self) -> Result<Self, Failure> {
        if self.answer.status.is_success() { Ok(self) } else { Err(Failure::Status(self.unpack()?.refusal())) }
    }

    /// Decompresses the body.
    pub(crate) fn unpack(self) -> Result<Answer, Failure> {
        let Self { answer, largest } = self;
        let coding = answer.headers.get(CONTENT_ENCODING).map_or(&b""[..], |coding| coding.as_bytes());
        if answer.body.is_empty() || !coding.eq_ignore_ascii_case(GZIP.as_bytes()) {
            return Ok(answer);
        }
        Ok(Answer { body: decompressed(&answer.body, largest)?, ..answer })
    }
}

fn decompressed(packed: &[u8], largest: usize) -> Result<Bytes, Failure> {
    // The decompressed length is at the end, modulo 2³² (RFC 1952, section 2.3.1).
    let told = packed.last_chunk().map_or(0, |length| u32::from_le_bytes(*length));
    let told = usize::try_from(told).unwrap_or(largest).min(packed.len().saturating_mul(EXPANSION));
    let mut body = Vec::with_capacity(if told > SMALL { largest } else { told });
    let mut decoder = MultiGzDecoder::new(packed).take(largest as u64 + 1);
    decoder
        .read_to_end(&mut body)
        .map_err(|error| Failure::Unreadable(Cause::told(format!("its gzip is corrupt: {error}"), error)))?;
    if body.len() > largest {
        return Err(Failure::TooLarge(largest));
    }
    body.shrink_to_fit();
    Ok(body.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use reqwest::header::HeaderValue;

    use super::*;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    fn unpacked(body: Vec<u8>, coding: &'static str, largest: usize) -> Result<Bytes, Failure> {
        let headers = [(CONTENT_ENCODING, HeaderValue::from_static(coding))].into_iter().collect();
        let answer = Answer { status: StatusCode::OK, headers, body: body.into() };
        Packed::new(answer, largest).unpack().map(|answer| answer.body)
    }

    #[test]
    fn what_was_compressed_comes_out_as_it_was() {
        let plain = b"some rows ".repeat(1000);
        for body in [gzip(&plain), [gzip(&plain[..7]), gzip(&plain[7..])].concat()] {
            assert_eq!(unpacked(body, "GZIP", plain.len()).unwrap(), plain);
        }
        assert_eq!(unpacked(plain.clone(), "identity", 0).unwrap(), plain);
        assert_eq!(unpacked(Vec::new(), "gzip", 0).unwrap(), b""[..]);
    }

    #[test]
    fn what_is_too_large_or_corrupt_is_refused_whatever_it_says_of_its_length() {
        let packed = gzip(&vec![7; 1 << 20]);
        let error = |body, largest| unpacked(body, "gzip", largest).unwrap_err();
        assert!(matches!(error(packed.clone(), (1 << 20) - 1), Failure::TooLarge(_)));
        let mut lies = packed.clone();
        lies.splice(packed.len() - 4.., [0; 4]);
        let cut = packed[..packed.len() / 2].to_vec();
        for body in [lies, cut, b"no gzip".to_vec()] {
            let error = error(body, 2 << 20);
            assert!(
                matches!(&error, Failure::Unreadable(why) if why.to_string().starts_with("its gzip is corrupt")),
                "{error}"
            );
        }
    }
}
