//! Bytes of a client that wait: an incomplete packet, or packets behind one that has to wait.
//!
//! Most connections keep none, ever, and pay for that with the place of a pointer.

use std::ops::Deref;

/// Bytes that a client has sent and that were not taken.
#[derive(Debug, Default)]
#[allow(clippy::box_collection, reason = "it is there only while it holds something")]
pub(crate) struct Input(Option<Box<Vec<u8>>>);

impl Input {
    /// Appends bytes.
    pub(crate) fn extend_from_slice(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.0.get_or_insert_default().extend_from_slice(bytes);
        }
    }

    /// Takes all that there is.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.0.take().map(|bytes| *bytes).unwrap_or_default()
    }

    /// Bytes of memory that are held for it.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.0.as_ref().map_or(0, |bytes| bytes.capacity())
    }
}

impl Deref for Input {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }
}
