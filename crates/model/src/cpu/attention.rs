//! Attention of a whole batch over paged keys and values.
//!
//! A [`Plan`], made once a step, orders the sequences so that those that share pages are neighbours, cuts their
//! query rows into blocks and, for each block, lists which rows share which pages. A block is one task: scores of all
//! its rows over all they see, a softmax of each row, then the weighted sum of the values. Shared keys and values are
//! read once for all rows of a block.
//!
//! Invariant: a row's result depends on its query and on the keys and values it sees alone. Scores are laid out by
//! absolute position; a score is a chain over the dimensions, the sum of a softmax a chain in each lane over
//! positions, an output a chain over positions in order. How rows are grouped and pages are shared changes nothing.

mod plan;
#[cfg(test)]
mod tests;

use plan::{Block, PAGES, ROWS, Segment};
pub(crate) use plan::{Entry, Plan};

use super::pool::Pool;
use super::simd::{LANES, Level, Simd, kernels};
use crate::kv::PAGE;

/// With no more rows than these, a segment waits for memory: the next tiles are asked for ahead.
const FEW_ROWS: usize = 12;

/// Where a layer's attention reads and writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heads {
    /// Rows of rotated and scaled queries, one head after another.
    pub(crate) queries: *const f32,
    /// Floats between rows of queries.
    pub(crate) query_stride: usize,
    /// Rows of results, one head after another.
    pub(crate) out: *mut f32,
    /// Floats between rows of results.
    pub(crate) out_stride: usize,
    /// Floats of a head, a multiple of 16.
    pub(crate) head_stride: usize,
    /// Query heads of a key-value head.
    pub(crate) group: usize,
    /// Key-value heads.
    pub(crate) kv_heads: usize,
    /// Where the layer's tiles start in a page.
    pub(crate) layer_offset: usize,
    /// [`Plan::scratches`] times [`Plan::scratch`] floats.
    pub(crate) scratch: *mut f32,
}

// SAFETY: tasks read queries and pages, and write disjoint parts of the result and their own scores.
unsafe impl Sync for Heads {}

/// Computes a layer's attention.
///
/// # Safety
/// The plan's sequences are alive and their keys and values of this layer are stored up to what the rows see; the
/// pointers of `heads` are valid for the plan's rows; the CPU has the level.
pub(crate) unsafe fn attend(pool: &Pool, level: Level, plan: &Plan, heads: &Heads) {
    let scratch = plan.scratch();
    if plan.split {
        // SAFETY: as the caller guarantees.
        unsafe { attend_split(pool, level, plan, heads) };
        return;
    }
    pool.run(plan.blocks.len() * heads.kv_heads, &|task, thread| {
        let (head, block) = (task / plan.blocks.len(), task % plan.blocks.len());
        let block = &plan.blocks[block];
        // SAFETY: the caller guarantees all but the scratch, of which each thread has its own.
        unsafe { attend_block(level, plan, heads, block, head, heads.scratch.add(thread * scratch)) };
    });
}

/// The same for a plan with one block that all threads work on, in three phases.
unsafe fn attend_split(pool: &Pool, level: Level, plan: &Plan, heads: &Heads) {
    let Some(block) = plan.blocks.first() else {
        return;
    };
    let (scratch, rows) = (plan.scratch(), block.last_row - block.first_row);
    let groups = plan.longest.div_ceil(PAGES * PAGE);
    let parts = (4 * pool.threads()).div_ceil(heads.kv_heads).min(groups).max(1);
    pool.run(parts * heads.kv_heads, &|task, _| {
        let (head, part) = (task / parts, task % parts);
        let (first, last) = (groups * part / parts * PAGES, groups * (part + 1) / parts * PAGES);
        // SAFETY: each head has its scratch, and tasks of a head write the scores of different positions.
        unsafe {
            attend_scores(level, plan, heads, block, head, heads.scratch.add(head * scratch), first, last)
        };
    });
    pool.run(rows * heads.kv_heads, &|task, _| {
        let (head, row) = (task / rows, task % rows);
        // SAFETY: tasks work on different rows.
        unsafe {
            attend_weights(level, plan, heads, block, head, heads.scratch.add(head * scratch), row, row + 1)
        };
    });
    let vectors = heads.head_stride / LANES;
    let parts = (2 * pool.threads()).div_ceil(heads.kv_heads).min(vectors).max(1);
    pool.run(parts * heads.kv_heads, &|task, _| {
        let (head, part) = (task / parts, task % parts);
        let (first, last) = (vectors * part / parts * LANES, vectors * (part + 1) / parts * LANES);
        // SAFETY: tasks of a head write different dimensions.
        unsafe {
            attend_sums(level, plan, heads, block, head, heads.scratch.add(head * scratch), first, last)
        };
    });
}

