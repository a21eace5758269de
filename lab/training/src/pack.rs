//! Packs: examples laid out in one sequence of rows, with a prefix that several share computed once.
//!
//! A pack is a forest of segments. A row sees the ancestors of its segment whole and its own segment up to itself, and
//! its position is what it would be in its example alone, so every example is computed as if it stood alone.
//!
//! Invariants: segments are in depth-first order and cover the rows without gaps; a parent comes before its children;
//! the last token of a prompt is never shared, for what follows it may differ.

use std::ops::Range;

use crate::data::Example;

/// A shared prefix shorter than this is computed again: a segment costs more than its tokens.
const SHORTEST_SHARED: usize = 8;

/// A run of rows with the same ancestors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) rows: Range<usize>,
    pub(crate) parent: Option<usize>,
    /// Position of its first row in its examples.
    pub(crate) position: usize,
}

/// Which row sees which.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    segments: Vec<Segment>,
}

impl Layout {
    pub(crate) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Number of rows.
    pub(crate) fn tokens(&self) -> usize {
        self.segments.last().map_or(0, |segment| segment.rows.end)
    }

    /// Ancestors of a segment, nearest first.
    pub(crate) fn ancestors(&self, segment: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(self.segments[segment].parent, |&index| self.segments[index].parent)
    }

    /// Segments of each tree.
    pub(crate) fn trees(&self) -> Vec<Range<usize>> {
        let roots = (0..self.segments.len()).filter(|&index| self.segments[index].parent.is_none());
        let starts: Vec<usize> = roots.chain([self.segments.len()]).collect();
        starts.windows(2).map(|pair| pair[0]..pair[1]).collect()
    }

    /// The end of all that sees each row: row i sees row j if j <= i < the end of j.
    #[cfg(any(feature = "cuda", test))]
    pub(crate) fn ends(&self) -> Vec<u32> {
        let mut ends: Vec<usize> = self.segments.iter().map(|segment| segment.rows.end).collect();
        // Children come after their parents, so what comes from a segment is known before its parent is looked at.
        for (index, segment) in self.segments.iter().enumerate().rev() {
            if let Some(parent) = segment.parent {
                ends[parent] = ends[parent].max(ends[index]);
            }
        }
        let of_rows = self.segments.iter().zip(ends);
        of_rows.flat_map(|(segment, end)| std::iter::repeat_n(end as u32, segment.rows.len())).collect()
    }

    /// Who sees each tile of rows, in parts of so many rows at most: first row of the tile, first and one past the last row that
    /// may look, for each part; and the number of the first part of each tile, and of all.
    #[cfg(any(feature = "cuda", test))]
    pub(crate) fn parts(ends: &[u32], tile: usize, most: usize) -> (Vec<u32>, Vec<u32>) {
        let (mut parts, mut firsts) = (Vec::new(), vec![0]);
        for (index, of_tile) in ends.chunks(tile).enumerate() {
            let (first, end) = (index * tile, of_tile.iter().copied().max().unwrap_or(0));
            for from in (first as u32..end).step_by(most) {
                parts.extend([first as u32, from, end.min(from + most as u32)]);
            }
            firsts.push((parts.len() / 3) as u32);
        }
        (parts, firsts)
    }

    /// Position of each row in its examples.
    pub(crate) fn positions(&self) -> impl Iterator<Item = usize> {
        self.segments.iter().flat_map(|segment| (0..segment.rows.len()).map(|at| segment.position + at))
    }
}

/// A row whose next token counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) row: u32,
    /// The token that should follow.
    pub(crate) token: u32,
}

/// Examples in one sequence of rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pack {
    pub(crate) tokens: Vec<u32>,
    pub(crate) layout: Layout,
    /// In the order of their rows.
    pub(crate) targets: Vec<Target>,
}

