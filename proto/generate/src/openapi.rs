//! The services in the words of OpenAPI: what JSON over HTTP takes and answers, with the comments of the .proto files.
//!
//! A message is in JSON what proto3's mapping makes of it, so a schema follows from a descriptor and nothing is said twice.

use std::collections::BTreeMap;

use prost_reflect::{
    DescriptorPool, EnumDescriptor, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor,
    MethodDescriptor, ServiceDescriptor,
};
use serde_json::{Map, Value, json};

/// The package whose services are told.
const PACKAGE: &str = "countermove.v1";

const ABOUT: &str = "The services of `countermove.v1` as JSON over HTTP. They are the same as by gRPC, at the same port, under the same rights, \
bounds and record. A call is a POST of one message; names in descriptions are those of the .proto files, and both they and the names here are \
taken. Fields that have their default are left out of answers. A call that streams answers with one message a line \
(`application/x-ndjson`); if it fails later, its last line is an object with the field `error`. 64-bit numbers are strings.";

/// The document of these descriptors.
pub(crate) fn document(pool: &DescriptorPool) -> Value {
    let services: Vec<ServiceDescriptor> =
        pool.services().filter(|service| service.package_name() == PACKAGE).collect();
    let mut schemas = BTreeMap::new();
    let (mut paths, mut tags) = (Map::new(), Vec::new());
    for service in &services {
        let about = comment(&service.parent_file(), service.path());
        tags.push(json!({"name": service.name(), "description": about}));
        for method in service.methods() {
            reach(&method.input(), &mut schemas);
            reach(&method.output(), &mut schemas);
            paths.insert(format!("/{}/{}", service.full_name(), method.name()), path(service, &method));
        }
    }
    schemas.insert("ConnectError".to_owned(), error());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Countermove",
            "version": "v1",
            "description": ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        // A coordinator that asks nobody takes calls without a token.
        "security": [{"bearer": []}, {}],
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {"Error": {
                "description": "The call was not done. The status follows from the code, as in the Connect protocol.",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ConnectError"}}},
            }},
            "securitySchemes": {"bearer": {
                "type": "http",
                "scheme": "bearer",
                "description": "A token of the coordinator, or of the OpenID Connect provider that it trusts.",
            }},
        },
    })
}

fn path(service: &ServiceDescriptor, method: &MethodDescriptor) -> Value {
    let about = comment(&method.parent_service().parent_file(), method.path());
    let (form, answer) = match method.is_server_streaming() {
        true => ("application/x-ndjson", "One message a line, until the stream ends."),
        false => ("application/json", "The answer."),
    };
    json!({"post": {
        "operationId": format!("{}_{}", service.name(), method.name()),
        "tags": [service.name()],
        "summary": about.split_inclusive('.').next().unwrap_or_default(),
        "description": about,
        "requestBody": {
            "required": true,
            "content": {"application/json": {"schema": reference(method.input().full_name())}},
        },
        "responses": {
            "200": {
                "description": answer,
                "content": {form: {"schema": reference(method.output().full_name())}},
            },
            "default": {"$ref": "#/components/responses/Error"},
        },
    }})
}

/// What the Connect protocol says of an error.
fn error() -> Value {
    json!({
        "type": "object",
        "description": "Why a call was not done.",
        "required": ["code"],
        "properties": {
            "code": {
                "type": "string",
                "description": "The code of gRPC in small letters.",
                "enum": [
                    "canceled", "unknown", "invalid_argument", "deadline_exceeded", "not_found", "already_exists", "permission_denied",
                    "resource_exhausted", "failed_precondition", "aborted", "out_of_range", "unimplemented", "internal", "unavailable",
                    "data_loss", "unauthenticated",
                ],
            },
            "message": {"type": "string", "description": "One sentence for people."},
            "details": {
                "type": "array",
                "description": "Messages of `google.rpc`: ErrorInfo with a reason always; BadRequest names fields, RetryInfo says when to come back.",
                "items": {
                    "type": "object",
                    "required": ["type", "value"],
                    "properties": {
                        "type": {"type": "string", "description": "The name of the message, such as `google.rpc.BadRequest`."},
                        "value": {"type": "string", "description": "The message in its binary form, as base64 without padding."},
                        "debug": {"type": "object", "description": "The message as JSON."},
                    },
                },
            },
        },
    })
}

