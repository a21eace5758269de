#![no_main]

countermove_fuzz::target!(windows_event);
