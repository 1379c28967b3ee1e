//! Any bytes as `Retry-After`: nothing, or a finite wait. Plain seconds are taken literally; values that overflow count
//! as very long.
#![no_main]

use std::time::{Duration, SystemTime};

use azure_incremental::pure::retry_after;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|value: &[u8]| {
    let wait = retry_after(value, SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
    if !value.is_empty() && value.iter().all(u8::is_ascii_digit) {
        let seconds = std::str::from_utf8(value).ok().and_then(|text| text.parse::<u32>().ok()).unwrap_or(u32::MAX);
        assert_eq!(wait, Some(Duration::from_secs(seconds.into())));
    }
});
