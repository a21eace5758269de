//! The way through the tree of options, the heaviest beginnings first.
//!
//! The mass of a node is the probability of the tokens that lead to it; as long as the model was not asked about what
//! follows, it bounds the mass of all options below. The model is asked in rounds: each takes the heaviest open nodes, as
//! many as leave at most [`REST`] of the mass open. What stays open in the end is shared out equally among the options
//! below. Rounds are told by the rows of the round before alone, so the result does not depend on how they are served.

use std::sync::Arc;

use super::REST;
use super::tree::{Node, Options};

/// How likely each option is, as far as that is known.
#[derive(Debug)]
pub(crate) struct Weighing {
    options: Arc<Options>,
    /// By node.
    known: Vec<Known>,
    /// Nodes about which the model is to be asked.
    round: Vec<usize>,
    /// Temperature of the calibration.
    temperature: f32,
}

/// What is known of a node.
#[derive(Clone, Copy, Debug)]
enum Known {
    /// Its parent is open.
    Nothing,
    /// A bound: the logarithm of the mass that its options have together at most.
    AtMost(f64),
    /// The logarithm of the mass of the option that ends here; those below have nodes of their own.
    Exactly(f64),
}

impl Weighing {
    /// Starts at the root. `temperature` divides the logarithms of the options' masses.
    pub(crate) fn new(options: Arc<Options>, temperature: f32) -> Self {
        let mut known = vec![Known::Nothing; options.nodes().len()];
        let mut round = Vec::new();
        if options.nodes()[0].children.is_empty() {
            known[0] = Known::Exactly(0.0);
        } else {
            known[0] = Known::AtMost(0.0);
            round.push(0);
        }
        Self { options, known, round, temperature }
    }

    /// The options.
    pub(crate) fn options(&self) -> &Arc<Options> {
        &self.options
    }

    /// Nodes about which the model is to be asked now; none once all is known.
    pub(crate) fn round(&self) -> &[usize] {
        &self.round
    }

    /// One of the nodes.
    pub(crate) fn node(&self, number: usize) -> &Node {
        &self.options.nodes()[number]
    }

    /// Takes in what the model said about a node of the round. `way` is the logarithm of the probability of the tokens
    /// on the way from the parent, without the first. `after` gives that of a token after the last; it is not asked
    /// where an option ends and none goes on. `ends` are the tokens that end an answer.
    pub(crate) fn learn(&mut self, number: usize, way: f64, after: impl Fn(u32) -> f64, ends: &[u32]) {
        let Some(place) = self.round.iter().position(|&node| node == number) else { return };
        let Known::AtMost(bound) = self.known[number] else { return };
        self.round.remove(place);
        let (mass, node) = (bound + way, &self.options.nodes()[number]);
        let own = match node.option {
            Some(_) if node.children.is_empty() => mass,
            // One option is the beginning of another: only the end of the answer tells them apart.
            Some(_) => mass + ends.iter().map(|&end| after(end).exp()).sum::<f64>().ln(),
            None => f64::NEG_INFINITY,
        };
        self.known[number] = Known::Exactly(own);
        for &child in &node.children {
            let below = &self.options.nodes()[child];
            let bound = mass + below.first().map_or(f64::NEG_INFINITY, &after);
            self.known[child] = if below.is_open() { Known::AtMost(bound) } else { Known::Exactly(bound) };
        }
        if self.round.is_empty() {
            self.next_round();
        }
    }

    fn next_round(&mut self) {
        let highest = self.known.iter().filter_map(Known::mass).fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = self.known.iter().filter_map(Known::mass).map(|mass| (mass - highest).exp()).sum();
        let mut open: Vec<(f64, usize)> = Vec::new();
        for (number, known) in self.known.iter().enumerate() {
            if let Known::AtMost(bound) = known {
                open.push(((bound - highest).exp(), number));
            }
        }
        open.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let mut left: f64 = open.iter().map(|(mass, _)| mass).sum();
        for (mass, number) in open {
            // Not a number where nothing has any mass: there is nothing to learn then.
            if left <= REST * total || left.is_nan() {
                break;
            }
            left -= mass;
            self.round.push(number);
        }
    }

    /// The probabilities of the options, in their order.
    pub(crate) fn probabilities(&self) -> Vec<f32> {
        let mut masses = vec![f64::NEG_INFINITY; self.options.len()];
        for (known, node) in self.known.iter().zip(self.options.nodes()) {
            match known {
                Known::Nothing => {}
                Known::Exactly(mass) => {
                    if let Some(option) = node.option {
                        masses[option] = *mass;
                    }
                }
                Known::AtMost(bound) => {
                    for &option in &node.options {
                        masses[option] = bound - (node.options.len() as f64).ln();
                    }
                }
            }
        }
        probabilities(&masses, self.temperature)
    }
}

impl Known {
    fn mass(&self) -> Option<f64> {
        match self {
            Self::Nothing => None,
            Self::AtMost(mass) | Self::Exactly(mass) => Some(*mass),
        }
    }
}

