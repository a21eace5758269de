//! The tree against a naive model, in chosen and in random runs.

use proptest::prelude::*;

use super::*;

/// Floats of a page in these tests: each slot holds a number that tells the tokens up to it.
const FLOATS: usize = PAGE;

fn tree(pages: usize) -> KvTree {
    KvTree::new(FLOATS, pages * FLOATS * size_of::<f32>())
}

/// Stands for the keys and values of the last token of a prefix: they depend on all of it.
fn mark(prefix: &[u32]) -> f32 {
    let hash = prefix.iter().fold(17_u32, |hash, token| hash.wrapping_mul(31).wrapping_add(*token));
    (hash % (1 << 20)) as f32
}

/// Writes what a forward pass would, if there is room.
fn append(tree: &mut KvTree, sequence: &mut Sequence, tokens: &[u32]) -> Result<(), OutOfPages> {
    tree.reserve(sequence, tokens.len())?;
    for token in tokens {
        let at = sequence.len();
        sequence.extend(std::slice::from_ref(token));
        // SAFETY: the page is the sequence's own from its length on, and has 16 floats.
        unsafe { sequence.pages[at / PAGE].as_ptr().add(at % PAGE).write(mark(&sequence.tokens)) };
    }
    Ok(())
}

fn check(sequence: &Sequence) {
    let held = sequence.pages.len().min(sequence.len().div_ceil(PAGE)) * PAGE;
    for at in 0..sequence.len() {
        let page = if at < held { &sequence.pages[at / PAGE] } else { sequence.borrowed.as_ref().unwrap() };
        // SAFETY: the slot was written before the sequence got it.
        let found = unsafe { page.as_ptr().add(at % PAGE).read() };
        assert_eq!(found, mark(&sequence.tokens[..=at]), "position {at}");
    }
}

fn range(start: u32, count: u32) -> Vec<u32> {
    (start..start + count).collect()
}

#[test]
fn a_fork_shares_full_pages_and_copies_the_one_it_leaves() {
    let mut tree = tree(10);
    let tokens = range(0, 40);
    let mut first = tree.begin(&tokens, Scope::default());
    assert_eq!(first.len(), 0);
    append(&mut tree, &mut first, &tokens).unwrap();
    assert_eq!(tree.cached_prefix(&tokens, Scope::default()), 0);
    tree.publish(&first);
    assert_eq!(tree.cached_prefix(&tokens, Scope::default()), 40);
    assert_eq!(tree.cached_prefix(&[&tokens[..35], &[99, 98]].concat(), Scope::default()), 35);
    assert_eq!(tree.pool().in_use(), 3);
    let mut second = tree.begin(&[&tokens[..35], &[99, 98]].concat(), Scope::default());
    assert_eq!((second.len(), second.pages.len()), (35, 2));
    assert!(Arc::ptr_eq(&first.pages[1], &second.pages[1]));
    append(&mut tree, &mut second, &[99, 98]).unwrap();
    assert_eq!(tree.pool().in_use(), 4);
    append(&mut tree, &mut first, &range(40, 5)).unwrap();
    check(&first);
    check(&second);
}

#[test]
fn publishing_again_extends_what_was_published() {
    let mut tree = tree(10);
    let mut sequence = tree.begin(&[], Scope::default());
    for count in [5, 3, 8, 1, 20] {
        let start = sequence.len() as u32;
        append(&mut tree, &mut sequence, &range(start, count)).unwrap();
        tree.publish(&sequence);
        assert_eq!(tree.cached_prefix(&range(0, 99), Scope::default()), sequence.len());
    }
    assert_eq!(tree.pool().in_use(), 3);
    drop(sequence);
    assert_eq!(tree.cached_prefix(&range(0, 99), Scope::default()), 37);
    assert_eq!(tree.pool().in_use(), 3);
}

#[test]
fn what_a_sequence_borrows_is_published_with_it() {
    let mut tree = tree(3);
    let tokens = range(0, 20);
    let mut first = tree.begin(&[], Scope::default());
    append(&mut tree, &mut first, &tokens).unwrap();
    tree.publish(&first);
    let borrower = tree.begin(&tokens, Scope::default());
    // The page of a longer prefix takes the place of the borrowed one, and gives way to another sequence.
    let mut longer = tree.begin(&tokens, Scope::default());
    append(&mut tree, &mut longer, &range(20, 8)).unwrap();
    tree.publish(&longer);
    drop((first, longer));
    let mut other = tree.begin(&[], Scope::default());
    append(&mut tree, &mut other, &range(90, 4)).unwrap();
    assert_eq!(tree.cached_prefix(&tokens, Scope::default()), 16);
    tree.publish(&borrower);
    assert_eq!(tree.cached_prefix(&tokens, Scope::default()), 20);
    check(&tree.begin(&tokens, Scope::default()));
}

