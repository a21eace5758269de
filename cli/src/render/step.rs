//! One step of a plan: the state before, the candidates, the choice, the state after.

use std::fmt::Write;

use countermove_wire::document::{
    Assurance, Belief, Candidate, Cost, FACTS, Finding, State, StateSource, Step, likely,
};

use super::incident::{Page, number, suspects};
use super::text::{hanging, one_line, pad, pad_left, width, wrap};

/// A step, as lines.
pub(crate) fn step(step: &Step, page: Page) -> String {
    let style = page.style;
    let mut out = format!("{}\n", style.heading(&format!("STEP {}", number(step.index))));
    let _ = writeln!(out, "  before   {}", marks(&step.state_before, 11, page));
    // What the evidence alone tells stands above the steps.
    if let Some(belief) = step.belief.as_ref().filter(|_| step.index > 0) {
        out.push_str(&believed(belief, &step.state_before, page));
    }
    out.push_str(&candidates(step, page));
    for (reason, actions) in step.thrown_away() {
        let text = format!("{}: {}", proposals(&actions), one_line(reason));
        out.push_str(&style.faint(hanging("  thrown away  ", &text, page.columns).trim_end_matches('\n')));
        out.push('\n');
    }
    if let Some(chosen) = step.chosen_candidate() {
        let action = &chosen.action;
        out.push_str(&hanging("  choice   ", &action.text, page.columns));
        out.push_str(&hanging("  reason   ", &step.why(), page.columns));
        if !action.explanation.trim().is_empty() {
            out.push_str(&hanging("  because  ", &action.explanation, page.columns));
        }
        for order in &chosen.orders {
            out.push_str(&hanging("  how      ", &order.told(), page.columns));
        }
    }
    if let Some(assurance) = &step.assurance {
        out.push_str(&trust(assurance, page));
    }
    let source = match step.state_after_source {
        Some(StateSource::Predicted) => "(predicted by the model, not observed)",
        Some(StateSource::Reported) => "(reported by the operator)",
        Some(StateSource::Unspecified) | None => return out,
    };
    let after = marks(&step.state_after.unwrap_or_default(), 11, page);
    let _ = writeln!(out, "  after    {after}\n           {}", style.warning(source));
    if !step.findings.is_empty() {
        out.push_str(&hanging("  found    ", &Finding::told(&step.findings), page.columns));
    }
    out
}

/// What is believed after what came of earlier actions.
fn believed(belief: &Belief, state: &State, page: Page) -> String {
    let mut out = String::new();
    if let Some(suspects) = suspects(&belief.compromised) {
        out.push_str(&hanging("  believed ", &format!("compromised: {suspects}"), page.columns));
    }
    let held: Vec<String> =
        belief.held_accounts.iter().map(|held| likely(&held.account, held.probability)).collect();
    if !held.is_empty() {
        let told = format!("the attacker has: {}", held.join(", "));
        out.push_str(&hanging("  accounts ", &told, page.columns));
    }
    if let Some(text) = belief.hindered(state) {
        out.push_str(&page.style.warning(hanging("  unseen   ", &text, page.columns).trim_end_matches('\n')));
        out.push('\n');
    }
    out
}

/// That a choice is clear, with the chance that it is the best one.
pub(crate) fn clear(chance: f64) -> String {
    format!("clear ({:.0} % that it is the best)", 100.0 * chance)
}

/// How far the choice can be trusted, and what would decide where it cannot.
fn trust(assurance: &Assurance, page: Page) -> String {
    let taken_back = assurance.reversibility.taken_back();
    if assurance.is_clear {
        let text = format!("{}; {taken_back}", clear(assurance.chance));
        return hanging("  trust    ", &text, page.columns);
    }
    let mut out = String::new();
    for (position, doubt) in assurance.doubts.iter().enumerate() {
        let lead = if position == 0 { "  doubt    " } else { "           " };
        let text = hanging(lead, doubt, page.columns);
        let _ = writeln!(out, "{}", page.style.warning(text.trim_end_matches('\n')));
    }
    for (position, wanted) in assurance.wanted_evidence.iter().enumerate() {
        out.push_str(&hanging(
            if position == 0 { "  wanted   " } else { "           " },
            wanted,
            page.columns,
        ));
    }
    out.push_str(&hanging("  trust    ", &format!("not clear; {taken_back}"), page.columns));
    out
}

