//! Shell commands in an action's text: what they do, and on which host.
//!
//! A command is read from a line of its own, from behind `Command:` or `run`, or from between backquotes. What is no
//! command of a known program is left to the reader of sentences.

use std::ops::Range;

use countermove_incident::{VerbClass, Word};

use super::mood::Mood;
use super::names::{Mention, Names, Subject};
use super::{Clause, Deed, sentences};

/// A simple command and the bytes that it takes in the text.
pub(super) struct Command {
    place: Range<usize>,
    tokens: Vec<String>,
    kind: VerbClass,
    interrupts: bool,
}

/// The commands of a text, and the text with spaces in their place, so that places in it stay what they were.
pub(super) fn split(text: &str) -> (Vec<Command>, String) {
    let mut commands: Vec<Command> = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        for candidate in candidates(line) {
            let found = simple_commands(line, start, candidate);
            if !found.is_empty() {
                commands.extend(found);
                break;
            }
        }
        start += line.len();
    }
    let mut prose = text.as_bytes().to_vec();
    for command in &commands {
        for byte in prose.get_mut(command.place.clone()).unwrap_or_default() {
            *byte = b' ';
        }
    }
    // Commands begin and end between characters, so what is left is text.
    (commands, String::from_utf8_lossy(&prose).into_owned())
}

/// Parts of a line that may be a command, the likeliest first.
fn candidates(line: &str) -> Vec<Range<usize>> {
    let end = line.trim_end().len();
    let mut out = Vec::new();
    let quotes: Vec<usize> = line.match_indices('`').map(|(at, _)| at).collect();
    out.extend(quotes.chunks_exact(2).filter_map(|pair| Some(pair.first()? + 1..*pair.get(1)?)));
    let start = line.len()
        - line.trim_start_matches(|c: char| c.is_whitespace() || "-*•$#>0123456789.)".contains(c)).len();
    let mut starts = vec![start];
    let lower = line.to_ascii_lowercase();
    for lead in [": ", "run ", "execute ", "sudo "] {
        starts.extend(lower.match_indices(lead).map(|(at, _)| at + lead.len()));
    }
    starts.sort_unstable();
    out.extend(starts.into_iter().filter(|&start| start < end).map(|start| start..end));
    out
}

fn simple_commands(line: &str, offset: usize, candidate: Range<usize>) -> Vec<Command> {
    let Some(text) = line.get(candidate.clone()) else { return Vec::new() };
    let mut found = Vec::new();
    let mut start = 0;
    let mut alternative = false;
    for (end, next, is_or) in separators(text) {
        let part = text.get(start..end).unwrap_or_default();
        // What follows `||` is done only if the first fails.
        if !alternative
            && let Some((tokens, length)) = tokens(part)
            && let Some((kind, interrupts)) = classify(&tokens)
        {
            let from = offset + candidate.start + start;
            found.push(Command { place: from..from + length, tokens, kind, interrupts });
        } else if start == 0 {
            return Vec::new();
        }
        (start, alternative) = (next, is_or);
    }
    found
}

/// Ends of pipelines, the beginnings of the next ones, and whether these stand behind `||`.
fn separators(text: &str) -> Vec<(usize, usize, bool)> {
    let mut out = Vec::new();
    let mut quote: Option<char> = None;
    let mut skip = 0;
    for (at, c) in text.char_indices() {
        if at < skip {
            continue;
        }
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '\'' || c == '"' => quote = Some(c),
            None => {
                let rest = text.get(at..).unwrap_or_default();
                let length = if rest.starts_with("&&") || rest.starts_with("||") { 2 } else { 1 };
                if length == 2 || c == ';' {
                    out.push((at, at + length, rest.starts_with("||")));
                    skip = at + length;
                }
            }
        }
    }
    out.push((text.len(), text.len(), false));
    out
}

/// The words of a simple command without `sudo`, up to a ` on HOST` behind it, and how many bytes they take.
fn tokens(part: &str) -> Option<(Vec<String>, usize)> {
    let end = part.find(" on ").unwrap_or(part.len());
    let text = part.get(..end)?;
    let words = text.split_whitespace().map(|word| word.trim_matches(['\'', '"', '`', ',']).to_owned());
    let tokens: Vec<String> = words.skip_while(|word| word == "sudo").collect();
    (!tokens.is_empty()).then_some((tokens, end))
}

