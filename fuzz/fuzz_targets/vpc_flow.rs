#![no_main]

countermove_fuzz::target!(vpc_flow);
