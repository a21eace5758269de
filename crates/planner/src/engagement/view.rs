//! What a responder has seen and done in a game, and what that makes it think of doing.

use countermove_incident::{CatalogueAction, Hold};

use super::attack::{Dice, Done, Move};
use super::belief::{Attacks, LOOKS, Round, look};
use super::field::{Deed, Field, Host};

/// Hosts with an alarm that are looked at, the dearest first.
const ALARMED: usize = 4;
/// Hosts on which something that deflects is thought of, those that need it most first.
const GUARDED: usize = 4;
/// From this chance that something was done to a host on it counts as looked at.
const NOTICED: f32 = 0.3;
/// How likely a host is taken to be held at which an attempt was seen and no more.
const TRIED: f64 = 0.5;
/// From this chance of being held on a host may be looked after.
const DOUBT: f64 = 0.05;
/// From this chance of being held on a host is taken for held.
const HELD: f64 = 0.5;
/// So many guards on a host are enough for the simple rule.
const ENOUGH_GUARDS: u32 = 2;
/// A host that was looked at needs protection so many times as much.
const PROBED: f64 = 3.0;

/// What is seen of a move in a game.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Sighting {
    Probe(Host),
    Attempt(Host),
    Work(Host),
    Deflected(Host),
}

impl Sighting {
    /// What is seen of a move; `None` if nothing is.
    pub(crate) fn of(field: &Field<'_>, done: Done, dice: &mut Dice) -> Option<Sighting> {
        let (Move::Probe(host) | Move::Attempt(host)) = done.moved else { return None };
        if !dice.happens(field.attacker.noticed) {
            return None;
        }
        let looks = LOOKS.get(look(field, done.moved, done.outcome))?;
        Some(match dice.drawn(looks.iter().copied())? {
            0 => Sighting::Probe(host),
            1 => Sighting::Attempt(host),
            2 => Sighting::Work(host),
            _ => Sighting::Deflected(host),
        })
    }
}

/// What a responder makes of a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Alarm {
    /// Nothing was seen since it was last restored or searched in vain.
    #[default]
    None,
    /// Somebody tried to break in.
    Tried,
    /// Somebody seems to be at work on it.
    Held,
}

/// What a responder has seen and done, of each host.
#[derive(Clone, Copy, Debug, Default)]
struct Watched {
    alarm: Alarm,
    /// Whether it was looked at.
    probed: bool,
    /// How often something was set up that deflects.
    guards: u32,
    /// How often that was tried.
    tries: u32,
    /// Whether what ends a user's hold was done since the alarm.
    stopped: bool,
}

/// What a responder has seen and done.
#[derive(Clone, Debug)]
pub(crate) struct View(Vec<Watched>);

impl View {
    /// After these rounds, with what is believed now.
    pub(crate) fn after(field: &Field<'_>, rounds: &[Round], attacks: &Attacks) -> View {
        let mut view = View(vec![Watched::default(); field.names.len()]);
        for round in rounds {
            if let Some(deed) = field.deed(&round.action) {
                view.did(field, deed, round.carried_out != Some(false), false);
            }
            for sight in &round.sights {
                let host = field.host(&sight.host);
                if let Some(host) =
                    host.filter(|_| sight.told() > NOTICED).and_then(|host| view.0.get_mut(host))
                {
                    host.probed = true;
                }
            }
        }
        for (host, watched) in view.0.iter_mut().enumerate() {
            let held = attacks.held(host);
            watched.alarm = if held >= HELD {
                Alarm::Held
            } else if held >= DOUBT {
                Alarm::Tried
            } else {
                Alarm::None
            };
        }
        view
    }

    /// Takes in what was done: whether it could be carried out, and whether a search found something.
    pub(crate) fn did(&mut self, field: &Field<'_>, deed: Deed, fits: bool, trace: bool) {
        let Some(action) = field.action(deed) else { return };
        let Some(watched) = deed.host.and_then(|host| self.0.get_mut(host)) else { return };
        if action.deflects > 0.0 {
            watched.tries = watched.tries.saturating_add(1);
        }
        if !fits {
            return;
        }
        if action.ends == Hold::Administrator {
            watched.alarm = Alarm::None;
        } else if action.finds > 0.0 {
            watched.alarm = if trace { Alarm::Held } else { Alarm::None };
        } else if action.ends == Hold::User {
            watched.stopped = true;
            watched.alarm = watched.alarm.min(Alarm::Tried);
        }
        if action.clears {
            (watched.guards, watched.tries) = (0, 0);
        } else if action.deflects > 0.0 {
            watched.guards = watched.guards.saturating_add(1);
        }
    }

