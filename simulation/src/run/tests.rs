//! Sequences by hand, of cases that random ones come to once in very many. After each action everything arrives.

use freshet_config::SharedStrategy;
use freshet_mqtt::{ProtocolVersion, QoS, RetainHandling};

use super::*;
use crate::action::{Action, IDENTITIES, Memory, OpenOptions, Step, SubscribeOptions};

fn keeps_every_rule(memory: Memory, actions: Vec<Action>) {
    let all_arrives = |action| Step { action, schedule: None };
    let sequence = Sequence {
        seed: 0,
        proxies: 2,
        workers: 1,
        shards: 1,
        strategy: SharedStrategy::RoundRobin,
        memory,
        steps: actions.into_iter().map(all_arrives).collect(),
    };
    if let Err(failure) = run_traced(&sequence) {
        panic!("{sequence}{failure}");
    }
}

fn options(expiry_s: u32) -> OpenOptions {
    OpenOptions {
        version: ProtocolVersion::V5,
        clean_start: expiry_s == 0,
        expiry_s,
        receive_maximum: 0,
        max_packet_bytes: 0,
        alias_maximum: 0,
        will: None,
        lazy: false,
    }
}

fn open(slot: usize, proxy: usize, expiry_s: u32) -> Action {
    let options = options(expiry_s);
    Action::Open { slot, proxy, options }
}

fn subscribe(slot: usize, filter: &'static str, qos: QoS) -> Action {
    let options = SubscribeOptions {
        qos,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::Send,
    };
    Action::Subscribe {
        slot,
        filters: vec![(filter, options)],
        identifier: 0,
    }
}

fn publish(slot: usize, qos: QoS, expiry_s: u32) -> Action {
    Action::Publish {
        slot,
        topic: "d/1/x",
        qos,
        retain: false,
        empty: false,
        padding: 0,
        expiry_s,
        alias: false,
    }
}

#[test]
fn a_client_whose_session_has_expired_behind_its_back_is_told_when_storage_has_restarted_since() {
    let noticed = false;
    keeps_every_rule(
        Memory::Disk,
        vec![
            open(0, 1, 3),
            subscribe(0, "d/1/#", QoS::AtLeastOnce),
            open(1, 0, 0),
            Action::Cut { proxy: 1, noticed },
            // The lease of the proxy ends, and the session expires.
            Action::Pass { ms: 16_000 },
            publish(1, QoS::AtLeastOnce, 0),
            Action::RestartStorage,
        ],
    );
}

#[test]
fn a_session_that_began_anew_elsewhere_is_not_named_again_to_storage_with_a_disk() {
    begin_anew_elsewhere(Memory::Disk);
}

#[test]
fn a_session_that_began_anew_elsewhere_may_be_named_again_to_storage_without_memory() {
    begin_anew_elsewhere(Memory::Process);
}

fn begin_anew_elsewhere(memory: Memory) {
    let noticed = true;
    keeps_every_rule(
        memory,
        vec![
            open(1, 0, 60),
            subscribe(1, "d/1/#", QoS::AtLeastOnce),
            Action::Freeze { proxy: 0 },
            Action::Pass { ms: 8_000 },
            // Another device with the client id.
            open(IDENTITIES + 1, 1, 0),
            Action::Crash { proxy: 1, noticed },
            Action::RestartStorage,
            Action::Mend { proxy: 0 },
            open(1, 0, 60),
        ],
    );
}

#[test]
fn an_exchange_of_a_group_goes_on_when_its_message_has_expired() {
    let lazy = OpenOptions {
        lazy: true,
        ..options(60)
    };
    let slot = 0;
    keeps_every_rule(
        Memory::Disk,
        vec![
            Action::Open {
                slot,
                proxy: 0,
                options: lazy,
            },
            subscribe(slot, "$share/h/#", QoS::ExactlyOnce),
            open(1, 0, 0),
            publish(1, QoS::ExactlyOnce, 2),
            Action::HangUp { slot, lossy: false },
            Action::Pass { ms: 8_000 },
            open(slot, 0, 60),
        ],
    );
}
