//! Kinds of organisations and what stands in their networks.

use super::kits::{
    API, APP, BACKUP, CACHE, CI, DB, DC, DESK, DNS, EXCHANGE, FILES, HMI, JUMP, Kit, LOGS, MAIL, MONITOR,
    PLC, VOICE, VPN, WEB, WINDOWS_DB, WINDOWS_FILES, WINDOWS_WEB,
};

/// A kind of topology.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Name, by which sets are split.
    pub(crate) name: &'static str,
    /// What it is the network of.
    pub(crate) owners: &'static [&'static str],
    /// Zones, the one that the Internet reaches first.
    pub(crate) zones: &'static [&'static str],
    /// Hosts.
    pub(crate) stands: &'static [Stand],
}

/// Hosts of one kind in a zone.
#[derive(Debug)]
pub(crate) struct Stand {
    pub(crate) kit: &'static Kit,
    pub(crate) zone: usize,
    /// Fewest and most.
    pub(crate) count: (usize, usize),
    /// Whether the gateway forwards its services from the Internet.
    pub(crate) public: bool,
}

const fn stand(kit: &'static Kit, zone: usize, fewest: usize, most: usize) -> Stand {
    Stand { kit, zone, count: (fewest, most), public: false }
}

const fn public(kit: &'static Kit, zone: usize, fewest: usize, most: usize) -> Stand {
    Stand { kit, zone, count: (fewest, most), public: true }
}