kernels! {
    /// Computes one block of one key-value head.
    fn attend_block(plan: &Plan, heads: &Heads, block: &Block, head: usize, scores: *mut f32) = block_kernel;
    /// Computes a block's scores on some pages.
    fn attend_scores(
        plan: &Plan, heads: &Heads, block: &Block, head: usize, scores: *mut f32, first: usize, last: usize,
    ) = scores_kernel;
    /// Turns the scores of some rows of a block into weights, and clears their sums.
    fn attend_weights(
        plan: &Plan, heads: &Heads, block: &Block, head: usize, scores: *mut f32, first: usize, last: usize,
    ) = weights_kernel;
    /// Computes a block's sums in some dimensions.
    fn attend_sums(
        plan: &Plan, heads: &Heads, block: &Block, head: usize, scores: *mut f32, first: usize, last: usize,
    ) = sums_kernel;
}

#[inline(always)]
unsafe fn block_kernel<S: Simd>(plan: &Plan, heads: &Heads, block: &Block, head: usize, scores: *mut f32) {
    // SAFETY: the caller guarantees rows, pages and room for the block's scores.
    unsafe {
        scores_kernel::<S>(plan, heads, block, head, scores, 0, usize::MAX);
        weights_kernel::<S>(plan, heads, block, head, scores, 0, block.last_row - block.first_row);
        sums_kernel::<S>(plan, heads, block, head, scores, 0, heads.head_stride);
    }
}

#[inline(always)]
unsafe fn scores_kernel<S: Simd>(
    plan: &Plan,
    heads: &Heads,
    block: &Block,
    head: usize,
    scores: *mut f32,
    first: usize,
    last: usize,
) {
    let part = Part { first_page: first, last_page: last, first_dim: 0, last_dim: heads.head_stride };
    for segment in &plan.segments[block.first_segment..block.last_segment] {
        // SAFETY: the caller guarantees rows, pages and room for the block's scores.
        unsafe { walk::<S, true>(plan, heads, block, head, segment, scores, &part) };
    }
}

#[inline(always)]
unsafe fn weights_kernel<S: Simd>(
    plan: &Plan,
    heads: &Heads,
    block: &Block,
    head: usize,
    scores: *mut f32,
    first: usize,
    last: usize,
) {
    let stride = plan.score_stride();
    // SAFETY: the caller guarantees rows and room for the block's scores, after which come the rows' factors.
    unsafe {
        let factors = scores.add((block.last_row - block.first_row) * stride);
        for index in first..last {
            let visible = plan.tokens[(block.first_row + index) / heads.group].visible;
            *factors.add(index) = softmax::<S>(scores.add(index * stride), visible);
            let out = out_row(plan, heads, head, block.first_row + index);
            let mut dim = 0;
            while dim < heads.head_stride {
                S::store(out.add(dim), S::splat(0.0));
                dim += LANES;
            }
        }
    }
}

#[inline(always)]
unsafe fn sums_kernel<S: Simd>(
    plan: &Plan,
    heads: &Heads,
    block: &Block,
    head: usize,
    scores: *mut f32,
    first: usize,
    last: usize,
) {
    let height = block.last_row - block.first_row;
    let part = Part { first_page: 0, last_page: usize::MAX, first_dim: first, last_dim: last };
    // SAFETY: the caller guarantees rows, pages and the block's weights.
    unsafe {
        for segment in &plan.segments[block.first_segment..block.last_segment] {
            walk::<S, false>(plan, heads, block, head, segment, scores, &part);
        }
        let factors = scores.add(height * plan.score_stride());
        for index in 0..height {
            let out = out_row(plan, heads, head, block.first_row + index);
            let factor = S::splat(*factors.add(index));
            let mut dim = first;
            while dim < last {
                S::store(out.add(dim), S::mul(S::load(out.add(dim)), factor));
                dim += LANES;
            }
        }
    }
}

