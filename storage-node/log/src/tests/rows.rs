//! Rows come back in order, damage is named, a full disk loses nothing, and the disk holds no more than is promised.

use bytes::Bytes;

use super::row_cuts::{Rows, open, options};
use crate::{
    disk::{Disk, Random, SimulatedDisk},
    error::OpenError,
    rows::{RowError, RowOptions, RowStore},
};

const MIB: u64 = 1 << 20;

fn put(store: &mut RowStore, rows: &[(&str, Option<&str>)], position: u64) {
    let mut checkpoint = store.checkpoint();
    for (key, value) in rows {
        let value = value.map(|value| Bytes::copy_from_slice(value.as_bytes()));
        checkpoint
            .put(0, Bytes::copy_from_slice(key.as_bytes()), value)
            .unwrap();
    }
    checkpoint.commit(&[(0, position)]).unwrap();
}

fn all(store: &RowStore) -> Vec<(String, String)> {
    let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    store
        .rows(0)
        .unwrap()
        .map(|row| row.map(|(key, value)| (text(key), text(value))).unwrap())
        .collect()
}

fn pair(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

#[test]
fn the_newest_row_of_a_key_counts_and_one_that_went_is_gone() {
    let disk = SimulatedDisk::new(MIB);
    let mut store = open(&disk, options()).unwrap();
    put(&mut store, &[("b", Some("1")), ("a", Some("2")), ("b", Some("3"))], 5);
    put(&mut store, &[("c", Some("")), ("a", None)], 7);
    let store = open(&disk.power_cut(1), options()).unwrap();
    assert_eq!(all(&store), [pair("b", "3"), pair("c", "")]);
    assert_eq!(store.applied(), [(0, 7)]);
    assert_eq!(store.rows(1).unwrap().count(), 0);
}

#[test]
fn a_checkpoint_that_is_not_committed_never_was() {
    let disk = SimulatedDisk::new(MIB);
    let mut store = open(&disk, options()).unwrap();
    put(&mut store, &[("a", Some("1"))], 1);
    let before = disk.used_bytes();
    let mut checkpoint = store.checkpoint();
    for number in 0..500 {
        checkpoint
            .put(0, Bytes::from(format!("{number}")), Some(Bytes::from_static(b"x")))
            .unwrap();
    }
    assert!(disk.used_bytes() > before, "pieces were written");
    drop(checkpoint);
    assert_eq!(disk.used_bytes(), before);
    assert_eq!(all(&store), [pair("a", "1")]);
}

#[test]
fn a_block_with_a_wrong_bit_is_named() {
    let disk = SimulatedDisk::new(MIB);
    let mut store = open(&disk, options()).unwrap();
    put(&mut store, &[("a", Some("1")), ("b", Some("2"))], 1);
    disk.rot("rows-0000000000000001", 60, 1);
    let store = open(&disk, options()).unwrap();
    let error = store.rows(0).map(|mut rows| rows.find_map(Result::err));
    let error = error.map_or_else(|error| error, Option::unwrap);
    let OpenError::Damaged { file, offset, .. } = error else {
        panic!("{error}");
    };
    assert_eq!((file.as_str(), offset), ("rows-0000000000000001", 44));
}

#[test]
fn a_file_that_is_missing_or_short_is_damage_and_a_leftover_goes() {
    let disk = SimulatedDisk::new(MIB);
    let mut store = open(&disk, options()).unwrap();
    put(&mut store, &[("a", Some("1"))], 1);
    disk.create("rows-00000000000000ff").unwrap();
    open(&disk, options()).unwrap();
    assert!(!disk.list().unwrap().contains(&"rows-00000000000000ff".to_owned()));
    disk.remove("rows-0000000000000001").unwrap();
    let error = open(&disk, options()).unwrap_err().to_string();
    assert!(error.contains("rows-0000000000000001 is damaged"), "{error}");
}

#[test]
fn a_full_disk_loses_no_row_of_a_checkpoint() {
    let disk = SimulatedDisk::new(MIB);
    let mut store = open(&disk, options()).unwrap();
    put(&mut store, &[("a", Some("1"))], 1);
    disk.set_capacity(disk.used_bytes() + 2_000);
    let mut checkpoint = store.checkpoint();
    for number in 0..400 {
        checkpoint
            .put(0, Bytes::from(format!("k{number:03}")), Some(Bytes::from_static(b"x")))
            .unwrap();
    }
    let full = checkpoint.commit(&[(0, 2)]);
    assert!(matches!(full, Err(RowError::Full { .. })), "{full:?}");
    let kept = open(&disk.power_cut(5), options()).unwrap();
    assert_eq!(all(&kept), [pair("a", "1")]);
    disk.set_capacity(MIB);
    checkpoint.commit(&[(0, 2)]).unwrap();
    drop(checkpoint);
    assert_eq!(all(&store).len(), 401);
    assert_eq!(store.applied(), [(0, 2)]);
}

#[test]
fn a_failed_flush_is_fatal_and_the_checkpoint_before_is_whole() {
    for flushes in 0..4 {
        let disk = SimulatedDisk::new(MIB);
        let mut store = open(&disk, options()).unwrap();
        put(&mut store, &[("a", Some("1"))], 1);
        disk.fail_flush_after(flushes);
        let mut checkpoint = store.checkpoint();
        checkpoint.put(0, Bytes::from_static(b"b"), Some(Bytes::new())).unwrap();
        let failed = checkpoint.commit(&[(0, 2)]);
        assert!(matches!(failed, Err(RowError::Fatal(_))), "flush {flushes}: {failed:?}");
        drop(checkpoint);
        for seed in 0..20 {
            let found = open(&disk.power_cut(seed), options()).unwrap();
            let rows = (all(&found).len(), found.applied()[0].1);
            assert!(
                rows == (1, 1) || rows == (2, 2),
                "flush {flushes}, seed {seed}: {rows:?}"
            );
        }
    }
}

#[test]
fn a_failed_flush_in_a_merge_leaves_all_rows_where_they_are() {
    let merged_with_failure = |flushes| {
        let disk = SimulatedDisk::new(MIB);
        let mut store = open(&disk, options()).unwrap();
        let value = "x".repeat(90);
        let keys: Vec<String> = (0..60).map(|number| format!("k{number:03}")).collect();
        let rows: Vec<_> = keys.iter().map(|key| (key.as_str(), Some(value.as_str()))).collect();
        for position in 0..2 {
            put(&mut store, &rows, position);
            if position == 0 {
                store.merge_if_needed().unwrap(); // a base of several files
            }
        }
        disk.fail_flush_after(flushes);
        let merged = store.merge_if_needed();
        drop(store);
        for seed in 0..20 {
            let found = open(&disk.power_cut(seed), options()).unwrap();
            assert_eq!(all(&found).len(), 60, "flush {flushes}, seed {seed}");
        }
        merged
    };
    let mut flushes = 0;
    while let Err(error) = merged_with_failure(flushes) {
        assert!(matches!(error, RowError::Fatal(_)), "flush {flushes}: {error}");
        flushes += 1;
    }
    assert!(flushes > 10, "a merge of several files has many flushes: {flushes}");
}

/// The promise of the disk's use, at every operation of a long life with changes of several kinds.
#[test]
fn the_disk_holds_at_most_twice_the_live_rows_and_a_constant() {
    for steps in [1, 2, usize::MAX] {
        hold_at_most_twice_the_live_rows(steps);
    }
}

/// With so many steps of merges behind each checkpoint, and more where those go first.
fn hold_at_most_twice_the_live_rows(steps: usize) {
    let options = RowOptions {
        buffer_bytes: 64 << 10,
        block_bytes: 4 << 10,
        file_bytes: 64 << 10,
        slack_bytes: 32 << 10,
        max_deltas: 8,
    };
    let constant = 3 * options.slack_bytes + 3 * options.file_bytes + (32 << 10);
    let disk = SimulatedDisk::new(1 << 30);
    let mut store = open(&disk, options).unwrap();
    let mut random = Random(11);
    let mut rows = Rows::default();
    let mut live: u64 = 0;
    for round in 0..150_u64 {
        // It grows, is changed, and then the large rows go.
        let (puts, deletes) = [(400, 20), (200, 200), (20, 400)][usize::try_from(round / 50).unwrap()];
        let least = live;
        let mut checkpoint = store.checkpoint();
        let mut taken: u64 = 0;
        for number in 0..puts + deletes {
            let key = random.below(6_000).to_string().into_bytes();
            let size = if random.below(10) == 0 { 4_000 } else { 100 };
            let value = (number < puts).then(|| vec![1; size]);
            checkpoint
                .put(0, Bytes::from(key.clone()), value.clone().map(Bytes::from))
                .unwrap();
            let bytes = |key: &[u8], value: &[u8]| (12 + key.len() + value.len()) as u64;
            taken += bytes(&key, value.as_deref().unwrap_or_default());
            let before = match &value {
                Some(value) => rows.rows.insert((0, key.clone()), value.clone()),
                None => rows.rows.remove(&(0, key.clone())),
            };
            live += value.map_or(0, |value| bytes(&key, &value));
            live -= before.map_or(0, |before| bytes(&key, &before));
        }
        checkpoint.commit(&[(0, round)]).unwrap();
        drop(checkpoint);
        let peak = watch_peak(&disk, || {
            let _ = (0..steps).take_while(|_| store.merge_some().unwrap()).count();
            while store.must_merge_first() {
                store.merge_some().unwrap();
            }
        });
        let bound = 2 * live.max(least) + constant + taken;
        assert!(
            peak <= bound,
            "{steps} steps, round {round}: {peak} bytes for {live} live ones"
        );
        let used = disk.used_bytes();
        assert!(
            used <= 2 * live + constant,
            "{steps} steps, round {round}: {used} at rest for {live}"
        );
    }
    rows.applied.insert(0, 149);
    let found = Rows::read(&store, 1).unwrap();
    assert!(found == rows);
    assert!(store.stats().merges > 5);
}

/// The most bytes that were in use while something was done.
fn watch_peak(disk: &SimulatedDisk, act: impl FnOnce()) -> u64 {
    disk.forget_peak();
    act();
    disk.peak_bytes()
}
