#![no_main]

countermove_fuzz::target!(cloud_trail);
