//! A disk in memory that keeps what was written apart from what was flushed.
//!
//! [`SimulatedDisk::power_cut`] gives the disk that the next start would find: of every write since the last flush any
//! subset of sectors survives, of names that were not flushed any subset of changes. A failed flush behaves as on
//! Linux: the bytes count as clean afterwards, the next flush succeeds, and they are not on disk.

mod inode;

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use self::inode::Inode;
use super::{Disk, DiskFile, Space};

/// Bytes that are written as a whole or not at all.
const SECTOR_BYTES: usize = 512;

/// A disk in memory. Clones are the same disk.
#[derive(Debug, Clone)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Clone)]
struct State {
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    /// Changes of names since the last flush of the directory.
    unflushed: Vec<NameChange>,
    capacity_bytes: u64,
    operations: u64,
    power_off_at: Option<u64>,
    flushes_until_failure: Option<u64>,
    unreadable: Option<(String, u64)>,
    peak_bytes: u64,
}

#[derive(Debug, Clone)]
enum NameChange {
    Set(String, u64),
    Gone(String),
    Renamed { from: String, to: String, inode: u64 },
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            Self::Set(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            Self::Gone(name) => {
                names.remove(name);
            }
            Self::Renamed { from, to, inode } => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
        }
    }
}

impl SimulatedDisk {
    /// An empty disk of that many bytes.
    #[must_use]
    pub fn new(capacity_bytes: u64) -> Self {
        Self::of(State {
            inodes: BTreeMap::new(),
            next_inode: 0,
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            unflushed: Vec::new(),
            capacity_bytes,
            operations: 0,
            power_off_at: None,
            flushes_until_failure: None,
            unreadable: None,
            peak_bytes: 0,
        })
    }

    fn of(state: State) -> Self {
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disk after a power cut at this moment. The seed decides what of the unflushed survives; this disk stays as
    /// it is.
    #[must_use]
    pub fn power_cut(&self, seed: u64) -> Self {
        let mut random = Random(seed);
        let state = self.state();
        // Now and then everything survives, and now and then nothing: the disk's cache was just written out, or full.
        let survives = [0, 1, 5, 9, 10][random.below(5)];
        let mut names = state.durable_names.clone();
        for change in &state.unflushed {
            if random.below(10) < survives {
                change.apply(&mut names);
            }
        }
        let inodes = names
            .values()
            .filter_map(|inode| Some((*inode, state.inodes.get(inode)?.after_power_cut(&mut random, survives))))
            .collect();
        Self::of(State {
            inodes,
            next_inode: state.next_inode,
            durable_names: names.clone(),
            names,
            unflushed: Vec::new(),
            capacity_bytes: state.capacity_bytes,
            operations: 0,
            power_off_at: None,
            flushes_until_failure: None,
            unreadable: None,
            peak_bytes: 0,
        })
    }

    /// The disk after the process was killed at this moment: everything written is there, and what was not flushed
    /// still is not on disk.
    #[must_use]
    pub fn process_killed(&self) -> Self {
        let mut state = self.state().clone();
        state.power_off_at = None;
        state.flushes_until_failure = None;
        Self::of(state)
    }

    /// Operations until now: everything that changes something.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// The power goes off before the operation with this number: it and all later ones fail.
    pub fn power_off_at(&self, operation: u64) {
        self.state().power_off_at = Some(operation);
    }

    /// The flush after `flushes` more fails, once.
    pub fn fail_flush_after(&self, flushes: u64) {
        self.state().flushes_until_failure = Some(flushes);
    }

    /// Reading the byte of the file fails from now on.
    pub fn make_unreadable(&self, name: &str, offset: u64) {
        self.state().unreadable = Some((name.to_owned(), offset));
    }

    /// Changes how many bytes the disk has.
    pub fn set_capacity(&self, capacity_bytes: u64) {
        self.state().capacity_bytes = capacity_bytes;
    }

    /// Turns bits of a byte over, on disk as well: it rots.
    pub fn rot(&self, name: &str, offset: u64, bits: u8) {
        let mut state = self.state();
        if let Some(inode) = state.names.get(name).copied()
            && let Some(inode) = state.inodes.get_mut(&inode)
        {
            inode.rot(offset, bits);
        }
    }

    /// Bytes of all files.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.state().used_bytes()
    }

