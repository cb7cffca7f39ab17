//! Bytes of what outlives the process: entries of the log, and rows of a shard's state.
//!
//! A value is written as its parts in order, without names: numbers as variable-length integers, texts and payloads
//! behind their length. Decoding is strict, so that a value has one form: it refuses numbers longer than they need to be,
//! unknown kinds, and bytes that are left over. It takes bytes from wherever they come and never panics. Payloads are
//! slices of the record, not copies, unless they are asked for.

mod contract;
mod entry;

use bytes::Bytes;
use thiserror::Error;

/// Values of a list that room is made for before they are there: what is claimed may not be true.
const RESERVED: usize = 1_024;

/// A value that outlives the process.
pub(crate) trait Code: Sized {
    /// Appends the value.
    fn write(&self, out: &mut Vec<u8>);

    /// Takes the value off the front.
    ///
    /// # Errors
    /// [`DecodeError`]: these are not bytes of such a value.
    fn read(from: &mut Reader) -> Result<Self, DecodeError>;

    /// The value alone.
    fn to_bytes(&self) -> Bytes {
        let mut out = Vec::new();
        self.write(&mut out);
        Bytes::from(out)
    }

    /// The value that these bytes are, to the last one.
    ///
    /// # Errors
    /// [`DecodeError`]: these are not bytes of such a value alone.
    fn from_bytes(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let value = Self::read(&mut reader)?;
        reader.end()?;
        Ok(value)
    }

    /// The same, with texts and payloads that are copies: the value is kept for long, and is small.
    ///
    /// # Errors
    /// [`DecodeError`]: these are not bytes of such a value alone.
    fn copied_from(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader {
            copies: true,
            ..Reader::new(bytes)
        };
        let value = Self::read(&mut reader)?;
        reader.end()?;
        Ok(value)
    }
}

/// Why bytes are not a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// They end within the value.
    #[error("the bytes end too early")]
    Truncated,
    /// They go on behind the value.
    #[error("{0} bytes are left over")]
    LeftOver(usize),
    /// A number does not fit, or is longer than it has to be.
    #[error("a number is malformed")]
    Number,
    /// There is no such kind of this.
    #[error("{of}: kind {found} is unknown")]
    Kind {
        /// Of what.
        of: &'static str,
        /// Its number.
        found: u8,
    },
    /// They were written by a later version.
    #[error("version {found} is not known, only those up to {highest}")]
    Version {
        /// What was found.
        found: u16,
        /// The highest that is known.
        highest: u16,
    },
}

/// Bytes that are being read.
#[derive(Debug)]
pub(crate) struct Reader {
    bytes: Bytes,
    /// How many of them have been read.
    at: usize,
    /// Texts and payloads are copies, not slices.
    copies: bool,
}

impl Reader {
    pub(crate) fn new(bytes: Bytes) -> Self {
        Self {
            bytes,
            at: 0,
            copies: false,
        }
    }

    /// Takes `count` bytes.
    fn take(&mut self, count: usize) -> Result<Bytes, DecodeError> {
        if count > self.left() {
            return Err(DecodeError::Truncated);
        }
        let taken = self.at..self.at + count;
        self.at = taken.end;
        Ok(if self.copies {
            Bytes::copy_from_slice(self.bytes.get(taken).unwrap_or_default())
        } else {
            self.bytes.slice(taken)
        })
    }

    pub(crate) fn byte(&mut self) -> Result<u8, DecodeError> {
        let byte = self.bytes.get(self.at).ok_or(DecodeError::Truncated)?;
        self.at += 1;
        Ok(*byte)
    }

    /// Takes everything that is left.
    pub(crate) fn rest(&mut self) -> Bytes {
        let rest = self.bytes.slice(self.at..);
        self.at = self.bytes.len();
        rest
    }

    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Sees that nothing is left.
    pub(crate) fn end(&self) -> Result<(), DecodeError> {
        match self.left() {
            0 => Ok(()),
            left => Err(DecodeError::LeftOver(left)),
        }
    }
}

impl Code for u64 {
    fn write(&self, out: &mut Vec<u8>) {
        let mut rest = *self;
        while rest >= 0x80 {
            out.push(low_bits(rest) | 0x80);
            rest >>= 7;
        }
        out.push(low_bits(rest));
    }

    fn read(from: &mut Reader) -> Result<Self, DecodeError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = from.byte()?;
            let bits = u64::from(byte & 0x7F);
            // The tenth byte has room for one bit.
            if shift == 63 && bits > 1 {
                return Err(DecodeError::Number);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                // A last byte without bits is one that was not needed.
                return if bits == 0 && shift > 0 {
                    Err(DecodeError::Number)
                } else {
                    Ok(value)
                };
            }
        }
        Err(DecodeError::Number)
    }
}

