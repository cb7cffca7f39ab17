//! The one file that says which files of rows count, and of which positions they are. Replaced as a whole.

use std::io;

use super::{
    RowError,
    meta::{FileMeta, RowSizes},
};
use crate::{
    directory::DataDirectory,
    error::{FatalError, OpenError},
    fault_points::reach,
    format::{FRONT_BYTES, FileKind, Reader, to_u32, to_usize},
    planted::planted,
};

const FILE: &str = "rows-manifest";
/// Written first, and renamed when it is whole.
const NEW_FILE: &str = "rows-manifest.new";
const KIND: FileKind = FileKind {
    magic: *b"FRSHrman",
    format: 1,
};

/// Which files count.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Manifest {
    /// Positions that the rows are of, by shard.
    pub(super) applied: Vec<(u32, u64)>,
    /// Rows of older checkpoints, in files that follow each other.
    pub(super) base: Vec<FileMeta>,
    /// Rows since, oldest first: of a key that is in several, the newest counts.
    pub(super) deltas: Vec<FileMeta>,
    /// The next file's.
    pub(super) next_id: u64,
}

impl Manifest {
    pub(super) fn take_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    pub(super) fn files(&self) -> impl Iterator<Item = &FileMeta> {
        self.base.iter().chain(&self.deltas)
    }

    pub(super) fn base_bytes(&self) -> u64 {
        self.base.iter().map(|meta| meta.bytes).sum()
    }

    pub(super) fn delta_bytes(&self) -> u64 {
        self.deltas.iter().map(|meta| meta.bytes).sum()
    }

    /// The most bytes of the base that the deltas may have made useless: each of their rows stands for one of the
    /// largest there is.
    pub(super) fn most_dead_bytes(&self) -> u64 {
        let mut sizes = RowSizes::default();
        for meta in &self.base {
            sizes.add_all(&meta.sizes);
        }
        sizes.largest(self.deltas.iter().map(|meta| meta.rows).sum())
    }

    /// The rows of `applied` that are named take the place of the old ones.
    pub(super) fn set_applied(&mut self, applied: &[(u32, u64)]) {
        for (shard, position) in applied {
            match self.applied.binary_search_by_key(shard, |(there, _)| *there) {
                Ok(at) => self.applied[at].1 = *position,
                Err(at) => self.applied.insert(at, (*shard, *position)),
            }
        }
    }

    fn encode(&self, node: [u8; 16]) -> Vec<u8> {
        let mut out = KIND.front().to_vec();
        out.extend_from_slice(&node);
        out.extend_from_slice(&self.next_id.to_le_bytes());
        out.extend_from_slice(&to_u32(self.applied.len()).to_le_bytes());
        for (shard, position) in &self.applied {
            out.extend_from_slice(&shard.to_le_bytes());
            out.extend_from_slice(&position.to_le_bytes());
        }
        for files in [&self.base, &self.deltas] {
            out.extend_from_slice(&to_u32(files.len()).to_le_bytes());
            for meta in files {
                meta.encode(&mut out);
            }
        }
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8], node: [u8; 16]) -> Option<Self> {
        let (content, crc) = bytes.split_last_chunk::<4>()?;
        if crc32c::crc32c(content) != u32::from_le_bytes(*crc) {
            return None;
        }
        let mut reader = Reader::new(content.get(FRONT_BYTES..)?);
        if reader.array::<16>()? != node {
            return None;
        }
        let next_id = reader.u64()?;
        let applied = (0..reader.u32()?)
            .map(|_| Some((reader.u32()?, reader.u64()?)))
            .collect::<Option<_>>()?;
        let mut files = || {
            (0..reader.u32()?)
                .map(|_| FileMeta::decode(&mut reader))
                .collect::<Option<Vec<_>>>()
        };
        let (base, deltas) = (files()?, files()?);
        (reader.left() == 0).then_some(Self {
            applied,
            base,
            deltas,
            next_id,
        })
    }

    /// Reads the manifest; an empty one when there is none yet.
    ///
    /// # Errors
    /// [`OpenError`].
    pub(super) fn read(directory: &DataDirectory) -> Result<Self, OpenError> {
        let io = |error| OpenError::io(FILE, 0, error);
        let file = match directory.disk.open(FILE) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            file => file.map_err(io)?,
        };
        let mut bytes = vec![0; to_usize(file.size().map_err(io)?)];
        file.read_at(0, &mut bytes).map_err(io)?;
        KIND.check(FILE, &bytes)?;
        let manifest = Self::decode(&bytes, directory.node_uuid());
        manifest.ok_or_else(|| OpenError::damaged(FILE, FRONT_BYTES as u64, "the manifest of this node's rows"))
    }

    /// Puts this manifest in the place of the one before. All files it names have been flushed; their names are
    /// flushed here, before anything refers to them.
    ///
    /// # Errors
    /// [`RowError::Full`]: the one before counts, all is as it was. [`RowError::Fatal`].
    pub(super) fn write(&self, directory: &DataDirectory) -> Result<(), RowError> {
        let disk = &*directory.disk;
        if !planted!(RowNamesNotFlushed) {
            disk.sync_dir()
                .map_err(|error| FatalError::new(".", "flushing", error))?;
        }
        if let Err(error) = disk.remove(NEW_FILE)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(FatalError::new(NEW_FILE, "removing", error).into());
        }
        let file = disk
            .create(NEW_FILE)
            .map_err(RowError::of_new_file(NEW_FILE, "making"))?;
        let written = file.write_at(0, &self.encode(directory.node_uuid()));
        written.map_err(RowError::of_new_file(NEW_FILE, "writing"))?;
        reach("manifest_written");
        if !planted!(ManifestNotFlushed) {
            file.sync_data().map_err(RowError::of_new_file(NEW_FILE, "flushing"))?;
        }
        reach("manifest_flushed");
        let renamed = disk.rename(NEW_FILE, FILE);
        renamed.map_err(|error| FatalError::new(FILE, "renaming", error))?;
        reach("manifest_renamed");
        if !planted!(ManifestNameNotFlushed) {
            disk.sync_dir()
                .map_err(|error| FatalError::new(FILE, "flushing the name of", error))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::rows::RowKey;

    fn manifest() -> Manifest {
        let meta = |id| FileMeta {
            id,
            bytes: 100 + id,
            rows: 3,
            first: RowKey {
                shard: 2,
                key: Bytes::from_static(b"key"),
            },
            shards: vec![(2, 44), (5, 90)],
            sizes: RowSizes::default(),
        };
        Manifest {
            applied: vec![(0, 7), (5, 9)],
            base: vec![meta(1), meta(2)],
            deltas: vec![meta(3)],
            next_id: 4,
        }
    }

    #[test]
    fn a_manifest_comes_back_and_a_wrong_bit_is_seen() {
        let bytes = manifest().encode([1; 16]);
        assert_eq!(Manifest::decode(&bytes, [1; 16]), Some(manifest()));
        assert_eq!(Manifest::decode(&bytes, [2; 16]), None, "of another node");
        for at in FRONT_BYTES..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 8;
            assert_eq!(Manifest::decode(&bytes, [1; 16]), None, "byte {at}");
        }
        for length in 0..bytes.len() {
            assert_eq!(Manifest::decode(&bytes[..length], [1; 16]), None, "length {length}");
        }
    }

    #[test]
    fn applied_positions_are_kept_in_order_of_shards() {
        let mut manifest = manifest();
        manifest.set_applied(&[(3, 1), (0, 8)]);
        assert_eq!(manifest.applied, [(0, 8), (3, 1), (5, 9)]);
    }
}
