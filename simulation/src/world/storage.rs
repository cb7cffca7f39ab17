//! The storage node of the world, and the streams between it and the proxies.

use freshet_config::StorageConfig;
use freshet_proxy_core::link::Violation as LinkViolation;
use freshet_storage_contract::{AttachRefusal, ClusterUid, MonotonicMs, Term};
use freshet_storage_core::{LinkFault, Outputs, Restore, StorageCore, StorageSettings};

use super::World;
use super::disk::Disk;
use super::proxy::{Streams, amount};
use crate::action::Memory;
use crate::history::Broken;
use crate::random::Random;
use crate::topics::PLACEMENT_RULE;
use crate::violation::Violation;

pub(super) fn cluster_uid() -> ClusterUid {
    ClusterUid("a-cluster".to_owned())
}

pub(super) struct Storage {
    pub(super) core: StorageCore,
    pub(super) out: Outputs,
    shards: u16,
    /// Bytes of queued messages that may be in memory.
    resident_bytes: u64,
    lives: u64,
    /// None: it has no disk.
    disk: Option<Disk>,
}

/// How much of what is queued a node with a disk keeps in memory: all of it, or next to nothing. Drawn apart from the
/// sequence of the seed.
pub(super) fn resident_bytes(seed: u64) -> u64 {
    Random::new(seed ^ 0xC01D).pick(&[u64::MAX, u64::MAX, 0, 0, 400, 3_000])
}

impl Storage {
    pub(super) fn new(shards: u16, memory: Memory, resident_bytes: u64, now: MonotonicMs) -> Self {
        Self {
            core: match memory {
                Memory::Process => forgetful(shards, 1, now),
                Memory::Disk => restore(shards, resident_bytes).finish(Term(1), now),
            },
            out: Outputs::new(),
            shards,
            resident_bytes,
            lives: 1,
            disk: (memory == Memory::Disk).then(Disk::default),
        }
    }

    /// The process dies and comes back.
    pub(super) fn restart(&mut self, random: &mut Random, now: MonotonicMs) -> Result<Broken, Violation> {
        self.lives += 1;
        self.out = Outputs::new();
        let Some(disk) = &mut self.disk else {
            self.core = forgetful(self.shards, self.lives, now);
            return Ok(Broken::Storage);
        };
        disk.lose_power(random);
        let mut restored = restore(self.shards, self.resident_bytes);
        disk.read(&mut restored)?;
        // A clock that says nothing of the lives before.
        self.core = restored.finish(Term(1), now);
        // Its term is safe before anybody hears of it.
        disk.write(self.core.take_records());
        let through = disk.flush_all();
        self.core.flushed(&through, now, &mut self.out);
        Ok(Broken::StorageRestarted)
    }

    /// Whether something is on its way to the disk.
    pub(super) fn has_records(&self) -> bool {
        self.disk.as_ref().is_some_and(Disk::has_unflushed)
    }

    /// Rows that were read from the disk.
    pub(super) fn loaded(&self) -> usize {
        self.disk.as_ref().map_or(0, Disk::loaded)
    }

    /// Whether something is read from the disk.
    pub(super) fn has_loads(&self) -> bool {
        self.disk.as_ref().is_some_and(Disk::has_loads)
    }
}

fn forgetful(shards: u16, life: u64, now: MonotonicMs) -> StorageCore {
    // The one placement rule is valid, and so are one to four shards.
    #[expect(clippy::expect_used, reason = "the settings are constants")]
    StorageCore::new(settings(shards, u64::MAX), Term(life * 10), now).expect("the placement is valid")
}

fn restore(shards: u16, resident_bytes: u64) -> Restore {
    #[expect(clippy::expect_used, reason = "the settings are constants")]
    Restore::new(settings(shards, resident_bytes)).expect("the placement is valid")
}

fn settings(shards: u16, queued_resident_bytes: u64) -> StorageSettings {
    let config = StorageConfig {
        cluster_uid: cluster_uid().0,
        shards,
        placement_rules: vec![PLACEMENT_RULE.to_owned()],
        ..StorageConfig::default()
    };
    StorageSettings {
        queued_resident_bytes,
        ..StorageSettings::new(&config, 7)
    }
}

impl World {
    /// A proxy opens its streams.
    pub(super) fn attach(&mut self, number: usize) -> Result<(), Violation> {
        let proxy = &mut self.proxies[number];
        let frame = proxy.link.attach_frame();
        match self.storage.core.attach(&frame, self.now, &mut self.storage.out) {
            Ok(attached) => {
                proxy.streams = Some(Streams::default());
                let taken = proxy.link.attached(&attached, self.now, &mut proxy.out);
                self.history.broke(Broken::StreamsMended { proxy: number });
                self.after_link(number);
                self.keeps_to_contract(number, taken)?;
            }
            Err(AttachRefusal::IncarnationGone { .. }) => {
                let incarnation = self.take_incarnation();
                let proxy = &mut self.proxies[number];
                proxy.incarnation = incarnation;
                proxy.link.start_incarnation(incarnation);
                self.history.broke(Broken::Lease { proxy: number });
            }
            Err(refusal) => return Err(Violation::new("storage takes the proxy", refusal.to_string())),
        }
        self.collect_from_storage()
    }

