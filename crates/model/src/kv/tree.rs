//! Sequences and the index of published prefixes.
//!
//! The index is a tree whose nodes are pages. A node with 16 tokens may have children; one with fewer is a leaf. A node belongs to an
//! owner or to everybody, and a search sees no other owner's.
//!
//! Leaves are kept in the order in which they are evicted, so making room looks at as many nodes as it frees, and at the leaves
//! of live sequences among them, however large the index is.

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::{Owner, PAGE, Page, PagePool, Scope};
use crate::error::EngineError;

/// A path through the tree: the pages of one sequence and the tokens they hold.
#[derive(Debug)]
pub(crate) struct Sequence {
    scope: Scope,
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
    /// Who may find it; `None` is everybody.
    owner: Option<Owner>,
    tokens: Vec<u32>,
    page: Option<Arc<Page>>,
    children: BTreeSet<usize>,
    used: u64,
}

impl Node {
    fn new(parent: usize, owner: Option<Owner>, tokens: &[u32], page: Option<Arc<Page>>, used: u64) -> Self {
        Self { parent, owner, tokens: tokens.to_vec(), page, children: BTreeSet::new(), used }
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
    /// Nodes without children but the root, by their last use: those that were not used for longest come first.
    leaves: BTreeSet<(u64, usize)>,
    clock: u64,
    /// Tokens of prefixes that gave way to others so far.
    evicted: u64,
}

impl KvTree {
    /// An empty tree whose pages have `page_floats` numbers each and together take at most `budget` bytes.
    pub(crate) fn new(page_floats: usize, budget: usize) -> Self {
        let capacity = budget / (page_floats.max(1) * size_of::<f32>());
        Self {
            pool: PagePool::new(page_floats, capacity),
            nodes: vec![Some(Node::new(ROOT, None, &[], None, 0))],
            vacant: Vec::new(),
            leaves: BTreeSet::new(),
            clock: 0,
            evicted: 0,
        }
    }

    /// Tokens of prefixes that gave way to others so far.
    pub(crate) fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Where the pages come from.
    pub(crate) fn pool(&self) -> &PagePool {
        &self.pool
    }

    /// Length of the longest published prefix of `tokens` that one in this scope may find.
    pub(crate) fn cached_prefix(&self, tokens: &[u32], scope: Scope) -> usize {
        self.find(tokens, scope).len()
    }

    /// What [`Backend::begin`](crate::Backend::begin) gives: a sequence that leaves at least the last token to be fed.
    pub(crate) fn begin_prompt(&mut self, tokens: &[u32], scope: Scope) -> (Sequence, usize) {
        let sequence = self.begin(&tokens[..tokens.len().saturating_sub(1)], scope);
        let cached = sequence.len();
        (sequence, cached)
    }

    /// A sequence that starts with the longest published prefix of `tokens` that one in its scope may find.
    pub(crate) fn begin(&mut self, tokens: &[u32], scope: Scope) -> Sequence {
        let found = self.find(tokens, scope);
        self.clock += 1;
        let mut sequence =
            Sequence { scope, tokens: tokens[..found.len()].to_vec(), pages: Vec::new(), borrowed: None };
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
        let out_of_pages = OutOfPages { needed, capacity: self.pool.capacity() };
        for victim in self.victims(missing.saturating_sub(free)).ok_or(out_of_pages)? {
            self.evict(victim);
        }
        for _ in 0..missing {
            let mut page = self.pool.allocate().ok_or(out_of_pages)?;
            if let Some(source) = sequence.borrowed.take() {
                copy(&mut page, &source);
            }
            sequence.pages.push(page);
        }
        Ok(())
    }

    /// Makes the sequence's tokens findable as a prefix, within its scope.
    pub(crate) fn publish(&mut self, sequence: &Sequence) {
        self.clock += 1;
        let mut at = ROOT;
        // The page that a sequence only borrows holds its last tokens as well; the node that had it may have been evicted since.
        let pages = sequence.pages.iter().chain(&sequence.borrowed);
        for (number, (tokens, page)) in sequence.tokens.chunks(PAGE).zip(pages).enumerate() {
            at = self.publish_page(at, sequence.scope.owner_of_page(number), tokens, page);
        }
    }

