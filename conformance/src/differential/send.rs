//! Packets as scripts write them, made bytes. Writes on its own what no client library would: topic names with
//! wildcards, QoS 3, packets without an end.

use anyhow::{Context as _, bail};

use super::words::{Word, meant, split};
use crate::message::Version;

/// What a packet asks of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Socket {
    /// A new one.
    New,
    /// The one that is there.
    Present,
    /// It is closed, without a word.
    Drop,
}

/// A packet to be sent.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) socket: Socket,
    pub(crate) bytes: Vec<u8>,
    pub(crate) name: String,
    /// The packet identifier that the script gives it: a number, or the letter of one that the broker has chosen.
    pub(crate) id: Option<String>,
    pub(crate) qos: u8,
    pub(crate) code: u8,
    /// The client acknowledges only what the script says.
    pub(crate) manual: bool,
}

/// Makes a packet. `id` turns what follows `#` into a packet identifier, and chooses one when nothing is written.
///
/// # Errors
/// When the script has a word that the packet does not know.
pub(crate) fn build(
    packet: &str,
    version: Version,
    own: &str,
    client: &str,
    id: impl FnOnce(Option<&str>) -> anyhow::Result<u16>,
) -> anyhow::Result<Outgoing> {
    let (name, rest) = packet.split_once(' ').unwrap_or((packet, ""));
    if name == "RAW" {
        let bytes = raw(&split_raw(rest), own, &mut 0)?;
        return Ok(Outgoing::new(Socket::Present, bytes, name));
    }
    let words = split(rest, own)?;
    let written_id = words.iter().find_map(|word| match word {
        Word::Id(id) => Some(id.clone()),
        _ => None,
    });
    let v5 = version == Version::V5;
    let mut fields = Fields { words: &words, v5 };
    let mut outgoing = Outgoing::new(Socket::Present, Vec::new(), name);
    outgoing.id = written_id.clone();
    outgoing.code = fields.code();
    let id = || id(written_id.as_deref());
    outgoing.bytes = match name {
        "CONNECT" => {
            if !fields.has("again") {
                outgoing.socket = Socket::New;
            }
            outgoing.manual = fields.has("manual");
            fields.connect(&format!("{own}-{client}"))?
        }
        "OPEN" => {
            outgoing.socket = Socket::New;
            Vec::new()
        }
        "DROP" => {
            outgoing.socket = Socket::Drop;
            Vec::new()
        }
        "PUBLISH" => {
            outgoing.qos = fields.qos();
            let id = if outgoing.qos > 0 { Some(id()?) } else { None };
            fields.publish(id)?
        }
        "PUBACK" => fields.acknowledgement(0x40, id()?),
        "PUBREC" => fields.acknowledgement(0x50, id()?),
        "PUBREL" => fields.acknowledgement(0x62, id()?),
        "PUBCOMP" => fields.acknowledgement(0x70, id()?),
        "SUBSCRIBE" => fields.subscribe(id()?)?,
        "UNSUBSCRIBE" => fields.unsubscribe(id()?),
        "PINGREQ" => vec![0xC0, 0],
        "DISCONNECT" => fields.disconnect()?,
        other => bail!("clients send no {other}"),
    };
    Ok(outgoing)
}

impl Outgoing {
    fn new(socket: Socket, bytes: Vec<u8>, name: &str) -> Self {
        Self {
            socket,
            bytes,
            name: name.to_owned(),
            id: None,
            qos: 0,
            code: 0,
            manual: false,
        }
    }
}

/// The words of a packet, looked through for what it needs.
struct Fields<'a> {
    words: &'a [Word],
    v5: bool,
}

impl<'a> Fields<'a> {
    fn has(&self, flag: &str) -> bool {
        self.words
            .iter()
            .any(|word| matches!(word, Word::Plain(plain) if plain == flag))
    }

