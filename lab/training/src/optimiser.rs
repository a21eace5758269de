//! AdamW (Loshchilov and Hutter, 2019) with clipping by the norm of all gradients, and the schedule of its rate.
//!
//! The update is PyTorch's: weights decay first, moments are corrected for their start, and epsilon is added to the
//! root of the corrected second moment.

use candle_core::{Result, Tensor};

/// How parameters are stepped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct AdamW {
    pub(crate) beta1: f64,
    pub(crate) beta2: f64,
    pub(crate) epsilon: f64,
    pub(crate) decay: f64,
}

impl Default for AdamW {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, decay: 0.0 }
    }
}

/// Moments of one parameter.
#[derive(Clone, Debug)]
pub(crate) struct Moments {
    pub(crate) first: Tensor,
    pub(crate) second: Tensor,
}

impl Moments {
    /// Those of a parameter that was never stepped.
    pub(crate) fn zero(parameter: &Tensor) -> Result<Self> {
        Ok(Self { first: parameter.zeros_like()?, second: parameter.zeros_like()? })
    }
}

impl AdamW {
    /// What step number `step`, counted from one, does at a learning rate to gradients that are multiplied with `shrink`.
    pub(crate) fn update(&self, shrink: f64, rate: f64, step: usize) -> Update {
        Update { adam: *self, shrink, rate, step: step as f64 }
    }
}

/// One step of all parameters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Update {
    adam: AdamW,
    shrink: f64,
    rate: f64,
    step: f64,
}

impl Update {
    /// What the root of the second moment, and the rate, are multiplied with since moments start at zero.
    fn corrections(&self) -> (f64, f64) {
        let correct = |beta: f64| 1.0 - beta.powf(self.step);
        (correct(self.adam.beta2).sqrt().recip(), correct(self.adam.beta1).recip())
    }

    /// The parameter after the step, and its moments.
    pub(crate) fn apply(
        &self,
        parameter: &Tensor,
        gradient: &Tensor,
        moments: &Moments,
    ) -> Result<(Tensor, Moments)> {
        let AdamW { beta1, beta2, epsilon, decay } = self.adam;
        let (root, faster) = self.corrections();
        let gradient = (gradient * self.shrink)?;
        let first = ((&moments.first * beta1)? + (&gradient * (1.0 - beta1))?)?;
        let second = ((&moments.second * beta2)? + (gradient.sqr()? * (1.0 - beta2))?)?;
        let divisor = ((second.sqrt()? * root)? + epsilon)?;
        let decayed = (parameter * (1.0 - self.rate * decay))?;
        let stepped = (decayed - ((&first / divisor)? * (self.rate * faster))?)?;
        Ok((stepped, Moments { first, second }))
    }

    /// The numbers of [`Self::apply`] as a kernel takes them: what gradients are multiplied with, the two betas, the share
    /// of a parameter that decay leaves, what the root is multiplied with, epsilon, and the rate.
    #[cfg(any(feature = "cuda", test))]
    pub(crate) fn numbers(&self) -> [f32; 7] {
        let AdamW { beta1, beta2, epsilon, decay } = self.adam;
        let (root, faster) = self.corrections();
        [self.shrink, beta1, beta2, 1.0 - self.rate * decay, root, epsilon, self.rate * faster]
            .map(|number| number as f32)
    }
}

/// Rate of a step, counted from one: it grows over the warm-up and then falls in a line to zero after the last step.
pub(crate) fn rate(peak: f64, step: usize, warm_up: usize, steps: usize) -> f64 {
    if step <= warm_up {
        return peak * step as f64 / warm_up.max(1) as f64;
    }
    let left = (steps + 1).saturating_sub(step) as f64;
    peak * (left / (steps + 1).saturating_sub(warm_up.max(1)).max(1) as f64).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_and_falls_in_lines() {
        let rates: Vec<f64> = (1..=12).map(|step| rate(8.0, step, 4, 11)).collect();
        let expected = [2.0, 4.0, 6.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0];
        assert!(rates.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{rates:?}");
        assert_eq!(rate(8.0, 1, 0, 1), 8.0);
    }
}
