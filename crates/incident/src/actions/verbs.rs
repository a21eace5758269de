//! The verbs of response, and the words behind them that decide what they mean.

use super::VerbClass;
use super::words::Word;

/// Beginnings of verbs that mean one kind of response by themselves. No word begins with two of them.
const VERBS: [(&str, VerbClass); 106] = [
    ("isolat", VerbClass::Contain),
    ("quarantin", VerbClass::Contain),
    ("block", VerbClass::Contain),
    ("disconnect", VerbClass::Contain),
    ("contain", VerbClass::Contain),
    ("drop", VerbClass::Contain),
    ("den", VerbClass::Contain),
    ("deny", VerbClass::Contain),
    ("sinkhol", VerbClass::Contain),
    ("nullrout", VerbClass::Contain),
    ("blackhol", VerbClass::Contain),
    ("sever", VerbClass::Contain),
    ("suspend", VerbClass::Contain),
    ("lock", VerbClass::Contain),
    ("segment", VerbClass::Contain),
    ("disabl", VerbClass::Contain),
    ("reject", VerbClass::Contain),
    ("filter", VerbClass::Contain),
    ("ban", VerbClass::Contain),
    ("blocklist", VerbClass::Contain),
    ("blacklist", VerbClass::Contain),
    ("detach", VerbClass::Contain),
    ("unplug", VerbClass::Contain),
    ("unblock", VerbClass::Restore),
    ("unlock", VerbClass::Restore),
    ("enabl", VerbClass::Restore),
    ("restor", VerbClass::Restore),
    ("recover", VerbClass::Restore),
    ("resum", VerbClass::Restore),
    ("restart", VerbClass::Restore),
    ("reconnect", VerbClass::Restore),
    ("reenabl", VerbClass::Restore),
    ("redeploy", VerbClass::Restore),
    ("preserv", VerbClass::Preserve),
    ("captur", VerbClass::Preserve),
    ("snapshot", VerbClass::Preserve),
    ("acquir", VerbClass::Preserve),
    ("collect", VerbClass::Preserve),
    ("export", VerbClass::Preserve),
    ("archiv", VerbClass::Preserve),
    ("dump", VerbClass::Preserve),
    ("image", VerbClass::Preserve),
    ("imag", VerbClass::Preserve),
    ("copy", VerbClass::Preserve),
    ("copi", VerbClass::Preserve),
    ("sav", VerbClass::Preserve),
    ("retain", VerbClass::Preserve),
    ("analys", VerbClass::Analyse),
    ("analyz", VerbClass::Analyse),
    ("investigat", VerbClass::Analyse),
    ("inspect", VerbClass::Analyse),
    ("examin", VerbClass::Analyse),
    ("review", VerbClass::Analyse),
    ("identif", VerbClass::Analyse),
    ("determin", VerbClass::Analyse),
    ("correlat", VerbClass::Analyse),
    ("trac", VerbClass::Analyse),
    ("hunt", VerbClass::Analyse),
    ("scan", VerbClass::Analyse),
    ("audit", VerbClass::Analyse),
    ("search", VerbClass::Analyse),
    ("list", VerbClass::Analyse),
    ("find", VerbClass::Analyse),
    ("extract", VerbClass::Analyse),
    ("reconstruct", VerbClass::Analyse),
    ("assess", VerbClass::Analyse),
    ("enumerat", VerbClass::Analyse),
    ("query", VerbClass::Analyse),
    ("queri", VerbClass::Analyse),
    ("triag", VerbClass::Analyse),
    ("eradicat", VerbClass::Eradicate),
    ("remov", VerbClass::Eradicate),
    ("delet", VerbClass::Eradicate),
    ("terminat", VerbClass::Eradicate),
    ("kill", VerbClass::Eradicate),
    ("wip", VerbClass::Eradicate),
    ("evict", VerbClass::Eradicate),
    ("clean", VerbClass::Eradicate),
    ("purg", VerbClass::Eradicate),
    ("uninstall", VerbClass::Eradicate),
    ("reimag", VerbClass::Eradicate),
    ("reinstall", VerbClass::Eradicate),
    ("rebuil", VerbClass::Eradicate),
    ("revok", VerbClass::Eradicate),
    ("expel", VerbClass::Eradicate),
    ("invalidat", VerbClass::Eradicate),
    ("eras", VerbClass::Eradicate),
    ("disinfect", VerbClass::Eradicate),
    ("patch", VerbClass::Harden),
    ("updat", VerbClass::Harden),
    ("upgrad", VerbClass::Harden),
    ("harden", VerbClass::Harden),
    ("rotat", VerbClass::Harden),
    ("reset", VerbClass::Harden),
    ("enforc", VerbClass::Harden),
    ("restrict", VerbClass::Harden),
    ("chang", VerbClass::Harden),
    ("limit", VerbClass::Harden),
    ("tighten", VerbClass::Harden),
    ("mitigat", VerbClass::Harden),
    ("regenerat", VerbClass::Harden),
    ("replac", VerbClass::Harden),
    ("configur", VerbClass::Harden),
    ("reconfigur", VerbClass::Harden),
    ("requir", VerbClass::Harden),
    ("remediat", VerbClass::Harden),
];

