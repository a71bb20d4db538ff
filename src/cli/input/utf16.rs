//! Decodes UTF-16 to UTF-8 as it is read.

use std::io::{self, Read};

use super::unpack::Why;

const CHUNK: usize = 64 << 10;

/// UTF-8 of a text in UTF-16. What is no UTF-16, and what is cut off within a character, is an error.
pub(super) struct Utf16<R> {
    inner: R,
    little_endian: bool,
    /// Read and not decoded: less than a character.
    rest: Vec<u8>,
    decoded: Vec<u8>,
    at: usize,
}

impl<R: Read> Utf16<R> {
    pub(super) const fn new(inner: R, little_endian: bool) -> Self {
        Self { inner, little_endian, rest: Vec::new(), decoded: Vec::new(), at: 0 }
    }

    /// Decodes more. `false` at the end.
    fn fill(&mut self) -> io::Result<bool> {
        let broken = || {
            io::Error::from(Why("the file is damaged: it is not UTF-16, or is cut off within a character"))
        };
        let start = self.rest.len();
        let read = (&mut self.inner).take(CHUNK as u64).read_to_end(&mut self.rest)?;
        if read == 0 {
            return if start == 0 { Ok(false) } else { Err(broken()) };
        }
        let (pairs, _) = self.rest.as_chunks::<2>();
        let unit = if self.little_endian { u16::from_le_bytes } else { u16::from_be_bytes };
        let mut units: Vec<u16> = pairs.iter().map(|pair| unit(*pair)).collect();
        // The second half of the last character may follow.
        if units.last().is_some_and(|unit| (0xd800..0xdc00).contains(unit)) {
            units.pop();
        }
        self.rest.drain(..2 * units.len());
        self.decoded = String::from_utf16(&units).map_err(|_| broken())?.into_bytes();
        self.at = 0;
        Ok(true)
    }
}

impl<R: Read> Read for Utf16<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.decoded.len() {
            if !self.fill()? {
                return Ok(0);
            }
        }
        let mut rest = self.decoded.get(self.at..).unwrap_or_default();
        let read = rest.read(buffer)?;
        self.at += read;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(bytes: &[u8], little_endian: bool) -> io::Result<String> {
        let mut text = String::new();
        Utf16::new(bytes, little_endian).read_to_string(&mut text).map(|_| text)
    }

    #[test]
    fn a_character_of_two_units_is_decoded_across_chunks() {
        let text = "a😀".repeat(CHUNK);
        let (little, big): (Vec<u8>, Vec<u8>) = (
            text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        );
        assert_eq!(decoded(&little, true).unwrap(), text);
        assert_eq!(decoded(&big, false).unwrap(), text);
        for cut in 1..4 {
            assert!(decoded(&little[..little.len() - cut], true).is_err(), "{cut}");
        }
        assert!(decoded(&[0x00, 0xdc], true).is_err(), "a second half alone");
    }
}
