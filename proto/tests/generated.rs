//! What stands in `src/generated` is what the .proto files say. With `COUNTERMOVE_WRITE_PROTO` set it is written anew:
//! `make protos` does that.

// A helper of a test may panic, as the test itself may.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use prost::Message;

const FILES: [&str; 4] = [
    "countermove/v1/incident.proto",
    "countermove/v1/incident_service.proto",
    "countermove/v1/cluster_service.proto",
    "countermove/worker/v1/worker_service.proto",
];

#[test]
fn generated_code_is_what_the_protos_say() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    let descriptors = protox::compile(FILES, [here]).unwrap();
    fs::write(folder.path().join("descriptors.bin"), descriptors.encode_to_vec()).unwrap();
    tonic_prost_build::configure().out_dir(&folder).compile_fds(descriptors).unwrap();
    let kept = here.join("src/generated");
    let names = |folder: &Path| {
        let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let made = names(folder.path());
    if std::env::var_os("COUNTERMOVE_WRITE_PROTO").is_some() {
        fs::remove_dir_all(&kept).ok();
        fs::create_dir_all(&kept).unwrap();
        made.iter().for_each(|name| drop(fs::copy(folder.path().join(name), kept.join(name)).unwrap()));
    }
    assert_eq!(names(&kept), made, "run `make protos`");
    for name in made {
        let same = fs::read(kept.join(&name)).unwrap() == fs::read(folder.path().join(&name)).unwrap();
        assert!(same, "{} is not what the .proto files say; run `make protos`", name.display());
    }
}
