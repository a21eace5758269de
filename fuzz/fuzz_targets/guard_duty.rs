#![no_main]

countermove_fuzz::target!(guard_duty);
