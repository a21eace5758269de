//! Writes what the .proto files say into `proto/src/generated`, and in the words of OpenAPI into `docs/openapi.json`: `make protos`.
//!
//! It stands beside `countermove-proto` and does not use it, so that a message can be added although the crate does not
//! build without it yet. A test compares what is kept with what the files say.

mod openapi;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use prost::Message;
use prost_reflect::DescriptorPool;
use prost_types::FileDescriptorSet;

const FILES: [&str; 6] = [
    "countermove/v1/access_service.proto",
    "countermove/v1/incident.proto",
    "countermove/v1/incident_service.proto",
    "countermove/v1/cluster_service.proto",
    "countermove/v1/audit_service.proto",
    "countermove/worker/v1/worker_service.proto",
];

/// Where the services stand in the words of OpenAPI, from the folder of the .proto files.
const OPENAPI: &str = "../docs/openapi.json";

fn main() -> Result<()> {
    let kept = kept();
    if kept.exists() {
        fs::remove_dir_all(&kept).with_context(|| format!("{} cannot be emptied", kept.display()))?;
    }
    generate(&kept)?;
    fs::write(protos().join(OPENAPI), openapi(&descriptors()?)?)
        .context("docs/openapi.json cannot be written")
}

/// The folder of the .proto files.
fn protos() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn kept() -> PathBuf {
    protos().join("src/generated")
}

fn descriptors() -> Result<FileDescriptorSet> {
    protox::compile(FILES, [protos()]).context("the .proto files do not compile")
}

/// `docs/openapi.json`.
fn openapi(descriptors: &FileDescriptorSet) -> Result<String> {
    let pool = DescriptorPool::from_file_descriptor_set(descriptors.clone())
        .context("the descriptors do not fit together")?;
    Ok(format!("{:#}\n", openapi::document(&pool)))
}

/// Writes messages, services and their descriptors into a folder.
fn generate(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let descriptors = descriptors()?;
    fs::write(folder.join("descriptors.bin"), descriptors.encode_to_vec())?;
    // Maps in order, so that the same message always has the same bytes: idempotency keys are compared by them.
    tonic_prost_build::configure().btree_map(".").out_dir(folder).compile_fds(descriptors)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
        let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
        entries
            .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
            .collect()
    }

    #[test]
    fn what_is_kept_is_what_the_protos_say() {
        let folder = tempfile::tempdir().unwrap();
        generate(folder.path()).unwrap();
        let (made, kept) = (files(folder.path()), files(&kept()));
        assert_eq!(made.keys().collect::<Vec<_>>(), kept.keys().collect::<Vec<_>>(), "run `make protos`");
        for (name, content) in made {
            assert!(
                kept.get(&name) == Some(&content),
                "{name} is not what the .proto files say; run `make protos`"
            );
        }
    }

    #[test]
    fn the_openapi_document_is_what_the_protos_say() {
        let kept = fs::read_to_string(protos().join(OPENAPI)).unwrap();
        let made = openapi(&descriptors().unwrap()).unwrap();
        assert!(kept == made, "docs/openapi.json is not what the .proto files say; run `make protos`");
        let document: serde_json::Value = serde_json::from_str(&made).unwrap();
        let create = &document["paths"]["/countermove.v1.IncidentService/CreateIncident"]["post"];
        assert_eq!(create["summary"], "Takes evidence and starts planning.");
        let schemas = &document["components"]["schemas"];
        let request = &schemas["CreateIncidentRequest"]["properties"];
        assert_eq!(request["labels"]["additionalProperties"]["type"], "string");
        assert_eq!(request["evidence"]["$ref"], "#/components/schemas/Evidence");
        assert_eq!(schemas["PlanOptions"]["properties"]["deadline"]["type"], "string");
        let said = |schema: &serde_json::Value| {
            schema["description"].as_str().is_some_and(|about| !about.is_empty())
        };
        for (name, schema) in schemas.as_object().unwrap() {
            assert!(said(schema), "{name} has no comment");
            for (field, property) in schema["properties"].as_object().into_iter().flatten() {
                assert!(said(property), "{name}.{field} has no comment");
            }
        }
    }
}
