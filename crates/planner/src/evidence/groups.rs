//! The groups of a digest as the task *incident* sees them, one by one.
//!
//! The question about a group says what its records say, what the hosts in it are and whether they look at others by order. How many
//! records there are and what else the log shows is not said: code weighs that, in [`super::judgement`].

use std::borrow::Cow;
use std::collections::BTreeSet;

use countermove_incident::{
    AlertLog, Baseline, Digest, Familiarity, Group, Known, Origin, Record, RecordKind, SensorVerdict, Tactic,
    Timestamp, bare_account, technique,
};
use serde::Serialize;

use crate::evidence::accounts::is_of_the_system;
use crate::evidence::clients::{decoded, without_claims};
use crate::evidence::hosts::Hosts;
use crate::evidence::lines::{Line, Lines};
use crate::evidence::parts::{Own, Parts};
use crate::evidence::surroundings::{Surroundings, surroundings};
use crate::words::fenced_line;

/// The least severe priority.
const LOWEST: u8 = 4;
/// Priorities up to this one are serious; below it there is mostly noise.
pub(crate) const SERIOUS: u8 = 2;
/// Longest message in a question, in bytes.
const MAX_MESSAGE: usize = 160;

/// A group of the digest with its surroundings.
#[derive(Clone, Debug, Default)]
pub(crate) struct GroupView {
    /// Its number in the digest.
    pub(crate) number: u32,
    /// From 1 (high) to 4, as prompts tell it; that of plain lines is the lowest.
    pub(crate) priority: u8,
    /// The priority that the sensor or the alerts' class states, from 1; none if nobody does, which says neither high nor low.
    pub(crate) severity: Option<u8>,
    /// Whether it holds alerts; plain lines otherwise.
    pub(crate) is_alert: bool,
    /// Whether these alerts are of traffic between two ends, as sensors in networks raise them.
    pub(crate) is_of_traffic: bool,
    /// Whether these lines are logs in a known form.
    pub(crate) is_log: bool,
    /// Whether they are in no form that is known, and read by their words.
    pub(crate) is_unfamiliar: bool,
    /// Whether responders wrote them down, who chose what to tell.
    pub(crate) is_remark: bool,
    /// Whether somebody logged in with one of them.
    pub(crate) logs_in: bool,
    /// Records of the log that are folded into it, by position.
    pub(crate) records: Vec<usize>,
    /// Who takes which part in it.
    pub(crate) parts: Parts,
    /// Tactics that its alerts state themselves.
    pub(crate) tactics: BTreeSet<Tactic>,
    /// Techniques that its records state, each once.
    pub(crate) techniques: Vec<String>,
    /// Whether its sensor gives one of its alerts the highest priority.
    pub(crate) is_top: bool,
    /// When the first of its records came; none where they do not say.
    pub(crate) first: Option<Timestamp>,
    /// When its records came, in order, one for each minute; none where they do not say.
    pub(crate) times: Vec<Timestamp>,
    /// What else the log's alerts show of whoever is in it.
    pub(crate) around: Surroundings,
    /// Whether the sensor stopped all of it.
    pub(crate) is_blocked: bool,
    /// How well the organisation's ordinary days know what they know least of it.
    pub(crate) familiarity: Familiarity,
    /// Whether an account acts in it from where it does on ordinary days; of several records, the one that does least.
    pub(crate) origin: Option<Origin>,
    /// Whether those outside had to do with anything on ordinary days; of several, the one that had least.
    pub(crate) beyond: Option<Origin>,
    /// Whether what ordinary days are like stands beside the log.
    pub(crate) is_beside_days: bool,
    /// Most words of one of its records that no ordinary day held.
    pub(crate) strange_words: usize,
    /// Programs that it tells of and no ordinary day did.
    pub(crate) strange_programs: BTreeSet<String>,
    /// Accounts of its records, as baselines know them, but for those that every host has.
    pub(crate) accounts: BTreeSet<String>,
    /// What the prompt says.
    pub(crate) words: GroupWords,
}

