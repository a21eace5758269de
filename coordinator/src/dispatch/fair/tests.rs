use proptest::prelude::*;

use super::*;

const KIND: Purpose = Purpose::Rollout;

impl Open {
    const ALL: Self = Self { decisions: true, rollouts: true };
}

fn next(queue: &FairQueue) -> Option<Ticket> {
    queue.next(Open::ALL, 0).map(|next| next.ticket)
}

fn origin(priority: Priority, tenant: &str) -> Origin {
    let incident = IncidentId::generate();
    Origin { payer: Payer::new(priority, tenant.parse().unwrap()), incident }
}

/// Begins `count` pieces of work and gives how many tokens each of the origins got. A piece takes what `tokens` says.
fn serve(queue: &mut FairQueue, origins: &[Origin], count: usize, tokens: impl Fn(usize) -> u64) -> Vec<u64> {
    let mut got = vec![0; origins.len()];
    for _ in 0..count {
        let ticket = next(queue).expect("something waits");
        let place = usize::try_from(ticket).unwrap();
        queue.begin(&origins[place], KIND, ticket, tokens(place));
        queue.end(&origins[place], 1, tokens(place), tokens(place));
        got[place] += tokens(place);
    }
    got
}

fn queue(origins: &[Origin], count: u32) -> FairQueue {
    let mut queue = FairQueue::default();
    for (ticket, origin) in (0..).zip(origins) {
        queue.wait(origin, KIND, ticket, count);
    }
    queue
}

#[test]
fn a_tenant_with_many_incidents_gets_no_more_than_one_with_few() {
    let mut origins: Vec<_> = (0..9).map(|_| origin(Priority::Normal, "flood")).collect();
    origins.push(origin(Priority::Normal, "quiet"));
    let got = serve(&mut queue(&origins, 1000), &origins, 180, |_| 10);
    assert_eq!(got[9], 900);
    assert!(got[..9].iter().all(|&tokens| tokens == 100), "its incidents share alike: {got:?}");
}

#[test]
fn shares_are_counted_in_tokens() {
    let origins = [origin(Priority::Normal, "long"), origin(Priority::Normal, "short")];
    let got = serve(&mut queue(&origins, 1000), &origins, 110, |place| [100, 10][place]);
    assert_eq!(got, [1000, 1000]);
}

#[test]
fn classes_share_by_weight_and_the_background_is_never_left_out() {
    let classes = [Priority::Urgent, Priority::Normal, Priority::Background];
    let origins = classes.map(|priority| origin(priority, "one"));
    let got = serve(&mut queue(&origins, 10_000), &origins, 7300, |_| 1);
    assert_eq!(got, [6400, 800, 100]);
}

#[test]
fn urgent_work_goes_first_when_it_comes() {
    let origins = [origin(Priority::Normal, "one"), origin(Priority::Urgent, "one")];
    let mut queue = queue(&origins[..1], 100);
    serve(&mut queue, &origins, 50, |_| 10);
    queue.wait(&origins[1], KIND, 1, 5);
    assert_eq!(serve(&mut queue, &origins, 5, |_| 10), [0, 50]);
}

#[test]
fn who_was_idle_has_saved_nothing_up() {
    let origins = [origin(Priority::Normal, "busy"), origin(Priority::Normal, "late")];
    let mut queue = queue(&origins[..1], 1000);
    serve(&mut queue, &origins, 500, |_| 10);
    queue.wait(&origins[1], KIND, 1, 1000);
    assert_eq!(serve(&mut queue, &origins, 100, |_| 10), [500, 500]);
}

#[test]
fn what_was_used_corrects_what_was_expected() {
    let origins = [origin(Priority::Normal, "modest"), origin(Priority::Normal, "greedy")];
    let mut queue = queue(&origins, 1000);
    let mut used = [0_u64; 2];
    for _ in 0..220 {
        let ticket = next(&queue).unwrap();
        let place = usize::try_from(ticket).unwrap();
        // Both are expected to take the same; one takes ten times as much.
        queue.begin(&origins[place], KIND, ticket, 50);
        queue.end(&origins[place], 1, 50, [10, 100][place]);
        used[place] += [10, 100][place];
    }
    assert_eq!(used, [2000, 2000]);
}

#[test]
fn an_incidents_own_work_goes_in_order_and_can_be_withdrawn() {
    let one = origin(Priority::Normal, "one");
    let mut queue = FairQueue::default();
    queue.wait(&one, KIND, 7, 2);
    queue.wait(&one, KIND, 8, 1);
    assert_eq!((next(&queue), queue.waiting(&one, KIND, 7)), (Some(7), 2));
    assert_eq!(queue.withdraw(&one, KIND, 7), 2);
    assert_eq!(next(&queue), Some(8));
    queue.begin(&one, KIND, 8, 5);
    assert!(queue.is_empty() && next(&queue).is_none());
}

