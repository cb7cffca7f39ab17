//! Why a frame is not understood.

use thiserror::Error;

/// A frame that is not a frame of the contract. The sender is of an unknown version or broken: the stream ends, and
/// sending the frame again does not help.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WireError {
    /// The bytes are not protobuf of the expected shape.
    #[error("malformed frame: {0}")]
    Malformed(String),
    /// A member of a choice that this version does not have.
    #[error("{of} {number} is not known to this version")]
    UnknownMember {
        /// The choice: `operation`, `answer`, `delivery`, `control` or `interest change`.
        of: &'static str,
        /// Field number of the member; 0 when none was set.
        number: u32,
    },
    /// A field without which the message means nothing.
    #[error("{field} is missing")]
    Missing {
        /// Message and field, as in the protobuf file.
        field: &'static str,
    },
    /// A field with a value that it cannot have.
    #[error("{field} is invalid: {why}")]
    Invalid {
        /// Message and field, as in the protobuf file.
        field: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A list with more items than a frame may have.
    #[error("{field} has {items} items")]
    TooMany {
        /// Message and field, as in the protobuf file.
        field: &'static str,
        /// Number of items.
        items: usize,
    },
    /// A stream that begins without an attach, or attaches twice.
    #[error("{0}")]
    OutOfOrder(&'static str),
}
