//! What hosts of a kind are like.

use super::services::{DESKTOPS, FIRMWARE, LINUX, WINDOWS};
use crate::truth::Role;

/// What a host of a kind is like.
#[derive(Debug)]
pub(crate) struct Kit {
    /// Noun of the name. The finder of entities knows it.
    pub(crate) noun: &'static str,
    /// Second parts of the name.
    pub(crate) parts: &'static [&'static str],
    pub(crate) role: Role,
    pub(crate) systems: &'static [&'static str],
    /// Sets of services, one of which the host offers.
    pub(crate) services: &'static [&'static [&'static str]],
    /// How much depends on it, from 1 to 5.
    pub(crate) criticality: u8,
    /// What it holds or does, for the description.
    pub(crate) purpose: &'static [&'static str],
    /// Name of an account that its services use, if it has one of its own.
    pub(crate) account: Option<&'static str>,
}

const fn server(
    noun: &'static str,
    systems: &'static [&'static str],
    services: &'static [&'static [&'static str]],
    parts: &'static [&'static str],
    purpose: &'static [&'static str],
    criticality: u8,
    account: Option<&'static str>,
) -> Kit {
    Kit { noun, parts, role: Role::Server, systems, services, criticality, purpose, account }
}

pub(super) const WEB: Kit = server(
    "web",
    &LINUX,
    &[
        &["Nginx", "OpenSSH"],
        &["Apache httpd", "OpenSSH"],
        &["WordPress", "OpenSSH"],
        &["Tomcat", "OpenSSH"],
        &["Nginx"],
    ],
    &["shop", "portal", "booking", "front", "forms", "news"],
    &["serves the public site", "serves the customers' portal", "takes orders and bookings"],
    4,
    Some("deploy_web"),
);
pub(super) const WINDOWS_WEB: Kit = server(
    "web",
    &WINDOWS,
    &[&["IIS", "Remote Desktop"], &["SharePoint", "Remote Desktop"]],
    &["intranet", "extranet", "cases", "records"],
    &["serves forms and documents", "serves the partners' portal"],
    3,
    Some("svc_iis"),
);
pub(super) const API: Kit = server(
    "api",
    &LINUX,
    &[&["Node.js API", "OpenSSH"], &["Tomcat", "OpenSSH"]],
    &["core", "mobile", "pay", "gate"],
    &["answers the mobile application", "joins the shop and the warehouse"],
    4,
    Some("svc_api"),
);
pub(super) const DB: Kit = server(
    "db",
    &LINUX,
    &[&["MariaDB", "OpenSSH"], &["PostgreSQL", "OpenSSH"], &["MySQL", "OpenSSH"]],
    &["orders", "main", "people", "stock", "files"],
    &["holds customers and orders", "holds the records that all services use"],
    5,
    Some("svc_db"),
);
pub(super) const WINDOWS_DB: Kit = server(
    "sql",
    &WINDOWS,
    &[&["SQL Server", "Remote Desktop"]],
    &["ledger", "main", "cases"],
    &["holds the ledger", "holds the case files"],
    5,
    Some("svc_sql"),
);
pub(super) const MAIL: Kit = server(
    "mail",
    &LINUX,
    &[&["Postfix"], &["Postfix", "Dovecot", "OpenSSH"]],
    &["relay", "in", "hub"],
    &["takes and sends mail"],
    4,
    None,
);
pub(super) const EXCHANGE: Kit = server(
    "mail",
    &WINDOWS,
    &[&["Exchange", "Remote Desktop"]],
    &["exchange", "hub"],
    &["keeps all mailboxes"],
    4,
    Some("svc_mail"),
);
pub(super) const FILES: Kit = server(
    "file",
    &LINUX,
    &[&["Samba", "OpenSSH"], &["Samba"], &["vsftpd", "OpenSSH"], &["ProFTPD", "Samba"]],
    &["store", "share", "drop", "projects"],
    &["keeps invoices and scans", "keeps shared folders"],
    3,
    Some("svc_files"),
);
pub(super) const WINDOWS_FILES: Kit = server(
    "fs",
    &WINDOWS,
    &[&["Windows file sharing", "Remote Desktop"], &["Windows file sharing"]],
    &["dept", "home", "plans"],
    &["keeps the departments' shares"],
    3,
    Some("svc_share"),
);
pub(super) const DC: Kit = server(
    "dc",
    &WINDOWS,
    &[&["Active Directory", "Remote Desktop"]],
    &["main", "one", "site"],
    &["holds all accounts"],
    5,
    Some("adm_domain"),
);
pub(super) const JUMP: Kit = server(
    "jump",
    &LINUX,
    &[&["OpenSSH"]],
    &["host", "admin"],
    &["is where administrators log in first"],
    3,
    Some("ops_admin"),
);
pub(super) const VPN: Kit = server(
    "vpn",
    &LINUX,
    &[&["OpenVPN", "OpenSSH"]],
    &["edge", "staff"],
    &["lets staff in from home"],
    4,
    Some("vpn_staff"),
);
pub(super) const CI: Kit = server(
    "build",
    &LINUX,
    &[&["Jenkins", "OpenSSH"], &["GitLab", "OpenSSH"]],
    &["main", "runner", "apps"],
    &["builds and deploys the software"],
    3,
    Some("deploy_bot"),
);
pub(super) const CACHE: Kit = server(
    "cache",
    &LINUX,
    &[&["Redis", "OpenSSH"], &["RabbitMQ", "OpenSSH"]],
    &["session", "queue"],
    &["keeps sessions and queues"],
    3,
    None,
);
pub(super) const DNS: Kit = server(
    "dns",
    &LINUX,
    &[&["BIND"], &["BIND", "OpenSSH"]],
    &["one", "inner"],
    &["resolves names"],
    4,
    None,
);
pub(super) const APP: Kit = server(
    "app",
    &WINDOWS,
    &[&["Tomcat", "Remote Desktop"], &["IIS", "Windows file sharing"], &["PACS imaging", "Remote Desktop"]],
    &["ward", "plan", "billing", "lab"],
    &["runs the business application", "runs planning and billing"],
    4,
    Some("svc_app"),
);
pub(super) const VOICE: Kit = server(
    "host",
    &LINUX,
    &[&["Asterisk", "OpenSSH"]],
    &["voice", "calls"],
    &["switches phone calls"],
    3,
    None,
);
pub(super) const MONITOR: Kit = server(
    "monitor",
    &LINUX,
    &[&["Grafana", "OpenSSH"]],
    &["main", "net"],
    &["watches the other servers"],
    2,
    None,
);
pub(super) const LOGS: Kit = Kit {
    role: Role::LogHost,
    ..server(
        "siem",
        &LINUX,
        &[&["rsyslog", "Elasticsearch"], &["rsyslog", "OpenSSH"]],
        &["core", "logs"],
        &["collects the logs of all hosts"],
        3,
        None,
    )
};
pub(super) const BACKUP: Kit = Kit {
    role: Role::Backup,
    ..server(
        "backup",
        &LINUX,
        &[&["backup agent"]],
        &["vault", "nas"],
        &["keeps nightly backups of all servers"],
        4,
        None,
    )
};
pub(super) const DESK: Kit = Kit {
    role: Role::Workstation,
    ..server(
        "ws",
        &DESKTOPS,
        &[&["Windows file sharing"], &["Remote Desktop"], &[]],
        &["desk", "sales", "office", "front", "lab"],
        &["is a person's workstation"],
        1,
        None,
    )
};
pub(super) const HMI: Kit = Kit {
    role: Role::Controller,
    ..server(
        "hmi",
        &WINDOWS,
        &[&["OPC UA", "Remote Desktop"], &["OPC UA", "Windows file sharing"]],
        &["line", "hall", "mixing"],
        &["shows and steers a production line"],
        4,
        Some("op_line"),
    )
};
pub(super) const PLC: Kit = Kit {
    role: Role::Controller,
    ..server("plc", &FIRMWARE, &[&["Modbus"]], &["line", "press", "pump"], &["drives machines"], 5, None)
};
