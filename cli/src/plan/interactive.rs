//! `plan --interactive`: a person decides about each action and says what it achieved.

use std::io::{self, IsTerminal, Write};
use std::time::Instant;

use countermove_incident::{RecoveryState, VerbClass};
use countermove_proto::v1::incident_event::Kind;
use countermove_proto::v1::{Finding, PlanEnded, PlanStep};
use countermove_wire::document::FACTS;
use countermove_wire::recovery_state;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::watch::Watch;
use crate::client::Coordinator;
use crate::console::page;
use crate::decisions;
use crate::failure::Failure;
use crate::render::step as render_step;

/// What a person says about a chosen action.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    /// It is to be done.
    Approve,
    /// It is not, for this reason.
    Reject(String),
}

/// Follows the incident, asks about each decided step, and gives its end.
pub(super) async fn decide(coordinator: &Coordinator, watch: &mut Watch) -> Result<PlanEnded, Failure> {
    let mut person = Person::new();
    loop {
        match watch.next().await?.kind {
            Some(Kind::Ended(ended)) => return Ok(ended),
            Some(Kind::Decided(step)) => {
                watch.pause();
                let ended = ask(coordinator, watch, &step, &mut person).await?;
                watch.resume();
                if let Some(ended) = ended {
                    return Ok(ended);
                }
            }
            _ => {}
        }
    }
}

/// Asks about a step, and about its outcome if it is approved. Gives the end of the incident if it came meanwhile.
async fn ask(
    coordinator: &Coordinator,
    watch: &mut Watch,
    step: &PlanStep,
    person: &mut Person,
) -> Result<Option<PlanEnded>, Failure> {
    super::write_out(format!("\n{}", render_step(&step.clone().into(), page())).as_bytes())?;
    let name = watch.name().to_owned();
    let mut heard = decide_or_hear(watch, step, person).await?;
    if let Heard::Verdict(Verdict::Approve) = heard {
        let missing = decisions::send_approval(coordinator, &name, step, coordinator.approver(None)).await?;
        heard = match missing {
            None => Heard::Approved,
            Some((given, needed)) => {
                let line =
                    format!("{given} of {needed} people have approved it; somebody else has to as well\n");
                super::write_out(line.as_bytes())?;
                settled(watch, step.index).await?
            }
        };
    }
    match heard {
        Heard::Approved | Heard::Verdict(Verdict::Approve) => {}
        Heard::Verdict(Verdict::Reject(reason)) => {
            decisions::send_rejection(coordinator, &name, step.index, reason, Vec::new()).await?;
            return Ok(None);
        }
        Heard::Withdrawn => return Ok(None),
        Heard::Ended(ended) => return Ok(Some(ended)),
    }
    let before = recovery_state(step.state_before.unwrap_or_default());
    let (state, carried_out) = match decisions::chosen(step).predicted_state {
        Some(predicted) => (person.outcome(before, recovery_state(predicted)).await?, None),
        // Who plans round by round foretells no facts and needs none.
        None => (before, Some(person.is_done().await?)),
    };
    let searches = VerbClass::of(&decisions::action(step)).contains(&VerbClass::Analyse);
    let findings = if searches { person.findings().await? } else { Vec::new() };
    decisions::send_outcome(coordinator, &name, step.index, state, carried_out, findings).await?;
    Ok(None)
}

/// What settles a step that waits.
enum Heard {
    /// The person decided.
    Verdict(Verdict),
    /// It is approved.
    Approved,
    /// It was withdrawn, since the attack was seen to go on, or somebody else rejected it; the step is decided anew.
    Withdrawn,
    /// Planning ended, for example by its deadline.
    Ended(PlanEnded),
}

/// Waits for the person's word, with an open ear for what makes it needless.
async fn decide_or_hear(watch: &mut Watch, step: &PlanStep, person: &mut Person) -> Result<Heard, Failure> {
    tokio::select! {
        biased;
        heard = settled(watch, step.index) => heard,
        verdict = person.verdict(&step.plan_hash) => Ok(Heard::Verdict(verdict?)),
    }
}

