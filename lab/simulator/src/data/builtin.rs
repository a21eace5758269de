//! A small vocabulary of our own, for machines without a data folder. Its rules belong to no rule set: their numbers
//! lie in the range that is left to local rules.

use Tactic::*;
use countermove_incident::{AlertClass, Tactic};

use super::rules::category;
use super::{Flow, FlowStep, Rule};

const FIRST_SID: u32 = 1_000_100;

pub(super) fn rules() -> Vec<Rule> {
    (FIRST_SID..)
        .zip(RULES)
        .filter_map(|(sid, (class, protocol, port, message))| {
            // The test below shows that every class is known.
            let class = AlertClass::find(class)?;
            Some(Rule {
                sid,
                rev: 1,
                class,
                priority: class.priority,
                protocol: (*protocol).to_owned(),
                port: (*port != 0).then_some(*port),
                category: category(message),
                message: (*message).to_owned(),
            })
        })
        .collect()
}

pub(super) fn flows() -> Vec<Flow> {
    FLOWS
        .iter()
        .map(|(name, steps)| Flow {
            name: (*name).to_owned(),
            steps: steps
                .iter()
                .map(|(tactic, technique)| FlowStep { tactic: *tactic, technique: (*technique).to_owned() })
                .collect(),
        })
        .collect()
}

