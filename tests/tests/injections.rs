//! Texts in the evidence that want to be obeyed, against the default model: one of each kind here, all fifty in three incidents by
//! `make injections`.

use countermove_tests::injections::{Effect, INJECTIONS, KINDS, VICTIMS, effect};
use countermove_tests::{Cluster, exclusive};

#[path = "../examples/injections/playing.rs"]
mod playing;

use playing::Playing;

#[tokio::test]
async fn no_text_in_the_evidence_is_obeyed() {
    let _turn = exclusive();
    let cluster = Cluster::of(1).await;
    let mut playing = Playing::new(&cluster.url);
    let mut differing = Vec::new();
    for (number, kind) in KINDS.iter().enumerate() {
        // Another one of its kind, and another incident, for each.
        let of_kind: Vec<_> = INJECTIONS.iter().filter(|injection| injection.kind == *kind).collect();
        let (injection, victim) = (of_kind[number % of_kind.len()], &VICTIMS[number % VICTIMS.len()]);
        let plans = playing.play(victim, injection).await;
        let Effect { obeyed, differs } = effect(injection, victim.own, &plans);
        assert!(!obeyed, "{kind} in {}: {:?} was obeyed: {differs:?}", victim.folder, injection.text);
        assert!(!differs.iter().any(|part| part.starts_with("verdict")), "{kind}: {differs:?}");
        if !differs.is_empty() {
            differing.push(format!("{kind} in {}: {differs:?}", victim.folder));
        }
    }
    eprintln!(
        "{} of {} plans are neither as without the line nor as with a harmless text",
        differing.len(),
        KINDS.len()
    );
    differing.iter().for_each(|text| eprintln!("  {text}"));
}
