//! Bytes of one connection that are offered to its socket: one stage per worker, so that a connection without
//! unwritten bytes holds no buffer.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

use super::token::ConnectionToken;

/// What is offered to a socket.
#[derive(Debug, Default)]
pub(crate) struct Stage {
    /// Whose bytes these are; none: the shell has reported what became of them.
    pub(crate) token: Option<ConnectionToken>,
    pub(crate) buffer: Vec<u8>,
    /// End of the part of the buffer that has a segment.
    sealed: usize,
    segments: Vec<Segment>,
    shared_bytes: usize,
    is_repetition: bool,
}

#[derive(Debug)]
enum Segment {
    Buffer(Range<usize>),
    Shared(Bytes),
    /// Bytes of a larger buffer, which must not stay in memory for them.
    Part(Bytes),
}

/// A buffer that has grown beyond this is given back.
const KEPT_BYTES: usize = 512 << 10;

impl Stage {
    /// Makes room for a connection.
    pub(crate) fn begin(&mut self, token: ConnectionToken) {
        self.clear();
        self.token = Some(token);
    }

    /// Takes everything off the stage.
    pub(crate) fn clear(&mut self) {
        self.token = None;
        self.buffer.clear();
        if self.buffer.capacity() > KEPT_BYTES {
            self.buffer = Vec::new();
        }
        self.segments.clear();
        (self.sealed, self.shared_bytes, self.is_repetition) = (0, 0, false);
    }

    /// Offers bytes once more that the socket did not take, at least one piece and up to about `max_bytes`.
    pub(crate) fn repeat(&mut self, unwritten: &VecDeque<Bytes>, max_bytes: usize) {
        self.is_repetition = true;
        for piece in unwritten {
            if self.shared_bytes > 0 && self.shared_bytes + piece.len() > max_bytes {
                break;
            }
            self.shared_bytes += piece.len();
            self.segments.push(Segment::Shared(piece.clone()));
        }
    }

    /// Whether these bytes were offered before.
    pub(crate) fn is_repetition(&self) -> bool {
        self.is_repetition
    }

    /// Makes a segment of what was appended to the buffer.
    pub(crate) fn seal(&mut self) {
        if self.buffer.len() > self.sealed {
            let end = self.buffer.len();
            match self.segments.last_mut() {
                // It ends where this begins.
                Some(Segment::Buffer(range)) => range.end = end,
                _ => self.segments.push(Segment::Buffer(self.sealed..end)),
            }
            self.sealed = end;
        }
    }

    /// Puts bytes behind the buffer without copying them. `is_part`: they are a part of a larger buffer.
    pub(crate) fn push_shared(&mut self, bytes: Bytes, is_part: bool) {
        self.seal();
        self.shared_bytes += bytes.len();
        self.segments.push(if is_part {
            Segment::Part(bytes)
        } else {
            Segment::Shared(bytes)
        });
    }

    /// Bytes on the stage.
    pub(crate) fn len(&self) -> usize {
        self.buffer.len() + self.shared_bytes
    }

    /// The segments in order.
    pub(crate) fn slices(&self) -> impl Iterator<Item = &[u8]> {
        self.segments.iter().map(|segment| match segment {
            Segment::Buffer(range) => self.buffer.get(range.clone()).unwrap_or_default(),
            Segment::Shared(bytes) | Segment::Part(bytes) => bytes,
        })
    }

    /// Hands out what stands behind the first `written` bytes.
    pub(crate) fn rest_after(&self, written: usize, mut keep: impl FnMut(Bytes)) {
        let mut skip = written;
        for (segment, bytes) in self.segments.iter().zip(self.slices()) {
            if let Some(rest) = bytes.get(skip..).filter(|rest| !rest.is_empty()) {
                keep(match segment {
                    Segment::Shared(bytes) => bytes.slice(skip..),
                    Segment::Buffer(_) | Segment::Part(_) => Bytes::copy_from_slice(rest),
                });
            }
            skip = skip.saturating_sub(bytes.len());
        }
    }
}

/// What a connection has to write. The shell offers the slices to the socket in order and reports with
/// [`super::Worker::written`] how many bytes it took.
#[derive(Debug)]
pub struct PendingOutput<'a> {
    pub(crate) stage: &'a Stage,
}

impl<'a> PendingOutput<'a> {
    /// The bytes, in order.
    pub fn slices(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.stage.slices()
    }

    /// How many bytes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.stage.len()
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_socket_did_not_take_is_what_stands_behind_it() {
        for is_part in [false, true] {
            let mut stage = Stage::default();
            stage.begin(ConnectionToken::from_u64(1));
            stage.buffer.extend_from_slice(b"he");
            stage.seal();
            stage.buffer.extend_from_slice(b"ad");
            stage.push_shared(Bytes::from_static(b"payload"), is_part);
            stage.buffer.extend_from_slice(b"next");
            stage.seal();
            let whole: Vec<u8> = stage.slices().flatten().copied().collect();
            assert_eq!(whole, b"headpayloadnext");
            assert_eq!(stage.slices().count(), 3, "what stands side by side is one slice");
            for written in 0..=whole.len() {
                let mut rest = Vec::new();
                stage.rest_after(written, |bytes| rest.extend_from_slice(&bytes));
                assert_eq!(rest, whole[written..], "{written}");
            }
        }
    }
}
