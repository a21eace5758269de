//! What one pass does, worked out before any arithmetic.
//!
//! Attention is cut into chunks of [`CHUNK`] positions, counted from the start of a sequence. A row attends to each
//! of its chunks apart and merges the results in order, so its sums never depend on where a prefix is shared. Rows
//! whose chunk lies in the same pages form one [`Segment`]: its keys and values are read once for all of them.

use std::collections::HashMap;

use crate::backend::Feed;
use crate::kv::{PAGE, Sequence};

/// Positions that are attended to in one piece.
pub(super) const CHUNK: usize = 512;
/// Pages of a chunk.
pub(super) const CHUNK_PAGES: usize = CHUNK / PAGE;

/// Rows of one pass and what they attend to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Token of each row; rows of a feed follow one another.
    pub(super) tokens: Vec<u32>,
    /// Position of each row in its sequence.
    pub(super) positions: Vec<u32>,
    /// Place of each row's keys and values: the page's place times [`PAGE`], plus the slot in it.
    pub(super) slots: Vec<u32>,
    /// Number of each row's first partial result; it has one for each of its chunks.
    pub(super) first_partial: Vec<u32>,
    /// Partial results of all rows.
    pub(super) partials: usize,
    /// What is attended to.
    pub(super) segments: Vec<Segment>,
    /// Rows whose logits are wanted.
    pub(super) wanted: Vec<u32>,
}

/// A chunk in memory and the rows that attend to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// First position.
    pub(super) start: usize,
    /// One past the last position that holds keys and values.
    pub(super) end: usize,
    /// Places of the pages from `start` on; those beyond `end` repeat the first.
    pub(super) pages: [u32; CHUNK_PAGES],
    /// Rows, ascending. Each sees at least the position `start`.
    pub(super) rows: Vec<u32>,
}

impl Segment {
    /// Whether all of the chunk holds keys and values.
    pub(super) fn is_full(&self) -> bool {
        self.end - self.start == CHUNK
    }
}

impl Step {
    /// Plans a pass. Every sequence must have pages for its feed.
    ///
    /// # Errors
    /// One sentence if a sequence has no page for a token: nothing was reserved for it.
    pub(super) fn plan(feeds: &[Feed<'_, Sequence>]) -> Result<Self, String> {
        let mut step = Self {
            tokens: Vec::new(),
            positions: Vec::new(),
            slots: Vec::new(),
            first_partial: Vec::new(),
            partials: 0,
            segments: Vec::new(),
            wanted: Vec::new(),
        };
        let mut known = HashMap::new();
        for feed in feeds {
            step.add(feed, &mut known)?;
        }
        Ok(step)
    }

    fn add(
        &mut self,
        feed: &Feed<'_, Sequence>,
        known: &mut HashMap<(usize, [u32; CHUNK_PAGES]), usize>,
    ) -> Result<(), String> {
        let (before, total) = (feed.sequence.len(), feed.sequence.len() + feed.tokens.len());
        let places: Vec<u32> = feed
            .sequence
            .pages()
            .iter()
            .take(total.div_ceil(PAGE))
            .map(|page| u32::try_from(page.place()).unwrap_or(u32::MAX))
            .collect();
        if places.len() * PAGE < total {
            return Err(format!(
                "{total} tokens were fed to a sequence with {} pages of {PAGE}",
                places.len()
            ));
        }
        let first_row = self.tokens.len();
        for (index, &token) in feed.tokens.iter().enumerate() {
            let position = before + index;
            self.tokens.push(token);
            self.positions.push(position as u32);
            self.slots.push(places[position / PAGE] * PAGE as u32 + (position % PAGE) as u32);
            self.first_partial.push(self.partials as u32);
            self.partials += position / CHUNK + 1;
        }
        for (chunk, pages) in places.chunks(CHUNK_PAGES).enumerate() {
            let start = chunk * CHUNK;
            let mut key = [pages[0]; CHUNK_PAGES];
            key[..pages.len()].copy_from_slice(pages);
            let index = *known.entry((pages.len(), key)).or_insert_with(|| {
                self.segments.push(Segment { start, end: start, pages: key, rows: Vec::new() });
                self.segments.len() - 1
            });
            let segment = &mut self.segments[index];
            segment.end = segment.end.max(total.min(start + CHUNK));
            let seeing = first_row + start.saturating_sub(before)..first_row + feed.tokens.len();
            segment.rows.extend(seeing.map(|row| row as u32));
        }
        let wanted = feed.logits.min(feed.tokens.len());
        self.wanted.extend((self.tokens.len() - wanted..self.tokens.len()).map(|row| row as u32));
        Ok(())
    }
}

/// A form of the attention kernel.
#[cfg(any(test, feature = "cuda"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    /// Queries of one block.
    pub(super) tile: usize,
    /// Times 16 queries of one of its warps.
    pub(super) halves: usize,
}

/// The form that is fast for few queries and the one for many. Both give the same bits.
#[cfg(any(test, feature = "cuda"))]
pub(super) const FORMS: [Form; 2] = [Form { tile: 64, halves: 1 }, Form { tile: 128, halves: 2 }];

