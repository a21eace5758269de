//! Student's t distribution, as far as an interval of a mean needs it.

use std::f64::consts::{FRAC_2_PI, FRAC_PI_2};

/// The t for which a Student variable with `degrees` degrees of freedom lies in [-t, t] with probability
/// `confidence`. `None` for zero degrees of freedom or a confidence outside (0, 1).
pub(crate) fn two_sided_quantile(confidence: f64, degrees: u32) -> Option<f64> {
    if degrees == 0 || !(confidence > 0.0 && confidence < 1.0) {
        return None;
    }
    // The probability grows with the angle, so halving the interval finds it; 64 halvings exhaust a double.
    let (mut low, mut high) = (0.0, FRAC_PI_2);
    for _ in 0..64 {
        let middle = 0.5 * (low + high);
        if probability_within(middle, degrees) < confidence {
            low = middle;
        } else {
            high = middle;
        }
    }
    Some(f64::from(degrees).sqrt() * (0.5 * (low + high)).tan())
}

/// P(T ≤ t) for a Student variable with `degrees` degrees of freedom, at least one.
pub(crate) fn probability_at_most(t: f64, degrees: u32) -> f64 {
    let degrees = degrees.max(1);
    let within = probability_within((t.abs() / f64::from(degrees).sqrt()).atan(), degrees);
    0.5 + 0.5 * within.copysign(t)
}

/// P(|T| ≤ t) for t = √ν tan θ: the finite sums for whole ν in Abramowitz and Stegun, Handbook of Mathematical
/// Functions, 26.7.3 (odd ν) and 26.7.4 (even ν).
fn probability_within(angle: f64, degrees: u32) -> f64 {
    let (sine, cosine) = angle.sin_cos();
    let square = cosine * cosine;
    let odd = degrees % 2 == 1;
    let terms = if odd { (degrees - 1) / 2 } else { degrees / 2 };
    let mut term = if odd { cosine } else { 1.0 };
    let mut sum = 0.0;
    for k in 1..=terms {
        sum += term;
        let k = f64::from(k);
        term *= square * if odd { 2.0 * k / (2.0 * k + 1.0) } else { (2.0 * k - 1.0) / (2.0 * k) };
    }
    if odd { FRAC_2_PI * (angle + sine * sum) } else { sine * sum }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two-sided 95 % points, to three decimals, as statistical tables print them.
    const TABLE: [(u32, f64); 33] = [
        (1, 12.706),
        (2, 4.303),
        (3, 3.182),
        (4, 2.776),
        (5, 2.571),
        (6, 2.447),
        (7, 2.365),
        (8, 2.306),
        (9, 2.262),
        (10, 2.228),
        (11, 2.201),
        (12, 2.179),
        (13, 2.160),
        (14, 2.145),
        (15, 2.131),
        (16, 2.120),
        (17, 2.110),
        (18, 2.101),
        (19, 2.093),
        (20, 2.086),
        (21, 2.080),
        (22, 2.074),
        (23, 2.069),
        (24, 2.064),
        (25, 2.060),
        (26, 2.056),
        (27, 2.052),
        (28, 2.048),
        (29, 2.045),
        (30, 2.042),
        (60, 2.000),
        (120, 1.980),
        // Stands for the normal distribution, 1.960.
        (100_000, 1.960),
    ];

    #[test]
    fn quantiles_are_those_of_the_tables() {
        for (degrees, expected) in TABLE {
            let found = two_sided_quantile(0.95, degrees).unwrap();
            assert!((found - expected).abs() < 6e-4, "{degrees} degrees: {found}, tables say {expected}");
        }
        assert!((two_sided_quantile(0.99, 4).unwrap() - 4.604).abs() < 6e-4);
        assert!((two_sided_quantile(0.5, 1).unwrap() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_probability_is_the_inverse_of_its_quantile() {
        for degrees in [1, 2, 7, 30] {
            let t = two_sided_quantile(0.95, degrees).unwrap();
            assert!((probability_at_most(t, degrees) - 0.975).abs() < 1e-9);
            assert!((probability_at_most(-t, degrees) - 0.025).abs() < 1e-9);
        }
        assert_eq!(probability_at_most(0.0, 3), 0.5);
        assert_eq!(probability_at_most(f64::INFINITY, 3), 1.0);
    }

    #[test]
    fn impossible_questions_have_no_answer() {
        assert_eq!(two_sided_quantile(0.95, 0), None);
        assert_eq!(two_sided_quantile(1.0, 3), None);
        assert_eq!(two_sided_quantile(0.0, 3), None);
        assert_eq!(two_sided_quantile(f64::NAN, 3), None);
    }
}