/// What the prompt says of a group; text from outside is fenced.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct GroupWords {
    /// The alerts' message, or the line.
    pub(crate) message: String,
    /// Class as the log names it; empty for plain lines.
    pub(crate) classification: String,
    /// Where the traffic comes from; empty if the record does not say.
    pub(crate) source: String,
    /// Where it goes; likewise.
    pub(crate) destination: String,
}

impl GroupView {
    /// Whether it holds alerts that the sensor itself gives a low priority. Updates, calls and games look like an attacker's
    /// traffic to a small model, and not to whoever wrote the rule.
    pub(crate) fn is_minor(&self) -> bool {
        self.is_alert && self.severity.is_some_and(|severity| severity > SERIOUS)
    }

    /// Whether its records are alerts or logs in a known form. Of any other line nobody can tell what in it the program says and what
    /// it repeats of somebody else's words.
    pub(crate) fn is_understood(&self) -> bool {
        self.is_alert || self.is_log
    }

    /// Whether it can make an incident by itself. What is minor or was not understood only counts beside what can.
    pub(crate) fn is_serious(&self) -> bool {
        self.is_understood() && !self.is_minor()
    }

    /// Whether the description says of all own hosts that it comes from that they look at others, and there are any. What goes beyond the
    /// organisation's own network is no looking by order.
    pub(crate) fn is_by_order(&self, hosts: &Hosts) -> bool {
        let Parts { from_inside, outside, .. } = &self.parts;
        !from_inside.is_empty()
            && outside.is_empty()
            && from_inside.iter().all(|host| hosts.habit(host).is_some())
    }

    /// Whether it is as on the organisation's ordinary days.
    pub(crate) fn is_usual(&self) -> bool {
        self.familiarity <= Familiarity::Usual
    }

    /// Whether nothing like it was there on the organisation's ordinary days, which are known.
    pub(crate) fn is_strange(&self) -> bool {
        self.is_beside_days && self.familiarity == Familiarity::New
    }

    /// Whether one of its records came so many seconds from one of the other's, or either does not say when.
    pub(crate) fn is_near(&self, other: &GroupView, seconds: u64) -> bool {
        let (few, many) = match self.times.len() < other.times.len() {
            true => (&self.times, &other.times),
            false => (&other.times, &self.times),
        };
        let is_near = |time: &Timestamp| {
            let next = many.partition_point(|later| later < time);
            let beside = many.get(next.saturating_sub(1)..).unwrap_or_default().iter().take(2);
            beside.into_iter().any(|other| other.apart(*time) <= seconds)
        };
        few.is_empty() || few.iter().any(is_near)
    }

    /// What its records show by what they state themselves, beside what the model makes of them: the tactics of an alert that
    /// nobody calls minor.
    pub(crate) fn states(&self) -> impl Iterator<Item = Tactic> {
        self.tactics.iter().copied().filter(|_| !self.is_minor())
    }
}

/// The groups of a digest, in its order.
pub(crate) fn views(
    log: &AlertLog,
    digest: &Digest,
    lines: &Lines,
    own: Own<'_>,
    baseline: Option<&Baseline>,
) -> Vec<GroupView> {
    let hosts = own.hosts;
    let mut views: Vec<GroupView> =
        digest.groups().iter().map(|group| view(group, log, lines, own, baseline)).collect();
    let around = surroundings(&views, hosts, baseline.is_some());
    let told: Vec<[String; 2]> = views.iter().map(|view| ends(view, hosts)).collect();
    for ((view, around), [source, destination]) in views.iter_mut().zip(around).zip(told) {
        view.around = around;
        view.words.source = source;
        view.words.destination = destination;
    }
    views
}

