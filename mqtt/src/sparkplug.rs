//! Births and deaths of Sparkplug B 3.0, as far as they depend on the server: for tests of wills.
//!
//! An edge node leaves its NDEATH with the server as its will and tells its NBIRTH by itself. Both carry the number
//! `bdSeq` of the connection, by which a host application knows which birth a death ends. Called by the tests of
//! several proxies, in one process and on a Kubernetes; leaves out everything else that a payload can carry.

/// `INT64` of Sparkplug's data types.
const INT64: u64 = 4;
/// `Boolean` of Sparkplug's data types.
const BOOLEAN: u64 = 11;
/// When everything here has happened, ms since 1970.
const TIMESTAMP_MS: u64 = 1_767_225_600_000;

/// An edge node, with a number for its next connection.
#[derive(Clone, Debug)]
pub struct EdgeNode {
    /// Its client id.
    pub id: String,
    next_bd_seq: u8,
}

/// What an edge node says of one connection.
#[derive(Clone, Debug)]
pub struct Lifetime {
    /// The number of the connection.
    pub bd_seq: u8,
    /// Topic name of the will: QoS 1, not retained.
    pub death_topic: String,
    /// Payload of the will.
    pub death: Vec<u8>,
    /// Topic name of the birth: QoS 0, not retained.
    pub birth_topic: String,
    /// Payload of the birth.
    pub birth: Vec<u8>,
    /// Topic filter of the commands, to which the edge node subscribes in between.
    pub command_filter: String,
}

/// What a host application reads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Told {
    /// NBIRTH of an edge node, with its `bdSeq`.
    Birth(String, u64),
    /// NDEATH of an edge node, with its `bdSeq`.
    Death(String, u64),
}

/// The topic filter of a host application.
pub const HOST_FILTER: &str = "spBv1.0/#";

impl EdgeNode {
    /// An edge node that was never connected.
    #[must_use]
    pub fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            next_bd_seq: 0,
        }
    }

    /// The number of its last connection, or of the one before the first.
    #[must_use]
    pub fn latest_bd_seq(&self) -> u8 {
        self.next_bd_seq.wrapping_sub(1)
    }

    /// What it says of its next connection. `bdSeq` grows by one each time, and after 255 comes 0.
    pub fn next_lifetime(&mut self) -> Lifetime {
        let bd_seq = self.next_bd_seq;
        self.next_bd_seq = bd_seq.wrapping_add(1);
        let topic = |message_type: &str| format!("spBv1.0/plant/{message_type}/{}", self.id);
        let number = metric("bdSeq", INT64, 11, u64::from(bd_seq));
        let rebirth = metric("Node Control/Rebirth", BOOLEAN, 14, 0);
        Lifetime {
            bd_seq,
            death_topic: topic("NDEATH"),
            death: payload(&[&number], None),
            birth_topic: topic("NBIRTH"),
            birth: payload(&[&number, &rebirth], Some(0)),
            command_filter: topic("NCMD"),
        }
    }
}

impl Told {
    /// Reads a message; `None` when it is neither a birth nor a death.
    #[must_use]
    pub fn read(topic_name: &str, payload: &[u8]) -> Option<Self> {
        let mut levels = topic_name.split('/').skip(2);
        let (message_type, id) = (levels.next()?, levels.next()?.to_owned());
        let bd_seq = Fields(payload).find_map(|(number, value)| match (number, value) {
            (2, Value::Bytes(metric)) => bd_seq_of(metric),
            _ => None,
        })?;
        match message_type {
            "NBIRTH" => Some(Self::Birth(id, bd_seq)),
            "NDEATH" => Some(Self::Death(id, bd_seq)),
            _ => None,
        }
    }
}

fn bd_seq_of(metric: &[u8]) -> Option<u64> {
    let is_named = Fields(metric).any(|field| matches!(field, (1, Value::Bytes(b"bdSeq"))));
    Fields(metric).find_map(|(number, value)| match value {
        Value::Varint(value) if is_named && number == 11 => Some(value),
        _ => None,
    })
}

