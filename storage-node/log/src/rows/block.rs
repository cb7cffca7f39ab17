//! A block: rows of one shard behind each other, with a CRC.

use bytes::{Buf, Bytes};

use super::{Row, RowKey};
use crate::format::{Reader, to_u32, to_usize};

/// Bytes of the header of a block.
pub(super) const BLOCK_HEADER_BYTES: usize = 8;
/// Bytes of the header of a row.
pub(super) const ROW_HEADER_BYTES: usize = 12;
/// The length of the value of a row without one.
const NO_VALUE: u32 = u32::MAX;

/// Bytes that a row takes.
pub(super) fn row_bytes(row: &Row) -> usize {
    ROW_HEADER_BYTES + row.key.key.len() + row.value.as_ref().map_or(0, Bytes::len)
}

/// Begins a block in an empty buffer.
pub(super) fn begin(out: &mut Vec<u8>) {
    out.clear();
    out.resize(BLOCK_HEADER_BYTES, 0);
}

/// Appends a row.
pub(super) fn put(out: &mut Vec<u8>, row: &Row) {
    out.extend_from_slice(&row.key.shard.to_le_bytes());
    out.extend_from_slice(&to_u32(row.key.key.len()).to_le_bytes());
    let value_bytes = row.value.as_ref().map_or(NO_VALUE, |value| to_u32(value.len()));
    out.extend_from_slice(&value_bytes.to_le_bytes());
    out.extend_from_slice(&row.key.key);
    out.extend_from_slice(row.value.as_deref().unwrap_or_default());
}

/// Fills in the header of a block that goes to `offset` of the file `id`: a block of another place is none.
pub(super) fn finish(out: &mut [u8], id: u64, offset: u64) {
    let length = to_u32(out.len() - BLOCK_HEADER_BYTES);
    let crc = crc_of(id, offset, &out[BLOCK_HEADER_BYTES..]);
    out[..4].copy_from_slice(&length.to_le_bytes());
    out[4..BLOCK_HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
}

fn crc_of(id: u64, offset: u64, body: &[u8]) -> u32 {
    let place = crc32c::crc32c_append(crc32c::crc32c(&id.to_le_bytes()), &offset.to_le_bytes());
    crc32c::crc32c_append(place, body)
}

/// The length of a block's body, and the CRC it has to have.
pub(super) fn parse_header(header: [u8; BLOCK_HEADER_BYTES]) -> (usize, u32) {
    let mut reader = Reader::new(&header);
    let (length, crc) = (reader.u32().unwrap_or_default(), reader.u32().unwrap_or_default());
    (to_usize(u64::from(length)), crc)
}

/// From the header of a block and that of its first row: the length of the block's body, and the shard and the length of
/// the row's key. Not checked against the CRC, which is that of the whole body.
pub(super) fn parse_front(front: &[u8; BLOCK_HEADER_BYTES + ROW_HEADER_BYTES]) -> Option<(usize, u32, usize)> {
    let mut reader = Reader::new(front);
    let (length, _crc) = (reader.u32()?, reader.u32()?);
    let (shard, key_bytes) = (reader.u32()?, reader.u32()?);
    let length = to_usize(u64::from(length));
    Some((length, shard, to_usize(u64::from(key_bytes)))).filter(|_| length > 0)
}

/// Whether a body is as it was written.
pub(super) fn is_whole(id: u64, offset: u64, body: &[u8], crc: u32) -> bool {
    crc_of(id, offset, body) == crc
}

/// A block whose rows are found by their keys.
#[derive(Debug)]
pub(super) struct IndexedBlock {
    body: Bytes,
    /// Where each row begins, in the order of their keys.
    rows: Box<[u32]>,
}

impl IndexedBlock {
    /// Looks where the rows of a block are.
    ///
    /// # Errors
    /// [`NoRows`].
    pub(super) fn new(body: Bytes) -> Result<Self, NoRows> {
        let (mut rows, mut at) = (Vec::new(), 0);
        while at < body.len() {
            rows.push(to_u32(at));
            let (_, value_end) = row_at(&body, at).ok_or(NoRows)?.ends;
            at = value_end;
        }
        Ok(Self {
            body,
            rows: rows.into(),
        })
    }

    /// Bytes that it takes in memory.
    pub(super) fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.body.len() + self.rows.len() * size_of::<u32>()
    }

    /// The value of a row, the inner none: it has none; the outer: the block has no such row.
    pub(super) fn find(&self, key: &RowKey) -> Option<Option<&[u8]>> {
        let row = |at: &u32| row_at(&self.body, to_usize(u64::from(*at)));
        let found = self.rows.binary_search_by(|at| {
            let row = row(at).map(|row| (row.shard, row.key(&self.body)));
            row.unwrap_or_default().cmp(&(key.shard, &key.key[..]))
        });
        Some(row(self.rows.get(found.ok()?)?)?.value(&self.body))
    }
}

