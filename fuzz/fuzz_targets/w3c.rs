#![no_main]

countermove_fuzz::target!(w3c);