/// Adds the schemas of a message and of all that it holds.
fn reach(message: &MessageDescriptor, schemas: &mut BTreeMap<String, Value>) {
    if well_known(message).is_some() || schemas.contains_key(name(message.full_name())) {
        return;
    }
    // There before its fields are followed, so that a message may hold itself.
    schemas.insert(name(message.full_name()).to_owned(), Value::Null);
    let properties: Map<String, Value> =
        message.fields().map(|field| (field.json_name().to_owned(), property(&field))).collect();
    for field in message.fields() {
        let kind = if field.is_map() { map_value(&field) } else { field.kind() };
        match kind {
            Kind::Message(inner) => reach(&inner, schemas),
            Kind::Enum(inner) => {
                schemas.entry(name(inner.full_name()).to_owned()).or_insert_with(|| enumeration(&inner));
            }
            _ => {}
        }
    }
    let mut about = comment(&message.parent_file(), message.path());
    for choice in message.oneofs().filter(|choice| !choice.is_synthetic()) {
        let names: Vec<String> = choice.fields().map(|field| format!("`{}`", field.json_name())).collect();
        about += &format!(" At most one of {} is there.", names.join(", "));
    }
    let schema = json!({"type": "object", "description": about, "properties": properties});
    schemas.insert(name(message.full_name()).to_owned(), schema);
}

fn enumeration(of: &EnumDescriptor) -> Value {
    let file = of.parent_file();
    let mut about = comment(&file, of.path());
    for value in of.values() {
        about += &format!("\n- `{}`: {}", value.name(), comment(&file, value.path()));
    }
    let names: Vec<String> = of.values().map(|value| value.name().to_owned()).collect();
    json!({"type": "string", "description": about, "enum": names})
}

fn property(field: &FieldDescriptor) -> Value {
    let schema = if field.is_map() {
        json!({"type": "object", "additionalProperties": kind(&map_value(field))})
    } else if field.is_list() {
        json!({"type": "array", "items": kind(&field.kind())})
    } else {
        kind(&field.kind())
    };
    let about = comment(&field.parent_message().parent_file(), field.path());
    match schema {
        Value::Object(mut schema) if !about.is_empty() => {
            schema.insert("description".to_owned(), about.into());
            schema.into()
        }
        schema => schema,
    }
}

/// The type of the values of a map.
fn map_value(field: &FieldDescriptor) -> Kind {
    match field.kind() {
        Kind::Message(entry) => entry.map_entry_value_field().kind(),
        other => other,
    }
}

fn kind(kind: &Kind) -> Value {
    match kind {
        Kind::Double => json!({"type": "number", "format": "double"}),
        Kind::Float => json!({"type": "number", "format": "float"}),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => json!({"type": "integer", "format": "int32"}),
        Kind::Uint32 | Kind::Fixed32 => {
            json!({"type": "integer", "format": "uint32", "minimum": 0, "maximum": u32::MAX})
        }
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
            json!({"type": "string", "format": "int64", "pattern": "^-?[0-9]{1,19}$"})
        }
        Kind::Uint64 | Kind::Fixed64 => {
            json!({"type": "string", "format": "uint64", "pattern": "^[0-9]{1,20}$"})
        }
        Kind::Bool => json!({"type": "boolean"}),
        Kind::String => json!({"type": "string"}),
        Kind::Bytes => json!({"type": "string", "contentEncoding": "base64"}),
        Kind::Message(message) => well_known(message).unwrap_or_else(|| reference(message.full_name())),
        Kind::Enum(of) => reference(of.full_name()),
    }
}

/// Messages with a form of their own in JSON.
fn well_known(message: &MessageDescriptor) -> Option<Value> {
    match message.full_name() {
        "google.protobuf.Timestamp" => Some(json!({"type": "string", "format": "date-time"})),
        "google.protobuf.Duration" => {
            Some(json!({"type": "string", "pattern": "^-?[0-9]+(\\.[0-9]{1,9})?s$"}))
        }
        _ => None,
    }
}

fn reference(full: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{}", name(full))})
}

/// The name of a message within the package.
fn name(full: &str) -> &str {
    full.strip_prefix(PACKAGE).and_then(|rest| rest.strip_prefix('.')).unwrap_or(full)
}

/// What stands before something in its file, as one paragraph.
fn comment(file: &FileDescriptor, path: &[i32]) -> String {
    let locations =
        file.file_descriptor_proto().source_code_info.as_ref().map(|info| info.location.as_slice());
    let found = locations.unwrap_or_default().iter().find(|location| location.path == path);
    let text = found.map_or("", |location| location.leading_comments());
    let paragraphs = text.split("\n\n").map(|lines| lines.split_whitespace().collect::<Vec<_>>().join(" "));
    paragraphs.filter(|paragraph| !paragraph.is_empty()).collect::<Vec<_>>().join("\n\n")
}
