//! What others may put into a record changes neither what it is nor how it is read.

use proptest::prelude::*;

use super::*;
use crate::Timestamp;

/// Text that looks like alerts.
const PAYLOADS: [&str; 12] = [
    "[pri=1 cls=x] {TCP} 10.0.2.20:1 -> 10.0.2.21:445 x",
    "[pri=1 count=1000000000000 cls=x] {TCP} 10.0.2.20:1 -> 10.0.2.21:445 x",
    "06/03-12:59:31.342001 [**] [1:1:1] x [**] [Classification: x] [Priority: 1] {TCP} 10.0.2.20:1 -> 10.0.2.21:445",
    "[**] [1:1:1] x [**]",
    "[1:1:1] x [Classification: x] [Priority: 1] {TCP} 10.0.2.20:1 -> 10.0.2.21:445",
    "[Classification: x]",
    "{\"event_type\":\"alert\",\"src_ip\":\"10.0.2.20\",\"dest_ip\":\"10.0.2.21\",\"alert\":{\"severity\":1}}",
    "CEF:0|a|b|1|1|x|10|src=10.0.2.20 dst=10.0.2.21",
    "LEEF:1.0|a|b|1|1|src=10.0.2.20\tdst=10.0.2.21\tsev=10",
    "message repeated 900 times: [ x]",
    "** Alert 1780491570.1: - x",
    "pam_unix(sshd:auth): authentication failure; rhost=10.0.2.20 user=root",
];

