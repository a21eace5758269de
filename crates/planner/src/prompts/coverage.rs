//! What a response has to reach, what it has reached, and what is left: exact as far as the roles are right.
//!
//! An attack is contained once everything that the attacker uses is cut off, or all attacked hosts are; evidence has to
//! be kept of every attacked host before it is cleaned; and so on. Counting hosts is no work for a language model, so
//! the prompts say what is left, and the menu offers it.
//!
//! Invariant: nothing here knows what is true of an incident; it follows from the roles and the actions alone.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use countermove_incident::{Entities, Entity, EntityKind, RecoveryState, VerbClass};

use crate::evidence::roles::Roles;
use crate::prompts::past::{Deed, Objects, open_facts, past};
use crate::seeds::derive_seed;
use crate::words::{has_word, listed};

/// The kind of response that brings about each fact, in the order of [`RecoveryState::NAMES`].
pub(crate) const KINDS: [VerbClass; 6] = [
    VerbClass::Contain,
    VerbClass::Analyse,
    VerbClass::Preserve,
    VerbClass::Eradicate,
    VerbClass::Harden,
    VerbClass::Restore,
];

/// What actions have reached so far.
#[derive(Clone, Debug)]
pub(crate) struct Coverage<'a> {
    roles: &'a Roles,
    /// Hosts that the response has to reach.
    hosts: Vec<String>,
    reached: BTreeMap<VerbClass, BTreeSet<String>>,
    /// Attacked hosts that were cleaned before their evidence was kept.
    destroyed: BTreeSet<String>,
}

/// The roles as they have to be after what came of earlier actions.
#[derive(Clone, Debug)]
pub(crate) struct Widened<'a> {
    pub(crate) roles: Cow<'a, Roles>,
    /// Hosts that count as attacked since the last action, and accounts and addresses that count as the attacker's.
    pub(crate) joined: Vec<String>,
}

/// Where all was done that a fact asks for and the fact did not hold, somebody is missing among the attacked hosts: of those that
/// the attack has to do with the likeliest join them, until there is something to do; before them, where cleaning was not enough,
/// accounts that were made on attacked hosts. For a search that told too little alone nobody joins who is unlikely, while something else
/// is left to do. When none is left of which anything says so, the attacker may have an account of which nothing does, or come from an
/// address that the attacked hosts had to do with; a host of which nothing says so is never cut off for want of a better one. Who was
/// found or seen to fall meanwhile joins first. Who has joined stays, unless it is found to have no part.
pub(crate) fn widened<'a>(roles: &'a Roles, deeds: &[Deed]) -> Widened<'a> {
    let mut widened = Widened { roles: Cow::Borrowed(roles), joined: Vec::new() };
    for number in 1..=deeds.len() {
        let (so_far, after) = (deeds.get(..number).unwrap_or_default(), deeds.get(number - 1));
        widened.joined.clear();
        let found = after.map_or(&[][..], |deed| &deed.found);
        if !found.is_empty() {
            let roles = widened.roles.to_mut();
            found.iter().for_each(|finding| roles.learn(finding));
        }
        let known = widened.roles.to_clean();
        let is_new = |name: &&String| !known.contains(name) && !widened.roles.has_account(name);
        let seen = after.into_iter().flat_map(|deed| &deed.fallen).filter(is_new);
        let (accounts, hosts): (Vec<String>, Vec<String>) =
            seen.cloned().partition(|name| roles.seen_accounts.contains(name));
        if !accounts.is_empty() || !hosts.is_empty() {
            let roles = widened.roles.to_mut();
            roles.seen_accounts.retain(|account| !accounts.contains(account));
            roles.stolen_accounts.extend(accounts.iter().cloned());
            roles.targets.extend(hosts.iter().cloned());
            widened.joined.extend(accounts.into_iter().chain(hosts));
        }
        while let Some(deed) = after {
            let coverage = Coverage::of(&widened.roles, so_far);
            let exhausted: Vec<VerbClass> = coverage.exhausted(deed.after).collect();
            if exhausted.is_empty() {
                break;
            }
            let only_knows_too_little = coverage.only_knows_too_little(&exhausted, deed.after);
            let planted = planted(&mut widened.roles, &exhausted);
            if !planted.is_empty() {
                widened.joined.extend(planted);
                continue;
            }
            let known = widened.roles.to_clean();
            let rest = || widened.roles.suspects().filter(|(host, _)| !known.contains(host));
            let likeliest = rest().map(|(_, chance)| *chance).fold(0.0, f32::max);
            if likeliest < FAILS as f32 && only_knows_too_little {
                break;
            }
            if likeliest < UNLIKELY {
                let joined = strangers(&mut widened.roles, &exhausted);
                if joined.is_empty() {
                    break;
                }
                widened.joined.extend(joined);
                continue;
            }
            let next: Vec<String> = rest()
                .filter(|(_, chance)| **chance >= ABOUT * likeliest)
                .map(|(host, _)| host.clone())
                .collect();
            widened.roles.to_mut().targets.extend(next.iter().cloned());
            widened.joined.extend(next);
        }
    }
    widened
}