/// `Payload` of Sparkplug B: timestamp, metrics, and in a birth the number of the message.
fn payload(metrics: &[&[u8]], seq: Option<u64>) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_varint_field(&mut bytes, 1, TIMESTAMP_MS);
    for metric in metrics {
        write_bytes_field(&mut bytes, 2, metric);
    }
    if let Some(seq) = seq {
        write_varint_field(&mut bytes, 3, seq);
    }
    bytes
}

/// `Metric`: name, timestamp, data type, and the value in the field of its type.
fn metric(name: &str, data_type: u64, value_field: u64, value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_bytes_field(&mut bytes, 1, name.as_bytes());
    write_varint_field(&mut bytes, 3, TIMESTAMP_MS);
    write_varint_field(&mut bytes, 4, data_type);
    write_varint_field(&mut bytes, value_field, value);
    bytes
}

fn write_varint_field(bytes: &mut Vec<u8>, number: u64, value: u64) {
    write_varint(bytes, number << 3);
    write_varint(bytes, value);
}

fn write_bytes_field(bytes: &mut Vec<u8>, number: u64, value: &[u8]) {
    write_varint(bytes, (number << 3) | 2);
    write_varint(bytes, value.len() as u64);
    bytes.extend_from_slice(value);
}

fn write_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    bytes.push(value.to_le_bytes()[0]);
}

/// The fields of a message in protobuf's encoding; ends at the first that is not one of the two kinds here.
struct Fields<'a>(&'a [u8]);

enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                let (value, rest) = self.0.split_at_checked(length)?;
                self.0 = rest;
                Value::Bytes(value)
            }
            _ => return None,
        };
        Some((key >> 3, value))
    }
}

impl Fields<'_> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_birth_and_the_death_of_the_same_connection_have_one_number() {
        let mut node = EdgeNode::new("press");
        for expected in [0, 1] {
            let said = node.next_lifetime();
            let birth = Told::read(&said.birth_topic, &said.birth);
            assert_eq!(birth, Some(Told::Birth("press".to_owned(), expected)));
            let death = Told::read(&said.death_topic, &said.death);
            assert_eq!(death, Some(Told::Death("press".to_owned(), expected)));
        }
    }

    #[test]
    fn after_255_comes_0() {
        let mut node = EdgeNode::new("press");
        let numbers: Vec<u8> = (0..258).map(|_| node.next_lifetime().bd_seq).collect();
        assert_eq!(numbers[254..], [254, 255, 0, 1]);
    }

    #[test]
    fn a_death_is_as_the_schema_has_it() {
        let mut node = EdgeNode::new("press");
        node.next_lifetime();
        let said = node.next_lifetime();
        // 1: timestamp; 2: a metric of { 1: "bdSeq", 3: timestamp, 4: INT64, 11: 1 }.
        let timestamp = [0x80, 0xD0, 0xEA, 0xB6, 0xB7, 0x33];
        let mut metric = vec![0x0A, 5, b'b', b'd', b'S', b'e', b'q', 0x18];
        metric.extend(timestamp);
        metric.extend([0x20, 4, 0x58, 1]);
        let mut expected = vec![0x08];
        expected.extend(timestamp);
        expected.extend([0x12, u8::try_from(metric.len()).unwrap()]);
        expected.extend(metric);
        assert_eq!(said.death, expected);
    }

    #[test]
    fn what_is_no_payload_says_nothing() {
        for payload in [
            &b""[..],
            b"\x12\xff",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            b"text",
        ] {
            assert_eq!(Told::read("spBv1.0/plant/NDEATH/press", payload), None);
        }
        let said = EdgeNode::new("press").next_lifetime();
        assert_eq!(Told::read("spBv1.0/plant/NCMD/press", &said.birth), None);
    }
}