/// What of a segment is worked on.
struct Part {
    first_page: usize,
    last_page: usize,
    first_dim: usize,
    last_dim: usize,
}

#[inline(always)]
unsafe fn query_row(plan: &Plan, heads: &Heads, head: usize, row: usize) -> *const f32 {
    let token = &plan.tokens[row / heads.group];
    let column = (head * heads.group + row % heads.group) * heads.head_stride;
    // SAFETY: the caller guarantees the plan's rows.
    unsafe { heads.queries.add(token.row * heads.query_stride + column) }
}

#[inline(always)]
unsafe fn out_row(plan: &Plan, heads: &Heads, head: usize, row: usize) -> *mut f32 {
    let token = &plan.tokens[row / heads.group];
    let column = (head * heads.group + row % heads.group) * heads.head_stride;
    // SAFETY: the caller guarantees the plan's rows.
    unsafe { heads.out.add(token.row * heads.out_stride + column) }
}

/// Turns the scores of a row into weights, up to a factor that it gives.
#[inline(always)]
unsafe fn softmax<S: Simd>(scores: *mut f32, visible: usize) -> f32 {
    let whole = visible / LANES * LANES;
    let rest = visible - whole;
    // SAFETY: the caller guarantees `visible` scores, rounded up to 16.
    unsafe {
        let lowest = S::splat(f32::NEG_INFINITY);
        let mut greatest = lowest;
        let mut at = 0;
        while at < whole {
            greatest = S::max(greatest, S::load(scores.add(at)));
            at += LANES;
        }
        if rest > 0 {
            greatest = S::max(greatest, S::first(rest, S::load(scores.add(whole)), lowest));
        }
        let greatest = S::splat(S::greatest(greatest));
        let mut sums = S::splat(0.0);
        let mut at = 0;
        while at < whole {
            let weight = S::exp(S::sub(S::load(scores.add(at)), greatest));
            S::store(scores.add(at), weight);
            sums = S::add(sums, weight);
            at += LANES;
        }
        if rest > 0 {
            let weight = S::exp(S::sub(S::load(scores.add(whole)), greatest));
            let weight = S::first(rest, weight, S::splat(0.0));
            S::store(scores.add(whole), weight);
            sums = S::add(sums, weight);
        }
        1.0 / S::sum(sums)
    }
}

/// Goes through a segment, a few pages and a few rows at a time: for scores, or for weighted sums.
#[inline(always)]
unsafe fn walk<S: Simd, const SCORES: bool>(
    plan: &Plan,
    heads: &Heads,
    block: &Block,
    head: usize,
    segment: &Segment,
    scores: *mut f32,
    part: &Part,
) {
    let stride = plan.score_stride();
    let tile = PAGE * heads.head_stride;
    let pages = &plan.pages[plan.members[segment.member].pages..];
    let most_rows = if S::WIDE { ROWS } else { 2 };
    let mut page = segment.first_page.max(part.first_page);
    let last_page = segment.last_page.min(part.last_page);
    while page < last_page {
        let count = (last_page - page).min(PAGES);
        let mut tiles = [std::ptr::null::<f32>(); PAGES];
        for (at, tile_start) in tiles.iter_mut().enumerate().take(count) {
            let offset = heads.layer_offset + 2 * head * tile + if SCORES { 0 } else { tile };
            // SAFETY: the caller guarantees that every page has the layer's tiles.
            *tile_start = unsafe { pages[page + at].add(offset) };
        }
        if segment.last_row - segment.first_row <= FEW_ROWS {
            let next = page + count;
            for at in 0..(last_page - next).min(PAGES) {
                let offset = heads.layer_offset + 2 * head * tile + if SCORES { 0 } else { tile };
                let start = pages[next + at].wrapping_add(offset);
                // Lines of the values' dimensions, or all keys.
                let (width, first, last) =
                    if SCORES { (tile, 0, tile) } else { (heads.head_stride, part.first_dim, part.last_dim) };
                let mut row = 0;
                while row < tile {
                    let mut float = first;
                    while float < last {
                        // SAFETY: a prefetch reads nothing.
                        unsafe { S::prefetch(start.wrapping_add(row + float).cast()) };
                        float += LANES;
                    }
                    row += width;
                }
            }
        }
        let mut row = segment.first_row;
        while row < segment.last_row {
            let left = segment.last_row - row;
            let rows = left.div_ceil(left.div_ceil(most_rows));
            let mut group = Rows {
                count: rows,
                from: [std::ptr::null(); ROWS],
                scores: [std::ptr::null_mut(); ROWS],
                out: [std::ptr::null_mut(); ROWS],
                visible: [0; ROWS],
            };
            for r in 0..rows {
                // SAFETY: the rows are the block's, and it has room for their scores.
                unsafe {
                    group.from[r] = query_row(plan, heads, head, row + r);
                    group.out[r] = out_row(plan, heads, head, row + r);
                    group.scores[r] = scores.add((row + r - block.first_row) * stride);
                }
                group.visible[r] = plan.tokens[(row + r) / heads.group].visible;
            }
            // SAFETY: as above.
            unsafe {
                if SCORES {
                    score_rows::<S>(&group, &tiles, count, page, heads.head_stride);
                } else {
                    sum_rows::<S>(&group, &tiles, count, page, heads.head_stride, part);
                }
            }
            row += rows;
        }
        page += count;
    }
}