/// Accounts that were made on attacked hosts and may be what is left of the attacker where all was cleaned: the likeliest of them. They
/// count as its from then on. To delete one takes no service down, so no host is cleaned on suspicion before.
fn planted(roles: &mut Cow<'_, Roles>, exhausted: &[VerbClass]) -> Vec<String> {
    if !exhausted.contains(&VerbClass::Eradicate) {
        return Vec::new();
    }
    let likeliest = roles.made_accounts().map(|(_, chance)| *chance).fold(0.0, f32::max);
    let is_likely = |(_, chance): &(&String, &f32)| **chance >= UNLIKELY.max(ABOUT * likeliest);
    let made: Vec<String> =
        roles.made_accounts().filter(is_likely).map(|(account, _)| account.clone()).collect();
    if !made.is_empty() {
        roles.to_mut().planted_accounts.extend(made.iter().cloned());
    }
    made
}

/// Accounts and addresses of which nothing says that they are the attacker's, and which may be why a fact does not hold for which all was
/// done. They count as its from then on.
fn strangers(roles: &mut Cow<'_, Roles>, exhausted: &[VerbClass]) -> Vec<String> {
    let (is_free, is_open) =
        (exhausted.contains(&VerbClass::Contain), exhausted.contains(&VerbClass::Harden));
    let (mut accounts, mut addresses) = (Vec::new(), Vec::new());
    if (is_free || is_open) && !roles.seen_accounts.is_empty() {
        accounts = std::mem::take(&mut roles.to_mut().seen_accounts);
        roles.to_mut().stolen_accounts.extend(accounts.iter().cloned());
    }
    if is_free && !roles.contacts.is_empty() {
        addresses = std::mem::take(&mut roles.to_mut().contacts);
        roles.to_mut().attackers.extend(addresses.iter().cloned());
    }
    [accounts, addresses].concat()
}

/// How often an action that does all that a fact asks for does not bring it about all the same, where nothing stands against it. Set by
/// hand.
pub(crate) const FAILS: f64 = 0.1;
/// Hosts are about as likely compromised as another one from this share of its chance on.
const ABOUT: f32 = 0.5;
/// Below this chance nothing says of a host that it is compromised.
const UNLIKELY: f32 = 0.01;

/// What is left for one kind of response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) attackers: Vec<String>,
    pub(crate) hosts: Vec<String>,
    pub(crate) accounts: Vec<String>,
}

impl<'a> Coverage<'a> {
    /// What the actions of a history have reached. `state` is the one in which the history ended.
    pub(crate) fn after(roles: &'a Roles, history: &[String], state: RecoveryState) -> Coverage<'a> {
        Self::of(roles, &past(roles, history, state))
    }

    /// What has been reached by what was done.
    pub(crate) fn of(roles: &'a Roles, deeds: &[Deed]) -> Coverage<'a> {
        let mut coverage =
            Coverage { roles, hosts: roles.to_clean(), reached: BTreeMap::new(), destroyed: BTreeSet::new() };
        for deed in deeds {
            coverage.take(&deed.objects, deed.before);
        }
        coverage
    }

    /// Adds what is done in a state. While the attack is not contained, what is cleaned or restored does not stay so; until
    /// evidence is preserved, cleaning destroys it.
    fn take(&mut self, objects: &Objects, before: RecoveryState) {
        for (kind, names) in objects {
            if *kind == VerbClass::Eradicate && !before.are_forensics_preserved {
                let kept = self.reached.get(&VerbClass::Preserve);
                let lost = names.iter().filter(|name| self.hosts.contains(name));
                let lost = lost.filter(|name| !kept.is_some_and(|kept| kept.contains(*name)));
                self.destroyed.extend(lost.cloned());
            }
            let lasts =
                before.is_attack_contained || !matches!(kind, VerbClass::Eradicate | VerbClass::Restore);
            if lasts {
                self.reached.entry(*kind).or_default().extend(names.iter().cloned());
            }
        }
    }

    /// What would have been reached of others by a response that is as far: where none of the hosts, attackers or accounts is left for a kind
    /// of response here, none is there.
    pub(crate) fn alike<'b>(&self, others: &'b Roles) -> Coverage<'b> {
        let mut coverage = Coverage::of(others, &[]);
        for kind in KINDS {
            let (left, all) = (self.left(kind), coverage.left(kind));
            let pairs =
                [(left.attackers, all.attackers), (left.hosts, all.hosts), (left.accounts, all.accounts)];
            let reached = pairs.into_iter().filter(|(left, _)| left.is_empty()).flat_map(|(_, all)| all);
            coverage.reached.entry(kind).or_default().extend(reached);
        }
        coverage
    }

