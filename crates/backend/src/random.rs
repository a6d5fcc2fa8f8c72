//! Random bytes, for names that no two writers choose alike.

/// Returns so many random bytes.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // Without randomness names could clash, which every use of them notices; the clock keeps them
    // apart until the system has some.
    if getrandom::fill(&mut bytes).is_err() {
        let clock = crate::clock::now_ns().to_le_bytes();
        bytes.iter_mut().zip(clock.iter().cycle()).for_each(|(byte, clock)| *byte = *clock);
    }
    bytes
}