/// Queries of a key-value head in one pass from which on they are many.
#[cfg(feature = "cuda")]
pub(super) const MANY_QUERIES: usize = 1024;

/// What the attention kernel multiplies scores with: its weights are powers of two.
#[cfg(any(test, feature = "cuda"))]
pub(super) fn score_scale(head_dim: usize) -> f32 {
    std::f32::consts::LOG2_E / (head_dim as f32).sqrt()
}

/// A step as the attention kernel reads it; the layouts are described there.
#[cfg(any(test, feature = "cuda"))]
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) items: Vec<u32>,
    pub(super) segments: Vec<u32>,
    pub(super) members: Vec<u32>,
    pub(super) rows: Vec<u32>,
}

#[cfg(any(test, feature = "cuda"))]
impl Tables {
    /// Numbers of one item.
    pub(super) const ITEM: usize = 3;

    /// Tables of a step whose key-value heads serve `group` query heads each, for blocks of `tile` queries.
    pub(super) fn new(step: &Step, group: usize, tile: usize) -> Self {
        let mut tables =
            Self { items: Vec::new(), segments: Vec::new(), members: Vec::new(), rows: Vec::new() };
        for (index, segment) in step.segments.iter().enumerate() {
            let queries = segment.rows.len() * group;
            for first in (0..queries).step_by(tile) {
                tables.items.extend([index as u32, first as u32, tile.min(queries - first) as u32]);
            }
            let first_member = tables.members.len() as u32;
            tables.segments.extend([segment.start as u32, segment.end as u32, first_member]);
            tables.segments.extend(segment.pages);
            tables.members.extend(&segment.rows);
        }
        tables.rows =
            step.positions.iter().zip(&step.first_partial).flat_map(|(p, first)| [p + 1, *first]).collect();
        tables
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::{KvTree, Scope};

    fn sequence(tree: &mut KvTree, tokens: &[u32], held: usize) -> Sequence {
        let mut sequence = tree.begin(tokens, Scope::default());
        let from = sequence.len();
        tree.reserve(&mut sequence, tokens.len() - from).unwrap();
        if held > from {
            sequence.extend(&tokens[from..held]);
        }
        sequence
    }

    #[test]
    fn rows_that_share_pages_form_one_segment_and_tails_their_own() {
        const LENGTH: usize = 2 * CHUNK + 88;
        let mut tree = KvTree::new(1, 8192);
        let prefix: Vec<u32> = (0..LENGTH as u32).collect();
        let parent = sequence(&mut tree, &prefix, LENGTH);
        tree.publish(&parent);
        let mut forks: Vec<Sequence> = (0..3)
            .map(|fork| {
                let mut tokens = prefix.clone();
                tokens.push(1000 + fork);
                sequence(&mut tree, &tokens, LENGTH)
            })
            .collect();
        let tokens = [7];
        let feeds: Vec<_> =
            forks.iter_mut().map(|sequence| Feed { sequence, tokens: &tokens, logits: 1 }).collect();
        let step = Step::plan(&feeds).unwrap();
        assert_eq!(step.positions, [LENGTH as u32; 3]);
        assert_eq!((step.first_partial.as_slice(), step.partials), ([0, 3, 6].as_slice(), 9));
        let spans: Vec<_> = step.segments.iter().map(|s| (s.start, s.end, s.rows.clone())).collect();
        assert_eq!(
            spans,
            [
                (0, CHUNK, vec![0, 1, 2]),
                (CHUNK, 2 * CHUNK, vec![0, 1, 2]),
                (2 * CHUNK, LENGTH + 1, vec![0]),
                (2 * CHUNK, LENGTH + 1, vec![1]),
                (2 * CHUNK, LENGTH + 1, vec![2])
            ]
        );
        assert_eq!(step.wanted, [0, 1, 2]);
    }

    #[test]
    fn prompt_rows_attend_from_the_chunk_they_are_in_backwards() {
        let mut tree = KvTree::new(1, 8192);
        let prompt: Vec<u32> = (0..CHUNK as u32 + 144).collect();
        let mut one = sequence(&mut tree, &prompt, CHUNK - 56);
        let feed = Feed { sequence: &mut one, tokens: &prompt[CHUNK - 56..], logits: 0 };
        let step = Step::plan(&[feed]).unwrap();
        assert_eq!(step.segments[0].rows, (0..200).collect::<Vec<_>>());
        assert_eq!(step.segments[1].rows, (56..200).collect::<Vec<_>>());
        assert_eq!(step.segments[1].end, prompt.len());
        assert_eq!(step.partials, 56 + 144 * 2);
        assert!(step.wanted.is_empty());
    }

    #[test]
    fn a_feed_without_pages_is_refused() {
        let mut tree = KvTree::new(1, 8192);
        let mut one = sequence(&mut tree, &[1, 2, 3], 3);
        let tokens = [0; 14];
        let feed = Feed { sequence: &mut one, tokens: &tokens, logits: 0 };
        assert!(Step::plan(&[feed]).unwrap_err().contains("17 tokens"));
    }
}
