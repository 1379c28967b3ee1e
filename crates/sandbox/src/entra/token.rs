//! Opaque tokens: numbers that only the sandbox can read or create.
use crate::rng::{Rng, hash};

pub(super) struct Seal(u64);

impl Seal {
    pub(super) fn new(seed: u64) -> Self {
        Self(hash(&[&seed.to_le_bytes(), b"seal"]))
    }

    pub(super) fn close(&self, numbers: &[i64]) -> String {
        let plain: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        let check = self.check(&plain);
        let hidden = self.hide(check, &plain);
        format!("{check:016x}") + &hidden.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    }

    pub(super) fn open<const N: usize>(&self, text: &str) -> Option<[i64; N]> {
        if text.len() != 16 * (N + 1) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let check = u64::from_str_radix(&text[..16], 16).ok()?;
        let hidden = (16..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16));
        let plain = self.hide(check, &hidden.collect::<Result<Vec<u8>, _>>().ok()?);
        let numbers: Vec<i64> =
            plain.chunks_exact(8).filter_map(|bytes| bytes.try_into().ok()).map(i64::from_le_bytes).collect();
        (self.check(&plain) == check).then(|| numbers.try_into().ok()).flatten()
    }

    fn check(&self, plain: &[u8]) -> u64 {
        hash(&[&self.0.to_le_bytes(), plain])
    }

    fn hide(&self, check: u64, text: &[u8]) -> Vec<u8> {
        let mut key = Rng::new(self.0 ^ check);
        text.chunks(8)
            .flat_map(|chunk| {
                chunk.iter().zip(key.next().to_le_bytes()).map(|(byte, key)| byte ^ key).collect::<Vec<_>>()
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_closed_opens_and_nothing_else_does() {
        let seal = Seal::new(1);
        let text = seal.close(&[1, -2, i64::MAX]);
        assert_eq!(seal.open(&text), Some([1, -2, i64::MAX]));
        assert_eq!(seal.open::<2>(&text), None);
        assert_eq!(Seal::new(2).open::<3>(&text), None);
        assert_eq!(seal.open::<3>(&text.replace(&text[20..22], "zz")), None);
        let last = if text.ends_with('0') { "1" } else { "0" };
        assert_eq!(seal.open::<3>(&(text[..text.len() - 1].to_owned() + last)), None);
    }
}
