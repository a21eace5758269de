//! SHA-256 of files, streamed.

use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::LoadError;
use crate::regular;

/// SHA-256 of a file, hexadecimal.
///
/// # Errors
/// [`LoadError::Io`] if the file cannot be read.
pub fn sha256_file(path: &Path) -> Result<String, LoadError> {
    let io = |source| LoadError::Io { path: path.to_path_buf(), source };
    let mut file = regular::open(path).map_err(io)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hex::encode(hasher.finalize())),
            Ok(read) => hasher.update(&buffer[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(io(error)),
        }
    }
}

/// One digest for several files: of a single file its own, of several the digest of their names and digests in the
/// order given.
///
/// # Errors
/// [`LoadError::Io`] if a file cannot be read.
pub(crate) fn sha256_files(paths: &[PathBuf]) -> Result<String, LoadError> {
    if let [only] = paths {
        return sha256_file(only);
    }
    let mut hasher = Sha256::new();
    for path in paths {
        let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        hasher.update(format!("{}  {name}\n", sha256_file(path)?));
    }
    Ok(hex::encode(hasher.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_the_standard() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("abc");
        std::fs::write(&path, "abc").unwrap();
        assert_eq!(sha256_file(&path).unwrap(), abc);
        assert!(matches!(sha256_file(&folder.path().join("absent")), Err(LoadError::Io { .. })));
    }
}
