//! What Windows events mean: a title for those that responders look for, and whether an event is context alone.

use crate::record::RecordKind;

/// Sysmon's provider.
pub(super) const SYSMON: &str = "Microsoft-Windows-Sysmon";
/// The provider of the Security log.
pub(super) const SECURITY: &str = "Microsoft-Windows-Security-Auditing";
/// The provider of the antivirus.
pub(super) const DEFENDER: &str = "Microsoft-Windows-Windows Defender";

/// What an event is: its title, and what it may be used for.
pub(super) fn event(provider: &str, id: u64) -> (Option<&'static str>, RecordKind) {
    if is_sysmon(provider) {
        // 4 and 16 are about Sysmon itself: that it was stopped or told to look elsewhere.
        let kind = if matches!(id, 4 | 16 | 255) { RecordKind::Log } else { RecordKind::Telemetry };
        return (title(SYSMON_EVENTS, id), kind);
    }
    if provider == DEFENDER {
        let is_detection = matches!(id, 1006..=1008 | 1015..=1017 | 1116..=1119 | 1121 | 1123);
        let kind = if is_detection { RecordKind::Alert } else { RecordKind::Log };
        return (title(DEFENDER_EVENTS, id), kind);
    }
    let is_security = provider == SECURITY || provider == "Microsoft-Windows-Eventlog";
    let kind = match id {
        // Processes, objects, shares and connections.
        4656 | 4658 | 4660 | 4663 | 4688 | 4689 | 4690 | 5031 | 5140 | 5142..=5145 | 5150..=5159
            if is_security =>
        {
            RecordKind::Telemetry
        }
        _ => RecordKind::Log,
    };
    let table = match provider {
        "Service Control Manager" | "Microsoft-Windows-Service Control Manager" => SERVICE_EVENTS,
        "Microsoft-Windows-PowerShell" => POWERSHELL_EVENTS,
        "Microsoft-Windows-TaskScheduler" => TASK_EVENTS,
        "Microsoft-Windows-TerminalServices-LocalSessionManager"
        | "Microsoft-Windows-TerminalServices-RemoteConnectionManager" => DESKTOP_EVENTS,
        _ if is_security => SECURITY_EVENTS,
        // Collectors at times name the log's provider for all; these numbers are not used for anything else there.
        _ => &[],
    };
    (title(table, id), kind)
}

/// Sysmon, which numbers its events alike on Linux.
pub(super) fn is_sysmon(provider: &str) -> bool {
    matches!(provider, SYSMON | "Linux-Sysmon")
}

/// The title of an event of the Security or System log whose provider is not told, or told wrongly.
pub(super) fn title_anywhere(id: u64) -> Option<&'static str> {
    title(SECURITY_EVENTS, id).or_else(|| title(SERVICE_EVENTS, id))
}

