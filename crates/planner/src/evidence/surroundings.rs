//! What else the alerts of a log show of whoever is in one of them, and how much they tell of others.
//!
//! A rule for traffic that matches says what was sent, not that it is an attack. Who attacks goes on: the same two show in other alerts,
//! whoever acts does so again, and whom something was aimed at acts afterwards. What a sensor fires at by mistake stands alone, and the
//! more different messages a log has, the more of them are such.

use std::collections::{BTreeMap, BTreeSet};

use crate::evidence::groups::{GroupView, SERIOUS};
use crate::evidence::hosts::Hosts;
use crate::evidence::parts::Parts;

/// So many messages that have nothing to do with an alert, in the mean over the alerts of a log, are in any log.
const FEW_APART: f32 = 1.5;
/// So many more, and the log is all noise but for what stands out in it.
const MANY_APART: f32 = 2.0;
/// So many different messages an attack has by itself: the most that a recorded one has.
const FEW: f32 = 7.0;
/// So many more, and the log is all noise likewise, whomever they are about.
const MANY: f32 = 3.0;

/// So near in seconds one alert of a host comes to another that both may be of one thing.
const NEAR: u64 = 15 * 60;

/// What else a log's alerts show of whoever is in one group.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Surroundings {
    /// How noisy its kind is, from 0 to 1: the same for all that sensors in the network raised, and for all that hosts and clouds wrote or
    /// that was detected there.
    pub(crate) noise: f32,
    /// Messages of severe alerts that have no name in common with it.
    pub(crate) apart: usize,
    /// Of what a host wrote or what was detected there: other messages of alerts of this host that came within a quarter of an hour of it.
    /// What passes in the network matches several rules at once, right or wrong.
    pub(crate) close: usize,
    /// Other messages of what is like nothing on ordinary days that came within a quarter of an hour of it, of the same host or account.
    pub(crate) strange: usize,
    /// Programs that no ordinary day knows, in it and in these.
    pub(crate) strange_programs: usize,
    /// Other messages of serious alerts with one of its ends outside and one of its own hosts.
    pub(crate) same_two: usize,
    /// Other messages of severe alerts in which a host acts that acts in it.
    pub(crate) acts_again: usize,
    /// Other messages of severe alerts in which a host acts that it is aimed at, and not before it.
    pub(crate) goes_on: usize,
    /// Whether it goes to hosts that look at others by order, from those that they have looked at.
    pub(crate) answers: bool,
    /// Whether it is an alert to which its sensor gives priority 1 and that cannot be a passing probe: its address outside shows in another
    /// serious group as well, or it stays among own hosts and no sender looks at others by order. A probe that leads to
    /// nothing is seen once; who comes back is at work.
    pub(crate) comes_back: bool,
}

impl GroupView {
    /// Whether nobody calls these alerts less than severe.
    fn may_be_severe(&self) -> bool {
        self.severity.is_none_or(|severity| severity == 1)
    }
}

/// What holds at this noise, between what holds in a quiet log and what holds among noise.
pub(crate) fn between(noise: f32, quiet: f32, among_noise: f32) -> f32 {
    quiet + noise * (among_noise - quiet)
}

/// How noisy the log of these groups is.
pub(crate) fn noise<'a>(groups: impl Iterator<Item = &'a GroupView>) -> f32 {
    groups.map(|group| group.around.noise).fold(0.0, f32::max)
}

/// What is known of each group. `is_whole` says that the log holds all that came in, and nobody chose from it: what ordinary days are like
/// stands beside it.
pub(crate) fn surroundings(views: &[GroupView], hosts: &Hosts, is_whole: bool) -> Vec<Surroundings> {
    let index = Index::of(views);
    let mut found = vec![Surroundings::default(); views.len()];
    // Sensors in the network and those of hosts and clouds are wrong each in their own way, and as often as they are.
    for of_traffic in [true, false] {
        // What responders wrote down was chosen, however much it is.
        let is_such = |view: &GroupView| view.is_of_traffic == of_traffic && !view.is_remark;
        let is_alert = |view: &GroupView| view.is_alert && is_such(view);
        let mut apart = Vec::new();
        let such = views.iter().zip(&mut found).enumerate();
        for (at, (view, found)) in such.filter(|(_, (view, _))| is_such(view)) {
            let all;
            (*found, all) = index.around(at, view, hosts, is_alert);
            apart.extend(view.is_alert.then_some(all as f32));
        }
        let mean = apart.iter().sum::<f32>() / apart.len().max(1) as f32;
        // Who hands over what hosts wrote and detected with little else beside it has chosen it; in all that a SIEM holds it is one
        // thing among many.
        let counts_all = !of_traffic || is_whole;
        let different =
            index.count(0..views.len(), |view| is_alert(view) || counts_all && !view.is_remark) as f32;
        let noise = ((mean - FEW_APART) / MANY_APART).max((different - FEW) / MANY).clamp(0.0, 1.0);
        let such = views.iter().zip(&mut found).filter(|(view, _)| is_such(view));
        such.for_each(|(_, found)| found.noise = noise);
    }
    found
}

