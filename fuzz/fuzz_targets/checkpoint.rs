//! An entry of a checkpoint, whatever the bytes: none, or one that says the same when it is stored and read again.
#![no_main]

use azure_incremental::pure::entry_survives;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|stored: &[u8]| assert_ne!(entry_survives(stored), Some(false)));
