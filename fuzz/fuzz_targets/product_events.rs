#![no_main]

countermove_fuzz::target!(product_events);
