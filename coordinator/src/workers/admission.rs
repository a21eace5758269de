//! Which workers may plan together: those that speak this protocol, hold the same model and the same templates, and compute alike.
//! Anything else would make a rollout's result depend on where it ran.

use countermove_proto::v1::ModelIdentity;
use countermove_proto::worker::v1::GetModelResponse;
use countermove_proto::{PROTOCOL_VERSION, WorkerId};
use countermove_wire::bounds::SEQUENCES;

use super::load::Places;

/// What every worker of this coordinator has to hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Requirements {
    /// Digests of the templates that workers may have, of which they all have the same; whatever they have if there is none, as where
    /// nothing is asked.
    pub templates_sha256: Vec<String>,
    /// Digest of the weights that the operator asked for, if any.
    pub weights_sha256: Option<String>,
    /// Model of the first worker that was taken in.
    pub model: Option<ModelIdentity>,
}

/// What a worker says of itself, after it was checked.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Profile {
    pub id: WorkerId,
    pub protocol_version: u32,
    pub model: ModelIdentity,
    pub capacity: u32,
    /// Sequences with which it is nearly as fast as with a full batch.
    pub efficient: u32,
    /// Sequences that it takes on of each kind, decoding and waiting together.
    pub places: Places,
}

impl Requirements {
    /// Reads a worker's answer and checks it.
    ///
    /// # Errors
    /// One sentence that says why work must not go to this worker.
    pub(super) fn check(&self, answer: &GetModelResponse) -> Result<Profile, String> {
        if answer.protocol_version != PROTOCOL_VERSION {
            return Err(format!(
                "it speaks version {} of the worker protocol and this coordinator speaks version {PROTOCOL_VERSION}; \
                 run the same release on both",
                answer.protocol_version
            ));
        }
        let id = WorkerId::new(&answer.worker_id).map_err(|error| error.to_string())?;
        let Some(model) = &answer.model else {
            return Err("it does not say which model it holds".to_owned());
        };
        if model.weights_sha256.is_empty() || model.tokenizer_sha256.is_empty() {
            return Err("it does not give the digests of its model".to_owned());
        }
        if model.arithmetic.is_empty() {
            return Err("it does not say with which arithmetic it computes".to_owned());
        }
        if !self.templates_sha256.is_empty() && !self.templates_sha256.contains(&model.templates_sha256) {
            let own: Vec<String> = self.templates_sha256.iter().map(|digest| short(digest)).collect();
            return Err(format!(
                "its prompt templates have the digest {} and this coordinator's have {}; start both with the same \
                 --templates (a model of a billion weights or more takes `large` by itself)",
                short(&model.templates_sha256),
                own.join(" or ")
            ));
        }
        if let Some(wanted) = self.weights_sha256.as_ref().filter(|wanted| **wanted != model.weights_sha256) {
            return Err(format!(
                "it holds the model {} with weights {} and --model-sha256 asks for {}",
                model.name,
                short(&model.weights_sha256),
                short(wanted)
            ));
        }
        figures(answer)?;
        if let Some(difference) = self.model.as_ref().and_then(|cluster| difference(cluster, model)) {
            return Err(difference);
        }
        Ok(Profile {
            id,
            protocol_version: answer.protocol_version,
            model: model.clone(),
            capacity: answer.capacity.max(1),
            efficient: efficient(answer),
            places: Places {
                rollouts: stated(answer.rollout_places),
                decisions: stated(answer.decision_places),
            },
        })
    }
}

/// Sequences with which a worker is nearly as fast as with a full batch: as many as it says, or all.
pub(super) fn efficient(answer: &GetModelResponse) -> u32 {
    let capacity = answer.capacity.max(1);
    if answer.efficient_sequences == 0 { capacity } else { answer.efficient_sequences.min(capacity) }
}

/// Checks what a worker says of its size; zero means that it does not say.
fn figures(answer: &GetModelResponse) -> Result<(), String> {
    let figures = [
        ("capacity", answer.capacity),
        ("efficient_sequences", answer.efficient_sequences),
        ("rollout_places", answer.rollout_places),
        ("decision_places", answer.decision_places),
    ];
    let most = *SEQUENCES.end();
    match figures.into_iter().find(|(_, figure)| *figure > most) {
        Some((name, figure)) => {
            Err(format!("it says that its {name} is {figure}, and at most {most} sequences are believed"))
        }
        None => Ok(()),
    }
}

/// A bound that a worker states; zero means that it states none.
fn stated(places: u32) -> u32 {
    if places == 0 { u32::MAX } else { places }
}

/// Says in one sentence how a worker's model differs from the cluster's. The name is for people and may differ.
fn difference(cluster: &ModelIdentity, worker: &ModelIdentity) -> Option<String> {
    let part = [
        ("weights", &cluster.weights_sha256, &worker.weights_sha256),
        ("adapter", &cluster.adapter_sha256, &worker.adapter_sha256),
        ("tokenizer", &cluster.tokenizer_sha256, &worker.tokenizer_sha256),
        ("templates", &cluster.templates_sha256, &worker.templates_sha256),
    ]
    .into_iter()
    .find(|(_, cluster, worker)| cluster != worker);
    let other_model = part.map(|(part, wanted, found)| {
        format!(
            "it holds the model {} with {part} {} and this cluster plans with {} with {part} {}; all workers of a \
             coordinator need the same model",
            worker.name,
            short(found),
            cluster.name,
            short(wanted)
        )
    });
    other_model.or_else(|| {
        (cluster.arithmetic != worker.arithmetic).then(|| {
            format!(
                "it computes with {:.64} and this cluster with {:.64}, so its answers may differ; start it from the same release \
                 with the same --weights and --device, or in a cluster of its own",
                worker.arithmetic, cluster.arithmetic
            )
        })
    })
}

