#![no_main]

countermove_fuzz::target!(osquery);