/// The own hosts that a group is about or that wrote it, and its accounts.
fn whose(view: &GroupView) -> impl Iterator<Item = &String> {
    view.parts.own_hosts().chain(&view.parts.wrote).chain(&view.accounts)
}

/// Where each name shows in alerts.
struct Index<'a> {
    views: &'a [GroupView],
    /// Numbers of the messages of all groups, the same for the same message.
    messages: Vec<usize>,
    outside: BTreeMap<&'a String, Vec<usize>>,
    /// Of those outside, where they are more than asked for a name or the time.
    ends: BTreeMap<&'a String, Vec<usize>>,
    acting: BTreeMap<&'a String, Vec<usize>>,
    own: BTreeMap<&'a String, Vec<usize>>,
    /// Where each own host and each account shows in whatever is like nothing on ordinary days.
    strange: BTreeMap<&'a String, Vec<usize>>,
}

impl<'a> Index<'a> {
    fn of(views: &'a [GroupView]) -> Index<'a> {
        let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
        let mut index = Index {
            views,
            messages: Vec::with_capacity(views.len()),
            outside: BTreeMap::new(),
            ends: BTreeMap::new(),
            acting: BTreeMap::new(),
            own: BTreeMap::new(),
            strange: BTreeMap::new(),
        };
        for (at, view) in views.iter().enumerate() {
            let next = numbers.len();
            index.messages.push(*numbers.entry(&view.words.message).or_insert(next));
            if view.is_strange() {
                whose(view).for_each(|name| index.strange.entry(name).or_default().push(at));
            }
            if !view.is_alert {
                continue;
            }
            view.parts.outside.iter().for_each(|name| index.outside.entry(name).or_default().push(at));
            view.parts.met().for_each(|name| index.ends.entry(name).or_default().push(at));
            view.parts.from_inside.iter().for_each(|name| index.acting.entry(name).or_default().push(at));
            view.parts.own_hosts().for_each(|name| index.own.entry(name).or_default().push(at));
        }
        index
    }

    fn message(&self, at: usize) -> Option<usize> {
        self.messages.get(at).copied()
    }

    /// Other alerts, of other messages, that have one of these names.
    fn others<'b>(
        &self,
        at: usize,
        place: &BTreeMap<&'a String, Vec<usize>>,
        names: impl IntoIterator<Item = &'b String>,
    ) -> BTreeSet<usize> {
        let shown = names.into_iter().filter_map(|name| place.get(name)).flatten().copied();
        shown.filter(|other| self.message(*other) != self.message(at)).collect()
    }

    /// How many messages these groups have.
    fn count(&self, groups: impl IntoIterator<Item = usize>, is: impl Fn(&GroupView) -> bool) -> usize {
        let groups = groups.into_iter().filter(|at| self.views.get(*at).is_some_and(&is));
        groups.filter_map(|at| self.message(at)).collect::<BTreeSet<usize>>().len()
    }

