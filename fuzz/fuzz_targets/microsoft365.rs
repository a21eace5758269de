#![no_main]

countermove_fuzz::target!(microsoft365);