/// What a command does, and whether it stops what it is done to. Nothing if it is no command, or does nothing that
/// counts as a response.
fn classify(tokens: &[String]) -> Option<(VerbClass, bool)> {
    use VerbClass::{Analyse, Contain, Eradicate, Harden, Preserve, Restore};
    let (program, arguments) = tokens.split_first()?;
    let program = program.rsplit('/').next().unwrap_or(program);
    let has = |word: &str| arguments.iter().any(|argument| argument == word);
    let any = |words: &[&str]| words.iter().any(|word| has(word));
    let part = |part: &str| arguments.iter().any(|argument| argument.to_ascii_lowercase().contains(part));
    // An argument that no English sentence has.
    let is_shell = arguments
        .iter()
        .any(|argument| argument.starts_with(['-', '/', '~', '$']) || argument.contains(['=', ':']));
    let first = arguments.first().map_or("", String::as_str);
    Some(match program {
        "iptables" | "ip6tables" if is_shell && any(&["DROP", "REJECT"]) && !any(&["-D", "--delete"]) => {
            (Contain, true)
        }
        "nft" if any(&["drop", "reject"]) => (Contain, true),
        "ufw" if any(&["deny", "reject"]) => (Contain, true),
        "firewall-cmd" if part("drop") || part("reject") => (Contain, true),
        "ip" if has("blackhole") || has("link") && has("down") => (Contain, true),
        "route" if has("reject") => (Contain, true),
        "passwd" | "usermod" if any(&["-l", "-L", "--lock"]) => (Contain, true),
        "passwd" | "chpasswd" | "chage" | "smbpasswd" if first.is_empty() || is_name(first) || is_shell => {
            (Harden, false)
        }
        "echo" | "printf" if part("chpasswd") => (Harden, false),
        "userdel" | "deluser" if !first.is_empty() => (Eradicate, false),
        "systemctl" | "service" | "docker" if arguments.len() >= 2 => service(arguments)?,
        "cp" | "scp" | "rsync" | "tar" | "zip" | "gzip" if is_shell => {
            let kept = ["log", "history", "evidence", "forensic", "mem", ".bash", "lastlog", "wtmp"]
                .iter()
                .any(|word| part(word));
            let back = arguments.first().filter(|_| !kept);
            match back {
                None if kept => (Preserve, false),
                _ if part("backup") => (Restore, false),
                _ => return None,
            }
        }
        "dd" | "dc3dd" | "dcfldd" | "avml" | "tcpdump" | "virsh"
            if is_shell || first.contains("snapshot") =>
        {
            (Preserve, false)
        }
        "grep" | "egrep" | "zgrep" | "journalctl" | "netstat" | "ss" | "ps" | "lsof" | "last" | "lastlog"
        | "find" | "cat" | "less" | "ausearch" | "rkhunter" | "chkrootkit" | "clamscan" | "nmap" | "awk"
        | "strings" | "crontab"
            if is_shell && !(program == "crontab" && has("-r")) =>
        {
            (Analyse, false)
        }
        "rm" | "kill" | "pkill" | "killall" | "crontab" | "shred"
            if is_shell || first.bytes().all(|byte| byte.is_ascii_digit()) && !first.is_empty() =>
        {
            (Eradicate, false)
        }
        "apt" | "apt-get" | "yum" | "dnf" | "zypper" | "apk"
            if any(&["install", "upgrade", "update", "dist-upgrade"]) =>
        {
            (Harden, false)
        }
        "apt" | "apt-get" | "yum" | "dnf" if any(&["remove", "purge", "autoremove"]) => (Eradicate, true),
        "sed" if is_shell && part("/etc/") => (Harden, false),
        "chmod" | "chown" | "setsebool" | "auditctl" if is_shell => (Harden, false),
        "pg_restore" | "restore" | "restic" if is_shell || has("restore") => (Restore, false),
        "mkfs" | "mkfs.ext4" | "wipefs" if is_shell => (Eradicate, true),
        "shutdown" | "poweroff" | "halt" if is_shell || first == "now" => (Contain, true),
        _ => return None,
    })
}

/// `systemctl VERB UNIT`, `service UNIT VERB`, `docker VERB CONTAINER`.
fn service(arguments: &[String]) -> Option<(VerbClass, bool)> {
    let word = |word: &&String| !word.starts_with('-');
    arguments.iter().filter(word).take(3).find_map(|verb| match verb.as_str() {
        "start" | "restart" | "enable" | "unmask" | "reload" => Some((VerbClass::Restore, false)),
        "stop" | "disable" | "mask" | "disconnect" | "pause" | "isolate" => Some((VerbClass::Contain, true)),
        _ => None,
    })
}

