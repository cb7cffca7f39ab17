//! One GET, and one number of the metrics.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::client::DEADLINE;

/// Status and body, which is text.
pub(crate) fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let (status, body) = get_bytes(address, path);
    (status, String::from_utf8(body).unwrap())
}

/// Status and body.
pub(crate) fn get_bytes(address: SocketAddr, path: &str) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let body = answer.split_off(end + 4);
    let head = String::from_utf8(answer).unwrap();
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
    (status, body)
}

/// Value of a metric, named with its labels as in the text.
pub(crate) fn metric(address: SocketAddr, name: &str) -> f64 {
    let (status, text) = get(address, "/metrics");
    assert_eq!(status, 200);
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
}

/// Waits until something is so.
pub(crate) fn await_condition(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + DEADLINE;
    let pause = std::sync::mpsc::channel::<()>();
    while !is_so() {
        assert!(Instant::now() < until, "in vain: {what}");
        // Nobody sends: a pause between two looks.
        let _ = pause.1.recv_timeout(Duration::from_millis(10));
    }
}