/// A verb that means a kind of response only together with a word close behind it; the first row that fits counts.
struct Phrase {
    verb: &'static str,
    behind: &'static [&'static str],
    /// How many words behind the verb are looked at.
    reach: usize,
    class: VerbClass,
}

const fn phrase(verb: &'static str, behind: &'static [&'static str], class: VerbClass) -> Phrase {
    Phrase { verb, behind, reach: NEAR, class }
}

/// A long list of objects may come between the two.
const fn far(verb: &'static str, behind: &'static [&'static str], class: VerbClass) -> Phrase {
    Phrase { verb, behind, reach: SENTENCE, class }
}

const fn working(verb: &'static str) -> Phrase {
    far(verb, WORKING, VerbClass::Restore)
}

/// Services and that they work: what is looked after at the end.
const WORKING: &[&str] = &[
    "service",
    "services",
    "restoration",
    "restored",
    "recovery",
    "reachable",
    "operational",
    "functional",
    "functionality",
    "running",
    "healthy",
    "availability",
    "available",
    "up",
    "online",
    "working",
];
/// What tells of an attacker.
const EVIDENCE: &[&str] = &[
    "log",
    "logs",
    "traffic",
    "process",
    "processes",
    "connections",
    "sessions",
    "files",
    "history",
    "evidence",
    "alerts",
    "indicators",
    "compromise",
    "persistence",
    "malware",
    "backdoors",
    "logins",
    "whether",
    "which",
    "accounts",
    "scope",
    "timeline",
    "extent",
    "memory",
    "crontab",
    "cron",
    "artifacts",
    "artefacts",
    "how",
    "what",
    "exposure",
    "signs",
];
const COPIES: &[&str] = &[
    "image",
    "images",
    "snapshot",
    "snapshots",
    "dump",
    "dumps",
    "copy",
    "copies",
    "capture",
    "captures",
    "backup",
    "backups",
];
const BACK: &[&str] = &["back", "online", "operation", "production", "up"];
const STUDIES: &[&str] = &[
    "analysis",
    "investigation",
    "audit",
    "search",
    "hunt",
    "review",
    "assessment",
    "scan",
    "forensics",
    "triage",
];
const OFF: &[&str] = &["off", "down"];

const PHRASES: [Phrase; 41] = [
    far("tak", &["offline"], VerbClass::Contain),
    phrase("tak", COPIES, VerbClass::Preserve),
    phrase("mak", COPIES, VerbClass::Preserve),
    phrase("creat", COPIES, VerbClass::Preserve),
    phrase("back", &["up"], VerbClass::Preserve),
    phrase("stor", &["copy", "copies", "evidence", "logs", "log"], VerbClass::Preserve),
    phrase("secur", &["evidence", "logs"], VerbClass::Preserve),
    phrase("shut", OFF, VerbClass::Contain),
    phrase("power", OFF, VerbClass::Contain),
    phrase("turn", OFF, VerbClass::Contain),
    phrase("switch", OFF, VerbClass::Contain),
    phrase("cut", &["off"], VerbClass::Contain),
    phrase("stop", &["service", "services", "daemon", "traffic", "server"], VerbClass::Contain),
    phrase("put", &["quarantine", "isolation"], VerbClass::Contain),
    phrase("plac", &["quarantine", "isolation"], VerbClass::Contain),
    phrase("mov", &["quarantine", "isolated"], VerbClass::Contain),
    far("bring", BACK, VerbClass::Restore),
    far("put", BACK, VerbClass::Restore),
    far("return", &["service", "operation", "production"], VerbClass::Restore),
    phrase("roll", &["back"], VerbClass::Restore),
    phrase("start", &["service", "services", "daemon", "server"], VerbClass::Restore),
    phrase("verif", EVIDENCE, VerbClass::Analyse),
    phrase("check", EVIDENCE, VerbClass::Analyse),
    phrase("confirm", EVIDENCE, VerbClass::Analyse),
    working("verif"),
    working("check"),
    working("confirm"),
    working("test"),
    working("validat"),
    phrase("establish", EVIDENCE, VerbClass::Analyse),
    phrase("look", EVIDENCE, VerbClass::Analyse),
    phrase("read", EVIDENCE, VerbClass::Analyse),
    phrase("run", STUDIES, VerbClass::Analyse),
    phrase("perform", STUDIES, VerbClass::Analyse),
    phrase("conduct", STUDIES, VerbClass::Analyse),
    phrase("carry", STUDIES, VerbClass::Analyse),
    phrase("do", STUDIES, VerbClass::Analyse),
    phrase("clos", &["port", "ports", "share", "hole", "vulnerability", "way"], VerbClass::Harden),
    phrase(
        "fix",
        &["vulnerability", "vulnerabilities", "configuration", "flaw", "hole", "code", "permissions"],
        VerbClass::Harden,
    ),
    phrase("install", &["update", "updates", "patch", "patches", "fix", "fixes"], VerbClass::Harden),
    phrase("apply", &["update", "updates", "patch", "patches", "fix", "fixes"], VerbClass::Harden),
];

/// What is disabled or turned off to close a way in, not to cut somebody off.
const FEATURES: &[&str] = &[
    "password",
    "passwords",
    "authentication",
    "service",
    "services",
    "cgi",
    "module",
    "root",
    "anonymous",
    "guest",
    "protocol",
    "feature",
    "macros",
    "script",
    "scripts",
    "upload",
    "uploads",
    "endpoint",
    "share",
    "listing",
];
/// What is enabled to close a way in, not to bring it back.
const GUARDS: &[&str] = &[
    "mfa",
    "2fa",
    "authentication",
    "multifactor",
    "twofactor",
    "factor",
    "logging",
    "auditing",
    "signing",
    "encryption",
    "firewall",
    "fail2ban",
    "waf",
    "selinux",
    "apparmor",
    "rate",
    "lockout",
];
const ACCOUNTS: &[&str] = &["account", "accounts", "user", "users"];
/// What is blocked to close a way in, not to cut somebody off.
const PAYLOADS: &[&str] = &["injection", "injections", "payload", "payloads", "uploads"];
const RULES: &[&str] = &["firewall", "iptables", "acl", "acls", "blocklist", "denylist"];

/// How many words behind a verb belong to it.
const NEAR: usize = 6;
/// How many words of a sentence are looked at.
const SENTENCE: usize = 40;

/// The beginning of the verb that a word is a form of, and the word's ending.
pub(super) fn verb(word: &str) -> Option<(&'static str, &str)> {
    let known = VERBS.iter().map(|(stem, _)| *stem).chain(PHRASES.iter().map(|phrase| phrase.verb));
    known.filter_map(|stem| Some((stem, ending(word, stem)?))).max_by_key(|(stem, _)| stem.len())
}

/// What a word has behind the beginning of a verb, no longer than an ending allows, so that `container`, `server` and
/// `severity` are none of `contain` and `sever`.
fn ending<'a>(word: &'a str, stem: &str) -> Option<&'a str> {
    const ENDINGS: [&str; 22] = [
        "", "e", "y", "s", "es", "ed", "d", "ing", "ting", "ping", "king", "ning", "ion", "ying", "ies",
        "ied", "t", "ment", "ation", "ped", "ned", "ding",
    ];
    word.strip_prefix(stem).filter(|ending| ENDINGS.contains(ending))
}

