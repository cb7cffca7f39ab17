//! Whose directory it is: a random name of the node that it keeps for ever, and the cluster it belongs to.
//!
//! A directory that comes back empty is another node, whatever the name of its pod: what it had acknowledged is not
//! there. That is why the name is drawn with the first start and lies beside the data.

use std::sync::Arc;

use crate::{
    disk::{Disk, DiskFile},
    error::OpenError,
    format::{FRONT_BYTES, FileKind, Reader, put_counted, to_usize},
    planted::planted,
};

const FILE: &str = "node";
/// Written first, and renamed when it is whole.
const NEW_FILE: &str = "node.new";
const KIND: FileKind = FileKind {
    magic: *b"FRSHnode",
    format: 1,
};
/// Longer than any name of a cluster.
const MAX_BYTES: u64 = 64 << 10;

/// A directory that is known to be this node's.
#[derive(Debug, Clone)]
pub struct DataDirectory {
    pub(crate) disk: Arc<dyn Disk>,
    node_uuid: [u8; 16],
    is_new: bool,
}

impl DataDirectory {
    /// Opens the directory of a node of this cluster. An empty one gets `fresh_uuid`, which the caller draws at random.
    ///
    /// # Errors
    /// [`OpenError::ForeignCluster`], [`OpenError::Format`], [`OpenError::Damaged`] when files are there and none says
    /// whose they are, and what the disk says.
    pub fn open(disk: Arc<dyn Disk>, fresh_uuid: [u8; 16], cluster_uid: &str) -> Result<Self, OpenError> {
        // A process that was killed may have left names that are in memory alone. What they name counts from here on.
        if !planted!(FoundNamesNotFlushed) {
            disk.sync_dir().map_err(|error| OpenError::io(".", 0, error))?;
        }
        let names = disk.list().map_err(|error| OpenError::io(".", 0, error))?;
        if names.iter().any(|name| name == FILE) {
            let (node_uuid, found) = read(&*disk)?;
            if found != cluster_uid {
                return Err(OpenError::ForeignCluster {
                    expected: cluster_uid.to_owned(),
                    found,
                });
            }
            return Ok(Self {
                disk,
                node_uuid,
                is_new: false,
            });
        }
        if names.iter().any(|name| is_data(name)) {
            return Err(OpenError::damaged(FILE, 0, "the file that says whose data this is"));
        }
        write(&*disk, fresh_uuid, cluster_uid)?;
        Ok(Self {
            disk,
            node_uuid: fresh_uuid,
            is_new: true,
        })
    }

    /// The random name of the node: the one of its first start.
    #[must_use]
    pub fn node_uuid(&self) -> [u8; 16] {
        self.node_uuid
    }

    /// Whether the directory was empty.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.is_new
    }
}

/// Whether a file of this name holds data of a node.
fn is_data(name: &str) -> bool {
    name.starts_with("log-") || name.starts_with("rows-")
}

fn read(disk: &dyn Disk) -> Result<([u8; 16], String), OpenError> {
    let io = |error| OpenError::io(FILE, 0, error);
    let file = disk.open(FILE).map_err(io)?;
    let mut bytes = vec![0; to_usize(file.size().map_err(io)?.min(MAX_BYTES))];
    file.read_at(0, &mut bytes).map_err(io)?;
    KIND.check(FILE, &bytes)?;
    parse(&bytes).ok_or_else(|| OpenError::damaged(FILE, FRONT_BYTES as u64, "the names of node and cluster"))
}

fn parse(bytes: &[u8]) -> Option<([u8; 16], String)> {
    let (content, crc) = bytes.split_last_chunk::<4>()?;
    if crc32c::crc32c(content) != u32::from_le_bytes(*crc) {
        return None;
    }
    let mut reader = Reader::new(content.get(FRONT_BYTES..)?);
    let node_uuid = reader.array()?;
    let cluster = String::from_utf8(reader.counted()?.to_vec()).ok()?;
    Some((node_uuid, cluster))
}

fn write(disk: &dyn Disk, node_uuid: [u8; 16], cluster_uid: &str) -> Result<(), OpenError> {
    let io = |error| OpenError::io(FILE, 0, error);
    let mut bytes = KIND.front().to_vec();
    bytes.extend_from_slice(&node_uuid);
    put_counted(&mut bytes, cluster_uid.as_bytes());
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    let file = match disk.create(NEW_FILE) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            // Of a start that did not come to its end.
            disk.remove(NEW_FILE).and_then(|()| disk.create(NEW_FILE))
        }
        created => created,
    };
    let written = |file: &dyn DiskFile| {
        file.write_at(0, &bytes)?;
        file.sync_data()?;
        disk.rename(NEW_FILE, FILE)?;
        disk.sync_dir()
    };
    file.and_then(|file| written(&*file)).map_err(io)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::SimulatedDisk;

    fn disk() -> SimulatedDisk {
        SimulatedDisk::new(1 << 20)
    }

    fn open(disk: &SimulatedDisk, uuid: u8, cluster: &str) -> Result<DataDirectory, OpenError> {
        DataDirectory::open(Arc::new(disk.clone()), [uuid; 16], cluster)
    }

    #[test]
    fn the_first_start_names_the_node_for_ever() {
        let disk = disk();
        let first = open(&disk, 1, "c").unwrap();
        assert!(first.is_new() && first.node_uuid() == [1; 16]);
        let later = open(&disk.power_cut(3), 2, "c").unwrap();
        assert!(!later.is_new() && later.node_uuid() == [1; 16]);
    }

    #[test]
    fn the_directory_of_another_cluster_is_refused() {
        let disk = disk();
        open(&disk, 1, "mine").unwrap();
        let error = open(&disk, 1, "yours").unwrap_err().to_string();
        assert!(error.contains("mine") && error.contains("yours"), "{error}");
    }

    #[test]
    fn data_without_a_name_is_damage() {
        let disk = disk();
        disk.create("log-0000000000000001").unwrap();
        assert!(matches!(open(&disk, 1, "c"), Err(OpenError::Damaged { .. })));
    }

    #[test]
    fn a_first_start_that_was_cut_anywhere_begins_again() {
        for operation in 0..6 {
            for seed in 0..40 {
                let disk = disk();
                disk.power_off_at(operation);
                let whole = open(&disk, 1, "c").is_ok();
                let uuid = open(&disk.power_cut(seed), 2, "c").unwrap().node_uuid();
                assert!(!whole || uuid == [1; 16], "operation {operation}, seed {seed}");
            }
        }
    }

    #[test]
    fn a_wrong_bit_is_damage() {
        let disk = disk();
        open(&disk, 1, "c").unwrap();
        disk.rot(FILE, 20, 4);
        assert!(matches!(
            open(&disk, 1, "c"),
            Err(OpenError::Damaged { offset: 16, .. })
        ));
    }
}