/// Rows of one register tile.
struct Rows {
    count: usize,
    from: [*const f32; ROWS],
    scores: [*mut f32; ROWS],
    out: [*mut f32; ROWS],
    visible: [usize; ROWS],
}

#[inline(always)]
unsafe fn score_rows<S: Simd>(
    rows: &Rows,
    tiles: &[*const f32; PAGES],
    count: usize,
    page: usize,
    dims: usize,
) {
    let mut visible = 0;
    for r in 0..rows.count {
        visible = visible.max(rows.visible[r]);
    }
    let count = count.min(visible.saturating_sub(page * PAGE).div_ceil(PAGE));
    // SAFETY: the caller guarantees rows and tiles; scores have room for whole groups of pages.
    unsafe {
        let mut at = 0;
        if S::WIDE && count == PAGES {
            score_pages::<S, PAGES>(rows, tiles.as_ptr(), page, dims);
            at = PAGES;
        }
        while at + 2 <= count {
            score_pages::<S, 2>(rows, tiles.as_ptr().add(at), page + at, dims);
            at += 2;
        }
        if at < count {
            score_pages::<S, 1>(rows, tiles.as_ptr().add(at), page + at, dims);
        }
    }
}

#[inline(always)]
unsafe fn score_pages<S: Simd, const P: usize>(
    rows: &Rows,
    tiles: *const *const f32,
    page: usize,
    dims: usize,
) {
    // SAFETY: the caller guarantees rows and tiles.
    unsafe {
        match rows.count {
            1 => score_tile::<S, 1, P>(rows, tiles, page, dims),
            2 => score_tile::<S, 2, P>(rows, tiles, page, dims),
            3 => score_tile::<S, 3, P>(rows, tiles, page, dims),
            4 => score_tile::<S, 4, P>(rows, tiles, page, dims),
            5 => score_tile::<S, 5, P>(rows, tiles, page, dims),
            _ => score_tile::<S, 6, P>(rows, tiles, page, dims),
        }
    }
}

#[inline(always)]
unsafe fn score_tile<S: Simd, const R: usize, const P: usize>(
    rows: &Rows,
    tiles: *const *const f32,
    page: usize,
    dims: usize,
) {
    // SAFETY: the caller guarantees R rows of `dims` values and P tiles.
    unsafe {
        let mut sums = [[S::splat(0.0); P]; R];
        let mut starts = [std::ptr::null::<f32>(); P];
        for p in 0..P {
            starts[p] = *tiles.add(p);
        }
        for dim in 0..dims {
            let mut keys = [S::splat(0.0); P];
            for p in 0..P {
                keys[p] = S::load(starts[p].add(dim * PAGE));
            }
            for r in 0..R {
                let query = S::splat(*rows.from[r].add(dim));
                for p in 0..P {
                    sums[r][p] = S::fma(query, keys[p], sums[r][p]);
                }
            }
        }
        for r in 0..R {
            for p in 0..P {
                S::store(rows.scores[r].add((page + p) * PAGE), sums[r][p]);
            }
        }
    }
}

