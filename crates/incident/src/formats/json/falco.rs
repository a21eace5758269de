//! Falco's JSON output.

use std::borrow::Cow;

use super::fields::Fields;
use super::{Draft, Envelope, Format, Object, ObjectFormat, Record, listed, told};
use crate::Endpoint;
use crate::record::RecordKind;

/// See the module.
pub(crate) const FALCO: ObjectFormat = ObjectFormat { format: Format::Falco, recognises, read };

fn recognises(object: &Object) -> bool {
    let is_text = |key: &str| object.get(key).is_some_and(serde_json::Value::is_string);
    is_text("output") && is_text("priority") && is_text("rule")
}

/// Severity of a priority, of which Falco has syslog's eight.
pub(in super::super) fn priority(word: &str) -> Option<u8> {
    match word.trim().to_ascii_lowercase().as_str() {
        "emergency" | "alert" | "critical" | "error" => Some(1),
        "warning" => Some(2),
        "notice" => Some(3),
        "informational" | "info" | "debug" => Some(4),
        _ => None,
    }
}

fn read(object: &Object, envelope: &Envelope<'_>) -> Option<Record> {
    let alert = Fields(object);
    let said = alert.object("output_fields");
    let field = |key: &str| said.and_then(|fields| fields.text(key));
    let first = |keys: &[&str]| keys.iter().find_map(|key| field(key));
    let (source, destination) = ends(said);
    let container = first(&["container.name"]).or_else(|| first(&["container.id"]).filter(|id| id != "host"));
    // A connection is shown as the name of what was opened.
    let file =
        first(&["fd.name", "fs.path.name", "fs.path.target"]).filter(|name| name.starts_with(['/', '\\']));
    let mut draft = Draft {
        kind: RecordKind::Alert,
        time: alert.time(&["time", "output_fields.evt.time", "output_fields.evt.rawtime"]),
        sensor: Cow::Borrowed("falco"),
        host: alert.text("hostname").or_else(|| first(&["evt.hostname"])).unwrap_or_default(),
        message: alert.text("rule")?,
        rule: alert.text("rule")?,
        priority: priority(&alert.text("priority")?),
        classification: alert.text("source").filter(|source| source != "syscall").unwrap_or_default(),
        protocol: first(&["fd.l4proto"]).unwrap_or_default(),
        source,
        destination,
        account: first(&["user.name", "ka.user.name", "ct.user", "ct.user.name"]).unwrap_or_default(),
        process: first(&["proc.cmdline", "proc.exepath", "proc.name"]).unwrap_or_default(),
        file: file.unwrap_or_default(),
        detail: Cow::Owned(listed([
            told("container", container),
            told("image", first(&["container.image.repository"])),
            told("pod", first(&["k8s.pod.name"])),
            told("namespace", first(&["k8s.ns.name", "ka.target.namespace"])),
            told("parent", first(&["proc.pname"])),
            told("call", first(&["ct.name", "ka.verb"])),
        ])),
        raw: alert.text("output"),
        ..Draft::default()
    };
    draft.tags.take_all(alert.texts("tags"));
    Some(draft.finish(Format::Falco, object, envelope))
}

/// The client acts and the server is acted upon.
fn ends(said: Option<Fields<'_>>) -> (Option<Endpoint>, Option<Endpoint>) {
    let Some(said) = said else { return (None, None) };
    let client = said.end(&["fd.cip", "ct.srcip", "ka.sourceips"], &["fd.cport"]);
    let server = said.end(&["fd.sip"], &["fd.sport"]);
    if client.is_some() || server.is_some() {
        return (client, server);
    }
    // `10.0.2.13:45000->203.0.113.66:4444`, and nothing else: a file may have any name.
    let name = said.text("fd.name").or_else(|| said.text("connection")).unwrap_or_default();
    match super::super::endpoints(&name, "TCP") {
        Some((Some(client), Some(server), "")) if client.ip().is_some() && server.ip().is_some() => {
            (Some(client), Some(server))
        }
        _ => (None, None),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{changed, record};
    use super::*;
    use crate::Tactic;

    const SHELL: &str = r#"{"hostname":"node1","output":"12:59:31.342001000: Notice Shell in a container (user=root)","output_fields":{"container.id":"aabbccddeeff","container.name":"shop","evt.time":1780491571342001000,"fd.name":"10.0.2.13:45000->203.0.113.66:4444","fd.l4proto":"tcp","proc.cmdline":"sh -i","user.name":"root","k8s.pod.name":null},"priority":"Warning","rule":"Redirect stdout to a connection","source":"syscall","tags":["container","mitre_execution","T1059"],"time":"2026-06-03T12:59:31.342001000Z"}"#;

    #[test]
    fn an_alert_is_read_with_its_fields() {
        let record = record(SHELL);
        assert_eq!((record.kind, record.priority), (RecordKind::Alert, Some(2)));
        assert_eq!(record.message, "Redirect stdout to a connection");
        assert_eq!(record.source, Some(Endpoint::new("10.0.2.13", Some(45000))));
        assert_eq!(record.destination, Some(Endpoint::new("203.0.113.66", Some(4444))));
        assert_eq!((record.account.as_str(), record.process.as_str()), ("root", "sh -i"));
        assert_eq!((record.host.as_str(), record.detail.as_str()), ("node1", "container shop"));
        assert_eq!((record.tactics, record.techniques), (vec![Tactic::Execution], vec!["T1059".to_owned()]));
        assert_eq!(record.time.unwrap().to_string(), "2026-06-03T12:59:31.342001");
    }

    #[test]
    fn priorities_are_mapped() {
        for (word, expected) in
            [("Emergency", 1), ("Critical", 1), ("Error", 1), ("Notice", 3), ("Informational", 4)]
        {
            assert_eq!(changed(SHELL, &[("priority", word.into())]).priority, Some(expected), "{word}");
        }
        assert_eq!(changed(SHELL, &[("priority", "odd".into())]).priority, None);
    }

    #[test]
    fn a_file_that_was_opened_is_no_connection() {
        let fields = serde_json::json!({"fd.name": "/etc/shadow", "user.name": "www-data"});
        let record = changed(SHELL, &[("output_fields", fields)]);
        assert_eq!((record.file.as_str(), record.source), ("/etc/shadow", None));
    }
}
