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
    /// The parameter after step number `step`, counted from one, and its moments.
    pub(crate) fn step(
        &self,
        parameter: &Tensor,
        gradient: &Tensor,
        moments: &Moments,
        rate: f64,
        step: usize,
    ) -> Result<(Tensor, Moments)> {
        let step = step as f64;
        let first = ((&moments.first * self.beta1)? + (gradient * (1.0 - self.beta1))?)?;
        let second = ((&moments.second * self.beta2)? + (gradient.sqr()? * (1.0 - self.beta2))?)?;
        let (correct1, correct2) = (1.0 - self.beta1.powf(step), 1.0 - self.beta2.powf(step));
        let divisor = ((second.sqrt()? * correct2.sqrt().recip())? + self.epsilon)?;
        let decayed = (parameter * (1.0 - rate * self.decay))?;
        let stepped = (decayed - ((&first / divisor)? * (rate / correct1))?)?;
        Ok((stepped, Moments { first, second }))
    }
}

/// Norm of all gradients together.
pub(crate) fn norm<'a>(gradients: impl Iterator<Item = &'a Tensor>) -> Result<f64> {
    let squares = gradients.map(|gradient| gradient.sqr()?.sum_all()).collect::<Result<Vec<_>>>()?;
    if squares.is_empty() {
        return Ok(0.0);
    }
    let all: Vec<f32> = Tensor::stack(&squares, 0)?.to_vec1()?;
    Ok(all.iter().map(|&square| f64::from(square)).sum::<f64>().sqrt())
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
