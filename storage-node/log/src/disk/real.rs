//! A directory of a real file system, held by one process at a time.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Disk, DiskFile, Space};

/// Held by the process that uses the directory. The lock ends with the process, however it ends.
const LOCK_FILE: &str = "lock";

/// A directory of a real file system.
#[derive(Debug)]
pub struct RealDisk {
    path: PathBuf,
    directory: File,
    _lock: File,
}

impl RealDisk {
    /// Opens a directory, which is made when it is not there, and locks it.
    ///
    /// # Errors
    /// `ResourceBusy` when another process holds the directory, and what the file system says.
    pub fn open(path: &Path) -> io::Result<Self> {
        if !path.is_dir() {
            fs::create_dir_all(path)?;
            if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                File::open(parent)?.sync_all()?;
            }
        }
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join(LOCK_FILE))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let what = format!("another process uses the data directory {}", path.display());
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, what));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        Ok(Self {
            path: path.to_owned(),
            directory: File::open(path)?,
            _lock: lock,
        })
    }
}

impl Disk for RealDisk {
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(self.path.join(name))?;
        Ok(Arc::new(RealFile { file }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).open(self.path.join(name))?;
        Ok(Arc::new(RealFile { file }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if let Ok(name) = entry.file_name().into_string()
                && name != LOCK_FILE
                && entry.file_type()?.is_file()
            {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.directory.sync_all()
    }

    fn space(&self) -> io::Result<Space> {
        let room = rustix::fs::fstatvfs(&self.directory)?;
        Ok(Space {
            total_bytes: room.f_blocks.saturating_mul(room.f_frsize),
            free_bytes: room.f_bavail.saturating_mul(room.f_frsize),
        })
    }
}

/// A file of it.
#[derive(Debug)]
struct RealFile {
    file: File,
}

impl DiskFile for RealFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::Folder;

    #[test]
    fn a_directory_belongs_to_one_process_at_a_time() {
        let folder = Folder::new("real-lock");
        let first = RealDisk::open(folder.path()).unwrap();
        let second = RealDisk::open(folder.path()).unwrap_err();
        assert_eq!(second.kind(), io::ErrorKind::ResourceBusy);
        assert!(second.to_string().contains("another process"), "{second}");
        drop(first);
        RealDisk::open(folder.path()).unwrap();
    }

    #[test]
    fn files_are_made_written_renamed_and_removed() {
        let folder = Folder::new("real-files");
        let disk = RealDisk::open(&folder.path().join("deeper")).unwrap();
        let file = disk.create("a").unwrap();
        file.write_at(3, b"xyz").unwrap();
        file.sync_data().unwrap();
        assert_eq!(disk.create("a").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        disk.rename("a", "b").unwrap();
        disk.sync_dir().unwrap();
        assert_eq!(disk.list().unwrap(), ["b"]);
        let mut bytes = [0; 6];
        let again = disk.open("b").unwrap();
        again.read_at(0, &mut bytes).unwrap();
        assert_eq!(&bytes, b"\0\0\0xyz");
        assert_eq!(again.size().unwrap(), 6);
        assert_eq!(
            again.read_at(4, &mut bytes).unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
        disk.remove("b").unwrap();
        assert!(disk.list().unwrap().is_empty());
        let space = disk.space().unwrap();
        assert!(0 < space.free_bytes && space.free_bytes <= space.total_bytes);
    }
}
