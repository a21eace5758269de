//! Sequences and the index of published prefixes.
//!
//! The index is a tree whose nodes are pages. A node with 16 tokens may have children; one with fewer is a leaf.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::{PAGE, Page, PagePool};
use crate::error::EngineError;

/// A path through the tree: the pages of one sequence and the tokens they hold.
#[derive(Debug)]
pub(crate) struct Sequence {
    tokens: Vec<u32>,
    /// Pages of `tokens` and of what has been reserved beyond.
    pages: Vec<Arc<Page>>,
    /// Page of a prefix that ends inside it; copied when the sequence gets its own page.
    borrowed: Option<Arc<Page>>,
}

impl Sequence {
    /// Tokens whose keys and values are there.
    pub(crate) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Tokens that fit the pages it has.
    pub(crate) fn capacity(&self) -> usize {
        self.pages.len() * PAGE
    }

    /// Its pages, those reserved for later included.
    pub(crate) fn pages(&self) -> &[Arc<Page>] {
        &self.pages
    }

    /// Counts tokens as held, after their keys and values were written. They must fit what was reserved.
    pub(crate) fn extend(&mut self, tokens: &[u32]) {
        debug_assert!(self.len() + tokens.len() <= self.capacity());
        self.tokens.extend_from_slice(tokens);
    }
}

/// The budget is held by live sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutOfPages {
    /// Pages that the sequence would hold alone.
    pub(crate) needed: usize,
    /// Pages of the budget.
    pub(crate) capacity: usize,
}

impl OutOfPages {
    /// The same in bytes.
    pub(crate) fn in_bytes(self, page_bytes: usize) -> EngineError {
        EngineError::KvBudget { needed: self.needed * page_bytes, budget: self.capacity * page_bytes }
    }
}

/// Node 0 is the root, which holds no page.
const ROOT: usize = 0;

#[derive(Debug)]
struct Node {
    parent: usize,
    tokens: Vec<u32>,
    page: Option<Arc<Page>>,
    children: Vec<usize>,
    used: u64,
}

impl Node {
    fn new(parent: usize, tokens: &[u32], page: Option<Arc<Page>>, used: u64) -> Self {
        Self { parent, tokens: tokens.to_vec(), page, children: Vec::new(), used }
    }

    /// Whether nobody but the index holds the node's page.
    fn is_idle(&self) -> bool {
        self.page.as_ref().is_some_and(|page| Arc::strong_count(page) == 1)
    }
}

/// How far a search for a prefix came.
struct Match {
    /// Nodes whose 16 tokens all match.
    full: Vec<usize>,
    /// A further node and how many of its tokens match.
    partial: Option<(usize, usize)>,
}

impl Match {
    fn len(&self) -> usize {
        self.full.len() * PAGE + self.partial.map_or(0, |(_, tokens)| tokens)
    }
}

/// Pages, sequences and the index of published prefixes, under one budget.
#[derive(Debug)]
pub(crate) struct KvTree {
    pool: Arc<PagePool>,
    nodes: Vec<Option<Node>>,
    vacant: Vec<usize>,
    clock: u64,
}

impl KvTree {
    /// An empty tree whose pages have `page_floats` numbers each and together take at most `budget` bytes.
    pub(crate) fn new(page_floats: usize, budget: usize) -> Self {
        let capacity = budget / (page_floats.max(1) * size_of::<f32>());
        Self {
            pool: PagePool::new(page_floats, capacity),
            nodes: vec![Some(Node::new(ROOT, &[], None, 0))],
            vacant: Vec::new(),
            clock: 0,
        }
    }

    /// Where the pages come from.
    pub(crate) fn pool(&self) -> &PagePool {
        &self.pool
    }

    /// Length of the longest published prefix of `tokens`.
    pub(crate) fn cached_prefix(&self, tokens: &[u32]) -> usize {
        self.find(tokens).len()
    }

    /// What [`Backend::begin`](crate::Backend::begin) gives: a sequence that leaves at least the last token to be fed.
    pub(crate) fn begin_prompt(&mut self, tokens: &[u32]) -> (Sequence, usize) {
        let sequence = self.begin(&tokens[..tokens.len().saturating_sub(1)]);
        let cached = sequence.len();
        (sequence, cached)
    }

    /// A sequence that starts with the longest published prefix of `tokens`.
    pub(crate) fn begin(&mut self, tokens: &[u32]) -> Sequence {
        let found = self.find(tokens);
        self.clock += 1;
        let mut sequence =
            Sequence { tokens: tokens[..found.len()].to_vec(), pages: Vec::new(), borrowed: None };
        for &node in &found.full {
            sequence.pages.extend(self.touch(node));
        }
        if let Some((node, _)) = found.partial {
            sequence.borrowed = self.touch(node);
        }
        sequence
    }

    /// Gives a sequence pages for `tokens` more tokens, evicting idle prefixes if it must.
    ///
    /// # Errors
    /// [`OutOfPages`] if live sequences hold too much of the budget; nothing has changed then.
    pub(crate) fn reserve(&mut self, sequence: &mut Sequence, tokens: usize) -> Result<(), OutOfPages> {
        self.reserve_with(sequence, tokens, Page::copy_from)
    }

