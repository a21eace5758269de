//! `countermove audit`: who did what.

use countermove_proto::time_text;
use countermove_proto::v1::AuditEntry;
use prost::Message;

use crate::args::{AuditArgs, AuditCommand, Remote};
use crate::client::Coordinator;
use crate::failure::{Exit, Failure};
use crate::plan::write_out;
use crate::{proof, render};

pub(crate) async fn audit(arguments: AuditArgs, remote: &Remote) -> Result<Exit, Failure> {
    let coordinator = Coordinator::connect(remote).await?;
    match arguments.command {
        AuditCommand::List { json } => {
            proof::entries(&coordinator, |record| {
                let entry = AuditEntry::decode(record.entry.as_slice()).map_err(|error| {
                    Failure::Failed(format!("entry {} of the audit log: {error}", record.number))
                })?;
                let line = if json { as_json(record.number, &entry) } else { as_text(record.number, &entry) };
                write_out(format!("{line}\n").as_bytes())
            })
            .await?;
        }
        AuditCommand::Verify { keys } => {
            write_out(proof::audit_log(&coordinator, &keys).await?.as_bytes())?;
        }
    }
    Ok(Exit::Success)
}

fn time(entry: &AuditEntry) -> String {
    entry.time.and_then(time_text).unwrap_or_default()
}

/// How a call ended.
fn end(entry: &AuditEntry) -> String {
    match entry.code {
        0 => "done".to_owned(),
        code => format!("refused ({:?})", tonic::Code::from(code)),
    }
}

fn as_text(number: u64, entry: &AuditEntry) -> String {
    let who = if entry.who.is_empty() { "somebody" } else { &entry.who };
    let mut line = format!("{number}  {}  {}  {who} from {}", time(entry), entry.method, entry.from);
    for (name, text) in [("", &entry.subject), ("tenant ", &entry.tenant), ("", &entry.detail)] {
        if !text.is_empty() {
            line.push_str(&format!("  {name}{text}"));
        }
    }
    line.push_str(&format!("  {}", end(entry)));
    if !entry.message.is_empty() {
        line.push_str(&format!(": {}", entry.message));
    }
    // What comes from outside brings no control sequence to a terminal.
    render::one_line(&line)
}

fn as_json(number: u64, entry: &AuditEntry) -> String {
    serde_json::json!({
        "number": number,
        "id": entry.id,
        "time": time(entry),
        "who": entry.who,
        "from": entry.from,
        "tenant": entry.tenant,
        "method": entry.method,
        "subject": entry.subject,
        "request_id": entry.request_id,
        "request_sha256": entry.request_sha256,
        "detail": entry.detail,
        "code": entry.code,
        "message": entry.message,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_one_line_and_brings_no_control_sequence() {
        let entry = AuditEntry {
            who: "ann\u{1b}]0;x\u{7}".into(),
            from: "203.0.113.9".into(),
            method: "ApproveAction".into(),
            subject: "incidents/x\n2  forged".into(),
            code: 9,
            message: "the step is another one\u{202e}".into(),
            ..AuditEntry::default()
        };
        for line in [as_text(1, &entry), as_json(1, &entry)] {
            assert!(!line.contains(['\u{1b}', '\n', '\u{7}']), "{line}");
        }
        let line = as_text(1, &entry);
        assert!(
            line.contains("ApproveAction") && line.contains("refused (FailedPrecondition): the step"),
            "{line}"
        );
        assert!(!line.contains('\u{202e}'));
    }
}
