//! A client id as it is kept for as long as its connection lasts.
//!
//! A fleet has one for each device, at its proxy and at storage. Most are short (MQTT 3.1.1 asks servers for 23 bytes, and
//! for no more): they need no memory of their own. What names a client on its way has [`Bytes`].

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;

/// The longest client id without an allocation, in bytes.
const SHORT_BYTES: usize = 22;

/// A client id that is kept.
#[derive(Clone)]
pub struct ClientId(Kept);

#[derive(Clone)]
enum Kept {
    Short { len: u8, bytes: [u8; SHORT_BYTES] },
    Long(Box<[u8]>),
}

impl ClientId {
    /// A copy for its way to another.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        Bytes::copy_from_slice(self)
    }
}

impl From<&[u8]> for ClientId {
    fn from(client_id: &[u8]) -> Self {
        let mut bytes = [0; SHORT_BYTES];
        Self(
            match (u8::try_from(client_id.len()), bytes.get_mut(..client_id.len())) {
                (Ok(len), Some(place)) => {
                    place.copy_from_slice(client_id);
                    Kept::Short { len, bytes }
                }
                _ => Kept::Long(client_id.into()),
            },
        )
    }
}

impl Deref for ClientId {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Kept::Short { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Kept::Long(bytes) => bytes,
        }
    }
}

impl PartialEq for ClientId {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for ClientId {}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_what_it_was_whatever_its_length() {
        for len in [0, 1, SHORT_BYTES - 1, SHORT_BYTES, SHORT_BYTES + 1, 300, 65_535] {
            let id: Vec<u8> = (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect();
            let kept = ClientId::from(&*id);
            assert_eq!((&*kept, kept.to_bytes()), (&*id, Bytes::from(id.clone())), "{len}");
            assert_eq!(kept, kept.clone());
            assert_ne!(kept, ClientId::from(&b"another"[..]));
        }
    }

    #[test]
    fn a_short_id_takes_no_more_than_three_words() {
        assert_eq!(size_of::<ClientId>(), 24);
        assert!(matches!(ClientId::from(&[b'x'; SHORT_BYTES][..]).0, Kept::Short { .. }));
        assert!(matches!(ClientId::from(&[b'x'; SHORT_BYTES + 1][..]).0, Kept::Long(_)));
    }
}
