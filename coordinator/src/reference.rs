//! The parts of docs/reference.md that say which calls there are and what is told: made from descriptors and code, and compared.

use std::collections::BTreeMap;
use std::fmt::Write;

use countermove_proto::FILE_DESCRIPTOR_SET;
use countermove_settings::{cell, compare};
use prost::Message;
use prost_types::{FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto};

use crate::access::{RIGHTS, Right, Scope};
use crate::notify::{Event, Notification};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference.md");

/// Field numbers of descriptors, of which the place of a comment consists.
const MESSAGE: i32 = 4;
const SERVICE: i32 = 6;
const FIELD_OR_METHOD: i32 = 2;

/// A file, and its comments by their places.
struct File {
    proto: FileDescriptorProto,
    comments: BTreeMap<Vec<i32>, String>,
}

fn files() -> Vec<File> {
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
    let ours = set.file.into_iter().filter(|file| file.package().starts_with("countermove."));
    let file = |proto: FileDescriptorProto| {
        let places = proto.source_code_info.iter().flat_map(|info| &info.location);
        let comments = places.filter(|place| place.leading_comments.is_some());
        let comments = comments.map(|place| (place.path.clone(), cell(place.leading_comments())));
        File { comments: comments.collect(), proto }
    };
    ours.map(file).collect()
}

fn short(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// Who may make a call.
fn callers(right: &Right) -> String {
    let roles: Vec<String> = right.roles.iter().map(|role| format!("{role:?}").to_lowercase()).collect();
    match right.scope {
        Scope::Open => "anybody".to_owned(),
        Scope::Known => "whoever is known".to_owned(),
        Scope::Tenant => format!("{} of the tenant", roles.join(", ")),
        Scope::Cluster => format!("{} of all tenants", roles.join(", ")),
    }
}

fn row(text: &mut String, service: &str, method: &MethodDescriptorProto, comment: &str) {
    let right = RIGHTS.iter().find(|right| right.call == format!("{service}/{}", method.name()));
    let (callers, changes) = match right {
        Some(right) => (callers(right), if right.changes { "yes" } else { "" }),
        None => ("coordinators, by their certificates".to_owned(), ""),
    };
    let streamed =
        |name: &str, streams| format!("{}{}", if streams { "stream of " } else { "" }, short(name));
    let _ = writeln!(
        text,
        "| `{}` | {} | {} | {callers} | {changes} | {comment} |",
        method.name(),
        streamed(method.input_type(), method.client_streaming()),
        streamed(method.output_type(), method.server_streaming()),
    );
}

fn rpcs() -> String {
    let mut text = String::new();
    for File { proto, comments } in files() {
        for (index, service) in (0..).zip(&proto.service) {
            let name = format!("{}.{}", proto.package(), service.name());
            let about = &comments[&vec![SERVICE, index]];
            let _ = writeln!(text, "### `{name}`\n\n{about}\n");
            let _ = writeln!(
                text,
                "| call | request | answer | who may call | changes | what |\n|---|---|---|---|---|---|"
            );
            for (place, method) in (0..).zip(&service.method) {
                row(&mut text, &name, method, &comments[&vec![SERVICE, index, FIELD_OR_METHOD, place]]);
            }
            text.push('\n');
        }
    }
    text
}

fn incident_events() -> String {
    let mut text = "| event | message | what |\n|---|---|---|\n".to_owned();
    for File { proto, comments } in files() {
        let Some(at) = proto.message_type.iter().position(|message| message.name() == "IncidentEvent") else {
            continue;
        };
        let event = &proto.message_type[at];
        let kind = event.oneof_decl.iter().position(|one| one.name() == "kind").unwrap() as i32;
        for (place, field) in (0..).zip(&event.field).filter(|(_, field)| field.oneof_index == Some(kind)) {
            let comment = &comments[&vec![MESSAGE, at as i32, FIELD_OR_METHOD, place]];
            let _ = writeln!(text, "| `{}` | {} | {comment} |", field.name(), short(field.type_name()));
        }
    }
    text
}

fn notifications() -> String {
    let mut text = "| event | when |\n|---|---|\n".to_owned();
    for event in Event::ALL {
        let _ = writeln!(text, "| `{}` | {} |", event.name(), event.about());
    }
    let sample = Notification::sample(Event::WaitsForApproval, Some("https://countermove.example"));
    let sample = serde_json::to_string_pretty(&sample).unwrap();
    let _ = writeln!(
        text,
        "\nA receiver without a template gets, and a template can show:\n\n```json\n{sample}\n```"
    );
    text
}

fn compare_part(name: &str, part: &str) {
    compare(PAGE.as_ref(), name, part, true).unwrap_or_else(|error| panic!("{error}"));
}

/// One test, since each part is written into the same page.
#[test]
fn the_reference_lists_every_call_and_every_event() {
    let calls = rpcs();
    let rows = calls.lines().filter(|line| line.starts_with("| `")).count();
    let own = RIGHTS.iter().filter(|right| right.call.starts_with("countermove.")).count();
    assert!(rows > own, "those of workers as well");
    compare_part("rpcs", &calls);
    compare_part("incident-events", &incident_events());
    compare_part("notifications", &notifications());
}
