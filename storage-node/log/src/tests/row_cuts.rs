//! Power cuts and kills at every moment of checkpoints and merges, over thousands of seeds.
//!
//! After each cut the rows are those of the last checkpoint that was committed, or of the one whose commit was under
//! way, with the positions of the same one. The planted mistakes have to break this.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;

use super::seeds;
use crate::{
    directory::DataDirectory,
    disk::{Random, SimulatedDisk},
    error::OpenError,
    planted::{Fault, plant},
    rows::{RowError, RowOptions, RowStore},
};

pub(super) fn options() -> RowOptions {
    RowOptions {
        buffer_bytes: 3_000,
        block_bytes: 300,
        file_bytes: 2_000,
        slack_bytes: 3_000,
        max_deltas: 3,
    }
}

pub(super) fn open(disk: &SimulatedDisk, options: RowOptions) -> Result<RowStore, OpenError> {
    let directory = DataDirectory::open(Arc::new(disk.clone()), [1; 16], "cluster")?;
    RowStore::open(&directory, options)
}

/// All rows of all shards, and the positions they are of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rows {
    pub(super) rows: BTreeMap<(u32, Vec<u8>), Vec<u8>>,
    pub(super) applied: BTreeMap<u32, u64>,
}

impl Rows {
    pub(super) fn read(store: &RowStore, shards: u32) -> Result<Self, OpenError> {
        let mut rows = BTreeMap::new();
        for shard in 0..shards {
            let mut last = None;
            for row in store.rows(shard)? {
                let (key, value) = row?;
                assert!(last < Some(key.clone()), "keys are in order");
                rows.insert((shard, key.to_vec()), value.to_vec());
                last = Some(key);
            }
        }
        Ok(Self {
            rows,
            applied: store.applied().iter().copied().collect(),
        })
    }
}

const SHARDS: u32 = 3;

/// One checkpoint of random changes. `next` is what it will be when it counts.
fn checkpoint(store: &mut RowStore, next: &mut Rows, random: &mut Random) -> Result<(), RowError> {
    let mut checkpoint = store.checkpoint();
    for _ in 0..random.below(40) {
        let shard = u32::try_from(random.below(SHARDS as usize)).unwrap();
        let key = random.below(60).to_string().into_bytes();
        let length = if random.below(9) == 0 {
            random.below(1_500)
        } else {
            random.below(60)
        };
        let value = (random.below(3) > 0).then(|| vec![u8::try_from(random.below(256)).unwrap(); length]);
        checkpoint.put(shard, Bytes::from(key.clone()), value.clone().map(Bytes::from))?;
        match value {
            Some(value) => next.rows.insert((shard, key), value),
            None => next.rows.remove(&(shard, key)),
        };
    }
    let moved: Vec<(u32, u64)> = (0..SHARDS).map(|shard| (shard, random.next() >> 8)).collect();
    let moved = &moved[..random.below(moved.len() + 1)];
    next.applied.extend(moved.iter().copied());
    checkpoint.commit(moved)
}

/// Checkpoints and merges until the power goes off, or for a while. `committed` is what counts; the other, what may.
fn live(
    disk: &SimulatedDisk,
    committed: &mut Rows,
    maybe: &mut Option<Rows>,
    random: &mut Random,
) -> Result<(), String> {
    let mut store = match open(disk, options()) {
        Ok(store) => store,
        Err(OpenError::Io { .. }) => return Ok(()), // the power went off
        Err(error) => return Err(format!("not opened: {error}")),
    };
    let found = Rows::read(&store, SHARDS).map_err(|error| format!("not read: {error}"))?;
    if found != *committed && Some(&found) != maybe.as_ref() {
        return Err("the rows are those of no checkpoint".to_owned());
    }
    *committed = found;
    *maybe = None;
    for _ in 0..random.below(12) {
        let mut next = committed.clone();
        let took = checkpoint(&mut store, &mut next, random);
        if took.is_err() {
            *maybe = Some(next);
            return Ok(());
        }
        *committed = next;
        // Merges come to their end before the next checkpoint, or do not.
        let steps = [0, 1, 3, usize::MAX][random.below(4)];
        if merge(&mut store, steps).is_err() {
            return Ok(());
        }
        match Rows::read(&store, SHARDS) {
            Ok(found) if found != *committed => return Err("the rows changed in a merge".to_owned()),
            Ok(_) | Err(OpenError::Io { .. }) => {}
            Err(error) => return Err(format!("not read: {error}")),
        }
    }
    Ok(())
}

/// So many steps of merges, and more where those go first.
fn merge(store: &mut RowStore, steps: usize) -> Result<(), RowError> {
    for _ in 0..steps {
        if !store.merge_some()? {
            break;
        }
    }
    while store.must_merge_first() {
        store.merge_some()?;
    }
    Ok(())
}

fn run(seed: u64) -> Result<(), String> {
    let mut random = Random(seed);
    let mut disk = SimulatedDisk::new(1 << 22);
    let (mut committed, mut maybe) = (Rows::default(), None);
    for life in 0..4 {
        if random.below(4) > 0 {
            disk.power_off_at(disk.operations() + random.next() % 150);
        }
        live(&disk, &mut committed, &mut maybe, &mut random).map_err(|what| format!("life {life}: {what}"))?;
        disk = match random.below(3) {
            0 => disk.process_killed(),
            _ => disk.power_cut(random.next()),
        };
    }
    live(&disk, &mut committed, &mut maybe, &mut random).map_err(|what| format!("the last life: {what}"))
}

#[test]
fn after_any_cut_one_checkpoint_is_there_as_a_whole() {
    for seed in seeds(1_000) {
        if let Err(what) = run(seed) {
            panic!("{what}; FRESHET_SEED={seed} runs it again");
        }
    }
}

fn assert_found(fault: Fault) {
    plant(Some(fault));
    let found = (0..2_000).find_map(|seed| run(seed).err().map(|what| (seed, what)));
    plant(None);
    let (seed, what) = found.unwrap();
    println!("{fault:?}, seed {seed}: {what}");
}

#[test]
fn a_manifest_that_is_renamed_before_its_flush_is_found() {
    assert_found(Fault::ManifestNotFlushed);
}

#[test]
fn removing_old_files_before_the_new_manifest_has_its_name_is_found() {
    assert_found(Fault::ManifestNameNotFlushed);
}

#[test]
fn a_manifest_whose_files_have_no_names_yet_is_found() {
    assert_found(Fault::RowNamesNotFlushed);
}