    /// What is left for a kind of response.
    pub(crate) fn left(&self, kind: VerbClass) -> Left {
        let roles = self.roles;
        let reached = |kinds: &[VerbClass], name: &String| {
            kinds.iter().any(|kind| self.reached.get(kind).is_some_and(|names| names.contains(name)))
        };
        let missing = |kinds: &[VerbClass], names: &[String]| -> Vec<String> {
            names.iter().filter(|name| !reached(kinds, name)).cloned().collect()
        };
        match kind {
            VerbClass::Contain => Left {
                attackers: missing(&[kind], &roles.attackers),
                hosts: missing(&[kind], &self.hosts),
                // A new password shuts out whoever has stolen the old one.
                accounts: missing(&[kind, VerbClass::Harden], &roles.stolen_accounts),
            },
            VerbClass::Preserve => {
                let mut hosts = missing(&[kind], &self.hosts);
                hosts.retain(|host| !self.destroyed.contains(host));
                let accounts = missing(&[kind], self.instead());
                Left { hosts, accounts, ..Left::default() }
            }
            _ => Left {
                hosts: missing(&[kind], &self.hosts),
                accounts: match kind {
                    VerbClass::Eradicate => {
                        [missing(&[kind], &roles.planted_accounts), missing(&[kind], self.instead())].concat()
                    }
                    VerbClass::Harden => missing(&[kind], &roles.stolen_accounts),
                    _ => missing(&[kind], self.instead()),
                },
                ..Left::default()
            },
        }
    }

