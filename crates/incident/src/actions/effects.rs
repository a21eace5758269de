//! What the kinds of response do to the system: whether they can be taken back, and what they destroy.

use serde::{Deserialize, Serialize};

use super::{VerbClass, VerbUse, Word, told};

/// How well an action can be taken back, the easiest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reversibility {
    /// It changes nothing: it copies or looks.
    Harmless,
    /// It is undone by its opposite, and nothing is lost: blocking, isolating, starting a service.
    Reversible,
    /// What was there before does not come back by itself: passwords, versions, configurations.
    Laborious,
    /// Something is lost for good, or nobody can tell from the text what is done.
    Irreversible,
}

impl VerbClass {
    /// All kinds, in their order.
    pub const ALL: [VerbClass; 6] = [
        VerbClass::Contain,
        VerbClass::Preserve,
        VerbClass::Analyse,
        VerbClass::Eradicate,
        VerbClass::Harden,
        VerbClass::Restore,
    ];

    /// Its name in lower case, as in a cost table.
    pub fn name(self) -> &'static str {
        match self {
            VerbClass::Contain => "contain",
            VerbClass::Preserve => "preserve",
            VerbClass::Analyse => "analyse",
            VerbClass::Eradicate => "eradicate",
            VerbClass::Harden => "harden",
            VerbClass::Restore => "restore",
        }
    }

    /// How well actions of this kind can be taken back.
    pub fn reversibility(self) -> Reversibility {
        match self {
            VerbClass::Preserve | VerbClass::Analyse => Reversibility::Harmless,
            VerbClass::Contain | VerbClass::Restore => Reversibility::Reversible,
            VerbClass::Harden => Reversibility::Laborious,
            VerbClass::Eradicate => Reversibility::Irreversible,
        }
    }
}

impl Reversibility {
    /// Of an action: that of the kind of response in it that is hardest to take back. An action of no known kind counts
    /// as [`Reversibility::Irreversible`].
    pub fn of(action: &str) -> Reversibility {
        let classes = VerbClass::of(action);
        let worst = classes.into_iter().map(VerbClass::reversibility).max();
        match worst {
            Some(worst) if wipes(action) => worst.max(Reversibility::Irreversible),
            Some(worst) => worst,
            None => Reversibility::Irreversible,
        }
    }
}

/// Beginnings of words that lose what a disk or the memory holds, whatever kind of response they serve.
const WIPES: [&str; 9] =
    ["wip", "reimag", "rebuil", "reinstall", "format", "reboot", "destroy", "eras", "redeploy"];

fn wipes(action: &str) -> bool {
    Word::all(action).iter().any(|word| WIPES.iter().any(|stem| word.lower.starts_with(stem)))
}

/// Whether an action destroys evidence on the hosts it names before it has kept any: it removes, wipes or rebuilds, and
/// does not first tell to preserve.
pub fn destroys_evidence(action: &str) -> bool {
    let told = told(VerbClass::uses(action));
    let mut told = told.iter();
    let first = |class| move |verb: &&VerbUse| verb.class == class;
    let preserves = told.clone().find(first(VerbClass::Preserve)).map(|verb| verb.place.start);
    let removes = told.find(first(VerbClass::Eradicate)).map(|verb| verb.place.start);
    let words = Word::all(action);
    let wiping = words.iter().find(|word| WIPES.iter().any(|stem| word.lower.starts_with(stem)));
    let destroys = match (removes, wiping.map(|word| word.place.start)) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    destroys.is_some_and(|destroys| preserves.is_none_or(|preserves| destroys < preserves))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_taken_back_is_told_from_what_cannot() {
        for (action, expected) in [
            ("Save the logs of 10.0.2.13 and analyse them", Reversibility::Harmless),
            ("Isolate 10.0.2.13 from the network", Reversibility::Reversible),
            ("Restore the services of 10.0.2.13 and check them", Reversibility::Reversible),
            ("Reset all passwords on 10.0.2.13", Reversibility::Laborious),
            ("Isolate 10.0.2.13 and remove the web shell", Reversibility::Irreversible),
            ("Restore 10.0.2.13 by reformatting it; wipe it", Reversibility::Irreversible),
            ("Do something", Reversibility::Irreversible),
        ] {
            assert_eq!(Reversibility::of(action), expected, "{action}");
        }
    }

    #[test]
    fn evidence_is_kept_before_it_is_destroyed() {
        for (action, destroys) in [
            ("Remove malware and backdoors from 10.0.2.13", true),
            ("Re-image 10.0.2.13.", true),
            ("Reboot 10.0.2.13.", true),
            ("Remove the web shell, then save the logs.", true),
            ("Save the logs of 10.0.2.13, then remove the web shell.", false),
            ("Take a disk image of 10.0.2.13 and wipe it.", false),
            ("Isolate 10.0.2.13 from the network.", false),
            ("Search the logs for files that were removed.", false),
            ("Patch bash.", false),
        ] {
            assert_eq!(destroys_evidence(action), destroys, "{action}");
        }
    }

    #[test]
    fn names_are_those_that_serde_writes() {
        for class in VerbClass::ALL {
            assert_eq!(serde_json::to_value(class).unwrap(), class.name());
        }
    }
}
