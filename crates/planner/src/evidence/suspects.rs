//! How likely each host of the system is compromised: what the records of the attack say of it together.
//!
//! Records with one message are one piece of evidence, and pieces are taken to be independent of each other (a noisy-or): the
//! chance that a host has not fallen is the product, over all pieces, of one minus how likely the piece is part of the
//! attack times how often such a record means that a host has fallen. Those shares are set by hand.
//!
//! A host that was only probed, or tried where the attacker went on with another one, is no host to clean for that alone; and that a
//! sensor saw somebody outside try to get in says less of whether it worked than what the host does afterwards.
//!
//! Among noise an alert means less often that a host has fallen, whatever it says, and what several say of one host hangs together; groups that
//! are not likely enough part of the attack count as well, each by how likely it is.

use std::collections::{BTreeMap, BTreeSet};

use countermove_incident::Tactic;

use crate::evidence::conclusion::{Shown, Verdict};
use crate::evidence::groups::GroupView;
use crate::evidence::scene::Scene;
use crate::evidence::surroundings::{between, noise};

/// Of hosts that turn on others.
const TURNS: f32 = 0.9;
/// Of hosts that a tactic is used against which gets in.
const FALLEN: f32 = 0.8;
/// Of hosts that somebody outside tried to get into, as a sensor saw it: it tells what was sent and not what came of it, and what stands at
/// the Internet is tried all day.
const ATTEMPTED: f32 = 0.35;
/// What is left of both among noise.
const AMONG_NOISE: f32 = 0.6;
/// How much further messages say there beside the strongest, as the power of the chance that they leave.
const FURTHER: f32 = 0.25;
/// Of hosts that it was tried on, where the attacker went on with another one; of those that a sensor saw tried the same part of
/// [`ATTEMPTED`].
const TRIED: f32 = 0.2;
/// Of hosts that were looked at, or whose passwords were guessed at.
const PROBED: f32 = 0.03;
/// Of hosts where an account logged in that the attacker has, though nothing else is said of that login: it may have been its owner.
const ENTERED: f32 = 0.3;
/// The attacker went on with another host if something was done to that one so many times as often.
const WENT_ON: u64 = 4;
/// Most hosts that are suspected: the likeliest.
const MOST: usize = 32;

/// What records with one message say of a host.
#[derive(Clone, Copy, Debug, Default)]
struct Piece {
    /// How often something was done to it.
    times: u64,
    /// How likely it has fallen, if nobody else was tried more often.
    fallen: f32,
    /// Likewise, if somebody was.
    passed_over: f32,
}

impl Shown<'_> {
    /// Whether it shows that somebody outside tried to get into a host, and nothing of what came of it.
    fn only_tries(&self, host: &String) -> bool {
        let tries = |tactic: &Tactic| matches!(tactic, Tactic::InitialAccess | Tactic::Execution);
        self.group.parts.sent_to.contains(host) && self.tactics.iter().all(tries)
    }
}

/// Hosts that wrote of logins with accounts that the attacker may have, with the chance that it has got in so. `held` says how likely it has
/// each account.
pub(crate) fn entered<'a>(scene: &'a Scene, held: &BTreeMap<String, f32>) -> BTreeMap<&'a String, f32> {
    let mut chances: BTreeMap<&String, f32> = BTreeMap::new();
    for group in scene.groups.iter().filter(|group| group.logs_in) {
        let lines = group.records.iter().filter_map(|at| scene.lines.at(*at)).filter(|line| line.logs_in);
        let surest = lines.flat_map(|line| &line.accounts).filter_map(|account| held.get(account)).copied();
        let chance = surest.fold(0.0, f32::max) * ENTERED;
        for host in group.parts.aimed_at.iter().filter(|_| chance > 0.0).take(MOST) {
            let known = chances.entry(host).or_default();
            *known = known.max(chance);
        }
    }
    chances
}

/// What messages say of a host.
type Pieces<'a> = BTreeMap<&'a str, BTreeMap<&'a String, Piece>>;

/// The chance that each own host is compromised which the evidence tells of. `rest` are groups that count as everyday traffic; they
/// may be part of the attack all the same.
pub(crate) fn suspects<'a>(
    shown: &[Shown<'a>],
    rest: impl Iterator<Item = (&'a GroupView, &'a Verdict)>,
) -> BTreeMap<String, f32> {
    let mut pieces = Pieces::new();
    for shown in shown {
        add(&mut pieces, shown, 1.0);
    }
    for (group, verdict) in rest {
        // What it would be, if it were part of the attack.
        let tactics = verdict.shares.first().map(|(tactic, _)| *tactic).into_iter().collect();
        add(&mut pieces, &Shown { group, tactics, verdict }, group.around.noise);
    }
    let mut told: BTreeMap<&String, Vec<f32>> = BTreeMap::new();
    for hosts in pieces.values() {
        let most = hosts.values().map(|piece| piece.times).max().unwrap_or(0);
        for (host, piece) in hosts {
            let is_passed_over = piece.times.saturating_mul(WENT_ON) <= most;
            told.entry(host).or_default().push(if is_passed_over { piece.passed_over } else { piece.fallen });
        }
    }
    let further = between(noise(shown.iter().map(|shown| shown.group)), 1.0, FURTHER);
    let chance = |mut told: Vec<f32>| {
        told.sort_by(|a, b| b.total_cmp(a));
        let strongest = told.first().map_or(1.0, |chance| 1.0 - chance);
        1.0 - strongest * told.iter().skip(1).map(|chance| 1.0 - chance).product::<f32>().powf(further)
    };
    let mut chances: Vec<(String, f32)> =
        told.into_iter().map(|(host, told)| (host.clone(), chance(told))).collect();
    // Stable: among equals by name.
    chances.sort_by(|a, b| b.1.total_cmp(&a.1));
    chances.truncate(MOST);
    chances.into_iter().collect()
}

/// Adds what a group says of its hosts. Of what counts as everyday traffic only part does, the rest of it as of hosts that were looked at.
fn add<'a>(pieces: &mut Pieces<'a>, shown: &Shown<'a>, part: f32) {
    let group = shown.group;
    let parts = &group.parts;
    let reached: BTreeSet<&String> = shown.reached().collect();
    let less = between(group.around.noise, 1.0, AMONG_NOISE);
    for host in parts.own_hosts() {
        let [fallen, passed_over] = match (reached.contains(host), parts.from_inside.contains(host)) {
            (false, _) => [PROBED; 2],
            (true, true) => [TURNS; 2],
            (true, false) if shown.only_tries(host) => [ATTEMPTED * less, ATTEMPTED * less * TRIED / FALLEN],
            (true, false) => [FALLEN * less, TRIED * less],
        };
        let chance = |own: f32| shown.verdict.attack * (PROBED + part * (own - PROBED));
        let piece = pieces.entry(&group.words.message).or_default().entry(host).or_default();
        piece.times = piece.times.saturating_add(match part > 0.0 {
            true => parts.times.get(host).copied().unwrap_or(0),
            false => 0,
        });
        piece.fallen = piece.fallen.max(chance(fallen));
        piece.passed_over = piece.passed_over.max(chance(passed_over));
    }
}
