#![no_main]

countermove_fuzz::target!(kubernetes_audit);
