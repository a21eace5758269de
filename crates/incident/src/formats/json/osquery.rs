//! osquery's results: a row of one of its tables that came, went or is there, as its daemon, Fleet, Kolide and others write it.
//!
//! `{"name":"pack_x_process_events","hostIdentifier":"web01","unixTime":1780491571,"columns":{"cmdline":"…"},"action":"added"}`
//!
//! Whoever sets a query up names it, so that the columns tell which table a row is of. Processes, connections, files and what is
//! installed are telemetry; what came to start by itself, accounts and logins are logs. What a query saw first, and what a snapshot
//! holds, is there and did not happen: it is telemetry whatever it is.

use std::borrow::Cow;

use super::super::text::protocol_of;
use super::fields::Fields;
use super::other::others;
use super::{Draft, Envelope, Format, Object, ObjectFormat, Record, listed, quoted, some, told, traffic};
use crate::record::RecordKind;
use crate::text::shorten;

/// See the module.
pub(crate) const OSQUERY: ObjectFormat = ObjectFormat { format: Format::Osquery, recognises, read };

/// Longest value that a message tells of a row that is of no kind known here, or of what starts by itself.
const MAX_TOLD: usize = 160;

/// What a row tells of, by columns that only such tables have together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Table {
    Process,
    Socket,
    Listening,
    File,
    Login,
    Account,
    Group,
    Key,
    Start,
    Other,
}

/// The columns by which each is known, of which all have to be there; the first of these that are is meant.
const TABLES: [(&[&str], Table); 31] = [
    (&["remote_address", "remote_port"], Table::Socket),
    (&["cmdline"], Table::Process),
    (&["history_file", "command"], Table::Process),
    (&["target_path", "action"], Table::File),
    (&["target_path", "category"], Table::File),
    (&["port", "address", "protocol"], Table::Listening),
    (&["key_file"], Table::Key),
    (&["key", "algorithm"], Table::Key),
    (&["command", "minute"], Table::Start),
    (&["command", "path", "hour"], Table::Start),
    (&["label", "program_arguments"], Table::Start),
    (&["label", "run_at_load"], Table::Start),
    (&["fragment_path", "active_state"], Table::Start),
    (&["unit_file_state"], Table::Start),
    (&["service_type", "start_type"], Table::Start),
    (&["action", "next_run_time"], Table::Start),
    (&["last_run_code", "path"], Table::Start),
    (&["args", "source", "path"], Table::Start),
    (&["name", "path", "source", "status", "type"], Table::Start),
    (&["consumer", "filter"], Table::Start),
    (&["command_line_template"], Table::Start),
    (&["used_by", "size", "status"], Table::Start),
    (&["header", "rule_details"], Table::Start),
    (&["hostnames", "address"], Table::Start),
    (&["tty", "host", "user"], Table::Login),
    (&["tty", "host", "username"], Table::Login),
    (&["auid", "terminal", "address"], Table::Login),
    (&["logon_type", "logon_sid"], Table::Login),
    (&["shell", "directory"], Table::Account),
    (&["groupname"], Table::Group),
    (&["gid", "uid", "username", "home"], Table::Account),
];

fn recognises(object: &Object) -> bool {
    let result = Fields(object);
    let is_text = |key: &str| result.string(key).is_some();
    is_text("name") && is_text("hostIdentifier") && is_text("action") && result.object("columns").is_some()
}

fn read(object: &Object, envelope: &Envelope<'_>) -> Option<Record> {
    let result = Fields(object);
    let (query, row) = (result.text("name")?, result.object("columns")?);
    let change = match result.string("action")? {
        // The first answer of a query lists what was there before.
        "added" if result.number("counter") == Some(0) && !is_event(row) => Change::There,
        "added" => Change::Added,
        "removed" => Change::Removed,
        _ => Change::There,
    };
    let table = table(row);
    let place =
        ["decorations.hostname", "decorations.host_name", "decorations.computer_name", "hostIdentifier"];
    let mut draft = Draft {
        time: result.time(&["unixTime", "calendarTime", "timestamp"]).or_else(|| row.time(&["time"])),
        sensor: Cow::Borrowed("osquery"),
        host: result.first(&place).unwrap_or_default(),
        account: row.first(&["username", "user"]).unwrap_or_default(),
        kind: match table {
            Table::Login | Table::Account | Table::Group | Table::Key | Table::Start
                if change != Change::There =>
            {
                RecordKind::Log
            }
            _ => RecordKind::Telemetry,
        },
        classification: query.clone(),
        ..Draft::default()
    };
    let facts = tell(table, row, &mut draft);
    let title =
        titled(table, change, row).map_or_else(|| format!("{query} {}", change.word()), str::to_owned);
    let title = if draft.host.is_empty() { title } else { format!("{title} on {}", draft.host) };
    draft.message = Cow::Owned(super::titled(&title, &facts));
    Some(draft.finish(Format::Osquery, object, envelope))
}

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Added,
    Removed,
    There,
}