    fn value(&self, key: &str) -> Option<&'a str> {
        self.words.iter().find_map(|word| match word {
            Word::Pair(of, value) if of == key => Some(value.as_str()),
            _ => None,
        })
    }

    fn number<T: std::str::FromStr>(&self, key: &str) -> anyhow::Result<Option<T>> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        let number = value
            .parse()
            .ok()
            .with_context(|| format!("`{key}={value}` is no number"))?;
        Ok(Some(number))
    }

    fn text(&self) -> &'a str {
        self.words
            .iter()
            .find_map(|word| match word {
                Word::Text(text) => Some(text.as_str()),
                _ => None,
            })
            .unwrap_or_default()
    }

    fn code(&self) -> u8 {
        let code = self.words.iter().find_map(|word| match word {
            Word::Code(code) => Some(*code),
            _ => None,
        });
        code.unwrap_or_default()
    }

    fn qos(&self) -> u8 {
        (1..=3).find(|qos| self.has(&format!("q{qos}"))).unwrap_or_default()
    }

    fn connect(&mut self, default_id: &str) -> anyhow::Result<Vec<u8>> {
        let mut properties = Vec::new();
        put_property(
            &mut properties,
            0x11,
            self.number::<u32>("expiry")?.map(u32::to_be_bytes),
        );
        put_property(
            &mut properties,
            0x21,
            self.number::<u16>("receive-maximum")?.map(u16::to_be_bytes),
        );
        put_property(
            &mut properties,
            0x27,
            self.number::<u32>("max-packet")?.map(u32::to_be_bytes),
        );
        put_property(
            &mut properties,
            0x22,
            self.number::<u16>("aliases")?.map(u16::to_be_bytes),
        );
        put_property(
            &mut properties,
            0x17,
            self.number::<u8>("problem")?.map(u8::to_be_bytes),
        );
        put_property(&mut properties, 0x15, self.value("auth").map(string));
        let will = self.value("will");
        let user = self.value("user");
        let password = self.value("password");
        let mut flags = 0;
        for (bit, is_set) in [
            (0x01, self.has("reserved")),
            (0x02, !self.has("resume")),
            (0x04, will.is_some()),
            (0x20, self.has("will-retain")),
            (0x40, password.is_some()),
            (0x80, user.is_some()),
        ] {
            if is_set {
                flags |= bit;
            }
        }
        flags |= self.number::<u8>("will-qos")?.unwrap_or_default() << 3;
        let mut body = string(self.value("name").unwrap_or("MQTT"));
        body.push(self.number::<u8>("level")?.unwrap_or(if self.v5 { 5 } else { 4 }));
        body.push(flags);
        body.extend(self.number::<u16>("keep-alive")?.unwrap_or_default().to_be_bytes());
        self.put_section(&mut body, &properties);
        body.extend(string(self.value("id").unwrap_or(default_id)));
        if let Some(topic) = will {
            let mut properties = Vec::new();
            put_property(
                &mut properties,
                0x18,
                self.number::<u32>("will-delay")?.map(u32::to_be_bytes),
            );
            put_property(
                &mut properties,
                0x02,
                self.number::<u32>("will-expires")?.map(u32::to_be_bytes),
            );
            put_property(&mut properties, 0x26, self.value("will-user").map(pair));
            self.put_section(&mut body, &properties);
            body.extend(string(topic));
            body.extend(string(self.text()));
        }
        for field in [user, password].into_iter().flatten() {
            body.extend(string(field));
        }
        Ok(packet(0x10, &body))
    }

    fn publish(&mut self, id: Option<u16>) -> anyhow::Result<Vec<u8>> {
        let first = 0x30 | self.qos() << 1 | u8::from(self.has("r")) | u8::from(self.has("dup")) << 3;
        // The topic stands first; an alias alone has none.
        let topic = match self.words.iter().find(|word| !matches!(word, Word::Id(_))) {
            Some(Word::Plain(topic)) if !is_flag(topic) => topic.as_str(),
            _ => "",
        };
        let mut properties = Vec::new();
        put_property(&mut properties, 0x01, self.number::<u8>("format")?.map(u8::to_be_bytes));
        put_property(
            &mut properties,
            0x02,
            self.number::<u32>("expires")?.map(u32::to_be_bytes),
        );
        put_property(
            &mut properties,
            0x23,
            self.number::<u16>("alias")?.map(u16::to_be_bytes),
        );
        put_property(&mut properties, 0x08, self.value("response").map(string));
        put_property(&mut properties, 0x09, self.value("correlation").map(string));
        put_property(&mut properties, 0x0B, self.number::<u32>("sid")?.map(varint));
        put_property(&mut properties, 0x03, self.value("type").map(string));
        for word in self.words {
            if let Word::Pair(key, value) = word
                && key == "user"
            {
                put_property(&mut properties, 0x26, Some(pair(value)));
            }
        }
        let mut body = string(topic);
        body.extend(id.into_iter().flat_map(u16::to_be_bytes));
        self.put_section(&mut body, &properties);
        match self.number::<usize>("bytes")? {
            Some(bytes) => body.resize(body.len() + bytes, b'x'),
            None => body.extend(self.text().as_bytes()),
        }
        Ok(packet(first, &body))
    }

    fn acknowledgement(&self, first: u8, id: u16) -> Vec<u8> {
        let mut body = id.to_be_bytes().to_vec();
        if self.v5 && self.code() != 0 {
            body.push(self.code());
        }
        packet(first, &body)
    }

    fn subscribe(&self, id: u16) -> anyhow::Result<Vec<u8>> {
        let mut properties = Vec::new();
        put_property(&mut properties, 0x0B, self.number::<u32>("sid")?.map(varint));
        let mut body = id.to_be_bytes().to_vec();
        self.put_section(&mut body, &properties);
        let mut options: Option<u8> = None;
        for word in self.words {
            let (of_filter, filter) = match word {
                Word::Plain(word) if is_flag(word) || word == "nl" || word == "rap" => (word.clone(), None),
                Word::Pair(key, value) if key == "rh" => (format!("rh{value}"), None),
                Word::Plain(filter) => (String::new(), Some(filter)),
                _ => continue,
            };
            if let Some(filter) = filter {
                body.extend(options.replace(0));
                body.extend(string(filter));
                continue;
            }
            let bits = match of_filter.as_str() {
                "q0" => 0,
                "q1" => 1,
                "q2" => 2,
                "q3" => 3,
                "nl" if self.v5 => 0x04,
                "rap" if self.v5 => 0x08,
                "rh1" if self.v5 => 0x10,
                "rh2" if self.v5 => 0x20,
                "rh3" if self.v5 => 0x30,
                "nl" | "rap" | "rh0" | "rh1" | "rh2" | "rh3" => 0,
                other => bail!("`{other}` is no option"),
            };
            *options.as_mut().context("an option without its filter")? |= bits;
        }
        body.extend(options);
        Ok(packet(0x82, &body))
    }

    fn unsubscribe(&self, id: u16) -> Vec<u8> {
        let mut body = id.to_be_bytes().to_vec();
        self.put_section(&mut body, &[]);
        for word in self.words {
            if let Word::Plain(filter) = word {
                body.extend(string(filter));
            }
        }
        packet(0xA2, &body)
    }

    fn disconnect(&self) -> anyhow::Result<Vec<u8>> {
        let mut properties = Vec::new();
        put_property(
            &mut properties,
            0x11,
            self.number::<u32>("expiry")?.map(u32::to_be_bytes),
        );
        let mut body = Vec::new();
        if self.v5 && (self.code() != 0 || !properties.is_empty()) {
            body.push(self.code());
            self.put_section(&mut body, &properties);
        }
        Ok(packet(0xE0, &body))
    }

    fn put_section(&self, body: &mut Vec<u8>, properties: &[u8]) {
        if self.v5 {
            body.extend(varint(u32::try_from(properties.len()).unwrap_or(u32::MAX)));
            body.extend(properties);
        }
    }
}

