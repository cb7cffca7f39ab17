//! A directory whose files forget with the process what was not flushed: to kill the process is to cut the power.
//!
//! For programs of tests, which are ended by SIGKILL: that alone would leave in the page cache what was written, and a
//! flush that is missing would show nowhere. Written bytes stay in this process until the flush of their file, which
//! takes as long as that of a slow disk. What is simulated is the loss of bytes alone: all of them go, and names are there
//! at once. Which of them a disk keeps, and in which order, is `SimulatedDisk`'s, and an ext4's whose power is cut.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    thread,
    time::Duration,
};

use super::{Disk, DiskFile, Space};

/// What a flush takes at least.
const FLUSH_TAKES: Duration = Duration::from_millis(20);

/// A disk that forgets.
#[derive(Debug)]
pub struct VolatileDisk<D> {
    inner: D,
    /// Files that somebody has open, by name: they share what is not flushed.
    open: Mutex<BTreeMap<String, Weak<VolatileFile>>>,
}

/// A file of it.
#[derive(Debug)]
struct VolatileFile {
    inner: Arc<dyn DiskFile>,
    /// Where and what, in the order in which it was written.
    unflushed: Mutex<Vec<(u64, Vec<u8>)>>,
}

impl<D: Disk> VolatileDisk<D> {
    /// The files of `inner`, which has all that was flushed.
    pub fn new(inner: D) -> Self {
        Self {
            inner,
            open: Mutex::default(),
        }
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<String, Weak<VolatileFile>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn add(files: &mut BTreeMap<String, Weak<VolatileFile>>, name: &str, inner: Arc<dyn DiskFile>) -> Arc<VolatileFile> {
    let file = Arc::new(VolatileFile {
        inner,
        unflushed: Mutex::default(),
    });
    files.retain(|_, file| file.strong_count() > 0);
    files.insert(name.to_owned(), Arc::downgrade(&file));
    file
}

impl<D: Disk> Disk for VolatileDisk<D> {
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut files = self.files();
        let inner = self.inner.create(name)?;
        Ok(add(&mut files, name, inner))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut files = self.files();
        if let Some(file) = files.get(name).and_then(Weak::upgrade) {
            return Ok(file);
        }
        let inner = self.inner.open(name)?;
        Ok(add(&mut files, name, inner))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.files();
        self.inner.rename(from, to)?;
        files.remove(to);
        if let Some(file) = files.remove(from) {
            files.insert(to.to_owned(), file);
        }
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut files = self.files();
        self.inner.remove(name)?;
        files.remove(name);
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.inner.sync_dir()
    }

    fn space(&self) -> io::Result<Space> {
        self.inner.space()
    }
}

impl VolatileFile {
    fn unflushed(&self) -> MutexGuard<'_, Vec<(u64, Vec<u8>)>> {
        self.unflushed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn end_of((offset, bytes): &(u64, Vec<u8>)) -> u64 {
    offset.saturating_add(bytes.len() as u64)
}

impl DiskFile for VolatileFile {
    fn size(&self) -> io::Result<u64> {
        let unflushed = self.unflushed();
        let flushed = self.inner.size()?;
        Ok(unflushed.iter().map(end_of).max().unwrap_or(0).max(flushed))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let unflushed = self.unflushed();
        let flushed = self.inner.size()?;
        let size = unflushed.iter().map(end_of).max().unwrap_or(0).max(flushed);
        let end = offset.saturating_add(buffer.len() as u64);
        if end > size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let known = usize::try_from(flushed.clamp(offset, end) - offset).unwrap_or(usize::MAX);
        let (known, unknown) = buffer.split_at_mut(known);
        self.inner.read_at(offset, known)?;
        unknown.fill(0);
        for write in unflushed.iter() {
            let (from, to) = (write.0.max(offset), end_of(write).min(end));
            let at = |place: u64, start: u64| usize::try_from(place - start).unwrap_or(usize::MAX);
            if from < to {
                let bytes = &write.1[at(from, write.0)..at(to, write.0)];
                buffer[at(from, offset)..at(to, offset)].copy_from_slice(bytes);
            }
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.unflushed().push((offset, bytes.to_vec()));
        Ok(())
    }

    /// What the page cache has outlives the process: it is the disk here.
    fn sync_data(&self) -> io::Result<()> {
        wait_for_the_disk();
        let mut unflushed = self.unflushed();
        for (offset, bytes) in unflushed.iter() {
            self.inner.write_at(*offset, bytes)?;
        }
        unflushed.clear();
        Ok(())
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long a disk takes is a time and no condition"
)]
fn wait_for_the_disk() {
    thread::sleep(FLUSH_TAKES);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{disk::RealDisk, tests::Folder};

    fn content(disk: &dyn Disk, name: &str) -> Vec<u8> {
        let file = disk.open(name).unwrap();
        let mut bytes = vec![0; usize::try_from(file.size().unwrap()).unwrap()];
        file.read_at(0, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn what_was_flushed_is_there_for_the_next_process_and_nothing_else() {
        let folder = Folder::new("volatile");
        let disk = VolatileDisk::new(RealDisk::open(folder.path()).unwrap());
        let file = disk.create("a").unwrap();
        file.write_at(0, b"abcd").unwrap();
        file.sync_data().unwrap();
        file.write_at(2, b"xy").unwrap();
        file.write_at(6, b"z").unwrap();
        disk.rename("a", "b").unwrap();
        assert_eq!(content(&disk, "b"), b"abxy\0\0z");
        let mut part = [0; 3];
        file.read_at(1, &mut part).unwrap();
        assert_eq!(&part, b"bxy");
        assert_eq!(
            file.read_at(5, &mut part).unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
        drop((file, disk));
        let next = RealDisk::open(folder.path()).unwrap();
        assert_eq!(content(&next, "b"), b"abcd");
    }

    #[test]
    fn a_file_in_the_place_of_another_has_nothing_of_it() {
        let folder = Folder::new("volatile-replaced");
        let disk = VolatileDisk::new(RealDisk::open(folder.path()).unwrap());
        let old = disk.create("old").unwrap();
        old.write_at(0, b"old").unwrap();
        let new = disk.create("new").unwrap();
        new.write_at(0, b"new").unwrap();
        new.sync_data().unwrap();
        disk.rename("new", "old").unwrap();
        assert_eq!(content(&disk, "old"), b"new");
        drop(old);
        disk.remove("old").unwrap();
        assert!(disk.list().unwrap().is_empty());
    }
}
