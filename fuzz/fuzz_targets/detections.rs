#![no_main]

countermove_fuzz::target!(detections);
