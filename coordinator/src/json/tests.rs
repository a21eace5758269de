use std::collections::HashMap;

use proptest::prelude::*;
use proptest::test_runner::TestRng;
use prost_reflect::prost::Message;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value,
};

use countermove_proto::{Error, FILE_DESCRIPTOR_SET};
use tonic::codegen::http::HeaderMap;

use super::answers::as_grpc;
use super::messages::parsed;

fn pool() -> DescriptorPool {
    DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap()
}

/// The messages that clients send and get, each once.
fn messages() -> Vec<MessageDescriptor> {
    let pool = pool();
    let services = pool.services().filter(|service| service.package_name() == "countermove.v1");
    let methods: Vec<_> = services.flat_map(|service| service.methods().collect::<Vec<_>>()).collect();
    methods.iter().flat_map(|method| [method.input(), method.output()]).collect()
}

/// Some message: every field may be there or not, lists and maps hold a few values.
fn any_message(of: &MessageDescriptor, rng: &mut TestRng) -> DynamicMessage {
    let mut message = DynamicMessage::new(of.clone());
    let seconds = match of.full_name() {
        // From the first to the last second that a date can say.
        "google.protobuf.Timestamp" => Some(rng.random_range(-62_135_596_800_i64..=253_402_300_799)),
        "google.protobuf.Duration" => Some(rng.random_range(0..=315_576_000_000_i64)),
        _ => None,
    };
    if let Some(seconds) = seconds {
        message.set_field_by_number(1, Value::I64(seconds));
        message.set_field_by_number(2, Value::I32(rng.random_range(0..1_000_000_000)));
        return message;
    }
    for field in of.fields() {
        if rng.random_bool(0.5) {
            message.set_field(&field, any_field(&field, rng));
        }
    }
    message
}

fn any_field(field: &FieldDescriptor, rng: &mut TestRng) -> Value {
    let count = rng.random_range(1..3);
    if let (true, Kind::Message(entry)) = (field.is_map(), field.kind()) {
        let value = entry.map_entry_value_field().kind();
        let entries = (0..count).map(|_| (MapKey::String(any_text(rng)), any_value(&value, rng)));
        return Value::Map(entries.collect::<HashMap<_, _>>());
    }
    if field.is_list() {
        return Value::List((0..count).map(|_| any_value(&field.kind(), rng)).collect());
    }
    any_value(&field.kind(), rng)
}

fn any_value(kind: &Kind, rng: &mut TestRng) -> Value {
    match kind {
        Kind::Double => Value::F64(f64::from_bits(rng.random()).clamp(f64::MIN, f64::MAX)).finite(),
        Kind::Float => Value::F32(f32::from_bits(rng.random()).clamp(f32::MIN, f32::MAX)).finite(),
        Kind::Int32 => Value::I32(rng.random()),
        Kind::Int64 => Value::I64(rng.random()),
        Kind::Uint32 => Value::U32(rng.random()),
        Kind::Uint64 => Value::U64(rng.random()),
        Kind::Bool => Value::Bool(rng.random()),
        Kind::String => Value::String(any_text(rng)),
        Kind::Bytes => {
            Value::Bytes((0..rng.random_range(0..9)).map(|_| rng.random()).collect::<Vec<u8>>().into())
        }
        Kind::Message(of) => Value::Message(any_message(of, rng)),
        Kind::Enum(of) => {
            let values: Vec<i32> = of.values().map(|value| value.number()).collect();
            Value::EnumNumber(values[rng.random_range(0..values.len())])
        }
        other => panic!("no message has a field of the kind {other:?}"),
    }
}

trait Finite {
    fn finite(self) -> Self;
}

impl Finite for Value {
    /// Zero in place of what is no number, which is never equal to itself.
    fn finite(self) -> Self {
        match self {
            Self::F64(number) if number.is_nan() => Self::F64(0.0),
            Self::F32(number) if number.is_nan() => Self::F32(0.0),
            other => other,
        }
    }
}

fn any_text(rng: &mut TestRng) -> String {
    (0..rng.random_range(0..9)).map(|_| rng.random::<char>()).collect()
}

fn refusal(of: &str, json: &str) -> (String, String) {
    let of = pool().get_message_by_name(&format!("countermove.v1.{of}")).unwrap();
    match parsed(&of, json.as_bytes()) {
        Err(Error::InvalidArgument(violations)) => {
            (violations[0].field.clone(), violations[0].description.clone())
        }
        other => panic!("{json}: {other:?}"),
    }
}

