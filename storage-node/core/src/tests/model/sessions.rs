//! Random histories of clients that connect wherever they like: one connection each, the last one, in the end.

use std::collections::{BTreeSet, VecDeque};

use super::*;

const CLIENTS: [&str; 2] = ["c", "d"];

#[derive(Debug, Clone)]
enum Event {
    Connect {
        proxy: usize,
        client: usize,
    },
    /// The client of a connection goes.
    Disconnect {
        proxy: usize,
        client: usize,
        reason: DetachReason,
    },
    /// The proxy sees the next answer.
    Hear {
        proxy: usize,
        answers: usize,
    },
    LoseLink {
        proxy: usize,
    },
    Attach {
        proxy: usize,
    },
    Pass {
        ms: u64,
    },
}

fn event() -> impl Strategy<Value = Event> {
    let (proxy, client) = (0..PROXIES, 0..CLIENTS.len());
    let reason = prop_oneof![
        Just(DetachReason::ByClient),
        Just(DetachReason::WillDue),
        Just(DetachReason::Moved)
    ];
    prop_oneof![
        6 => (proxy.clone(), client.clone()).prop_map(|(proxy, client)| Event::Connect { proxy, client }),
        2 => (proxy.clone(), client, reason)
            .prop_map(|(proxy, client, reason)| Event::Disconnect { proxy, client, reason }),
        8 => (proxy.clone(), 1..4_usize).prop_map(|(proxy, answers)| Event::Hear { proxy, answers }),
        2 => proxy.clone().prop_map(|proxy| Event::LoseLink { proxy }),
        3 => proxy.prop_map(|proxy| Event::Attach { proxy }),
        2 => (1..2_500_u64).prop_map(|ms| Event::Pass { ms }),
    ]
}

/// A proxy as far as sessions go.
#[derive(Debug, Default)]
struct Sessions {
    id: u128,
    linked: bool,
    /// A renewal is under way: the next one waits for its answer.
    renewing: bool,
    /// Asked and not answered, by request.
    asked: BTreeMap<u64, usize>,
    /// Connections that are open.
    open: BTreeSet<(usize, SessionEpoch)>,
    /// Ends that storage may not have heard.
    ended: Vec<(usize, SessionEpoch, DetachReason)>,
    in_transit: VecDeque<Answer>,
}

struct Clients {
    core: StorageCore,
    out: Outputs,
    now: MonotonicMs,
    proxies: Vec<Sessions>,
    last_request: u64,
    last_id: u128,
    /// Connections that their clients ended.
    left: BTreeSet<(usize, SessionEpoch)>,
    /// Greatest epoch granted per client.
    greatest: [SessionEpoch; CLIENTS.len()],
}

impl Clients {
    fn new() -> Self {
        let core = StorageCore::new(settings(1), TERM, MonotonicMs(0)).unwrap();
        let proxies = (1..=PROXIES as u128)
            .map(|id| Sessions {
                id,
                ..Sessions::default()
            })
            .collect();
        Self {
            core,
            out: Outputs::new(),
            now: MonotonicMs(0),
            proxies,
            last_request: 0,
            last_id: PROXIES as u128,
            left: BTreeSet::new(),
            greatest: Default::default(),
        }
    }

    fn operate(&mut self, proxy: usize, operation: Operation) {
        if self.proxies[proxy].linked {
            self.core.handle(
                IncarnationId(self.proxies[proxy].id),
                operation,
                self.now,
                &mut self.out,
            );
            self.collect();
        }
    }

    fn collect(&mut self) {
        self.out.drain_facts().for_each(drop);
        let frames: Vec<_> = self.out.drain_proxies().collect();
        for frame in frames {
            for answer in &frame.answers {
                self.note_grant(answer);
            }
            if let Some(proxy) = self
                .proxies
                .iter_mut()
                .find(|p| p.id == frame.incarnation.0 && p.linked)
            {
                proxy.in_transit.extend(frame.answers);
                if frame.close.is_some() {
                    proxy.linked = false;
                    proxy.in_transit.clear();
                }
            }
        }
    }

    fn note_grant(&mut self, answer: &Answer) {
        let Answer::SessionAttached { request, epoch, .. } = answer else {
            return;
        };
        let client = self.proxies.iter().find_map(|p| p.asked.get(&request.0).copied());
        if let Some(client) = client {
            self.greatest[client] = self.greatest[client].max(*epoch);
        }
    }

    fn attach_operation(request: u64, client: usize) -> Operation {
        Operation::AttachSession(AttachSession {
            request: RequestId(request),
            client_id: Bytes::from_static(CLIENTS[client].as_bytes()),
            clean_start: true,
            session_expiry_interval_s: 0,
            will: None,
        })
    }

    fn end(&mut self, proxy: usize, client: usize, epoch: SessionEpoch, reason: DetachReason) {
        self.proxies[proxy].ended.push((client, epoch, reason));
        let client_id = Bytes::from_static(CLIENTS[client].as_bytes());
        self.operate(
            proxy,
            Operation::DetachSession {
                client_id,
                epoch,
                reason,
                session_expiry_interval_s: None,
            },
        );
    }

