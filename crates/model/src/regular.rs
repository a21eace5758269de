//! Opening the files of a model, which are plain files: opening a pipe would wait for whoever writes to it, and a device may
//! have no end.

use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Opens a file for reading. Never waits.
///
/// # Errors
/// Those of the system, and one that says so if it is something else than a regular file.
pub(crate) fn open(path: &Path) -> Result<File, Error> {
    // Without this, opening a pipe that nobody writes to never ends. Reading regular files is not changed by it.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "this is no regular file, and a model is one or a folder of them",
        ));
    }
    Ok(file)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::process::Command;
    use std::sync::mpsc;
    use std::time::Duration;

    use crate::{Gguf, LoadOptions, Model, sha256_file};

    /// What `work` gives, which has to come at once.
    pub(crate) fn at_once<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = mpsc::channel();
        std::thread::spawn(move || done.send(work()));
        result.recv_timeout(Duration::from_secs(5)).expect("it waits for somebody who writes")
    }

    #[test]
    fn a_pipe_or_a_device_in_the_place_of_any_file_of_a_model_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for path in [pipe.clone(), "/dev/zero".into()] {
            let refused = [
                at_once({
                    let path = path.clone();
                    move || Gguf::open(&path).map(drop).unwrap_err().to_string()
                }),
                at_once({
                    let path = path.clone();
                    move || sha256_file(&path).unwrap_err().to_string()
                }),
                at_once({
                    let path = path.clone();
                    move || Model::load(&path, &LoadOptions::default()).map(drop).unwrap_err().to_string()
                }),
            ];
            for error in refused {
                assert!(error.contains("no regular file"), "{error}");
            }
        }
    }
}