/// Lays examples out in packs of at most `limit` rows (more only if one example is longer), those with a common prefix
/// together.
pub(crate) fn pack(examples: &[&Example], limit: usize) -> Vec<Pack> {
    let mut sorted = examples.to_vec();
    sorted.sort_by(|a, b| a.tokens.cmp(&b.tokens));
    let mut packs = Vec::new();
    let mut group: Vec<&Example> = Vec::new();
    let mut rows = 0;
    for example in sorted {
        let shared = group.last().map_or(0, |last| shared(last, example));
        let more = example.tokens.len() - shared;
        if !group.is_empty() && rows + more > limit {
            packs.push(Pack::new(&group));
            group.clear();
            rows = example.tokens.len();
        } else {
            rows += more;
        }
        group.push(example);
    }
    if !group.is_empty() {
        packs.push(Pack::new(&group));
    }
    packs
}

/// Tokens that two examples can share.
fn shared(a: &Example, b: &Example) -> usize {
    let most = a.prompt.min(b.prompt).saturating_sub(1);
    let common = a.tokens.iter().zip(&b.tokens).take(most).take_while(|(a, b)| a == b).count();
    if common < SHORTEST_SHARED { 0 } else { common }
}

impl Pack {
    /// Lays out examples that are in the order of their tokens.
    fn new(examples: &[&Example]) -> Self {
        let mut pack = Self::default();
        pack.place(examples, 0, None);
        pack
    }

    /// Places what examples have after their first `from` tokens, which the segment `parent` and its ancestors hold.
    fn place(&mut self, mut examples: &[&Example], from: usize, parent: Option<usize>) {
        while let Some((first, rest)) = examples.split_first() {
            // Neighbours share least at the place where two groups meet.
            let mut common = usize::MAX;
            let mut count = 1;
            for pair in examples.windows(2) {
                let here = shared(pair[0], pair[1]);
                if here < from + SHORTEST_SHARED {
                    break;
                }
                common = common.min(here);
                count += 1;
            }
            if count == 1 {
                self.segment(&first.tokens[from..], from, parent);
                let start = self.tokens.len() - first.tokens.len();
                for at in first.prompt..first.tokens.len() {
                    self.targets.push(Target { row: (start + at - 1) as u32, token: first.tokens[at] });
                }
                examples = rest;
            } else {
                let segment = self.segment(&first.tokens[from..common], from, parent);
                self.place(&examples[..count], common, Some(segment));
                examples = &examples[count..];
            }
        }
    }

