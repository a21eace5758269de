//! Student's t distribution, as far as means of a few rollouts need it. Whatever is asked has an answer, and none panics.

use statrs::distribution::{ContinuousCDF, StudentsT};

/// The t for which a Student variable with `degrees` degrees of freedom lies in [-t, t] with probability
/// `confidence`. `None` for zero degrees of freedom or a confidence outside (0, 1).
pub(crate) fn two_sided_quantile(confidence: f64, degrees: u32) -> Option<f64> {
    let is_asked = confidence > 0.0 && confidence < 1.0;
    distribution(degrees).filter(|_| is_asked).map(|student| student.inverse_cdf(0.5 + 0.5 * confidence))
}

/// P(T ≤ t) for a Student variable with `degrees` degrees of freedom, at least one. A half if `t` is no number: nothing is
/// known then.
pub(crate) fn probability_at_most(t: f64, degrees: u32) -> f64 {
    distribution(degrees.max(1)).filter(|_| !t.is_nan()).map_or(0.5, |student| student.cdf(t))
}

/// Degrees from which on the distribution is the normal one to six digits; the search for a quantile may not end far
/// beyond.
const AS_NORMAL: u32 = 1_000_000;

/// `None` for zero degrees of freedom.
fn distribution(degrees: u32) -> Option<StudentsT> {
    StudentsT::new(0.0, 1.0, f64::from(degrees.min(AS_NORMAL))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two-sided 95 % points, to three decimals, as statistical tables print them.
    const TABLE: [(u32, f64); 9] = [
        (1, 12.706),
        (2, 4.303),
        (3, 3.182),
        (4, 2.776),
        (5, 2.571),
        (10, 2.228),
        (30, 2.042),
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
        assert_eq!(probability_at_most(f64::NEG_INFINITY, 3), 0.0);
    }

    #[test]
    fn no_question_panics() {
        assert_eq!(two_sided_quantile(0.95, 0), None);
        assert_eq!(two_sided_quantile(1.0, 3), None);
        assert_eq!(two_sided_quantile(0.0, 3), None);
        assert_eq!(two_sided_quantile(f64::NAN, 3), None);
        assert_eq!(probability_at_most(f64::NAN, 3), 0.5);
        for degrees in [0, 1, 2, 1000, u32::MAX] {
            for t in [f64::MIN, -1e300, -1e-300, 0.0, f64::MIN_POSITIVE, 1e8, f64::MAX] {
                let chance = probability_at_most(t, degrees);
                assert!((0.0..=1.0).contains(&chance), "{t} with {degrees} degrees: {chance}");
            }
            for confidence in [f64::MIN_POSITIVE, 1e-12, 0.5, 1.0 - f64::EPSILON] {
                assert!(two_sided_quantile(confidence, degrees).is_none_or(|t| !t.is_nan()));
            }
        }
    }
}
