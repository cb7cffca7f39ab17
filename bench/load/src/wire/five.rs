//! The two packets of MQTT 5.0 that no packet of 3.1.1 can stand for: a session that expires at a time of its own.

use super::{encode_remaining_length, encode_string};

/// Appends a CONNECT of a session that ends so many seconds behind its connection, without keep-alive.
pub fn encode_connect(out: &mut Vec<u8>, client_id: &str, session_expiry_interval_s: u32) {
    out.push(0x10);
    encode_remaining_length(out, 18 + client_id.len());
    out.extend_from_slice(b"\x00\x04MQTT\x05\x00\x00\x00");
    // One property of five bytes.
    out.extend_from_slice(&[5, 0x11]);
    out.extend_from_slice(&session_expiry_interval_s.to_be_bytes());
    encode_string(out, client_id.as_bytes());
}

/// Appends a SUBSCRIBE with some filters.
pub fn encode_subscribe(out: &mut Vec<u8>, packet_id: u16, filters: &[String], qos: u8) {
    out.push(0x82);
    let filter_bytes: usize = filters.iter().map(|filter| 3 + filter.len()).sum();
    encode_remaining_length(out, 3 + filter_bytes);
    out.extend_from_slice(&packet_id.to_be_bytes());
    // No property.
    out.push(0);
    for filter in filters {
        encode_string(out, filter.as_bytes());
        out.push(qos);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_those_of_what_follows() {
        let mut connect = Vec::new();
        encode_connect(&mut connect, "abc", 300);
        assert_eq!(usize::from(connect[1]) + 2, connect.len());
        assert_eq!(connect[12..18], [5, 0x11, 0, 0, 1, 44]);
        let mut subscribe = Vec::new();
        encode_subscribe(&mut subscribe, 1, &["a/b".to_owned(), "c".to_owned()], 1);
        assert_eq!(usize::from(subscribe[1]) + 2, subscribe.len());
    }
}
