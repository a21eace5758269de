#![no_main]

countermove_fuzz::target!(entra_id);