/// Lines with `PAYLOAD` where others choose the text, the program that writes them, and what they are.
const LINES_OF: [(&str, &str, Format, RecordKind); 40] = [
    (
        "sshd",
        "Failed password for invalid user PAYLOAD from 198.51.100.77 port 40022 ssh2",
        Format::Sshd,
        RecordKind::Log,
    ),
    ("sshd", "Invalid user PAYLOAD from 198.51.100.77 port 40022", Format::Sshd, RecordKind::Log),
    (
        "sshd",
        "Bad protocol version identification 'PAYLOAD' from 198.51.100.77 port 40022",
        Format::Sshd,
        RecordKind::Log,
    ),
    (
        "sshd",
        "Received disconnect from 198.51.100.77 port 40022:11: PAYLOAD [preauth]",
        Format::Sshd,
        RecordKind::Log,
    ),
    ("sshd", "PAYLOAD", Format::Sshd, RecordKind::Log),
    (
        "sudo",
        "bob : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/echo PAYLOAD",
        Format::Sudo,
        RecordKind::Log,
    ),
    (
        "sudo",
        "PAYLOAD : user NOT in sudoers ; TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/sh",
        Format::Sudo,
        RecordKind::Log,
    ),
    ("su", "FAILED SU (to PAYLOAD) bob on pts/0", Format::Sudo, RecordKind::Log),
    ("kernel", "usb 1-1: Product: PAYLOAD", Format::Syslog, RecordKind::Log),
    ("shop", "PAYLOAD", Format::Syslog, RecordKind::Unknown),
    (
        "%ASA-6-605005",
        "Login denied from 198.51.100.77/5 to inside:10.0.2.1/ssh for user \"PAYLOAD\"",
        Format::Syslog,
        RecordKind::Log,
    ),
    (
        "%SEC_LOGIN-4-LOGIN_FAILED",
        "Login failed [user: PAYLOAD] [Source: 198.51.100.77] [localport: 22] [Reason: x] at 12:59:31 UTC",
        Format::Syslog,
        RecordKind::Log,
    ),
    (
        "RT_UTM",
        "WEBFILTER_URL_BLOCKED [junos@2636.1 source-address=\"198.51.100.77\" url=\"PAYLOAD\" username=\"bob\"]",
        Format::Firewall,
        RecordKind::Log,
    ),
    (
        "CheckPoint",
        "action:\"Drop\"; src:\"198.51.100.77\"; resource:\"http://x/PAYLOAD\"; product:\"URL Filtering\"",
        Format::Firewall,
        RecordKind::Log,
    ),
    (
        "",
        "1,2026/06/03 12:59:31,0011,SYSTEM,auth,2561,2026/06/03 12:59:31,vsys1,auth-fail,,0,0,general,medium,\"user 'PAYLOAD'. From: 198.51.100.77\",1",
        Format::Firewall,
        RecordKind::Log,
    ),
    (
        "",
        "1780491571.342 0 198.51.100.77 TCP_DENIED/403 0 CONNECT PAYLOAD bob HIER_NONE/- -",
        Format::Squid,
        RecordKind::Log,
    ),
    (
        "haproxy",
        "198.51.100.77:1 [03/Jun/2026:12:59:31.342] www~ app/app1 0/0/1/17/18 200 291 - - ---- 1/1/0/0/0 0/0 \"GET /PAYLOAD HTTP/1.1\"",
        Format::WebAccess,
        RecordKind::Log,
    ),
    (
        "ossec",
        "Alert Level: 5; Rule: 5710 - x; Location: a->/b; srcip: 198.51.100.77; Jun  3 12:59:31 a sshd[1]: Invalid user PAYLOAD",
        Format::Ossec,
        RecordKind::Alert,
    ),
    ("shop", "login of PAYLOAD failed", Format::Syslog, RecordKind::Unknown),
    (
        "",
        "type=USER_LOGIN msg=audit(1780491571.342:1): pid=1 msg='op=login acct=\"PAYLOAD\" addr=198.51.100.77 res=failed'",
        Format::Auditd,
        RecordKind::Log,
    ),
    ("auditd", "PAYLOAD", Format::Auditd, RecordKind::Log),
    (
        "",
        "198.51.100.77 - - [10/Jun/2026:13:12:00 +0000] \"GET /PAYLOAD HTTP/1.1\" 200 612 \"PAYLOAD\" \"PAYLOAD\"",
        Format::WebAccess,
        RecordKind::Log,
    ),
    (
        "nginx",
        "198.51.100.77 - PAYLOAD [10/Jun/2026:13:12:00 +0000] \"GET / HTTP/1.1\" 401 1",
        Format::WebAccess,
        RecordKind::Log,
    ),
    (
        "",
        "[Wed Jun 03 12:59:31.342001 2026] [core:error] [pid 12] [client 198.51.100.77:1] AH00126: PAYLOAD",
        Format::WebAccess,
        RecordKind::Log,
    ),
    (
        "",
        "2026/06/03 12:59:31 [error] 12#12: *1 open() \"/PAYLOAD\" failed, client: 198.51.100.77, request: \"GET /PAYLOAD\"",
        Format::WebAccess,
        RecordKind::Log,
    ),
    ("", "CEF:0|a|b|1|7|login|3|src=198.51.100.77 msg=PAYLOAD suser=PAYLOAD", Format::Cef, RecordKind::Log),
    ("", "CEF:0|a|b|1|7|guessing|8|src=198.51.100.77 msg=PAYLOAD", Format::Cef, RecordKind::Alert),
    ("", "LEEF:1.0|a|b|1|login|src=198.51.100.77\tsev=3\tusrName=PAYLOAD", Format::Leef, RecordKind::Log),
    ("", "12:59:31.342001000: Notice Shell (user=x command=sh -c PAYLOAD)", Format::Falco, RecordKind::Alert),
    ("shell", "[root]: PAYLOAD", Format::Service, RecordKind::Log),
    (
        "vpxd",
        "Event [7] [1-1] [x] [vim.event.UserLoginSessionEvent] [info] [bob] [] [7] [User bob@198.51.100.77 logged in as PAYLOAD]",
        Format::Service,
        RecordKind::Log,
    ),
    (
        "vpxd",
        "Event [7] [1-1] [x] [vim.event.BadUsernameSessionEvent] [error] [PAYLOAD] [] [7] [Cannot login PAYLOAD@198.51.100.77]",
        Format::Service,
        RecordKind::Log,
    ),
    (
        "CISE_Failed_Attempts",
        "0000000001 1 0 2026-06-03 12:59:31.342 +00:00 0000000002 5400 NOTICE Failed-Attempt: x, UserName=PAYLOAD, Remote-Address=198.51.100.77",
        Format::Service,
        RecordKind::Log,
    ),
    (
        "",
        "06/03/2026:12:59:31 GMT ns 0-PPE-0 : default AAA LOGIN_FAILED 7 0 : User PAYLOAD - Client_ip 198.51.100.77 - Failure_reason \"x\"",
        Format::Firewall,
        RecordKind::Log,
    ),
    (
        "",
        "06/03/2026:12:59:31 GMT ns 0-PPE-0 : default APPFW APPFW_SQL 7 0 : 198.51.100.77 1-PPE0 s p http://x/PAYLOAD found PAYLOAD <blocked>",
        Format::Firewall,
        RecordKind::Alert,
    ),
    (
        "ASM",
        "unit_hostname=\"f5a\",ip_client=\"198.51.100.77\",attack_type=\"x\",uri=\"/PAYLOAD\",request=\"GET /PAYLOAD\"",
        Format::Firewall,
        RecordKind::Alert,
    ),
    (
        "",
        "Session Logs 5 1 0 Common.Login-Status=REJECT,Common.NAS-IP-Address=198.51.100.77,Common.Username=PAYLOAD",
        Format::Service,
        RecordKind::Log,
    ),
    (
        "radiusd",
        "(1) Login incorrect (x): [PAYLOAD] (from client a port 0 cli 198.51.100.77)",
        Format::Syslog,
        RecordKind::Log,
    ),
    ("mgd", "UI_CMDLINE_READ_LINE: User 'bob', command 'PAYLOAD'", Format::Firewall, RecordKind::Log),
    (
        "snort",
        "[1:1:1] PAYLOAD [Priority: 3] {TCP} 198.51.100.77:1 -> 10.0.2.11:22",
        Format::SnortFast,
        RecordKind::Alert,
    ),
];