    /// Like [`KvTree::reserve`], with `copy(target, source)` for the page in which the sequence leaves its prefix.
    ///
    /// # Errors
    /// [`OutOfPages`] if live sequences hold too much of the budget; nothing has changed then.
    pub(crate) fn reserve_with(
        &mut self,
        sequence: &mut Sequence,
        tokens: usize,
        mut copy: impl FnMut(&mut Arc<Page>, &Page),
    ) -> Result<(), OutOfPages> {
        let needed = sequence.len().saturating_add(tokens).div_ceil(PAGE);
        let missing = needed.saturating_sub(sequence.pages.len());
        if missing == 0 {
            return Ok(());
        }
        let free = self.pool.capacity() - self.pool.in_use();
        if missing > free && missing - free > self.evictable() {
            return Err(OutOfPages { needed, capacity: self.pool.capacity() });
        }
        for _ in 0..missing {
            let page = loop {
                match self.pool.allocate() {
                    Some(page) => break Some(page),
                    None if self.evict_one() => {}
                    None => break None,
                }
            };
            let Some(mut page) = page else {
                return Err(OutOfPages { needed, capacity: self.pool.capacity() });
            };
            if let Some(source) = sequence.borrowed.take() {
                copy(&mut page, &source);
            }
            sequence.pages.push(page);
        }
        Ok(())
    }

    /// Makes the sequence's tokens findable as a prefix.
    pub(crate) fn publish(&mut self, sequence: &Sequence) {
        self.clock += 1;
        let mut at = ROOT;
        for (tokens, page) in sequence.tokens.chunks(PAGE).zip(&sequence.pages) {
            at = self.publish_page(at, tokens, page);
        }
    }

    /// Finds or makes the child of `parent` that holds `tokens`.
    fn publish_page(&mut self, parent: usize, tokens: &[u32], page: &Arc<Page>) -> usize {
        let clock = self.clock;
        let children = self.node(parent).map_or(&[][..], |node| &node.children);
        let known = children.iter().copied().find(|&child| {
            self.node(child).is_some_and(|node| {
                node.tokens.starts_with(tokens)
                    || (tokens.starts_with(&node.tokens) && !node.tokens.is_empty())
            })
        });
        let Some(child) = known else {
            let child = self.vacant.pop().unwrap_or_else(|| {
                self.nodes.push(None);
                self.nodes.len() - 1
            });
            self.nodes[child] = Some(Node::new(parent, tokens, Some(Arc::clone(page)), clock));
            if let Some(node) = &mut self.nodes[parent] {
                node.children.push(child);
            }
            return child;
        };
        if let Some(node) = &mut self.nodes[child] {
            node.used = clock;
            if node.tokens.len() < tokens.len() {
                // A shorter node is a leaf, so its page can be replaced by the one that holds more.
                node.tokens = tokens.to_vec();
                node.page = Some(Arc::clone(page));
            }
        }
        child
    }

    fn find(&self, tokens: &[u32]) -> Match {
        let mut found = Match { full: Vec::new(), partial: None };
        let mut at = ROOT;
        loop {
            let rest = &tokens[found.full.len() * PAGE..];
            let children = self.node(at).map_or(&[][..], |node| &node.children);
            let best = children
                .iter()
                .filter_map(|&child| Some((child, common(&self.node(child)?.tokens, rest))))
                .max_by_key(|&(_, length)| length);
            match best {
                Some((child, PAGE)) => {
                    found.full.push(child);
                    at = child;
                }
                Some((child, length)) if length > 0 => {
                    found.partial = Some((child, length));
                    return found;
                }
                _ => return found,
            }
        }
    }

    /// Marks a node as used now and gives its page.
    fn touch(&mut self, node: usize) -> Option<Arc<Page>> {
        let clock = self.clock;
        let node = self.nodes[node].as_mut()?;
        node.used = clock;
        node.page.clone()
    }

    /// Pages that eviction can free: those of idle nodes above which nothing but idle nodes hangs.
    fn evictable(&self) -> usize {
        // Iterative, because a path is as deep as a sequence is long: children are visited before their parents.
        let mut order = vec![ROOT];
        let mut next = 0;
        while next < order.len() {
            if let Some(node) = self.node(order[next]) {
                order.extend_from_slice(&node.children);
            }
            next += 1;
        }
        let mut blocked = vec![false; self.nodes.len()];
        let mut count = 0;
        for &index in order[1..].iter().rev() {
            let Some(node) = self.node(index) else { continue };
            if blocked[index] || !node.is_idle() {
                blocked[node.parent] = true;
            } else {
                count += 1;
            }
        }
        count
    }

    /// Drops the idle leaf that was not used for longest. Says whether there was one.
    fn evict_one(&mut self) -> bool {
        let oldest = self
            .nodes
            .iter()
            .enumerate()
            .skip(1)
            .filter_map(|(index, node)| Some((index, node.as_ref()?)))
            .filter(|(_, node)| node.children.is_empty() && node.is_idle())
            .min_by_key(|(_, node)| node.used);
        let Some((index, parent)) = oldest.map(|(index, node)| (index, node.parent)) else {
            return false;
        };
        self.nodes[index] = None;
        self.vacant.push(index);
        if let Some(parent) = &mut self.nodes[parent] {
            parent.children.retain(|&child| child != index);
        }
        true
    }

    fn node(&self, index: usize) -> Option<&Node> {
        self.nodes.get(index)?.as_ref()
    }
}

/// Length of the common start of two token lists.
fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
