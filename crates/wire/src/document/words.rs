//! The enumerations of a document. Each is a word; one that a later version adds reads as `Unspecified`.

use std::fmt;

use countermove_proto::v1;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Declares an enumeration by the message's that it is made from, its words, and the word for what is none of them.
macro_rules! words {
    (
        $(#[$doc:meta])* $name:ident of $message:path {
            $($(#[$about:meta])* $variant:ident = $word:literal,)+
        } $(#[$other:meta])* else $odd:literal
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum $name {
            $($(#[$about])* #[serde(rename = $word)] $variant,)+
            /// None of these.
            #[default]
            #[serde(rename = $odd, other)]
            $(#[$other])*
            Unspecified,
        }

        impl $name {
            /// All values with their words.
            pub const ALL: &[(Self, &str)] = &[$((Self::$variant, $word),)+ (Self::Unspecified, $odd)];

            /// The word that the document has for it.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                    Self::Unspecified => $odd,
                }
            }
        }

        impl From<$message> for $name {
            fn from(message: $message) -> Self {
                match message {
                    $(<$message>::$variant => Self::$variant,)+
                    <$message>::Unspecified => Self::Unspecified,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.word())
            }
        }
    };
}

words! {
    /// What an incident waits for.
    Status of v1::IncidentStatus {
        /// Planning is under way.
        Planning = "planning",
        /// The chosen action of a step waits for an approval.
        AwaitingApproval = "awaiting_approval",
        /// An approved action waits for its outcome.
        AwaitingOutcome = "awaiting_outcome",
        /// Planning has ended.
        Ended = "ended",
    } #[schemars(skip)] else "unspecified"
}

words! {
    /// How urgent an incident is, beside others that want the same workers.
    Priority of v1::Priority {
        /// Goes far ahead of the others.
        Urgent = "urgent",
        /// Everyday work.
        Normal = "normal",
        /// Takes what the others leave.
        Background = "background",
    } #[schemars(skip)] else "unspecified"
}

words! {
    /// Who decides after an action is chosen.
    Mode of v1::PlanMode {
        /// Nobody: the predicted state becomes the next one.
        Offline = "offline",
        /// Each action waits for an approval, and the next step for the outcome.
        Interactive = "interactive",
    } #[schemars(skip)] else "unspecified"
}

words! {
    /// What may be approved without a person.
    Autonomy of v1::Autonomy {
        /// Nothing.
        Advise = "advise",
        /// Actions that change nothing or that can be taken back.
        ApproveReversible = "approve_reversible",
    } #[schemars(skip)] else "unspecified"
}

words! {
    /// What an action costs.
    CostKind of v1::CostKind {
        /// One.
        Unit = "unit",
        /// One, or two for an action after which no fact holds that did not hold before.
        Superfluous = "superfluous",
        /// Minutes of work and of weighted outage.
        Minutes = "minutes",
    } #[schemars(skip)] else "unspecified"
}

words! {
    /// A kind of response.
    VerbClass of v1::VerbClass {
        /// Cut a host, an address or an account off.
        Contain = "contain",
        /// Keep evidence.
        Preserve = "preserve",
        /// Find out more.
        Analyse = "analyse",
        /// Remove what the attacker left.
        Eradicate = "eradicate",
        /// Close the way in.
        Harden = "harden",
        /// Bring services back.
        Restore = "restore",
    } else "unspecified"
}

words! {
    /// How well an action can be taken back.
    Reversibility of v1::Reversibility {
        /// It changes nothing.
        Harmless = "harmless",
        /// It can be taken back.
        Reversible = "reversible",
        /// It can be taken back with much work.
        Laborious = "laborious",
        /// It cannot be taken back.
        Irreversible = "irreversible",
    } else "unspecified"
}

words! {
    /// Where a state comes from.
    StateSource of v1::StateSource {
        /// The model predicted it; nobody has looked.
        Predicted = "predicted",
        /// The operator reported it.
        Reported = "reported",
    } #[schemars(skip)] else "unspecified"
}

words! {
    /// Why planning ended.
    End of v1::PlanEnd {
        /// Recovery is complete.
        Recovered = "recovered",
        /// The plan is as long as it may be.
        StepLimit = "step_limit",
        /// The evidence shows no incident.
        NoIncident = "no_incident",
        /// Nothing in the evidence is in a known form, so that nothing was judged.
        NotUnderstood = "not_understood",
        /// No usable action was proposed.
        NoCandidate = "no_candidate",
        /// Everybody who was suspected was found clean.
        Cleared = "cleared",
        /// The time was over.
        Deadline = "deadline",
        /// Somebody cancelled it.
        Cancelled = "cancelled",
        /// A fault ended it.
        Failed = "failed",
    } #[schemars(skip)] else "unspecified"
}

words! {
    /// How a rollout ended.
    RolloutEnd of v1::RolloutEnd {
        /// It reached recovery.
        Terminal = "terminal",
        /// It hit the depth limit.
        Truncated = "truncated",
        /// It broke off on an answer that could not be used.
        Malformed = "malformed",
        /// It was cancelled.
        Cancelled = "cancelled",
    } #[schemars(skip)] else "unspecified"
}

words! {
    /// A tactic of MITRE ATT&CK v18.1 by its name.
    Tactic of v1::Tactic {
        /// Gather what is needed to plan.
        Reconnaissance = "Reconnaissance",
        /// Get hold of infrastructure, accounts and tools.
        ResourceDevelopment = "Resource Development",
        /// Get in.
        InitialAccess = "Initial Access",
        /// Run code.
        Execution = "Execution",
        /// Stay.
        Persistence = "Persistence",
        /// Gain permissions.
        PrivilegeEscalation = "Privilege Escalation",
        /// Avoid being seen.
        Stealth = "Stealth",
        /// Steal names and passwords.
        CredentialAccess = "Credential Access",
        /// Learn about the system from inside.
        Discovery = "Discovery",
        /// Move to other hosts.
        LateralMovement = "Lateral Movement",
        /// Gather data.
        Collection = "Collection",
        /// Talk to compromised hosts.
        CommandAndControl = "Command and Control",
        /// Take data out.
        Exfiltration = "Exfiltration",
        /// Destroy, encrypt or interrupt.
        Impact = "Impact",
        /// Turn off or weaken what protects and records.
        DefenseImpairment = "Defense Impairment",
    } #[schemars(skip)] else "unknown"
}

impl End {
    /// The end of a plan; `None` while planning goes on.
    pub fn of(message: v1::PlanEnd) -> Option<Self> {
        (message != v1::PlanEnd::Unspecified).then(|| message.into())
    }
}

words! {
    /// How far the delivery of an approved action to the webhook is.
    DeliveryStatus of v1::DeliveryStatus {
        /// It is tried until it is taken or was tried often enough.
        Pending = "pending",
        /// The receiver took it.
        Taken = "taken",
        /// The receiver did not take it, and nobody tries again unless told so.
        Failed = "failed",
    } #[schemars(skip)] else "unspecified"
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Each value is written as its word and read from it, and no two share one.
    macro_rules! check {
        ($($name:ident),+) => {
            $(
                let words: BTreeSet<_> = $name::ALL.iter().map(|(_, word)| word).collect();
                assert_eq!(words.len(), $name::ALL.len());
                for &(value, word) in $name::ALL {
                    assert_eq!(serde_json::to_value(value).unwrap(), word);
                    assert_eq!(serde_json::from_value::<$name>(word.into()).unwrap(), value);
                    assert_eq!(value.to_string(), word);
                }
                let later = serde_json::from_value::<$name>("a word of the future".into()).unwrap();
                assert_eq!(later, $name::Unspecified);
            )+
        };
    }

    #[test]
    fn every_value_has_a_word_of_its_own() {
        check!(
            Status,
            DeliveryStatus,
            Priority,
            Mode,
            Autonomy,
            CostKind,
            VerbClass,
            Reversibility,
            StateSource,
            End,
            RolloutEnd,
            Tactic
        );
    }

    #[test]
    fn words_are_those_of_the_messages() {
        let plain = |name: &str, prefix: &str| name.trim_start_matches(prefix).to_ascii_lowercase();
        for number in 1..=9 {
            let end = v1::PlanEnd::try_from(number).unwrap();
            assert_eq!(End::from(end).word(), plain(end.as_str_name(), "PLAN_END_"));
        }
        for tactic in countermove_incident::Tactic::ALL {
            let message = <v1::Tactic as crate::FromDomain<_>>::from_domain(tactic);
            assert_eq!(Tactic::from(message).word(), tactic.name());
        }
    }
}
