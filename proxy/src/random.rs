//! Randomness from the operating system: what makes processes different, keys that nobody guesses.

use rustix::rand::{GetRandomFlags, getrandom};

/// 64 random bits.
///
/// # Errors
/// When the operating system has none, which no supported kernel says after it has started.
pub fn random_u64() -> std::io::Result<u64> {
    let mut bytes = [0; 8];
    fill(&mut bytes)?;
    Ok(u64::from_ne_bytes(bytes))
}

/// 128 random bits.
///
/// # Errors
/// As [`random_u64`].
pub fn random_u128() -> std::io::Result<u128> {
    let mut bytes = [0; 16];
    fill(&mut bytes)?;
    Ok(u128::from_ne_bytes(bytes))
}

fn fill(mut bytes: &mut [u8]) -> std::io::Result<()> {
    while !bytes.is_empty() {
        match getrandom(&mut *bytes, GetRandomFlags::empty()) {
            Ok(filled) => bytes = bytes.get_mut(filled..).unwrap_or_default(),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_draws_differ() {
        assert_ne!(random_u128().unwrap(), random_u128().unwrap());
        assert_ne!(random_u64().unwrap(), random_u64().unwrap());
    }
}