    /// Accounts that a response has to reach where the evidence names no attacked host, as in attacks on an identity provider or a cloud.
    fn instead(&self) -> &'a [String] {
        if self.hosts.is_empty() { &self.roles.stolen_accounts } else { &[] }
    }

    /// The ways to contain the attack, with what is left of each: to cut off everything that the attacker uses, where the organisation
    /// can, or every attacked host, where none of them has to stay up. Where it can do neither, it is done as far as it goes.
    fn ways_to_contain(&self) -> Vec<Left> {
        let left = self.left(VerbClass::Contain);
        let roles = self.roles;
        let footholds = left
            .hosts
            .iter()
            .filter(|host| roles.footholds.contains(host) && roles.may_be_cut(host))
            .cloned()
            .collect();
        let mut ways = Vec::new();
        if !self.hosts.is_empty() && self.hosts.iter().all(|host| roles.may_be_cut(host)) {
            ways.push(Left { hosts: left.hosts.clone(), ..Left::default() });
        }
        // A password that is changed shuts out as well as an account that is locked.
        if !roles.attackers.is_empty() && roles.can_block() || ways.is_empty() {
            ways.push(Left { hosts: footholds, ..left });
        }
        ways
    }

    /// In how many ways the attack is shut out once this is done as well, if it works.
    pub(crate) fn ways_to_contain_with(&self, objects: &Objects, state: RecoveryState) -> usize {
        let mut after = self.clone();
        after.take(objects, state);
        after.ways_to_contain().iter().filter(|way| way.is_nothing()).count()
    }

    /// The kinds of response of which all was done, and whose facts do not hold.
    fn exhausted(&self, state: RecoveryState) -> impl Iterator<Item = VerbClass> {
        let is_exhausted = |kind: &VerbClass, holds: bool| {
            let is_left = match kind {
                // Where one way did not do, the other is tried before anybody else is suspected.
                VerbClass::Contain => self.ways_to_contain().iter().any(|way| !way.is_nothing()),
                kind => !self.is_done(*kind),
            };
            !holds && self.was_tried(*kind) && !is_left
        };
        KINDS
            .into_iter()
            .zip(state.bits())
            .filter(move |(kind, holds)| is_exhausted(kind, *holds))
            .map(|(kind, _)| kind)
    }

    /// Whether searches alone were all made in vain, and something else is left to do: what comes of that tells more of who is missing.
    fn only_knows_too_little(&self, exhausted: &[VerbClass], state: RecoveryState) -> bool {
        let mut open = KINDS.into_iter().zip(state.bits()).filter(|(_, holds)| !holds).map(|(kind, _)| kind);
        exhausted == [VerbClass::Analyse]
            && open.any(|kind| !exhausted.contains(&kind) && !self.left(kind).is_nothing())
    }

    /// Of the facts that do not hold, those that what is done brings about if it works: nothing that they ask for is left once it is
    /// done. Where nothing was left before, it did not work, and all of it has to be done again; or, with the seed of a world, the
    /// one part that did not work there.
    pub(crate) fn within_reach(
        &self,
        objects: &Objects,
        state: RecoveryState,
        world: Option<u64>,
    ) -> RecoveryState {
        let taken = |mut coverage: Coverage<'a>| {
            coverage.take(objects, state);
            coverage
        };
        let (after, alone) = (taken(self.clone()), taken(Coverage::of(self.roles, &[])));
        let mut open = open_facts(state, objects);
        open.is_attack_contained |=
            !state.is_attack_contained && self.was_tried(VerbClass::Contain) && self.shuts_out(objects);
        let mut bits = open.bits();
        for (bit, kind) in bits.iter_mut().zip(KINDS) {
            *bit = *bit
                && match world {
                    Some(seed) => self.completes(kind, &after, &alone, seed),
                    None if self.is_done(kind) => alone.is_done(kind),
                    None => after.is_done(kind),
                };
        }
        RecoveryState::from_bits(bits)
    }

    /// Whether what is done gives an account that the attacker has a new password.
    fn shuts_out(&self, objects: &Objects) -> bool {
        let mut hardened = objects.iter().filter(|(kind, _)| *kind == VerbClass::Harden);
        hardened.any(|(_, names)| self.roles.stolen_accounts.iter().any(|account| names.contains(account)))
    }

    /// Whether `after` completes a way to do what a kind of response asks for, in the world of this seed; or, where all of a way was done
    /// in vain, whether `alone` mends it.
    fn completes(&self, kind: VerbClass, after: &Coverage<'a>, alone: &Coverage<'a>, seed: u64) -> bool {
        let mut ways = self.ways(kind).into_iter().zip(after.ways(kind)).enumerate();
        ways.any(|(way, (left, after))| match left.is_nothing() {
            true => self.mends(kind, way, alone, seed),
            false => after.is_nothing(),
        })
    }

    /// Whether `alone` does again what did not work of a way. An action on several is carried out on each, so it is one part of it.
    fn mends(&self, kind: VerbClass, way: usize, alone: &Coverage<'a>, seed: u64) -> bool {
        let of = |coverage: &Coverage<'a>| coverage.ways(kind).into_iter().nth(way).unwrap_or_default();
        let (asked, missed) = (of(&Coverage::of(self.roles, &[])), of(alone));
        let parts = asked.names().filter(|name| !self.destroyed.contains(*name));
        let failed = parts.min_by_key(|name| derive_seed(seed, name, &[]));
        failed.map_or(missed.is_nothing(), |failed| !missed.names().any(|name| name == failed))
    }

    /// The ways to do what a kind of response asks for, with what is left of each.
    fn ways(&self, kind: VerbClass) -> Vec<Left> {
        if kind == VerbClass::Contain { self.ways_to_contain() } else { vec![self.left(kind)] }
    }

    fn was_tried(&self, kind: VerbClass) -> bool {
        self.reached.get(&kind).is_some_and(|names| !names.is_empty())
    }

    /// Whether nothing is left to do for a kind of response. Of a host that was cleaned before there is no evidence to keep.
    fn is_done(&self, kind: VerbClass) -> bool {
        self.ways(kind).iter().any(Left::is_nothing)
    }

    /// What the prompt of the task *state* says of an action that reaches everything that the open facts ask for.
    pub(crate) fn notes_if_done(&self, action: &str, open: RecoveryState) -> Vec<String> {
        let named = format!("It names {}.", self.counted(action));
        let done = |label| format!("{label}: nothing is left.");
        [named].into_iter().chain(open.achieved_labels().into_iter().map(done)).collect()
    }

    /// Whom an action names, counted by their roles.
    fn counted(&self, action: &str) -> String {
        let roles = self.roles;
        let mut counts = [0_usize; 4];
        let mut seen = BTreeSet::new();
        for (_, name) in named(action, roles) {
            let role = match () {
                () if self.hosts.contains(&name) => 0,
                () if roles.attackers.contains(&name) => 1,
                () if roles.has_account(&name) => 2,
                () => 3,
            };
            if seen.insert(name)
                && let Some(count) = counts.get_mut(role)
            {
                *count += 1;
            }
        }
        let nouns =
            [("attacked host", "attacked hosts"), ("attacker", "attackers"), STOLEN, ("other", "others")];
        enumerated(counts.into_iter().zip(nouns)).unwrap_or_else(|| "nothing".to_owned())
    }
}

const STOLEN: (&str, &str) = ("account of the attacker", "accounts of the attacker");

impl Left {
    fn is_nothing(&self) -> bool {
        self.names().next().is_none()
    }

    fn names(&self) -> impl Iterator<Item = &String> {
        self.attackers.iter().chain(&self.hosts).chain(&self.accounts)
    }
}

/// `1 attacked host and 2 attackers`; none if all counts are 0.
fn enumerated(counts: impl IntoIterator<Item = (usize, (&'static str, &'static str))>) -> Option<String> {
    let parts: Vec<String> = counts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, (one, many))| format!("{count} {}", if count == 1 { one } else { many }))
        .collect();
    (!parts.is_empty()).then(|| listed(&parts))
}

