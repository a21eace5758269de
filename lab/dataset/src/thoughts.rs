//! The reasoning of an example, which follows from the truth and from what its prompt shows.

use countermove_incident::{AlertKind, RecoveryState, Tactic};

/// Why a group shows what it shows. `turn` is the moving part of its prompt.
pub(crate) fn incident(turn: &str, shown: Option<Tactic>) -> String {
    let is_outside = |way: &str| turn.lines().any(|line| line == format!("{way}: outside address"));
    let surroundings = match (is_outside("From"), is_outside("To")) {
        (true, _) => "It comes from an address outside.",
        (false, true) => "It goes to an address outside.",
        (false, false) => "No address outside is involved.",
    };
    match shown {
        Some(tactic) => {
            format!("{surroundings} The record fits an attack, and what it tells of is {}.", sense(tactic))
        }
        None => format!(
            "{surroundings} The record tells of nothing that led anywhere, so it is everyday traffic."
        ),
    }
}

/// Why an action is the next one.
pub(crate) fn action(before: RecoveryState, after: RecoveryState) -> String {
    let gained = before.gained(after).into_iter().filter_map(|at| RecoveryState::LABELS.get(at).copied());
    let gained: Vec<&str> = gained.collect();
    let achieved = before.achieved_labels();
    let so_far = if achieved.is_empty() { "nothing".to_owned() } else { achieved.join(", ") };
    format!(
        "So far there is {so_far}. The action reaches all that it has to, so it brings about: {}.",
        gained.join(", ")
    )
}

/// Why an action brings about what it does. `turn` is the moving part of its prompt.
pub(crate) fn state(turn: &str, gained: &[&'static str]) -> String {
    let notes: Vec<&str> = turn
        .lines()
        .filter(|line| {
            line.starts_with("It names ") || line.ends_with(" left.") || line.ends_with("nothing.")
        })
        .collect();
    let notes = notes.join(" ");
    match gained {
        [] => format!("{notes} So the action brings nothing about."),
        gained => format!("{notes} So the action brings about: {}.", gained.join(", ")),
    }
}

/// Why these alerts come next.
pub(crate) fn alerts(tactic: Tactic, expected: &[AlertKind]) -> String {
    let classes: Vec<String> = expected.iter().map(AlertKind::to_string).collect();
    format!("The attacker wants {}, which raises: {}.", sense(tactic), classes.join("; "))
}

/// What a tactic is for.
fn sense(tactic: Tactic) -> &'static str {
    match tactic {
        Tactic::Reconnaissance => "looking around from outside (Reconnaissance)",
        Tactic::ResourceDevelopment => "getting hold of tools (Resource Development)",
        Tactic::InitialAccess => "getting in (Initial Access)",
        Tactic::Execution => "running code (Execution)",
        Tactic::Persistence => "staying in (Persistence)",
        Tactic::PrivilegeEscalation => "gaining permissions (Privilege Escalation)",
        Tactic::Stealth => "hiding (Stealth)",
        Tactic::CredentialAccess => "getting at passwords (Credential Access)",
        Tactic::Discovery => "looking around from inside (Discovery)",
        Tactic::LateralMovement => "moving to another host (Lateral Movement)",
        Tactic::Collection => "gathering data (Collection)",
        Tactic::CommandAndControl => "talking to a host that has fallen (Command and Control)",
        Tactic::Exfiltration => "taking data out (Exfiltration)",
        Tactic::Impact => "doing damage (Impact)",
        Tactic::DefenseImpairment => "turning off what protects (Defense Impairment)",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_record_comes_from_is_told_as_its_question_tells_it() {
        let told = |turn: &str| incident(turn, None);
        assert!(told("x\nFrom: outside address\nTo: own host").starts_with("It comes from"));
        assert!(told("x\nFrom: own host\nTo: outside address").starts_with("It goes to"));
        assert!(told("From: outside address is what it says\nTo: own host").starts_with("No address"));
    }
}
