//! `hash()`: 64-bit xxHash without a seed, as documented by Kusto.

use super::text;
use super::value::Value;

const P1: u64 = 0x9E37_79B1_85EB_CA87;
const P2: u64 = 0xC2B2_AE3D_27D4_EB4F;
const P3: u64 = 0x1656_67B1_9E37_79F9;
const P4: u64 = 0x85EB_CA77_C2B2_AE63;
const P5: u64 = 0x27D4_EB2F_1656_67C5;

/// The hash of a value. It may be negative, but KQL's `%` of it is not.
pub(crate) fn hash(value: &Value) -> i64 {
    let hash = match value {
        Value::String(text) => xxh64(text.as_bytes()),
        Value::Long(number) => xxh64(&number.to_le_bytes()),
        Value::Real(number) => xxh64(&number.to_le_bytes()),
        Value::DateTime(milliseconds) => xxh64(&ticks(*milliseconds).to_le_bytes()),
        Value::Bool(_) | Value::Null | Value::Dynamic(_) => xxh64(text::shown(value).as_bytes()),
    };
    hash.cast_signed()
}

/// Ticks of 100 nanoseconds since 1 January of the year 1.
fn ticks(milliseconds: i64) -> i64 {
    milliseconds.wrapping_add(62_135_596_800_000).wrapping_mul(10_000)
}

fn round(accumulator: u64, lane: u64) -> u64 {
    accumulator.wrapping_add(lane.wrapping_mul(P2)).rotate_left(31).wrapping_mul(P1)
}

fn merge(hash: u64, accumulator: u64) -> u64 {
    (hash ^ round(0, accumulator)).wrapping_mul(P1).wrapping_add(P4)
}

fn xxh64(input: &[u8]) -> u64 {
    let (blocks, rest) = input.as_chunks::<32>();
    let mut hash = P5;
    if !blocks.is_empty() {
        let mut state = [P1.wrapping_add(P2), P2, 0, P1.wrapping_neg()];
        for block in blocks {
            for (accumulator, lane) in state.iter_mut().zip(block.as_chunks::<8>().0) {
                *accumulator = round(*accumulator, u64::from_le_bytes(*lane));
            }
        }
        let [a, b, c, d] = state;
        hash = a
            .rotate_left(1)
            .wrapping_add(b.rotate_left(7))
            .wrapping_add(c.rotate_left(12))
            .wrapping_add(d.rotate_left(18));
        hash = state.into_iter().fold(hash, merge);
    }
    hash = hash.wrapping_add(input.len() as u64);

    let (lanes, rest) = rest.as_chunks::<8>();
    for lane in lanes {
        hash = (hash ^ round(0, u64::from_le_bytes(*lane))).rotate_left(27).wrapping_mul(P1).wrapping_add(P4);
    }
    let (halves, rest) = rest.as_chunks::<4>();
    for half in halves {
        let half = u64::from(u32::from_le_bytes(*half));
        hash = (hash ^ half.wrapping_mul(P1)).rotate_left(23).wrapping_mul(P2).wrapping_add(P3);
    }
    for byte in rest {
        hash = (hash ^ u64::from(*byte).wrapping_mul(P5)).rotate_left(11).wrapping_mul(P1);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(P2);
    hash = (hash ^ (hash >> 29)).wrapping_mul(P3);
    hash ^ (hash >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_xxhash() {
        assert_eq!(xxh64(b""), 0xEF46_DB37_51D8_E999);
        assert_eq!(xxh64(b"a"), 0xD24E_C4F1_A98C_6E5B);
        assert_eq!(xxh64(b"Nobody inspects the spammish repetition"), 0xFBCE_A83C_8A37_8BF1);
    }

    #[test]
    fn it_agrees_with_kustos_documentation() {
        assert_eq!(hash(&text::string("World")), 1_846_988_464_401_551_951);
        assert_eq!(hash(&Value::DateTime(1_420_070_400_000)), 1_380_966_698_541_616_202);
    }
}
