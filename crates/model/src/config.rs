//! Shape and conventions of a decoder, read from a GGUF header or a `config.json`.
//!
//! Invariant: a value of [`DecoderConfig`] has passed [`DecoderConfig::validate`], so code that sizes buffers by it
//! needs no checks of its own: no dimension is zero, products do not overflow, heads divide evenly.

/// The decoder families that the engine runs. They differ in three details only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// Llama, and what shares its layout (SmolLM2, Mistral).
    Llama,
    /// Qwen2: biases on the query, key and value projections.
    Qwen2,
    /// Qwen3: query and key heads are normalised before their rotation.
    Qwen3,
}

impl Architecture {
    /// Name as used in GGUF files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
        }
    }

    /// The architecture of that name, if the engine runs it.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        [Self::Llama, Self::Qwen2, Self::Qwen3].into_iter().find(|architecture| architecture.name() == name)
    }
}

/// How the rotation frequencies are stretched for long contexts.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// As the base says.
    None,
    /// All positions divided by a factor.
    Linear(f32),
    /// Llama 3.1: low frequencies divided by `factor`, high ones left alone, a ramp between.
    Llama3 {
        /// Divisor of the low frequencies.
        factor: f32,
        /// Wavelengths beyond `original_context / low` count as low frequencies.
        low: f32,
        /// Wavelengths below `original_context / high` count as high frequencies.
        high: f32,
        /// Context length the model was first trained with.
        original_context: f32,
    },
}

/// Shape and conventions of one decoder.
#[derive(Clone, Debug, PartialEq)]
pub struct DecoderConfig {
    /// Decoder family.
    pub architecture: Architecture,
    /// Number of layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width of the feed-forward network.
    pub intermediate: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of one head; even.
    pub head_dim: usize,
    /// Entries of the vocabulary.
    pub vocab_size: usize,
    /// Longest sequence in tokens that the model was made for.
    pub context_length: usize,
    /// Added to the mean square in every normalisation.
    pub rms_epsilon: f32,
    /// Base of the rotation frequencies.
    pub rope_base: f32,
    /// Stretching of the rotation frequencies.
    pub rope_scaling: RopeScaling,
}

/// Largest value of any single dimension: far above any model, far below where products overflow.
const LARGEST_DIMENSION: usize = 1 << 22;

impl DecoderConfig {
    /// Checks that the numbers can describe a decoder.
    ///
    /// # Errors
    /// One sentence that names the number at fault.
    pub(crate) fn validate(&self) -> Result<(), String> {
        for (name, value) in [
            ("number of layers", self.layers),
            ("hidden size", self.hidden),
            ("feed-forward size", self.intermediate),
            ("number of heads", self.heads),
            ("number of key-value heads", self.kv_heads),
            ("head size", self.head_dim),
            ("vocabulary size", self.vocab_size),
            ("context length", self.context_length),
        ] {
            if value == 0 || value > LARGEST_DIMENSION {
                return Err(format!("the {name} is {value}, which no model of this kind has"));
            }
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err(format!(
                "{} query heads cannot be shared out over {} key-value heads",
                self.heads, self.kv_heads
            ));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(format!("the head size is {}, but it must be even", self.head_dim));
        }
        if self.heads.saturating_mul(self.head_dim) > LARGEST_DIMENSION {
            return Err(format!("{} heads of size {} are too many", self.heads, self.head_dim));
        }
        if !(self.rms_epsilon.is_finite() && self.rms_epsilon >= 0.0) {
            return Err(format!("the normalisation's epsilon is {}", self.rms_epsilon));
        }
        if !(self.rope_base.is_finite() && self.rope_base > 0.0) {
            return Err(format!("the base of the rotation frequencies is {}", self.rope_base));
        }
        let scaling_is_sound = match self.rope_scaling {
            RopeScaling::None => true,
            RopeScaling::Linear(factor) => factor.is_finite() && factor > 0.0,
            RopeScaling::Llama3 { factor, low, high, original_context } => {
                [factor, low, high, original_context].iter().all(|x| x.is_finite() && *x > 0.0) && high > low
            }
        };
        if !scaling_is_sound {
            return Err(format!("the scaling of the rotation frequencies is {:?}", self.rope_scaling));
        }
        Ok(())
    }

    /// Number of parameters. A tied embedding counts once.
    pub(crate) fn parameters(&self, tied: bool) -> u64 {
        let (hidden, q) = (self.hidden as u64, (self.heads * self.head_dim) as u64);
        let kv = (self.kv_heads * self.head_dim) as u64;
        let mut layer =
            hidden * (q + 2 * kv) + q * hidden + 3 * hidden * self.intermediate as u64 + 2 * hidden;
        layer += match self.architecture {
            Architecture::Llama => 0,
            Architecture::Qwen2 => q + 2 * kv,
            Architecture::Qwen3 => 2 * self.head_dim as u64,
        };
        let embedding = hidden * self.vocab_size as u64;
        layer * self.layers as u64 + embedding * if tied { 1 } else { 2 } + hidden
    }

    /// Rotation frequency of each pair of dimensions of a head, in radians a position.
    pub fn rope_frequencies(&self) -> Vec<f32> {
        (0..self.head_dim / 2)
            .map(|pair| {
                let frequency = 1.0 / self.rope_base.powf((2 * pair) as f32 / self.head_dim as f32);
                match self.rope_scaling {
                    RopeScaling::None => frequency,
                    RopeScaling::Linear(factor) => frequency / factor,
                    RopeScaling::Llama3 { factor, low, high, original_context } => {
                        let wavelength = std::f32::consts::TAU / frequency;
                        if wavelength > original_context / low {
                            frequency / factor
                        } else if wavelength < original_context / high {
                            frequency
                        } else {
                            let ramp = (original_context / wavelength - low) / (high - low);
                            (1.0 - ramp) * frequency / factor + ramp * frequency
                        }
                    }
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn smol() -> DecoderConfig {
        DecoderConfig {
            architecture: Architecture::Llama,
            layers: 30,
            hidden: 576,
            intermediate: 1536,
            heads: 9,
            kv_heads: 3,
            head_dim: 64,
            vocab_size: 49152,
            context_length: 8192,
            rms_epsilon: 1e-5,
            rope_base: 100_000.0,
            rope_scaling: RopeScaling::None,
        }
    }

    #[test]
    fn counts_the_parameters_of_a_known_model() {
        assert_eq!(smol().parameters(true), 134_515_008);
        assert!(smol().validate().is_ok());
    }

    #[test]
    fn refuses_numbers_that_describe_no_decoder() {
        let broken: [fn(&mut DecoderConfig); 7] = [
            |c| c.layers = 0,
            |c| c.hidden = usize::MAX,
            |c| c.kv_heads = 2,
            |c| c.head_dim = 63,
            |c| c.rms_epsilon = f32::NAN,
            |c| c.rope_base = 0.0,
            |c| c.rope_scaling = RopeScaling::Linear(-1.0),
        ];
        for (index, breaks) in broken.iter().enumerate() {
            let mut config = smol();
            breaks(&mut config);
            assert!(config.validate().is_err(), "case {index}");
        }
    }

    #[test]
    fn llama3_scaling_leaves_high_frequencies_and_divides_low_ones() {
        let plain = smol().rope_frequencies();
        let mut config = smol();
        config.rope_scaling =
            RopeScaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original_context: 8192.0 };
        let scaled = config.rope_frequencies();
        assert_eq!(scaled[0], plain[0]);
        assert_eq!(scaled[31], plain[31] / 8.0);
    }
}
