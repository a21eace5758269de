//! What all fuzz targets share.

/// A fuzz target for the parsers of one format, or `log` for the whole reader.
#[macro_export]
macro_rules! target {
    ($name:ident) => {
        ::libfuzzer_sys::fuzz_target!(|data: &[u8]| countermove_incident::fuzzing::run(stringify!($name), data));
    };
}
