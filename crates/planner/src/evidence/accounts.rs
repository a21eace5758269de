//! Which accounts are the attacker's, and how surely: what the groups that show the attack say together.
//!
//! Records with one message are one piece of evidence, and pieces are taken to be independent of each other, as of hosts: the chance
//! that the attacker does not have an account is the product, over all pieces, of one minus how likely the piece is part of the attack
//! times how often such a record means that the attacker has it. Those shares are set by hand.

use std::collections::{BTreeMap, HashMap};

use countermove_incident::Tactic;

use crate::evidence::conclusion::{Shown, Verdict};
use crate::evidence::groups::GroupView;
use crate::evidence::lines::Line;
use crate::evidence::roles::Roles;
use crate::evidence::scene::Scene;

/// Of accounts that plain lines show the attack to have made.
const MADE: f32 = 0.9;
/// Of accounts that logged in where somebody attacked, or from where passwords were guessed.
const GOT_IN: f32 = 0.9;
/// Of accounts that act in the attack: whoever owns one may have done it, and the record be harmless after all.
const ACTS: f32 = 0.8;
/// Of accounts of which responders wrote down that the attacker has their credentials.
const REMARKED: f32 = 0.95;
/// Most accounts that are listed of which nothing says that the attacker has them.
const MAX_SEEN: usize = 8;

/// A group, and what was made of it.
type Piece<'a> = (&'a GroupView, &'a Verdict);

impl<'a> Shown<'a> {
    fn piece(&self) -> Piece<'a> {
        (self.group, self.verdict)
    }
}

/// Accounts in the order in which the evidence tells of them, each with what every message says of it.
#[derive(Default)]
struct Found<'a> {
    accounts: Vec<(&'a String, BTreeMap<&'a str, f32>)>,
    positions: HashMap<&'a String, usize>,
}

impl<'a> Found<'a> {
    fn add(&mut self, account: &'a String, (group, verdict): Piece<'a>, share: f32) {
        let position = *self.positions.entry(account).or_insert(self.accounts.len());
        if position == self.accounts.len() {
            self.accounts.push((account, BTreeMap::new()));
        }
        if let Some((_, pieces)) = self.accounts.get_mut(position) {
            let piece = pieces.entry(&group.words.message).or_default();
            *piece = piece.max(verdict.attack * share);
        }
    }

    fn contains(&self, account: &String) -> bool {
        self.positions.contains_key(account)
    }

    fn names(&self) -> Vec<String> {
        self.accounts.iter().map(|(account, _)| (*account).clone()).collect()
    }

    /// How likely the attacker has each.
    fn chances(&self) -> impl Iterator<Item = (String, f32)> {
        self.accounts.iter().map(|(account, pieces)| {
            let spared: f32 = pieces.values().map(|chance| 1.0 - chance).product();
            ((*account).clone(), 1.0 - spared)
        })
    }
}

/// Accounts of the attack: those that plain lines show it to have made, those that it got in with, those that people log in with and that
/// act in it, and those of which responders wrote down that it has their credentials. `all` has what nobody understood as well. Of `rest`,
/// groups that count as everyday, come accounts that were made on attacked hosts: they are in no list, and how likely the attacker has them
/// says whom to delete where cleaning those hosts was not enough.
pub(crate) fn name_accounts<'a>(
    roles: &mut Roles,
    scene: &'a Scene,
    [shown, all]: [&[Shown<'a>]; 2],
    rest: impl Iterator<Item = Piece<'a>>,
) {
    let (mut planted, mut stolen, mut made) = (Found::default(), Found::default(), Found::default());
    for shown in shown {
        let stays = !shown.group.is_alert && shown.tactics.contains(&Tactic::Persistence);
        for line in lines(scene, shown.group) {
            for account in &line.accounts {
                // Who calls an interface in an attack is the attacker, under a name that is not his.
                let calls = || line.is_call && !is_of_the_system(account);
                let acts = || {
                    let is_persons = scene.lines.logged_in(account) && !is_of_the_system(account);
                    shown.gets_in() && !line.fails && (is_persons || calls())
                };
                if line.makes || stays && !line.is_call {
                    planted.add(account, shown.piece(), MADE);
                } else if scene.lines.got_in(account, line) {
                    stolen.add(account, shown.piece(), GOT_IN);
                } else if acts() {
                    stolen.add(account, shown.piece(), ACTS);
                }
            }
        }
    }
    for remarked in all.iter().filter(|shown| shown.tactics.contains(&Tactic::CredentialAccess)) {
        let remarks = lines(scene, remarked.group).filter(|line| line.is_remark && !line.fails);
        for account in remarks.flat_map(|line| &line.accounts).filter(|account| !is_of_the_system(account)) {
            stolen.add(account, remarked.piece(), REMARKED);
        }
    }
    let attacked = roles.to_clean();
    for (group, verdict) in rest {
        let hosts = group.parts.own_hosts();
        if hosts.into_iter().any(|host| attacked.contains(host)) {
            let new = lines(scene, group).filter(|line| line.makes).flat_map(|line| &line.accounts);
            new.for_each(|account| made.add(account, (group, verdict), MADE));
        }
    }
    stolen.accounts.retain(|(account, _)| !planted.contains(account));
    made.accounts.retain(|(account, _)| !planted.contains(account) && !stolen.contains(account));
    made.accounts.truncate(MAX_SEEN);
    roles.held = [&stolen, &planted, &made].into_iter().flat_map(Found::chances).collect();
    (roles.stolen_accounts, roles.planted_accounts) = (stolen.names(), planted.names());
    roles.seen_accounts = seen_accounts(roles, scene);
}

fn lines<'a>(scene: &'a Scene, group: &'a GroupView) -> impl Iterator<Item = &'a Line> {
    group.records.iter().filter_map(|position| scene.lines.at(*position))
}

/// Accounts that lines tell of together with an address of the attack, of which nothing says that the attacker has them. Also lines in no
/// known form count: what they say accuses nobody, and only says whom to look at where all else was not enough.
fn seen_accounts(roles: &Roles, scene: &Scene) -> Vec<String> {
    let hosts = roles.to_clean();
    let concerns = |address: &String| hosts.contains(address) || roles.attackers.contains(address);
    let positions = scene.groups.iter().flat_map(|group| &group.records);
    let lines = positions.filter_map(|position| scene.lines.at(*position));
    let mut seen: Vec<String> = Vec::new();
    for account in lines.filter(|line| line.addresses.iter().any(concerns)).flat_map(|line| &line.accounts) {
        let is_known = roles.held.contains_key(account) || seen.contains(account);
        if !is_known && !is_of_the_system(account) && seen.len() < MAX_SEEN {
            seen.push(account.clone());
        }
    }
    seen
}

/// Whether an operating system runs its own work under this account, or names a machine so. A login with it is mostly no person's.
pub(crate) fn is_of_the_system(account: &str) -> bool {
    const OWN: [&str; 8] = [
        "root",
        "system",
        "local service",
        "network service",
        "anonymous logon",
        "okta system",
        "microsoft online services",
        "-",
    ];
    let name = account.rsplit('\\').next().unwrap_or(account).to_lowercase();
    OWN.contains(&name.as_str())
        || name.ends_with('$')
        || name.starts_with("system:node:")
        || name.starts_with("system:kube-")
        || name.starts_with("dwm-")
        || name.starts_with("umfd-")
}