/// The hosts, attackers and accounts that a text names, each where it does, by the names that the roles know: a host's
/// name stands for its address, also where its noun and number are parted in another way. What no role knows is given as it is written.
pub(crate) fn named(text: &str, roles: &Roles) -> Vec<(usize, String)> {
    let lower = text.to_lowercase();
    let mut found: Vec<(usize, String)> = Vec::new();
    for (place, entity) in Entities::places(text) {
        let name = match entity.kind {
            EntityKind::Vulnerability | EntityKind::Network => continue,
            _ => address(&entity, roles).cloned().unwrap_or(entity.value),
        };
        found.push((place, name));
    }
    let accounts = roles.accounts().map(|name| (name.to_lowercase(), name));
    // A name such as `bob@example.com` holds what else would be names.
    for (name, own) in accounts.clone().filter(|(name, _)| name.contains('@')) {
        for (begin, _) in lower.match_indices(&name) {
            let end = begin + name.len();
            found.retain(|(place, known)| known == own || !(begin..end).contains(place));
        }
    }
    let hosts = roles.names.iter().map(|(name, address)| (name.clone(), address));
    for (name, own) in accounts.chain(hosts) {
        if has_word(&lower, &name)
            && !found.iter().any(|(_, known)| known == own)
            && let Some(place) = lower.find(&name)
        {
            found.push((place, own.clone()));
        }
    }
    found.sort();
    found
}

/// The address of what a text names, if that is a host with a name.
fn address<'a>(entity: &Entity, roles: &'a Roles) -> Option<&'a String> {
    let written = roles.names.get(&entity.value.to_lowercase());
    if written.is_some() || entity.kind != EntityKind::Host {
        return written;
    }
    let normal = entity.normal();
    let mut known = roles.names.iter();
    known.find_map(|(name, address)| (Entity::normal_host(name) == normal).then_some(address))
}

#[cfg(test)]
mod tests {
    use countermove_incident::MinuteTable;

    use super::*;
    use crate::prompts::past::objects;

    fn roles() -> Roles {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        Roles {
            attackers: names(&["203.0.113.7", "198.51.100.3"]),
            systems: names(&["10.0.2.13", "10.0.2.14", "10.0.2.15"]),
            targets: names(&["10.0.2.13", "10.0.2.14"]),
            footholds: names(&["10.0.2.13"]),
            stolen_accounts: names(&["shop_rw"]),
            planted_accounts: names(&["svc_helper"]),
            seen_accounts: Vec::new(),
            contacts: Vec::new(),
            kept: Vec::new(),
            names: [("web_shop".to_owned(), "10.0.2.13".to_owned())].into(),
            compromised: BTreeMap::new(),
            held: BTreeMap::new(),
            capabilities: Default::default(),
        }
    }

    #[test]
    fn the_attack_is_contained_in_the_ways_that_the_organisation_has() {
        let able = |text: &str| {
            let table = MinuteTable::parse(&format!("other = {{ work = 30 }}\n{text}")).unwrap();
            roles().able(&table.capabilities)
        };
        let contains = |roles: &Roles, action: &str| {
            let none = RecoveryState::default();
            Coverage::of(roles, &[]).within_reach(&objects(action, roles), none, None).is_attack_contained
        };
        let block = "Block all traffic from 203.0.113.7 and 198.51.100.3, disable the account shop_rw and isolate 10.0.2.13";
        let isolate = "Isolate 10.0.2.13 and 10.0.2.14 from the network";
        assert!(contains(&roles(), block) && contains(&roles(), isolate));
        let no_firewall = able("[[response]]\ndoes = \"contain\"\nto = \"address\"\npossible = false");
        assert!(!contains(&no_firewall, block) && contains(&no_firewall, isolate));
        let no_switch = able("[[response]]\ndoes = \"contain\"\nto = \"host\"\nexcept = [\"web_shop\"]");
        assert!(contains(&no_switch, block) && !contains(&no_switch, isolate), "10.0.2.13 is web_shop");
    }

    fn open(fact: usize) -> RecoveryState {
        RecoveryState::from_bits(std::array::from_fn(|at| at == fact))
    }

    fn reaches(roles: &Roles, history: &[&str], state: RecoveryState, action: &str, fact: usize) -> bool {
        let history: Vec<String> = history.iter().map(|line| (*line).to_owned()).collect();
        let coverage = Coverage::after(roles, &history, state);
        coverage.within_reach(&objects(action, roles), state, None).bits()[fact]
    }

    #[test]
    fn a_host_is_named_however_its_noun_and_number_are_parted() {
        let mut roles = roles();
        roles.names.insert("server 4".to_owned(), "10.0.2.14".to_owned());
        let whom = |host: &str| -> Vec<String> {
            let action = format!("Isolate {host} from the network");
            named(&action, &roles).into_iter().map(|(_, name)| name).collect()
        };
        for written in ["server 4", "Server-4", "SERVER_4", "server4"] {
            assert_eq!(whom(written), ["10.0.2.14"], "{written}");
        }
        assert_eq!(whom("server-44"), ["server-44"]);
    }

