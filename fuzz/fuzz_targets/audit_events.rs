#![no_main]

countermove_fuzz::target!(audit_events);
