//! Single rows of the newest checkpoint, while others are written and merged.
//!
//! For a thread of its own, beside the one that has the [`super::RowStore`]. A lookup goes by the manifest that counts when
//! it begins: newest file first, and a row without a value ends it. A file that a merge has removed before it was opened is
//! in no manifest any more, and the lookup begins again; one that is open is read though it has gone. Which blocks a file
//! has is learned from their headers when it is first looked at, and kept as long as the file counts. Blocks that were read
//! are kept within a bound ([`super::blocks`]): readers that come back together want what lies together.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;

use super::{
    RowKey,
    block::{self, BLOCK_HEADER_BYTES, IndexedBlock},
    blocks::BlockCache,
    file::{HEADER_BYTES, file_name, open_checked, read_block},
    manifest::Manifest,
    meta::FileMeta,
};
use crate::{directory::DataDirectory, disk::DiskFile, error::OpenError};

/// Files that are kept open.
const OPEN_FILES: usize = 128;

/// The manifest that counts, told from thread to thread.
#[derive(Debug, Default)]
pub(super) struct Current(Mutex<Arc<Manifest>>);

impl Current {
    pub(super) fn set(&self, manifest: Manifest) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(manifest);
    }

    fn get(&self) -> Arc<Manifest> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// See the module.
#[derive(Debug)]
pub struct RowLookup {
    directory: DataDirectory,
    current: Arc<Current>,
    /// What is known is of the files of this one.
    manifest: Arc<Manifest>,
    indexes: HashMap<u64, BlockIndex>,
    files: HashMap<u64, Arc<dyn DiskFile>>,
    blocks: BlockCache,
    read_bytes: u64,
}

/// Where the blocks of a file are, and the first key of each.
#[derive(Debug, Default)]
struct BlockIndex {
    blocks: Vec<BlockAt>,
    /// The keys, one behind the other.
    keys: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct BlockAt {
    offset: u64,
    shard: u32,
    /// Where its first key ends in `keys`.
    key_end: usize,
}

impl RowLookup {
    pub(super) fn new(directory: &DataDirectory, current: Arc<Current>, kept_bytes: usize) -> Self {
        Self {
            directory: directory.clone(),
            manifest: current.get(),
            current,
            indexes: HashMap::new(),
            files: HashMap::new(),
            blocks: BlockCache::new(kept_bytes),
            read_bytes: 0,
        }
    }

    /// The value of a row, in memory of its own; none: there is no such row. Keys that are asked for in their order are
    /// found with the fewest reads.
    ///
    /// # Errors
    /// [`OpenError::Damaged`] names file and block, and what the disk says.
    pub fn get(&mut self, shard: u32, key: &[u8]) -> Result<Option<Bytes>, OpenError> {
        let key = RowKey {
            shard,
            key: Bytes::copy_from_slice(key),
        };
        loop {
            self.go_by_current();
            match self.find(&key) {
                Err(OpenError::Io { source, .. })
                    if source.kind() == io::ErrorKind::NotFound
                        && !Arc::ptr_eq(&self.manifest, &self.current.get()) => {}
                found => return found,
            }
        }
    }

    /// Bytes that were read from the disk until now.
    #[must_use]
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    /// Bytes of blocks that are kept.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.blocks.bytes()
    }

    /// Forgets the blocks that are kept: nothing will be asked for soon.
    pub fn forget_blocks(&mut self) {
        self.blocks.clear();
    }

    /// Forgets files that do not count any more.
    fn go_by_current(&mut self) {
        let current = self.current.get();
        if Arc::ptr_eq(&self.manifest, &current) {
            return;
        }
        let counts: std::collections::HashSet<u64> = current.files().map(|meta| meta.id).collect();
        self.indexes.retain(|id, _| counts.contains(id));
        self.files.retain(|id, _| counts.contains(id));
        self.blocks.retain(|(id, _)| counts.contains(id));
        self.manifest = current;
    }

    fn find(&mut self, key: &RowKey) -> Result<Option<Bytes>, OpenError> {
        let manifest = self.manifest.clone();
        for delta in manifest.deltas.iter().rev() {
            if let Some(value) = self.find_in(delta, key)? {
                return Ok(value);
            }
        }
        // Files of the base follow each other.
        let behind = manifest.base.partition_point(|meta| meta.first <= *key);
        let file = behind.checked_sub(1).and_then(|at| manifest.base.get(at));
        match file {
            Some(file) => Ok(self.find_in(file, key)?.flatten()),
            None => Ok(None),
        }
    }

