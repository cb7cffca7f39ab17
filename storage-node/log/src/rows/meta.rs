//! What the manifest says of a file of rows: enough to find a shard in it, and to know how much of it may be dead.

use bytes::Bytes;

use super::RowKey;
use crate::format::{Reader, put_counted, to_u32};

/// Sizes of rows are counted in classes, each for twice the bytes of the one before.
const SIZE_CLASSES: usize = 32;

/// A file of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileMeta {
    pub(super) id: u64,
    /// Its length.
    pub(super) bytes: u64,
    pub(super) rows: u64,
    pub(super) first: RowKey,
    /// Where each shard that is in it begins: the offset of a block.
    pub(super) shards: Vec<(u32, u64)>,
    pub(super) sizes: RowSizes,
}

/// How many rows of which size there are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct RowSizes {
    /// Rows and their bytes, by class.
    classes: [(u64, u64); SIZE_CLASSES],
}

impl RowSizes {
    pub(super) fn add(&mut self, row_bytes: usize) {
        let class = &mut self.classes[class_of(row_bytes)];
        class.0 += 1;
        class.1 += row_bytes as u64;
    }

    pub(super) fn add_all(&mut self, other: &Self) {
        for (class, other) in self.classes.iter_mut().zip(&other.classes) {
            class.0 += other.0;
            class.1 += other.1;
        }
    }

    /// The most bytes that `rows` of them can have.
    pub(super) fn largest(&self, rows: u64) -> u64 {
        let mut left = rows;
        let mut bytes = 0;
        for (class, (rows, class_bytes)) in self.classes.iter().enumerate().rev() {
            if left >= *rows {
                left -= rows;
                bytes += class_bytes;
            } else {
                let largest = 1_u64 << (class + 1);
                return bytes + left.saturating_mul(largest).min(*class_bytes);
            }
        }
        bytes
    }
}

/// Rows of 2^class up to twice that.
fn class_of(row_bytes: usize) -> usize {
    let log = usize::try_from(row_bytes.max(1).ilog2()).unwrap_or(0);
    log.min(SIZE_CLASSES - 1)
}

impl FileMeta {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        for number in [self.id, self.bytes, self.rows] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.first.shard.to_le_bytes());
        put_counted(out, &self.first.key);
        out.extend_from_slice(&to_u32(self.shards.len()).to_le_bytes());
        for (shard, offset) in &self.shards {
            out.extend_from_slice(&shard.to_le_bytes());
            out.extend_from_slice(&offset.to_le_bytes());
        }
        for (rows, bytes) in self.sizes.classes {
            out.extend_from_slice(&rows.to_le_bytes());
            out.extend_from_slice(&bytes.to_le_bytes());
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        let (id, bytes, rows) = (reader.u64()?, reader.u64()?, reader.u64()?);
        let first = RowKey {
            shard: reader.u32()?,
            key: Bytes::copy_from_slice(reader.counted()?),
        };
        let shards = (0..reader.u32()?)
            .map(|_| Some((reader.u32()?, reader.u64()?)))
            .collect::<Option<_>>()?;
        let mut sizes = RowSizes::default();
        for class in &mut sizes.classes {
            *class = (reader.u64()?, reader.u64()?);
        }
        Some(Self {
            id,
            bytes,
            rows,
            first,
            shards,
            sizes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_rows_are_never_more_than_is_assumed() {
        let mut random = crate::disk::Random(7);
        for _ in 0..200 {
            let mut rows: Vec<usize> = (0..random.below(60)).map(|_| 12 + random.below(5_000)).collect();
            let mut sizes = RowSizes::default();
            for row in &rows {
                sizes.add(*row);
            }
            rows.sort_unstable_by(|a, b| b.cmp(a));
            for count in 0..rows.len() {
                let most: usize = rows[..count].iter().sum();
                assert!(sizes.largest(count as u64) >= most as u64);
            }
            assert_eq!(sizes.largest(1_000), rows.iter().sum::<usize>() as u64);
        }
    }

    #[test]
    fn rows_of_one_size_are_counted_to_a_factor_of_two() {
        let mut sizes = RowSizes::default();
        for _ in 0..100 {
            sizes.add(200);
        }
        assert!((2_000..=4_000).contains(&sizes.largest(10)));
    }
}
