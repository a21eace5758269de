//! Choosing a token from a row of logits.
//!
//! The generator is counter-based: the number that decides about the token at `position` of an answer depends on
//! the seed and the position alone, so an answer does not change with what shares its batch, and a sequence can be
//! dropped and computed again. [`uniform`] is fixed for ever; a test pins its values.
//!
//! Ties go to the lowest id. A row is never sorted: nearly all of it is below the nucleus, and a bound that takes no
//! order finds that out.

use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

/// How a token is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Choice {
    /// Temperature; 0, less or not a number takes the likeliest token.
    pub(crate) temperature: f32,
    /// Nucleus mass; 1 or more takes the whole distribution.
    pub(crate) top_p: f32,
    /// Seed of the answer.
    pub(crate) seed: u64,
}

/// The row holds a NaN, or nothing that may be chosen is finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadRow;

/// Shares of the highest weight, for narrowing a row down to its nucleus.
const BOUNDS: [f32; 4] = [1.0 / 8.0, 1.0 / 64.0, 1.0 / 512.0, 1.0 / 4096.0];

/// Number in [0, 1) for one position of one answer: the upper 53 bits of what stands at that position in the SplitMix64
/// stream whose seed is the first number of the stream of `seed`.
pub(crate) fn uniform(seed: u64, position: u64) -> f64 {
    /// What the generator adds to its state for each number; so far apart are the positions of a stream.
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    let key = SplitMix64::seed_from_u64(seed).next_u64();
    let bits = SplitMix64::seed_from_u64(key.wrapping_add(position.wrapping_mul(STEP))).next_u64();
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

/// Lowest id with the highest logit.
///
/// # Errors
/// [`BadRow`] if the row holds a NaN.
pub(crate) fn likeliest(logits: &[f32]) -> Result<u32, BadRow> {
    /// The row is read once: what holds the highest is still in the cache then.
    const BLOCK: usize = 4096;
    let (mut highest, mut block) = (f32::NEG_INFINITY, 0);
    for (number, part) in logits.chunks(BLOCK).enumerate() {
        let (of_part, nan) = scan(part);
        if nan {
            return Err(BadRow);
        }
        if of_part > highest {
            (highest, block) = (of_part, number);
        }
    }
    if !highest.is_finite() {
        return Err(BadRow);
    }
    let first = block * BLOCK;
    let place = logits[first..].iter().position(|&logit| logit == highest).ok_or(BadRow)?;
    Ok((first + place) as u32)
}

/// Logarithms of the probabilities at temperature 1 of the whole vocabulary.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogProbabilities<'a> {
    logits: &'a [f32],
    /// Logarithm of the sum of all weights.
    sum: f64,
}

impl LogProbabilities<'_> {
    /// That of a token; minus infinity beyond the vocabulary.
    pub(crate) fn of(&self, token: u32) -> f64 {
        self.logits.get(token as usize).map_or(f64::NEG_INFINITY, |&logit| f64::from(logit) - self.sum)
    }
}

/// Chooses tokens; keeps its buffers between calls.
#[derive(Debug, Default)]
pub(crate) struct Sampler {
    row: Vec<f32>,
    ids: Vec<u32>,
    nucleus: Vec<(f32, u32)>,
}

impl Sampler {
    /// Chooses among the tokens whose bit in `mask` is set; bit `i % 32` of word `i / 32` is token `i`.
    ///
    /// # Errors
    /// [`BadRow`] if the row holds a NaN, or nothing that may be chosen is finite.
    pub(crate) fn choose(
        &mut self,
        logits: &[f32],
        mask: &[u32],
        choice: Choice,
        position: u64,
    ) -> Result<u32, BadRow> {
        if scan(logits).1 {
            return Err(BadRow);
        }
        self.gather(logits, mask);
        let (highest, _) = scan(&self.row);
        if !highest.is_finite() {
            return Err(BadRow);
        }
        let place = if choice.temperature > 0.0 {
            self.sample(highest, choice, uniform(choice.seed, position))
        } else {
            self.row.iter().position(|&logit| logit == highest).ok_or(BadRow)?
        };
        Ok(if self.ids.is_empty() { place as u32 } else { self.ids[place] })
    }

