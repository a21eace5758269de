//! Compiles the .proto files with protox, so that a build needs no protoc, and keeps the descriptors for reflection.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use prost::Message;

const FILES: [&str; 4] = [
    "countermove/v1/incident.proto",
    "countermove/v1/incident_service.proto",
    "countermove/v1/cluster_service.proto",
    "countermove/worker/v1/worker_service.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=countermove");
    let descriptors = protox::compile(FILES, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
