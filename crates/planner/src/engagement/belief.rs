//! What is believed of an attack that goes on: many attacks as they may be, each as likely as what was seen makes it.
//!
//! Invariant: the same catalogue, rounds and seed give the same belief, so it is reckoned anew from what is kept of the rounds.

use countermove_incident::Hold;
use serde::{Deserialize, Serialize};

use super::attack::{Attack, Dice, Manner, Move, Outcome};
use super::field::{Deed, Field, Host};

/// What a round showed of a host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sight {
    /// Name of the host.
    pub(crate) host: String,
    /// How likely it is that the host was looked at.
    pub(crate) probe: f32,
    /// How likely it is that somebody tried to break into it.
    pub(crate) attempt: f32,
    /// How likely it is that somebody is at work on it.
    #[serde(default)]
    pub(crate) work: f32,
    /// How likely it is that an attempt was turned away by what was set up for that.
    #[serde(default)]
    pub(crate) deflected: f32,
    /// Whether something was found that an attacker left there.
    pub(crate) trace: bool,
}

impl Sight {
    /// How likely it is that anything was done to the host.
    pub(crate) fn told(&self) -> f32 {
        self.probe + self.attempt + self.work + self.deflected
    }
}

/// A round that has passed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Round {
    /// Text of what was done in it; empty: nothing of the catalogue.
    pub(crate) action: String,
    /// Whether it could be carried out, if that was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) carried_out: Option<bool>,
    /// What it showed. Of hosts that are not named nothing was seen.
    pub(crate) sights: Vec<Sight>,
}

/// Attacks that a belief consists of. Enough that of two dozen things an attacker may do in a round some dozens are left.
const ATTACKS: usize = 1500;
/// How often it changes its manner in a round.
const CHANGES: f64 = 0.03;
/// How often a search finds something where there is only a user's hold, and where there is none.
const FINDS_OF_USERS: f64 = 0.5;
const FINDS_OF_NOBODY: f64 = 0.03;
/// A sight that is likelier than this is taken as seen.
const SEEN: f32 = 0.5;
/// What a probe, an attempt in vain, one that succeeded, and one that was turned away look like if they are noticed: a probe, an attempt,
/// somebody at work, an attempt that was turned away.
pub(crate) const LOOKS: [[f64; 4]; 4] =
    [[0.9, 0.07, 0.03, 0.0], [0.1, 0.87, 0.03, 0.0], [0.05, 0.25, 0.7, 0.0], [0.005, 0.01, 0.005, 0.98]];
/// How often what was set up to deflect tells of an attempt that it has not turned away.
const NEVER: f64 = 1e-4;
/// How often somebody is seen at work in a round on a host that is held, without a new attempt.
const SHOWS_ITSELF: f64 = 0.02;

/// Attacks as they may be, equally likely.
#[derive(Clone, Debug)]
pub(crate) struct Attacks {
    pub(crate) all: Vec<Attack>,
}

impl Attacks {
    /// What is believed after these rounds.
    pub(crate) fn after(field: &Field<'_>, rounds: &[Round], seed: u64) -> Attacks {
        let mut dice = Dice::new(seed);
        let mut attacks = Attacks { all: (0..ATTACKS).map(|_| Attack::begin(field, &mut dice)).collect() };
        for round in rounds {
            attacks.pass(field, round, &mut dice);
        }
        attacks
    }

    fn pass(&mut self, field: &Field<'_>, round: &Round, dice: &mut Dice) {
        let deed = field.deed(&round.action);
        let seen = Seen::new(field, round);
        let mut weights = Vec::with_capacity(self.all.len());
        let mut moves = Vec::new();
        for attack in &mut self.all {
            if let Some(deed) = deed {
                attack.respond(field, deed, round.carried_out, dice);
            }
            let found = seen.found(field, attack, deed);
            attack.may_do(field, &seen.alarms, &mut moves);
            weights.push(found * seen.go_on(field, attack, &moves, dice));
        }
        self.resample(&weights, dice);
        for attack in &mut self.all {
            seen.alarms.iter().for_each(|host| attack.was_probed(*host));
            if dice.happens(CHANGES) {
                attack.manner = match attack.manner {
                    Manner::StraightOn => Manner::Everywhere,
                    Manner::Everywhere => Manner::StraightOn,
                };
            }
        }
    }

