//! VMware: what vCenter and ESXi's daemons write of sessions, accounts and what was done, and the commands of ESXi's shell.
//!
//! - vCenter: `Event [n] [1-1] [time] [vim.event.UserLoginSessionEvent] [info] [CORP\bob] [] [n] [User CORP\bob@10.0.0.5 logged in as …]`
//! - the host's daemon: `info hostd[n] [Originator@6876 sub=Vimsvc.ha-eventmgr user=vpxuser:CORP\bob] Event n : …`
//! - its observations: `[UserLevelCorrelator] 756785021920us: [esx.audit.ssh.enabled] SSH access has been enabled.`
//! - its shell: `[root]: esxcli system …`
//!
//! What somebody did is a log, what the machines saw of themselves (alarms, disks, migrations that nobody ordered) telemetry. Whoever
//! logs in chooses the name, so that an address is read from the end of a sentence, and the client's name for itself is a detail.

use super::super::format::{Envelope, LineFormat};
use super::super::{Format, MAX_DETAIL, clean, clean_message};
use super::services::address;
use super::{MAX_COMMAND, MAX_NAME, begun, blanks, own_end, program, without_domain};
use crate::Endpoint;
use crate::record::{Record, RecordKind};

pub(super) const FORMAT: LineFormat =
    LineFormat { format: Format::Service, recognises: |line, envelope| said(line, envelope).is_some(), read };

/// Words in the names of events that are about logins, accounts and rights, or by which machines end: logs, whoever caused them.
const GUARDED: [&str; 13] = [
    "Session",
    "Login",
    "NoAccessUser",
    "Account",
    "Permission",
    "Role",
    "Password",
    "PoweredOff",
    "Removed",
    "Shutdown",
    "esx.audit.",
    "vob.user.",
    "vim.event.User",
];

/// How sentences about the same begin where the host's daemon names no kind.
const GUARDED_TEXTS: [&str; 7] =
    ["User ", "Cannot login ", "SSH ", "Account ", "Password ", "Permission ", "Remote access "];

/// What a line says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Said<'a> {
    sensor: &'static str,
    /// Name of the kind of event.
    event: &'a str,
    /// Who did it.
    by: &'a str,
    text: &'a str,
    /// What was run in a shell.
    command: &'a str,
}

fn said<'a>(line: &'a str, envelope: &Envelope<'_>) -> Option<Said<'a>> {
    let line = line.trim();
    let name = program(envelope);
    match () {
        () if name.starts_with("vpxd") => vcenter(line),
        () if name.eq_ignore_ascii_case("hostd") => hostd(line),
        () if name == "vobd" => vobd(line),
        () if name == "shell" => shell(line),
        () => None,
    }
}

/// Number, part, time, kind, severity, account, place, number of the first of a chain, and a sentence, each in brackets.
fn vcenter(line: &str) -> Option<Said<'_>> {
    let mut parts = line.strip_prefix("Event [")?.splitn(6, "] [");
    let is_counted = is_number(parts.next()?);
    let (_part, _time, event, _severity) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let rest = parts.next().filter(|_| is_counted && is_event(event))?;
    let whole = Said { sensor: "vCenter", event, text: rest, ..Said::default() };
    // Where a name holds what parts the fields, they could be read several ways and name nobody.
    let mut fields = rest.splitn(4, "] [");
    Some(match (fields.next(), fields.next(), fields.next(), fields.next()) {
        (Some(by), Some(_place), Some(chain), Some(text)) if is_number(chain) => {
            Said { by, text: text.strip_suffix(']').unwrap_or(text), ..whole }
        }
        _ => whole,
    })
}