    /// The row of a file; the inner none: it says that there is none any more.
    fn find_in(&mut self, meta: &FileMeta, key: &RowKey) -> Result<Option<Option<Bytes>>, OpenError> {
        let has_shard = meta.shards.iter().any(|(shard, _)| *shard == key.shard);
        if !has_shard || meta.first > *key {
            return Ok(None);
        }
        let Some((offset, end)) = self.index(meta)?.block_of(key, meta.bytes) else {
            return Ok(None);
        };
        let block = self.block(meta, offset, end)?;
        // Copied: or one small row would keep its whole block in memory.
        Ok(block.find(key).map(|value| value.map(Bytes::copy_from_slice)))
    }

    fn block(&mut self, meta: &FileMeta, offset: u64, end: u64) -> Result<Arc<IndexedBlock>, OpenError> {
        if let Some(block) = self.blocks.get((meta.id, offset)) {
            return Ok(block);
        }
        let file = self.file(meta.id)?;
        let body = read_block(&*file, meta.id, offset, end)?;
        self.read_bytes += (BLOCK_HEADER_BYTES + body.len()) as u64;
        let block = IndexedBlock::new(body)
            .map_err(|block::NoRows| OpenError::damaged(&file_name(meta.id), offset, "rows in a block"))?;
        let block = Arc::new(block);
        self.blocks.put((meta.id, offset), block.clone());
        Ok(block)
    }

    fn index(&mut self, meta: &FileMeta) -> Result<&BlockIndex, OpenError> {
        if !self.indexes.contains_key(&meta.id) {
            let file = self.file(meta.id)?;
            let (index, read_bytes) = BlockIndex::read(&*file, meta)?;
            self.read_bytes += read_bytes;
            self.indexes.insert(meta.id, index);
        }
        Ok(self.indexes.entry(meta.id).or_default())
    }

    fn file(&mut self, id: u64) -> Result<Arc<dyn DiskFile>, OpenError> {
        if let Some(file) = self.files.get(&id) {
            return Ok(file.clone());
        }
        let file = open_checked(&self.directory, id)?;
        if self.files.len() >= OPEN_FILES {
            self.files.clear();
        }
        self.files.insert(id, file.clone());
        Ok(file)
    }
}

impl BlockIndex {
    /// Learns where the blocks of a file are; also says how many bytes that took.
    fn read(file: &dyn DiskFile, meta: &FileMeta) -> Result<(Self, u64), OpenError> {
        let name = file_name(meta.id);
        let mut index = Self::default();
        let mut offset = HEADER_BYTES as u64;
        let mut read_bytes = 0;
        while offset < meta.bytes {
            let io = |error| OpenError::io(&name, offset, error);
            let damaged = || OpenError::damaged(&name, offset, "a block of rows");
            let left = meta.bytes - offset;
            let mut front = [0; BLOCK_HEADER_BYTES + block::ROW_HEADER_BYTES];
            if left < front.len() as u64 {
                return Err(damaged());
            }
            file.read_at(offset, &mut front).map_err(io)?;
            let (block_bytes, shard, key_bytes) = block::parse_front(&front).ok_or_else(damaged)?;
            let all = (BLOCK_HEADER_BYTES + block_bytes) as u64;
            if all > left || front.len() + key_bytes > BLOCK_HEADER_BYTES + block_bytes {
                return Err(damaged());
            }
            let key_at = index.keys.len();
            index.keys.resize(key_at + key_bytes, 0);
            if let Some(key) = index.keys.get_mut(key_at..) {
                file.read_at(offset + front.len() as u64, key).map_err(io)?;
            }
            index.blocks.push(BlockAt {
                offset,
                shard,
                key_end: index.keys.len(),
            });
            read_bytes += (front.len() + key_bytes) as u64;
            offset += all;
        }
        index.keys.shrink_to_fit();
        index.blocks.shrink_to_fit();
        Ok((index, read_bytes))
    }

    fn first_key(&self, at: usize) -> (u32, &[u8]) {
        let begin = at.checked_sub(1).and_then(|before| self.blocks.get(before));
        let begin = begin.map_or(0, |before| before.key_end);
        self.blocks.get(at).map_or((0, &[]), |block| {
            (block.shard, self.keys.get(begin..block.key_end).unwrap_or_default())
        })
    }

    /// Where the one block begins and ends that may have the key.
    fn block_of(&self, key: &RowKey, file_end: u64) -> Option<(u64, u64)> {
        let (mut low, mut high) = (0, self.blocks.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.first_key(middle) <= (key.shard, &key.key[..]) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let block = self.blocks.get(low.checked_sub(1)?)?;
        let end = self.blocks.get(low).map_or(file_end, |next| next.offset);
        Some((block.offset, end))
    }
}
