//! Numbers as nobody means them, in every place of a message that holds one: for tests of whoever reads messages.

use std::collections::HashMap;

use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};

use crate::FILE_DESCRIPTOR_SET;

/// One number of a message, set to one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extreme {
    /// Its place, such as `options.max_depth`.
    pub field: String,
    /// The value, for people.
    pub value: String,
    /// What sets it, merged into a message. In a list it is one more entry, with nothing else in it.
    pub bytes: Vec<u8>,
}

/// Every number and enumeration of the message of this name, each set to 0, 1, its largest value, and what else a peer can
/// send: negative values, values that are no number, values of no enumeration.
///
/// # Panics
/// If there is no such message.
pub fn extremes(message: &str) -> Vec<Extreme> {
    let files = descriptors();
    let mut messages = HashMap::new();
    for file in files.file {
        let package = format!(".{}", file.package.unwrap_or_default());
        for message in file.message_type {
            index(&package, message, &mut messages);
        }
    }
    let mut all = Vec::new();
    walk(&messages, &format!(".{message}"), "", &|inner| inner, &mut all);
    all
}

/// A method of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Method {
    /// Its service, such as `countermove.v1.IncidentService`.
    pub service: String,
    /// Its name, such as `CreateIncident`.
    pub name: String,
    /// The message that it takes, such as `countermove.v1.CreateIncidentRequest`.
    pub request: String,
    /// The message that it answers with, or each of them.
    pub response: String,
}

/// The methods of all services of a package.
pub fn methods(package: &str) -> Vec<Method> {
    let full = |name: Option<String>| name.unwrap_or_default().trim_start_matches('.').to_owned();
    let mut methods = Vec::new();
    for service in
        descriptors().file.into_iter().filter(|file| file.package() == package).flat_map(|file| file.service)
    {
        let name = format!("{package}.{}", service.name());
        methods.extend(service.method.into_iter().map(|method| Method {
            service: name.clone(),
            name: method.name.unwrap_or_default(),
            request: full(method.input_type),
            response: full(method.output_type),
        }));
    }
    methods
}

fn descriptors() -> FileDescriptorSet {
    FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("the descriptors are the build's own")
}

fn index(scope: &str, message: DescriptorProto, messages: &mut HashMap<String, DescriptorProto>) {
    let name = format!("{scope}.{}", message.name());
    for nested in message.nested_type.clone() {
        index(&name, nested, messages);
    }
    messages.insert(name, message);
}

fn walk(
    messages: &HashMap<String, DescriptorProto>,
    name: &str,
    path: &str,
    wrap: &dyn Fn(Vec<u8>) -> Vec<u8>,
    all: &mut Vec<Extreme>,
) {
    let message = messages.get(name).unwrap_or_else(|| panic!("there is no message {name}"));
    for field in &message.field {
        let place = match path {
            "" => field.name().to_owned(),
            path => format!("{path}.{}", field.name()),
        };
        let number = field.number.and_then(|number| u32::try_from(number).ok()).expect("fields have numbers");
        if field.r#type() == Type::Message {
            let wrap = |inner: Vec<u8>| {
                let mut bytes = Vec::new();
                encode_key(number, WireType::LengthDelimited, &mut bytes);
                encode_varint(inner.len() as u64, &mut bytes);
                bytes.extend(inner);
                wrap(bytes)
            };
            walk(messages, field.type_name(), &place, &wrap, all);
        }
        for (value, bytes) in values(field, number) {
            all.push(Extreme { field: place.clone(), value, bytes: wrap(bytes) });
        }
    }
}

/// The values for a field, each as it stands in a message.
fn values(field: &FieldDescriptorProto, number: u32) -> Vec<(String, Vec<u8>)> {
    let varint = |value: i128| {
        let mut bytes = Vec::new();
        encode_key(number, WireType::Varint, &mut bytes);
        // Negative numbers of 32 bits take 64 on the wire as well.
        encode_varint(value as u64, &mut bytes);
        (value.to_string(), bytes)
    };
    let fixed = |value: String, wire_type: WireType, number_of: &[u8]| {
        let mut bytes = Vec::new();
        encode_key(number, wire_type, &mut bytes);
        bytes.extend(number_of);
        (value, bytes)
    };
    let whole = |values: &[i128]| values.iter().map(|&value| varint(value)).collect();
    match field.r#type() {
        Type::Uint32 => whole(&[0, 1, i128::from(u32::MAX)]),
        Type::Uint64 => whole(&[0, 1, i128::from(u64::MAX)]),
        Type::Int32 => whole(&[0, 1, -1, i128::from(i32::MIN), i128::from(i32::MAX)]),
        Type::Int64 => whole(&[0, 1, -1, i128::from(i64::MIN), i128::from(i64::MAX)]),
        Type::Enum => whole(&[0, 1, -1, i128::from(i32::MAX)]),
        Type::Double => [0.0, 1.0, -1.0, f64::MAX, f64::NAN, f64::INFINITY, f64::NEG_INFINITY]
            .into_iter()
            .map(|value| fixed(value.to_string(), WireType::SixtyFourBit, &value.to_le_bytes()))
            .collect(),
        Type::Float => [0.0, 1.0, -1.0, f32::MAX, f32::NAN, f32::INFINITY, f32::NEG_INFINITY]
            .into_iter()
            .map(|value| fixed(value.to_string(), WireType::ThirtyTwoBit, &value.to_le_bytes()))
            .collect(),
        Type::Bool | Type::String | Type::Bytes | Type::Message => Vec::new(),
        other => panic!("{} is of a type that no message had: {other:?}", field.name()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1;

    fn set(message: &str, field: &str, value: &str) -> Vec<u8> {
        let all = extremes(message);
        let found = all.iter().find(|extreme| extreme.field == field && extreme.value == value);
        found.unwrap_or_else(|| panic!("{field} = {value} is missing")).bytes.clone()
    }

    #[test]
    fn numbers_are_set_where_they_stand() {
        let mut request = v1::CreateIncidentRequest {
            options: Some(v1::PlanOptions { rollouts: 2, ..Default::default() }),
            ..Default::default()
        };
        let mut merge = |field, value| {
            request.merge(set("countermove.v1.CreateIncidentRequest", field, value).as_slice()).unwrap();
            request.clone()
        };
        assert_eq!(merge("options.max_depth", "4294967295").options.unwrap().max_depth, u32::MAX);
        assert_eq!(merge("options.seed", "18446744073709551615").options.unwrap().seed, Some(u64::MAX));
        assert!(merge("options.top_p", "NaN").options.unwrap().top_p.unwrap().is_nan());
        assert_eq!(merge("options.deadline.seconds", "-1").options.unwrap().deadline.unwrap().seconds, -1);
        assert_eq!(merge("options.mode", "2147483647").options.unwrap().mode, i32::MAX);
        let minutes = merge("cost_model.minutes.actions.work", "-inf").cost_model.unwrap().minutes.unwrap();
        assert_eq!(minutes.actions[0].work, f64::NEG_INFINITY);
        assert_eq!(merge("priority", "1").options.unwrap().rollouts, 2, "the rest of the message stays");
    }
}
