//! The bytes of one simulated file: as the process sees them, as they are on disk, and the writes in between.

use std::io;

use super::{Random, SECTOR_BYTES};

/// A file's bytes.
#[derive(Debug, Clone, Default)]
pub(super) struct Inode {
    seen: Vec<u8>,
    durable: Vec<u8>,
    /// Writes since the last flush, in order: where, and what.
    unflushed: Vec<(usize, Vec<u8>)>,
}

impl Inode {
    pub(super) fn size(&self) -> u64 {
        self.seen.len() as u64
    }

    pub(super) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let start = to_usize(offset);
        let bytes = start
            .checked_add(buffer.len())
            .and_then(|end| self.seen.get(start..end))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }

    pub(super) fn write_at(&mut self, offset: u64, bytes: &[u8]) {
        let start = to_usize(offset);
        put(&mut self.seen, start, bytes);
        self.unflushed.push((start, bytes.to_vec()));
    }

    pub(super) fn flush(&mut self) {
        for (start, bytes) in self.unflushed.drain(..) {
            put(&mut self.durable, start, &bytes);
        }
    }

    /// What was written counts as clean, and is not on disk.
    pub(super) fn forget_unflushed(&mut self) {
        self.unflushed.clear();
    }

    pub(super) fn rot(&mut self, offset: u64, bits: u8) {
        for bytes in [&mut self.seen, &mut self.durable] {
            if let Some(byte) = bytes.get_mut(to_usize(offset)) {
                *byte ^= bits;
            }
        }
    }

    /// What is there after a power cut: of each sector of each write, it survives or not, `survives` times of ten.
    pub(super) fn after_power_cut(&self, random: &mut Random, survives: usize) -> Self {
        let mut durable = self.durable.clone();
        for (start, bytes) in &self.unflushed {
            let mut at = 0;
            while at < bytes.len() {
                let sector_end = (start + at) / SECTOR_BYTES * SECTOR_BYTES + SECTOR_BYTES;
                let end = (sector_end - start).min(bytes.len());
                if random.below(10) < survives {
                    put(&mut durable, start + at, &bytes[at..end]);
                }
                at = end;
            }
        }
        Self {
            seen: durable.clone(),
            durable,
            unflushed: Vec::new(),
        }
    }
}

fn put(bytes: &mut Vec<u8>, start: usize, new: &[u8]) {
    let end = start + new.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[start..end].copy_from_slice(new);
}

fn to_usize(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}