#[inline(always)]
unsafe fn sum_rows<S: Simd>(
    rows: &Rows,
    tiles: &[*const f32; PAGES],
    count: usize,
    page: usize,
    dims: usize,
    part: &Part,
) {
    let (first, end) = (page * PAGE, (page + count) * PAGE);
    let mut common = end;
    for r in 0..rows.count {
        common = common.min(rows.visible[r]);
    }
    // SAFETY: the caller guarantees rows and tiles.
    unsafe {
        if common > first {
            match rows.count {
                1 => sum_dims::<S, 1>(rows, 0, tiles, first, first, common, dims, part),
                2 => sum_dims::<S, 2>(rows, 0, tiles, first, first, common, dims, part),
                3 => sum_dims::<S, 3>(rows, 0, tiles, first, first, common, dims, part),
                4 => sum_dims::<S, 4>(rows, 0, tiles, first, first, common, dims, part),
                5 => sum_dims::<S, 5>(rows, 0, tiles, first, first, common, dims, part),
                _ => sum_dims::<S, 6>(rows, 0, tiles, first, first, common, dims, part),
            }
        }
        // What only some of the rows see is added row by row: a weight of zero would not shield from a NaN.
        for r in 0..rows.count {
            let (from, to) = (common.max(first), rows.visible[r].min(end));
            if from < to {
                sum_dims::<S, 1>(rows, r, tiles, first, from, to, dims, part);
            }
        }
    }
}

/// Adds the values at positions `from..to` to R rows from `row` on. The tiles start at position `first`.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "kernels take pointers and strides")]
unsafe fn sum_dims<S: Simd, const R: usize>(
    rows: &Rows,
    row: usize,
    tiles: &[*const f32; PAGES],
    first: usize,
    from: usize,
    to: usize,
    dims: usize,
    part: &Part,
) {
    let mut dim = part.first_dim;
    let end = part.last_dim;
    // SAFETY: the caller guarantees rows and tiles.
    unsafe {
        while S::WIDE && dim + 4 * LANES <= end {
            sum_tile::<S, R, 4>(rows, row, tiles, first, from, to, dim, dims);
            dim += 4 * LANES;
        }
        while dim + 2 * LANES <= end {
            sum_tile::<S, R, 2>(rows, row, tiles, first, from, to, dim, dims);
            dim += 2 * LANES;
        }
        if dim < end {
            sum_tile::<S, R, 1>(rows, row, tiles, first, from, to, dim, dims);
        }
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "kernels take pointers and strides")]
unsafe fn sum_tile<S: Simd, const R: usize, const D: usize>(
    rows: &Rows,
    row: usize,
    tiles: &[*const f32; PAGES],
    first: usize,
    from: usize,
    to: usize,
    dim: usize,
    dims: usize,
) {
    // SAFETY: the caller guarantees R rows from `row` on, and tiles for the positions.
    unsafe {
        let mut sums = [[S::splat(0.0); D]; R];
        for r in 0..R {
            for d in 0..D {
                sums[r][d] = S::load(rows.out[row + r].add(dim + d * LANES));
            }
        }
        let mut position = from;
        while position < to {
            let tile = (position - first) / PAGE;
            let end = to.min(first + (tile + 1) * PAGE);
            let mut values = tiles[tile].add((position % PAGE) * dims + dim);
            while position < end {
                let mut lanes = [S::splat(0.0); D];
                for d in 0..D {
                    lanes[d] = S::load(values.add(d * LANES));
                }
                for r in 0..R {
                    let weight = S::splat(*rows.scores[row + r].add(position));
                    for d in 0..D {
                        sums[r][d] = S::fma(weight, lanes[d], sums[r][d]);
                    }
                }
                values = values.add(dims);
                position += 1;
            }
        }
        for r in 0..R {
            for d in 0..D {
                S::store(rows.out[row + r].add(dim + d * LANES), sums[r][d]);
            }
        }
    }
}