    /// Takes in what was seen of the attacker.
    pub(crate) fn saw(&mut self, field: &Field<'_>, glimpse: Sighting) {
        let (Sighting::Probe(host)
        | Sighting::Attempt(host)
        | Sighting::Work(host)
        | Sighting::Deflected(host)) = glimpse;
        let Some(watched) = self.0.get_mut(host) else { return };
        watched.probed = true;
        watched.stopped &= matches!(glimpse, Sighting::Probe(_) | Sighting::Deflected(_));
        watched.alarm = watched.alarm.max(match glimpse {
            Sighting::Probe(_) | Sighting::Deflected(_) => Alarm::None,
            // Where most attempts run into something that deflects and does not tell, one that shows no more has.
            Sighting::Attempt(_) if watched.guards > 0 && !field.tells_deflected => Alarm::None,
            Sighting::Attempt(_) => Alarm::Tried,
            Sighting::Work(_) => Alarm::Held,
        });
    }

    fn of(&self, host: Host) -> Watched {
        self.0.get(host).copied().unwrap_or_default()
    }

    /// Hosts with an alarm that can be saved.
    fn alarmed(&self, field: &Field<'_>) -> impl Iterator<Item = Host> {
        field.hosts().filter(|host| self.of(*host).alarm > Alarm::None && !field.is_lost(*host))
    }

    /// How urgent a host with an alarm is.
    fn urgency(&self, field: &Field<'_>, host: Host) -> f64 {
        let chance = match self.of(host).alarm {
            Alarm::None => 0.0,
            Alarm::Tried => TRIED,
            Alarm::Held => 1.0,
        };
        chance * field.worth(host)
    }

    /// What may be worth doing.
    pub(crate) fn deeds(&self, field: &Field<'_>) -> Vec<Deed> {
        let mut alarmed: Vec<Host> = self.alarmed(field).collect();
        alarmed.sort_by(|a, b| self.urgency(field, *b).total_cmp(&self.urgency(field, *a)));
        alarmed.truncate(ALARMED);
        let mut deeds = Vec::new();
        for (at, action) in field.actions.iter().enumerate() {
            let on = |host: Host| Deed { action: at, host: Some(host) };
            if !action.is_on_host() {
                deeds.push(Deed { action: at, host: None });
            } else if action.deflects > 0.0 {
                deeds.extend(self.needy(field, at).into_iter().map(on));
            } else {
                deeds.extend(alarmed.iter().copied().map(on));
            }
        }
        deeds
    }

    /// Hosts on which something that deflects is of most use.
    fn needy(&self, field: &Field<'_>, guard: usize) -> Vec<Host> {
        let most = field.actions.get(guard).map_or(0, |action| action.most);
        let need = |host: Host| {
            let looked_at = if self.of(host).probed { PROBED } else { 1.0 };
            let fits = field.fits(Deed { action: guard, host: Some(host) });
            field.worth(host) * looked_at * fits / (1.0 + 2.0 * f64::from(self.of(host).guards))
        };
        let open = |host: &Host| self.of(*host).tries < most && !field.is_lost(*host);
        let mut hosts: Vec<Host> = field.hosts().filter(open).collect();
        hosts.sort_by(|a, b| need(*b).total_cmp(&need(*a)));
        hosts.truncate(GUARDED);
        hosts
    }

    /// What a simple rule does. A host whose loss in a round is as dear as restoring it is restored when there is an alarm. Else such hosts
    /// are guarded first; then what ends a user's hold is done to others with an alarm, and they are restored if that pays until the end.
    pub(crate) fn rule(&self, field: &Field<'_>, rounds_left: usize) -> Deed {
        let by = |wanted: &dyn Fn(&CatalogueAction) -> bool| field.actions.iter().position(wanted);
        let on = |action: usize, host: Host| Deed { action, host: Some(host) };
        let restore = by(&|action| action.ends == Hold::Administrator);
        let price = restore.and_then(|at| field.actions.get(at)).map_or(f64::INFINITY, |action| action.cost);
        let stop = by(&|action| action.ends == Hold::User);
        let guard = by(&|action| action.deflects > 0.0);
        let needy = guard.map(|guard| self.needy(field, guard)).unwrap_or_default();
        let is_dear = |host: &Host| field.worth(*host) >= price;
        let urgency = |host: &Host| self.urgency(field, *host);
        let urgent = self.alarmed(field).max_by(|a, b| urgency(a).total_cmp(&urgency(b)));
        if let (Some(host), Some(restore)) = (urgent.filter(is_dear), restore) {
            return on(restore, host);
        }
        if let Some(host) = urgent {
            let open =
                needy.iter().copied().find(|host| is_dear(host) && self.of(*host).guards < ENOUGH_GUARDS);
            if let (Some(guard), Some(open)) = (guard, open) {
                return on(guard, open);
            }
            if let Some(stop) = stop.filter(|_| !self.of(host).stopped) {
                return on(stop, host);
            }
            if let Some(restore) = restore.filter(|_| urgency(&host) * rounds_left as f64 > price) {
                return on(restore, host);
            }
        }
        match (guard, needy.first()) {
            (Some(guard), Some(host)) => on(guard, *host),
            _ => Deed { action: by(&|action| !action.is_on_host()).unwrap_or_default(), host: None },
        }
    }
}