    /// Chooses among options by their probabilities: the first of the likeliest, or a draw as [`choose`](Self::choose)
    /// makes it among tokens.
    ///
    /// # Errors
    /// [`BadRow`] if there is none.
    pub(crate) fn choose_option(
        &mut self,
        probabilities: &[f32],
        choice: Choice,
        position: u64,
    ) -> Result<usize, BadRow> {
        // In the place of logits, so that a temperature does to options what it does to tokens.
        let logits: Vec<f32> = if choice.temperature > 0.0 {
            probabilities.iter().map(|probability| probability.ln()).collect()
        } else {
            probabilities.to_vec()
        };
        let all = vec![u32::MAX; logits.len().div_ceil(32)];
        self.choose(&logits, &all, choice, position).map(|place| place as usize)
    }

    /// The distribution that a row of logits stands for.
    ///
    /// # Errors
    /// [`BadRow`] if the row holds a NaN, or nothing in it is finite.
    pub(crate) fn log_probabilities<'a>(
        &mut self,
        logits: &'a [f32],
    ) -> Result<LogProbabilities<'a>, BadRow> {
        let (highest, nan) = scan(logits);
        if nan || !highest.is_finite() {
            return Err(BadRow);
        }
        self.row.clear();
        self.row.extend_from_slice(logits);
        let (total, _) = weigh(&mut self.row, highest, 1.0);
        Ok(LogProbabilities { logits, sum: f64::from(highest) + total.ln() })
    }

    /// Fills `row` with the logits that may be chosen. Where those are few, `ids` says whose they are; otherwise
    /// `ids` is empty and the others are minus infinity.
    fn gather(&mut self, logits: &[f32], mask: &[u32]) {
        self.row.clear();
        self.ids.clear();
        let allowed: usize = mask.iter().map(|word| word.count_ones() as usize).sum();
        if allowed < logits.len() / 8 {
            for (first, &word) in (0..).step_by(32).zip(mask) {
                let mut rest = word;
                while rest != 0 {
                    let id = first + rest.trailing_zeros();
                    rest &= rest - 1;
                    if let Some(&logit) = logits.get(id as usize) {
                        self.ids.push(id);
                        self.row.push(logit);
                    }
                }
            }
            return;
        }
        self.row.extend_from_slice(logits);
        for (group, &word) in self.row.chunks_mut(32).zip(mask.iter().chain(std::iter::repeat(&0))) {
            let mut refused = !word;
            while refused != 0 {
                if let Some(logit) = group.get_mut(refused.trailing_zeros() as usize) {
                    *logit = f32::NEG_INFINITY;
                }
                refused &= refused - 1;
            }
        }
    }

    /// Place in `row` of the token that `at` in [0, 1) falls on. Turns the row into weights.
    fn sample(&mut self, highest: f32, choice: Choice, at: f64) -> usize {
        // The smallest temperature keeps differences finite; the largest makes every token as likely as any.
        let scale = 1.0 / choice.temperature.clamp(1e-4, 1e4);
        let (total, above) = weigh(&mut self.row, highest, scale);
        // Not a number asks for the whole distribution, nothing or less for the likeliest token.
        if choice.top_p >= 1.0 || choice.top_p.is_nan() {
            return walk(self.row.iter().copied(), at * total);
        }
        let mass = f64::from(choice.top_p.max(0.0)) * total;
        // The highest bound above which there is mass enough. Below the last of them, what all weights under the
        // bound can come to together is less than what the nucleus may leave out.
        let bounds = BOUNDS.into_iter().zip(above);
        let least = ((total - mass) / self.row.len() as f64) as f32 * 0.999;
        let bound = bounds
            .filter(|&(_, above)| above * 0.999 >= mass)
            .map(|(bound, _)| bound)
            .next()
            .unwrap_or(least);
        self.nucleus.clear();
        keep(&self.row, bound, &mut self.nucleus);
        let kept = nucleus(&mut self.nucleus, mass);
        let nucleus = &mut self.nucleus[..kept];
        nucleus.sort_unstable_by_key(|&(_, place)| place);
        let total: f64 = nucleus.iter().map(|&(weight, _)| f64::from(weight)).sum();
        nucleus[walk(nucleus.iter().map(|&(weight, _)| weight), at * total)].1 as usize
    }
}

