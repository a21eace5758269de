#![no_main]

countermove_fuzz::target!(google_workspace);