    /// What is known of a group but for the noise, and how many messages of alerts of its kind have no name in common with it. What is as on ordinary
    /// days goes on beside an attack and shows nothing of it.
    fn around(
        &self,
        at: usize,
        view: &GroupView,
        hosts: &Hosts,
        is_such: impl Fn(&GroupView) -> bool,
    ) -> (Surroundings, usize) {
        let Parts { outside, from_inside, to_inside, aimed_at, .. } = &view.parts;
        let (of_outside, of_own) =
            (self.others(at, &self.outside, outside), self.others(at, &self.own, view.parts.own_hosts()));
        let is_apart = |other: &usize| {
            self.message(*other) != self.message(at) && !of_outside.contains(other) && !of_own.contains(other)
        };
        let apart: Vec<usize> = (0..self.views.len()).filter(is_apart).collect();
        let of_ends = self.others(at, &self.ends, view.parts.met());
        let is_near = |other: &GroupView| !other.is_usual() && other.is_near(view, NEAR);
        let is_serious = |other: &GroupView| !other.is_usual() && !other.is_minor();
        let is_severe = |other: &GroupView| !other.is_usual() && other.may_be_severe();
        let not_before = |other: &GroupView| is_severe(other) && other.first >= view.first;
        let looks = |host: &String| hosts.habit(host).is_some();
        let looked_at = |looker: &String| {
            let looked = self.acting.get(looker).into_iter().flatten();
            let mut looked = looked.filter_map(|other| self.views.get(*other));
            looked.any(|other| from_inside.iter().any(|host| other.parts.aimed_at.contains(host)))
        };
        let shows_again = |name: &String| {
            let others = self.outside.get(name).map_or(&[][..], Vec::as_slice);
            others.iter().any(|other| {
                *other != at && self.views.get(*other).is_some_and(|other| other.priority <= SERIOUS)
            })
        };
        let is_inside = !(from_inside.is_empty() && to_inside.is_empty());
        let among_own = outside.is_empty() && is_inside && !from_inside.iter().any(looks);
        let is_beside = |other: &GroupView| other.is_near(view, NEAR);
        let strange = self.others(at, &self.strange, whose(view));
        let beside =
            || strange.iter().filter_map(|other| self.views.get(*other)).filter(|other| is_beside(other));
        let programs: BTreeSet<&String> =
            beside().chain([view]).flat_map(|other| &other.strange_programs).collect();
        let around = Surroundings {
            noise: 0.0,
            strange: self.count(strange.iter().copied(), is_beside),
            strange_programs: programs.len(),
            apart: self.count(apart.iter().copied(), |other| other.is_alert && other.may_be_severe()),
            close: if view.is_of_traffic { 0 } else { self.count(of_own.iter().copied(), is_near) },
            same_two: self.count(of_ends.intersection(&of_own).copied(), is_serious),
            acts_again: self.count(self.others(at, &self.acting, from_inside), is_severe),
            goes_on: self.count(self.others(at, &self.acting, aimed_at), not_before),
            answers: outside.is_empty()
                && !from_inside.is_empty()
                && !aimed_at.is_empty()
                && aimed_at.iter().all(|host| looks(host) && looked_at(host)),
            comes_back: view.is_top && (among_own || outside.iter().any(shows_again)),
        };
        (around, self.count(apart, is_such))
    }
}

#[cfg(test)]
mod tests {
    use countermove_incident::Familiarity;
    use proptest::prelude::*;

    use super::*;

    /// An alert of this severity: who acts, whom it is aimed at, who is outside.
    fn alert(message: &str, severity: u8, from: &[&str], to: &[&str], outside: &[&str]) -> GroupView {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<String>>();
        let mut group = GroupView {
            is_alert: true,
            is_of_traffic: true,
            severity: Some(severity),
            is_top: severity == 1,
            ..GroupView::default()
        };
        group.priority = severity;
        group.words.message = message.into();
        group.parts = Parts {
            from_inside: set(from),
            to_inside: set(to),
            aimed_at: set(to),
            outside: set(outside),
            ..Parts::default()
        };
        group
    }

    fn around(views: &[GroupView]) -> Vec<Surroundings> {
        let systems = ["10.0.0.9".to_owned()];
        surroundings(views, &Hosts::read("10.0.0.9: our scanner", &systems), false)
    }

    #[test]
    fn whoever_goes_on_is_seen_to_and_the_same_message_says_it_once() {
        let views = [
            alert("Exploit", 1, &[], &["web"], &["out"]),
            alert("Exploit", 1, &[], &["db"], &["out"]),
            alert("Beacon", 1, &["web"], &[], &["out"]),
            alert("Beacon", 1, &["web"], &[], &["else"]),
            alert("Update", 3, &["web"], &[], &["out"]),
        ];
        let all = around(&views);
        let of = |at: usize| (all[at].same_two, all[at].acts_again, all[at].goes_on);
        assert_eq!(of(0), (1, 0, 1), "the update is minor, and two beacons are one message");
        assert_eq!(of(1), (0, 0, 0), "nothing tells of the other target, nor of it and the attacker");
        assert_eq!(of(2), (1, 0, 0));
        assert_eq!(of(4), (2, 1, 0));
        assert!(all.iter().all(|around| around.noise == 0.0));
    }