    /// Draws as many as there are, each as often as its weight says, at equal distances: the least noise.
    fn resample(&mut self, weights: &[f64], dice: &mut Dice) {
        let total: f64 = weights.iter().sum();
        let count = self.all.len();
        if total <= 0.0 {
            return;
        }
        let step = total / count as f64;
        let (mut at, mut passed, mut chosen) = (dice.unit() * step, 0.0, Vec::with_capacity(count));
        let mut weighed = self.all.iter().zip(weights).peekable();
        while chosen.len() < count {
            let Some((attack, weight)) = weighed.peek() else { break };
            if passed + **weight >= at {
                chosen.push((*attack).clone());
                at += step;
            } else {
                passed += **weight;
                weighed.next();
            }
        }
        // What rounding leaves over at the end is the last one's.
        if let Some(last) = self.all.last() {
            chosen.resize(count, last.clone());
        }
        self.all = chosen;
    }

    /// How likely an attacker holds a host.
    pub(crate) fn held(&self, host: Host) -> f64 {
        let is_held = |attack: &&Attack| attack.hold.get(host).is_some_and(|hold| *hold > Hold::None);
        self.all.iter().filter(is_held).count() as f64 / self.all.len().max(1) as f64
    }
}

/// What a round showed, by host.
struct Seen {
    /// Of each host: nothing, a probe, an attempt, work on it, an attempt that was turned away.
    kinds: Vec<[f64; 5]>,
    traces: Vec<bool>,
    /// Hosts at which surely something was seen.
    alarms: Vec<Host>,
}

impl Seen {
    fn new(field: &Field<'_>, round: &Round) -> Seen {
        let mut kinds = vec![[1.0, 0.0, 0.0, 0.0, 0.0]; field.names.len()];
        let mut traces = vec![false; field.names.len()];
        let mut alarms = Vec::new();
        for sight in &round.sights {
            let Some(host) = field.host(&sight.host) else { continue };
            let seen = [sight.probe, sight.attempt, sight.work, sight.deflected].map(f64::from);
            let [probe, attempt, work, deflected] = seen;
            let nothing = (1.0 - seen.iter().sum::<f64>()).max(0.0);
            kinds
                .get_mut(host)
                .into_iter()
                .for_each(|kind| *kind = [nothing, probe, attempt, work, deflected]);
            traces.get_mut(host).into_iter().for_each(|trace| *trace = sight.trace);
            if nothing < 1.0 - f64::from(SEEN) {
                alarms.push(host);
            }
        }
        Seen { kinds, traces, alarms }
    }

    /// How likely it is that a search in this round found what it found.
    fn found(&self, field: &Field<'_>, attack: &Attack, deed: Option<Deed>) -> f64 {
        let searched = deed.filter(|deed| field.action(*deed).is_some_and(|action| action.finds > 0.0));
        let mut likely = 1.0;
        for (host, trace) in self.traces.iter().enumerate() {
            let is_searched = searched.is_some_and(|deed| deed.host == Some(host));
            if is_searched || *trace {
                let finds = searched
                    .and_then(|deed| field.action(deed))
                    .map_or(1.0 - FINDS_OF_NOBODY, |action| action.finds);
                let chance = finding(attack.holds(host), finds);
                likely *= if *trace { chance } else { 1.0 - chance };
            }
        }
        likely
    }