fn view(
    group: &Group,
    log: &AlertLog,
    lines: &Lines,
    own: Own<'_>,
    baseline: Option<&Baseline>,
) -> GroupView {
    let mut parts = Parts::default();
    let (mut tactics, mut techniques) = (BTreeSet::new(), Vec::new());
    let mut classification = "";
    let mut is_top = false;
    let mut is_of_traffic = group.record_kind == RecordKind::Alert;
    let mut is_blocked = !group.records.is_empty();
    let (mut familiarity, mut origin) = (None, None);
    let mut times = Vec::new();
    let (mut strange_words, mut strange_programs, mut accounts) = (0, BTreeSet::new(), BTreeSet::new());
    for (at, record) in group.records.iter().filter_map(|at| Some((at, log.records.get(*at)?))) {
        parts.add(record, own);
        times.extend(record.time.into_iter().chain(record.repeats.last));
        familiarity =
            familiarity.max(baseline.map(|baseline| familiarity_of(baseline, record, lines.at(*at))));
        let found = baseline.and_then(|baseline| origin_of(baseline, record, lines.at(*at)));
        origin = origin.into_iter().chain(found).reduce(Origin::with);
        let strange = baseline.map(|baseline| baseline.strange(record)).unwrap_or_default();
        strange_words = strange.words.max(strange_words);
        strange_programs.extend(strange.program);
        let account = Some(bare_account(&record.account));
        accounts.extend(account.filter(|account| !account.is_empty() && !is_of_the_system(account)));
        for stated in &record.techniques {
            if !techniques.contains(stated) {
                techniques.push(stated.clone());
            }
        }
        is_of_traffic &=
            record.source.is_some() && record.destination.is_some() && !record.protocol.is_empty();
        is_blocked &= record.verdict == Some(SensorVerdict::Blocked);
        if record.is_alert() {
            classification = &record.classification;
            tactics.extend(stated_tactics(record));
            is_top |= record.priority == Some(1);
        }
    }
    let severity = group.kind.as_ref().and_then(|kind| kind.priority);
    let of_web = |at: &usize| log.records.get(*at).is_some_and(|record| record.format.tells_requests());
    let is_log = group.record_kind == RecordKind::Log;
    let message = match is_log && group.records.iter().all(of_web) {
        true => Cow::Owned(without_claims(&decoded(&group.message))),
        false => Cow::Borrowed(group.message.as_str()),
    };
    let words = GroupWords {
        message: fenced_line(cut(&message, MAX_MESSAGE)),
        classification: fenced_line(classification),
        ..GroupWords::default()
    };
    let beyond = baseline.and_then(|baseline| beyond(baseline, &parts.outside));
    GroupView {
        number: group.number,
        priority: group.kind.as_ref().map_or(LOWEST, |kind| kind.priority.unwrap_or(3).clamp(1, LOWEST)),
        severity: severity.map(|severity| severity.clamp(1, LOWEST)),
        is_alert: group.record_kind == RecordKind::Alert,
        is_of_traffic,
        is_log,
        is_unfamiliar: group
            .records
            .iter()
            .filter_map(|at| log.records.get(*at))
            .any(|record| record.format.is_unfamiliar()),
        is_remark: group.records.iter().filter_map(|at| lines.at(*at)).any(|line| line.is_remark),
        logs_in: is_log && group.records.iter().filter_map(|at| lines.at(*at)).any(|line| line.logs_in),
        records: group.records.clone(),
        parts,
        tactics,
        techniques,
        is_top,
        first: group.first,
        times: one_a_minute(times),
        around: Surroundings::default(),
        is_blocked,
        familiarity: familiarity.unwrap_or_default(),
        beyond,
        origin,
        is_beside_days: baseline.is_some(),
        strange_words,
        strange_programs,
        accounts,
        words,
    }
}

/// Of these times, in order, those that are a minute or more behind the one before.
fn one_a_minute(mut times: Vec<Timestamp>) -> Vec<Timestamp> {
    times.sort_unstable();
    times.dedup_by(|time, before| time.apart(*before) < 60);
    times
}

/// How well ordinary days know a record. Whoever gets in is somebody, and not anybody.
fn familiarity_of(baseline: &Baseline, record: &Record, line: Option<&Line>) -> Familiarity {
    let Known { familiarity, of_anybody } = baseline.known(record);
    match of_anybody && line.is_some_and(|line| line.logs_in) {
        true => Familiarity::UsualOfOthers,
        false => familiarity,
    }
}