/// Highest value and whether there is a NaN.
fn scan(row: &[f32]) -> (f32, bool) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        #[target_feature(enable = "avx2")]
        fn wide(row: &[f32]) -> (f32, bool) {
            scan_lanes(row)
        }
        // SAFETY: the processor has AVX2.
        return unsafe { wide(row) };
    }
    scan_lanes(row)
}

/// Turns logits into weights relative to the highest and gives their sum, and the sums of those that reach each bound.
fn weigh(row: &mut [f32], highest: f32, scale: f32) -> (f64, [f64; BOUNDS.len()]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        #[target_feature(enable = "avx2")]
        fn wide(row: &mut [f32], highest: f32, scale: f32) -> (f64, [f64; BOUNDS.len()]) {
            weigh_lanes(row, highest, scale)
        }
        // SAFETY: the processor has AVX2.
        return unsafe { wide(row, highest, scale) };
    }
    weigh_lanes(row, highest, scale)
}

/// Collects the weights that reach the bound, with their places.
fn keep(row: &[f32], bound: f32, kept: &mut Vec<(f32, u32)>) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        #[target_feature(enable = "avx2")]
        fn wide(row: &[f32], bound: f32, kept: &mut Vec<(f32, u32)>) {
            keep_lanes(row, bound, kept);
        }
        // SAFETY: the processor has AVX2.
        return unsafe { wide(row, bound, kept) };
    }
    keep_lanes(row, bound, kept);
}

// The same operations in the same order, whatever the width of the registers: results do not depend on the processor.

#[inline(always)]
fn scan_lanes(row: &[f32]) -> (f32, bool) {
    let mut highest = [f32::NEG_INFINITY; 32];
    let mut nan = [0_u32; 32];
    let (groups, rest) = row.as_chunks::<32>();
    for group in groups {
        for lane in 0..32 {
            highest[lane] = if group[lane] > highest[lane] { group[lane] } else { highest[lane] };
            nan[lane] |= u32::from(group[lane].is_nan());
        }
    }
    for &value in rest {
        highest[0] = if value > highest[0] { value } else { highest[0] };
        nan[0] |= u32::from(value.is_nan());
    }
    (highest.into_iter().fold(f32::NEG_INFINITY, f32::max), nan.iter().any(|&lane| lane != 0))
}

/// Sums take sixteen lanes over blocks of 4,096, and blocks in double precision.
#[inline(always)]
fn weigh_lanes(row: &mut [f32], highest: f32, scale: f32) -> (f64, [f64; BOUNDS.len()]) {
    let (mut total, mut above) = (0.0, [0.0; BOUNDS.len()]);
    let in_double = |lanes: [f32; 16]| lanes.iter().map(|&value| f64::from(value)).sum::<f64>();
    for block in row.chunks_mut(4096) {
        let (mut lanes, mut above_lanes) = ([0_f32; 16], [[0_f32; 16]; BOUNDS.len()]);
        let (groups, rest) = block.as_chunks_mut::<16>();
        for group in groups {
            for lane in 0..16 {
                group[lane] = exp((group[lane] - highest) * scale);
                lanes[lane] += group[lane];
            }
            for (above, bound) in above_lanes.iter_mut().zip(BOUNDS) {
                for lane in 0..16 {
                    above[lane] += if group[lane] >= bound { group[lane] } else { 0.0 };
                }
            }
        }
        for (lane, value) in rest.iter_mut().enumerate() {
            *value = exp((*value - highest) * scale);
            lanes[lane] += *value;
            for (above, bound) in above_lanes.iter_mut().zip(BOUNDS) {
                above[lane] += if *value >= bound { *value } else { 0.0 };
            }
        }
        total += in_double(lanes);
        for (above, lanes) in above.iter_mut().zip(above_lanes) {
            *above += in_double(lanes);
        }
    }
    (total, above)
}

