//! Single rows are what all rows together say, while checkpoints are taken and files are merged underneath.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use bytes::Bytes;

use super::row_cuts::{Rows, open, options};
use crate::{
    disk::{Disk, Random, SimulatedDisk},
    error::OpenError,
    rows::{RowLookup, RowStore},
};

const MIB: u64 = 1 << 20;
/// Blocks that a lookup keeps.
const KEPT_BYTES: usize = 1 << 20;

fn put(store: &mut RowStore, rows: impl IntoIterator<Item = (u32, String, Option<Vec<u8>>)>, position: u64) {
    let mut checkpoint = store.checkpoint();
    for (shard, key, value) in rows {
        checkpoint.put(shard, Bytes::from(key), value.map(Bytes::from)).unwrap();
    }
    checkpoint.commit(&[(0, position)]).unwrap();
}

fn get(lookup: &mut RowLookup, shard: u32, key: &str) -> Option<Vec<u8>> {
    let value = lookup.get(shard, key.as_bytes()).unwrap();
    value.map(|value| value.to_vec())
}

#[test]
fn each_row_is_found_as_the_last_checkpoint_says_through_checkpoints_and_merges() {
    for seed in 0..20 {
        let mut random = Random(seed);
        let disk = SimulatedDisk::new(16 * MIB);
        let mut store = open(&disk, options()).unwrap();
        let mut lookup = store.lookup(KEPT_BYTES);
        for position in 0..40 {
            let changes = (0..random.below(50)).map(|_| {
                let shard = u32::try_from(random.below(3)).unwrap();
                let key = format!("k{:02}", random.below(90));
                let length = if random.below(9) == 0 { 1_000 } else { random.below(60) };
                let value = (random.below(3) > 0).then(|| vec![u8::try_from(random.below(256)).unwrap(); length]);
                (shard, key, value)
            });
            put(&mut store, changes.collect::<Vec<_>>(), position);
            let steps = [0, 1, 2, usize::MAX][random.below(4)];
            let _ = (0..steps).take_while(|_| store.merge_some().unwrap()).count();
            let rows = Rows::read(&store, 3).unwrap().rows;
            for shard in 0..4 {
                for key in (0..91).map(|number| format!("k{number:02}")) {
                    let expected = rows.get(&(shard, key.clone().into_bytes())).cloned();
                    assert_eq!(get(&mut lookup, shard, &key), expected, "seed {seed}, {shard}/{key}");
                }
            }
        }
        assert!(store.stats().merges > 3, "seed {seed}");
    }
}

#[test]
fn a_row_is_found_while_another_thread_merges_its_file_away() {
    let disk = SimulatedDisk::new(64 * MIB);
    let mut store = open(&disk, options()).unwrap();
    let key = |number: usize| format!("k{number:03}");
    let lasting = (0..300).step_by(3).map(|number| (0, key(number), Some(vec![7; 40])));
    put(&mut store, lasting.collect::<Vec<_>>(), 0);
    let mut lookup = store.lookup(KEPT_BYTES);
    let is_over = AtomicBool::new(false);
    let merges = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut random, mut reads) = (Random(3), 0_u64);
            while !is_over.load(Ordering::Relaxed) || reads < 1_000 {
                let number = random.below(100) * 3;
                assert_eq!(get(&mut lookup, 0, &key(number)), Some(vec![7; 40]), "{number}");
                reads += 1;
            }
        });
        let mut random = Random(5);
        for position in 1..200 {
            let others = (0..60).map(|_| {
                let number = random.below(100) * 3 + 1 + random.below(2);
                (0, key(number), (random.below(3) > 0).then(|| vec![1; 60]))
            });
            put(&mut store, others.collect::<Vec<_>>(), position);
            store.merge_if_needed().unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
        reader.join().unwrap();
        store.stats().merges
    });
    assert!(merges > 50, "{merges}");
}

