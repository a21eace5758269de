//! The network of a catalogue with numbers in the place of names, so that many thousand rounds can be played in a decision.

use std::collections::BTreeMap;

use countermove_incident::{AttackerRates, Catalogue, CatalogueAction, Hold};

use super::belief::Round;

/// How many tries what a catalogue states is worth.
const STATED: f64 = 2.0;

/// A host, by its position in the catalogue.
pub(crate) type Host = usize;

/// An action of the catalogue, done to a host or to none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Deed {
    /// Which action, by its position in the catalogue.
    pub(crate) action: usize,
    /// Whom it is done to.
    pub(crate) host: Option<Host>,
}

/// A catalogue, made ready to play in.
#[derive(Clone, Debug)]
pub(crate) struct Field<'a> {
    /// Names of hosts.
    pub(crate) names: Vec<&'a str>,
    /// What a round costs in which an attacker holds a host.
    pub(crate) loss: Vec<f64>,
    /// What it costs besides if the attacker does there what it came for.
    pub(crate) ruin: Vec<f64>,
    /// Whether the attacker is there from the start and cannot be put out.
    pub(crate) is_lost: Vec<bool>,
    /// How far in a host stands: the position of its zone.
    pub(crate) depth: Vec<usize>,
    /// Of each host the zones that it reaches, a bit each.
    pub(crate) reach: Vec<u64>,
    /// Of each host those that one learns of on it.
    pub(crate) knows: Vec<Vec<Host>>,
    /// Of each deed the chance that it can be carried out: action by action, for each host.
    fits: Vec<f64>,
    /// What can be done.
    pub(crate) actions: &'a [CatalogueAction],
    pub(crate) attacker: AttackerRates,
    /// The hold from which on a host costs its loss.
    pub(crate) harms_from: Hold,
    /// Whether records tell of attempts that were turned away.
    pub(crate) tells_deflected: bool,
    /// Rounds that are looked ahead.
    pub(crate) horizon: usize,
}

impl<'a> Field<'a> {
    pub(crate) fn new(catalogue: &'a Catalogue) -> Field<'a> {
        let hosts = || {
            catalogue
                .zones
                .iter()
                .enumerate()
                .flat_map(|(at, zone)| zone.hosts.iter().map(move |host| (at, host)))
        };
        let names: Vec<&str> = hosts().map(|(_, host)| host.as_str()).collect();
        let depth: Vec<usize> = hosts().map(|(zone, _)| zone).collect();
        let note = |name: &str| catalogue.hosts.iter().find(|note| note.name == name);
        let at = |name: &String| names.iter().position(|own| own == name);
        let own_loss = |(zone, host): (usize, &String)| {
            let zone_loss = catalogue.zones.get(zone).map_or(0.0, |zone| zone.loss);
            note(host).and_then(|note| note.loss).unwrap_or(zone_loss)
        };
        let knows = |(zone, host): (usize, &String)| {
            let beside =
                depth.iter().enumerate().filter(move |(_, other)| **other == zone).map(|(other, _)| other);
            beside.chain(note(host).into_iter().flat_map(|note| note.knows.iter().filter_map(at))).collect()
        };
        let reach = |zone: usize| {
            let reached = catalogue.zones.get(zone).map(|zone| zone.reaches.as_slice()).unwrap_or_default();
            let zones = catalogue.zones.iter().enumerate().filter(|(_, other)| reached.contains(&other.name));
            zones.fold(0, |reach, (at, _)| reach | 1_u64.checked_shl(at as u32).unwrap_or_default())
        };
        Field {
            loss: hosts().map(own_loss).collect(),
            ruin: hosts().map(|(_, host)| note(host).map_or(0.0, |note| note.ruin)).collect(),
            is_lost: hosts().map(|(_, host)| note(host).is_some_and(|note| note.is_lost)).collect(),
            reach: hosts().map(|(zone, _)| reach(zone)).collect(),
            knows: hosts().map(knows).collect(),
            tells_deflected: catalogue.actions.iter().any(|action| !action.alert.is_empty()),
            fits: catalogue.actions.iter().flat_map(|action| names.iter().map(|_| action.fits)).collect(),
            actions: &catalogue.actions,
            attacker: catalogue.attacker,
            harms_from: catalogue.harms_from,
            horizon: catalogue.horizon as usize,
            depth,
            names,
        }
    }

    pub(crate) fn hosts(&self) -> std::ops::Range<Host> {
        0..self.names.len()
    }

    /// The action of a deed; `None` only of a deed of another catalogue.
    pub(crate) fn action(&self, deed: Deed) -> Option<&'a CatalogueAction> {
        self.actions.get(deed.action)
    }

