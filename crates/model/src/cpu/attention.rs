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

use super::pool::Pool;
use super::simd::{LANES, Level, Simd, kernels};
use crate::kv::{PAGE, Sequence};

/// Pages that a kernel goes through at a time.
const PAGES: usize = 4;
/// Rows of the tallest register tile.
const ROWS: usize = 6;
/// With no more rows than these, a segment waits for memory: the next tiles are asked for ahead.
const FEW_ROWS: usize = 12;
/// Up to so many rows, all threads work on one block of each key-value head: on scores by positions, on sums by
/// dimensions. Keys and values are then read once, where blocks of few rows would each read them again.
const SPLIT_ROWS: usize = 32;
/// Floats of scores that a block may take: they stay in the second-level cache.
const BLOCK_SCORES: usize = 1 << 16;

/// A sequence of the batch.
#[derive(Clone, Copy, Debug)]
struct Member {
    /// Its first row among the activations.
    first_row: usize,
    /// Its tokens in this step.
    tokens: usize,
    /// Position of the first of them.
    start: usize,
    /// Its pages among those of the plan.
    pages: usize,
    /// Number of its pages.
    page_count: usize,
    /// Pages it has in common with the member before it.
    common: usize,
}

/// A query row, up to the head within its group.
#[derive(Clone, Copy, Debug)]
struct Token {
    row: usize,
    member: usize,
    /// Positions it sees: its own is the last.
    visible: usize,
}

/// Rows that share pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    first_row: usize,
    last_row: usize,
    first_page: usize,
    last_page: usize,
    /// A member that has these pages.
    member: usize,
}

/// Rows that one task computes, and its segments in the order of their pages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    first_row: usize,
    last_row: usize,
    first_segment: usize,
    last_segment: usize,
}

/// How a step's attention is cut into tasks. Its buffers are kept from step to step.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    members: Vec<Member>,
    /// Room for sorting them.
    sorted: Vec<Member>,
    order: Vec<usize>,
    tokens: Vec<Token>,
    pages: Vec<*mut f32>,
    segments: Vec<Segment>,
    blocks: Vec<Block>,
    longest: usize,
    /// Whether the one block is worked on by all threads at a time.
    split: bool,
}

// SAFETY: the page pointers are only followed while the sequences that own the pages are borrowed.
unsafe impl Send for Plan {}
// SAFETY: as above.
unsafe impl Sync for Plan {}

/// One sequence of a step: the sequence before its new tokens are counted, and how many those are.
pub(crate) struct Entry<'a> {
    pub(crate) sequence: &'a Sequence,
    pub(crate) tokens: usize,
}