#[test]
fn nothing_is_remembered_of_those_who_left() {
    let mut queue = FairQueue::default();
    for ticket in 0..100 {
        let one = origin(Priority::Normal, &format!("tenant-{ticket}"));
        queue.wait(&one, KIND, ticket, 1);
        queue.begin(&one, KIND, ticket, 10);
        queue.end(&one, 1, 10, 10);
        let another = origin(Priority::Urgent, &format!("tenant-{ticket}"));
        queue.wait(&another, KIND, ticket, 3);
        queue.withdraw(&another, KIND, ticket);
    }
    assert!(queue.incidents.is_empty() && queue.waiting.is_empty());
    assert!(queue.tenants.values().all(|level| level.flows.len() <= 1));
}

#[test]
fn a_tenants_questions_go_before_its_rollouts_and_before_those_of_others_by_a_lead() {
    let flood = [origin(Priority::Normal, "flood"), origin(Priority::Normal, "flood")];
    let few = origin(Priority::Normal, "few");
    let mut queue = FairQueue::default();
    queue.wait(&flood[0], Purpose::Rollout, 0, 10);
    queue.wait(&flood[1], Purpose::Decision, 1, 100);
    queue.wait(&few, Purpose::Rollout, 2, 100);
    let mut serve = |open| {
        let next = queue.next(open, 500)?;
        let origin = if next.ticket == 2 { &few } else { &flood[next.ticket as usize] };
        queue.begin(origin, next.purpose, next.ticket, 100);
        queue.end(origin, 1, 100, 100);
        Some(next.ticket)
    };
    let tickets: Vec<_> = (0..16).filter_map(|_| serve(Open::ALL)).collect();
    assert_eq!(tickets[..6], [1; 6], "five before the others', and the one that begins when they are even");
    assert_eq!(tickets[6..], [2, 1, 2, 1, 2, 1, 2, 1, 2, 1], "then they share");
    let rollouts = Open { decisions: false, rollouts: true };
    assert_eq!((0..3).filter_map(|_| serve(rollouts)).collect::<Vec<_>>(), [2, 2, 2], "who had less");
    let nothing = Open { decisions: false, rollouts: false };
    assert_eq!(serve(nothing), None);
}

#[test]
fn who_comes_while_another_has_gone_ahead_begins_beside_those_that_wait() {
    let (ahead, waits, late) = (
        origin(Priority::Normal, "ahead"),
        origin(Priority::Normal, "waits"),
        origin(Priority::Normal, "late"),
    );
    let mut queue = FairQueue::default();
    queue.wait(&waits, Purpose::Rollout, 0, 10);
    queue.wait(&ahead, Purpose::Decision, 1, 10);
    for _ in 0..5 {
        let next = queue.next(Open::ALL, 1000).unwrap();
        assert_eq!(next.ticket, 1);
        queue.begin(&ahead, next.purpose, 1, 100);
    }
    queue.wait(&late, Purpose::Rollout, 2, 10);
    assert_eq!(queue.tenants[&Priority::Normal].flows[late.payer.tenant()].tag, 0);
}

#[test]
fn who_had_more_than_others_at_work_is_told_apart() {
    let (flood, few) = (origin(Priority::Normal, "flood"), origin(Priority::Normal, "few"));
    let mut queue = queue(std::slice::from_ref(&flood), 100);
    let is_ahead = |queue: &FairQueue, lead| queue.next(Open::ALL, lead).unwrap().is_ahead;
    queue.begin(&flood, KIND, 0, 100);
    queue.begin(&flood, KIND, 0, 100);
    assert!(!is_ahead(&queue, 0), "it is alone");
    queue.wait(&few, KIND, 1, 1);
    assert_eq!((next(&queue), is_ahead(&queue, 0)), (Some(1), false));
    queue.begin(&few, KIND, 1, 50);
    assert_eq!((next(&queue), is_ahead(&queue, 0)), (Some(0), true), "few runs, and had less");
    queue.wait(&flood, Purpose::Decision, 2, 1);
    assert!(is_ahead(&queue, 0) && !is_ahead(&queue, 100), "a question has a lead");
    queue.end(&few, 1, 50, 300);
    assert!(!is_ahead(&queue, 0), "few has gone");
    let background = origin(Priority::Background, "few");
    queue.wait(&background, KIND, 3, 2);
    queue.begin(&background, KIND, 3, 1000);
    assert!(!is_ahead(&queue, 0), "a class of low weight is ahead with little");
}