    /// Lets an attack do one of these moves, each as likely as what was seen makes it. Gives how likely that was.
    fn go_on(&self, field: &Field<'_>, attack: &mut Attack, moves: &[(Move, f64)], dice: &mut Dice) -> f64 {
        let still: f64 = field.hosts().map(|host| self.still(field, attack, host)).product();
        // Each move with its outcomes: how likely it was and shows what was seen.
        let mut ways: Vec<(Move, Outcome, f64)> = Vec::with_capacity(moves.len() * 2);
        for (moved, chance) in moves {
            match *moved {
                Move::Attempt(host) => {
                    for (outcome, share) in attack.outcomes(field, host) {
                        let likely =
                            chance * share * self.showing(field, attack, host, look(field, *moved, outcome));
                        ways.push((*moved, outcome, likely));
                    }
                }
                Move::Probe(host) => {
                    ways.push((*moved, Outcome::InVain, chance * self.showing(field, attack, host, 0)));
                }
                Move::Rest | Move::Control(_) | Move::Ruin(_) => {
                    ways.push((*moved, Outcome::InVain, *chance))
                }
            }
        }
        let likely = || ways.iter().map(|(_, _, likely)| *likely);
        if let Some((moved, outcome, _)) = dice.drawn(likely()).and_then(|at| ways.get(at)) {
            attack.make(field, *moved, *outcome, dice);
        }
        still * likely().sum::<f64>()
    }

    /// How likely what was seen of a host is where nothing is done to it.
    fn still(&self, field: &Field<'_>, attack: &Attack, host: Host) -> f64 {
        let alarm = field.attacker.false_alarm / 3.0;
        let held = attack.holds(host) > Hold::None && !field.is_lost(host);
        let work = if held { SHOWS_ITSELF } else { alarm };
        let Some([nothing, probe, attempt, works, deflected]) = self.kinds.get(host) else { return 1.0 };
        nothing * (1.0 - 2.0 * alarm - work) + (probe + attempt) * alarm + works * work + deflected * NEVER
    }

    /// How much likelier what was seen of a host is if this was done to it: a probe, an attempt in vain, one that succeeded.
    fn showing(&self, field: &Field<'_>, attack: &Attack, host: Host, done: usize) -> f64 {
        let noticed = field.attacker.noticed;
        let looks = LOOKS.get(done).copied().unwrap_or_default();
        let Some([nothing, seen @ ..]) = self.kinds.get(host) else { return 1.0 };
        let shown: f64 = seen.iter().zip(looks).map(|(seen, looks)| seen * looks).sum();
        (nothing * (1.0 - noticed) + noticed * shown) / self.still(field, attack, host).max(f64::MIN_POSITIVE)
    }
}

/// Which of [`LOOKS`] a move has.
pub(crate) fn look(field: &Field<'_>, moved: Move, outcome: Outcome) -> usize {
    match (moved, outcome) {
        (Move::Probe(_), _) => 0,
        (_, Outcome::Success) => 2,
        (_, Outcome::Deflected) if field.tells_deflected => 3,
        _ => 1,
    }
}

/// How likely a search that finds what full control leaves with this chance finds something under a hold.
pub(crate) fn finding(hold: Hold, finds: f64) -> f64 {
    match hold {
        Hold::Administrator => finds,
        Hold::User => finds * FINDS_OF_USERS,
        Hold::None => FINDS_OF_NOBODY,
    }
}

#[cfg(test)]
mod tests {
    use countermove_incident::Catalogue;

    use super::super::field::tests::NETWORK;
    use super::*;

    fn sight(host: &str, probe: f32, attempt: f32) -> Sight {
        Sight { host: host.into(), probe, attempt, ..Sight::default() }
    }

    fn work(host: &str) -> Sight {
        Sight { host: host.into(), work: 1.0, ..Sight::default() }
    }

    fn round(action: &str, sights: &[Sight]) -> Round {
        Round { action: action.into(), sights: sights.to_vec(), carried_out: None }
    }

    fn held(rounds: &[Round], host: Host) -> f64 {
        let catalogue = Catalogue::parse(NETWORK).unwrap();
        let field = Field::new(&catalogue);
        Attacks::after(&field, rounds, 7).held(host)
    }