fn is_flag(word: &str) -> bool {
    matches!(word, "q0" | "q1" | "q2" | "q3" | "r" | "dup")
}

fn put_property(properties: &mut Vec<u8>, id: u8, value: Option<impl AsRef<[u8]>>) {
    if let Some(value) = value {
        properties.push(id);
        properties.extend(value.as_ref());
    }
}

fn string(text: &str) -> Vec<u8> {
    let bytes = u16::try_from(text.len()).unwrap_or(u16::MAX);
    [&bytes.to_be_bytes(), text.as_bytes()].concat()
}

/// A user property, written `key:value`.
fn pair(text: &str) -> Vec<u8> {
    let (key, value) = text.split_once(':').unwrap_or((text, ""));
    [string(key), string(value)].concat()
}

fn varint(mut value: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let digit = value.to_le_bytes()[0] & 0x7F;
        value >>= 7;
        if value == 0 {
            bytes.push(digit);
            return bytes;
        }
        bytes.push(digit | 0x80);
    }
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    bytes.extend(varint(u32::try_from(body.len()).unwrap_or(u32::MAX)));
    bytes.extend(body);
    bytes
}

fn split_raw(rest: &str) -> Vec<&str> {
    rest.split_whitespace().collect()
}

/// Bytes in hexadecimal; `'text'` with its length in front; `[ … ]` with the remaining length in front.
fn raw(words: &[&str], own: &str, at: &mut usize) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(word) = words.get(*at) {
        *at += 1;
        if *word == "[" {
            let body = raw(words, own, at)?;
            bytes.extend(varint(u32::try_from(body.len()).unwrap_or(u32::MAX)));
            bytes.extend(body);
        } else if *word == "]" {
            break;
        } else if let Some(text) = word.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')) {
            bytes.extend(string(&meant(text, own)));
        } else {
            bytes.push(u8::from_str_radix(word, 16).with_context(|| format!("`{word}` is no byte"))?);
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use freshet_mqtt::{ClientPacket, DecodeLimits, FixedHeader, ProtocolVersion, QoS};

    use super::*;

    /// Builds a packet and hands it to the product's decoder.
    fn decoded(packet: &str, look: impl FnOnce(ClientPacket<'_>)) {
        let built = build(packet, Version::V5, "own", "a", |id| Ok(id.unwrap_or("7").parse()?)).unwrap();
        let header = FixedHeader::parse(&built.bytes, u32::MAX).unwrap().unwrap();
        let body = header.body(&built.bytes).unwrap();
        look(ClientPacket::decode(ProtocolVersion::V5, header, body, &DecodeLimits::default()).unwrap());
    }

    #[test]
    fn a_connect_has_all_that_it_is_told() {
        let text = "CONNECT resume keep-alive=3 expiry=60 receive-maximum=2 will=%/w will-qos=1 will-delay=4 \"gone\"";
        decoded(text, |packet| {
            let ClientPacket::Connect(connect) = packet else {
                panic!()
            };
            let will = connect.will.unwrap();
            assert_eq!((connect.clean_start, connect.client_id), (false, "own-a"));
            assert_eq!(connect.properties.session_expiry_interval, Some(60));
            assert_eq!(
                (will.qos, will.properties.will_delay_interval),
                (QoS::AtLeastOnce, Some(4))
            );
        });
    }

    #[test]
    fn options_belong_to_the_filter_in_front_of_them() {
        decoded("SUBSCRIBE #3 sid=9 %/a q1 nl %/b q2 rh=2", |packet| {
            let ClientPacket::Subscribe(subscribe) = packet else {
                panic!()
            };
            let filters: Vec<_> = subscribe
                .filters
                .iter()
                .map(|filter| filter.options.byte(ProtocolVersion::V5))
                .collect();
            assert_eq!((subscribe.packet_id.get(), filters), (3, vec![0x05, 0x22]));
        });
    }

    #[test]
    fn a_publish_without_a_topic_has_its_alias() {
        decoded("PUBLISH q1 alias=3 \"x\"", |packet| {
            let ClientPacket::Publish(publish) = packet else {
                panic!()
            };
            assert_eq!((publish.topic_name, publish.payload), ("", &b"x"[..]));
        });
    }

    #[test]
    fn raw_bytes_get_their_lengths() {
        let built = build("RAW 30 [ 'a/%' 68 ]", Version::V311, "b", "a", |_| Ok(1)).unwrap();
        assert_eq!(built.bytes, b"\x30\x06\x00\x03a/bh");
    }
}
