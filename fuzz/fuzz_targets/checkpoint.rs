//! Any bytes as a checkpoint entry: either invalid, or unchanged by storing and reading it again.
#![no_main]

use azure_incremental::pure::entry_survives;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|stored: &[u8]| assert_ne!(entry_survives(stored), Some(false)));