/// The recovery state as six marks behind `indent` columns, which begin further lines where the page is narrow. No mark is broken.
pub(crate) fn marks(state: &State, indent: usize, page: Page) -> String {
    let mut out = String::new();
    let mut used = indent;
    for (name, (_, holds)) in FACTS.iter().zip(state.facts()) {
        let mark = format!("[{}] {name}", if holds { 'x' } else { ' ' });
        if used > indent && used + 2 + width(&mark) > page.columns {
            let _ = write!(out, "\n{}", " ".repeat(indent));
            used = indent;
        } else if used > indent {
            out.push_str("  ");
            used += 2;
        }
        used += width(&mark);
        out.push_str(&if holds { page.style.good(&mark) } else { mark });
    }
    out
}

/// The figures of an estimate: mean, what nine in ten recoveries cost, and how its rollouts ended.
pub(crate) fn cost(estimate: &Cost) -> (String, String, String) {
    let mean = estimate.mean.map_or_else(|| "-".to_owned(), |mean| format!("{mean:.2}"));
    let likely = match (estimate.likely_low, estimate.likely_high) {
        (Some(low), Some(high)) => format!("{low:.2} to {high:.2}"),
        (Some(low), None) => format!("{low:.2} or more"),
        _ => "-".to_owned(),
    };
    let ended = [estimate.terminal, estimate.truncated, estimate.malformed, estimate.cancelled];
    let total: u64 = ended.into_iter().map(u64::from).sum();
    let mut ends = format!("{}/{total} recovered", estimate.terminal);
    for (count, how) in [
        (estimate.truncated, "truncated"),
        (estimate.malformed, "malformed"),
        (estimate.cancelled, "cancelled"),
    ] {
        if count > 0 {
            let _ = write!(ends, ", {count} {how}");
        }
    }
    (mean, likely, ends)
}

/// Proposals between quotation marks, each once with their number.
fn proposals(actions: &[(&str, usize)]) -> String {
    let told = actions.iter().map(|(action, times)| match times {
        1 => format!("\"{}\"", one_line(action)),
        _ => format!("\"{}\" ({times} times)", one_line(action)),
    });
    told.collect::<Vec<_>>().join(", ")
}

fn candidates(step: &Step, page: Page) -> String {
    if step.candidates.is_empty() {
        return String::new();
    }
    let mut out = page.style.faint(&format!("{}action", lead(' ', "", "cost", "9 in 10")));
    out.push('\n');
    for candidate in &step.candidates {
        out.push_str(&line_of(step, candidate, page));
    }
    out
}

/// A candidate takes as many lines as its action needs; how its rollouts ended stands under it. Figures that are those of one
/// above are not told again.
fn line_of(step: &Step, candidate: &Candidate, page: Page) -> String {
    let chosen = candidate.index == step.chosen;
    let same = step.costs_as(candidate).map(|other| format!("as {}", number(other.index)));
    let (mean, likely, ends) = match same {
        Some(same) => (same, String::new(), String::new()),
        None => cost(&candidate.cost),
    };
    let lead = lead(if chosen { '>' } else { ' ' }, &number(candidate.index).to_string(), &mean, &likely);
    let indent = width(&lead);
    let mut out = String::new();
    for (index, line) in wrap(&candidate.action.text, page.columns.saturating_sub(indent)).iter().enumerate()
    {
        let line = if chosen { page.style.good(line) } else { line.clone() };
        let _ = writeln!(out, "{}{line}", if index == 0 { lead.clone() } else { " ".repeat(indent) });
    }
    if !ends.is_empty() {
        let _ = writeln!(out, "{}{}", " ".repeat(indent), page.style.faint(&format!("({ends})")));
    }
    out
}