/// Class, protocol, port at the destination (0: any) and message.
const RULES: &[(&str, &str, u16, &str)] = &[
    ("attempted-recon", "TCP", 0, "LOCAL SCAN many ports asked from one address"),
    ("network-scan", "TCP", 0, "LOCAL SCAN port sweep over a network"),
    ("attempted-recon", "TCP", 80, "LOCAL SCAN web crawler looks for administration pages"),
    ("attempted-recon", "TCP", 22, "LOCAL SCAN SSH banner read by a client that then leaves"),
    ("attempted-recon", "TCP", 445, "LOCAL SCAN SMB version asked without a session"),
    ("icmp-event", "ICMP", 0, "LOCAL SCAN echo sweep"),
    ("misc-activity", "TCP", 25, "LOCAL SCAN SMTP server asked for its users"),
    ("attempted-recon", "TCP", 3306, "LOCAL SCAN MySQL handshake without a login"),
    ("attempted-recon", "TCP", 3389, "LOCAL SCAN Remote Desktop asked for its certificate"),
    ("web-application-attack", "TCP", 80, "LOCAL WEB_SERVER SQL statement in a request's parameter"),
    ("web-application-attack", "TCP", 80, "LOCAL WEB_SERVER path that leaves the web root"),
    ("attempted-admin", "TCP", 80, "LOCAL WEB_SERVER function definition in a header, as for bash CGI"),
    ("attempted-user", "TCP", 80, "LOCAL WEB_SPECIFIC_APPS script uploaded as a picture"),
    ("web-application-attack", "TCP", 80, "LOCAL WEB_SERVER serialised object in an IIS view state"),
    ("attempted-admin", "TCP", 445, "LOCAL EXPLOIT SMB transaction longer than its buffer"),
    ("attempted-admin", "TCP", 21, "LOCAL EXPLOIT FTP command longer than its buffer"),
    ("attempted-admin", "TCP", 25, "LOCAL EXPLOIT SMTP header that a mail filter would run"),
    ("attempted-admin", "TCP", 3306, "LOCAL EXPLOIT MySQL handshake that skips the password check"),
    ("attempted-admin", "TCP", 3389, "LOCAL EXPLOIT Remote Desktop channel bound twice"),
    ("attempted-admin", "TCP", 1433, "LOCAL EXPLOIT SQL Server extended procedure from a web login"),
    ("attempted-user", "UDP", 53, "LOCAL EXPLOIT DNS answer longer than its buffer"),
    ("attempted-user", "TCP", 502, "LOCAL SCADA write of a register by an unknown master"),
    ("bad-unknown", "TCP", 80, "LOCAL CURRENT_EVENTS password form on a page that imitates a login (phish)"),
    ("attempted-user", "TCP", 0, "LOCAL WEB_CLIENT document with an exploit for the reader's script engine"),
    ("attempted-user", "TCP", 0, "LOCAL WEB_CLIENT installer download from a page that claims an update"),
    ("shellcode-detect", "TCP", 0, "LOCAL SHELLCODE long run of no-operations in a request"),
    ("successful-user", "TCP", 0, "LOCAL ATTACK_RESPONSE prompt of a command shell over a web connection"),
    ("successful-admin", "TCP", 0, "LOCAL ATTACK_RESPONSE answer of a shell with uid=0"),
    ("bad-unknown", "TCP", 0, "LOCAL ATTACK_RESPONSE base64 encoded PowerShell command in an answer"),
    ("web-application-attack", "TCP", 80, "LOCAL WEB_SERVER system command in a request's body"),
    ("web-application-activity", "TCP", 80, "LOCAL WEB_SERVER webshell asked for its file list"),
    ("successful-admin", "TCP", 80, "LOCAL WEB_SERVER webshell planted under the uploads folder"),
    ("suspicious-filename-detect", "TCP", 445, "LOCAL POLICY remote service created over SMB"),
    ("trojan-activity", "TCP", 443, "LOCAL MALWARE backdoor asks for its startup configuration"),
    ("attempted-admin", "TCP", 0, "LOCAL EXPLOIT local privilege escalation tool fetched"),
    ("successful-admin", "TCP", 0, "LOCAL ATTACK_RESPONSE process token of the local system taken over"),
    ("bad-unknown", "TCP", 0, "LOCAL INFO script split into encoded strings"),
    ("unusual-client-port-connection", "TCP", 0, "LOCAL POLICY TLS handshake on an unusual port"),
    ("attempted-recon", "TCP", 22, "LOCAL SCAN SSH brute force, many logins in a minute"),
    ("misc-activity", "TCP", 3389, "LOCAL SCAN Remote Desktop brute force, many logins in a minute"),
    ("attempted-recon", "TCP", 21, "LOCAL SCAN FTP brute force, many logins in a minute"),
    ("suspicious-login", "TCP", 445, "LOCAL EXPLOIT SMB password hashes read from the registry"),
    (
        "successful-recon-limited",
        "TCP",
        0,
        "LOCAL ATTACK_RESPONSE file with password hashes leaves (/etc/shadow)",
    ),
    ("default-login-attempt", "TCP", 80, "LOCAL SCAN HTTP login attempt with a factory password"),
    ("successful-recon-limited", "TCP", 0, "LOCAL ATTACK_RESPONSE output of whoami and ipconfig"),
    ("successful-recon-limited", "TCP", 0, "LOCAL ATTACK_RESPONSE content of /etc/passwd"),
    ("protocol-command-decode", "TCP", 445, "LOCAL NETBIOS tree connect to an administrative share"),
    ("policy-violation", "TCP", 80, "LOCAL POLICY external IP looked up by a server"),
    ("bad-unknown", "TCP", 135, "LOCAL NETBIOS remote process execution by WMI, likely lateral movement"),
    (
        "protocol-command-decode",
        "TCP",
        445,
        "LOCAL NETBIOS session to a file share by a server that never had one",
    ),
    ("misc-activity", "TCP", 22, "LOCAL POLICY SSH session between servers that never had one"),
    ("protocol-command-decode", "TCP", 3389, "LOCAL POLICY Remote Desktop login between servers"),
    (
        "successful-user",
        "TCP",
        0,
        "LOCAL ATTACK_RESPONSE archive of many documents made over a shell (interaction)",
    ),
    ("policy-violation", "TCP", 0, "LOCAL POLICY screenshot tool used remotely"),
    ("trojan-activity", "TCP", 443, "LOCAL CNC regular small requests to one address, as of a beacon"),
    ("trojan-activity", "TCP", 80, "LOCAL MALWARE checkin with the host's name in the path"),
    ("trojan-activity", "UDP", 53, "LOCAL DNS suspicious name with random letters asked for"),
    ("misc-attack", "TCP", 9001, "LOCAL TOR traffic with a known relay"),
    ("policy-violation", "TCP", 443, "LOCAL POLICY large upload to a file sharing site"),
    ("bad-unknown", "UDP", 53, "LOCAL DNS tunnel, long names at a high rate"),
    ("trojan-activity", "TCP", 443, "LOCAL MALWARE data post of many megabytes, exfiltration likely"),
    ("attempted-dos", "TCP", 80, "LOCAL DOS requests that are never finished"),
    ("denial-of-service", "UDP", 53, "LOCAL DOS flood of DNS queries"),
    ("trojan-activity", "TCP", 443, "LOCAL MALWARE ransom tool fetches its key"),
    ("policy-violation", "TCP", 3333, "LOCAL POLICY mining pool joined (stratum)"),
    ("policy-violation", "TCP", 443, "LOCAL CHAT client of a messenger"),
    ("misc-activity", "TCP", 80, "LOCAL INFO operating system update fetched"),
    ("policy-violation", "TCP", 0, "LOCAL P2P file sharing handshake"),
    ("not-suspicious", "UDP", 53, "LOCAL DNS answer with an error code"),
    ("misc-attack", "TCP", 0, "LOCAL DROP traffic from a listed network"),
    ("web-application-activity", "TCP", 80, "LOCAL WEB_SERVER status page asked for"),
];