#[test]
fn the_same_text_computed_twice_is_kept_once() {
    let mut tree = tree(10);
    let (mut a, mut b) = (tree.begin(&[], Scope::default()), tree.begin(&[], Scope::default()));
    append(&mut tree, &mut a, &range(0, 32)).unwrap();
    append(&mut tree, &mut b, &range(0, 40)).unwrap();
    tree.publish(&a);
    tree.publish(&b);
    drop((a, b));
    assert_eq!(tree.pool().in_use(), 3);
    assert_eq!(tree.cached_prefix(&range(0, 40), Scope::default()), 40);
}

#[test]
fn the_prefix_not_used_for_longest_is_evicted_and_never_a_live_one() {
    let mut tree = tree(6);
    for start in [100, 200, 300] {
        let mut sequence = tree.begin(&[], Scope::default());
        append(&mut tree, &mut sequence, &range(start, 32)).unwrap();
        tree.publish(&sequence);
    }
    // The first is used again, so the second is the oldest; its end goes before its start.
    let mut live = tree.begin(&range(100, 32), Scope::default());
    let mut fresh = tree.begin(&[], Scope::default());
    append(&mut tree, &mut fresh, &range(0, 16)).unwrap();
    assert_eq!(tree.cached_prefix(&range(200, 32), Scope::default()), 16);
    assert_eq!(tree.cached_prefix(&range(300, 32), Scope::default()), 32);
    append(&mut tree, &mut live, &range(500, 33)).unwrap();
    assert_eq!(tree.cached_prefix(&range(200, 32), Scope::default()), 0);
    assert_eq!(tree.cached_prefix(&range(300, 32), Scope::default()), 0);
    assert_eq!(tree.cached_prefix(&range(100, 32), Scope::default()), 32);
    let refused = tree.reserve(&mut fresh, 17);
    assert_eq!(refused, Err(OutOfPages { needed: 3, capacity: tree.pool().capacity() }));
    check(&live);
    check(&fresh);
}

#[test]
fn a_refused_reservation_changes_nothing() {
    let mut tree = tree(4);
    let mut live = tree.begin(&[], Scope::default());
    append(&mut tree, &mut live, &range(0, 32)).unwrap();
    let mut idle = tree.begin(&[], Scope::default());
    append(&mut tree, &mut idle, &range(50, 16)).unwrap();
    tree.publish(&idle);
    drop(idle);
    // One page is free and one can be evicted; three are wanted.
    let capacity = tree.pool().capacity();
    assert_eq!(tree.reserve(&mut live, 48), Err(OutOfPages { needed: 5, capacity }));
    assert_eq!(tree.cached_prefix(&range(50, 16), Scope::default()), 16);
    assert_eq!(live.pages.len(), 2);
    tree.reserve(&mut live, 32).unwrap();
    assert_eq!(tree.cached_prefix(&range(50, 16), Scope::default()), 0);
}

#[test]
fn nobody_finds_what_another_one_owns() {
    let mut tree = tree(20);
    let tokens = range(0, 60);
    let of = |owner| Scope::of(owner, 37);
    let mut red = tree.begin(&tokens, of("red"));
    append(&mut tree, &mut red, &tokens).unwrap();
    tree.publish(&red);
    assert_eq!(tree.cached_prefix(&tokens, of("red")), 60);
    // The third page is red's: it holds more than what is everybody's.
    assert_eq!(tree.cached_prefix(&tokens, of("blue")), 32);
    assert_eq!(tree.cached_prefix(&tokens, Scope::of("blue", 0)), 0);
    assert_eq!(tree.cached_prefix(&tokens, Scope::of("blue", 60)), 32, "whatever it calls everybody's");
    let mut blue = tree.begin(&tokens, of("blue"));
    append(&mut tree, &mut blue, &tokens[32..]).unwrap();
    tree.publish(&blue);
    assert!(Arc::ptr_eq(&red.pages[1], &blue.pages[1]) && !Arc::ptr_eq(&red.pages[2], &blue.pages[2]));
    assert_eq!(tree.pool().in_use(), 6, "two pages of both, two of each");
    check(&red);
    check(&blue);
    drop(red);
    assert_eq!([of("red"), of("blue")].map(|scope| tree.cached_prefix(&tokens, scope)), [60, 60]);
}