    fn segment(&mut self, tokens: &[u32], position: usize, parent: Option<usize>) -> usize {
        let start = self.tokens.len();
        self.tokens.extend(tokens);
        self.layout.segments.push(Segment { rows: start..self.tokens.len(), parent, position });
        self.layout.segments.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn example(prompt: &[u32], answer: &[u32]) -> Example {
        let tokens: Vec<u32> = prompt.iter().chain(answer).copied().collect();
        Example { tokens, prompt: prompt.len(), group: 0 }
    }

    /// Every path from a root to a leaf, with its targets.
    fn unpack(pack: &Pack) -> Vec<(Vec<u32>, Vec<u32>)> {
        let segments = pack.layout.segments();
        let is_parent = |index: usize| segments.iter().any(|segment| segment.parent == Some(index));
        let leaves = (0..segments.len()).filter(|&index| !is_parent(index));
        leaves
            .map(|leaf| {
                let mut path: Vec<usize> = pack.layout.ancestors(leaf).collect();
                path.reverse();
                path.push(leaf);
                let mut tokens = Vec::new();
                for index in path {
                    assert_eq!(segments[index].position, tokens.len());
                    tokens.extend(&pack.tokens[segments[index].rows.clone()]);
                }
                let own = segments[leaf].rows.clone();
                let targets = pack.targets.iter().filter(|target| own.contains(&(target.row as usize)));
                (tokens, targets.map(|target| target.token).collect())
            })
            .collect()
    }

    #[test]
    fn a_shared_prefix_is_there_once() {
        let prefix: Vec<u32> = (0..20).collect();
        let with = |more: &[u32]| [&prefix[..], more].concat();
        let examples = [
            example(&with(&[30, 31]), &[1, 2]),
            example(&with(&[40]), &[3]),
            example(&with(&[30, 31]), &[4]),
        ];
        let packs = pack(&examples.iter().collect::<Vec<_>>(), 100);
        assert_eq!(packs.len(), 1);
        assert_eq!(packs[0].tokens.len(), 20 + 4 + 3 + 2);
        assert_eq!(packs[0].layout.trees().len(), 1);
        assert_eq!(packs[0].targets.len(), 4);
    }

    #[test]
    fn a_row_is_seen_by_what_follows_it_in_its_examples() {
        let with = |prefix: &[u32], more: &[u32]| [prefix, more].concat();
        let (root, branch): (Vec<u32>, Vec<u32>) = ((0..10).collect(), (20..30).collect());
        let inner = with(&root, &branch);
        let examples = [
            example(&with(&inner, &[40]), &[1]),
            example(&with(&inner, &[41]), &[2]),
            example(&with(&root, &[42]), &[3, 4]),
            example(&[50, 51], &[5]),
        ];
        let packs = pack(&examples.iter().collect::<Vec<_>>(), 100);
        let layout = &packs[0].layout;
        let ends = layout.ends();
        for (index, segment) in layout.segments().iter().enumerate() {
            for row in segment.rows.clone() {
                let seen: Vec<usize> =
                    (0..layout.tokens()).filter(|&j| j <= row && row < ends[j] as usize).collect();
                let mut expected: Vec<usize> = layout
                    .ancestors(index)
                    .flat_map(|ancestor| layout.segments()[ancestor].rows.clone())
                    .chain(segment.rows.start..=row)
                    .collect();
                expected.sort_unstable();
                assert_eq!(seen, expected, "row {row}");
            }
        }
        let (parts, firsts) = Layout::parts(&ends, 8, 16);
        let parts = parts.as_chunks::<3>().0;
        assert_eq!(firsts.len(), layout.tokens().div_ceil(8) + 1);
        for (tile, of_tile) in ends.chunks(8).enumerate() {
            let own = &parts[firsts[tile] as usize..firsts[tile + 1] as usize];
            let mut next = (tile * 8) as u32;
            for &[first, from, to] in own {
                assert_eq!((first as usize, from), (tile * 8, next));
                assert!(from < to && to - from <= 16);
                next = to;
            }
            assert_eq!(next, *of_tile.iter().max().unwrap());
        }
    }

    #[test]
    fn rows_are_limited() {
        let examples: Vec<_> = (0..10).map(|n| example(&[n; 30], &[1])).collect();
        let packs = pack(&examples.iter().collect::<Vec<_>>(), 100);
        assert_eq!(packs.len(), 4);
        assert!(packs.iter().all(|pack| pack.tokens.len() <= 100));
    }

    proptest! {
        #[test]
        fn every_example_is_a_path(
            all in prop::collection::vec((prop::collection::vec(0_u32..2, 1..40), prop::collection::vec(0_u32..2, 1..6)), 1..12),
            limit in 10_usize..200,
        ) {
            let examples: Vec<_> = all.iter().map(|(prompt, answer)| example(prompt, answer)).collect();
            let packs = pack(&examples.iter().collect::<Vec<_>>(), limit);
            let mut found: Vec<_> = packs.iter().flat_map(unpack).collect();
            let mut expected: Vec<_> =
                examples.iter().map(|e| (e.tokens.clone(), e.tokens[e.prompt..].to_vec())).collect();
            found.sort();
            expected.sort();
            prop_assert_eq!(found, expected);
            for pack in &packs {
                let end = pack.layout.segments().iter().fold(0, |end, segment| {
                    assert_eq!(segment.rows.start, end);
                    segment.rows.end
                });
                prop_assert_eq!(end, pack.tokens.len());
                prop_assert_eq!(pack.layout.positions().count(), end);
            }
        }
    }
}
