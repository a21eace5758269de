//! Players without a model and without a belief.

use super::records::is_attempt;
use super::world::{Sight, World};
use countermove::failure::Failure;

/// A simple rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// Does nothing.
    Watch,
    /// Restores a host at which an attempt was seen, the innermost first.
    Restore,
    /// The same, and sets up decoys on servers while nothing is seen.
    RestoreAndDecoy,
}

/// Where the attacker starts, and stays whatever is done.
const LOST: &str = "User0";
/// Hosts that decoys protect, in turn.
const SERVERS: [&str; 4] = ["Enterprise0", "Enterprise1", "Enterprise2", "Op_Server0"];
/// Beginnings of names of hosts, the innermost first.
const INNERMOST: [&str; 4] = ["Op", "Enterprise", "Defender", "User"];

impl Rule {
    pub(super) const ALL: [Rule; 3] = [Rule::Watch, Rule::Restore, Rule::RestoreAndDecoy];

    pub(super) fn name(self) -> &'static str {
        match self {
            Rule::Watch => "watch only",
            Rule::Restore => "restore what was attacked",
            Rule::RestoreAndDecoy => "the same, with decoys",
        }
    }

    pub(super) async fn play(
        self,
        world: &mut World,
        red: &str,
        seed: u64,
        rounds: u32,
    ) -> Result<f64, Failure> {
        let mut seen = Sight::default();
        let (mut total, mut turn) = (0.0, 0);
        world.reset(seed, red).await?;
        for _ in 0..rounds {
            let played = world.act(&self.action(&seen, &mut turn)).await?;
            (total, seen) = (played.total, played.seen);
        }
        Ok(total)
    }

    fn action(self, seen: &Sight, turn: &mut usize) -> String {
        let depth = |host: &str| INNERMOST.iter().position(|start| host.starts_with(start));
        let attempted =
            seen.iter().filter(|(host, seen)| *host != LOST && is_attempt(seen)).map(|(host, _)| host);
        let worst = attempted.min_by_key(|host| depth(host));
        match (self, worst) {
            (Rule::Watch, _) | (Rule::Restore, None) => "Monitor".to_owned(),
            (_, Some(host)) => format!("Restore {host}"),
            (Rule::RestoreAndDecoy, None) => {
                *turn += 1;
                format!("Decoy {}", SERVERS[*turn % SERVERS.len()])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_innermost_attempt_is_answered() {
        let attempt =
            json!({"processes": [{"connections": [{"from": "10.0.0.9:50000", "to": "10.0.0.1:21"}]}]});
        let seen: Sight =
            serde_json::from_value(json!({"User0": attempt, "User2": attempt, "Enterprise1": attempt}))
                .unwrap();
        let mut turn = 0;
        assert_eq!(Rule::Watch.action(&seen, &mut turn), "Monitor");
        assert_eq!(Rule::Restore.action(&seen, &mut turn), "Restore Enterprise1");
        assert_eq!(Rule::Restore.action(&Sight::default(), &mut turn), "Monitor");
        assert_eq!(Rule::RestoreAndDecoy.action(&Sight::default(), &mut turn), "Decoy Enterprise1");
        assert_eq!(Rule::RestoreAndDecoy.action(&Sight::default(), &mut turn), "Decoy Enterprise2");
    }
}