#[test]
fn what_is_no_message_is_refused_with_the_field_that_is_wrong() {
    for (json, field, says) in [
        ("", "", "EOF while parsing"),
        ("[]", "", "invalid type: sequence"),
        ("{}{}", "", "more than one message"),
        ("{\"name\": 1}", "", "unrecognized field name 'name'"),
        (
            "{\"evidence\": {\"alerts\": [\"x\"]}}",
            "evidence.alerts",
            "invalid type: sequence, expected a string",
        ),
        (
            "{\"evidence\": {\"constraints\": [\"x\", 7]}}",
            "evidence.constraints[1]",
            "invalid type: integer `7`",
        ),
        ("{\"options\": {\"rollouts\": -1}}", "options.rollouts", "out of range"),
        ("{\"options\": {\"mode\": \"PLAN_MODE_NOW\"}}", "options.mode", "PLAN_MODE_NOW"),
        ("{\"options\": {\"deadline\": \"soon\"}}", "options.deadline", "failed to parse duration"),
        ("{\"labels\": {\"team\": {}}}", "labels.team", "invalid type: map"),
        ("{\"tenant\": \"\\ud800\"}", "tenant", "unexpected end of hex escape"),
    ] {
        let (named, said) = refusal("CreateIncidentRequest", json);
        assert_eq!(named, field, "{json}: {said}");
        assert!(said.contains(says), "{json}: {said}");
    }
    let of = pool().get_message_by_name("countermove.v1.GetIncidentRequest").unwrap();
    assert!(parsed(&of, b"{\"name\": \"\xff\"}").is_err());
}

#[test]
fn depth_is_bounded_wherever_it_is() {
    for (before, after) in [("{\"options\":", "}"), ("{\"x\":", "}"), ("{\"tenant\":", "}"), ("", "")] {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let json = format!("{before}{}1{}{after}", open.repeat(100_000), close.repeat(100_000));
            assert!(
                refusal("CreateIncidentRequest", &json).1.starts_with("the JSON is no CreateIncidentRequest")
            );
        }
    }
}

#[test]
fn names_of_the_protos_are_taken_and_a_line_that_says_error_can_be_no_message() {
    let of = pool().get_message_by_name("countermove.v1.CreateIncidentRequest").unwrap();
    let one =
        parsed(&of, br#"{"requestId": "a", "validateOnly": true, "options": {"seed": "7", "topP": 0.5}}"#)
            .unwrap();
    let other =
        parsed(&of, br#"{"request_id": "a", "validate_only": true, "options": {"seed": 7, "top_p": 0.5}}"#)
            .unwrap();
    assert_eq!(one, other);
    let pool = pool();
    let streams = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
    for method in streams.filter(|method| method.is_server_streaming()) {
        assert!(method.output().get_field_by_json_name("error").is_none(), "{}", method.full_name());
    }
}

#[test]
fn a_call_has_the_time_that_its_caller_gives_it() {
    for (said, time) in [
        ("250", Some("250m")),
        ("0", Some("0m")),
        ("9999999999", Some("99999999m")),
        ("soon", None),
        ("-1", None),
        ("", None),
    ] {
        let mut headers = HeaderMap::new();
        for (name, value) in
            [("connect-timeout-ms", said), ("content-length", "2"), ("grpc-accept-encoding", "gzip")]
        {
            headers.insert(name, value.parse().unwrap());
        }
        as_grpc(&mut headers);
        assert_eq!(headers.get("grpc-timeout").map(|time| time.to_str().unwrap()), time, "{said}");
        assert_eq!(headers.len(), 2 + usize::from(time.is_some()), "{headers:?}");
    }
}

/// Each message comes back from JSON as it was, and its JSON is what the OpenAPI document says.
#[test]
fn messages_come_back_from_json_as_they_were() {
    let document: serde_json::Value =
        serde_json::from_slice(include_bytes!("../../../docs/openapi.json")).unwrap();
    let told = messages().into_iter().map(|of| {
        let schema = serde_json::json!({
            "$ref": format!("#/components/schemas/{}", of.name()),
            "components": document["components"],
        });
        (of, jsonschema::draft202012::new(&schema).unwrap())
    });
    let told: Vec<_> = told.collect();
    proptest!(ProptestConfig::with_cases(24), |(mut rng in Just(()).prop_perturb(|(), rng| rng))| {
        for (of, schema) in &told {
            let message = any_message(of, &mut rng);
            let json = serde_json::to_vec(&message).unwrap();
            // What has its default is left out of either form.
            let sent = DynamicMessage::decode(of.clone(), message.encode_to_vec().as_slice()).unwrap();
            prop_assert_eq!(parsed(of, &json), Ok(sent), "{}", String::from_utf8_lossy(&json));
            let problem = schema.validate(&serde_json::from_slice(&json).unwrap()).map_err(|error| error.to_string());
            prop_assert_eq!(problem, Ok(()));
        }
    });
}

#[test]
fn no_text_breaks_the_reader() {
    let messages = messages();
    proptest!(|(text in "\\PC{0,60}", json in "[\\[\\]{}\",:0-9a-z\\\\ ]{0,60}")| {
        for of in &messages {
            let _ = parsed(of, text.as_bytes());
            let _ = parsed(of, json.as_bytes());
        }
    });
}
