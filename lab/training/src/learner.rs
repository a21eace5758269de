//! What is trained, and one optimisation step of it.

use candle_core::Tensor;

use crate::adapter::Adapter;
use crate::data::Example;
use crate::decoder::{Decoder, StepDropout};
use crate::error::TrainError;
use crate::optimiser::{AdamW, Moments};
use crate::pack::{Pack, pack};
use crate::random::Random;

/// The frozen decoder, the adapter and the optimiser's moments.
#[derive(Debug)]
pub(crate) struct Learner {
    pub(crate) decoder: Decoder,
    pub(crate) adapter: Adapter,
    pub(crate) moments: Vec<[Moments; 2]>,
}

/// How one step is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StepSettings {
    /// Number of the step, from one.
    pub(crate) number: usize,
    pub(crate) rate: f64,
    pub(crate) clip: f64,
    pub(crate) decay: f64,
    pub(crate) dropout: f32,
    /// Seed of the run.
    pub(crate) seed: u64,
    pub(crate) pack_tokens: usize,
}

/// What a step gave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done {
    /// Mean loss of the answers' tokens, in nats.
    pub(crate) loss: f64,
    /// Norm of the gradient before clipping.
    pub(crate) norm: f64,
    /// Tokens computed.
    pub(crate) rows: usize,
    /// Tokens of its examples.
    pub(crate) tokens: usize,
}

impl Learner {
    /// An adapter that was never stepped.
    pub(crate) fn new(decoder: Decoder, adapter: Adapter) -> Result<Self, TrainError> {
        let zero = |tensor: &Tensor| Moments::zero(tensor);
        let moments = adapter.modules.iter().map(|module| Ok([zero(&module.a)?, zero(&module.b)?]));
        let moments = moments.collect::<Result<_, TrainError>>()?;
        Ok(Self { decoder, adapter, moments })
    }

    /// One step on examples: the mean loss of all their answers' tokens is lowered.
    ///
    /// # Errors
    /// [`TrainError::Diverged`] if loss or gradient are no numbers; nothing has changed then.
    pub(crate) fn step(&mut self, examples: &[&Example], settings: StepSettings) -> Result<Done, TrainError> {
        let packs = pack(examples, settings.pack_tokens);
        let targets: usize = packs.iter().map(|pack| pack.targets.len()).sum();
        let scale = 1.0 / targets.max(1) as f32;
        let ready = self.adapter.ready(self.decoder.kernels())?;
        let mut total = 0.0;
        let mut sums: Vec<[Tensor; 2]> = Vec::new();
        for (index, pack) in packs.iter().enumerate() {
            let seed = Random::of(&[settings.seed, 3, settings.number as u64, index as u64]).next();
            let dropout = StepDropout { rate: settings.dropout, seed };
            let outcome = self.decoder.step(&self.adapter, &ready, pack, scale, Some(dropout))?;
            total += outcome.losses.iter().map(|&loss| f64::from(loss)).sum::<f64>();
            if sums.is_empty() {
                sums = outcome.gradients;
            } else {
                for (sum, more) in sums.iter_mut().zip(outcome.gradients) {
                    *sum = [(&sum[0] + &more[0])?, (&sum[1] + &more[1])?];
                }
            }
        }
        let loss = total / targets.max(1) as f64;
        let norm = self.decoder.kernels().square_sum(&sums.iter().flatten().collect::<Vec<_>>())?.sqrt();
        if !(loss.is_finite() && norm.is_finite()) {
            return Err(TrainError::Diverged { step: settings.number, loss });
        }
        // As PyTorch's clip_grad_norm_ has it.
        let shrink = (settings.clip / (norm + 1e-6)).min(1.0);
        let adam = AdamW { decay: settings.decay, ..AdamW::default() };
        let update = adam.update(shrink, settings.rate, settings.number);
        let parameters = self.adapter.modules.iter().flat_map(|module| [&module.a, &module.b]);
        let moments = self.moments.iter().flatten();
        let all = parameters.zip(sums.iter().flatten()).zip(moments);
        let all: Vec<_> =
            all.map(|((parameter, gradient), moments)| (parameter, gradient, moments)).collect();
        let stepped = self.decoder.kernels().adamw(update, &all)?;
        let parameters = self.adapter.modules.iter_mut().flat_map(|module| [&mut module.a, &mut module.b]);
        let places = parameters.zip(self.moments.iter_mut().flatten());
        for ((parameter, moments), after) in places.zip(stepped) {
            (*parameter, *moments) = after;
        }
        let rows = packs.iter().map(|pack| pack.tokens.len()).sum();
        let tokens = examples.iter().map(|example| example.tokens.len()).sum();
        Ok(Done { loss, norm, rows, tokens })
    }

    /// Mean loss of the answers' tokens in packs.
    pub(crate) fn loss(&self, packs: &[Pack]) -> Result<f64, TrainError> {
        let ready = self.adapter.ready(self.decoder.kernels())?;
        let (mut total, mut count) = (0.0, 0);
        for pack in packs {
            let losses = self.decoder.losses(&self.adapter, &ready, pack)?;
            total += losses.iter().map(|&loss| f64::from(loss)).sum::<f64>();
            count += losses.len();
        }
        Ok(total / count.max(1) as f64)
    }
}