fn title(table: &[(u64, &'static str)], id: u64) -> Option<&'static str> {
    table.iter().find(|(of, _)| *of == id).map(|(_, title)| *title)
}

const SECURITY_EVENTS: &[(u64, &str)] = &[
    (1100, "Event logging was shut down"),
    (1102, "The audit log was cleared"),
    (4624, "Logon"),
    (4625, "Logon failed"),
    (4634, "Logoff"),
    (4647, "Logoff by the user"),
    (4648, "Logon with explicit credentials"),
    (4656, "Handle to an object requested"),
    (4657, "Registry value changed"),
    (4660, "Object deleted"),
    (4662, "Operation on a directory object"),
    (4663, "Object accessed"),
    (4670, "Permissions of an object changed"),
    (4672, "Special privileges assigned to a logon"),
    (4688, "Process started"),
    (4689, "Process ended"),
    (4697, "Service installed"),
    (4698, "Scheduled task created"),
    (4699, "Scheduled task deleted"),
    (4700, "Scheduled task enabled"),
    (4701, "Scheduled task disabled"),
    (4702, "Scheduled task changed"),
    (4719, "Audit policy changed"),
    (4720, "Account created"),
    (4722, "Account enabled"),
    (4723, "Account's own password change"),
    (4724, "Password reset by another account"),
    (4725, "Account disabled"),
    (4726, "Account deleted"),
    (4728, "Member added to a global group"),
    (4732, "Member added to a local group"),
    (4738, "Account changed"),
    (4740, "Account locked out"),
    (4756, "Member added to a universal group"),
    (4767, "Account unlocked"),
    (4768, "Kerberos ticket (TGT) requested"),
    (4769, "Kerberos service ticket requested"),
    (4771, "Kerberos pre-authentication failed"),
    (4776, "NTLM credentials checked"),
    (4778, "Session reconnected"),
    (4779, "Session disconnected"),
    (4794, "Directory restore password change attempted"),
    (5136, "Directory object changed"),
    (5140, "Network share accessed"),
    (5142, "Network share added"),
    (5145, "File on a network share accessed"),
    (5156, "Connection allowed by the filtering platform"),
    (5157, "Connection blocked by the filtering platform"),
    (5158, "Port bound"),
];

const SERVICE_EVENTS: &[(u64, &str)] = &[
    (7031, "Service ended unexpectedly"),
    (7034, "Service ended unexpectedly"),
    (7036, "Service changed its state"),
    (7040, "Service's start type changed"),
    (7045, "Service installed"),
];

const POWERSHELL_EVENTS: &[(u64, &str)] =
    &[(4103, "PowerShell command"), (4104, "PowerShell script block"), (4105, "PowerShell script started")];

const TASK_EVENTS: &[(u64, &str)] = &[
    (106, "Scheduled task registered"),
    (140, "Scheduled task updated"),
    (141, "Scheduled task deleted"),
    (200, "Scheduled task started"),
    (201, "Scheduled task completed"),
];

const DESKTOP_EVENTS: &[(u64, &str)] = &[
    (21, "Remote desktop logon"),
    (22, "Remote desktop shell started"),
    (23, "Remote desktop logoff"),
    (24, "Remote desktop session disconnected"),
    (25, "Remote desktop session reconnected"),
    (1149, "Remote desktop authentication succeeded"),
];

const SYSMON_EVENTS: &[(u64, &str)] = &[
    (1, "Process started"),
    (2, "File creation time changed"),
    (3, "Network connection"),
    (4, "Sysmon service changed its state"),
    (5, "Process ended"),
    (6, "Driver loaded"),
    (7, "Image loaded"),
    (8, "Thread created in another process"),
    (9, "Raw disk read"),
    (10, "Process accessed"),
    (11, "File created"),
    (12, "Registry key created or deleted"),
    (13, "Registry value set"),
    (14, "Registry key renamed"),
    (15, "File stream created"),
    (16, "Sysmon configuration changed"),
    (17, "Pipe created"),
    (18, "Pipe connected"),
    (19, "WMI filter registered"),
    (20, "WMI consumer registered"),
    (21, "WMI consumer bound"),
    (22, "DNS query"),
    (23, "File deleted and kept"),
    (24, "Clipboard changed"),
    (25, "Process tampered with"),
    (26, "File deleted"),
    (27, "Executable file blocked"),
    (28, "File shredding blocked"),
    (29, "Executable file created"),
    (255, "Sysmon error"),
];

const DEFENDER_EVENTS: &[(u64, &str)] = &[
    (1006, "Malware found"),
    (1007, "Action taken against malware"),
    (1008, "Action against malware failed"),
    (1015, "Suspicious behaviour found"),
    (1116, "Malware found"),
    (1117, "Action taken against malware"),
    (1118, "Action against malware failed"),
    (1119, "Action against malware failed"),
    (1121, "Attack surface rule blocked an action"),
    (1123, "Controlled folder access blocked a change"),
    (5001, "Real-time protection disabled"),
    (5007, "Antivirus configuration changed"),
    (5010, "Scanning for malware disabled"),
    (5012, "Scanning for viruses disabled"),
];
