//! Finds the entities that a text names.

/// What an entity is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EntityKind {
    /// An IPv4 or IPv6 address.
    Address,
    /// A network in CIDR notation.
    Network,
    /// A host name without a domain, such as `server_ssh` or `Server 3`.
    Host,
    /// A domain name, or a host's full name.
    Domain,
    /// An account.
    Account,
    /// A CVE identifier.
    Vulnerability,
}

/// Something that a text names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Entity {
    /// What it is.
    pub kind: EntityKind,
    /// Its name: addresses and networks in their usual form, everything else as the text writes it.
    pub value: String,
}

/// The entities that a text names, each once, in the order in which they occur.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entities(Vec<Entity>);

impl Entities {
    /// Finds them.
    pub fn find(text: &str) -> Entities {
        let _ = text;
        Entities(Vec::new())
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Entity> {
        self.0.iter()
    }

    /// Names of those of one kind.
    pub fn of(&self, kind: EntityKind) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |entity| entity.kind == kind).map(|entity| entity.value.as_str())
    }
}