fn is_name(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}

/// What the commands of a text do. `prose` is the text without them.
pub(super) fn clauses(commands: &[Command], prose: &str, names: &Names) -> Vec<(usize, Clause)> {
    if commands.is_empty() {
        return Vec::new();
    }
    let words = Word::all(prose);
    let mentions = names.mentions(prose, &words);
    let clause = |command: &Command| {
        let place = location(prose, command, &mentions);
        let (objects, peers) = parts(command, &place, names);
        let (deed, interrupts) = (Deed::Respond(command.kind), command.interrupts);
        (command.place.start, Clause { deed, mood: Mood::Told, objects, peers, interrupts })
    };
    commands.iter().map(clause).collect()
}

/// The host on which a command runs: named on its line, or by the heading above, or last before it.
fn location(prose: &str, command: &Command, mentions: &[Mention]) -> Vec<Subject> {
    let start = prose.get(..command.place.start).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
    let end = prose
        .get(command.place.end..)
        .and_then(|behind| behind.find('\n'))
        .map_or(prose.len(), |at| command.place.end + at);
    let hosts = |mention: &Mention| -> Vec<Subject> {
        mention.subjects.iter().filter(|subject| matches!(subject, Subject::Host(_))).cloned().collect()
    };
    let line: Vec<Subject> =
        mentions.iter().filter(|mention| (start..end).contains(&mention.start)).flat_map(hosts).collect();
    if !line.is_empty() {
        return line;
    }
    let heading: Vec<Subject> = sentences::heading(prose, command.place.start, mentions)
        .into_iter()
        .filter(|subject| matches!(subject, Subject::Host(_)))
        .collect();
    if !heading.is_empty() {
        return heading;
    }
    let before = mentions.iter().rev().filter(|mention| mention.start < command.place.start);
    before.map(hosts).find(|hosts| !hosts.is_empty()).unwrap_or_default()
}

/// What a command is done to, and the other end.
fn parts(command: &Command, place: &[Subject], names: &Names) -> (Vec<Subject>, Vec<Subject>) {
    let named = |text: &str| -> Vec<Subject> {
        names.mentions(text, &Word::all(text)).into_iter().flat_map(|mention| mention.subjects).collect()
    };
    let line = command.tokens.join(" ");
    let place = place.to_vec();
    let program = command.tokens.first().map_or("", String::as_str);
    let filters = ["iptables", "ip6tables", "nft", "ufw", "firewall-cmd", "route", "ip"].contains(&program);
    if !filters {
        let copies = ["cp", "scp", "rsync"].contains(&program);
        let sources = command.tokens.len() - usize::from(copies && command.tokens.len() > 2);
        let own = named(&command.tokens.get(..sources).unwrap_or_default().join(" "));
        let user = command.tokens.last().map(|name| named(&format!("user {name}"))).unwrap_or_default();
        let accounts = user.into_iter().filter(|subject| matches!(subject, Subject::Account(_)));
        let locks = command.kind == VerbClass::Contain && ["passwd", "usermod"].contains(&program);
        let place = if locks { Vec::new() } else { place };
        let mut objects: Vec<Subject> = place.into_iter().chain(own).chain(accounts).collect();
        objects.dedup();
        return (objects, Vec::new());
    }
    let behind = |flags: &[&str]| -> Vec<Subject> {
        let at = command.tokens.iter().position(|token| flags.contains(&token.as_str()));
        at.and_then(|at| command.tokens.get(at + 1)).map(|value| named(value)).unwrap_or_default()
    };
    let source = behind(&["-s", "--source", "saddr", "from"]);
    let target = behind(&["-d", "--destination", "daddr", "to"]);
    let outgoing = command.tokens.iter().any(|token| token == "OUTPUT" || token == "out");
    let own: Vec<Subject> = place
        .into_iter()
        .filter(|subject| !matches!(subject, Subject::Host(host) if names.is_gateway(host)))
        .collect();
    match (source.is_empty(), target.is_empty()) {
        (false, false) => (source, target),
        // On a host, a rule keeps the source from this host alone.
        (false, true) => (source, own),
        (true, false) if outgoing && !own.is_empty() => (own, target),
        (true, false) => (target, own),
        (true, true) => (if own.is_empty() { named(&line) } else { own }, Vec::new()),
    }
}