/// What stands before the action in a line of the table.
fn lead(mark: char, number: &str, mean: &str, likely: &str) -> String {
    format!("  {mark}  {} {}  {}  ", pad(number, 2), pad_left(mean, 6), pad(likely, 15))
}

#[cfg(test)]
mod tests {
    use countermove_wire::document::{
        Action, HeldAccount, Hindrance, Rejected, Reversibility, Suspect, Usage,
    };

    use super::*;

    fn candidate(index: u32, text: &str, cost: Cost) -> Candidate {
        let action = Action { text: text.to_owned(), explanation: "It stops the attacker.".to_owned() };
        Candidate {
            index,
            action,
            cost,
            predicted_state: None,
            reasoning: String::new(),
            orders: Vec::new(),
            takes_down: Vec::new(),
            awaits_search: Vec::new(),
            approvers: None,
        }
    }

    fn example() -> Step {
        let clear = Cost {
            terminal: 3,
            mean: Some(4.0),
            variance: Some(1.0),
            low: Some(1.5159),
            high: Some(6.4841),
            likely_low: Some(0.6283),
            likely_high: Some(7.3717),
            ..Cost::default()
        };
        let unclear = Cost { terminal: 1, truncated: 1, malformed: 1, mean: Some(7.0), ..Cost::default() };
        Step {
            index: 0,
            candidates: vec![
                candidate(0, "Watch the traffic of 10.0.2.11.", unclear),
                candidate(1, "Isolate 10.0.2.11 from the server network at the gateway 10.0.2.10.", clear),
            ],
            rejected: vec![Rejected {
                action: Action { text: "Block 10.9.9.9.".to_owned(), explanation: String::new() },
                reason: "10.9.9.9 occurs neither in the system description nor in the evidence".to_owned(),
            }],
            chosen: 1,
            planner_choice: None,
            reason: "Its mean cost of 4.00 is the lowest of two.".to_owned(),
            action: None,
            assurance: None,
            plan_hash: String::new(),
            expected_alerts: None,
            state_before: State::default(),
            belief: None,
            state_after: Some(State { is_attack_contained: true, ..State::default() }),
            state_after_source: Some(StateSource::Predicted),
            usage: Usage::default(),
            approvals: Vec::new(),
            findings: Vec::new(),
        }
    }

    #[test]
    fn a_step_reads_like_this() {
        let text = step(&example(), Page::plain(80));
        let expected = "\
STEP 1
  before   [ ] contained  [ ] understood  [ ] preserved  [ ] eradicated
           [ ] hardened  [ ] recovered
          cost  9 in 10          action
     1    7.00  -                Watch the traffic of 10.0.2.11.
                                 (1/3 recovered, 1 truncated, 1 malformed)
  >  2    4.00  0.63 to 7.37     Isolate 10.0.2.11 from the server network at
                                 the gateway 10.0.2.10.
                                 (3/3 recovered)
  thrown away  \"Block 10.9.9.9.\": 10.9.9.9 occurs neither in the system
               description nor in the evidence
  choice   Isolate 10.0.2.11 from the server network at the gateway 10.0.2.10.
  reason   Its mean cost of 4.00 is the lowest of two.
  because  It stops the attacker.
  after    [x] contained  [ ] understood  [ ] preserved  [ ] eradicated
           [ ] hardened  [ ] recovered
           (predicted by the model, not observed)
";
        assert_eq!(text, expected, "\n{text}");
    }

