//! Services that hosts offer, and the systems on which they run.

use crate::data::{Kind, Os};

/// A service.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer {
    pub(crate) name: &'static str,
    pub(crate) port: u16,
    /// What its traffic has to do with; nothing that a rule of its own watches if this is [`Kind::Any`].
    pub(crate) kind: Kind,
    /// Systems on which it runs.
    pub(crate) os: Os,
    /// Whether people or machines log in to it by name and password.
    pub(crate) login: bool,
}

/// The service of this name, if it is one of the catalogue.
pub(crate) fn offer(name: &str) -> Option<&'static Offer> {
    OFFERS.iter().find(|offer| offer.name == name)
}

const fn service(name: &'static str, port: u16, kind: Kind, os: Os, login: bool) -> Offer {
    Offer { name, port, kind, os, login }
}

const OFFERS: &[Offer] = &[
    service("Nginx", 80, Kind::Web, Os::Linux, false),
    service("Apache httpd", 80, Kind::Web, Os::Linux, false),
    service("WordPress", 443, Kind::Web, Os::Linux, false),
    service("Tomcat", 8080, Kind::Web, Os::Any, false),
    service("IIS", 80, Kind::Web, Os::Windows, false),
    service("SharePoint", 443, Kind::Web, Os::Windows, false),
    service("Node.js API", 3000, Kind::Web, Os::Linux, false),
    service("Jenkins", 8081, Kind::Web, Os::Linux, false),
    service("GitLab", 443, Kind::Web, Os::Linux, false),
    service("Grafana", 3001, Kind::Web, Os::Linux, false),
    service("OpenSSH", 22, Kind::Ssh, Os::Linux, true),
    service("Remote Desktop", 3389, Kind::Rdp, Os::Windows, true),
    service("Samba", 445, Kind::Smb, Os::Linux, true),
    service("Windows file sharing", 445, Kind::Smb, Os::Windows, true),
    service("vsftpd", 21, Kind::Ftp, Os::Linux, true),
    service("ProFTPD", 21, Kind::Ftp, Os::Linux, true),
    service("Postfix", 25, Kind::Mail, Os::Linux, false),
    service("Dovecot", 143, Kind::Mail, Os::Linux, true),
    service("Exchange", 25, Kind::Mail, Os::Windows, true),
    service("MariaDB", 3306, Kind::MySql, Os::Linux, false),
    service("MySQL", 3306, Kind::MySql, Os::Any, false),
    service("PostgreSQL", 5432, Kind::Any, Os::Linux, false),
    service("SQL Server", 1433, Kind::SqlServer, Os::Windows, false),
    service("Oracle Database", 1521, Kind::Any, Os::Any, false),
    service("Redis", 6379, Kind::Any, Os::Linux, false),
    service("RabbitMQ", 5672, Kind::Any, Os::Linux, false),
    service("BIND", 53, Kind::Dns, Os::Linux, false),
    service("Active Directory", 389, Kind::Smb, Os::Windows, false),
    service("OpenLDAP", 636, Kind::Any, Os::Linux, false),
    service("OpenVPN", 1194, Kind::Any, Os::Linux, false),
    service("Asterisk", 5060, Kind::Voip, Os::Linux, false),
    service("rsyslog", 514, Kind::Any, Os::Linux, false),
    service("Elasticsearch", 9200, Kind::Any, Os::Linux, false),
    service("backup agent", 10_001, Kind::Any, Os::Any, false),
    service("Modbus", 502, Kind::Control, Os::Any, false),
    service("OPC UA", 4840, Kind::Control, Os::Windows, false),
    service("PACS imaging", 104, Kind::Any, Os::Windows, false),
    service("print spooler", 9100, Kind::Any, Os::Windows, false),
];

/// What an operating system's name says about it.
pub(crate) fn os_of(name: &str) -> Os {
    if name.starts_with("Windows") {
        Os::Windows
    } else if name.ends_with("firmware") {
        Os::Any
    } else {
        Os::Linux
    }
}

pub(crate) const LINUX: [&str; 8] = [
    "Debian 10",
    "Debian 11",
    "Debian 12",
    "Ubuntu 20.04",
    "Ubuntu 22.04",
    "Rocky Linux 9",
    "CentOS 7",
    "Alpine 3.19",
];
pub(crate) const WINDOWS: [&str; 3] = ["Windows Server 2016", "Windows Server 2019", "Windows Server 2022"];
pub(crate) const DESKTOPS: [&str; 2] = ["Windows 10", "Windows 11"];
pub(crate) const FIRMWARE: [&str; 2] = ["controller firmware", "vendor firmware"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct() {
        for (place, one) in OFFERS.iter().enumerate() {
            assert!(OFFERS[..place].iter().all(|other| other.name != one.name), "{}", one.name);
            assert!(one.port > 0);
        }
    }
}
