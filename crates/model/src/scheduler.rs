//! Which sequences run, and which tokens of them go through the model next: pure functions, no I/O, no clock.
//!
//! - Interactive requests go before bulk, but of four admissions one goes to waiting bulk, so neither starves.
//! - A step takes all tokens that running answers wait for, and beside them a bounded number of prompt tokens, so a
//!   new incident does not stall the others.
//! - A request whose prompt shares more with a prompt that is being computed right now than with the cache waits for
//!   that part, so siblings submitted together are computed once. What it waits for always runs, so the wait ends. What it
//!   could not find in the cache, since it is somebody else's, is not waited for.
//! - When keys and values run short, the youngest sequence of the lowest priority gives way and starts again later. The
//!   oldest never gives way to others, so it ends, and there is no deadlock.

use crate::kv::Scope;
use crate::request::Priority;

/// Bounds of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Most sequences that run.
    pub(crate) sequences: usize,
    /// Most prompt tokens in a step.
    pub(crate) prefill: usize,
}

/// A request that waits, in the order of arrival.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting<'a> {
    /// Whether it goes first.
    pub(crate) priority: Priority,
    /// Whose it is.
    pub(crate) scope: Scope,
    /// Tokens that it has to compute or find before it can go on.
    pub(crate) tokens: &'a [u32],
}

/// A sequence that runs, in the order of admission.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Running<'a> {
    /// Whether it goes first.
    pub(crate) priority: Priority,
    /// Whose it is.
    pub(crate) scope: Scope,
    /// Its tokens.
    pub(crate) tokens: &'a [u32],
    /// How many of them are computed.
    pub(crate) computed: usize,
    /// How many of them the sequence began with; beyond, it is answering.
    pub(crate) prompt: usize,
}

impl Running<'_> {
    fn is_prefilling(&self) -> bool {
        self.computed < self.prompt
    }
}

/// A shared part shorter than this is not worth waiting for.
const WORTH_WAITING: usize = 32;
/// Interactive requests admitted before the turn of waiting bulk comes.
const INTERACTIVE_IN_A_ROW: u32 = 3;
/// Waiting requests of one priority that are looked at in a step, at most.
const LOOKAHEAD: usize = 128;

/// Memory of the shares of the two priorities.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Turns {
    interactive: u32,
}