#[test]
fn rows_that_lie_together_are_read_together() {
    let disk = SimulatedDisk::new(16 * MIB);
    let mut store = open(&disk, options()).unwrap();
    let key = |number: usize| format!("k{number:04}");
    put(
        &mut store,
        (0..2_000)
            .map(|number| (0, key(number), Some(vec![7; 40])))
            .collect::<Vec<_>>(),
        0,
    );
    let mut lookup = store.lookup(KEPT_BYTES);
    for _ in 0..3 {
        for number in 0..2_000 {
            assert!(get(&mut lookup, 0, &key(number)).is_some());
        }
    }
    let bytes = store.stats().base_bytes + store.stats().delta_bytes;
    let read = lookup.read_bytes();
    assert!(
        read > bytes / 2 && read < bytes * 3 / 2,
        "{read} bytes were read of {bytes}"
    );
}

#[test]
fn damage_and_a_file_that_is_gone_are_named_with_their_file() {
    let disk = SimulatedDisk::new(MIB);
    let mut store = open(&disk, options()).unwrap();
    let rows = |value: u8| ["a", "b"].map(|key| (0, key.to_owned(), Some(vec![value])));
    put(&mut store, rows(1), 1);
    disk.rot("rows-0000000000000001", 75, 1);
    let damaged = store.lookup(KEPT_BYTES).get(0, b"a").unwrap_err();
    let OpenError::Damaged { file, offset, .. } = damaged else {
        panic!("{damaged}");
    };
    assert_eq!((file.as_str(), offset), ("rows-0000000000000001", 44));
    let mut lookup = store.lookup(KEPT_BYTES);
    disk.remove("rows-0000000000000001").unwrap();
    let gone = lookup.get(0, b"a").unwrap_err().to_string();
    assert!(gone.contains("rows-0000000000000001"), "{gone}");
}

#[test]
fn any_wrong_bit_of_a_file_is_damage_or_changes_nothing() {
    let disk = SimulatedDisk::new(MIB);
    let mut store = open(&disk, options()).unwrap();
    let key = |number: usize| format!("k{number:02}");
    put(
        &mut store,
        (0..40)
            .map(|number| (0, key(number), Some(vec![9; 30])))
            .collect::<Vec<_>>(),
        1,
    );
    let bytes = store.stats().delta_bytes;
    let mut named = 0;
    for offset in 0..bytes {
        disk.rot("rows-0000000000000001", offset, 4);
        let mut lookup = store.lookup(KEPT_BYTES);
        for number in 0..40 {
            match lookup.get(0, key(number).as_bytes()) {
                // The key of a block's first row is read before the block is: another block is looked at, and has no such
                // row.
                Ok(found) => assert!(found.is_none_or(|value| value == vec![9; 30]), "byte {offset}"),
                Err(error) => {
                    assert!(
                        error.to_string().contains("rows-0000000000000001"),
                        "byte {offset}: {error}"
                    );
                    named += 1;
                }
            }
        }
        disk.rot("rows-0000000000000001", offset, 4);
    }
    assert!(named as u64 > bytes, "{named}");
}

#[test]
fn files_between_whose_keys_nothing_has_changed_are_not_written_again() {
    let disk = SimulatedDisk::new(64 * MIB);
    let mut store = open(&disk, options()).unwrap();
    let key = |number: u64| format!("k{number:05}");
    let mut expected = 0;
    for round in 0..60 {
        // As in queues: new rows come behind the old ones.
        let added = (0..40).map(|number| (0, key(round * 40 + number), Some(vec![7; 60])));
        put(&mut store, added.collect::<Vec<_>>(), round);
        store.merge_if_needed().unwrap();
        expected += 40;
        assert_eq!(store.rows(0).unwrap().count(), expected);
    }
    let stats = store.stats();
    assert!(stats.merges > 10, "{}", stats.merges);
    let live = stats.base_bytes + stats.delta_bytes;
    assert!(
        stats.merged_bytes < live * 2,
        "{} bytes were written for {live}",
        stats.merged_bytes
    );
    let lookup = &mut store.lookup(KEPT_BYTES);
    assert!((0..60 * 40).all(|number| get(lookup, 0, &key(number)).is_some()));
}
