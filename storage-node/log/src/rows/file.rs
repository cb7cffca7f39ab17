//! Writes a file of sorted rows, and reads one.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    Row, RowError, RowKey,
    block::{self, BLOCK_HEADER_BYTES},
    meta::{FileMeta, RowSizes},
};
use crate::{
    directory::DataDirectory,
    disk::DiskFile,
    error::OpenError,
    format::{FRONT_BYTES, FileKind},
};

const KIND: FileKind = FileKind {
    magic: *b"FRSHrows",
    format: 1,
};
/// Front, node, id, CRC.
pub(super) const HEADER_BYTES: usize = FRONT_BYTES + 16 + 8 + 4;

/// Bytes that are flushed at once: the log's flushes wait behind what the disk has been given before them.
const FLUSH_STEP_BYTES: u64 = 4 << 20;

/// The name of a file of rows.
pub(super) fn file_name(id: u64) -> String {
    format!("rows-{id:016x}")
}

fn header(node: [u8; 16], id: u64) -> Vec<u8> {
    let mut out = KIND.front().to_vec();
    out.extend_from_slice(&node);
    out.extend_from_slice(&id.to_le_bytes());
    let crc = crc32c::crc32c(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

/// A file that is being written. Nothing refers to it before its manifest; until it is finished it is removed when it
/// is dropped.
#[derive(Debug)]
pub(super) struct FileWriter {
    directory: DataDirectory,
    id: u64,
    name: String,
    file: Arc<dyn DiskFile>,
    block: Vec<u8>,
    block_bytes: usize,
    offset: u64,
    flushed: u64,
    rows: u64,
    first: Option<RowKey>,
    shards: Vec<(u32, u64)>,
    sizes: RowSizes,
    finished: bool,
}

impl FileWriter {
    /// Makes the file.
    ///
    /// # Errors
    /// [`RowError`].
    pub(super) fn create(directory: &DataDirectory, id: u64, block_bytes: usize) -> Result<Self, RowError> {
        let name = file_name(id);
        let file = directory.disk.create(&name);
        let file = file.map_err(RowError::of_new_file(&name, "making"))?;
        let header = header(directory.node_uuid(), id);
        let mut block = Vec::with_capacity(block_bytes + block_bytes / 4);
        block::begin(&mut block);
        let writer = Self {
            directory: directory.clone(),
            id,
            name,
            file,
            block,
            block_bytes,
            offset: header.len() as u64,
            flushed: 0,
            rows: 0,
            first: None,
            shards: Vec::new(),
            sizes: RowSizes::default(),
            finished: false,
        };
        let written = writer.file.write_at(0, &header);
        written.map_err(RowError::of_new_file(&writer.name, "writing"))?;
        Ok(writer)
    }

    /// Appends a row, which lies behind all before.
    ///
    /// # Errors
    /// [`RowError`]; the file is of no use then.
    pub(super) fn put(&mut self, row: &Row) -> Result<(), RowError> {
        let shard = row.key.shard;
        let is_next_shard = self.shards.last().is_none_or(|(last, _)| *last != shard);
        if is_next_shard || self.block.len() >= self.block_bytes {
            self.write_block()?;
        }
        if is_next_shard {
            self.shards.push((shard, self.offset));
        }
        if self.first.is_none() {
            self.first = Some(RowKey {
                shard,
                key: Bytes::copy_from_slice(&row.key.key),
            });
        }
        block::put(&mut self.block, row);
        self.rows += 1;
        self.sizes.add(block::row_bytes(row));
        Ok(())
    }

    /// Bytes until now.
    pub(super) fn bytes(&self) -> u64 {
        self.offset + self.block.len() as u64
    }

    /// Flushes the file. None: there was no row, and there is no file.
    ///
    /// # Errors
    /// [`RowError`]; there is no file then.
    pub(super) fn finish(mut self) -> Result<Option<FileMeta>, RowError> {
        self.write_block()?;
        let Some(first) = self.first.take() else {
            return Ok(None);
        };
        let flushed = self.file.sync_data();
        flushed.map_err(RowError::of_new_file(&self.name, "flushing"))?;
        self.finished = true;
        Ok(Some(FileMeta {
            id: self.id,
            bytes: self.offset,
            rows: self.rows,
            first,
            shards: std::mem::take(&mut self.shards),
            sizes: std::mem::take(&mut self.sizes),
        }))
    }

    fn write_block(&mut self) -> Result<(), RowError> {
        if self.block.len() == BLOCK_HEADER_BYTES {
            return Ok(());
        }
        block::finish(&mut self.block, self.id, self.offset);
        let written = self.file.write_at(self.offset, &self.block);
        written.map_err(RowError::of_new_file(&self.name, "writing"))?;
        self.offset += self.block.len() as u64;
        if self.offset - self.flushed >= FLUSH_STEP_BYTES {
            let flushed = self.file.sync_data();
            flushed.map_err(RowError::of_new_file(&self.name, "flushing"))?;
            self.flushed = self.offset;
        }
        block::begin(&mut self.block);
        Ok(())
    }
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        if !self.finished {
            // What is left when this fails goes at the next start.
            let _ = self.directory.disk.remove(&self.name);
        }
    }
}

/// Reads the rows of a file in order, a block at a time.
#[derive(Debug)]
pub(super) struct FileReader {
    directory: DataDirectory,
    id: u64,
    name: String,
    file: Option<Arc<dyn DiskFile>>,
    offset: u64,
    end: u64,
    block: Bytes,
}

impl FileReader {
    /// All rows. The file is opened with the first.
    pub(super) fn new(directory: &DataDirectory, meta: &FileMeta) -> Self {
        Self {
            directory: directory.clone(),
            id: meta.id,
            name: file_name(meta.id),
            file: None,
            offset: HEADER_BYTES as u64,
            end: meta.bytes,
            block: Bytes::new(),
        }
    }

    /// The rows of one shard; none: it has none of it.
    pub(super) fn of_shard(directory: &DataDirectory, meta: &FileMeta, shard: u32) -> Option<Self> {
        let at = meta.shards.iter().position(|(there, _)| *there == shard)?;
        let mut reader = Self::new(directory, meta);
        reader.offset = meta.shards[at].1;
        if let Some((_, next)) = meta.shards.get(at + 1) {
            reader.end = *next;
        }
        Some(reader)
    }

    /// The next row, which shares the memory of its block.
    ///
    /// # Errors
    /// [`OpenError::Damaged`] names the block, and what the disk says.
    pub(super) fn next_row(&mut self) -> Result<Option<Row>, OpenError> {
        if self.block.is_empty() {
            if self.offset >= self.end {
                return Ok(None);
            }
            self.block = self.read_block()?;
        }
        let row = block::next_row(&mut self.block);
        row.map(Some)
            .ok_or_else(|| OpenError::damaged(&self.name, self.offset, "a row in the block before"))
    }

    fn read_block(&mut self) -> Result<Bytes, OpenError> {
        let file = self.open()?;
        let block = read_block(&*file, self.id, self.offset, self.end)?;
        self.offset += (BLOCK_HEADER_BYTES + block.len()) as u64;
        Ok(block)
    }

    fn open(&mut self) -> Result<Arc<dyn DiskFile>, OpenError> {
        if let Some(file) = &self.file {
            return Ok(file.clone());
        }
        let file = open_checked(&self.directory, self.id)?;
        self.file = Some(file.clone());
        Ok(file)
    }
}

/// Reads the block at `offset`, which lies before `end`.
///
/// # Errors
/// [`OpenError::Damaged`], and what the disk says.
pub(super) fn read_block(file: &dyn DiskFile, id: u64, offset: u64, end: u64) -> Result<Bytes, OpenError> {
    let name = file_name(id);
    let io = |error| OpenError::io(&name, offset, error);
    let damaged = || OpenError::damaged(&name, offset, "a block of rows");
    let mut header = [0; BLOCK_HEADER_BYTES];
    file.read_at(offset, &mut header).map_err(io)?;
    let (length, crc) = block::parse_header(header);
    let body = offset + BLOCK_HEADER_BYTES as u64;
    if length == 0 || length as u64 > end.saturating_sub(body) {
        return Err(damaged());
    }
    let mut bytes = vec![0; length];
    file.read_at(body, &mut bytes).map_err(io)?;
    if !block::is_whole(id, offset, &bytes, crc) {
        return Err(damaged());
    }
    Ok(bytes.into())
}

/// Opens a file of rows and looks at its header.
///
/// # Errors
/// [`OpenError`].
pub(super) fn open_checked(directory: &DataDirectory, id: u64) -> Result<Arc<dyn DiskFile>, OpenError> {
    let name = file_name(id);
    let io = |error| OpenError::io(&name, 0, error);
    let file = directory.disk.open(&name).map_err(io)?;
    let mut found = [0; HEADER_BYTES];
    file.read_at(0, &mut found).map_err(io)?;
    KIND.check(&name, &found)?;
    if found[..] != header(directory.node_uuid(), id) {
        return Err(OpenError::damaged(
            &name,
            FRONT_BYTES as u64,
            "the header of this file of this node",
        ));
    }
    Ok(file)
}

/// Checks that a file of the manifest is there, of this format and as long as it was.
///
/// # Errors
/// [`OpenError`].
pub(super) fn check(directory: &DataDirectory, meta: &FileMeta) -> Result<(), OpenError> {
    let name = file_name(meta.id);
    let size = match directory.disk.open(&name).and_then(|file| file.size()) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
        size => size.map_err(|error| OpenError::io(&name, 0, error))?,
    };
    if size != meta.bytes {
        return Err(OpenError::damaged(
            &name,
            size.min(meta.bytes),
            "as many bytes as the manifest says",
        ));
    }
    open_checked(directory, meta.id).map(|_| ())
}

/// The id in the name of a file of rows.
pub(super) fn id_in(name: &str) -> Option<u64> {
    u64::from_str_radix(name.strip_prefix("rows-")?, 16).ok()
}