/// Where a row is in its block.
struct RowAt {
    shard: u32,
    key_begins: usize,
    /// Of the key, and of the value.
    ends: (usize, usize),
    has_value: bool,
}

/// The row at a place of a block, if a whole one is there.
fn row_at(body: &[u8], at: usize) -> Option<RowAt> {
    let mut reader = Reader::new(body.get(at..)?);
    let (shard, key_bytes, value_bytes) = (reader.u32()?, reader.u32()?, reader.u32()?);
    let has_value = value_bytes != NO_VALUE;
    let value_bytes = if has_value { to_usize(u64::from(value_bytes)) } else { 0 };
    let key_begins = at + ROW_HEADER_BYTES;
    let key_ends = key_begins.checked_add(to_usize(u64::from(key_bytes)))?;
    let value_ends = key_ends.checked_add(value_bytes)?;
    (value_ends <= body.len()).then_some(RowAt {
        shard,
        key_begins,
        ends: (key_ends, value_ends),
        has_value,
    })
}

impl RowAt {
    fn key<'a>(&self, body: &'a [u8]) -> &'a [u8] {
        body.get(self.key_begins..self.ends.0).unwrap_or_default()
    }

    fn value<'a>(&self, body: &'a [u8]) -> Option<&'a [u8]> {
        body.get(self.ends.0..self.ends.1).filter(|_| self.has_value)
    }
}

/// The bytes are not rows behind each other.
#[derive(Debug)]
pub(super) struct NoRows;

/// Takes the next row, which shares the memory of its block.
pub(super) fn next_row(body: &mut Bytes) -> Option<Row> {
    if body.len() < ROW_HEADER_BYTES {
        return None;
    }
    let shard = body.get_u32_le();
    let key_bytes = to_usize(u64::from(body.get_u32_le()));
    let value_bytes = body.get_u32_le();
    if body.len() < key_bytes {
        return None;
    }
    let key = body.split_to(key_bytes);
    let value = if value_bytes == NO_VALUE {
        None
    } else {
        let value_bytes = to_usize(u64::from(value_bytes));
        if body.len() < value_bytes {
            return None;
        }
        Some(body.split_to(value_bytes))
    };
    let key = RowKey { shard, key };
    Some(Row { key, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(shard: u32, key: &'static [u8], value: Option<&'static [u8]>) -> Row {
        Row {
            key: RowKey {
                shard,
                key: Bytes::from_static(key),
            },
            value: value.map(Bytes::from_static),
        }
    }

    fn body(rows: &[Row]) -> Bytes {
        let mut out = Vec::new();
        begin(&mut out);
        rows.iter().for_each(|row| put(&mut out, row));
        Bytes::from(out).split_off(BLOCK_HEADER_BYTES)
    }

    #[test]
    fn a_row_is_found_by_its_key_and_what_is_not_there_is_not() {
        let rows = [
            row(1, b"b", Some(b"one")),
            row(1, b"bb", None),
            row(1, b"d", Some(b"")),
            row(2, b"a", Some(b"two")),
        ];
        let block = IndexedBlock::new(body(&rows)).unwrap();
        for row in &rows {
            assert_eq!(block.find(&row.key), Some(row.value.as_deref()));
        }
        for missing in [
            row(1, b"a", None),
            row(1, b"c", None),
            row(2, b"b", None),
            row(0, b"b", None),
        ] {
            assert_eq!(block.find(&missing.key), None);
        }
    }

    #[test]
    fn what_is_no_row_is_refused() {
        let rows = [row(1, b"b", Some(b"one")), row(1, b"d", Some(b"two"))];
        let body = body(&rows);
        for length in (1..body.len()).filter(|length| *length != row_bytes(&rows[0])) {
            assert!(IndexedBlock::new(body.slice(..length)).is_err(), "{length}");
        }
        for at in 4..ROW_HEADER_BYTES {
            let mut wrong = body.to_vec();
            wrong[at] = 0xfe;
            assert!(IndexedBlock::new(wrong.into()).is_err(), "{at}");
        }
    }
}
