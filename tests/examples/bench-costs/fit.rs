//! A linear formula, fitted by least squares.

/// What each part of a plan's size costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Fit {
    pub(crate) each: [f64; 3],
    /// The largest distance of the formula from a figure, as a part of it.
    pub(crate) furthest: f64,
}

/// Fits `figures` to the sizes of their plans. `None` where the sizes do not tell the parts apart, or nothing was measured.
pub(crate) fn fit(sizes: &[[f64; 3]], figures: &[f64]) -> Option<Fit> {
    // The normal equations, a row each, with the right side behind them.
    let mut rows = [[0.0; 4]; 3];
    for (size, figure) in sizes.iter().zip(figures) {
        for (row, a) in rows.iter_mut().zip(size) {
            for (cell, b) in row.iter_mut().zip(size.iter().chain([figure])) {
                *cell += a * b;
            }
        }
    }
    for at in 0..3 {
        let pivot = (at..3).max_by(|&a, &b| rows[a][at].abs().total_cmp(&rows[b][at].abs()))?;
        rows.swap(at, pivot);
        let scale = rows[at][at];
        if scale.abs() < 1e-9 {
            return None;
        }
        rows[at].iter_mut().for_each(|cell| *cell /= scale);
        let row = rows[at];
        for (_, other) in rows.iter_mut().enumerate().filter(|(other, _)| *other != at) {
            let times = other[at];
            other.iter_mut().zip(row).for_each(|(cell, by)| *cell -= times * by);
        }
    }
    let each = rows.map(|row| row[3]);
    let of = |size: &[f64; 3]| -> f64 { size.iter().zip(each).map(|(size, each)| size * each).sum() };
    let far = |(size, figure): (&[f64; 3], &f64)| (of(size) - figure).abs() / figure.abs().max(1.0);
    Some(Fit { each, furthest: sizes.iter().zip(figures).map(far).fold(0.0, f64::max) })
}
