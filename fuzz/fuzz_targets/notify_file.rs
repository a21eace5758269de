#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| countermove_fuzz::files::notify_file(data));
