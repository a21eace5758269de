//! Options as a tree of tokens: what they begin with in common is said once.

use std::ops::Range;

use super::{LONGEST, MOST, SENTENCE};

/// The options of an answer.
#[derive(Debug)]
pub(crate) struct Options {
    texts: Vec<String>,
    /// Tokens that all options begin with.
    common: Vec<u32>,
    /// The nodes of the tree, parents before their children; the first is the root.
    nodes: Vec<Node>,
}

/// A place where options part, or where one ends.
#[derive(Debug)]
pub(crate) struct Node {
    /// Tokens from the root to here.
    pub(crate) path: Vec<u32>,
    /// How many of them led to the parent.
    pub(crate) parted: usize,
    /// The option that ends here.
    pub(crate) option: Option<usize>,
    /// Nodes below, in the order of their options.
    pub(crate) children: Vec<usize>,
    /// Options that end here or below.
    pub(crate) options: Vec<usize>,
}

impl Options {
    /// Takes options by text and tokens, in their order; no two have the same tokens.
    ///
    /// # Errors
    /// One sentence if there are none, or too many, or one is too long.
    pub(crate) fn new(options: Vec<(String, Vec<u32>)>) -> Result<Self, String> {
        if options.is_empty() || options.len() > MOST {
            return Err(format!("1 to {MOST} answers are weighed, and there are {}", options.len()));
        }
        let (texts, mut tokens): (Vec<String>, Vec<Vec<u32>>) = options.into_iter().unzip();
        if let Some(long) = tokens.iter().position(|tokens| tokens.len() > LONGEST) {
            return Err(format!(
                "an answer that is weighed has at most {LONGEST} tokens, and {:?} has {}",
                texts[long].chars().take(40).collect::<String>(),
                tokens[long].len()
            ));
        }
        if tokens.len() > 1 && tokens.iter().any(|tokens| tokens.len() > SENTENCE) {
            tokens = beginnings(&tokens);
        }
        let all: Vec<usize> = (0..tokens.len()).collect();
        let length = shared(&tokens, &all, 0);
        let common = tokens[0][..length].to_vec();
        let mut options = Self { texts, common, nodes: Vec::new() };
        options.grow(&tokens, all, length..length);
        Ok(options)
    }

    /// Adds the node of options that agree up to the end of `edge`, and what is below it; gives its number.
    fn grow(&mut self, tokens: &[Vec<u32>], options: Vec<usize>, edge: Range<usize>) -> usize {
        let (number, end) = (self.nodes.len(), edge.end);
        let ends_here = |option: &&usize| tokens[**option].len() == end;
        self.nodes.push(Node {
            path: tokens[options[0]][self.common.len()..end].to_vec(),
            parted: edge.start - self.common.len(),
            option: options.iter().find(ends_here).copied(),
            children: Vec::new(),
            options: options.clone(),
        });
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for option in options {
            let Some(next) = tokens[option].get(end) else { continue };
            match groups.iter_mut().find(|group| tokens[group[0]][end] == *next) {
                Some(group) => group.push(option),
                None => groups.push(vec![option]),
            }
        }
        for group in groups {
            let length = shared(tokens, &group, end);
            let child = self.grow(tokens, group, end..length);
            self.nodes[number].children.push(child);
        }
        number
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.texts.len()
    }

    /// The JSON text of an option.
    pub(crate) fn text(&self, option: usize) -> &str {
        &self.texts[option]
    }

    /// Tokens that all options begin with.
    pub(crate) fn common(&self) -> &[u32] {
        &self.common
    }

    /// Tokens of an option beyond those; of a sentence, of its beginning.
    pub(crate) fn rest(&self, option: usize) -> &[u32] {
        let node = self.nodes.iter().find(|node| node.option == Some(option));
        node.map_or(&[], |node| &node.path)
    }

    /// Tokens of the longest option.
    pub(crate) fn longest(&self) -> usize {
        self.common.len() + self.nodes.iter().map(|node| node.path.len()).max().unwrap_or(0)
    }

    /// The nodes, parents before their children; the first is the root.
    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }
}

impl Node {
    /// Whether there is something to learn from the model beyond the first token of the way here.
    pub(crate) fn is_open(&self) -> bool {
        !self.children.is_empty() || self.path.len() > self.parted + 1
    }

    /// The first token on the way here from the parent.
    pub(crate) fn first(&self) -> Option<u32> {
        self.path.get(self.parted).copied()
    }

    /// How much of the path has to go through the model: an end needs no logits after its last token.
    pub(crate) fn fed(&self) -> usize {
        if self.children.is_empty() { self.path.len().saturating_sub(1) } else { self.path.len() }
    }
}

/// Of each option what it takes to know it from all others.
fn beginnings(tokens: &[Vec<u32>]) -> Vec<Vec<u32>> {
    let beginning = |(own, tokens_of): (usize, &Vec<u32>)| {
        let others = (0..tokens.len()).filter(|other| *other != own);
        let longest = others.map(|other| shared(tokens, &[own, other], 0)).max().unwrap_or(0);
        tokens_of[..tokens_of.len().min(longest + 1)].to_vec()
    };
    tokens.iter().enumerate().map(beginning).collect()
}