/// Whether ordinary days know all of those outside.
fn beyond(baseline: &Baseline, outside: &BTreeSet<String>) -> Option<Origin> {
    outside.iter().filter_map(|name| baseline.outside(name)).reduce(Origin::with)
}

/// Whether whoever logs in with a record, or calls, does so from where they do on ordinary days.
fn origin_of(baseline: &Baseline, record: &Record, line: Option<&Line>) -> Option<Origin> {
    line.filter(|line| !line.fails && (line.logs_in || line.is_call))?;
    baseline.origin(record)
}

/// The tactics that an alert states; of one that names techniques alone, the tactics of those that serve one only.
fn stated_tactics(record: &Record) -> Vec<Tactic> {
    if !record.tactics.is_empty() {
        return record.tactics.clone();
    }
    let only = |id: &String| match technique(id)?.tactics {
        [one] => Some(*one),
        _ => None,
    };
    record.techniques.iter().filter_map(only).collect()
}

/// Source and destination in words; nothing where the records do not say. Neither how many they are nor what else is known of
/// them is told: the same record reads the same once and often, alone and beside others.
fn ends(view: &GroupView, hosts: &Hosts) -> [String; 2] {
    let Parts { outside, from_inside, to_inside, wrote, .. } = &view.parts;
    let outsider = || if outside.is_empty() { String::new() } else { "outside address".to_owned() };
    let source = match from_inside.is_empty() {
        true => outsider(),
        false => insider(from_inside, hosts, true),
    };
    let destination = match to_inside.first().or(wrote.first()) {
        Some(_) if to_inside.is_empty() => insider(wrote, hosts, false),
        Some(_) => insider(to_inside, hosts, false),
        None if from_inside.is_empty() => String::new(),
        None => outsider(),
    };
    [source, destination]
}

/// What the first of these own hosts is, and whether the description has them look at others.
fn insider(names: &BTreeSet<String>, hosts: &Hosts, as_source: bool) -> String {
    let Some(first) = names.first() else { return String::new() };
    let about = hosts.about(first).unwrap_or("own host");
    let habit = names.iter().find_map(|name| hosts.habit(name)).filter(|_| as_source);
    fenced_line(&habit.map_or_else(|| about.to_owned(), |habit| format!("{about} ({habit})")))
}