/// Collects the weights that reach the bound, with their places.
#[inline(always)]
fn keep_lanes(row: &[f32], bound: f32, kept: &mut Vec<(f32, u32)>) {
    for (first, group) in (0..).step_by(32).zip(row.chunks(32)) {
        // Most groups hold nothing; finding that out takes no branch for each weight.
        if group.iter().map(|&weight| u32::from(weight >= bound)).sum::<u32>() == 0 {
            continue;
        }
        let heavy = (first..).zip(group).filter(|(_, weight)| **weight > 0.0 && **weight >= bound);
        kept.extend(heavy.map(|(place, weight)| (*weight, place)));
    }
}

/// First place at which the running sum passes `target`; the last place with a weight if rounding hides it.
fn walk(weights: impl Iterator<Item = f32>, target: f64) -> usize {
    let (mut passed, mut last) = (0.0, 0);
    for (place, weight) in weights.enumerate() {
        if weight > 0.0 {
            passed += f64::from(weight);
            last = place;
            if passed > target {
                break;
            }
        }
    }
    last
}

/// Moves the smallest set of heaviest weights that reaches `mass` to the front and gives its size, at least one.
/// Equal weights count in the order of their ids.
fn nucleus(weights: &mut [(f32, u32)], mass: f64) -> usize {
    let order = |a: &(f32, u32), b: &(f32, u32)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
    let (mut low, mut high) = (0, weights.len());
    let mut missing = mass;
    while high - low > 32 {
        let middle = (high - low) / 4;
        weights[low..high].select_nth_unstable_by(middle, order);
        let upper: f64 = weights[low..low + middle].iter().map(|&(weight, _)| f64::from(weight)).sum();
        if upper >= missing {
            high = low + middle;
        } else {
            missing -= upper;
            low += middle;
        }
    }
    weights[low..high].sort_unstable_by(order);
    for &(weight, _) in &weights[low..high] {
        low += 1;
        missing -= f64::from(weight);
        if missing <= 0.0 {
            break;
        }
    }
    low
}