/// Chooses waiting requests to admit, by their places in `waiting`. `cached` tells how many tokens of a request are in
/// the cache.
pub(crate) fn admit(
    limits: Limits,
    waiting: &[Waiting<'_>],
    running: &[Running<'_>],
    turns: &mut Turns,
    mut cached: impl FnMut(usize) -> usize,
) -> Vec<usize> {
    let mut admitted: Vec<usize> = Vec::new();
    let places = |priority: Priority| {
        let of_priority = move |(_, request): &(usize, &Waiting<'_>)| request.priority == priority;
        waiting.iter().enumerate().filter(of_priority).map(|(place, _)| place).take(LOOKAHEAD)
    };
    let mut interactive = places(Priority::Interactive).peekable();
    let mut bulk = places(Priority::Bulk).peekable();
    while running.len() + admitted.len() < limits.sequences {
        let bulk_turn = turns.interactive >= INTERACTIVE_IN_A_ROW || interactive.peek().is_none();
        let next = if bulk_turn { bulk.next().or_else(|| interactive.next()) } else { interactive.next() };
        let Some(place) = next else { break };
        if is_worth_waiting(waiting, place, running, &admitted, &mut cached) {
            continue;
        }
        if waiting[place].priority == Priority::Bulk {
            turns.interactive = 0;
        } else if bulk.peek().is_some() {
            turns.interactive += 1;
        }
        admitted.push(place);
    }
    admitted
}

/// Whether a longer prefix of a waiting request than is in the cache is being computed.
fn is_worth_waiting(
    waiting: &[Waiting<'_>],
    place: usize,
    running: &[Running<'_>],
    admitted: &[usize],
    cached: &mut impl FnMut(usize) -> usize,
) -> bool {
    let Waiting { tokens, scope, .. } = waiting[place];
    let prefilling = running.iter().filter(|other| other.is_prefilling());
    // What is computed already is in the cache, as far as it will ever be.
    let ahead = prefilling
        .map(|other| (other.scope, &other.tokens[..other.prompt], other.computed))
        .chain(admitted.iter().map(|&other| (waiting[other].scope, waiting[other].tokens, 0)))
        .map(|(owner, other, computed)| (shared(tokens, other).min(scope.shared_with(owner)), computed))
        .filter(|&(shared, computed)| shared > computed)
        .map(|(shared, _)| shared)
        .max()
        .unwrap_or(0);
    ahead >= WORTH_WAITING && ahead - WORTH_WAITING >= cached(place)
}

/// Length of the common prefix. The last token of a request is always computed, for its logits.
fn shared(request: &[u32], other: &[u32]) -> usize {
    let request = &request[..request.len().saturating_sub(1)];
    request.iter().zip(other).take_while(|(a, b)| a == b).count()
}

/// How many tokens of each running sequence go through the model in the next step; zero for those that wait.
pub(crate) fn feeds(limits: Limits, running: &[Running<'_>], one_by_one: bool) -> Vec<usize> {
    let mut feeds = vec![0; running.len()];
    let mut left = limits.prefill.max(1);
    for (feed, sequence) in feeds.iter_mut().zip(running) {
        if !sequence.is_prefilling() {
            let missing = sequence.tokens.len() - sequence.computed;
            *feed = if one_by_one { missing.min(1) } else { missing };
        }
    }
    for priority in [Priority::Interactive, Priority::Bulk] {
        for (feed, sequence) in feeds.iter_mut().zip(running) {
            if sequence.priority == priority && sequence.is_prefilling() {
                let end = if one_by_one { sequence.prompt } else { sequence.tokens.len() };
                *feed = (end - sequence.computed).min(left);
                left -= *feed;
            }
        }
    }
    feeds
}

/// Which of the running sequences gives way, so that the one at `place` gets its keys and values: the youngest of the
/// lowest priority, and it may be that one itself. `None` if it runs alone, so that nothing can be gained.
pub(crate) fn gives_way(running: &[Running<'_>], place: usize) -> Option<usize> {
    if running.len() <= 1 {
        return None;
    }
    let youngest = |priority: Priority| running.iter().rposition(|sequence| sequence.priority == priority);
    youngest(Priority::Bulk).or_else(|| youngest(Priority::Interactive)).or(Some(place))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits { sequences: 4, prefill: 100 };

    fn prompt(incident: u32, length: u32) -> Vec<u32> {
        (0..length).map(|i| incident * 10_000 + i).collect()
    }

    fn fork(prefix: &[u32], own: u32) -> Vec<u32> {
        let mut tokens = prefix.to_vec();
        tokens.extend([own, own, own]);
        tokens
    }

    fn waiting(priority: Priority, tokens: &[u32]) -> Waiting<'_> {
        Waiting { priority, scope: Scope::default(), tokens }
    }

    fn running(priority: Priority, tokens: &[u32], computed: usize) -> Running<'_> {
        Running { priority, scope: Scope::default(), tokens, computed, prompt: tokens.len() }
    }

    #[test]
    fn decisions_go_first_but_rollouts_get_their_turn() {
        let prompts: Vec<Vec<u32>> = (0..12).map(|i| prompt(i, 50)).collect();
        let queue: Vec<Waiting<'_>> = prompts
            .iter()
            .enumerate()
            .map(|(i, tokens)| waiting(if i < 4 { Priority::Bulk } else { Priority::Interactive }, tokens))
            .collect();
        let limits = Limits { sequences: 6, prefill: 100 };
        assert_eq!(admit(limits, &queue, &[], &mut Turns::default(), |_| 0), [4, 5, 6, 0, 7, 8]);
        assert_eq!(admit(limits, &queue[..2], &[], &mut Turns::default(), |_| 0), [0, 1]);
    }

    #[test]
    fn siblings_wait_for_the_first() {
        let base = prompt(1, 200);
        let prompts: Vec<Vec<u32>> = (0..3).map(|i| fork(&base, 90_000 + i)).collect();
        let queue: Vec<Waiting<'_>> = prompts.iter().map(|tokens| waiting(Priority::Bulk, tokens)).collect();
        assert_eq!(admit(LIMITS, &queue, &[], &mut Turns::default(), |_| 0), [0]);
        let first = running(Priority::Bulk, &prompts[0], 199);
        assert!(
            admit(LIMITS, &queue[1..], &[first], &mut Turns::default(), |_| 199).len() == 2,
            "one token is no matter"
        );
        let first = running(Priority::Bulk, &prompts[0], 100);
        assert!(admit(LIMITS, &queue[1..], &[first], &mut Turns::default(), |_| 100).is_empty());
        let first = running(Priority::Bulk, &prompts[0], 200);
        assert_eq!(admit(LIMITS, &queue[1..], &[first], &mut Turns::default(), |_| 200), [0, 1]);
        assert_eq!(
            admit(LIMITS, &queue[1..], &[first], &mut Turns::default(), |_| 0),
            [0],
            "evicted, so computed again"
        );
    }

    #[test]
    fn nobody_waits_for_what_is_somebody_elses() {
        let base = prompt(1, 200);
        let prompts: Vec<Vec<u32>> = (0..3).map(|i| fork(&base, 90_000 + i)).collect();
        let of = |owner, common, at: usize| Waiting {
            scope: Scope::of(owner, common),
            ..waiting(Priority::Bulk, &prompts[at])
        };
        let both = |common| [of("red", common, 0), of("blue", common, 1), of("red", common, 2)];
        assert_eq!(admit(LIMITS, &both(20), &[], &mut Turns::default(), |_| 0), [0, 1]);
        assert_eq!(admit(LIMITS, &both(200), &[], &mut Turns::default(), |_| 0), [0], "an instruction is");
        let first = Running { scope: Scope::of("red", 20), ..running(Priority::Bulk, &prompts[0], 100) };
        assert_eq!(admit(LIMITS, &both(20)[1..], &[first], &mut Turns::default(), |_| 16), [0]);
    }

    #[test]
    fn a_short_common_beginning_is_not_waited_for() {
        let base = prompt(1, 20);
        let prompts = [fork(&base, 1), fork(&base, 2)];
        let queue: Vec<Waiting<'_>> =
            prompts.iter().map(|tokens| waiting(Priority::Interactive, tokens)).collect();
        assert_eq!(admit(LIMITS, &queue, &[], &mut Turns::default(), |_| 0), [0, 1]);
    }

    #[test]
    fn a_step_is_all_decodes_and_a_bounded_prefill() {
        let (long, short) = (prompt(1, 300), prompt(2, 60));
        let mut answering = running(Priority::Bulk, &short, 57);
        answering.prompt = 50;
        let batch = [
            running(Priority::Bulk, &long, 0),
            answering,
            running(Priority::Interactive, &short, 0),
            running(Priority::Bulk, &short, 0),
        ];
        assert_eq!(feeds(LIMITS, &batch, false), [40, 3, 60, 0]);
        assert_eq!(feeds(LIMITS, &batch, true), [40, 1, 60, 0]);
    }

    #[test]
    fn the_youngest_rollout_gives_way() {
        let tokens = prompt(1, 10);
        let of = |priority| running(priority, &tokens, 0);
        assert_eq!(gives_way(&[of(Priority::Bulk)], 0), None);
        assert_eq!(
            gives_way(&[of(Priority::Bulk), of(Priority::Bulk), of(Priority::Interactive)], 2),
            Some(1)
        );
        assert_eq!(gives_way(&[of(Priority::Interactive), of(Priority::Interactive)], 0), Some(1));
    }

    /// Runs requests to their end under the policy, with a cache that keeps every prompt, and counts what it did.
    fn simulate(
        prompts: &[(Priority, Vec<u32>)],
        limits: Limits,
        answer: usize,
    ) -> Result<(usize, Vec<usize>), String> {
        struct Live {
            place: usize,
            priority: Priority,
            tokens: Vec<u32>,
            computed: usize,
            prompt: usize,
        }
        let mut queue: Vec<usize> = (0..prompts.len()).collect();
        let mut live: Vec<Live> = Vec::new();
        let mut cache: Vec<Vec<u32>> = Vec::new();
        let (mut turns, mut prefilled, mut order) = (Turns::default(), 0, Vec::new());
        for _ in 0..10_000 {
            let view: Vec<Running<'_>> = live
                .iter()
                .map(|l| Running {
                    priority: l.priority,
                    scope: Scope::default(),
                    tokens: &l.tokens,
                    computed: l.computed,
                    prompt: l.prompt,
                })
                .collect();
            let waiting: Vec<Waiting<'_>> =
                queue.iter().map(|&q| waiting(prompts[q].0, &prompts[q].1)).collect();
            let known = |tokens: &[u32]| cache.iter().map(|c| shared(tokens, c)).max().unwrap_or(0);
            let admitted = admit(limits, &waiting, &view, &mut turns, |place| known(waiting[place].tokens));
            if live.is_empty() && admitted.is_empty() {
                return if queue.is_empty() { Ok((prefilled, order)) } else { Err("stuck".to_owned()) };
            }
            let places: Vec<usize> = admitted.iter().map(|&place| queue[place]).collect();
            for place in places {
                queue.retain(|&q| q != place);
                order.push(place);
                let tokens = prompts[place].1.clone();
                live.push(Live {
                    place,
                    priority: prompts[place].0,
                    computed: known(&tokens),
                    prompt: tokens.len(),
                    tokens,
                });
            }
            let view: Vec<Running<'_>> = live
                .iter()
                .map(|l| Running {
                    priority: l.priority,
                    scope: Scope::default(),
                    tokens: &l.tokens,
                    computed: l.computed,
                    prompt: l.prompt,
                })
                .collect();
            let fed = feeds(limits, &view, false);
            let prefill: usize =
                fed.iter().zip(&view).filter(|(_, s)| s.is_prefilling()).map(|(f, _)| f).sum();
            if prefill > limits.prefill || live.len() > limits.sequences || fed.iter().all(|&f| f == 0) {
                return Err(format!("step of {prefill} prompt tokens, {} sequences", live.len()));
            }
            prefilled += prefill;
            for (sequence, fed) in live.iter_mut().zip(fed) {
                sequence.computed += fed;
                cache.push(sequence.tokens[..sequence.computed.min(sequence.prompt)].to_vec());
                if sequence.computed == sequence.tokens.len() {
                    sequence.tokens.push(1_000_000 + sequence.place as u32);
                }
            }
            live.retain(|l| l.tokens.len() < l.prompt + answer);
        }
        Err("no end".to_owned())
    }

    proptest! {
        #[test]
        fn everything_ends_and_siblings_are_computed_once(
            requests in proptest::collection::vec((any::<bool>(), 0_u32..3), 1..40),
            length in 40_u32..300,
            sequences in 1_usize..9,
            prefill in 1_usize..128,
        ) {
            let prompts: Vec<(Priority, Vec<u32>)> = (0..)
                .zip(&requests)
                .map(|(i, &(decision, incident))| {
                    (if decision { Priority::Interactive } else { Priority::Bulk }, fork(&prompt(incident, length), 500_000 + i))
                })
                .collect();
            let (prefilled, order) = simulate(&prompts, Limits { sequences, prefill }, 4).expect("it ends");
            let incidents: std::collections::HashSet<u32> = requests.iter().map(|r| r.1).collect();
            // Each incident's prefix once, each request's own three tokens, and what is too short to wait for.
            let bound = incidents.len() * length as usize + requests.len() * (3 + WORTH_WAITING);
            prop_assert!(prefilled <= bound, "{} > {}", prefilled, bound);
            prop_assert_eq!(order.len(), requests.len());
        }

        #[test]
        fn bulk_is_overtaken_by_at_most_three_in_a_row(interactive in 4_usize..30, bulk in 1_usize..6) {
            let prompts: Vec<Vec<u32>> = (0..(interactive + bulk) as u32).map(|i| prompt(i, 10)).collect();
            let mut queue: Vec<Waiting<'_>> = prompts.iter().enumerate().map(|(i, tokens)| waiting(if i < interactive { Priority::Interactive } else { Priority::Bulk }, tokens)).collect();
            let (mut turns, mut overtaken) = (Turns::default(), 0);
            while queue.iter().any(|w| w.priority == Priority::Bulk) {
                let admitted = admit(Limits { sequences: 1, prefill: 1 }, &queue, &[], &mut turns, |_| 0);
                let taken = queue.remove(admitted[0]);
                overtaken = if taken.priority == Priority::Interactive { overtaken + 1 } else { 0 };
                prop_assert!(overtaken <= INTERACTIVE_IN_A_ROW);
            }
        }
    }
}
