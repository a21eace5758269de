//! Ed25519 keys: who signs, and whose signatures are believed.

use std::fmt;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::future::{BoxFuture, FutureExt, ready};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;

use super::Hash;

/// What stands before the 32 bytes of a key in PKCS#8 (RFC 8410).
const PKCS8: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
/// Longest key file that is read.
const LONGEST: u64 = 16 << 10;

/// The public half of a key. Prints and parses as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key([u8; 32]);

/// A signature, and whose it is: the public key, then the 64 bytes of Ed25519.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature {
    /// Whose.
    pub key: Key,
    bytes: [u8; 64],
}

/// Something that signs: a key in a file, or a key that never leaves its place, such as one of a KMS.
pub trait Signer: Send + Sync + 'static {
    /// The public half.
    fn key(&self) -> Key;

    /// Signs a digest.
    ///
    /// # Errors
    /// Why it cannot, as the rest of a sentence.
    fn sign(&self, digest: Hash) -> BoxFuture<'_, Result<Signature, String>>;
}

/// A key in a file that only its user reads.
pub struct FileKey {
    pair: Ed25519KeyPair,
}

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or made.
    #[error("{path}: {fault}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        fault: std::io::Error,
    },
    /// Others can read it.
    #[error("{0}: others can read this key; chmod 600 it, or make another one if they may have")]
    Open(PathBuf),
    /// It holds no such key.
    #[error("{0}: it holds no Ed25519 key in PKCS#8, as PEM")]
    Malformed(PathBuf),
}

/// What is wrong with a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureFault {
    /// It is of a key that nobody here believes.
    #[error("it is signed with the key {0}, which is none of those that are trusted here")]
    Stranger(Key),
    /// It is not of what it stands beside.
    #[error("its signature is not that of its content")]
    Wrong,
    /// It is none.
    #[error("its signature cannot be read")]
    Malformed,
}

/// Keys whose signatures are believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedKeys(Vec<Key>);

impl TrustedKeys {
    /// These keys.
    pub fn new(keys: impl IntoIterator<Item = Key>) -> Self {
        let mut keys: Vec<Key> = keys.into_iter().collect();
        keys.sort_unstable();
        keys.dedup();
        Self(keys)
    }

    /// The keys, in order.
    pub fn keys(&self) -> &[Key] {
        &self.0
    }

    /// Checks a signature, as its bytes are kept, over a digest.
    ///
    /// # Errors
    /// [`SignatureFault`].
    pub fn check(&self, digest: &Hash, signature: &[u8]) -> Result<(), SignatureFault> {
        let signature = Signature::from_bytes(signature).ok_or(SignatureFault::Malformed)?;
        if !self.0.contains(&signature.key) {
            return Err(SignatureFault::Stranger(signature.key));
        }
        let key = UnparsedPublicKey::new(&ED25519, signature.key.0);
        key.verify(digest, &signature.bytes).map_err(|_| SignatureFault::Wrong)
    }
}

impl Signature {
    /// Its bytes as they are kept: the key, then the signature.
    pub fn to_bytes(self) -> [u8; 96] {
        let mut bytes = [0; 96];
        bytes[..32].copy_from_slice(&self.key.0);
        bytes[32..].copy_from_slice(&self.bytes);
        bytes
    }

    /// One from its bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (key, signature) = bytes.split_first_chunk::<32>()?;
        Some(Self { key: Key(*key), bytes: signature.try_into().ok()? })
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature of {}", self.key)
    }
}

impl FileKey {
    /// The key in a file. Where there is no file, one is made with a new key, for this user alone.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn open(path: &Path) -> Result<Self, KeyError> {
        let io = |fault| KeyError::Io { path: path.to_path_buf(), fault };
        match OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(path) {
            Ok(file) => {
                let mode = file.metadata().map_err(io)?.permissions().mode();
                if mode & 0o077 != 0 {
                    return Err(KeyError::Open(path.to_path_buf()));
                }
                let mut text = Vec::new();
                file.take(LONGEST).read_to_end(&mut text).map_err(io)?;
                Self::parse(&text).ok_or_else(|| KeyError::Malformed(path.to_path_buf()))
            }
            Err(fault) if fault.kind() == ErrorKind::NotFound => Self::make(path),
            Err(fault) => Err(io(fault)),
        }
    }

    fn parse(pem: &[u8]) -> Option<Self> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem).ok()?;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der()).ok()?;
        Some(Self { pair })
    }

    fn make(path: &Path) -> Result<Self, KeyError> {
        let io = |fault| KeyError::Io { path: path.to_path_buf(), fault };
        if let Some(folder) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(io)?;
        }
        let mut secret = [0; 32];
        let random = SystemRandom::new().fill(&mut secret);
        random.map_err(|_| io(std::io::Error::other("the system gives no random numbers")))?;
        let der = [PKCS8.as_slice(), &secret].concat();
        let pem =
            format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(&der));
        // A file that appeared meanwhile is another process's key and is left alone.
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(io)?;
        file.write_all(pem.as_bytes()).and_then(|()| file.sync_all()).map_err(io)?;
        Self::parse(pem.as_bytes()).ok_or_else(|| KeyError::Malformed(path.to_path_buf()))
    }
}

