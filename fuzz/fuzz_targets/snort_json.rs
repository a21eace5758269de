#![no_main]

countermove_fuzz::target!(snort_json);
