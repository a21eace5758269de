//! Charts of measurements as SVG: lines over a common axis, and bars with whiskers.
//!
//! Contract: axes of values begin at zero and end at a round number. The same figures give the same text, so that a chart
//! under version control changes with its figures alone.

mod bars;
mod lines;

pub use bars::{Bar, Panel, bars};
pub use lines::{Axes, Line, lines};

use plotters::style::{Color, RGBColor};

/// Colours of lines and bars, in order.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0x1b, 0x6c, 0xa8),
    RGBColor(0xc9, 0xa2, 0x27),
    RGBColor(0x7a, 0x9e, 0x7e),
    RGBColor(0xb5, 0x65, 0x76),
    RGBColor(0x6d, 0x68, 0x75),
    RGBColor(0x8f, 0xb8, 0xd6),
];
const FONT: &str = "sans-serif";

/// A chart could not be drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrawError(String);

impl std::fmt::Display for DrawError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the chart cannot be drawn: {}", self.0)
    }
}

impl std::error::Error for DrawError {}

/// Hides what the library's errors are made of, which differs from back end to back end.
fn failed(error: impl std::fmt::Display) -> DrawError {
    DrawError(error.to_string())
}

/// The next number of the form 1, 2, 5 or 8 times a power of ten; 1 for what is not above zero.
fn ceiling(value: f64) -> f64 {
    if !(value > 0.0 && value.is_finite()) {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 8.0, 10.0]
        .map(|times| times * power)
        .into_iter()
        .find(|top| *top >= value)
        .unwrap_or(value)
}

fn colour(place: usize) -> plotters::style::RGBAColor {
    COLOURS[place % COLOURS.len()].to_rgba()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers() {
        let ends = [0.3, 1.0, 1.1, 4.9, 7.0, 90.0].map(|value| (ceiling(value) * 10.0).round());
        assert_eq!(ends, [5.0, 10.0, 20.0, 50.0, 80.0, 1000.0]);
        assert_eq!([0.0, -1.0, f64::NAN, f64::INFINITY].map(ceiling), [1.0; 4]);
    }
}