/// Waits for what others make of a step.
async fn settled(watch: &mut Watch, step: u32) -> Result<Heard, Failure> {
    loop {
        match watch.next().await?.kind {
            Some(Kind::Approved(approved)) if approved.step == step => return Ok(Heard::Approved),
            Some(Kind::Rejected(rejected)) if rejected.step == step => return Ok(Heard::Withdrawn),
            Some(Kind::FellBack(fell_back)) if fell_back.withdrawn_step == Some(step) => {
                return Ok(Heard::Withdrawn);
            }
            Some(Kind::Ended(ended)) => return Ok(Heard::Ended(ended)),
            _ => {}
        }
    }
}

/// Lines that wait for a question.
const TYPED_AHEAD: usize = 16;

/// The person at standard input. A thread of its own reads lines, so that waiting for one can be given up.
///
/// Invariant: at a terminal, nothing that was typed before a question was shown answers it. What is piped in comes in order; it cannot
/// know a step's hash.
struct Person {
    lines: mpsc::Receiver<Line>,
    is_terminal: bool,
}

/// A line, and when it came.
struct Line {
    text: String,
    came: Instant,
}

impl Person {
    fn new() -> Self {
        let is_terminal = io::stdin().is_terminal();
        let (sender, lines) = mpsc::channel(TYPED_AHEAD);
        std::thread::spawn(move || {
            for text in io::stdin().lines().map_while(Result::ok) {
                let line = Line { text, came: Instant::now() };
                // A terminal is always read, so that a line's time is when it was typed; what fills the channel answers nothing.
                let sent = match is_terminal {
                    true => !matches!(sender.try_send(line), Err(TrySendError::Closed(_))),
                    false => sender.blocking_send(line).is_ok(),
                };
                if !sent {
                    break;
                }
            }
        });
        Self { lines, is_terminal }
    }

    /// What is to become of the step with this hash. Its first digits approve it: whoever has not seen the step cannot know them.
    async fn verdict(&mut self, hash: &str) -> Result<Verdict, Failure> {
        let code = hash.get(..decisions::CODE_DIGITS).ok_or_else(|| {
            Failure::Failed("the coordinator gave the step no hash, so it cannot be approved here".to_owned())
        })?;
        loop {
            let question = format!("type {code} to approve this action, or n and a reason: ");
            let answer = self.ask(&question).await?;
            match answer.split_once(char::is_whitespace).unwrap_or((&answer, "")) {
                (given, "") if given == code => return Ok(Verdict::Approve),
                ("n" | "no", reason) if !reason.trim().is_empty() => {
                    return Ok(Verdict::Reject(reason.trim().to_owned()));
                }
                ("n" | "no", _) => {
                    let reason = self.ask("why not? the next proposals take it into account: ").await?;
                    if !reason.is_empty() {
                        return Ok(Verdict::Reject(reason));
                    }
                }
                _ => {}
            }
        }
    }

    /// Asks for each fact; an empty answer is what the model predicted.
    async fn outcome(
        &mut self,
        before: RecoveryState,
        predicted: RecoveryState,
    ) -> Result<RecoveryState, Failure> {
        let mut facts = before.bits();
        for ((fact, expected), name) in facts.iter_mut().zip(predicted.bits()).zip(FACTS) {
            let expected = *fact || expected;
            let hint = if expected { "[Y/n]" } else { "[y/N]" };
            *fact = loop {
                match self.ask(&format!("is it {name} now? {hint} ")).await?.as_str() {
                    "" => break expected,
                    "y" | "yes" => break true,
                    "n" | "no" => break false,
                    _ => {}
                }
            };
        }
        Ok(RecoveryState::from_bits(facts))
    }

    /// Asks what a search showed; an empty answer is that nothing is told.
    async fn findings(&mut self) -> Result<Vec<Finding>, Failure> {
        const QUESTION: &str =
            "what did it show? such as `web01 compromised, 10.0.2.14 clean`; Enter for nothing: ";
        loop {
            match decisions::read_findings(&self.ask(QUESTION).await?) {
                Ok(findings) => return Ok(findings),
                Err(problem) => eprintln!("{problem}"),
            }
        }
    }