    #[test]
    fn an_attack_is_contained_by_its_hosts_or_by_all_that_the_attacker_uses() {
        let (roles, none) = (roles(), RecoveryState::default());
        let contains = |history: &[&str], action: &str| reaches(&roles, history, none, action, 0);
        assert!(contains(&[], "Isolate web_shop and 10.0.2.14 from the network"));
        assert!(!contains(&[], "Isolate web_shop from the network"));
        let earlier = ["Isolate web_shop from the network (it changed nothing)"];
        assert!(contains(&earlier, "Isolate 10.0.2.14"));
        assert!(!contains(&earlier, "Isolate 10.0.2.15") && !contains(&[], "Improve the security"));
        let all = "Block all traffic from 203.0.113.7 and 198.51.100.3";
        assert!(!contains(&[], all), "a foothold and an account are left");
        let rest = ["Isolate web_shop from the network", "Reset the password of the account shop_rw"];
        assert!(contains(&rest, all) && !contains(&rest[1..], all));

        let kept = Roles { kept: vec!["10.0.2.13".into(), "10.0.2.14".into()], ..roles.clone() };
        let contains = |action: &str| reaches(&kept, &[], none, action, 0);
        assert!(!contains("Isolate web_shop and 10.0.2.14"));
        assert!(contains(&format!("{all} and disable the account shop_rw")));
    }

    #[test]
    fn what_is_cleaned_too_early_has_to_be_cleaned_again_and_no_evidence_is_left_of_it() {
        let (roles, none) = (roles(), RecoveryState::default());
        let wiped = ["Remove malware from 10.0.2.13 (it changed nothing)"];
        assert!(reaches(&roles, &wiped, none, "Save the logs of 10.0.2.14", 2), "what there still is");
        assert!(!reaches(&roles, &[], none, "Save the logs of 10.0.2.14", 2));
        let contained = RecoveryState { is_attack_contained: true, ..RecoveryState::default() };
        let clean = "Remove malware from 10.0.2.14 and delete the account svc_helper";
        assert!(reaches(&roles, &wiped, contained, clean, 3), "contained from the start");
        let later = ["Remove malware from 10.0.2.13", "Isolate 10.0.2.13 (then: attack contained)"];
        assert!(!reaches(&roles, &later, contained, clean, 3), "the attacker came back");
    }

    #[test]
    fn what_did_not_work_is_done_again_whole() {
        let (roles, none) = (roles(), RecoveryState::default());
        let all = "Patch 10.0.2.13 and 10.0.2.14 and reset the password of the account shop_rw";
        let failed = format!("{all} (it changed nothing)");
        assert!(reaches(&roles, &[&failed], none, all, 4));
        assert!(!reaches(&roles, &[&failed], none, "Patch 10.0.2.13", 4));
    }

    #[test]
    fn in_a_world_one_part_of_what_did_not_work_is_what_is_left() {
        let (roles, none) = (roles(), RecoveryState::default());
        let all = "Isolate 10.0.2.13 and 10.0.2.14, disable the account shop_rw and block all traffic from 203.0.113.7 and 198.51.100.3";
        let history = [format!("{all} (it changed nothing)")];
        let coverage = Coverage::after(&roles, &history, none);
        let share = |action: &str, fact: usize| {
            let objects = objects(action, &roles);
            let does = |seed: &u64| coverage.within_reach(&objects, none, Some(*seed)).bits()[fact];
            (0..4000).filter(does).count() as f64 / 4000.0
        };
        assert_eq!(share(all, 0), 1.0);
        // One of two hosts, or one of a foothold, an account and two addresses.
        let account = share("Patch 10.0.2.13 and reset the password of the account shop_rw", 0);
        assert!((account - 0.25).abs() < 0.03, "{account}");
        let host = share("Isolate 10.0.2.14 from the network", 0);
        assert!((host - 0.5).abs() < 0.03, "{host}");
        // That, or 10.0.2.14 before it and it before the rest.
        let foothold = share("Isolate 10.0.2.13 from the network", 0);
        assert!((foothold - 0.55).abs() < 0.03, "{foothold}");
        assert_eq!(
            share("Patch 10.0.2.13", 0) + share("Patch 10.0.2.13", 4),
            0.0,
            "a host and the account are left to harden"
        );
    }

    #[test]
    fn where_nobody_is_known_an_action_may_do_what_its_verb_says() {
        let (nobody, none) = (Roles::default(), RecoveryState::default());
        let coverage = Coverage::of(&nobody, &[]);
        for world in [None, Some(7)] {
            let block = objects("Block 10.0.0.0 at the gateway.", &nobody);
            assert_eq!(coverage.within_reach(&block, none, world), open(0));
        }
    }