    #[test]
    fn what_a_target_did_before_is_no_answer_to_what_was_done_to_it() {
        let at = |hour: u8, view: GroupView| {
            let line = format!(
                "06/10-{hour:02}:00:00.0 [**] [1:1:2] x [**] [Priority: 1] {{TCP}} 1.2.3.4:1 -> 10.0.2.13:80"
            );
            let log = countermove_incident::AlertLog::parse(line.as_bytes()).unwrap();
            GroupView { first: log.records[0].time, ..view }
        };
        let (tried, acts) =
            (alert("Exploit", 1, &[], &["web"], &["out"]), alert("Beacon", 1, &["web"], &[], &["else"]));
        let after = [at(1, tried.clone()), at(2, acts.clone())];
        assert!(after[0].first.is_some());
        assert_eq!(around(&after)[0].goes_on, 1);
        assert_eq!(around(&[at(2, tried), at(1, acts)])[0].goes_on, 0);
    }

    #[test]
    fn what_no_ordinary_day_had_counts_where_it_is_of_the_same_host_or_account() {
        let of = |message: &str, host: &str, account: &str| {
            let mut view = GroupView {
                is_beside_days: true,
                ..of_hosts(&[alert(message, 3, &[host], &[], &[])]).remove(0)
            };
            view.accounts.insert(account.into());
            view.strange_programs.insert(format!("{message}.exe"));
            view
        };
        let usual = GroupView { familiarity: Familiarity::Usual, ..of("Update", "web", "ann") };
        let views = [
            of("Service installed", "web", "ann"),
            of("Service installed", "web", "ann"),
            of("Log cleared", "web", "bob"),
            GroupView { is_alert: false, ..of("Share opened", "file", "ann") },
            of("Scan", "db", "carol"),
            usual,
        ];
        let counts = |views: &[GroupView]| {
            around(views).iter().map(|around| (around.strange, around.strange_programs)).collect::<Vec<_>>()
        };
        assert_eq!(counts(&views), [(2, 3), (2, 3), (1, 2), (1, 2), (0, 1), (3, 4)]);
        let alone =
            views.map(|view| GroupView { is_beside_days: false, strange_programs: BTreeSet::new(), ..view });
        assert!(counts(&alone).iter().all(|counts| *counts == (0, 0)), "nobody knows what is ordinary");
    }

    #[test]
    fn a_log_is_as_noisy_as_its_alerts_have_nothing_to_do_with_each_other() {
        let names: Vec<String> = (0..8).map(|at| format!("host{at}")).collect();
        let apart: Vec<GroupView> = names.iter().map(|name| alert(name, 1, &[name], &[], &[])).collect();
        let noise = |views: &[GroupView]| around(views)[0].noise;
        assert_eq!((noise(&apart[..2]), noise(&apart)), (0.0, 1.0));
        assert!((0.0..1.0).contains(&noise(&apart[..3])) && noise(&apart[..3]) > 0.0);
        assert_eq!(around(&apart)[0].apart, 7);
        let together: Vec<GroupView> = names.iter().map(|name| alert(name, 1, &["web"], &[], &[])).collect();
        let part = 1.0 / MANY;
        assert_eq!((noise(&together[..7]), noise(&together)), (0.0, part), "all about one host");
    }

    /// The same of what hosts wrote or what was detected there.
    fn of_hosts(views: &[GroupView]) -> Vec<GroupView> {
        views.iter().map(|view| GroupView { is_of_traffic: false, ..view.clone() }).collect()
    }

    #[test]
    fn what_hosts_write_is_noise_where_it_is_of_much_at_once() {
        let names: Vec<String> = (0..8).map(|at| format!("host{at}")).collect();
        let alerts: Vec<GroupView> = names.iter().map(|name| alert(name, 1, &["web"], &[], &[])).collect();
        let detected = of_hosts(&alerts);
        let noise = |views: &[GroupView]| around(views)[0].noise;
        assert_eq!((noise(&detected[..7]), noise(&detected)), (0.0, 1.0 / MANY), "as many as of an attack");
        let lines: Vec<GroupView> =
            detected.iter().map(|view| GroupView { is_alert: false, ..view.clone() }).collect();
        assert_eq!((noise(&lines[..7]), noise(&lines)), (0.0, 1.0 / MANY));
        let mut beside = vec![detected[0].clone()];
        beside.extend(lines.iter().skip(1).cloned());
        assert!(noise(&beside) > 0.0, "an alert among what else a host writes is one thing of many");
        let remarks: Vec<GroupView> =
            lines.iter().map(|view| GroupView { is_remark: true, ..view.clone() }).collect();
        assert_eq!(noise(&remarks), 0.0, "what responders write down was chosen");
        let mixed = [alerts[..2].to_vec(), lines[2..].to_vec()].concat();
        let both = around(&mixed);
        assert_eq!(both[0].noise, 0.0, "a sensor in the network is as wrong as it is, whatever hosts write");
        assert!(both.last().unwrap().noise > 0.0);
        let beside_ordinary_days =
            |views: &[GroupView]| surroundings(views, &Hosts::read("", &[]), true)[0].noise;
        assert!(beside_ordinary_days(&mixed) > 0.0, "nobody chose it from all that came in");
        assert_eq!(beside_ordinary_days(&mixed[..7]), 0.0, "that was not much");
    }

