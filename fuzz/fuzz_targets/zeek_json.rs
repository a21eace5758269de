#![no_main]

countermove_fuzz::target!(zeek_json);