impl Change {
    fn word(self) -> &'static str {
        match self {
            Change::Added => "added",
            Change::Removed => "removed",
            Change::There => "present",
        }
    }
}

fn table(row: Fields<'_>) -> Table {
    let has = |columns: &&[&str]| columns.iter().all(|column| row.0.contains_key(*column));
    TABLES.iter().find(|(columns, _)| has(columns)).map_or(Table::Other, |(_, table)| *table)
}

/// Whether a row is of a table of events, of which each happened.
fn is_event(row: Fields<'_>) -> bool {
    row.has("eid") || row.has("parent_path") || row.has("target_path") || row.has("syscall")
}

/// What happened, in words that stand for themselves; those of an account made and of a login are what other logs say of it.
fn titled(table: Table, change: Change, row: Fields<'_>) -> Option<&'static str> {
    Some(match (table, change) {
        (Table::Process, Change::Added) if row.has("history_file") => "command in a shell's history",
        (Table::Process, Change::Added) => "process",
        (Table::Process, Change::Removed) => "process ended",
        (Table::Process, Change::There) => "process running",
        (Table::Socket, Change::Removed) => "connection ended",
        (Table::Socket, _) => "connection",
        (Table::Listening, Change::Removed) => "listening ended",
        (Table::Listening, _) => "listening",
        (Table::File, _) => "file",
        (Table::Login, Change::Added) => "logged in",
        (Table::Login, Change::Removed) => "session ended",
        (Table::Account, Change::Added) => "account created",
        (Table::Account, Change::Removed) => "account removed",
        (Table::Key, Change::Added) => "SSH key added",
        (Table::Key, Change::Removed) => "SSH key removed",
        (Table::Start, Change::Added) => "set to start by itself",
        (Table::Start, Change::Removed) => "no longer set to start by itself",
        _ => return None,
    })
}

/// Takes what a row says into its fields, and gives the facts that the message tells.
fn tell<'a>(table: Table, row: Fields<'a>, draft: &mut Draft<'a>) -> String {
    let text = |columns: &[&str]| row.first(columns);
    let account = draft.account.to_string();
    let account = told("account", some(&account));
    match table {
        Table::Process => {
            draft.process = text(&["cmdline", "command", "path", "name"]).unwrap_or_default();
            draft.detail = Cow::Owned(listed([
                told("program", text(&["path"])),
                told("parent", text(&["parent_cmdline", "parent_path", "parent_name"])),
                told("in", text(&["cwd"])),
                told("", text(&["sha256", "codesigning_flags"])),
            ]));
            listed([account, told("", some(&draft.process))])
        }
        Table::Socket => {
            draft.process = text(&["cmdline", "path", "name"]).unwrap_or_default();
            draft.protocol = text(&["protocol"])
                .map(|number| Cow::Owned(protocol_of(&number).to_owned()))
                .filter(|name: &Cow<'_, str>| name.len() <= 12)
                .unwrap_or_default();
            let local = row.end(&["local_address"], &["local_port"]);
            let remote = row.end(&["remote_address"], &["remote_port"]);
            let remote = remote.filter(|end| end.ip().is_none_or(|ip| !ip.is_unspecified()));
            let is_accepted = text(&["action"]).is_some_and(|action| action == "accept");
            (draft.source, draft.destination) = if is_accepted { (remote, local) } else { (local, remote) };
            let ends = traffic(&draft.protocol, draft.source.as_ref(), draft.destination.as_ref());
            listed([account, told("", some(&ends)), told("", some(&draft.process))])
        }
        Table::Listening => {
            draft.process = text(&["cmdline", "path", "name"]).unwrap_or_default();
            let protocol = text(&["protocol"]).unwrap_or_default();
            let port = text(&["port"]).filter(|port| port != "0");
            let at = listed([
                told(protocol_of(&protocol), port.map(|port| format!("port {port}"))),
                told("at", text(&["address"])),
            ]);
            listed([account, told("", some(&at)), told("", some(&draft.process))])
        }
        Table::File => {
            draft.file = text(&["target_path"]).unwrap_or_default();
            draft.process = text(&["cmdline", "executable", "process"]).unwrap_or_default();
            draft.detail = Cow::Owned(listed([told("", text(&["sha256"]))]));
            let action = text(&["action"]);
            listed([told("", action), told("", some(&draft.file)), told("by", some(&draft.process))])
        }
        Table::Login => {
            draft.source = row.address(&["host", "address", "remote_address"]);
            let from = draft.source.as_ref().map(|end| end.address.as_str());
            if draft.source.is_some() {
                draft.destination = Some(draft.host.as_ref())
                    .filter(|host| super::is_name(host))
                    .map(|host| super::fields::end(host, None));
            }
            listed([account, told("from", from), told("terminal", text(&["tty", "terminal"]))])
        }
        Table::Account | Table::Group => listed([
            account,
            told("group", text(&["groupname"])),
            told("UID", text(&["uid"]).filter(|_| table == Table::Account)),
            told("shell", text(&["shell"])),
        ]),
        Table::Key => {
            draft.file = text(&["key_file", "path"]).unwrap_or_default();
            listed([
                account,
                told("file", some(&draft.file)),
                told("", text(&["comment"]).map(|said| quoted(&said))),
            ])
        }
        Table::Start => {
            let command = [
                "command",
                "program_arguments",
                "command_line_template",
                "program",
                "action",
                "args",
                "module_path",
                "rule_details",
                "hostnames",
            ];
            draft.process = text(&command).or_else(|| text(&["exec_start", "path"])).unwrap_or_default();
            draft.file = text(&["fragment_path", "source_path", "path", "source"]).unwrap_or_default();
            let name = text(&["label", "display_name", "name", "id", "header"]);
            let file = some(&draft.file).filter(|file| *file != draft.process);
            listed([
                account,
                told("", name.map(|name| shorten(&name, MAX_TOLD).into_owned())),
                told("command", some(&draft.process)),
                told("file", file),
            ])
        }
        Table::Other => {
            draft.file = text(&["path"]).unwrap_or_default();
            let name = text(&["name"]).map(|name| shorten(&name, MAX_TOLD).into_owned());
            let known = [name.as_deref().unwrap_or_default(), &draft.account];
            let more = others(row.0, &known);
            listed([account, told("", name.as_deref()), told("", some(&more))])
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{changed, record};
    use super::*;

    /// The record of a row.
    fn row(action: &str, columns: &str) -> Record {
        record(&format!(
            r#"{{"name":"pack_x_any","hostIdentifier":"web01","calendarTime":"Wed Jun  3 12:59:31 2026 UTC","unixTime":1780491571,"epoch":0,"counter":7,"columns":{columns},"action":"{action}"}}"#
        ))
    }

    #[test]
    fn processes_and_connections_are_telemetry() {
        let ran = row(
            "added",
            r#"{"pid":"7","path":"/usr/bin/curl","cmdline":"curl -s http://x.example/a","username":"bob","parent_path":"/bin/sh"}"#,
        );
        assert_eq!((ran.kind, ran.format), (RecordKind::Telemetry, Format::Osquery));
        assert_eq!(ran.message, "process on web01: account bob, curl -s http://x.example/a");
        assert_eq!((ran.process.as_str(), ran.host.as_str()), ("curl -s http://x.example/a", "web01"));
        assert_eq!(ran.detail, "program /usr/bin/curl, parent /bin/sh");
        assert_eq!(ran.time.unwrap().to_string(), "2026-06-03T12:59:31.000000");
        let open = row(
            "added",
            r#"{"path":"/tmp/x","username":"bob","local_address":"10.0.2.13","local_port":"51234","remote_address":"198.51.100.77","remote_port":"4444","protocol":"6"}"#,
        );
        assert_eq!(open.kind, RecordKind::Telemetry);
        assert_eq!(
            open.message,
            "connection on web01: account bob, TCP 10.0.2.13 -> 198.51.100.77:4444, /tmp/x"
        );
        let listening =
            row("added", r#"{"pid":"7","port":"4444","address":"0.0.0.0","protocol":"6","path":"/tmp/x"}"#);
        assert_eq!(listening.message, "listening on web01: TCP port 4444, at 0.0.0.0, /tmp/x");
        let file = row(
            "added",
            r#"{"target_path":"/etc/passwd","action":"UPDATED","category":"etc","sha256":"aa"}"#,
        );
        assert_eq!(
            (file.kind, file.message.as_str()),
            (RecordKind::Telemetry, "file on web01: UPDATED, /etc/passwd")
        );
    }

    #[test]
    fn what_starts_by_itself_and_accounts_are_logs() {
        for (columns, process, message) in [
            (
                r#"{"command":"/tmp/x","minute":"5","hour":"*","path":"/etc/cron.d/x"}"#,
                "/tmp/x",
                "set to start by itself on web01: command /tmp/x, file /etc/cron.d/x",
            ),
            (
                r#"{"label":"com.x","path":"/Library/LaunchAgents/com.x.plist","program_arguments":"/bin/sh /tmp/x","run_at_load":"1","username":""}"#,
                "/bin/sh /tmp/x",
                "set to start by itself on web01: com.x, command /bin/sh /tmp/x, file /Library/LaunchAgents/com.x.plist",
            ),
        ] {
            let read = row("added", columns);
            assert_eq!(
                (read.kind, read.process.as_str(), read.message.as_str()),
                (RecordKind::Log, process, message)
            );
            assert!(row("removed", columns).message.starts_with("no longer set to start by itself"));
            assert_eq!(row("snapshot", columns).kind, RecordKind::Telemetry);
        }
        let user =
            row("added", r#"{"uid":"0","gid":"0","username":"eve","shell":"/bin/sh","directory":"/"}"#);
        assert_eq!(
            (user.kind, user.message.as_str()),
            (RecordKind::Log, "account created on web01: account eve, UID 0, shell /bin/sh")
        );
        let key = row(
            "added",
            r#"{"uid":"0","username":"root","algorithm":"ssh-rsa","key":"AAAA","key_file":"/root/.ssh/authorized_keys"}"#,
        );
        assert_eq!(key.message, "SSH key added on web01: account root, file /root/.ssh/authorized_keys");
        let login = row(
            "added",
            r#"{"type":"user","user":"bob","tty":"pts/0","host":"203.0.113.9","time":"1780491571","pid":"7"}"#,
        );
        assert_eq!(login.message, "logged in on web01: account bob, from 203.0.113.9, terminal pts/0");
        assert_eq!(login.source.unwrap().address, "203.0.113.9");
    }

    #[test]
    fn what_was_there_before_did_not_happen() {
        const FIRST: &str = r#"{"name":"users","hostIdentifier":"6f1","decorations":{"hostname":"web01"},"unixTime":1780491571,"counter":0,"columns":{"uid":"0","username":"root","shell":"/bin/sh","directory":"/root"},"action":"added"}"#;
        let there = record(FIRST);
        assert_eq!((there.kind, there.host.as_str()), (RecordKind::Telemetry, "web01"));
        assert!(there.message.starts_with("users present on web01: "), "{}", there.message);
        assert_eq!(changed(FIRST, &[("counter", json!(1))]).kind, RecordKind::Log);
    }

    #[test]
    fn other_and_half_rows_are_told_for_what_they_hold() {
        let package =
            row("added", r#"{"name":"nmap","version":"7.94","source":"x","status":"install ok installed"}"#);
        assert_eq!(package.kind, RecordKind::Telemetry);
        assert_eq!(
            package.message,
            r#"pack_x_any added on web01: nmap, source "x", status "install ok installed""#
        );
        for columns in
            ["{}", r#"{"cmdline":7}"#, r#"{"remote_address":"x y","remote_port":[]}"#, r#"{"key_file":null}"#]
        {
            let read = row("added", columns);
            assert!(!read.message.is_empty() && read.source.is_none(), "{columns}");
        }
        for text in
            [r#"{"name":"x","hostIdentifier":"y","action":"added"}"#, r#"{"columns":{},"action":"added"}"#]
        {
            let object: Object = serde_json::from_str(text).unwrap();
            assert!(!recognises(&object) && read(&object, &Envelope::default()).is_none(), "{text}");
        }
    }
}