/// eˣ for x ≤ 0 in operations that compile to vector code; relative error below 1e-6, 0 below -87.
#[inline(always)]
fn exp(x: f32) -> f32 {
    // Adding 1.5 · 2²³ leaves the rounded number in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let clamped = if x < -87.0 { -87.0 } else { x };
    let rounded = clamped * std::f32::consts::LOG2_E + ROUND;
    let whole = rounded - ROUND;
    // ln 2 in two parts, so that the product with the first is exact.
    let rest = (clamped - whole * 0.693_359_4) + whole * 2.121_944_4e-4;
    let mut value = 1.0 / 720.0;
    for coefficient in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        value = value * rest + coefficient;
    }
    let power = f32::from_bits(rounded.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23);
    if x < -87.0 { 0.0 } else { value * power }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};
    use candle_transformers::generation::{LogitsProcessor, Sampling};
    use proptest::prelude::*;

    use super::*;

    fn everything(size: usize) -> Vec<u32> {
        (0..size.div_ceil(32))
            .map(|word| if size - word * 32 >= 32 { u32::MAX } else { (1 << (size % 32)) - 1 })
            .collect()
    }

    fn choice(temperature: f32, top_p: f32) -> Choice {
        Choice { temperature, top_p, seed: 7 }
    }

    #[test]
    fn the_generator_never_changes() {
        let values: Vec<u64> = [(0, 0), (0, 1), (1, 0), (u64::MAX, u64::MAX)]
            .map(|(s, p)| (uniform(s, p) * 1e15) as u64)
            .to_vec();
        assert_eq!(values, PINNED);
        let mean = (0..10_000).map(|position| uniform(42, position)).sum::<f64>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.01, "{mean}");
    }

    const PINNED: [u64; 4] =
        [652_448_486_374_032, 701_212_109_521_525, 368_189_515_651_669, 266_847_186_494_036];

    #[test]
    fn exp_is_close() {
        for step in 0..=8_700 {
            let x = -(step as f32) / 100.0;
            let (ours, exact) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((ours - exact).abs() <= exact * 1e-6, "{x}: {ours} {exact}");
        }
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(-1e30), 0.0);
    }

    #[test]
    fn greedy_takes_the_lowest_of_equals() {
        let mut sampler = Sampler::default();
        let mut logits = vec![0.0; 100];
        logits[40] = 3.0;
        logits[70] = 3.0;
        assert_eq!(sampler.choose(&logits, &everything(100), choice(0.0, 1.0), 0), Ok(40));
        assert_eq!(likeliest(&logits), Ok(40));
        // In a later block, and again behind it.
        let mut long = vec![0.0; 10_000];
        (long[5000], long[5001], long[9999]) = (3.0, 3.0, 3.0);
        assert_eq!(likeliest(&long), Ok(5000));
        long[9998] = f32::NAN;
        assert_eq!(likeliest(&long), Err(BadRow));
        let mut mask = everything(100);
        mask[1] = 0;
        assert_eq!(sampler.choose(&logits, &mask, choice(0.0, 1.0), 0), Ok(70));
    }

    #[test]
    fn bad_rows_are_told() {
        let mut sampler = Sampler::default();
        let mut logits = vec![0.0; 64];
        assert_eq!(sampler.choose(&logits, &[0, 0], choice(0.6, 0.9), 0), Err(BadRow));
        logits[63] = f32::NAN;
        assert_eq!(sampler.choose(&logits, &[1, 0], choice(0.6, 0.9), 0), Err(BadRow));
        assert_eq!(likeliest(&logits), Err(BadRow));
        assert_eq!(
            sampler.choose(&[f32::NEG_INFINITY; 64], &everything(64), choice(0.6, 0.9), 0),
            Err(BadRow)
        );
        assert_eq!(sampler.choose(&[f32::INFINITY; 64], &everything(64), choice(0.6, 0.9), 0), Err(BadRow));
    }

    #[test]
    fn log_probabilities_are_those_of_the_whole_row() {
        let mut sampler = Sampler::default();
        let logits: Vec<f32> = (0..5000).map(|i| ((i * 37 % 509) as f32) / 25.0 - 40.0).collect();
        let exact = logits.iter().map(|&logit| f64::from(logit).exp()).sum::<f64>().ln();
        let found = sampler.log_probabilities(&logits).expect("a sound row");
        for token in [0_u32, 1, 77, 4999] {
            let expected = f64::from(logits[token as usize]) - exact;
            assert!((found.of(token) - expected).abs() < 1e-5, "{token}");
        }
        assert_eq!(found.of(5000), f64::NEG_INFINITY);
        for bad in [f32::NAN, f32::INFINITY] {
            assert!(sampler.log_probabilities(&[0.0, bad]).is_err());
        }
    }

    #[test]
    fn options_are_chosen_by_their_probabilities() {
        let mut sampler = Sampler::default();
        let mut of = |probabilities: &[f32], temperature, seed| {
            let choice = Choice { temperature, top_p: 1.0, seed };
            sampler.choose_option(probabilities, choice, 0).expect("an option")
        };
        assert_eq!(of(&[0.2, 0.4, 0.4, 0.0], 0.0, 1), 1);
        let drawn: Vec<usize> = (0..4000).map(|seed| of(&[0.75, 0.0, 0.25], 1.0, seed)).collect();
        let share = drawn.iter().filter(|&&option| option == 0).count() as f64 / 4000.0;
        assert!((share - 0.75).abs() < 0.03 && !drawn.contains(&1), "{share}");
    }

    /// Frequencies of both samplers over many draws; they use different generators, so only the shares compare.
    #[test]
    fn shares_agree_with_candle() {
        const DRAWS: usize = 20_000;
        let logits: Vec<f32> = (0..64).map(|i| ((i * 37 % 64) as f32) / 12.0).collect();
        let tensor = Tensor::new(logits.as_slice(), &Device::Cpu).expect("a row");
        for (temperature, top_p) in [(0.6, 0.9), (1.0, 0.5), (1.3, 1.0), (0.2, 0.99)] {
            let sampling = if top_p < 1.0 {
                Sampling::TopP { p: top_p, temperature }
            } else {
                Sampling::All { temperature }
            };
            let mut reference = LogitsProcessor::from_sampling(11, sampling);
            let mut sampler = Sampler::default();
            let (mut theirs, mut ours) = ([0.0; 64], [0.0; 64]);
            for draw in 0..DRAWS {
                theirs[reference.sample(&tensor).expect("a token") as usize] += 1.0;
                let asked = choice(temperature as f32, top_p as f32);
                let token = sampler.choose(&logits, &everything(64), asked, draw as u64).expect("a token");
                ours[token as usize] += 1.0;
            }
            for token in 0..64 {
                let (a, b): (f64, f64) = (theirs[token] / DRAWS as f64, ours[token] / DRAWS as f64);
                assert!((a - b).abs() < 0.015, "T={temperature} p={top_p} token {token}: {a} {b}");
            }
        }
    }

    /// The nucleus by definition: sort, then take until the mass is reached.
    fn plain_nucleus(logits: &[f32], mask: &[u32], temperature: f32, top_p: f32) -> Vec<u32> {
        let may = |id: u32| mask[id as usize / 32] >> (id % 32) & 1 == 1;
        let highest = (0..).zip(logits).filter(|(id, _)| may(*id)).map(|(_, l)| *l).fold(-8.0, f32::max);
        let mut allowed: Vec<(f64, u32)> = (0..)
            .zip(logits)
            .filter(|(id, _)| may(*id))
            .map(|(id, logit)| ((f64::from(logit - highest) / f64::from(temperature)).exp(), id))
            .collect();
        let total: f64 = allowed.iter().map(|(weight, _)| weight).sum();
        allowed.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let mut mass = 0.0;
        // A little slack: the sampler adds in single precision.
        allowed
            .into_iter()
            .take_while(|(weight, _)| {
                let take = mass < (f64::from(top_p) + 1e-5) * total;
                mass += weight;
                take
            })
            .map(|(_, id)| id)
            .collect()
    }

    proptest! {
        #[test]
        fn the_token_is_in_the_mask_and_in_the_nucleus(
            logits in proptest::collection::vec(-8.0_f32..8.0, 1..300),
            words in proptest::collection::vec(any::<u32>(), 10),
            sparse in any::<bool>(),
            temperature in prop_oneof![Just(0.0_f32), 0.05_f32..2.0],
            top_p in 0.01_f32..1.1,
            seed in any::<u64>(),
        ) {
            let mut mask: Vec<u32> = everything(logits.len());
            for (word, random) in mask.iter_mut().zip(words) {
                *word &= if sparse { random & random.rotate_left(7) & random.rotate_left(13) & random.rotate_left(19) } else { random };
            }
            let result = Sampler::default().choose(&logits, &mask, Choice { temperature, top_p, seed }, 3);
            if mask.iter().all(|&word| word == 0) {
                prop_assert_eq!(result, Err(BadRow));
            } else {
                let token = result.expect("something may be chosen");
                prop_assert!(mask[token as usize / 32] >> (token % 32) & 1 == 1);
                let nucleus = plain_nucleus(&logits, &mask, if temperature > 0.0 { temperature } else { 1e-2 }, top_p);
                prop_assert!(nucleus.contains(&token), "{} not in {:?}", token, nucleus);
            }
        }

        #[test]
        fn masks_of_either_density_agree(logits in proptest::collection::vec(-8.0_f32..8.0, 64..200), seed in any::<u64>()) {
            // The same two candidates, once gathered and once as a row of minus infinities.
            let mut row = vec![f32::NEG_INFINITY; logits.len()];
            let mut mask = vec![0; logits.len().div_ceil(32)];
            for id in [5, 60] {
                row[id] = logits[id];
                mask[id / 32] |= 1 << (id % 32);
            }
            let asked = Choice { temperature: 0.8, top_p: 0.95, seed };
            let few = Sampler::default().choose(&logits, &mask, asked, 1);
            let many = Sampler::default().choose(&row, &everything(row.len()), asked, 1);
            prop_assert_eq!(few, many);
        }
    }
}
