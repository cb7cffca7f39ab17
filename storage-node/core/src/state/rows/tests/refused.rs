//! What is no row is refused, whatever it is.

use super::*;

#[test]
fn a_row_that_is_none_is_refused() {
    let mut state = State::new(KeyedHash::new(1));
    let mut restore = |key: &'static [u8], value: &[u8]| state.restore_row(Bytes::from_static(key), value);
    assert_eq!(restore(&[99], b""), Err(RowError::Table(99)));
    assert_eq!(restore(b"", b""), Err(RowError::Decode(DecodeError::Truncated)));
    assert_eq!(restore(&[0], &[4]), Err(RowError::Version { found: 4 }));
    assert_eq!(restore(&[1, b'x'], &[0]), Err(RowError::Decode(DecodeError::Truncated)));
    assert_eq!(
        restore(&[5, 0, 0, 0, 0, 0, 0, 0, 1], &[0]),
        Err(RowError::Missing),
        "its message is not there"
    );
}

proptest! {
    #[test]
    fn any_row_is_read_without_a_panic(
        table in 0..17_u8,
        key in prop::collection::vec(any::<u8>(), 0..20),
        value in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let mut state = State::new(KeyedHash::new(1));
        let key = [&[table][..], &key].concat();
        // Whether it is one does not matter here.
        let _ = state.restore_row(key.into(), &value);
    }
}