    #[test]
    fn what_comes_close_to_an_alert_on_the_same_host_is_counted_by_its_message() {
        let at = |minute: u8, view: &GroupView| {
            let line = format!(
                "06/10-13:{minute:02}:00.0 [**] [1:1:2] x [**] [Priority: 1] {{TCP}} 1.2.3.4:1 -> 10.0.2.13:80"
            );
            let log = countermove_incident::AlertLog::parse(line.as_bytes()).unwrap();
            GroupView { times: log.records[0].time.into_iter().collect(), ..view.clone() }
        };
        let alerts = of_hosts(&[
            alert("Dump", 3, &[], &["web"], &[]),
            alert("Service", 2, &[], &["web"], &[]),
            alert("Scan", 1, &[], &["web"], &[]),
            alert("Other", 1, &[], &["db"], &[]),
        ]);
        let close = |views: &[GroupView]| around(views).iter().map(|around| around.close).collect::<Vec<_>>();
        let all = [at(10, &alerts[0]), at(20, &alerts[1]), at(40, &alerts[2]), at(11, &alerts[3])];
        assert_eq!(close(&all), [1, 1, 0, 0]);
        assert_eq!(close(&alerts[..2]), [1, 1], "whoever does not say when may be near");
        let again = [at(10, &alerts[0]), at(11, &alerts[0]), at(12, &alerts[1])];
        assert_eq!(close(&again), [1, 1, 1], "one message says it once");
        let usual = GroupView { familiarity: Familiarity::Usual, ..at(20, &alerts[1]) };
        assert_eq!(close(&[at(10, &alerts[0]), usual]), [0, 1], "what is as on ordinary days goes on beside");
        let line = GroupView { is_alert: false, ..at(20, &alerts[1]) };
        assert_eq!(close(&[at(10, &alerts[0]), line]), [0, 1], "a line has an alert near it, and is none");
        let passed = alert("Passed", 1, &[], &["web"], &[]);
        assert_eq!(close(&[at(10, &alerts[0]), at(11, &passed)]), [1, 0], "one packet matches many rules");
    }

    #[test]
    fn a_resolver_outside_is_nobody_that_a_host_meets() {
        let ask = |message: &str| {
            let mut group = alert(message, 1, &["dns"], &[], &["9.9.9.9"]);
            group.parts.only_asked.insert("9.9.9.9".into());
            group
        };
        assert_eq!(around(&[ask("a"), ask("b")])[0].same_two, 0);
        let calls = alert("Beacon", 1, &["dns"], &[], &["9.9.9.9"]);
        assert_eq!(around(&[calls.clone(), alert("c", 1, &["dns"], &[], &["9.9.9.9"])])[0].same_two, 1);
        assert_eq!(around(&[calls, ask("a")])[0].acts_again, 1);
    }

    #[test]
    fn an_answer_goes_to_whoever_looked_at_its_sender() {
        let look = alert("Scan", 1, &["10.0.0.9"], &["web"], &[]);
        let answer = alert("id check", 2, &["web"], &["10.0.0.9"], &[]);
        let other = alert("id check", 2, &["db"], &["10.0.0.9"], &[]);
        let all = around(&[look.clone(), answer, other]);
        assert_eq!(all.iter().map(|around| around.answers).collect::<Vec<_>>(), [false, true, false]);
        let turned = alert("Shell", 1, &["web"], &["10.0.0.9", "db"], &[]);
        assert!(!around(&[look, turned])[1].answers, "it goes to others as well");
    }

    proptest! {
        #[test]
        fn no_more_is_counted_than_there_is(groups in prop::collection::vec((0_u8..4, 1_u8..4, 0_u8..4, 0_u8..4, 0_u8..4), 0..12)) {
            let name = |number: u8| number.to_string();
            let views: Vec<GroupView> = groups
                .iter()
                .map(|(message, severity, from, to, outside)| {
                    alert(&name(*message), *severity, &[&name(*from)], &[&name(*to)], &[&format!("out{outside}")])
                })
                .collect();
            for around in around(&views) {
                prop_assert!((0.0..=1.0).contains(&around.noise));
                for count in [around.apart, around.same_two, around.acts_again, around.goes_on] {
                    prop_assert!(count <= 3, "four messages, one of them its own");
                }
            }
        }
    }
}
