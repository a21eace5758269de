#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| countermove_fuzz::models::model_folder(data));