fn record(line: &str, program: &str) -> Record {
    let envelope = Envelope { program, host: "web01", ..Envelope::default() };
    let format =
        LINES.iter().find(|format| (format.recognises)(line, &envelope)).unwrap_or_else(|| panic!("{line}"));
    (format.read)(line, &envelope).unwrap_or_else(|| panic!("{:?}: {line}", format.format))
}

fn check(payload: &str) {
    for (program, template, format, kind) in LINES_OF {
        let record = record(&template.replace("PAYLOAD", payload), program);
        assert_eq!((record.format, record.kind), (format, kind), "{template} with {payload:?}");
        let count = record.repeats.count;
        assert!(count == 1 || program == "sshd" && template == "PAYLOAD", "{template} with {payload:?}");
        if let Some(source) = record.source.filter(|_| program == "sshd" && template != "PAYLOAD") {
            assert_eq!(source.to_string(), "198.51.100.77:40022", "{template} with {payload:?}");
        }
    }
}

#[test]
fn alerts_inside_of_fields_are_text() {
    PAYLOADS.into_iter().for_each(check);
}

#[test]
fn what_an_application_says_is_never_an_alert() {
    for payload in PAYLOADS {
        let record = record(payload, "shop");
        assert_eq!(
            (record.kind, record.source, record.repeats.count),
            (RecordKind::Unknown, None, 1),
            "{payload}"
        );
    }
}

/// One item of many: a line of some form, perhaps broken, and the program that wrote it.
fn odd_line() -> impl Strategy<Value = (String, &'static str)> {
    let line = prop::sample::select(&LINES_OF[..]).prop_flat_map(|(program, template, ..)| {
        let whole = PAYLOADS
            .into_iter()
            .fold(template.to_owned(), |line, payload| line.replacen("PAYLOAD", payload, 1));
        (0..=whole.chars().count(), Just(whole), Just(program), "\\PC{0,8}")
    });
    line.prop_map(|(cut, whole, program, text)| {
        let head: String = whole.chars().take(cut).collect();
        let tail: String = whole.chars().skip(cut + text.len() % 3).collect();
        (format!("{head}{text}{tail}"), program)
    })
}

proptest! {
    #[test]
    fn any_text_in_a_field_is_text(payload in "[ -~é\\t]{0,80}") {
        check(&payload);
    }

    #[test]
    fn broken_lines_are_survived((line, program) in odd_line()) {
        let time = Timestamp::parse("2026-06-03T12:59:31");
        let envelope = Envelope { program, host: "web01", time };
        for format in &LINES {
            let recognised = (format.recognises)(&line, &envelope);
            let record = (format.read)(&line, &envelope);
            if let Some(record) = record.filter(|_| recognised) {
                prop_assert_eq!(record.format, format.format);
                prop_assert!(record.message.len() <= super::super::MAX_TEXT);
                prop_assert_eq!(crate::printable(&record.message), record.message.clone());
            }
        }
        for format in &LAYOUTS {
            let mut reader = (format.start)();
            for _ in 0..3 {
                let _ = (format.recognises)(&line);
                let _ = reader.offer(&line);
            }
            let _ = reader.end();
        }
    }
}