    /// Some of what is on its way to the disk is flushed.
    pub(super) fn records_to_disk(&mut self) -> Result<(), Violation> {
        let resident_bytes = self.storage.resident_bytes;
        let Storage { core, out, disk, .. } = &mut self.storage;
        if let Some(disk) = disk {
            let through = disk.flush(&mut self.random);
            core.flushed(&through, self.now, out);
            // What is to go from memory has to be in a checkpoint first.
            let (chance, rows) = if resident_bytes == u64::MAX {
                (30, &[1, 3, 10, 1_000])
            } else {
                (60, &[3, 10, 1_000, 1_000])
            };
            if self.random.chance(chance) {
                let max_rows = self.random.pick(rows);
                disk.write_rows(core, max_rows, &mut self.random);
            }
            if self.random.chance(80)
                && let Some(applied) = disk.take_news()
            {
                core.checkpointed(&applied, self.now, out);
            }
        }
        self.collect_from_storage()
    }

    /// Some of what storage reads of its checkpoint comes.
    pub(super) fn rows_to_storage(&mut self) -> Result<(), Violation> {
        let Storage { core, out, disk, .. } = &mut self.storage;
        if let Some(disk) = disk {
            let rows = disk.load(&mut self.random).into_iter();
            let taken = core.loaded(rows.map(|(load, row)| (load, row.map(Into::into))), self.now, out);
            taken.map_err(|error| Violation::new("storage finds what it has written", error.to_string()))?;
        }
        self.collect_from_storage()
    }

    /// Carries what storage has said.
    pub(super) fn collect_from_storage(&mut self) -> Result<(), Violation> {
        if let Some(disk) = &mut self.storage.disk {
            disk.write(self.storage.core.take_records());
            disk.ask(self.storage.core.take_loads());
        }
        let mut ended = Vec::new();
        for frame in self.storage.out.drain_proxies() {
            let to = |p: &super::Proxy| p.incarnation == frame.incarnation && p.streams.is_some();
            let Some(number) = self.proxies.iter().position(to) else {
                continue;
            };
            if let Some(streams) = &mut self.proxies[number].streams {
                streams.answers.extend(frame.answers);
                streams.deliveries.extend(frame.deliveries);
            }
            if let Some(fault) = frame.close {
                ended.push((number, fault));
            }
        }
        self.storage.out.drain_facts().for_each(drop);
        for (number, fault) in ended {
            // A proxy that keeps to the contract meets only these.
            if !matches!(
                fault,
                LinkFault::LeaseExpired | LinkFault::HoldFull(_) | LinkFault::TermRaised
            ) {
                return Err(Violation::new("proxies keep to the contract", fault.to_string()));
            }
            self.streams_lost(number);
        }
        Ok(())
    }

    pub(super) fn operations_to_storage(&mut self, number: usize) -> Result<(), Violation> {
        let proxy = &mut self.proxies[number];
        let Some(streams) = &mut proxy.streams else {
            return Ok(());
        };
        let count = amount(&mut self.random, streams.operations.len());
        for operation in streams.operations.drain(..count) {
            let (now, out) = (self.now, &mut self.storage.out);
            self.storage.core.handle(proxy.incarnation, operation, now, out);
        }
        self.collect_from_storage()
    }

    pub(super) fn controls_to_storage(&mut self, number: usize) -> Result<(), Violation> {
        let proxy = &mut self.proxies[number];
        let Some(streams) = &mut proxy.streams else {
            return Ok(());
        };
        let count = amount(&mut self.random, streams.controls.len());
        for control in streams.controls.drain(..count) {
            let (now, out) = (self.now, &mut self.storage.out);
            self.storage.core.handle_control(proxy.incarnation, control, now, out);
        }
        self.collect_from_storage()
    }

    pub(super) fn answers_to_proxy(&mut self, number: usize) -> Result<(), Violation> {
        let proxy = &mut self.proxies[number];
        let Some(streams) = &mut proxy.streams else {
            return Ok(());
        };
        let count = amount(&mut self.random, streams.answers.len());
        let mut taken = Ok(());
        for answer in streams.answers.drain(..count) {
            taken = taken.and(proxy.link.handle_answer(answer, &mut proxy.out));
        }
        self.after_link(number);
        self.keeps_to_contract(number, taken)
    }

    pub(super) fn deliveries_to_proxy(&mut self, number: usize) -> Result<(), Violation> {
        let proxy = &mut self.proxies[number];
        let Some(streams) = &mut proxy.streams else {
            return Ok(());
        };
        let count = amount(&mut self.random, streams.deliveries.len());
        let mut taken = Ok(());
        for delivery in streams.deliveries.drain(..count) {
            taken = taken.and(proxy.link.handle_delivery(delivery, &mut proxy.out));
        }
        self.after_link(number);
        self.keeps_to_contract(number, taken)
    }

    fn keeps_to_contract(&mut self, _proxy: usize, taken: Result<(), LinkViolation>) -> Result<(), Violation> {
        taken.map_err(|violation| Violation::new("storage keeps to the contract", violation.to_string()))
    }
}