    /// Finds or makes the child of `parent` that holds `tokens` and is this owner's.
    fn publish_page(
        &mut self,
        parent: usize,
        owner: Option<Owner>,
        tokens: &[u32],
        page: &Arc<Page>,
    ) -> usize {
        let clock = self.clock;
        let known = self.children(parent, owner).find(|&child| {
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
            self.nodes[child] = Some(Node::new(parent, owner, tokens, Some(Arc::clone(page)), clock));
            self.leaves.insert((clock, child));
            if let Some(node) = &mut self.nodes[parent] {
                self.leaves.remove(&(node.used, parent));
                node.children.insert(child);
            }
            return child;
        };
        self.touch(child);
        if let Some(node) = &mut self.nodes[child]
            && node.tokens.len() < tokens.len()
        {
            // A shorter node is a leaf, so its page can be replaced by the one that holds more.
            node.tokens = tokens.to_vec();
            node.page = Some(Arc::clone(page));
        }
        child
    }

    fn find(&self, tokens: &[u32], scope: Scope) -> Match {
        let mut found = Match { full: Vec::new(), partial: None };
        let mut at = ROOT;
        loop {
            let rest = &tokens[found.full.len() * PAGE..];
            let best = self
                .children(at, scope.owner_of_page(found.full.len()))
                .filter_map(|child| Some((child, common(&self.node(child)?.tokens, rest))))
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
        let (clock, index) = (self.clock, node);
        let node = self.nodes[index].as_mut()?;
        if self.leaves.remove(&(node.used, index)) {
            self.leaves.insert((clock, index));
        }
        node.used = clock;
        node.page.clone()
    }

    /// The nodes to evict for `count` pages, in order: each time the idle leaf that was not used for longest, where a node is a
    /// leaf once its children are gone. None if there are not as many.
    fn victims(&self, count: usize) -> Option<Vec<usize>> {
        let mut victims = Vec::with_capacity(count);
        let mut leaves = self.leaves.iter().copied().peekable();
        // What the victims so far make of their parents.
        let mut bared: BTreeSet<(u64, usize)> = BTreeSet::new();
        let mut children: HashMap<usize, usize> = HashMap::new();
        while victims.len() < count {
            let bare = bared.first().copied();
            let oldest = match (leaves.peek().copied(), bare) {
                (Some(leaf), Some(bare)) => leaf.min(bare),
                (leaf, bare) => leaf.or(bare)?,
            };
            if Some(oldest) == bare {
                bared.pop_first();
            } else {
                leaves.next();
            }
            let (_, index) = oldest;
            let Some(node) = self.node(index).filter(|node| node.is_idle()) else { continue };
            victims.push(index);
            let Some(parent) = self.node(node.parent) else { continue };
            let left = children.entry(node.parent).or_insert(parent.children.len());
            *left -= 1;
            if *left == 0 && node.parent != ROOT {
                bared.insert((parent.used, node.parent));
            }
        }
        Some(victims)
    }

    /// Drops a leaf.
    fn evict(&mut self, index: usize) {
        let Some(node) = self.nodes[index].take() else { return };
        self.evicted += node.tokens.len() as u64;
        self.leaves.remove(&(node.used, index));
        self.vacant.push(index);
        if let Some(parent) = &mut self.nodes[node.parent] {
            parent.children.remove(&index);
            if parent.children.is_empty() && node.parent != ROOT {
                self.leaves.insert((parent.used, node.parent));
            }
        }
    }

    /// Children of a node that are this owner's.
    fn children(&self, index: usize, owner: Option<Owner>) -> impl Iterator<Item = usize> + '_ {
        let children = self.node(index).into_iter().flat_map(|node| node.children.iter().copied());
        children.filter(move |&child| self.node(child).is_some_and(|node| node.owner == owner))
    }

    fn node(&self, index: usize) -> Option<&Node> {
        self.nodes.get(index)?.as_ref()
    }
}

/// Length of the common start of two token lists.
fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