fn cut(text: &str, most: usize) -> &str {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use countermove_incident::BaselineLearner;

    use super::*;

    const SYSTEM: &str = "web01 at 10.0.2.13 (Debian 12) runs Apache.\nsiem at 10.0.2.14 collects logs.\nsiem scans all \
                          servers every night.";

    fn log(alerts: &[(&str, u8, &str, &str)]) -> AlertLog {
        let lines: Vec<String> = alerts
            .iter()
            .map(|(message, priority, source, destination)| {
                format!(
                    "06/10-13:10:51.405000 [**] [1:1:2] {message} [**] [Classification: Misc Attack] [Priority: \
                     {priority}] {{TCP}} {source}:4711 -> {destination}:80\n"
                )
            })
            .collect();
        AlertLog::parse(lines.concat().as_bytes()).unwrap()
    }

    fn read(log: &AlertLog) -> Vec<GroupView> {
        let systems = ["10.0.2.13", "10.0.2.14"];
        let hosts = Hosts::read(SYSTEM, &systems.map(str::to_owned));
        let own = Own { systems: &HashSet::from(systems), hosts: &hosts };
        let (digest, lines) = (Digest::new(log, 1000), Lines::of_log(log));
        views(log, &digest, &lines, own, None)
    }

    #[test]
    fn surroundings_are_told_and_every_record_is_somewhere() {
        let log = log(&[
            ("Scan", 2, "203.0.113.7", "10.0.2.13"),
            ("Exploit", 1, "203.0.113.7", "10.0.2.13"),
            ("Exploit", 1, "203.0.113.7", "10.0.2.13"),
            ("Probe", 1, "198.51.100.3", "10.0.2.13"),
            ("Web scan", 2, "10.0.2.14", "10.0.2.13"),
            ("Audit", 1, "10.0.2.14", "10.0.2.13"),
            ("Brute force", 1, "10.0.2.13", "10.0.2.14"),
        ]);
        let groups = read(&log);
        let group = |message: &str| groups.iter().find(|view| view.words.message == message).unwrap();
        let mut told: Vec<usize> = groups.iter().flat_map(|view| view.records.clone()).collect();
        told.sort_unstable();
        assert_eq!(told, (0..log.records.len()).collect::<Vec<_>>());
        let exploit = group("Exploit");
        assert_eq!((exploit.records.len(), log.records[exploit.records[0]].repeats.count), (1, 2));
        assert!(exploit.around.comes_back);
        let probe = group("Probe");
        assert_eq!(exploit.words.source, "outside address");
        assert_eq!(
            (&exploit.words.source, &exploit.words.destination),
            (&probe.words.source, &probe.words.destination),
            "neither number nor company is told"
        );
        assert_eq!(exploit.words.destination, "web01: (Debian 12) runs Apache");
        assert!(!probe.around.comes_back);
        assert!(!group("Scan").around.comes_back, "only alerts of the highest priority count");
        assert!(
            group("Brute force").around.comes_back,
            "nobody outside is needed where an own host attacks another"
        );
        assert!(!group("Audit").around.comes_back, "this host looks at others by order");
        let audit = group("Web scan");
        assert_eq!(audit.words.source, "siem: collects logs (siem scans all servers every night)");
        assert!(audit.parts.from_inside.contains("10.0.2.14") && audit.parts.outside.is_empty());
    }

    #[test]
    fn a_group_is_as_usual_as_the_record_that_is_least() {
        let knock = |day: u8, net: u8| {
            format!(
                "Jun {day:2} 03:00:00 web01 sshd[9]: Failed password for root from 203.0.{net}.9 port 22 ssh2\n"
            )
        };
        let mut learner = BaselineLearner::default();
        for (day, net) in [(1, 1), (2, 1), (3, 1), (3, 2)] {
            AlertLog::each(knock(day, net).as_bytes(), |record| learner.add(&record, "")).unwrap();
        }
        let baseline = learner.learn().unwrap().baseline;
        let familiarity = |log: &str, baseline: Option<&Baseline>| {
            let log = AlertLog::parse(log.as_bytes()).unwrap();
            let one_group = |budget: &usize| Digest::new(&log, *budget).groups().len() == 1;
            let budget = (20..200).find(one_group).unwrap();
            let (digest, lines) = (Digest::new(&log, budget), Lines::of_log(&log));
            let own = Own { systems: &HashSet::new(), hosts: &Hosts::default() };
            let groups = views(&log, &digest, &lines, own, baseline);
            groups.first().map(|group| group.familiarity)
        };
        assert_eq!(familiarity(&knock(9, 1), Some(&baseline)), Some(Familiarity::Usual));
        assert_eq!(familiarity(&knock(9, 1), None), Some(Familiarity::New));
        let both: String = (1..=12).map(|net| knock(9, net)).collect();
        assert_eq!(familiarity(&both, Some(&baseline)), Some(Familiarity::UsualOfOthers));
    }

    #[test]
    fn plain_lines_name_whom_they_name() {
        let log = AlertLog::parse(
            b"sshd[9]: Failed password for root from 203.0.113.9 port 22 ssh2\nsshd[10]: Failed password for root from \
              203.0.113.9 port 23 ssh2\n",
        )
        .unwrap();
        let groups = read(&log);
        assert_eq!(groups.iter().map(|view| view.records.len()).sum::<usize>(), 2);
        assert!(groups.iter().all(|view| view.parts.outside.contains("203.0.113.9") && !view.is_alert));
        assert!(groups[0].words.source.starts_with("outside address"), "{:?}", groups[0].words);
    }
}