/// The seven lowest bits.
fn low_bits(of: u64) -> u8 {
    u8::try_from(of & 0x7F).unwrap_or_default()
}

/// Numbers that are written as a u64.
macro_rules! code_number {
    ($($number:ty),*) => {$(
        impl Code for $number {
            fn write(&self, out: &mut Vec<u8>) {
                u64::try_from(*self).unwrap_or(u64::MAX).write(out);
            }

            fn read(from: &mut Reader) -> Result<Self, DecodeError> {
                Self::try_from(u64::read(from)?).map_err(|_| DecodeError::Number)
            }
        }
    )*};
}

code_number!(u16, u32, usize);

impl Code for bool {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn read(from: &mut Reader) -> Result<Self, DecodeError> {
        match from.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            found => Err(DecodeError::Kind { of: "bool", found }),
        }
    }
}

impl Code for Bytes {
    fn write(&self, out: &mut Vec<u8>) {
        self.len().write(out);
        out.extend_from_slice(self);
    }

    fn read(from: &mut Reader) -> Result<Self, DecodeError> {
        let length = usize::read(from)?;
        let slice = from.take(length)?;
        Ok(if from.copies {
            Self::copy_from_slice(&slice)
        } else {
            slice
        })
    }
}

impl<T: Code> Code for Option<T> {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            None => out.push(0),
            Some(value) => {
                out.push(1);
                value.write(out);
            }
        }
    }

    fn read(from: &mut Reader) -> Result<Self, DecodeError> {
        bool::read(from)?.then(|| T::read(from)).transpose()
    }
}

impl<T: Code> Code for Box<T> {
    fn write(&self, out: &mut Vec<u8>) {
        (**self).write(out);
    }

    fn read(from: &mut Reader) -> Result<Self, DecodeError> {
        T::read(from).map(Self::new)
    }
}

impl<T: Code> Code for Vec<T> {
    fn write(&self, out: &mut Vec<u8>) {
        self.len().write(out);
        for value in self {
            value.write(out);
        }
    }

    fn read(from: &mut Reader) -> Result<Self, DecodeError> {
        let count = usize::read(from)?;
        // Each takes a byte at least: what is claimed beyond that is not reserved.
        if count > from.left() {
            return Err(DecodeError::Truncated);
        }
        let mut values = Self::with_capacity(count.min(RESERVED));
        for _ in 0..count {
            values.push(T::read(from)?);
        }
        Ok(values)
    }
}

impl<A: Code, B: Code> Code for (A, B) {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
        self.1.write(out);
    }

    fn read(from: &mut Reader) -> Result<Self, DecodeError> {
        Ok((A::read(from)?, B::read(from)?))
    }
}

/// Types with named fields, each written in the order of this list.
macro_rules! code_fields {
    ($($name:path { $($field:ident),* $(,)? })*) => {$(
        impl $crate::codec::Code for $name {
            fn write(&self, out: &mut Vec<u8>) {
                let Self { $($field),* } = self;
                $($crate::codec::Code::write($field, out);)*
            }

            fn read(from: &mut $crate::codec::Reader) -> Result<Self, $crate::codec::DecodeError> {
                // Fields of a struct expression are evaluated as they are written.
                Ok(Self { $($field: $crate::codec::Code::read(from)?),* })
            }
        }
    )*};
}

/// Types of which there are several kinds, each behind its number. Numbers are never used again for another kind.
macro_rules! code_kinds {
    ($name:path, $what:literal { $($number:literal => $kind:ident $({ $($field:ident),* $(,)? })?),* $(,)? }) => {
        impl $crate::codec::Code for $name {
            fn write(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$kind $({ $($field),* })? => {
                        out.push($number);
                        $($($crate::codec::Code::write($field, out);)*)?
                    })*
                }
            }

            fn read(from: &mut $crate::codec::Reader) -> Result<Self, $crate::codec::DecodeError> {
                Ok(match from.byte()? {
                    $($number => Self::$kind $({ $($field: $crate::codec::Code::read(from)?),* })?,)*
                    found => return Err($crate::codec::DecodeError::Kind { of: $what, found }),
                })
            }
        }
    };
}

/// Types around one value.
macro_rules! code_newtype {
    ($($name:ident),*) => {$(
        impl $crate::codec::Code for $name {
            fn write(&self, out: &mut Vec<u8>) {
                $crate::codec::Code::write(&self.0, out);
            }

            fn read(from: &mut $crate::codec::Reader) -> Result<Self, $crate::codec::DecodeError> {
                $crate::codec::Code::read(from).map(Self)
            }
        }
    )*};
}

pub(crate) use {code_fields, code_kinds, code_newtype};

#[cfg(test)]
mod tests;
