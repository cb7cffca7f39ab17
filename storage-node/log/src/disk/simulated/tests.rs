//! The simulated disk loses what a real one may lose, and keeps what a real one keeps.

use super::*;

fn bytes_of(disk: &SimulatedDisk, name: &str) -> Option<Vec<u8>> {
    let file = disk.open(name).ok()?;
    let mut bytes = vec![0; usize::try_from(file.size().unwrap()).unwrap()];
    file.read_at(0, &mut bytes).unwrap();
    Some(bytes)
}

#[test]
fn what_was_flushed_survives_every_cut() {
    let disk = SimulatedDisk::new(1 << 20);
    let file = disk.create("a").unwrap();
    file.write_at(0, &[7; 2_000]).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir().unwrap();
    for seed in 0..200 {
        assert_eq!(
            bytes_of(&disk.power_cut(seed), "a").unwrap(),
            vec![7; 2_000],
            "seed {seed}"
        );
    }
}

#[test]
fn of_what_was_not_flushed_any_sectors_survive() {
    let disk = SimulatedDisk::new(1 << 20);
    let file = disk.create("a").unwrap();
    file.write_at(0, &[1; 2_048]).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir().unwrap();
    file.write_at(256, &[2; 1_500]).unwrap();
    let mut outcomes = std::collections::BTreeSet::new();
    for seed in 0..400 {
        let bytes = bytes_of(&disk.power_cut(seed), "a").unwrap();
        assert!(bytes[..256].iter().all(|byte| *byte == 1), "seed {seed}");
        let sectors: Vec<u8> = [300, 600, 1_100, 1_700].map(|at| bytes[at]).to_vec();
        outcomes.insert(sectors);
    }
    assert!(outcomes.contains(&vec![1, 1, 1, 1]) && outcomes.contains(&vec![2, 2, 2, 2]));
    assert!(
        outcomes.contains(&vec![1, 2, 1, 2]),
        "a later sector without an earlier one"
    );
}

#[test]
fn names_that_were_not_flushed_may_be_the_old_ones() {
    let disk = SimulatedDisk::new(1 << 20);
    disk.create("a").unwrap().sync_data().unwrap();
    disk.sync_dir().unwrap();
    disk.rename("a", "b").unwrap();
    disk.create("c").unwrap();
    let mut outcomes = std::collections::BTreeSet::new();
    for seed in 0..400 {
        outcomes.insert(disk.power_cut(seed).list().unwrap().join(" "));
    }
    assert_eq!(outcomes.into_iter().collect::<Vec<_>>(), ["a", "a c", "b", "b c"]);
}

#[test]
fn after_a_failed_flush_the_next_one_succeeds_and_the_bytes_are_gone() {
    let disk = SimulatedDisk::new(1 << 20);
    let file = disk.create("a").unwrap();
    disk.sync_dir().unwrap();
    disk.fail_flush_after(0);
    file.write_at(0, b"lost").unwrap();
    file.sync_data().unwrap_err();
    file.sync_data().unwrap();
    assert_eq!(bytes_of(&disk, "a").unwrap(), b"lost", "the process still sees them");
    for seed in 0..20 {
        assert!(bytes_of(&disk.power_cut(seed), "a").unwrap().is_empty());
    }
}

#[test]
fn a_full_disk_says_so_and_power_that_is_off_stays_off() {
    let disk = SimulatedDisk::new(100);
    let file = disk.create("a").unwrap();
    file.write_at(0, &[0; 100]).unwrap();
    assert_eq!(file.write_at(100, &[0]).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(disk.space().unwrap().free_bytes, 0);
    disk.power_off_at(disk.operations() + 1);
    file.write_at(0, &[1]).unwrap();
    file.write_at(0, &[2]).unwrap_err();
    disk.sync_dir().unwrap_err();
    assert_eq!(bytes_of(&disk.process_killed(), "a").unwrap()[0], 1);
}