    #[test]
    fn a_later_step_says_what_is_believed() {
        let suspect = |host: &str, probability| Suspect { host: host.to_owned(), probability };
        let hindrance = |fact: &str, probability| Hindrance { fact: fact.to_owned(), probability };
        let belief = Belief {
            compromised: vec![
                suspect("10.0.2.11", 0.97),
                suspect("10.0.2.12", 0.62),
                suspect("10.0.2.13", 0.0),
            ],
            hindered: vec![hindrance("is_attack_contained", 0.28), hindrance("is_eradicated", 0.05)],
            returns: 0.64,
            held_accounts: vec![HeldAccount { account: "admin".to_owned(), probability: 0.86 }],
        };
        let later = Step { index: 1, belief: Some(belief.clone()), ..example() };
        let text = step(&later, Page::plain(80));
        let expected = "  believed compromised: 10.0.2.11 (97 %), 10.0.2.12 (62 %)\n  accounts the attacker has: admin (86 %)\n  unseen   something that no record tells of \
                        stands against: contained (28 %);\n           the attacker comes back from another address (64 %)\n";
        assert!(text.contains(expected), "{text}");
        let contained = State { is_attack_contained: true, ..State::default() };
        assert_eq!(belief.hindered(&contained), None, "what holds is not in doubt");
        assert!(!step(&Step { belief: Some(belief), ..example() }, Page::plain(80)).contains("believed"));
    }

    #[test]
    fn a_choice_says_how_far_it_can_be_trusted() {
        let assurance = Assurance {
            chance: 0.97,
            is_clear: true,
            best: 1,
            reversibility: Reversibility::Reversible,
            doubts: Vec::new(),
            wanted_evidence: Vec::new(),
        };
        let clear = Step { assurance: Some(assurance.clone()), ..example() };
        let text = step(&clear, Page::plain(80));
        assert!(
            text.contains("  trust    clear (97 % that it is the best); it can be taken back\n"),
            "{text}"
        );
        let doubtful = Assurance {
            is_clear: false,
            doubts: vec!["It rests on a minority.".into()],
            wanted_evidence: vec!["The logs of 10.0.2.11.".into(), "The counters.".into()],
            ..assurance
        };
        let text = step(&Step { assurance: Some(doubtful), ..example() }, Page::plain(80));
        let expected = "  doubt    It rests on a minority.\n  wanted   The logs of 10.0.2.11.\n           The counters.\n  trust    \
                        not clear; it can be taken back\n";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn equal_proposals_that_were_thrown_away_are_told_once() {
        let mut step_ = example();
        step_.rejected = vec![step_.rejected[0].clone(); 3];
        let text = step(&step_, Page::plain(200));
        assert_eq!(text.matches("thrown away").count(), 1);
        assert!(text.contains("  thrown away  \"Block 10.9.9.9.\" (3 times): 10.9.9.9 occurs"), "{text}");
    }

    #[test]
    fn figures_that_are_those_of_another_candidate_are_told_once() {
        let mut step_ = example();
        step_.candidates.push(Candidate { index: 2, ..step_.candidates[1].clone() });
        let text = step(&step_, Page::plain(200));
        assert!(text.contains("\n     3    as 2                   Isolate 10.0.2.11"), "{text}");
        assert_eq!(text.matches("(3/3 recovered)").count(), 1, "{text}");
    }

    #[test]
    fn without_a_recovered_rollout_there_is_no_cost() {
        let (mean, likely, ends) = cost(&Cost { truncated: 2, cancelled: 1, ..Cost::default() });
        assert_eq!((mean.as_str(), likely.as_str()), ("-", "-"));
        assert_eq!(ends, "0/3 recovered, 2 truncated, 1 cancelled");
    }

    #[test]
    fn text_of_the_model_cannot_act_on_the_terminal() {
        let mut step_ = example();
        step_.candidates[1].action = Action {
            text: "Isolate\u{1b}]0;owned\u{7} it\nSTEP 2 \u{202e}gnihton".to_owned(),
            explanation: "\u{9b}31m".to_owned(),
        };
        step_.reason = "a\rb".to_owned();
        let text = step(&step_, Page::plain(80));
        assert!(!text.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{text:?}");
        assert!(!text.contains("\nSTEP 2"), "a line break in an action begins no line: {text}");
    }

    #[test]
    fn an_open_step_has_no_state_after() {
        let open = Step { state_after_source: None, ..example() };
        assert!(!step(&open, Page::plain(80)).contains("after "));
    }
}