/// The start of a digest: enough to tell two apart.
fn short(digest: &str) -> String {
    match digest {
        "" => "(none)".to_owned(),
        digest => digest.chars().take(12).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> ModelIdentity {
        ModelIdentity {
            name: "SmolLM2".into(),
            weights_sha256: "aaaa".into(),
            adapter_sha256: String::new(),
            tokenizer_sha256: "bbbb".into(),
            templates_sha256: "cccc".into(),
            arithmetic: "cpu-q8_0/1".into(),
        }
    }

    fn answer() -> GetModelResponse {
        GetModelResponse {
            worker_id: "w-1".into(),
            protocol_version: PROTOCOL_VERSION,
            model: Some(model()),
            capacity: 32,
            context_length: 2048,
            rollout_places: 64,
            decision_places: 16,
            efficient_sequences: 12,
            load: None,
        }
    }

    fn requirements() -> Requirements {
        Requirements { templates_sha256: vec!["cccc".into()], weights_sha256: None, model: None }
    }

    #[test]
    fn the_first_worker_is_taken_whatever_its_model() {
        let profile = requirements().check(&answer()).unwrap();
        assert_eq!((profile.id.as_str(), profile.capacity), ("w-1", 32));
    }

    #[test]
    fn a_second_worker_needs_the_same_model_but_not_the_same_name() {
        let same =
            Requirements { model: Some(ModelIdentity { name: "other".into(), ..model() }), ..requirements() };
        assert!(same.check(&answer()).is_ok());
        for (part, other) in [
            ("weights", ModelIdentity { weights_sha256: "x".into(), ..model() }),
            ("adapter", ModelIdentity { adapter_sha256: "x".into(), ..model() }),
            ("tokenizer", ModelIdentity { tokenizer_sha256: "x".into(), ..model() }),
            ("templates", ModelIdentity { templates_sha256: "x".into(), ..model() }),
        ] {
            let reason = Requirements { model: Some(other), ..requirements() }.check(&answer()).unwrap_err();
            assert!(reason.contains(part) && reason.contains("same model"), "{reason}");
        }
    }

    #[test]
    fn a_second_worker_has_to_compute_as_the_first_one_does() {
        let cluster = Requirements { model: Some(model()), ..requirements() };
        assert!(cluster.check(&answer()).is_ok());
        let computing = |arithmetic: &str| GetModelResponse {
            model: Some(ModelIdentity { arithmetic: arithmetic.into(), ..model() }),
            ..answer()
        };
        for other in ["cpu-f32/1", "cpu-q8_0/2", "cuda-q8_0/1"] {
            let reason = cluster.check(&computing(other)).unwrap_err();
            assert_eq!(
                reason,
                format!(
                    "it computes with {other} and this cluster with cpu-q8_0/1, so its answers may differ; start it from the \
                     same release with the same --weights and --device, or in a cluster of its own"
                )
            );
            assert!(requirements().check(&computing(other)).is_ok(), "the first one sets it");
        }
        assert!(requirements().check(&computing("")).unwrap_err().contains("arithmetic"));
        // What is the matter with the model itself comes first.
        let stranger = ModelIdentity { weights_sha256: "x".into(), arithmetic: "y/1".into(), ..model() };
        let reason = cluster.check(&GetModelResponse { model: Some(stranger), ..answer() }).unwrap_err();
        assert!(reason.contains("same model") && !reason.contains("y/1"), "{reason}");
    }

    #[test]
    fn each_refusal_names_what_differs() {
        let mut foreign = answer();
        foreign.protocol_version = PROTOCOL_VERSION + 1;
        let named = format!("version {}", PROTOCOL_VERSION + 1);
        assert!(requirements().check(&foreign).unwrap_err().contains(&named));

        let templates =
            Requirements { templates_sha256: vec!["dddd".into(), "eeee".into()], ..requirements() };
        assert!(templates.check(&answer()).unwrap_err().contains("templates"));

        let pinned = Requirements { weights_sha256: Some("ffff".into()), ..requirements() };
        assert!(pinned.check(&answer()).unwrap_err().contains("--model-sha256"));

        let mut nameless = answer();
        nameless.worker_id = "No Id".into();
        assert!(requirements().check(&nameless).is_err());

        let mut empty = answer();
        empty.model = None;
        assert!(requirements().check(&empty).is_err());
        empty.model = Some(ModelIdentity { templates_sha256: "cccc".into(), ..ModelIdentity::default() });
        assert!(requirements().check(&empty).is_err());
    }

    #[test]
    fn a_worker_that_has_not_measured_itself_is_fast_with_a_full_batch_alone() {
        assert_eq!(requirements().check(&answer()).unwrap().efficient, 12);
        let of = |efficient_sequences| efficient(&GetModelResponse { efficient_sequences, ..answer() });
        assert_eq!([0, 1, 32, 99].map(of), [32, 1, 32, 32]);
    }

    #[test]
    fn a_worker_without_a_stated_capacity_counts_as_one_and_without_stated_places_as_unbounded() {
        let mut small = answer();
        assert_eq!(requirements().check(&small).unwrap().places, Places { rollouts: 64, decisions: 16 });
        small.capacity = 0;
        (small.rollout_places, small.decision_places) = (0, 0);
        let profile = requirements().check(&small).unwrap();
        assert_eq!((profile.capacity, profile.places), (1, Places::default()));
    }
}
