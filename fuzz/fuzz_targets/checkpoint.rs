//! A checkpoint file, whatever the bytes: an error, or a checkpoint that says the same when it is written and read again.
#![no_main]

use azure_incremental::pure::checkpoint_survives;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| assert_ne!(checkpoint_survives(file), Some(false)));
