#![no_main]

countermove_fuzz::target!(pfsense_csv);