/// Level and thread in front, then who speaks for whom in brackets, and what happened. What it says while it works is left out.
fn hostd(line: &str) -> Option<Said<'_>> {
    let rest = match line.split_once("hostd[") {
        Some((level, rest)) if level.len() <= 16 && !level.contains('[') => rest.split_once("] ")?.1,
        _ => line,
    };
    let (head, text) = rest.strip_prefix('[')?.split_once("] ")?;
    let text = text.trim_start();
    // vCenter acts under an account of its own for those who are logged in there.
    let user = head.split(' ').find_map(|part| part.strip_prefix("user=")).unwrap_or_default();
    let by = user.split_once(':').map_or(user, |(_, name)| name);
    let whole = Said { sensor: "ESXi", by, ..Said::default() };
    if let Some((number, text)) = text.strip_prefix("Event ").and_then(|rest| rest.split_once(" : ")) {
        return is_number(number).then_some(Said { text, ..whole });
    }
    if ["Accepted password for user ", "Rejected password for user "]
        .iter()
        .any(|word| text.starts_with(word))
    {
        return Some(Said { text, ..whole });
    }
    // `Task Created : haTask-17-vim.VirtualMachine.powerOff-290412`: the kind without the numbers around it.
    let task = text.strip_prefix("Task Created : ")?;
    let (event, _) = task.get(task.find("-vim.")? + 1..)?.rsplit_once('-')?;
    is_event(event).then_some(Said { event, text: "Task created", ..whole })
}

/// Who correlates, the microseconds since the start, the kind and a sentence.
fn vobd(line: &str) -> Option<Said<'_>> {
    let (_, rest) = line.strip_prefix('[')?.split_once("] ")?;
    let (since, rest) = rest.split_once("us: [")?;
    let (event, text) = rest.split_once("] ")?;
    (is_number(since) && is_event(event)).then_some(Said { sensor: "ESXi", event, text, ..Said::default() })
}

/// The account in brackets, and its command.
fn shell(line: &str) -> Option<Said<'_>> {
    let (by, command) = line.strip_prefix('[')?.split_once("]:")?;
    let command = command.trim_start();
    let is_one = !by.is_empty() && !by.contains([' ', '[']);
    is_one.then_some(Said { sensor: "ESXi shell", by, text: line, command, ..Said::default() })
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a word is the name of a kind of event.
fn is_event(word: &str) -> bool {
    (1..=MAX_NAME).contains(&word.len())
        && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

const LOGGED_IN: &str = " logged in";
const LOGGED_OUT: &str = " logged out";
const MARKS: [&str; 3] = [LOGGED_IN, LOGGED_OUT, " login failed"];

/// What a sentence says of a session.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Session<'a> {
    account: &'a str,
    /// Where it comes from, an address.
    from: &'a str,
    what: What<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum What<'a> {
    /// With what the client calls itself.
    In(&'a str),
    Out,
    Failed,
    /// As the sentence says.
    Told,
}

impl<'a> Session<'a> {
    /// Of `bob@203.0.113.9`. The name may hold the mark as well, and the address ends the word.
    fn of(who: &'a str, what: What<'a>) -> Option<Session<'a>> {
        let (account, from) = who.rsplit_once('@')?;
        Some(Session { account, from, what })
    }
}

/// The account and the address that a sentence about a session names.
fn session(text: &str) -> Option<Session<'_>> {
    let text = text.trim_end_matches('.');
    if let Some(rest) = text.strip_prefix("User ") {
        // Behind the first of these stands what the client calls itself, before the last what somebody calls himself who may not come
        // in: with more than one the sentence could be read several ways.
        let mut marks = MARKS.iter().flat_map(|mark| rest.match_indices(mark));
        let (at, mark) = marks.next().filter(|_| marks.next().is_none())?;
        let (who, behind) = (rest.get(..at)?, rest.get(at + mark.len()..)?);
        let what = match mark {
            LOGGED_IN => What::In(behind.trim_start_matches(" as").trim()),
            LOGGED_OUT => What::Out,
            _ => What::Failed,
        };
        return Session::of(who, what);
    }
    if let Some(rest) = text.strip_prefix("Cannot login ") {
        let who = rest.strip_prefix("user ").unwrap_or(rest);
        return Session::of(who.strip_suffix(": no permission").unwrap_or(who), What::Failed);
    }
    let by_password = text.split_once(" password for user ");
    if let Some((_, rest)) = by_password.filter(|(verb, _)| matches!(*verb, "Accepted" | "Rejected")) {
        let (account, from) = rest.rsplit_once(" from ")?;
        return Some(Session { account, from, what: What::Told });
    }
    // `SSH session was opened for 'root@10.0.0.9'`
    let (_, who) = text.strip_prefix("SSH ")?.split_once(" for '")?;
    Session::of(who.strip_suffix('\'')?, What::Told)
}