/// Something that happens to a queue of up to six origins.
#[derive(Clone, Debug)]
enum Move {
    Wait(usize, u32),
    Withdraw(usize),
    /// Begins the next piece of work, which takes so many tokens and ends after so many moves.
    Begin(u64, usize),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        (2_usize..6, 1_u32..4).prop_map(|(who, count)| Move::Wait(who, count)),
        (2_usize..6).prop_map(Move::Withdraw),
        (1_u64..=100, 0_usize..12).prop_map(|(tokens, moves)| Move::Begin(tokens, moves)),
        (1_u64..=100, 0_usize..12).prop_map(|(tokens, moves)| Move::Begin(tokens, moves)),
    ];
    proptest::collection::vec(one, 1..300)
}

proptest! {
    /// The first two tenants always have work waiting; the others, of all classes, come and go.
    #[test]
    fn backlogged_tenants_of_a_class_differ_by_the_lead_and_two_pieces_of_work_at_most(
        moves in moves(),
        skip in 0_usize..200,
        lead in prop_oneof![Just(0_u64), 1_u64..1000],
        asks in any::<bool>(),
    ) {
        let mut origins = vec![origin(Priority::Normal, "a"), origin(Priority::Normal, "b")];
        origins.extend([Priority::Urgent, Priority::Normal, Priority::Normal, Priority::Background]
            .iter().zip(["c", "d", "e", "c"]).map(|(&priority, tenant)| origin(priority, tenant)));
        let purpose = |who: usize| if asks && who.is_multiple_of(2) { Purpose::Decision } else { Purpose::Rollout };
        let mut queue = FairQueue::default();
        for (who, origin) in origins.iter().enumerate().take(2) {
            queue.wait(origin, purpose(who), who as Ticket, 100_000);
        }
        let (mut got, mut since) = ([0_i64; 6], None);
        for (index, step) in moves.into_iter().enumerate() {
            if index == skip {
                since = Some(got);
            }
            match step {
                Move::Wait(who, count) => queue.wait(&origins[who], purpose(who), who as Ticket, count),
                Move::Withdraw(who) => { queue.withdraw(&origins[who], purpose(who), who as Ticket); }
                Move::Begin(tokens, _) => {
                    let next = queue.next(Open::ALL, lead).expect("work is never left while some waits");
                    let who = usize::try_from(next.ticket).unwrap();
                    prop_assert_eq!(next.purpose, purpose(who));
                    prop_assert!(queue.waiting(&origins[who], next.purpose, next.ticket) > 0);
                    queue.begin(&origins[who], next.purpose, next.ticket, tokens);
                    queue.end(&origins[who], 1, tokens, tokens);
                    got[who] += i64::try_from(tokens).unwrap();
                }
            }
            let since = since.unwrap_or_default();
            let difference = (got[0] - since[0]) - (got[1] - since[1]);
            prop_assert!(difference.unsigned_abs() <= lead + 200, "{difference} with a lead of {lead}");
        }
    }

    /// Estimates are corrected when work ends, up to twelve moves later; then the error of what runs comes on top.
    #[test]
    fn late_corrections_even_out(moves in moves()) {
        const EXPECTED: u64 = 50;
        let origins = [origin(Priority::Normal, "a"), origin(Priority::Normal, "b")];
        let mut queue = queue(&origins, 100_000);
        let (mut used, mut running) = ([0_i64; 2], Vec::new());
        for (index, step) in moves.into_iter().enumerate() {
            let Move::Begin(tokens, moves) = step else { continue };
            let ticket = next(&queue).expect("work is never left while some waits");
            let who = usize::try_from(ticket).unwrap();
            queue.begin(&origins[who], KIND, ticket, EXPECTED);
            running.push((index + moves, who, tokens));
            used[who] += i64::try_from(tokens).unwrap();
            running.retain(|&(end, who, tokens)| {
                if end <= index {
                    queue.end(&origins[who], 1, EXPECTED, tokens);
                }
                end > index
            });
            // At most a dozen pieces run, each wrong by 50 tokens at most, and as many were begun before they ended.
            let bound = 2 * 100 + 2 * 12 * 50;
            prop_assert!((used[0] - used[1]).abs() <= bound, "{used:?}");
        }
    }

    #[test]
    fn everything_that_waits_has_its_turn(counts in proptest::collection::vec((0_usize..3, 0_usize..3, 1_u32..5), 1..20)) {
        let classes = [Priority::Urgent, Priority::Normal, Priority::Background];
        let origins: Vec<_> = counts.iter().map(|c| origin(classes[c.0], ["a", "b", "c"][c.1])).collect();
        let mut queue = FairQueue::default();
        for (ticket, (origin, count)) in (0..).zip(origins.iter().zip(&counts)) {
            queue.wait(origin, KIND, ticket, count.2);
        }
        let total: u32 = counts.iter().map(|count| count.2).sum();
        let got = serve(&mut queue, &origins, total as usize, |_| 1);
        prop_assert!(queue.is_empty());
        prop_assert!(got.iter().zip(&counts).all(|(&got, count)| got == u64::from(count.2)));
    }
}