    /// Asks whether the action could be carried out; an empty answer is that it could.
    async fn is_done(&mut self) -> Result<bool, Failure> {
        loop {
            match self.ask("could it be carried out? [Y/n] ").await?.as_str() {
                "" | "y" | "yes" => return Ok(true),
                "n" | "no" => return Ok(false),
                _ => {}
            }
        }
    }

    /// One answer, without white space around it and in small letters where it is a single word.
    async fn ask(&mut self, question: &str) -> Result<String, Failure> {
        if self.is_terminal {
            while self.lines.try_recv().is_ok() {}
            // What the terminal still holds, whole lines or not. One that cannot be emptied is none, and then nothing was typed ahead.
            let _ = rustix::termios::tcflush(io::stdin(), rustix::termios::QueueSelector::IFlush);
        }
        eprint!("{question}");
        // A prompt that cannot be shown is no reason to stop.
        let _ = io::stderr().flush();
        let asked = Instant::now();
        let line = loop {
            let line = self
                .lines
                .recv()
                .await
                .ok_or_else(|| Failure::Input("standard input ended before the plan did".to_owned()))?;
            // A line that the thread was about to hand over.
            if !self.is_terminal || line.came >= asked {
                break line.text;
            }
        };
        let answer = line.trim();
        Ok(if answer.contains(char::is_whitespace) { answer.to_owned() } else { answer.to_lowercase() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "3fa2bc00";

    async fn person(answers: &[&str]) -> Person {
        let (sender, lines) = mpsc::channel(16);
        for answer in answers {
            sender.send(Line { text: (*answer).to_owned(), came: Instant::now() }).await.unwrap();
        }
        Person { lines, is_terminal: false }
    }

    #[tokio::test]
    async fn the_digits_of_the_step_approve_it_and_nothing_else_does() {
        assert_eq!(
            person(&["what", "y", "yes", "", "3fa", "3FA2"]).await.verdict(HASH).await.unwrap(),
            Verdict::Approve
        );
        assert_eq!(person(&["y", "3fa2 y"]).await.verdict(HASH).await.unwrap_err().code(), 2);
        assert_eq!(person(&["", ""]).await.verdict("").await.unwrap_err().code(), 1);
    }

    #[tokio::test]
    async fn what_was_typed_before_the_question_answers_nothing() {
        let mut person = person(&["3fa2", "n so it was"]).await;
        person.is_terminal = true;
        assert_eq!(person.verdict(HASH).await.unwrap_err().code(), 2);
        let (sender, lines) = mpsc::channel(4);
        let mut person = Person { lines, is_terminal: true };
        sender.send(Line { text: "3fa2".to_owned(), came: Instant::now() }).await.unwrap();
        let answers = async {
            // The question is out by now.
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            sender.send(Line { text: "n too risky".to_owned(), came: Instant::now() }).await.unwrap();
        };
        let (verdict, ()) = tokio::join!(person.verdict(HASH), answers);
        assert_eq!(verdict.unwrap(), Verdict::Reject("too risky".to_owned()));
    }

    #[tokio::test]
    async fn a_rejection_needs_a_reason() {
        let reject = |reason: &str| Verdict::Reject(reason.to_owned());
        assert_eq!(person(&["n It breaks FTP"]).await.verdict(HASH).await.unwrap(), reject("It breaks FTP"));
        assert_eq!(
            person(&["no", "", "n", "too risky"]).await.verdict(HASH).await.unwrap(),
            reject("too risky")
        );
    }

    #[tokio::test]
    async fn an_empty_answer_is_the_prediction_and_facts_can_fall_back() {
        let before = RecoveryState { is_attack_contained: true, ..RecoveryState::default() };
        let predicted = RecoveryState { is_knowledge_sufficient: true, ..before };
        let state =
            person(&["n", "", "perhaps", "y", "", "", ""]).await.outcome(before, predicted).await.unwrap();
        assert_eq!(state.bits(), [false, true, true, false, false, false]);
    }

    #[tokio::test]
    async fn the_end_of_input_ends_the_plan() {
        assert_eq!(person(&[]).await.verdict(HASH).await.unwrap_err().code(), 2);
    }
}