/// The account that a sentence about none of its sessions names: `Remote access for ESXi local user account 'root' has been locked …`,
/// `Account svc was created on host …`.
fn named(text: &str) -> &str {
    let quoted =
        text.split_once(" account '").and_then(|(_, rest)| rest.split_once('\'')).map(|(name, _)| name);
    let bare = || text.strip_prefix("Account ")?.split_once(" was ").map(|(name, _)| name);
    quoted.or_else(bare).unwrap_or_default()
}

fn read(line: &str, envelope: &Envelope<'_>) -> Option<Record> {
    let line = &*blanks(line);
    let said = said(line, envelope)?;
    let session = session(said.text).filter(|session| address(session.from).is_some());
    let source: Option<Endpoint> = session.and_then(|session| address(session.from));
    let account = session.map(|session| session.account).or(Some(said.by).filter(|by| !by.is_empty()));
    let account = without_domain(account.unwrap_or_else(|| named(said.text)));
    let is_guarded = GUARDED.iter().any(|word| said.event.contains(word))
        || GUARDED_TEXTS.iter().any(|beginning| said.text.starts_with(beginning));
    let is_somebodys = !account.is_empty() || source.is_some() || is_guarded;
    let kind = if is_somebodys { RecordKind::Log } else { RecordKind::Telemetry };
    let mut record = begun(kind, Format::Service, envelope);
    record.sensor = said.sensor.to_owned();
    record.rule = clean(said.event, MAX_NAME);
    record.account = clean(account, MAX_NAME);
    record.process = clean(said.command, MAX_COMMAND);
    if source.is_some() {
        record.destination = own_end(envelope);
        record.source = source;
    }
    let event = said.event.strip_prefix("vim.event.").unwrap_or(said.event);
    record.message = clean_message(&match session {
        Some(Session { from, what: What::In(agent), .. }) => {
            record.detail = clean(agent, MAX_DETAIL);
            format!("User {account} logged in from {from}")
        }
        Some(Session { from, what: What::Out, .. }) => format!("User {account} logged out from {from}"),
        // In the words that other logins have: `Cannot login bob@10.0.0.5`.
        Some(Session { from, what: What::Failed, .. }) => format!("Failed login of {account} from {from}"),
        _ if event.is_empty() && said.command.is_empty() && session.is_none() && !said.by.is_empty() => {
            format!("{} by {account}", said.text.trim_end_matches('.'))
        }
        _ if event.is_empty() || said.text.is_empty() => format!("{event}{}", said.text),
        _ if said.by.is_empty() => format!("{event}: {}", said.text),
        _ => format!("{event} by {account}: {}", said.text),
    });
    Some(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(program: &str, line: &str) -> Record {
        let envelope = Envelope { host: "vc01", program, ..Envelope::default() };
        assert!((FORMAT.recognises)(line, &envelope), "{line}");
        read(line, &envelope).unwrap()
    }

    /// An event of vCenter.
    fn event(kind: &str, by: &str, text: &str) -> Record {
        let line =
            format!("Event [7] [1-1] [2026-06-03T12:59:31.342Z] [{kind}] [info] [{by}] [DC1] [6] [{text}]");
        parse("vpxd", &line)
    }

    fn source(record: &Record) -> &str {
        record.source.as_ref().map_or("", |end| &end.address)
    }

    #[test]
    fn logins_say_who_came_from_where() {
        let came = event(
            "vim.event.UserLoginSessionEvent",
            r"CORP\bob",
            r"User CORP\bob@203.0.113.9 logged in as Mozilla/5.0 (failed)",
        );
        assert_eq!(
            (came.kind, came.message.as_str()),
            (RecordKind::Log, "User bob logged in from 203.0.113.9")
        );
        assert_eq!((came.account.as_str(), source(&came)), ("bob", "203.0.113.9"));
        assert_eq!(came.destination.unwrap().address, "vc01");
        assert_eq!(came.detail, "Mozilla/5.0 (failed)");
        for (kind, text) in [
            ("vim.event.BadUsernameSessionEvent", "Cannot login root@203.0.113.9"),
            ("vim.event.NoAccessUserEvent", "Cannot login user root@203.0.113.9: no permission"),
        ] {
            let failed = event(kind, "", text);
            assert_eq!(failed.message, "Failed login of root from 203.0.113.9");
            assert_eq!((failed.kind, source(&failed)), (RecordKind::Log, "203.0.113.9"));
        }
        let left = event(
            "vim.event.UserLogoutSessionEvent",
            "bob@vsphere.local",
            "User bob@vsphere.local@203.0.113.9 logged out (login time: Wednesday, user agent: x)",
        );
        assert_eq!((left.account.as_str(), source(&left)), ("bob@vsphere.local", "203.0.113.9"));
    }

    #[test]
    fn the_hosts_daemon_says_the_same() {
        let of = |text: &str| {
            parse("Hostd", &format!("info hostd[9] [Originator@6876 sub=Vimsvc.ha-eventmgr opID=x] {text}"))
        };
        let came = of("Event 7 : User root@203.0.113.9 logged in as VMware-client/8.0.3");
        assert_eq!(
            (came.message.as_str(), source(&came)),
            ("User root logged in from 203.0.113.9", "203.0.113.9")
        );
        let failed = of("Event 7 : Cannot login root@203.0.113.9");
        assert_eq!(failed.message, "Failed login of root from 203.0.113.9");
        let failed = of(
            "Event 7 : User root@203.0.113.9 login failed: Cannot complete login due to an incorrect password.",
        );
        assert_eq!(failed.message, "Failed login of root from 203.0.113.9");
        let rejected = of("Rejected password for user root from 203.0.113.9");
        assert_eq!(
            (rejected.message.as_str(), rejected.account.as_str(), source(&rejected)),
            ("Rejected password for user root from 203.0.113.9", "root", "203.0.113.9")
        );
        let locked = of(
            "Event 7 : Remote access for ESXi local user account 'root' has been locked for 900 seconds after 5 failed login attempts.",
        );
        assert_eq!((locked.kind, locked.account.as_str()), (RecordKind::Log, "root"));
        let opened = of("Event 7 : SSH session was opened for 'root@203.0.113.9'.");
        assert_eq!((opened.account.as_str(), source(&opened)), ("root", "203.0.113.9"));
        assert_eq!(of("Event 7 : Hardware sensor changed").kind, RecordKind::Telemetry);
        let changed = parse(
            "hostd",
            r"[Originator@6876 sub=x user=vpxuser:CORP\\bob] Event 7 : Account root was updated on host esx1.",
        );
        assert_eq!(changed.message, "Account root was updated on host esx1 by bob");
        let done = parse(
            "hostd",
            r"[Originator@6876 sub=Vimsvc.TaskManager opID=x user=vpxuser:CORP\\bob] Task Created : haTask-17-vim.VirtualMachine.powerOff-290412",
        );
        assert_eq!((done.kind, done.account.as_str()), (RecordKind::Log, "bob"));
        assert_eq!(done.message, "vim.VirtualMachine.powerOff by bob: Task created");
    }

    #[test]
    fn what_somebody_did_is_a_log_and_what_machines_saw_telemetry() {
        let granted = event(
            "vim.event.PermissionAddedEvent",
            r"CORP\bob",
            r"Permission created for CORP\svc on Datacenters, role is Administrator, propagation is Enabled",
        );
        assert_eq!((granted.kind, granted.account.as_str()), (RecordKind::Log, "bob"));
        assert_eq!(
            granted.message,
            r"PermissionAddedEvent by bob: Permission created for CORP\svc on Datacenters, role is Administrator, propagation is Enabled"
        );
        let alarm =
            event("vim.event.AlarmStatusChangedEvent", "", "Alarm 'x' on [ds1] a changed from Green to Red");
        assert_eq!(alarm.kind, RecordKind::Telemetry);
        let ended = event("vim.event.VmPoweredOffEvent", "", "a on esx1 in DC1 is powered off");
        assert_eq!(ended.kind, RecordKind::Log);
        let audit = event("esx.audit.ssh.enabled", "", "SSH access has been enabled");
        assert_eq!(audit.kind, RecordKind::Log);
        let seen = parse(
            "vobd",
            "[UserLevelCorrelator] 756785us: [esx.audit.ssh.enabled] SSH access has been enabled.",
        );
        assert_eq!(seen.message, "esx.audit.ssh.enabled: SSH access has been enabled.");
        assert_eq!((seen.kind, seen.rule.as_str()), (RecordKind::Log, "esx.audit.ssh.enabled"));
        let path =
            parse("vobd", "[GenericCorrelator] 1us: [vob.scsi.scsipath.pathstate.dead] scsiPath changed");
        assert_eq!(path.kind, RecordKind::Telemetry);
    }

    #[test]
    fn a_shells_commands_are_its_accounts() {
        let ran =
            parse("shell", "[root]: esxcli system settings advanced set -o /User/execInstalledOnly -i 0");
        assert_eq!(
            (ran.kind, ran.account.as_str(), ran.sensor.as_str()),
            (RecordKind::Log, "root", "ESXi shell")
        );
        assert_eq!(ran.process, "esxcli system settings advanced set -o /User/execInstalledOnly -i 0");
        assert_eq!(parse("shell", "[root]: echo '[bob]: x' from 203.0.113.9").source, None);
    }

    #[test]
    fn a_name_is_never_an_end() {
        for name in
            ["x@6.6.6.6", "x@6.6.6.6: no permission", "x logged in as y@6.6.6.6", "6.6.6.6", "user x@6.6.6.6"]
        {
            let failed =
                event("vim.event.BadUsernameSessionEvent", "", &format!("Cannot login {name}@203.0.113.9"));
            assert_eq!(source(&failed), "203.0.113.9", "{name}");
        }
        for text in [
            "User x@6.6.6.6 logged in as y@203.0.113.9 login failed: Cannot complete login",
            "User bob@203.0.113.9 logged in as x@6.6.6.6 login failed: y",
            "User bob@203.0.113.9 logged out (user agent: x@6.6.6.6 logged in)",
        ] {
            let line = format!("[Originator@6876 sub=x] Event 7 : {text}");
            let told = parse("hostd", &line);
            assert_eq!((told.kind, source(&told)), (RecordKind::Log, ""), "{text}");
        }
        let parted = event("vim.event.BadUsernameSessionEvent", "x] [y] [z", "Cannot login x@203.0.113.9");
        assert_eq!((parted.kind, source(&parted), parted.account.as_str()), (RecordKind::Log, "", ""));
        let told = parse("hostd", "[x] Rejected password for user root from 6.6.6.6 from 203.0.113.9");
        assert_eq!(source(&told), "203.0.113.9");
    }

    #[test]
    fn other_lines_are_not_its_own() {
        for (program, line) in [
            ("vpxd", ""),
            ("vpxd", "info vpxd[9] [Originator@6876 sub=vpxLro] [VpxLRO] -- BEGIN lro-1"),
            ("vpxd", "Event [7] [1-1] [x] [vim.event.X] [info]"),
            ("vpxd", "Event [x] [1-1] [x] [vim.event.X] [info] [] [] [7] [y]"),
            ("hostd", "info hostd[9"),
            ("hostd", "info hostd[9] [Originator@6876 sub=Solo.Vmomi] Throw vim.fault.NotFound"),
            ("hostd", "[Originator@6876] Task Created : haTask-vim."),
            ("vobd", "[x] 1us: [y"),
            ("shell", "Interactive shell session started"),
            ("shell", "[]: x"),
            ("shop", "[root]: x"),
        ] {
            let envelope = Envelope { program, ..Envelope::default() };
            assert!(!(FORMAT.recognises)(line, &envelope), "{program}: {line}");
        }
    }
}