impl Signer for FileKey {
    fn key(&self) -> Key {
        let mut key = [0; 32];
        // Public keys of Ed25519 have 32 bytes.
        key.copy_from_slice(self.pair.public_key().as_ref());
        Key(key)
    }

    fn sign(&self, digest: Hash) -> BoxFuture<'_, Result<Signature, String>> {
        let signed = self.pair.sign(&digest);
        let bytes = signed.as_ref().try_into().map_err(|_| "it has another length than it should".to_owned());
        ready(bytes.map(|bytes| Signature { key: self.key(), bytes })).boxed()
    }
}

impl fmt::Debug for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileKey {}", self.key())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Key {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bytes = hex::decode(text.trim()).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| "a public key has 64 hexadecimal digits".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn signed(key: &FileKey, digest: Hash) -> Vec<u8> {
        key.sign(digest).now_or_never().unwrap().unwrap().to_bytes().to_vec()
    }

    #[test]
    fn a_key_is_made_once_for_its_user_alone_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signing.pem");
        let made = FileKey::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let read = FileKey::open(&path).unwrap();
        assert_eq!(made.key(), read.key());
        assert_eq!(made.key().to_string().parse(), Ok(made.key()));
        assert!(!format!("{made:?}").contains("PRIVATE"));
        let other = FileKey::open(&folder.path().join("other.pem")).unwrap();
        assert_ne!(made.key(), other.key());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(FileKey::open(&path), Err(KeyError::Open(_))));
        let link = folder.path().join("link.pem");
        std::os::unix::fs::symlink(folder.path().join("other.pem"), &link).unwrap();
        assert!(matches!(FileKey::open(&link), Err(KeyError::Io { .. })));
        for bad in ["", "no key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
            let path = folder.path().join("bad.pem");
            let _ = fs::remove_file(&path);
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).unwrap();
            file.write_all(bad.as_bytes()).unwrap();
            assert!(matches!(FileKey::open(&path), Err(KeyError::Malformed(_))), "{bad}");
        }
    }

    /// RFC 8032, section 7.1, test 2, over PKCS#8 as RFC 8410 has it.
    #[test]
    fn signatures_are_those_of_the_standard() {
        let secret = hex::decode("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb").unwrap();
        let der = [PKCS8.as_slice(), &secret].concat();
        let pem =
            format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(&der));
        let key = FileKey::parse(pem.as_bytes()).unwrap();
        assert_eq!(key.key().to_string(), "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
        let expected = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8\
                        c387b2eaeb4302aeeb00d291612bb0c00";
        assert_eq!(hex::encode(key.pair.sign(&[0x72])), expected);
    }

    #[test]
    fn only_signatures_of_trusted_keys_over_this_content_count() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other] = ["a", "b"].map(|name| FileKey::open(&folder.path().join(name)).unwrap());
        let trusted = TrustedKeys::new([one.key(), one.key()]);
        assert_eq!(trusted.keys().len(), 1);
        let whole = signed(&one, [7; 32]);
        assert_eq!(trusted.check(&[7; 32], &whole), Ok(()));
        assert_eq!(trusted.check(&[8; 32], &whole), Err(SignatureFault::Wrong));
        assert_eq!(
            trusted.check(&[7; 32], &signed(&other, [7; 32])),
            Err(SignatureFault::Stranger(other.key()))
        );
        assert_eq!(trusted.check(&[7; 32], &whole[..95]), Err(SignatureFault::Malformed));
        for place in 0..whole.len() {
            let mut changed = whole.clone();
            changed[place] ^= 1;
            assert!(trusted.check(&[7; 32], &changed).is_err(), "byte {place}");
        }
    }
}