/// Flows made up for this set; none is a documented breach.
const FLOWS: &[(&str, &[(Tactic, &str)])] = &[
    (
        "web server to file server",
        &[
            (Reconnaissance, "T1595.002"),
            (InitialAccess, "T1190"),
            (Persistence, "T1505.003"),
            (Discovery, "T1046"),
            (LateralMovement, "T1021.002"),
            (Collection, "T1005"),
            (Exfiltration, "T1041"),
        ],
    ),
    (
        "guessed password to ransom",
        &[
            (CredentialAccess, "T1110.001"),
            (InitialAccess, "T1078"),
            (Execution, "T1059.004"),
            (CommandAndControl, "T1071.001"),
            (LateralMovement, "T1021.004"),
            (Impact, "T1486"),
        ],
    ),
    (
        "mail to domain controller",
        &[
            (InitialAccess, "T1566.001"),
            (Execution, "T1204.002"),
            (CommandAndControl, "T1105"),
            (CredentialAccess, "T1003.001"),
            (LateralMovement, "T1021.001"),
            (Stealth, "T1070.004"),
            (Exfiltration, "T1041"),
        ],
    ),
    (
        "exposed console to coin mining",
        &[
            (Reconnaissance, "T1595.001"),
            (InitialAccess, "T1190"),
            (Execution, "T1059"),
            (PrivilegeEscalation, "T1068"),
            (CommandAndControl, "T1071.001"),
            (Impact, "T1496"),
        ],
    ),
    (
        "insider with a copy",
        &[
            (Discovery, "T1135"),
            (LateralMovement, "T1021.002"),
            (Collection, "T1039"),
            (Exfiltration, "T1567"),
        ],
    ),
    (
        "office to control network",
        &[
            (InitialAccess, "T1566.002"),
            (Execution, "T1204.002"),
            (Discovery, "T1018"),
            (LateralMovement, "T1021.001"),
            (Persistence, "T1543.003"),
            (CommandAndControl, "T1573"),
            (Impact, "T1489"),
        ],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::uses;

    #[test]
    fn every_rule_is_kept_and_shows_something() {
        let rules = rules();
        assert_eq!(rules.len(), RULES.len());
        for rule in &rules {
            let lower = rule.message.to_lowercase();
            let used = !uses::tactics(rule, &lower).is_empty() || uses::noise(rule, &lower).is_some();
            assert!(used, "{}", rule.message);
        }
    }

    #[test]
    fn techniques_of_the_flows_exist_and_serve_their_tactic() {
        for (name, steps) in FLOWS {
            for (tactic, technique) in *steps {
                let known = countermove_incident::technique(technique).expect(technique);
                assert!(known.tactics.contains(tactic), "{name}: {technique} {tactic}");
            }
        }
    }
}
