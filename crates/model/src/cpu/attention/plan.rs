//! How a step's attention is cut into tasks.
//!
//! Rows are the query rows of one key-value head: token by token, and for each token its heads of the group.

use super::super::simd::LANES;
use crate::kv::{PAGE, Sequence};

/// Pages that a kernel goes through at a time.
pub(super) const PAGES: usize = 4;
/// Rows of the tallest register tile.
pub(super) const ROWS: usize = 6;
/// Up to so many rows, all threads work on one block of each key-value head: on scores by positions, on sums by
/// dimensions. Keys and values are then read once, where blocks of few rows would each read them again.
pub(super) const SPLIT_ROWS: usize = 32;
/// Floats of scores that a block may take: they stay in the second-level cache.
pub(super) const BLOCK_SCORES: usize = 1 << 16;

/// A sequence of the batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    /// Its first row among the activations.
    pub(super) first_row: usize,
    /// Its tokens in this step.
    pub(super) tokens: usize,
    /// Position of the first of them.
    pub(super) start: usize,
    /// Its pages among those of the plan.
    pub(super) pages: usize,
    /// Number of its pages.
    pub(super) page_count: usize,
    /// Pages it has in common with the member before it.
    pub(super) common: usize,
}

/// A query row, up to the head within its group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    pub(super) row: usize,
    pub(super) member: usize,
    /// Positions it sees: its own is the last.
    pub(super) visible: usize,
}

/// Rows that share pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) first_row: usize,
    pub(super) last_row: usize,
    pub(super) first_page: usize,
    pub(super) last_page: usize,
    /// A member that has these pages.
    pub(super) member: usize,
}

/// Rows that one task computes, and its segments in the order of their pages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    pub(super) first_row: usize,
    pub(super) last_row: usize,
    pub(super) first_segment: usize,
    pub(super) last_segment: usize,
}

/// How a step's attention is cut into tasks. Its buffers are kept from step to step.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(super) members: Vec<Member>,
    /// Room for sorting them.
    pub(super) sorted: Vec<Member>,
    pub(super) order: Vec<usize>,
    pub(super) tokens: Vec<Token>,
    pub(super) pages: Vec<*mut f32>,
    pub(super) segments: Vec<Segment>,
    pub(super) blocks: Vec<Block>,
    pub(super) longest: usize,
    /// Whether the one block is worked on by all threads at a time.
    pub(super) split: bool,
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