    /// Learns from the rounds that have passed on which hosts an action can be carried out: what was told of it there counts beside what
    /// the catalogue states, which is worth [`STATED`] tries.
    pub(crate) fn learn(mut self, rounds: &[Round]) -> Field<'a> {
        let mut told: BTreeMap<Deed, (f64, f64)> = BTreeMap::new();
        for round in rounds {
            if let (Some(deed), Some(carried_out)) = (self.deed(&round.action), round.carried_out) {
                let (tries, done) = told.entry(deed).or_default();
                *tries += 1.0;
                *done += if carried_out { 1.0 } else { 0.0 };
            }
        }
        for (deed, (tries, done)) in told {
            let at = self.position(deed);
            if let Some(fits) = at.and_then(|at| self.fits.get_mut(at)) {
                *fits = (*fits * STATED + done) / (STATED + tries);
            }
        }
        self
    }

    /// The chance that a deed can be carried out.
    pub(crate) fn fits(&self, deed: Deed) -> f64 {
        let stated = || self.action(deed).map_or(0.0, |action| action.fits);
        self.position(deed).and_then(|at| self.fits.get(at)).copied().unwrap_or_else(stated)
    }

    fn position(&self, deed: Deed) -> Option<usize> {
        deed.host.map(|host| deed.action * self.names.len() + host)
    }

    /// The host of a name.
    pub(crate) fn host(&self, name: &str) -> Option<Host> {
        self.names.iter().position(|own| *own == name)
    }

    /// The deed that a text tells, if it is one of the catalogue.
    pub(crate) fn deed(&self, text: &str) -> Option<Deed> {
        let told = |(action, listed): (usize, &CatalogueAction)| {
            Some(Deed { action, host: listed.told_by(text, self.names.iter().copied())? })
        };
        self.actions.iter().enumerate().find_map(told)
    }

    /// What it says.
    pub(crate) fn text(&self, deed: Deed) -> String {
        let host = deed.host.and_then(|host| self.names.get(host)).copied();
        self.action(deed).map_or_else(String::new, |action| action.on(host))
    }

    /// What a hold on a host is worth to the attacker, in rounds' losses: of ruin a share, since it takes a while to come to it.
    pub(crate) fn worth(&self, host: Host) -> f64 {
        const SHARE: f64 = 0.2;
        self.loss.get(host).copied().unwrap_or_default()
            + SHARE * self.ruin.get(host).copied().unwrap_or_default()
    }

    /// Whether the attacker is on a host from the start and cannot be put out.
    pub(crate) fn is_lost(&self, host: Host) -> bool {
        self.is_lost.get(host).copied().unwrap_or_default()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Two offices before two servers, of which the second is what an attacker comes for. The first office is lost.
    pub(crate) const NETWORK: &str = r#"
        horizon = 12
        attacker = { breaks_in = 0.9, takes_over = 0.5, noticed = 0.95, false_alarm = 0.01 }
        [[zone]]
        name = "office"
        hosts = ["pc0", "pc1", "pc2"]
        reaches = ["office", "servers"]
        loss = 0.1
        [[zone]]
        name = "servers"
        hosts = ["web", "db"]
        reaches = ["office", "servers"]
        loss = 1
        [[host]]
        name = "pc0"
        loss = 0
        is_lost = true
        [[host]]
        name = "pc1"
        knows = ["web"]
        [[host]]
        name = "db"
        ruin = 10
        [[action]]
        text = "Watch"
        explanation = "Nothing is worth its price."
        [[action]]
        text = "Search {host}"
        explanation = "It shows who controls it."
        finds = 0.95
        [[action]]
        text = "Stop processes on {host}"
        explanation = "It ends a user's hold."
        ends = "user"
        works = 0.9
        [[action]]
        text = "Restore {host}"
        explanation = "It ends any hold."
        cost = 1
        ends = "administrator"
        clears = true
        [[action]]
        text = "Set up a decoy on {host}"
        explanation = "Attempts run into it."
        deflects = 0.5
        most = 3
    "#;

    #[test]
    fn where_an_action_fits_is_learnt() {
        let catalogue =
            Catalogue::parse(&NETWORK.replace("deflects = 0.5", "deflects = 0.5\n        fits = 0.5"))
                .unwrap();
        let tried = |carried_out: Option<bool>| Round {
            action: "Set up a decoy on web".into(),
            carried_out,
            ..Round::default()
        };
        let fits = |rounds: &[Round], host: Host| {
            Field::new(&catalogue).learn(rounds).fits(Deed { action: 4, host: Some(host) })
        };
        let failed = [tried(Some(false)), tried(Some(false)), tried(None)];
        assert_eq!((fits(&failed, 3), fits(&failed, 4)), (0.25, 0.5));
        assert_eq!(fits(&[tried(Some(true)), tried(Some(true))], 3), 0.75);
    }

    #[test]
    fn names_become_numbers() {
        let catalogue = Catalogue::parse(NETWORK).unwrap();
        let field = Field::new(&catalogue);
        assert_eq!(field.names, ["pc0", "pc1", "pc2", "web", "db"]);
        assert_eq!(field.loss, [0.0, 0.1, 0.1, 1.0, 1.0]);
        assert_eq!(field.knows[1], [0, 1, 2, 3]);
        assert_eq!(field.is_lost, [true, false, false, false, false]);
        assert_eq!((field.reach[0], field.depth[3]), (0b11, 1));
        let restore = Deed { action: 3, host: Some(3) };
        assert_eq!(field.text(restore), "Restore web");
        assert_eq!(field.text(Deed { action: 9, host: None }), "");
    }

    #[test]
    fn deeds_are_found_by_their_text() {
        let catalogue = Catalogue::parse(NETWORK).unwrap();
        let field = Field::new(&catalogue);
        assert_eq!(field.deed("Restore web"), Some(Deed { action: 3, host: Some(3) }));
        assert_eq!(field.deed("Watch"), Some(Deed { action: 0, host: None }));
        assert_eq!((field.deed(""), field.deed("Restore nobody")), (None, None));
    }
}
