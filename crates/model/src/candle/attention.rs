//! Attention over candle's operators: what the CUDA kernel is compared with, and what runs where there is none.
//!
//! A segment's keys are multiplied with the queries of all its rows at once; successive full segments with the same
//! rows go through as one batch. The partial results of a row are then merged in the order of its chunks.

use candle_core::{DType, Result, Tensor};

use super::step::{CHUNK, CHUNK_PAGES, Segment, Step};
use crate::config::DecoderConfig;
use crate::kv::PAGE;

/// Rows of a product are padded to a multiple of this, so that candle takes the same kernel for one as for many.
const ROWS: usize = 8;

/// Keys and values of all pages.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    /// Pages × layers × {keys, values} × positions, key-value heads × their width.
    pub(super) tensor: Tensor,
    /// Layers of the decoder.
    pub(super) layers: usize,
}

impl Pool {
    /// Row of `tensor` where the keys of a layer start in the page; the values follow [`PAGE`] rows later.
    fn start(&self, place: usize, layer: usize) -> usize {
        (place * self.layers + layer) * 2 * PAGE
    }

    /// Writes keys and values of rows, each rows × key-value heads × width, to their slots.
    pub(super) fn store(&self, layer: usize, slots: &[u32], keys: &Tensor, values: &Tensor) -> Result<()> {
        let width = self.tensor.dim(1)?;
        let device = self.tensor.device();
        for (offset, source) in [(0, keys), (PAGE, values)] {
            let rows: Vec<u32> = slots
                .iter()
                .map(|&slot| {
                    let (place, position) = (slot as usize / PAGE, slot as usize % PAGE);
                    (self.start(place, layer) + offset + position) as u32
                })
                .collect();
            let rows = Tensor::from_vec(rows, (slots.len(), 1), device)?;
            let rows = rows.broadcast_as((slots.len(), width))?.contiguous()?;
            let source = source.reshape((slots.len(), width))?.to_dtype(self.tensor.dtype())?.contiguous()?;
            self.tensor.scatter_set(&rows, &source, 0)?;
        }
        Ok(())
    }

    /// Copies a page.
    pub(super) fn copy(&self, from: usize, to: usize) -> Result<()> {
        let rows = self.layers * 2 * PAGE;
        // `copy` would take all of the storage that the page lies in.
        let page = self.tensor.narrow(0, from * rows, rows)?.force_contiguous()?;
        self.tensor.slice_set(&page, 0, to * rows)
    }

    /// Keys (`offset` 0) or values (1) of segments: segments × key-value heads × [`CHUNK`] × width.
    fn gather(&self, layer: usize, offset: usize, segments: &[Segment], kv_heads: usize) -> Result<Tensor> {
        let width = self.tensor.dim(1)?;
        let pages: Vec<u32> = segments
            .iter()
            .flat_map(|segment| segment.pages)
            .map(|place| (self.start(place as usize, layer) / PAGE + offset) as u32)
            .collect();
        let pages = Tensor::new(pages, self.tensor.device())?;
        let by_page = self.tensor.reshape(((), PAGE * width))?.index_select(&pages, 0)?;
        let mut positions = by_page.reshape((segments.len(), CHUNK_PAGES * PAGE, width))?;
        if let [segment] = segments
            && !segment.is_full()
        {
            // What lies beyond belongs to nobody, and nothing times NaN is NaN.
            let held = segment.end - segment.start;
            positions = positions.narrow(1, 0, held)?.pad_with_zeros(1, 0, CHUNK - held)?;
        }
        positions
            .to_dtype(DType::F32)?
            .reshape((segments.len(), CHUNK, kv_heads, width / kv_heads))?
            .transpose(1, 2)?
            .contiguous()
    }
}

/// Results of a run of segments: for each partial its number, and as tensors over them × heads the greatest score,
/// the sum of the weights, and (× width) the weighted sum of values.
struct Partials {
    numbers: Vec<u32>,
    top: Tensor,
    sum: Tensor,
    values: Tensor,
}

/// Attention of all rows: `queries`, rows × (heads × width), gives the same shape.
pub(super) fn attend(
    config: &DecoderConfig,
    step: &Step,
    pool: &Pool,
    layer: usize,
    queries: &Tensor,
) -> Result<Tensor> {
    let rows = step.tokens.len();
    let scale = 1.0 / (config.head_dim as f64).sqrt();
    let queries = queries.reshape((rows, config.heads, config.head_dim))?.affine(scale, 0.0)?;
    let runs = step.segments.chunk_by(|a, b| a.is_full() && b.is_full() && a.rows == b.rows);
    let partials =
        runs.map(|run| attend_run(config, step, pool, layer, &queries, run)).collect::<Result<Vec<_>>>()?;
    merge(config, step, &partials)
}