    #[test]
    fn a_new_password_completes_a_containment_that_was_begun() {
        let (roles, none) = (roles(), RecoveryState::default());
        let reset = "Reset the password of the account shop_rw";
        let begun = [
            "Isolate 10.0.2.13 and block all traffic from 203.0.113.7 and 198.51.100.3 (it changed nothing)",
        ];
        assert!(reaches(&roles, &begun, none, reset, 0));
        assert!(!reaches(&roles, &[], none, reset, 0));
        assert!(
            !reaches(&roles, &begun, none, "Reset the password of the account svc_helper", 0),
            "it was planted"
        );
    }

    #[test]
    fn the_notes_count_whom_an_action_names() {
        let roles = roles();
        let coverage = Coverage::after(&roles, &[], RecoveryState::default());
        let notes = coverage.notes_if_done("Isolate web_shop and 10.0.2.15", open(0));
        assert_eq!(notes, ["It names 1 attacked host and 1 other.", "attack contained: nothing is left."]);
    }

    #[test]
    fn an_account_that_nothing_accuses_joins_when_no_host_is_left() {
        let roles = Roles { seen_accounts: vec!["adm_domain".into()], ..roles() };
        let joined = |history: &str| {
            let history = [format!("{history} (it changed nothing)")];
            let none = RecoveryState::default();
            let wider = widened(&roles, &past(&roles, &history, none)).roles;
            wider.stolen_accounts.contains(&"adm_domain".to_owned())
        };
        assert!(joined("Patch 10.0.2.13 and 10.0.2.14 and reset the password of the account shop_rw"));
        assert!(!joined("Patch 10.0.2.13 and reset the password of the account shop_rw"), "a host is left");
        let suspected = |chance: f32| {
            let roles = Roles { compromised: [("10.0.2.15".to_owned(), chance)].into(), ..roles.clone() };
            let all = "Patch 10.0.2.13 and 10.0.2.14 and reset the password of the account shop_rw (it changed nothing)";
            widened(&roles, &past(&roles, &[all.to_owned()], RecoveryState::default())).joined
        };
        assert_eq!(suspected(0.02), ["10.0.2.15"], "a host of which something says so comes first");
        assert_eq!(suspected(0.002), ["adm_domain"], "and one of which nothing does never comes");
        let reset = objects("Reset the password of adm_domain", &roles);
        assert!(
            reset.iter().any(|(_, names)| names.contains("adm_domain")),
            "what is done to it counts: {reset:?}"
        );
        assert!(
            !joined("Save the logs of 10.0.2.13 and 10.0.2.14"),
            "no account keeps evidence from being kept"
        );
    }

    #[test]
    fn for_a_search_in_vain_alone_nobody_joins_who_is_unlikely() {
        let joined = |chance: f32, state: RecoveryState| {
            let roles = Roles { compromised: [("10.0.2.15".to_owned(), chance)].into(), ..roles() };
            let search = "Search the logs of 10.0.2.13 and 10.0.2.14 (it changed nothing)".to_owned();
            !widened(&roles, &past(&roles, &[search], state)).joined.is_empty()
        };
        let contained = open(0);
        assert!(joined(0.2, contained) && !joined(0.05, contained));
        let nothing_else =
            RecoveryState { is_knowledge_sufficient: false, ..RecoveryState::from_bits([true; 6]) };
        assert!(joined(0.05, nothing_else), "there is nothing else to do");
    }

    #[test]
    fn an_account_that_was_made_there_joins_before_a_host_is_cleaned_on_suspicion() {
        let held =
            [("shop_rw", 0.9), ("svc_helper", 0.9), ("adm_temp", 0.04), ("web_test1", 0.03), ("old", 0.001)];
        let roles = Roles {
            held: held.map(|(account, chance)| (account.to_owned(), chance)).into(),
            compromised: [("10.0.2.15".to_owned(), 0.3)].into(),
            ..roles()
        };
        let clean = "Remove the malware from 10.0.2.13 and 10.0.2.14 and delete the account svc_helper";
        let contained = RecoveryState { is_attack_contained: true, ..RecoveryState::default() };
        let joined = |history: &[&str]| {
            let history: Vec<String> =
                history.iter().map(|line| format!("{line} (it changed nothing)")).collect();
            let wider = widened(&roles, &past(&roles, &history, contained));
            (wider.joined, wider.roles.planted_accounts.len())
        };
        assert_eq!(joined(&[clean]), (["adm_temp", "web_test1"].map(String::from).to_vec(), 3));
        let deleted = "Delete the accounts adm_temp and web_test1";
        assert_eq!(joined(&[clean, deleted]), (vec!["10.0.2.15".to_owned()], 3), "and then the host");
        let patch = "Patch 10.0.2.13 and 10.0.2.14 and reset the password of the account shop_rw";
        assert_eq!(joined(&[patch]).0, ["10.0.2.15"], "whose account it is closes no way in");
    }

