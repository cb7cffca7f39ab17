//! Actions that belong together: what single ones would come to only once in very many sequences.

use freshet_mqtt::QoS;

use super::Draw;
use crate::action::{Action, IDENTITIES};
use crate::random::Random;

/// Several actions in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scene {
    /// A message that expires waits for a client that is away.
    Waiting,
    /// A proxy comes back to storage without memory, later than that waits for it.
    Late,
    /// A proxy dies while a message is on its way.
    Hasty,
    /// A client connects anew while storage comes back, and its former connection speaks on.
    Anew,
    /// Storage and a proxy die together while a message is on its way to a client.
    Both,
}

impl Scene {
    /// What happens in the sequence of a seed. Drawn apart from everything else: few sequences have one.
    pub(super) fn of(seed: u64) -> Option<Self> {
        let scenes = [Self::Waiting, Self::Late, Self::Hasty];
        let mut random = Random::new(seed.rotate_left(32));
        let scene = random.chance(15).then(|| random.pick(&scenes));
        // The other sequences are what they were before there was this one.
        let mut or = |scene: Option<Self>, other| scene.or_else(|| random.chance(4).then_some(other));
        let scene = or(scene, Self::Anew);
        or(scene, Self::Both)
    }

    /// Whether it is about sessions that outlive their connection.
    pub(super) fn needs_sessions(self) -> bool {
        matches!(self, Self::Waiting | Self::Hasty | Self::Both)
    }
}

impl Draw<'_> {
    /// Begins a scene: returns its first action, and has the others follow.
    pub(super) fn begin(&mut self, scene: Scene) -> Action {
        // The first two are those that most sequences begin with.
        let (away, publisher) = self.random.pick(&[(0, 1), (1, 0)]);
        let proxy = self.random.below(self.proxies);
        let noticed = self.random.chance(50);
        let first = match scene {
            Scene::Waiting => Action::HangUp {
                slot: away,
                lossy: false,
            },
            Scene::Late => Action::Cut { proxy, noticed },
            Scene::Hasty | Scene::Both => self.publish_reliably(publisher),
            Scene::Anew => Action::RestartStorage,
        };
        let rest = match scene {
            Scene::Waiting => vec![
                Action::Await { slot: publisher },
                self.publish_reliably(publisher),
                Action::Pass { ms: 3_000 },
                self.open(away),
            ],
            Scene::Late => vec![
                Action::RestartStorage,
                Action::Pass { ms: 1_100 },
                self.publish_reliably(publisher),
                Action::Settle,
                Action::Mend { proxy },
            ],
            Scene::Hasty => vec![Action::Crash { proxy, noticed }, self.open(away), Action::Settle],
            Scene::Both => vec![
                Action::RestartStorage,
                Action::Crash { proxy, noticed },
                self.open(away),
                Action::Settle,
            ],
            // Another device with the client id of one of the first two.
            Scene::Anew => vec![
                self.open(IDENTITIES + away),
                Action::Await {
                    slot: IDENTITIES + away,
                },
                Action::Ping { slot: away },
                Action::Settle,
            ],
        };
        self.next.extend(rest);
        first
    }

    /// A message that is kept for those who are away, and expires if that is what the scene is about.
    fn publish_reliably(&mut self, slot: usize) -> Action {
        let is_waiting = self.kind.scene == Some(Scene::Waiting);
        let mut action = self.publish(slot);
        if let Action::Publish {
            qos, expiry_s, padding, ..
        } = &mut action
        {
            *qos = self
                .random
                .pick(&[QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::ExactlyOnce]);
            *expiry_s = if is_waiting { 10 } else { 0 };
            *padding = 0;
        }
        action
    }
}