/// Time that a hundred pages take, one by one, in a full tree of `pages` sequences of one page each.
fn time_of_evictions(pages: usize) -> std::time::Duration {
    let mut tree = tree(pages);
    for start in 0..pages as u32 {
        // Under 16 beginnings, so that no node has many children: finding one among siblings is another matter.
        let tokens: Vec<u32> =
            (0..4).rev().flat_map(|digit| [(start >> (4 * digit)) & 15; PAGE]).take(4 * PAGE).collect();
        let mut sequence = tree.begin(&tokens, Scope::default());
        let rest = tokens[sequence.len()..].to_vec();
        if append(&mut tree, &mut sequence, &rest).is_err() {
            break;
        }
        tree.publish(&sequence);
    }
    assert_eq!(tree.pool().in_use(), pages, "it is full");
    let mut fresh = tree.begin(&[], Scope::default());
    let begun = std::time::Instant::now();
    for _ in 0..100 {
        let tokens = fresh.capacity() - fresh.len() + 1;
        tree.reserve(&mut fresh, tokens).unwrap();
    }
    begun.elapsed()
}

#[test]
fn the_time_to_make_room_does_not_grow_with_the_index() {
    let best = |pages| (0..5).map(|_| time_of_evictions(pages)).min().unwrap();
    let (small, large) = (best(500), best(32_000));
    assert!(large < 12 * small, "64 times the pages: {small:?} and {large:?} for a hundred");
}

/// What [`KvTree::victims`] gives, found by looking at every node for every victim.
fn searched_victims(tree: &KvTree, count: usize) -> Option<Vec<usize>> {
    let mut gone = Vec::new();
    while gone.len() < count {
        let is_left = |index: &usize| !gone.contains(index);
        let leaves =
            (1..tree.nodes.len()).filter(is_left).filter_map(|index| Some((index, tree.node(index)?)));
        let idle = leaves.filter(|(_, node)| node.is_idle() && !node.children.iter().any(is_left));
        gone.push(idle.min_by_key(|(index, node)| (node.used, *index))?.0);
    }
    Some(gone)
}

/// What a random run does next.
#[derive(Clone, Debug)]
enum Step {
    Begin(Vec<u32>),
    Append(usize, Vec<u32>),
    Publish(usize),
    Drop(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Few different tokens, so that prefixes meet.
    let tokens = |most| prop::collection::vec(0..3_u32, 0..most);
    let path = (0..2_u32, tokens(6)).prop_map(|(start, tail)| {
        let mut path = vec![start; 37];
        path.extend(tail);
        path
    });
    let step = prop_oneof![
        path.prop_map(Step::Begin),
        tokens(50).prop_map(Step::Begin),
        (any::<usize>(), tokens(40)).prop_map(|(at, tokens)| Step::Append(at, tokens)),
        any::<usize>().prop_map(Step::Publish),
        any::<usize>().prop_map(Step::Drop),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    #[test]
    fn no_run_loses_contents_passes_the_budget_or_leaks(steps in steps(), pages in 1..12_usize) {
        let mut tree = tree(pages);
        let mut live: Vec<Sequence> = Vec::new();
        let mut published: Vec<Vec<u32>> = Vec::new();
        for step in steps {
            match step {
                Step::Begin(tokens) => {
                    let sequence = tree.begin(&tokens, Scope::default());
                    prop_assert!(tokens.starts_with(&sequence.tokens));
                    // What is found was published, and nothing longer that was published is still all there.
                    let common_most = published.iter().map(|p| common(p, &tokens)).max().unwrap_or(0);
                    prop_assert!(sequence.len() <= common_most);
                    let rest = tokens[sequence.len()..].to_vec();
                    live.push(sequence);
                    let sequence = live.last_mut().unwrap();
                    let _ = append(&mut tree, sequence, &rest);
                }
                Step::Append(at, tokens) if !live.is_empty() => {
                    let at = at % live.len();
                    let before = live[at].pages.len();
                    let in_use = tree.pool().in_use();
                    if append(&mut tree, &mut live[at], &tokens).is_err() {
                        prop_assert_eq!(live[at].pages.len(), before);
                        prop_assert_eq!(tree.pool().in_use(), in_use);
                    }
                }
                Step::Publish(at) if !live.is_empty() => {
                    let sequence = &live[at % live.len()];
                    tree.publish(sequence);
                    prop_assert_eq!(tree.cached_prefix(&sequence.tokens, Scope::default()), sequence.len());
                    published.push(sequence.tokens.clone());
                }
                Step::Drop(at) if !live.is_empty() => {
                    live.swap_remove(at % live.len());
                }
                _ => {}
            }
            prop_assert!(tree.pool().in_use() <= pages);
            live.iter().for_each(check);
            for count in 0..=pages {
                prop_assert_eq!(tree.victims(count), searched_victims(&tree, count));
            }
        }
        drop(live);
        // All that is left is idle: it can be evicted down to nothing.
        let mut all = tree.begin(&[], Scope::default());
        prop_assert!(tree.reserve(&mut all, pages * PAGE).is_ok());
        prop_assert_eq!(tree.pool().in_use(), pages);
        drop((all, tree));
    }
}