/// Length up to which options agree that agree up to `from`.
fn shared(tokens: &[Vec<u32>], options: &[usize], from: usize) -> usize {
    let first = &tokens[options[0]];
    options
        .iter()
        .map(|&option| {
            from + first[from..].iter().zip(&tokens[option][from..]).take_while(|(a, b)| a == b).count()
        })
        .min()
        .unwrap_or(from)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn options(tokens: &[&[u32]]) -> Options {
        let named = tokens.iter().map(|tokens| (format!("{tokens:?}"), tokens.to_vec())).collect();
        Options::new(named).expect("a few")
    }

    #[test]
    fn what_options_share_is_said_once() {
        let options = options(&[&[9, 1, 2, 3], &[9, 1, 2, 4, 5], &[9, 7], &[9, 1, 2]]);
        assert_eq!(options.common(), [9]);
        let shape: Vec<_> = options
            .nodes()
            .iter()
            .map(|node| (node.path.clone(), node.parted, node.option, node.options.clone()))
            .collect();
        assert_eq!(
            shape,
            [
                (vec![], 0, None, vec![0, 1, 2, 3]),
                (vec![1, 2], 0, Some(3), vec![0, 1, 3]),
                (vec![1, 2, 3], 2, Some(0), vec![0]),
                (vec![1, 2, 4, 5], 2, Some(1), vec![1]),
                (vec![7], 0, Some(2), vec![2]),
            ]
        );
        let open: Vec<bool> = options.nodes().iter().map(Node::is_open).collect();
        assert_eq!(open, [true, true, false, true, false]);
        assert_eq!(
            (options.rest(1), options.rest(2), options.longest()),
            ([1, 2, 4, 5].as_slice(), [7].as_slice(), 5)
        );
    }

    #[test]
    fn sentences_are_known_by_their_beginnings() {
        let sentence = |beginning: &[u32]| {
            let mut tokens = [&[9], beginning].concat();
            tokens.resize(SENTENCE + 1, 8);
            tokens
        };
        let (a, b, c) = (sentence(&[1, 2]), sentence(&[1, 3]), sentence(&[4]));
        let shape = |tokens: &[&[u32]]| {
            let options = options(tokens);
            assert_eq!(options.text(0), format!("{:?}", tokens[0]), "the text stays whole");
            let rest: Vec<Vec<u32>> = (0..tokens.len()).map(|option| options.rest(option).to_vec()).collect();
            (options.common().to_vec(), rest)
        };
        assert_eq!(shape(&[&a, &b, &c]), (vec![9], vec![vec![1, 2], vec![1, 3], vec![4]]));
        // One that another one begins with stays whole: the end tells them apart.
        let longer = [a.as_slice(), &[7, 7, 7]].concat();
        let (common, rest) = shape(&[&a, &longer]);
        assert_eq!((common, rest), (a.clone(), vec![vec![], vec![7]]));
        assert_eq!(shape(&[&a]), (a.clone(), vec![vec![]]), "one alone is all in common");
        assert_eq!(shape(&[&[9, 1, 2, 3], &[9, 4, 5]]).1, [vec![1, 2, 3], vec![4, 5]], "words are whole");
    }

    #[test]
    fn one_option_is_all_in_common_and_too_long_ones_are_refused() {
        let one = options(&[&[1, 2, 3]]);
        assert_eq!((one.common(), one.rest(0), one.nodes().len()), ([1, 2, 3].as_slice(), [].as_slice(), 1));
        let long = Options::new(vec![("x".repeat(500), vec![1; LONGEST + 1])]).expect_err("too long");
        assert!(long.len() < 200 && long.contains(&LONGEST.to_string()), "{long}");
        assert!(Options::new(Vec::new()).is_err());
    }

    proptest! {
        #[test]
        fn every_option_ends_at_one_node(set in proptest::collection::hash_set(proptest::collection::vec(0_u32..3, 1..7), 1..30)) {
            let tokens: Vec<Vec<u32>> = set.into_iter().collect();
            let options = options(&tokens.iter().map(Vec::as_slice).collect::<Vec<_>>());
            for (option, tokens) in tokens.iter().enumerate() {
                let whole = [options.common(), options.rest(option)].concat();
                prop_assert_eq!(&whole, tokens);
                prop_assert_eq!(options.nodes().iter().filter(|node| node.option == Some(option)).count(), 1);
            }
            for (number, node) in options.nodes().iter().enumerate() {
                prop_assert!(node.children.iter().all(|&child| child > number));
                let below: usize = node.children.iter().map(|&child| options.nodes()[child].options.len()).sum();
                prop_assert_eq!(node.options.len(), below + usize::from(node.option.is_some()));
            }
        }
    }
}
