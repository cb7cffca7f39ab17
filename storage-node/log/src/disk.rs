//! What this crate needs of a file system, and no more: one flat directory of files that are read and written at
//! offsets, and an explicit flush for bytes and for names.
//!
//! [`RealDisk`] is a directory. `SimulatedDisk` keeps what was written apart from what was flushed, so that tests can
//! cut the power between any two calls; `VolatileDisk` does so for processes that are killed. There is no vectored write:
//! a flush holds many small records, and copying those together costs less than a list of pieces for the kernel.

mod real;
#[cfg(any(test, feature = "simulated"))]
mod simulated;
#[cfg(any(test, feature = "planted-faults"))]
mod volatile;

use std::{fmt, io, sync::Arc};

pub use real::RealDisk;
#[cfg(test)]
pub(crate) use simulated::Random;
#[cfg(any(test, feature = "simulated"))]
pub use simulated::SimulatedDisk;
#[cfg(any(test, feature = "planted-faults"))]
pub use volatile::VolatileDisk;

/// A directory. Names hold no separators.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Makes an empty file. The name outlives a power cut after the next [`Disk::sync_dir`].
    ///
    /// # Errors
    /// `AlreadyExists`, and what the file system says.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// `NotFound`, and what the file system says.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives a file another name; a file that had it is gone, at once with that. Durable like a name that is new.
    ///
    /// # Errors
    /// `NotFound`, and what the file system says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// `NotFound`, and what the file system says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Names of all files, in order.
    ///
    /// # Errors
    /// What the file system says.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Waits until all names are as durable as the disk can make them.
    ///
    /// # Errors
    /// What the file system says; never to be tried again.
    fn sync_dir(&self) -> io::Result<()>;

    /// Room of the file system.
    ///
    /// # Errors
    /// What the file system says.
    fn space(&self) -> io::Result<Space>;
}

/// A file. Reading and writing at offsets needs no exclusive access.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Length, bytes.
    ///
    /// # Errors
    /// What the file system says.
    fn size(&self) -> io::Result<u64>;

    /// Fills the buffer from `offset` on.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file is shorter, and what the file system says.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Writes all bytes at `offset`; the file grows when it is shorter.
    ///
    /// # Errors
    /// `StorageFull`, and what the file system says; a part may have been written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Waits until the file's bytes, and its length as far as reading them needs it, are on disk.
    ///
    /// # Errors
    /// What the file system says; never to be tried again.
    fn sync_data(&self) -> io::Result<()>;
}

/// Room of a file system, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// All of it.
    pub total_bytes: u64,
    /// What can still be written.
    pub free_bytes: u64,
}
