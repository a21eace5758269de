//! Decoders of known shapes with made-up weights, to measure a device without carrying a model to it.

use std::ops::Range;
use std::path::Path;

use crate::config::{Architecture, DecoderConfig, RopeScaling};
use crate::error::LoadError;
use crate::weights::{Part, Role, Source};

/// Shapes by name: architecture, layers, hidden, intermediate, heads, key-value heads, width of a head, vocabulary.
const SHAPES: [(&str, Architecture, [usize; 7]); 4] = [
    ("smollm2-135m", Architecture::Llama, [30, 576, 1536, 9, 3, 64, 49_152]),
    ("qwen2-0.5b", Architecture::Qwen2, [24, 896, 4864, 14, 2, 64, 151_936]),
    ("qwen2-1.5b", Architecture::Qwen2, [28, 1536, 8960, 12, 2, 128, 151_936]),
    ("qwen2-14b", Architecture::Qwen2, [48, 5120, 13_824, 40, 8, 128, 152_064]),
];

/// Names of the shapes.
pub fn shape_names() -> impl Iterator<Item = &'static str> {
    SHAPES.iter().map(|(name, ..)| *name)
}

/// Weights that a device draws for itself.
#[derive(Clone, Debug)]
pub(crate) struct MadeUp {
    config: DecoderConfig,
    /// The head is a matrix of its own.
    headed: bool,
}

impl MadeUp {
    /// The decoder of that name with so many layers, or all of them.
    pub(crate) fn new(name: &str, layers: Option<usize>) -> Option<Self> {
        let (_, architecture, [all, hidden, intermediate, heads, kv_heads, head_dim, vocab_size]) =
            *SHAPES.iter().find(|(known, ..)| *known == name)?;
        let config = DecoderConfig {
            architecture,
            layers: layers.unwrap_or(all).max(1),
            hidden,
            intermediate,
            heads,
            kv_heads,
            head_dim,
            vocab_size,
            context_length: 32_768,
            rms_epsilon: 1e-6,
            rope_base: 1e6,
            rope_scaling: RopeScaling::None,
        };
        Some(Self { config, headed: hidden > 2048 })
    }
}

impl Source for MadeUp {
    fn config(&self) -> &DecoderConfig {
        &self.config
    }

    fn shape(&self, role: Role) -> Option<(usize, usize)> {
        let c = &self.config;
        let (queries, keys) = (c.heads * c.head_dim, c.kv_heads * c.head_dim);
        let biased = c.architecture == Architecture::Qwen2;
        match role {
            Role::Embedding => Some((c.vocab_size, c.hidden)),
            Role::Head => self.headed.then_some((c.vocab_size, c.hidden)),
            Role::FinalNorm | Role::Layer(_, Part::AttentionNorm | Part::FeedForwardNorm) => {
                Some((1, c.hidden))
            }
            Role::RopeFactors | Role::Layer(_, Part::QueryNorm | Part::KeyNorm) => None,
            Role::Layer(_, Part::Query) => Some((queries, c.hidden)),
            Role::Layer(_, Part::Key | Part::Value) => Some((keys, c.hidden)),
            Role::Layer(_, Part::QueryBias) => biased.then_some((1, queries)),
            Role::Layer(_, Part::KeyBias | Part::ValueBias) => biased.then_some((1, keys)),
            Role::Layer(_, Part::AttentionOutput) => Some((c.hidden, queries)),
            Role::Layer(_, Part::Gate | Part::Up) => Some((c.intermediate, c.hidden)),
            Role::Layer(_, Part::Down) => Some((c.hidden, c.intermediate)),
        }
    }

    /// Vectors alone: ones, and biases of zero. Matrices are drawn on the device.
    fn rows(&self, role: Role, rows: Range<usize>, out: &mut Vec<f32>) -> Result<(), LoadError> {
        let columns = Source::shape(self, role).map_or(0, |(_, columns)| columns);
        let bias = matches!(role, Role::Layer(_, Part::QueryBias | Part::KeyBias | Part::ValueBias));
        out.clear();
        out.resize(rows.len() * columns, if bias { 0.0 } else { 1.0 });
        Ok(())
    }

    fn is_made_up(&self) -> bool {
        true
    }

    fn place(&self, role: Role) -> (&Path, String) {
        (Path::new("made up"), format!("{role:?}"))
    }

    fn interleaved_rotation(&self) -> bool {
        false
    }
}