impl Plan {
    /// Plans a step. Rows are numbered in the order of the entries. `group` is the number of query heads of a
    /// key-value head.
    pub(crate) fn prepare<'a>(
        &mut self,
        entries: impl Iterator<Item = Entry<'a>>,
        group: usize,
        kv_heads: usize,
        threads: usize,
    ) {
        self.members.clear();
        self.pages.clear();
        let mut row = 0;
        for entry in entries {
            let pages = self.pages.len();
            self.pages.extend(entry.sequence.pages().iter().map(|page| page.as_ptr()));
            self.members.push(Member {
                first_row: row,
                tokens: entry.tokens,
                start: entry.sequence.len(),
                pages,
                page_count: self.pages.len() - pages,
                common: 0,
            });
            row += entry.tokens;
        }
        self.sort_members();
        self.tokens.clear();
        self.longest = 0;
        for (index, member) in self.members.iter().enumerate() {
            for offset in 0..member.tokens {
                let visible = member.start + offset + 1;
                self.tokens.push(Token { row: member.first_row + offset, member: index, visible });
                self.longest = self.longest.max(visible);
            }
        }
        self.cut(group, kv_heads, threads);
    }

    /// Orders members so that those with common pages are neighbours.
    fn sort_members(&mut self) {
        let Self { members, sorted, order, pages, .. } = self;
        let path = |member: &Member| &pages[member.pages..member.pages + member.page_count];
        order.clear();
        order.extend(0..members.len());
        order.sort_unstable_by(|&a, &b| path(&members[a]).cmp(path(&members[b])).then(a.cmp(&b)));
        sorted.clear();
        sorted.extend(order.iter().map(|&index| members[index]));
        std::mem::swap(members, sorted);
        for index in 1..members.len() {
            let (before, member) = (path(&members[index - 1]), path(&members[index]));
            members[index].common = before.iter().zip(member).take_while(|(a, b)| a == b).count();
        }
    }

    /// Cuts the rows into blocks: enough to keep all threads busy, small enough for their scores to stay in cache.
    fn cut(&mut self, group: usize, kv_heads: usize, threads: usize) {
        self.segments.clear();
        self.blocks.clear();
        let rows = self.tokens.len() * group;
        self.split = threads > 1 && rows > 0 && rows <= SPLIT_ROWS;
        if self.split {
            self.segment(0..self.members.len(), 0, 0, rows, group);
            let last_segment = self.segments.len();
            self.blocks.push(Block { first_row: 0, last_row: rows, first_segment: 0, last_segment });
            return;
        }
        let fair = (rows * kv_heads).div_ceil(8 * threads);
        let fitting = BLOCK_SCORES / self.score_stride().max(1);
        let height = match fair.min(fitting) {
            0 => 1,
            few @ 1..ROWS => few,
            many => many.next_multiple_of(ROWS),
        };
        let mut first_row = 0;
        while first_row < rows {
            let last_row = (first_row + height).min(rows);
            let first_segment = self.segments.len();
            let members =
                self.tokens[first_row / group].member..self.tokens[(last_row - 1) / group].member + 1;
            self.segment(members, 0, first_row, last_row, group);
            self.blocks.push(Block { first_row, last_row, first_segment, last_segment: self.segments.len() });
            first_row = last_row;
        }
    }

    /// Lists the segments of neighbouring members from a page on that all of them reach in common.
    fn segment(
        &mut self,
        members: std::ops::Range<usize>,
        from: usize,
        first: usize,
        last: usize,
        group: usize,
    ) {
        let rows_of = |token: &Token| token.member >= members.start && token.member < members.end;
        let first_token =
            self.tokens[first / group..].iter().position(rows_of).map_or(0, |at| at + first / group);
        let token_count = self.tokens[first_token..].iter().take_while(|token| rows_of(token)).count();
        let first_row = first.max(first_token * group);
        let last_row = last.min((first_token + token_count) * group);
        let member = members.start;
        if members.len() == 1 {
            let visible = self.tokens[(last_row - 1) / group].visible;
            let last_page = visible.div_ceil(PAGE);
            if last_page > from {
                self.segments.push(Segment { first_row, last_row, first_page: from, last_page, member });
            }
            return;
        }
        let pairs = &self.members[members.start + 1..members.end];
        let common = pairs.iter().map(|member| member.common).min().unwrap_or(from);
        if common > from {
            self.segments.push(Segment { first_row, last_row, first_page: from, last_page: common, member });
        }
        let mut start = members.start;
        for index in members.start + 1..=members.end {
            if index == members.end || self.members[index].common <= common {
                self.segment(start..index, common.max(from), first, last, group);
                start = index;
            }
        }
    }

    /// Floats between rows of scores.
    pub(crate) fn score_stride(&self) -> usize {
        let stride = self.longest.next_multiple_of(PAGES * PAGE);
        // Rows a multiple of 4 KiB apart would fall into the same cache sets.
        if stride.is_multiple_of(1024) { stride + LANES } else { stride }
    }

    /// Floats of scratch that a task needs: scores, and one more for each row.
    pub(crate) fn scratch(&self) -> usize {
        let height = self.blocks.iter().map(|block| block.last_row - block.first_row).max().unwrap_or(0);
        (height * (self.score_stride() + 1)).next_multiple_of(LANES)
    }

    /// Tasks that need such scratch of their own.
    pub(crate) fn scratches(&self, threads: usize, kv_heads: usize) -> usize {
        if self.split { kv_heads } else { threads }
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::KvTree;
    use crate::memory::Region;
    use crate::testing::Random;

    /// Two key-value heads of 16 or more values in one layer.
    const KV_HEADS: usize = 2;
    const GROUP: usize = 3;

    /// A batch whose sequences share prefixes, with random keys and values in place.
    struct Batch {
        sequences: Vec<(Sequence, usize)>,
        queries: Vec<f32>,
        dims: usize,
        _tree: KvTree,
    }

    fn random_page(random: &mut Random, page: *mut f32, dims: usize, from: usize) {
        for at in from * dims..KV_HEADS * 2 * PAGE * dims {
            // SAFETY: the page has that many floats.
            unsafe { page.add(at).write(random.symmetric()) };
        }
    }

    /// `cuts`: how many tokens of a common prefix each sequence keeps, how many of its own it has before this step,
    /// and how many come now.
    fn batch(dims: usize, prefix: usize, cuts: &[(usize, usize, usize)]) -> Batch {
        let mut random = Random(5);
        let mut tree = KvTree::new(KV_HEADS * 2 * PAGE * dims, 1 << 24);
        let tokens: Vec<u32> = (0..prefix as u32).collect();
        let mut root = tree.begin(&[]);
        tree.reserve(&mut root, prefix).unwrap();
        root.pages().iter().for_each(|page| random_page(&mut random, page.as_ptr(), dims, 0));
        root.extend(&tokens);
        tree.publish(&root);
        let mut rows = 0;
        let mut sequences = Vec::new();
        for (index, &(kept, own, now)) in cuts.iter().enumerate() {
            let mut sequence = tree.begin(&tokens[..kept]);
            assert_eq!(sequence.len(), kept);
            let shared = kept / PAGE;
            tree.reserve(&mut sequence, own + now).unwrap();
            // Only the last, private pages may be filled; a copied one keeps its first slots of keys only, so the
            // whole page is filled anew.
            for page in &sequence.pages()[shared..] {
                random_page(&mut random, page.as_ptr(), dims, 0);
            }
            let own: Vec<u32> = (0..own).map(|at| 10_000 + (index * 1000 + at) as u32).collect();
            sequence.extend(&own);
            rows += now;
            sequences.push((sequence, now));
        }
        let queries = (0..rows * KV_HEADS * GROUP * dims).map(|_| random.symmetric()).collect();
        Batch { sequences, queries, dims, _tree: tree }
    }

    fn run(batch: &Batch, level: Level, threads: usize) -> Vec<f32> {
        let pool = Pool::new(&[]);
        let mut plan = Plan::default();
        let entries = batch.sequences.iter().map(|(sequence, tokens)| Entry { sequence, tokens: *tokens });
        plan.prepare(entries, GROUP, KV_HEADS, threads);
        let width = KV_HEADS * GROUP * batch.dims;
        let mut out = vec![f32::NAN; batch.queries.len()];
        let mut scratch = Region::zeroed(plan.scratch() * plan.scratches(pool.threads(), KV_HEADS));
        let heads = Heads {
            queries: batch.queries.as_ptr(),
            query_stride: width,
            out: out.as_mut_ptr(),
            out_stride: width,
            head_stride: batch.dims,
            group: GROUP,
            kv_heads: KV_HEADS,
            layer_offset: 0,
            scratch: scratch.as_mut_ptr(),
        };
        // SAFETY: everything is as large as the plan needs, and the level is available.
        unsafe { attend(&pool, level, &plan, &heads) };
        out
    }

    /// The definition, in double precision.
    fn exact(batch: &Batch) -> Vec<f64> {
        let dims = batch.dims;
        let mut out = Vec::new();
        let mut row = 0;
        for (sequence, tokens) in &batch.sequences {
            for offset in 0..*tokens {
                let visible = sequence.len() + offset + 1;
                for head in 0..KV_HEADS * GROUP {
                    let query = &batch.queries[(row * KV_HEADS * GROUP + head) * dims..][..dims];
                    let tile = head / GROUP * 2 * PAGE * dims;
                    // SAFETY: the page has two tiles for each key-value head.
                    let at = |position: usize, index: usize| unsafe {
                        f64::from(sequence.pages()[position / PAGE].as_ptr().add(tile + index).read())
                    };
                    let scores: Vec<f64> = (0..visible)
                        .map(|position| {
                            let key = |dim| at(position, dim * PAGE + position % PAGE);
                            (0..dims).map(|dim| f64::from(query[dim]) * key(dim)).sum()
                        })
                        .collect();
                    let greatest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    let total: f64 = scores.iter().map(|score| (score - greatest).exp()).sum();
                    for dim in 0..dims {
                        let value = |position| at(position, PAGE * dims + position % PAGE * dims + dim);
                        let sum: f64 = (0..visible)
                            .map(|position| (scores[position] - greatest).exp() * value(position))
                            .sum();
                        out.push(sum / total);
                    }
                }
                row += 1;
            }
        }
        out
    }

    const CUTS: [(usize, usize, usize); 9] = [
        (100, 0, 1),
        (96, 5, 1),
        (100, 20, 1),
        (33, 0, 9),
        (48, 1, 1),
        (0, 0, 40),
        (96, 64, 2),
        (0, 0, 1),
        (97, 14, 3),
    ];

    #[test]
    fn attention_agrees_with_its_definition_at_every_level() {
        for dims in [16, 32, 48, 64, 80, 128] {
            let batch = batch(dims, 100, &CUTS);
            let exact = exact(&batch);
            let mut first: Option<Vec<u32>> = None;
            for level in Level::available() {
                let found = run(&batch, level, 2);
                for (at, (found, exact)) in found.iter().zip(&exact).enumerate() {
                    assert!(
                        (f64::from(*found) - exact).abs() < 2e-5,
                        "{dims} {level:?} {at}: {found} {exact}"
                    );
                }
                let found: Vec<u32> = found.iter().map(|value| value.to_bits()).collect();
                assert_eq!(first.get_or_insert_with(|| found.clone()), &found, "{level:?}");
            }
        }
    }

    #[test]
    fn how_rows_are_cut_into_blocks_changes_nothing() {
        // The second batch is small enough to be split by positions and dimensions.
        for cuts in [&CUTS[..], &[(100, 0, 1), (96, 30, 2), (0, 0, 5)]] {
            for dims in [16, 48, 64] {
                let batch = batch(dims, 100, cuts);
                let expected = run(&batch, Level::detect(), 1);
                for threads in [2, 3, 8, 100] {
                    assert_eq!(run(&batch, Level::detect(), threads), expected, "{threads} threads");
                }
            }
        }
    }

    #[test]
    fn every_row_meets_every_page_once_and_in_order() {
        let batch = batch(16, 100, &CUTS);
        for threads in [1, 2, 5] {
            let mut plan = Plan::default();
            let entries =
                batch.sequences.iter().map(|(sequence, tokens)| Entry { sequence, tokens: *tokens });
            plan.prepare(entries, GROUP, KV_HEADS, threads);
            let mut next = vec![0; plan.tokens.len() * GROUP];
            let mut covered = 0;
            for block in &plan.blocks {
                assert_eq!(block.first_row, covered);
                covered = block.last_row;
                for segment in &plan.segments[block.first_segment..block.last_segment] {
                    assert!(segment.first_row >= block.first_row && segment.last_row <= block.last_row);
                    for row in segment.first_row..segment.last_row {
                        assert_eq!(segment.first_page, next[row]);
                        next[row] = segment.last_page;
                        let member = &plan.members[plan.tokens[row / GROUP].member];
                        let shown = &plan.members[segment.member];
                        for page in segment.first_page..segment.last_page {
                            assert_eq!(plan.pages[member.pages + page], plan.pages[shown.pages + page]);
                        }
                    }
                }
            }
            assert_eq!(covered, next.len());
            for (row, next) in next.iter().enumerate() {
                assert!(next * PAGE >= plan.tokens[row / GROUP].visible);
            }
        }
    }

    #[test]
    fn siblings_share_one_segment_for_their_common_pages() {
        let cuts = vec![(96, 10, 1); 12];
        let batch = batch(16, 100, &cuts);
        let mut plan = Plan::default();
        let entries = batch.sequences.iter().map(|(sequence, tokens)| Entry { sequence, tokens: *tokens });
        plan.prepare(entries, GROUP, KV_HEADS, 1);
        let shared = plan.segments.iter().filter(|segment| segment.first_page == 0).count();
        assert_eq!(shared, plan.blocks.len());
        assert!(plan.segments.iter().any(|segment| segment.last_row - segment.first_row > GROUP));
    }
}
