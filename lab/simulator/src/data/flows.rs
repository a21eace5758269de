//! Reads documented breaches as ordered steps.

use std::path::Path;

use countermove_incident::Tactic;

use super::DataError;
use super::table::{malformed, read_text, records};

/// A documented breach: what the attacker did, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Name.
    pub name: String,
    /// Steps, one at least.
    pub steps: Vec<FlowStep>,
}

/// A step of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowStep {
    /// Tactic.
    pub tactic: Tactic,
    /// Technique as the source gives it, which may be none or one that ATT&CK has withdrawn since.
    pub technique: String,
}

/// Reads `flow,step,tactic_id,technique_id,name`, the steps of a flow together and in order. A step whose tactic is
/// none of the enterprise matrix is left out.
pub(super) fn read(path: &Path) -> Result<Vec<Flow>, DataError> {
    let text = read_text(path)?;
    let mut flows: Vec<Flow> = Vec::new();
    let mut previous = 0_u32;
    for (line, [flow, step, tactic, technique, _]) in
        records(path, &text, ["flow", "step", "tactic_id", "technique_id", "name"])?
    {
        if flow.is_empty() {
            return Err(malformed(path, line, "flow", "is empty".to_owned()));
        }
        let step: u32 = step
            .parse()
            .map_err(|_| malformed(path, line, "step", format!("{step:?} is not a whole number")))?;
        if flows.last().is_none_or(|last| last.name != flow) {
            if flows.iter().any(|other| other.name == flow) {
                return Err(malformed(path, line, "flow", format!("{flow:?} goes on after another flow")));
            }
            flows.push(Flow { name: flow, steps: Vec::new() });
            previous = 0;
        }
        if step <= previous {
            return Err(malformed(path, line, "step", format!("{step} comes after {previous}")));
        }
        previous = step;
        if let (Some(flow), Some(tactic)) = (flows.last_mut(), Tactic::parse(&tactic)) {
            flow.steps.push(FlowStep { tactic, technique });
        }
    }
    flows.retain(|flow| !flow.steps.is_empty());
    Ok(flows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_lines(lines: &str) -> Result<Vec<Flow>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("flows.csv");
        std::fs::write(&path, format!("flow,step,tactic_id,technique_id,name\n{lines}")).unwrap();
        read(&path).map_err(|error| {
            let error = error.to_string();
            error.split_once("flows.csv, ").map(|(_, rest)| rest.to_owned()).unwrap_or(error)
        })
    }

    #[test]
    fn steps_are_gathered_by_flow() {
        let flows = read_lines("A,1,TA0001,T1190,x\nA,2,de,,y\nA,3,TA0011,,z\nB,1,TA0040,T1486,q\n").unwrap();
        assert_eq!(flows.len(), 2);
        let tactics: Vec<Tactic> = flows[0].steps.iter().map(|step| step.tactic).collect();
        assert_eq!(tactics, [Tactic::InitialAccess, Tactic::CommandAndControl]);
    }

    #[test]
    fn wrong_lines_are_named() {
        for (lines, error) in [
            ("A,one,TA0001,,x\n", "line 2, step: \"one\" is not a whole number"),
            ("A,2,TA0001,,x\nA,1,TA0001,,x\n", "line 3, step: 1 comes after 2"),
            (
                "A,1,TA0001,,x\nB,1,TA0001,,x\nA,2,TA0001,,x\n",
                "line 4, flow: \"A\" goes on after another flow",
            ),
            (",1,TA0001,,x\n", "line 2, flow: is empty"),
        ] {
            assert_eq!(read_lines(lines).unwrap_err(), error);
        }
    }
}