    #[test]
    fn what_is_seen_and_done_moves_the_belief() {
        let quiet = [round("Watch", &[])];
        assert!(held(&quiet, 1) < 0.2, "{}", held(&quiet, 1));
        let broken = [round("Watch", &[sight("pc1", 0.9, 0.1)]), round("Watch", &[work("pc1")])];
        let after = held(&broken, 1);
        assert!(after > 0.75, "{after}");
        let with = |action: &str, sights: &[Sight]| {
            let rounds: Vec<Round> = broken.iter().cloned().chain([round(action, sights)]).collect();
            held(&rounds, 1)
        };
        let (restored, stopped) = (with("Restore pc1", &[]), with("Stop processes on pc1", &[]));
        assert!(restored < 0.6 && restored < stopped && stopped < after, "{restored} {stopped} {after}");
        let trace = Sight { host: "pc1".into(), trace: true, ..Sight::default() };
        let tried = [round("Watch", &[sight("pc1", 0.9, 0.1)]), round("Watch", &[sight("pc1", 0.0, 1.0)])];
        let then = |action: &str, sights: &[Sight]| {
            let rounds: Vec<Round> = tried.iter().cloned().chain([round(action, sights)]).collect();
            held(&rounds, 1)
        };
        let (found, clean, watched) =
            (then("Search pc1", &[trace]), then("Search pc1", &[]), then("Watch", &[]));
        assert!(found > 0.97 && clean < watched - 0.1, "{found} {clean} {watched}");
        assert_eq!(held(&broken, 0), 1.0, "what is lost is held");
    }

    #[test]
    fn what_ran_into_a_decoy_holds_nothing_and_what_did_not_probably_does() {
        let decoy = "Set up a decoy on pc1";
        let told = NETWORK.replace("deflects = 0.5", "deflects = 0.5\n        alert = \"decoy\"");
        let catalogue = Catalogue::parse(&told).unwrap();
        let field = Field::new(&catalogue);
        let held = |seen: Sight| {
            let rounds = [round(decoy, &[]), round(decoy, &[sight("pc1", 0.9, 0.1)]), round("", &[seen])];
            Attacks::after(&field, &rounds, 7).held(1)
        };
        let deflected = held(Sight { host: "pc1".into(), deflected: 1.0, ..Sight::default() });
        let tried = held(sight("pc1", 0.0, 1.0));
        assert!(deflected < 0.1 && tried > 0.4, "{deflected} {tried}");
    }

    #[test]
    fn what_could_not_be_carried_out_changes_nothing() {
        let broken = [round("Watch", &[sight("pc1", 0.9, 0.1)]), round("Watch", &[work("pc1")])];
        let restored = |carried_out: Option<bool>| {
            let last = Round { carried_out, ..round("Restore pc1", &[]) };
            held(&broken.iter().cloned().chain([last]).collect::<Vec<_>>(), 1)
        };
        let (told, not_told, refused) = (restored(Some(true)), restored(None), restored(Some(false)));
        assert!((told - not_told).abs() < 0.05, "restoring fits every host: {told} {not_told}");
        assert!(refused > 0.8 && refused > told + 0.2, "{refused} {told}");
    }

    #[test]
    fn what_deflects_makes_a_hold_less_likely() {
        let tries = [round("Watch", &[sight("pc1", 0.9, 0.1)]), round("", &[sight("pc1", 0.0, 1.0)])];
        let decoy = "Set up a decoy on pc1";
        let behind: Vec<Round> =
            [round(decoy, &[]), round(decoy, &[])].into_iter().chain(tries.clone()).collect();
        assert!(held(&behind, 1) < held(&tries, 1) - 0.2);
    }

    #[test]
    fn what_is_seen_where_no_way_leads_is_believed() {
        let broken = [round("Watch", &[work("web")])];
        assert!(held(&broken, 3) > 0.6, "{}", held(&broken, 3));
    }
}