    fn hear(&mut self, proxy: usize) -> bool {
        let Some(answer) = self.proxies[proxy].in_transit.pop_front() else {
            return false;
        };
        match answer {
            Answer::SessionAttached { request, epoch, .. } => {
                let client = self.proxies[proxy].asked.remove(&request.0);
                if let Some(client) = client {
                    assert!(
                        self.proxies[proxy].open.insert((client, epoch)),
                        "an epoch is granted once"
                    );
                }
            }
            Answer::SessionRefused { request, .. } => {
                self.proxies[proxy].asked.remove(&request.0);
            }
            Answer::TakeOver { client_id, epoch } => {
                let client = CLIENTS.iter().position(|c| c.as_bytes() == &*client_id).unwrap();
                self.proxies[proxy].open.remove(&(client, epoch));
                self.end(proxy, client, epoch, DetachReason::TakenOver);
            }
            Answer::LeaseRenewed => self.proxies[proxy].renewing = false,
            other => panic!("nobody asked for {other:?}"),
        }
        true
    }

    fn attach(&mut self, proxy: usize) {
        if self.proxies[proxy].linked {
            return;
        }
        let frame = |id| AttachProxy {
            cluster_uid: ClusterUid(CLUSTER.to_owned()),
            incarnation: IncarnationId(id),
            proxy_name: "proxy".to_owned(),
            protocol_version: PROTOCOL_VERSION,
            features: Vec::new(),
            highest_term: TERM,
            resume: Vec::new(),
        };
        let mut is_new = false;
        if self
            .core
            .attach(&frame(self.proxies[proxy].id), self.now, &mut self.out)
            .is_err()
        {
            self.last_id += 1;
            self.proxies[proxy].id = self.last_id;
            is_new = true;
            self.core.attach(&frame(self.last_id), self.now, &mut self.out).unwrap();
        }
        self.proxies[proxy].linked = true;
        self.proxies[proxy].renewing = false;
        self.collect();
        if is_new {
            let sessions = self.proxies[proxy]
                .open
                .iter()
                .map(|(client, epoch)| freshet_storage_contract::RegisteredSession {
                    client_id: Bytes::from_static(CLIENTS[*client].as_bytes()),
                    epoch: *epoch,
                    will: None,
                    session_expiry_interval_s: 0,
                    session: None,
                })
                .collect();
            self.operate(proxy, Operation::RegisterSessions { shard: S0, sessions });
        }
        let ended = std::mem::take(&mut self.proxies[proxy].ended);
        for (client, epoch, reason) in ended {
            self.end(proxy, client, epoch, reason);
        }
        let asked: Vec<_> = self.proxies[proxy]
            .asked
            .iter()
            .map(|(request, client)| (*request, *client))
            .collect();
        for (request, client) in asked {
            self.operate(proxy, Self::attach_operation(request, client));
        }
    }

    fn pass_ms(&mut self, ms: u64) {
        for proxy in 0..PROXIES {
            if !std::mem::replace(&mut self.proxies[proxy].renewing, true) {
                self.operate(proxy, Operation::RenewLease);
            }
        }
        let until = MonotonicMs(self.now.0 + ms);
        for _ in 0..10_000 {
            let due = self.core.next_deadline().filter(|due| *due <= until);
            self.now = due.map_or(until, |due| due.max(self.now));
            if due.is_none() {
                return;
            }
            self.core.tick(self.now, &mut self.out);
            self.collect();
        }
        panic!("the core is never done");
    }

    fn apply(&mut self, event: &Event) {
        match *event {
            Event::Connect { proxy, client } => {
                self.last_request += 1;
                let request = self.last_request;
                self.proxies[proxy].asked.insert(request, client);
                self.operate(proxy, Self::attach_operation(request, client));
            }
            Event::Disconnect { proxy, client, reason } => {
                let found = self.proxies[proxy].open.iter().find(|(c, _)| *c == client).copied();
                if let Some((client, epoch)) = found {
                    self.proxies[proxy].open.remove(&(client, epoch));
                    self.left.insert((client, epoch));
                    self.end(proxy, client, epoch, reason);
                }
            }
            Event::Hear { proxy, answers } => {
                for _ in 0..answers {
                    self.hear(proxy);
                }
            }
            Event::LoseLink { proxy } => {
                self.core
                    .detach_link(IncarnationId(self.proxies[proxy].id), self.now, &mut self.out);
                self.proxies[proxy].linked = false;
                self.proxies[proxy].in_transit.clear();
                self.collect();
            }
            Event::Attach { proxy } => self.attach(proxy),
            Event::Pass { ms } => self.pass_ms(ms),
        }
    }

    fn finish(&mut self) {
        for _ in 0..20 {
            for proxy in 0..PROXIES {
                self.attach(proxy);
                while self.hear(proxy) {}
            }
            self.pass_ms(1_000);
        }
    }
}

proptest! {
    #[test]
    fn in_the_end_a_client_has_one_connection_and_it_is_its_last(
        events in prop::collection::vec(event(), 1..100),
    ) {
        let mut clients = Clients::new();
        for event in &events {
            clients.apply(event);
        }
        clients.finish();
        let open: Vec<_> = clients.proxies.iter().flat_map(|p| p.open.iter().copied()).collect();
        for client in 0..CLIENTS.len() {
            let of_client: Vec<_> = open.iter().filter(|(c, _)| *c == client).collect();
            prop_assert!(of_client.len() <= 1, "{of_client:?}");
            if let [(_, epoch)] = of_client[..] {
                // An older one may be all that is left, on a proxy that never heard of the newer one.
                let greatest = clients.greatest[client];
                prop_assert!(*epoch == greatest || clients.left.contains(&(client, greatest)), "{epoch:?}");
            }
        }
        for proxy in &clients.proxies {
            prop_assert!(proxy.asked.is_empty(), "every attach is answered: {:?}", proxy.asked);
        }
        prop_assert_eq!(clients.core.stats().shards[0].gauges.sessions, open.len() as u64);
    }
}
