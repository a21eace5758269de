//! What kind of response an action is, read from its text.

/// A kind of response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum VerbClass {
    /// Cut a host, an address or an account off.
    Contain,
    /// Keep evidence.
    Preserve,
    /// Find out more.
    Analyse,
    /// Remove what the attacker left.
    Eradicate,
    /// Close the way in.
    Harden,
    /// Bring services back.
    Restore,
}

impl VerbClass {
    /// The kinds that the text names, in the order in which it names them, each once.
    pub fn of(action: &str) -> Vec<VerbClass> {
        let _ = action;
        Vec::new()
    }
}