/// The kinds of topologies.
pub(crate) const PLANS: &[Plan] = &[
    Plan {
        name: "shop",
        owners: &["an online bookshop", "a shop for spare parts", "a ticket agency"],
        zones: &["DMZ", "server network", "office network"],
        stands: &[
            public(&WEB, 0, 1, 2),
            public(&MAIL, 0, 0, 1),
            public(&JUMP, 0, 0, 1),
            stand(&DB, 1, 1, 2),
            stand(&FILES, 1, 1, 1),
            stand(&CI, 1, 0, 1),
            stand(&BACKUP, 1, 0, 1),
            stand(&LOGS, 1, 0, 1),
            stand(&DESK, 2, 1, 2),
        ],
    },
    Plan {
        name: "software service",
        owners: &["a company that sells accounting as a service", "a company that runs a booking platform"],
        zones: &["edge zone", "application zone", "data zone"],
        stands: &[
            public(&WEB, 0, 1, 2),
            public(&API, 0, 1, 1),
            stand(&API, 1, 1, 2),
            stand(&CACHE, 1, 1, 1),
            stand(&CI, 1, 1, 1),
            stand(&DB, 2, 1, 2),
            stand(&FILES, 2, 0, 1),
            stand(&LOGS, 2, 1, 1),
        ],
    },
    Plan {
        name: "office",
        owners: &["a law firm", "a tax adviser's office", "an architect's studio"],
        zones: &["office network"],
        stands: &[
            public(&EXCHANGE, 0, 1, 1),
            stand(&DC, 0, 1, 1),
            stand(&WINDOWS_FILES, 0, 1, 2),
            stand(&DESK, 0, 2, 4),
            stand(&BACKUP, 0, 0, 1),
        ],
    },
    Plan {
        name: "factory",
        owners: &["a bottling plant", "a paper mill", "a maker of gearboxes"],
        zones: &["perimeter", "office network", "control network"],
        stands: &[
            public(&WINDOWS_WEB, 0, 1, 1),
            public(&VPN, 0, 1, 1),
            stand(&DC, 1, 1, 1),
            stand(&APP, 1, 1, 1),
            stand(&WINDOWS_FILES, 1, 0, 1),
            stand(&DESK, 1, 1, 3),
            stand(&HMI, 2, 1, 2),
            stand(&PLC, 2, 1, 2),
        ],
    },
    Plan {
        name: "hospital",
        owners: &["a district hospital", "a clinic for eye surgery"],
        zones: &["public zone", "clinical network", "administration network"],
        stands: &[
            public(&WINDOWS_WEB, 0, 1, 1),
            public(&MAIL, 0, 0, 1),
            stand(&APP, 1, 1, 2),
            stand(&WINDOWS_DB, 1, 1, 1),
            stand(&DESK, 1, 1, 2),
            stand(&DC, 2, 1, 1),
            stand(&WINDOWS_FILES, 2, 1, 1),
            stand(&LOGS, 2, 0, 1),
        ],
    },
    Plan {
        name: "campus",
        owners: &["a university's institute of geology", "a school of music"],
        zones: &["open network", "staff network", "laboratory network"],
        stands: &[
            public(&WEB, 0, 1, 3),
            public(&JUMP, 0, 1, 1),
            public(&FILES, 0, 0, 1),
            stand(&FILES, 1, 1, 1),
            stand(&DNS, 1, 1, 1),
            stand(&DESK, 1, 1, 2),
            stand(&DB, 2, 1, 1),
            stand(&MONITOR, 2, 0, 1),
        ],
    },
    Plan {
        name: "cloud",
        owners: &["a start-up that tracks parcels", "a start-up that rents bicycles"],
        zones: &["public subnet", "private subnet"],
        stands: &[
            public(&API, 0, 1, 2),
            public(&WEB, 0, 0, 1),
            public(&VPN, 0, 0, 1),
            stand(&DB, 1, 1, 2),
            stand(&CACHE, 1, 1, 1),
            stand(&CI, 1, 1, 1),
            stand(&MONITOR, 1, 0, 1),
        ],
    },
    Plan {
        name: "branches",
        owners: &["a chain of pharmacies", "a chain of garden centres"],
        zones: &["headquarters", "branch north", "branch south"],
        stands: &[
            public(&VPN, 0, 1, 1),
            public(&WINDOWS_WEB, 0, 1, 1),
            stand(&DC, 0, 1, 1),
            stand(&WINDOWS_DB, 0, 1, 1),
            stand(&WINDOWS_FILES, 1, 1, 1),
            stand(&DESK, 1, 1, 2),
            stand(&DESK, 2, 1, 2),
            stand(&BACKUP, 0, 0, 1),
        ],
    },
    Plan {
        name: "publisher",
        owners: &["a regional newspaper", "a radio station"],
        zones: &["web zone", "newsroom"],
        stands: &[
            public(&WEB, 0, 2, 3),
            public(&FILES, 0, 0, 1),
            stand(&VOICE, 1, 0, 1),
            stand(&DB, 1, 1, 1),
            stand(&FILES, 1, 1, 1),
            stand(&DESK, 1, 1, 3),
            stand(&LOGS, 1, 0, 1),
        ],
    },
    Plan {
        name: "public authority",
        owners: &["a town hall", "a land registry"],
        zones: &["service zone", "internal zone", "records zone"],
        stands: &[
            public(&WINDOWS_WEB, 0, 1, 2),
            public(&EXCHANGE, 0, 1, 1),
            stand(&DC, 1, 1, 1),
            stand(&APP, 1, 0, 1),
            stand(&DESK, 1, 1, 3),
            stand(&WINDOWS_DB, 2, 1, 1),
            stand(&BACKUP, 2, 1, 1),
            stand(&LOGS, 1, 1, 1),
        ],
    },
    Plan {
        name: "call centre",
        owners: &["a call centre", "a taxi dispatcher"],
        zones: &["voice network", "agent network"],
        stands: &[
            public(&VOICE, 0, 1, 2),
            public(&WEB, 0, 1, 1),
            stand(&DB, 0, 1, 1),
            stand(&DESK, 1, 2, 4),
            stand(&FILES, 1, 0, 1),
            stand(&DNS, 1, 0, 1),
        ],
    },
    Plan {
        name: "test bed",
        owners: &["a security course", "a research group that studies intrusions"],
        zones: &["client network", "server network"],
        stands: &[
            public(&DESK, 0, 1, 1),
            stand(&WEB, 1, 2, 3),
            stand(&FILES, 1, 1, 2),
            stand(&JUMP, 1, 1, 1),
            stand(&MAIL, 1, 0, 1),
        ],
    },
];