fn attend_run(
    config: &DecoderConfig,
    step: &Step,
    pool: &Pool,
    layer: usize,
    queries: &Tensor,
    run: &[Segment],
) -> Result<Partials> {
    let (heads, kv_heads, width) = (config.heads, config.kv_heads, config.head_dim);
    let (device, members, group) = (queries.device(), &run[0].rows, heads / kv_heads);
    let count = members.len() * group;
    let padded = count.next_multiple_of(ROWS);
    let queries = queries
        .index_select(&Tensor::new(members.as_slice(), device)?, 0)?
        .reshape((members.len(), kv_heads, group, width))?
        .transpose(0, 1)?
        .reshape((1, kv_heads, count, width))?
        .pad_with_zeros(2, 0, padded - count)?
        .broadcast_as((run.len(), kv_heads, padded, width))?
        .contiguous()?;
    let keys = pool.gather(layer, 0, run, kv_heads)?;
    let mut scores = queries.matmul(&keys.t()?)?;
    if let Some(mask) = mask(step, run, group, padded) {
        let mask = Tensor::from_vec(mask, (run.len(), 1, padded, CHUNK), device)?;
        scores = scores.broadcast_add(&mask)?;
    }
    let top = scores.max_keepdim(3)?;
    let weights = scores.broadcast_sub(&top)?.exp()?;
    let sum = weights.sum_keepdim(3)?;
    let values = weights.matmul(&pool.gather(layer, 1, run, kv_heads)?)?;
    // From segments × key-value heads × queries back to partials × heads.
    let by_row = |tensor: &Tensor, last: usize| -> Result<Tensor> {
        tensor
            .narrow(2, 0, count)?
            .reshape((run.len(), kv_heads, members.len(), group * last))?
            .transpose(1, 2)?
            .reshape((run.len() * members.len(), heads, last))
    };
    let numbers = run
        .iter()
        .flat_map(|segment| members.iter().map(|&row| (row, (segment.start / CHUNK) as u32)))
        .map(|(row, chunk)| step.first_partial[row as usize] + chunk)
        .collect();
    Ok(Partials { numbers, top: by_row(&top, 1)?, sum: by_row(&sum, 1)?, values: by_row(&values, width)? })
}

/// Minus infinity where a row does not see a position, or `None` if every row sees all.
fn mask(step: &Step, run: &[Segment], group: usize, padded: usize) -> Option<Vec<f32>> {
    let sees_all = |segment: &Segment| {
        segment.rows.iter().all(|&row| step.positions[row as usize] as usize + 1 >= segment.start + CHUNK)
    };
    if run.iter().all(sees_all) {
        return None;
    }
    let mut mask = vec![0.0; run.len() * padded * CHUNK];
    for (segment, mask) in run.iter().zip(mask.chunks_mut(padded * CHUNK)) {
        for (&row, mask) in segment.rows.iter().zip(mask.chunks_mut(group * CHUNK)) {
            let visible = step.positions[row as usize] as usize + 1 - segment.start;
            for head in mask.chunks_mut(CHUNK) {
                head[visible.min(CHUNK)..].fill(f32::NEG_INFINITY);
            }
        }
    }
    Some(mask)
}

/// Merges the partial results of each row, chunk after chunk.
fn merge(config: &DecoderConfig, step: &Step, partials: &[Partials]) -> Result<Tensor> {
    let (rows, heads, width) = (step.tokens.len(), config.heads, config.head_dim);
    let cat = |part: fn(&Partials) -> &Tensor| Tensor::cat(&partials.iter().map(part).collect::<Vec<_>>(), 0);
    let (top, sum, values) = (cat(|p| &p.top)?, cat(|p| &p.sum)?, cat(|p| &p.values)?);
    let device = values.device();
    // A partial that changes nothing, for rows with fewer chunks than others.
    let nothing = step.partials as u32;
    let top = Tensor::cat(&[&top, &Tensor::full(f32::NEG_INFINITY, (1, heads, 1), device)?], 0)?;
    let sum = sum.pad_with_zeros(0, 0, 1)?;
    let values = values.pad_with_zeros(0, 0, 1)?;
    let mut found = vec![nothing; step.partials];
    for (place, &number) in partials.iter().flat_map(|p| &p.numbers).enumerate() {
        found[number as usize] = place as u32;
    }
    let chunks = step.positions.iter().map(|&position| position as usize / CHUNK + 1).max().unwrap_or(0);
    let places = (0..chunks)
        .map(|chunk| {
            let of_row = (0..rows).map(|row| {
                let held = step.positions[row] as usize / CHUNK + 1;
                if chunk < held { found[step.first_partial[row] as usize + chunk] } else { nothing }
            });
            Tensor::new(of_row.collect::<Vec<_>>(), device)
        })
        .collect::<Result<Vec<_>>>()?;
    let mut greatest = Tensor::full(f32::NEG_INFINITY, (rows, heads, 1), device)?;
    for place in &places {
        greatest = greatest.maximum(&top.index_select(place, 0)?)?;
    }
    let mut weight = Tensor::zeros((rows, heads, 1), DType::F32, device)?;
    let mut result = Tensor::zeros((rows, heads, width), DType::F32, device)?;
    for place in &places {
        let scale = (top.index_select(place, 0)? - &greatest)?.exp()?;
        weight = (weight + (sum.index_select(place, 0)? * &scale)?)?;
        result = (result + values.index_select(place, 0)?.broadcast_mul(&scale)?)?;
    }
    result.broadcast_div(&weight)?.reshape((rows, heads * width))
}
