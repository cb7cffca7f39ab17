//! The table of malformed input, sent to a running broker; a good client is checked after each row.

use std::net::SocketAddr;

use freshet_mqtt::malformed::{Answer, MalformedCase, Sent, malformed_cases};
use freshet_mqtt::{ProtocolVersion, QoS};

use crate::client::{Client, Seen, V5, decode_all};

/// Bytes of a CONNACK of 3.1.1; one of 5.0 has its properties behind them.
const OLD_CONNACK_BYTES: usize = 4;

fn is_allowed(case: &MalformedCase, bytes: &[u8]) -> bool {
    let first = bytes.first().copied();
    case.answers.iter().any(|answer| match answer {
        Answer::Close => bytes.is_empty(),
        Answer::ReturnCode(code) => bytes == [0x20, 2, 0, *code],
        Answer::ConnAck(code) => {
            first == Some(0x20)
                && bytes.len() > OLD_CONNACK_BYTES
                && matches!(
                    &decode_all(ProtocolVersion::V5, bytes)[..],
                    [Seen::ConnAck { reason_code, .. }] if reason_code == code
                )
        }
        Answer::Disconnect(code) => {
            first == Some(0xE0) && decode_all(ProtocolVersion::V5, bytes) == [Seen::Disconnect(*code)]
        }
    })
}

/// Sends each row on a connection of its own and checks answer, close, and a client that did nothing wrong.
pub(crate) fn send_table(address: SocketAddr) {
    let cases = malformed_cases().unwrap();
    assert!(cases.len() >= 150);
    let mut good = Client::connect(address, V5, "good");
    good.subscribe("good", QoS::AtLeastOnce);
    for (index, case) in cases.iter().enumerate() {
        let mut bad = match case.sent {
            Sent::First => Client::open(address, case.version),
            Sent::Connected => Client::connect(address, case.version, "bad"),
        };
        bad.send_bytes(&case.bytes);
        let answer = bad.bytes_until_closed();
        let case_is = format!("line {}: {}", case.line, case.name);
        assert!(is_allowed(case, &answer), "{case_is} is answered with {answer:02x?}");
        good.publish("good", &index.to_be_bytes(), QoS::AtLeastOnce, false);
        assert_eq!(good.receive().payload, index.to_be_bytes(), "{case_is}");
    }
    good.disconnect();
}