/// What the verb means between these words; nothing if it is no response there.
pub(super) fn class_of(stem: &str, before: &[Word], behind: &[Word]) -> Option<VerbClass> {
    let sentence =
        behind.iter().take(SENTENCE).position(|word| word.begins).unwrap_or(SENTENCE.min(behind.len()));
    let rest = behind.get(..sentence).unwrap_or(behind);
    let within =
        |most: usize, words: &[&str]| rest.iter().take(most).any(|word| words.contains(&word.lower.as_str()));
    let names = |words: &[&str]| within(4, words);
    let fits = |phrase: &&Phrase| phrase.verb == stem && within(phrase.reach, phrase.behind);
    if let Some(phrase) = PHRASES.iter().find(fits) {
        let closes = stem == "turn" && names(FEATURES);
        return Some(if closes { VerbClass::Harden } else { phrase.class });
    }
    let (_, class) = VERBS.iter().find(|(verb, _)| *verb == stem)?;
    let is_means = before.last().is_some_and(|word| word.lower == "by");
    Some(match (class, stem) {
        (VerbClass::Contain, "disabl") if names(FEATURES) && !names(ACCOUNTS) => VerbClass::Harden,
        (VerbClass::Contain, "block" | "reject" | "filter" | "den" | "deny" | "drop") if names(PAYLOADS) => {
            VerbClass::Harden
        }
        (VerbClass::Restore, "enabl") if names(GUARDS) => VerbClass::Harden,
        (VerbClass::Preserve, "imag" | "image") if names(&["golden", "clean"]) => VerbClass::Eradicate,
        (VerbClass::Harden, "updat" | "chang" | "configur" | "reconfigur") if names(RULES) && !is_means => {
            VerbClass::Contain
        }
        (class, _) => *class,
    })
}
