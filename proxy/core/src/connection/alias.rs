//! Topic aliases of one connection, in both directions (MQTT 5.0, 3.3.2.3.4).

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use bytes::Bytes;

/// Aliases that the client has defined.
#[derive(Debug)]
pub(crate) struct InboundAliases {
    topics: Vec<Option<Box<str>>>,
    max: u16,
}

/// What is wrong with an alias of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AliasError {
    /// Over the announced maximum (MQTT-3.3.2-9).
    OutOfRange,
    /// No topic has been given to it on this connection.
    Unknown,
}

impl InboundAliases {
    pub(crate) fn new(max: u16) -> Self {
        Self {
            topics: Vec::new(),
            max,
        }
    }

    /// Gives the alias a topic.
    ///
    /// # Errors
    /// [`AliasError::OutOfRange`].
    pub(crate) fn define(&mut self, alias: NonZeroU16, topic_name: &str) -> Result<(), AliasError> {
        if alias.get() > self.max {
            return Err(AliasError::OutOfRange);
        }
        let index = usize::from(alias.get() - 1);
        if self.topics.len() <= index {
            self.topics.resize_with(index + 1, || None);
        }
        match self.topics.get_mut(index) {
            Some(Some(known)) if **known == *topic_name => {}
            Some(place) => *place = Some(topic_name.into()),
            None => {}
        }
        Ok(())
    }

    /// The topic of an alias.
    ///
    /// # Errors
    /// [`AliasError`].
    pub(crate) fn resolve(&self, alias: NonZeroU16) -> Result<&str, AliasError> {
        if alias.get() > self.max {
            return Err(AliasError::OutOfRange);
        }
        let topic = self.topics.get(usize::from(alias.get() - 1)).and_then(Option::as_deref);
        topic.ok_or(AliasError::Unknown)
    }
}

/// Aliases that the server has defined. An alias is given to a topic when its bytes are written, so that no dropped
/// message takes a definition along.
#[derive(Debug)]
pub(crate) struct OutboundAliases {
    // Ordered, not hashed: clients choose topics.
    aliases: BTreeMap<Bytes, NonZeroU16>,
    max: u16,
}

/// How a topic is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aliased {
    /// The client knows the alias.
    Known(NonZeroU16),
    /// This PUBLISH would define the alias; [`OutboundAliases::define`] once it is written.
    New(NonZeroU16),
    /// By its name: all aliases are given away.
    Unaliased,
}

/// Shorter topics gain nothing from an alias of three bytes.
const SHORTEST_ALIASED_BYTES: usize = 4;

impl OutboundAliases {
    pub(crate) fn new(max: u16) -> Self {
        Self {
            aliases: BTreeMap::new(),
            max,
        }
    }

    pub(crate) fn look_up(&self, topic_name: &[u8]) -> Aliased {
        if topic_name.len() < SHORTEST_ALIASED_BYTES {
            return Aliased::Unaliased;
        }
        if let Some(alias) = self.aliases.get(topic_name) {
            return Aliased::Known(*alias);
        }
        let next = u16::try_from(self.aliases.len() + 1)
            .ok()
            .filter(|next| *next <= self.max);
        next.and_then(NonZeroU16::new).map_or(Aliased::Unaliased, Aliased::New)
    }

    /// The alias was written together with its topic.
    pub(crate) fn define(&mut self, topic_name: &[u8], alias: NonZeroU16) {
        // A copy of its own: a part of a message would keep all of it in memory.
        self.aliases.insert(Bytes::copy_from_slice(topic_name), alias);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alias(value: u16) -> NonZeroU16 {
        NonZeroU16::new(value).unwrap()
    }

    #[test]
    fn an_alias_stands_for_the_last_topic_it_was_given() {
        // MQTT-3.3.2-12
        let mut aliases = InboundAliases::new(2);
        assert_eq!(aliases.resolve(alias(2)), Err(AliasError::Unknown));
        aliases.define(alias(2), "a").unwrap();
        aliases.define(alias(2), "b").unwrap();
        assert_eq!(aliases.resolve(alias(2)), Ok("b"));
    }

    #[test]
    fn an_alias_over_the_maximum_is_refused() {
        // MQTT-3.3.2-9
        let mut aliases = InboundAliases::new(2);
        assert_eq!(aliases.define(alias(3), "a"), Err(AliasError::OutOfRange));
        assert_eq!(aliases.resolve(alias(3)), Err(AliasError::OutOfRange));
    }

    #[test]
    #[cfg_attr(false, shows("5.0:3.1.2-26", "5.0:3.1.2-27", "5.0:3.3.2-11"))]
    fn the_server_keeps_to_the_clients_maximum() {
        // MQTT-3.1.2-26, MQTT-3.1.2-27
        let mut aliases = OutboundAliases::new(1);
        assert_eq!(aliases.look_up(b"topic/a"), Aliased::New(alias(1)));
        assert_eq!(
            aliases.look_up(b"topic/a"),
            Aliased::New(alias(1)),
            "nothing was written yet"
        );
        aliases.define(b"topic/a", alias(1));
        assert_eq!(aliases.look_up(b"topic/a"), Aliased::Known(alias(1)));
        assert_eq!(aliases.look_up(b"topic/b"), Aliased::Unaliased);
        assert_eq!(OutboundAliases::new(0).look_up(b"topic/a"), Aliased::Unaliased);
    }
}
