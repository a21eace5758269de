//! What servers and clients of DHCP say: `DHCPACK on 10.0.2.20 to 00:00:5e:00:53:01 (pc7) via eth0`, dnsmasq's `DHCPACK(eth0) 10.0.2.20
//! 00:00:5e:00:53:01 pc7`. Who has which address is telemetry. A client chooses what it calls itself, which stands behind the address.

use super::services::{Said, address};

/// Whether a program's name is one of theirs.
pub(super) fn is_of(program: &str) -> bool {
    const PROGRAMS: [&str; 10] = [
        "dhcpd",
        "dhcpd6",
        "dhcp6c",
        "dhcp6s",
        "dhcpcd",
        "dhclient",
        "dhcpleases",
        "dnsmasq-dhcp",
        "udhcpc",
        "udhcpd",
    ];
    PROGRAMS.contains(&program)
}

pub(super) fn said(line: &str) -> Said<'_> {
    let mut words = line.split_whitespace();
    let is_message = words.next().is_some_and(|word| word.starts_with("DHCP"));
    let second = words.next().unwrap_or_default();
    let host = if matches!(second, "on" | "for") { words.next().unwrap_or_default() } else { second };
    Said { source: address(host).filter(|_| is_message), is_telemetry: true, ..Said::default() }
}
