#![no_main]

countermove_fuzz::target!(web_access);
