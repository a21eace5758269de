//! The network of a catalogue with numbers in the place of names, so that many thousand rounds can be played in a decision.

use countermove_incident::{AttackerRates, Catalogue, CatalogueAction};

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
    /// Of each zone those that it reaches, by position.
    pub(crate) reaches: Vec<Vec<bool>>,
    /// Of each host those that one learns of on it.
    pub(crate) knows: Vec<Vec<Host>>,
    /// What can be done.
    pub(crate) actions: &'a [CatalogueAction],
    pub(crate) attacker: AttackerRates,
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
        Field {
            loss: hosts().map(own_loss).collect(),
            ruin: hosts().map(|(_, host)| note(host).map_or(0.0, |note| note.ruin)).collect(),
            is_lost: hosts().map(|(_, host)| note(host).is_some_and(|note| note.is_lost)).collect(),
            reaches: catalogue
                .zones
                .iter()
                .map(|zone| catalogue.zones.iter().map(|other| zone.reaches.contains(&other.name)).collect())
                .collect(),
            knows: hosts().map(knows).collect(),
            actions: &catalogue.actions,
            attacker: catalogue.attacker,
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

    /// Whether a host of one zone reaches one of another.
    pub(crate) fn leads(&self, from: Host, to: Host) -> bool {
        let zone = |host: Host| self.depth.get(host).copied().unwrap_or_default();
        self.reaches.get(zone(from)).and_then(|reached| reached.get(zone(to))).copied().unwrap_or_default()
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
    fn names_become_numbers() {
        let catalogue = Catalogue::parse(NETWORK).unwrap();
        let field = Field::new(&catalogue);
        assert_eq!(field.names, ["pc0", "pc1", "pc2", "web", "db"]);
        assert_eq!(field.loss, [0.0, 0.1, 0.1, 1.0, 1.0]);
        assert_eq!(field.knows[1], [0, 1, 2, 3]);
        assert_eq!(field.is_lost, [true, false, false, false, false]);
        assert!(field.leads(0, 3) && field.leads(4, 0));
        let restore = Deed { action: 3, host: Some(3) };
        assert_eq!(field.text(restore), "Restore web");
        assert_eq!(field.text(Deed { action: 9, host: None }), "");
    }
}
