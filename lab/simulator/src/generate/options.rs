//! What to make, checked before anything is made.

use countermove_incident::AlertFormat;

use crate::topology::topology_families;

/// What to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratorOptions {
    /// Of 100 scenarios, how many are no incidents.
    pub benign: usize,
    /// Of 100 scenarios, in how many an instruction stands in the evidence.
    pub injected: usize,
    /// Of 100 incidents, in how many the log shows nothing at all.
    pub silent: usize,
    /// Of 100 incidents, in how many alerts of a step are lost.
    pub lossy: usize,
    /// Of 100 incidents, in how many the attacker changes the line of attack while it is played.
    pub switching: usize,
    /// Form of the alerts; any if none is named.
    pub format: Option<AlertFormat>,
    /// Kinds of topologies; all if none is named. See [`topology_families`].
    pub topologies: Vec<String>,
}

impl Default for GeneratorOptions {
    fn default() -> Self {
        GeneratorOptions {
            benign: 25,
            injected: 12,
            silent: 4,
            lossy: 15,
            switching: 25,
            format: None,
            topologies: Vec::new(),
        }
    }
}

/// Why scenarios cannot be made.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum GeneratorError {
    /// A share is no percentage.
    #[error("{field} is {value}, not a percentage from 0 to 100")]
    Percentage {
        /// Name of the option.
        field: &'static str,
        /// Its value.
        value: usize,
    },
    /// There is no such kind of topology.
    #[error("{name:?} is no kind of topology; there are {}", topology_families().join(", "))]
    Topology {
        /// The name.
        name: String,
    },
    /// There is nothing to make incidents of.
    #[error("the vocabulary has {rules} rules and {flows} attack flows; at least one of each is needed")]
    Vocabulary {
        /// Number of rules.
        rules: usize,
        /// Number of flows.
        flows: usize,
    },
}

impl GeneratorOptions {
    /// Whether the options can be kept.
    pub(super) fn check(&self) -> Result<(), GeneratorError> {
        let shares = [
            ("benign", self.benign),
            ("injected", self.injected),
            ("silent", self.silent),
            ("lossy", self.lossy),
            ("switching", self.switching),
        ];
        if let Some((field, value)) = shares.into_iter().find(|(_, value)| *value > 100) {
            return Err(GeneratorError::Percentage { field, value });
        }
        let known = topology_families();
        if let Some(name) = self.topologies.iter().find(|name| !known.contains(&name.as_str())) {
            return Err(GeneratorError::Topology { name: name.clone() });
        }
        Ok(())
    }
}