    #[test]
    fn an_address_that_the_hosts_turned_to_joins_where_cutting_off_was_not_enough() {
        let compromised = [("10.0.2.13", 0.9), ("10.0.2.14", 0.8), ("10.0.2.15", 0.001)];
        let compromised = compromised.map(|(host, chance)| (host.to_owned(), chance)).into();
        let kept = vec!["10.0.2.13".to_owned()];
        let contacts = vec!["c2.example".to_owned()];
        let roles = Roles {
            compromised,
            kept,
            contacts,
            footholds: Vec::new(),
            stolen_accounts: Vec::new(),
            ..roles()
        };
        let joined = |history: &[&str]| {
            let history: Vec<String> =
                history.iter().map(|line| format!("{line} (it changed nothing)")).collect();
            let wider = widened(&roles, &past(&roles, &history, RecoveryState::default()));
            assert!(
                !wider.roles.targets.contains(&"10.0.2.15".to_owned()),
                "nothing says that it has fallen"
            );
            assert_eq!(
                wider.roles.attackers.contains(&"c2.example".to_owned()),
                wider.roles.contacts.is_empty()
            );
            wider.joined
        };
        let block = "Block all traffic from 203.0.113.7 and 198.51.100.3";
        assert_eq!(joined(&[block]), ["c2.example"]);
        assert!(
            joined(&[]).is_empty() && joined(&["Patch 10.0.2.13 and 10.0.2.14"]).is_empty(),
            "no address closes a hole"
        );
        assert!(joined(&[block, "Block all traffic from c2.example"]).is_empty(), "nobody is left");
    }

    #[test]
    fn nobody_else_is_suspected_while_another_way_to_contain_is_left() {
        let compromised = [("10.0.2.13", 0.9), ("10.0.2.14", 0.8), ("10.0.2.15", 0.1)];
        let compromised = compromised.map(|(host, chance)| (host.to_owned(), chance)).into();
        let roles = Roles { compromised, footholds: Vec::new(), stolen_accounts: Vec::new(), ..roles() };
        let joined = |roles: &Roles, history: &[&str]| {
            let history: Vec<String> =
                history.iter().map(|line| format!("{line} (it changed nothing)")).collect();
            widened(roles, &past(roles, &history, RecoveryState::default())).joined
        };
        let block = "Block all traffic from 203.0.113.7 and 198.51.100.3";
        let isolate = "Isolate 10.0.2.13 and 10.0.2.14 from the network";
        assert!(joined(&roles, &[block]).is_empty(), "the attacked hosts can be cut off");
        assert_eq!(joined(&roles, &[block, isolate]), ["10.0.2.15"]);
        assert_eq!(joined(&roles, &[isolate, block]), ["10.0.2.15"]);
        let kept = Roles { kept: vec!["10.0.2.13".into()], ..roles };
        assert_eq!(joined(&kept, &[block]), ["10.0.2.15"], "one of them has to stay up");
    }

    #[test]
    fn who_was_thought_unlikely_joins_when_what_was_done_was_not_enough() {
        let chances = [("10.0.2.13", 0.9), ("10.0.2.14", 0.8), ("10.0.2.15", 0.3), ("10.0.2.20", 0.1)];
        let compromised = chances.map(|(host, chance)| (host.to_owned(), chance)).into();
        let roles = Roles { compromised, ..roles() };
        let joined = |history: &[&str], state: RecoveryState| {
            let history: Vec<String> = history.iter().map(|line| (*line).to_owned()).collect();
            let Widened { roles: wider, joined } = widened(&roles, &past(&roles, &history, state));
            assert!(wider.targets.ends_with(&joined));
            joined
        };
        let none = RecoveryState::default();
        let all = "Save the logs of 10.0.2.13 and 10.0.2.14 (it changed nothing)";
        assert_eq!(joined(&[all], none), ["10.0.2.15"]);
        assert!(joined(&[], none).is_empty());
        assert!(joined(&["Save the logs of 10.0.2.13 (it changed nothing)"], none).is_empty(), "one is left");
        let kept = RecoveryState { are_forensics_preserved: true, ..none };
        assert!(joined(&[all], kept).is_empty(), "it was enough");
        let more = "Save the logs of 10.0.2.15 (it changed nothing)";
        assert_eq!(joined(&[all, more], none), ["10.0.2.20"]);
        let last = "Save the logs of 10.0.2.20 (it changed nothing)";
        assert!(joined(&[all, more, last], none).is_empty(), "nobody is left");
        let enough = "Save the logs of 10.0.2.15 (then: forensics preserved)".to_owned();
        let known = widened(&roles, &past(&roles, &[all.to_owned(), enough], kept));
        assert!(known.joined.is_empty() && known.roles.targets.contains(&"10.0.2.15".to_owned()), "it stays");
    }
}