/// Probabilities of options whose masses have these logarithms, divided by `temperature`.
fn probabilities(masses: &[f64], temperature: f32) -> Vec<f32> {
    let scale = 1.0 / f64::from(temperature);
    let highest = masses.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weight = |mass: f64| if highest.is_finite() { ((mass - highest) * scale).exp() } else { 1.0 };
    let total: f64 = masses.iter().map(|&mass| weight(mass)).sum();
    masses.iter().map(|&mass| (weight(mass) / total) as f32).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tree::tests::options;
    use super::*;
    use crate::sampling::uniform;

    const VOCABULARY: u32 = 6;
    const END: u32 = 5;

    /// A model over a few tokens: the logarithm of a token's probability after others. The higher `edge`, the surer.
    fn ln(seed: u64, edge: f64, before: &[u32], token: u32) -> f64 {
        let context =
            before.iter().fold(seed, |hash, &token| hash.wrapping_mul(31).wrapping_add(u64::from(token) + 1));
        let weight = |token: u32| (uniform(context, u64::from(token)) * edge).exp();
        (weight(token) / (0..VOCABULARY).map(weight).sum::<f64>()).ln()
    }

    fn whole(seed: u64, edge: f64, tokens: &[u32], is_beginning: bool) -> f64 {
        let all: f64 = (0..tokens.len()).map(|at| ln(seed, edge, &tokens[..at], tokens[at])).sum();
        if is_beginning { all + ln(seed, edge, tokens, END) } else { all }
    }

    /// Asks the model until all is known; gives the probabilities and how often it was asked.
    fn weigh(options: Options, seed: u64, edge: f64) -> (Vec<f32>, usize) {
        let mut weighing = Weighing::new(Arc::new(options), 1.0);
        let mut asked = 0;
        while let Some(&number) = weighing.round().last() {
            asked += 1;
            let node = weighing.node(number);
            let path = [weighing.options().common(), &node.path].concat();
            let from = weighing.options().common().len() + node.parted + 1;
            let way = (from..path.len()).map(|at| ln(seed, edge, &path[..at], path[at])).sum();
            weighing.learn(number, way, |token| ln(seed, edge, &path, token), &[END]);
        }
        (weighing.probabilities(), asked)
    }

    proptest! {
        #[test]
        fn probabilities_are_those_of_whole_options(
            set in proptest::collection::hash_set(proptest::collection::vec(0_u32..5, 1..6), 1..40),
            seed: u64,
            edge in 0.0..12.0,
        ) {
            let tokens: Vec<Vec<u32>> = set.into_iter().collect();
            let all = options(&tokens.iter().map(Vec::as_slice).collect::<Vec<_>>());
            let nodes = all.nodes().len();
            let (found, asked) = weigh(all, seed, edge);
            let is_beginning = |text: &[u32]| tokens.iter().any(|other| other.len() > text.len() && other.starts_with(text));
            let masses: Vec<f64> = tokens.iter().map(|text| whole(seed, edge, text, is_beginning(text))).collect();
            let exact = probabilities(&masses, 1.0);
            prop_assert!((found.iter().sum::<f32>() - 1.0).abs() < 1e-5);
            prop_assert!(asked <= nodes);
            for (found, exact) in found.iter().zip(&exact) {
                prop_assert!((found - exact).abs() <= REST as f32 + 1e-5, "{found} {exact}");
            }
        }
    }

    #[test]
    fn options_that_begin_alike_are_told_apart_by_what_follows() {
        // The mass of a first token is no option's: most of it may lie on ways that are no option at all.
        let likely = |before: &[u32], token: u32| match (before, token) {
            ([9], 1) => 0.8,
            ([9], 2) => 0.2,
            // Of what follows 1, nearly all is none of the options.
            ([9, 1], 3) => 0.02,
            ([9, 1], 4) => 0.03,
            _ => 0.5,
        };
        let mut weighing = Weighing::new(Arc::new(options(&[&[9, 1, 3], &[9, 1, 4], &[9, 2]])), 1.0);
        assert_eq!(weighing.round(), [0]);
        weighing.learn(0, 0.0, |token| f64::ln(likely(&[9], token)), &[]);
        assert_eq!(weighing.round(), [1]);
        weighing.learn(1, 0.0, |token| f64::ln(likely(&[9, 1], token)), &[]);
        assert!(weighing.round().is_empty());
        let expected = [0.016 / 0.24, 0.024 / 0.24, 0.2 / 0.24];
        for (found, expected) in weighing.probabilities().into_iter().zip(expected) {
            assert!((f64::from(found) - expected).abs() < 1e-6, "{found} {expected}");
        }
    }

    #[test]
    fn light_beginnings_are_not_asked_about_and_shared_out() {
        let three = [[1_u32, 1].as_slice(), &[2, 1], &[2, 2], &[3]];
        let mut weighing = Weighing::new(Arc::new(options(&three)), 1.0);
        let likely = |token: u32| [0.0, 0.9, 0.004, 0.096][token as usize];
        weighing.learn(0, 0.0, |token| f64::ln(likely(token)), &[]);
        assert_eq!(weighing.round(), [1], "the second beginning is light, the third is whole");
        weighing.learn(1, 0.0, |_| 0.0, &[]);
        assert!(weighing.round().is_empty());
        for (found, expected) in weighing.probabilities().into_iter().zip([0.9, 0.002, 0.002, 0.096]) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
    }

    #[test]
    fn the_temperature_flattens_or_sharpens_and_keeps_the_order() {
        let masses = [0.7_f64, 0.2, 0.1].map(|mass| (mass * 1e-30).ln());
        let at = |temperature: f32| probabilities(&masses, temperature);
        assert!((at(1.0)[0] - 0.7).abs() < 1e-6);
        assert!(at(2.0)[0] < 0.7 && at(0.5)[0] > 0.7 && at(2.0)[0] > at(2.0)[1]);
        let root = [0.7_f64, 0.2, 0.1].map(f64::sqrt);
        assert!((f64::from(at(2.0)[1]) - root[1] / root.iter().sum::<f64>()).abs() < 1e-6);
        assert_eq!(probabilities(&[f64::NEG_INFINITY; 2], 1.0), [0.5, 0.5]);
    }

    #[test]
    fn one_option_asks_nothing() {
        let weighing = Weighing::new(Arc::new(options(&[&[1, 2]])), 1.0);
        assert_eq!((weighing.round().len(), weighing.probabilities()), (0, vec![1.0]));
    }
}
