//! What all files have in common: sixteen bytes at the front that name kind and format, and how numbers are written.
//!
//! The front stays as it is for ever, so that every version of the program can say which one is needed.

use crate::error::OpenError;

/// Bytes of the front of a file.
pub(crate) const FRONT_BYTES: usize = 16;

/// A kind of file, and the one format of it that is written and read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FileKind {
    pub(crate) magic: [u8; 8],
    pub(crate) format: u32,
}

impl FileKind {
    /// The first bytes of a file of this kind.
    pub(crate) fn front(self) -> [u8; FRONT_BYTES] {
        let mut front = [0; FRONT_BYTES];
        front[..8].copy_from_slice(&self.magic);
        front[8..12].copy_from_slice(&self.format.to_le_bytes());
        let crc = crc32c::crc32c(&front[..12]);
        front[12..].copy_from_slice(&crc.to_le_bytes());
        front
    }

    /// Whether a file that begins with `front` can be read.
    ///
    /// # Errors
    /// [`OpenError::Format`] when another version wrote it, [`OpenError::Damaged`] when it is no front of this kind.
    pub(crate) fn check(self, file: &str, front: &[u8]) -> Result<(), OpenError> {
        let damaged = || OpenError::damaged(file, 0, "the front of the file");
        let mut reader = Reader::new(front);
        let magic = reader.take(8).ok_or_else(damaged)?;
        let found = reader.u32().ok_or_else(damaged)?;
        let crc = reader.u32().ok_or_else(damaged)?;
        if magic != self.magic || crc != crc32c::crc32c(&front[..12]) {
            return Err(damaged());
        }
        if found != self.format {
            return Err(OpenError::Format {
                file: file.to_owned(),
                found,
                supported: self.format,
            });
        }
        Ok(())
    }
}

/// Takes little-endian numbers from the front of bytes.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(crate) fn left(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(count)?;
        self.bytes = rest;
        Some(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A length and that many bytes.
    pub(crate) fn counted(&mut self) -> Option<&'a [u8]> {
        let count = self.u32()?;
        self.take(to_usize(u64::from(count)))
    }
}

/// Appends a length and the bytes.
pub(crate) fn put_counted(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&to_u32(bytes.len()).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// A length as a number of the machine; one that does not fit is longer than anything there is.
pub(crate) fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// A length as it is written. Callers bound lengths far below.
pub(crate) fn to_u32(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: FileKind = FileKind {
        magic: *b"FRSHtest",
        format: 3,
    };

    #[test]
    fn another_format_is_refused_with_what_to_do() {
        let newer = FileKind { format: 4, ..KIND };
        let older = FileKind { format: 2, ..KIND };
        KIND.check("f", &KIND.front()).unwrap();
        let error = KIND.check("f", &newer.front()).unwrap_err().to_string();
        assert!(
            error.contains("format 4") && error.contains("start the version that wrote it"),
            "{error}"
        );
        let error = KIND.check("f", &older.front()).unwrap_err().to_string();
        assert!(
            error.contains("format 2") && error.contains("a version in between"),
            "{error}"
        );
    }

    #[test]
    fn a_front_with_a_wrong_bit_is_damage_and_no_other_format() {
        for bit in 0..FRONT_BYTES * 8 {
            let mut front = KIND.front();
            front[bit / 8] ^= 1 << (bit % 8);
            let error = KIND.check("f", &front).unwrap_err();
            assert!(
                matches!(error, OpenError::Damaged { offset: 0, .. }),
                "bit {bit}: {error}"
            );
        }
        KIND.check("f", &KIND.front()[..15]).unwrap_err();
    }

    #[test]
    fn numbers_come_back_and_short_bytes_are_none() {
        let mut bytes = 7_u32.to_le_bytes().to_vec();
        put_counted(&mut bytes, b"ab");
        let mut reader = Reader::new(&bytes);
        assert_eq!(
            (reader.u32(), reader.counted(), reader.left()),
            (Some(7), Some(&b"ab"[..]), 0)
        );
        assert_eq!((reader.u32(), reader.u64()), (None, None));
        assert_eq!(Reader::new(&bytes[4..9]).counted(), None);
    }
}