    /// The most bytes that were in use since [`SimulatedDisk::forget_peak`].
    #[must_use]
    pub fn peak_bytes(&self) -> u64 {
        self.state().peak_bytes
    }

    /// Begins to look for the most bytes in use from now on.
    pub fn forget_peak(&self) {
        let mut state = self.state();
        state.peak_bytes = state.used_bytes();
    }

    fn operate(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        if state.power_off_at.is_some_and(|at| state.operations >= at) {
            return Err(io::Error::other("the power is off"));
        }
        state.operations += 1;
        Ok(state)
    }
}

impl State {
    fn used_bytes(&self) -> u64 {
        let sizes = self.names.values().filter_map(|inode| self.inodes.get(inode));
        sizes.map(Inode::size).sum()
    }

    fn change(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.unflushed.push(change);
    }

    /// Whether this flush fails.
    fn fails_flush(&mut self) -> bool {
        match &mut self.flushes_until_failure {
            Some(0) => {
                self.flushes_until_failure = None;
                true
            }
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        }
    }
}

impl Disk for SimulatedDisk {
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.operate()?;
        if state.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = state.next_inode;
        state.next_inode += 1;
        state.inodes.insert(inode, Inode::default());
        state.change(NameChange::Set(name.to_owned(), inode));
        Ok(Arc::new(SimulatedFile {
            disk: self.clone(),
            inode,
        }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let inode = self.state().names.get(name).copied().ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(SimulatedFile {
            disk: self.clone(),
            inode,
        }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.operate()?;
        let inode = state.names.get(from).copied().ok_or(io::ErrorKind::NotFound)?;
        state.change(NameChange::Renamed {
            from: from.to_owned(),
            to: to.to_owned(),
            inode,
        });
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.operate()?;
        if !state.names.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change(NameChange::Gone(name.to_owned()));
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state().names.keys().cloned().collect())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.operate()?;
        if state.fails_flush() {
            return Err(io::Error::other("the directory cannot be flushed"));
        }
        state.durable_names = state.names.clone();
        state.unflushed.clear();
        Ok(())
    }

    fn space(&self) -> io::Result<Space> {
        let state = self.state();
        Ok(Space {
            total_bytes: state.capacity_bytes,
            free_bytes: state.capacity_bytes.saturating_sub(state.used_bytes()),
        })
    }
}

/// A file of it.
#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    inode: u64,
}

impl DiskFile for SimulatedFile {
    fn size(&self) -> io::Result<u64> {
        let state = self.disk.state();
        Ok(state.inodes.get(&self.inode).map_or(0, Inode::size))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let state = self.disk.state();
        if let Some((name, byte)) = &state.unreadable
            && state.names.get(name) == Some(&self.inode)
            && (offset..offset + buffer.len() as u64).contains(byte)
        {
            return Err(io::Error::other("the sector cannot be read"));
        }
        let inode = state.inodes.get(&self.inode).ok_or(io::ErrorKind::NotFound)?;
        inode.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.operate()?;
        let free = state.capacity_bytes.saturating_sub(state.used_bytes());
        let inode = state.inodes.get_mut(&self.inode).ok_or(io::ErrorKind::NotFound)?;
        let grows = (offset + bytes.len() as u64).saturating_sub(inode.size());
        if grows > free {
            return Err(io::ErrorKind::StorageFull.into());
        }
        inode.write_at(offset, bytes);
        if grows > 0 {
            state.peak_bytes = state.peak_bytes.max(state.used_bytes());
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.operate()?;
        let fails = state.fails_flush();
        let inode = state.inodes.get_mut(&self.inode).ok_or(io::ErrorKind::NotFound)?;
        if fails {
            inode.forget_unflushed();
            return Err(io::Error::other("the file cannot be flushed"));
        }
        inode.flush();
        Ok(())
    }
}

/// Numbers that follow from a seed (SplitMix64).
#[derive(Debug, Clone)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests;
