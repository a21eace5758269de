#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| countermove_coordinator::incidents::fuzzing::events(data));
