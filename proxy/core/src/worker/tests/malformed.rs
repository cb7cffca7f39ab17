//! The table of malformed input, as a client of a worker would send it.

use freshet_mqtt::malformed::{Answer, MalformedCase, Sent, malformed_cases};
use freshet_mqtt::{ClientPacket, Connect};

use super::bench::*;
use super::seen::{Seen, decode_all};

fn is_allowed(case: &MalformedCase, bytes: &[u8]) -> bool {
    // A server may always just close.
    bytes.is_empty()
        || case.answers.iter().any(|answer| match answer {
            Answer::Close => bytes.is_empty(),
            // The form of 5.0 has properties behind the code.
            Answer::ConnAck(code) => matches!(bytes, [0x20, (3..), 0, byte, ..] if *byte == code.byte()),
            Answer::ReturnCode(code) => bytes == [0x20, 2, 0, *code],
            Answer::Disconnect(code) => decode_all(V5, bytes) == [Seen::Disconnect(*code)],
        })
}

#[test]
#[cfg_attr(
    false,
    shows("5.0:3.1.4-1", "5.0:3.14.0-1", "5.0:4.13.1-1", "5.0:4.13.2-1", "3.1.1:3.1.4-1")
)]
fn each_malformed_input_gets_an_allowed_answer_and_no_other_client_notices() {
    let cases = malformed_cases().unwrap();
    assert!(cases.len() >= 150);
    let mut bench = Bench::new();
    let good = bench
        .connect(&Connect {
            keep_alive_seconds: 0,
            ..Connect::new(V311, "good")
        })
        .0;
    for case in &cases {
        let client = match case.sent {
            Sent::First => bench.open(case.version),
            Sent::Connected => bench.client(case.version, "bad"),
        };
        bench.send_bytes(client, &case.bytes);
        let answers = bench.close_ended();
        let answer = answers.iter().find(|(token, _)| *token == client.token);
        let (_, bytes) = answer.unwrap_or_else(|| panic!("line {}: {} is not refused", case.line, case.name));
        assert!(
            is_allowed(case, bytes),
            "line {}: {} is answered with {bytes:02x?}",
            case.line,
            case.name
        );
        bench.send(good, ClientPacket::PingReq);
        assert_eq!(bench.read(good), [Seen::PingResp]);
    }
    assert_eq!(bench.worker.stats().connections_now, 1);
}

#[test]
fn every_prefix_of_the_table_leaves_the_worker_well() {
    let mut bench = Bench::new();
    for case in malformed_cases().unwrap() {
        for end in 0..case.bytes.len().min(40) {
            let client = match case.sent {
                Sent::First => bench.open(case.version),
                Sent::Connected => bench.client(case.version, "bad"),
            };
            bench.send_bytes(client, &case.bytes[..end]);
            if bench.reason(client).is_none() {
                bench.hang_up(client);
            }
            bench.close_ended();
        }
    }
    let stats = bench.worker.stats();
    assert_eq!(
        (
            stats.connections_now,
            stats.clients_now,
            stats.input_bytes_now,
            stats.outbound_bytes_now
        ),
        (0, 0, 0, 0)
    );
    assert_eq!(bench.storage.sessions.len(), 0);
}
