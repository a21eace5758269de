//! Which store: what an operator writes, and what is opened.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Names a store: `memory:`, `sqlite:PATH` or `postgres://user:password@host:port/database`.
#[derive(Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// This process's memory.
    Memory,
    /// An SQLite file; made if it is not there.
    Sqlite(PathBuf),
    /// A PostgreSQL database, as libpq writes it.
    Postgres(String),
}

/// Why a text names no store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}; write memory:, sqlite:PATH or postgres://user:password@host:port/database")]
pub struct StoreUrlError(String);

/// A database would be spoken to over a network without knowing that it is the one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the database at {0} would be reached over a network without checking its certificate; add \
     ?sslmode=verify-full&sslrootcert=FILE to the URL, or say --insecure"
)]
pub struct UnprotectedStore(String);

impl StoreUrl {
    /// Whether what is written goes to this machine, or by TLS to a server whose certificate is checked.
    ///
    /// # Errors
    /// [`UnprotectedStore`] if neither.
    pub fn check_protected(&self) -> Result<(), UnprotectedStore> {
        let Self::Postgres(url) = self else { return Ok(()) };
        let rest = url.split_once("//").map_or("", |(_, rest)| rest);
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let parameter = |name: &str| {
            // The last one counts, as it does for who connects.
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.rfind(|(key, _)| *key == name).map(|(_, value)| value)
        };
        if parameter("sslmode").is_some_and(|mode| matches!(mode, "verify-full" | "verify-ca")) {
            return Ok(());
        }
        let authority = place.split('/').next().unwrap_or_default();
        let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => authority,
        };
        // A socket's folder, or nothing, which is this machine.
        let is_here = |host: &str| {
            host.is_empty() || host.starts_with(['/', '%']) || countermove_transport::is_loopback(host)
        };
        let named = [Some(host), parameter("host"), parameter("hostaddr")];
        match named.into_iter().flatten().find(|host| !is_here(host)) {
            Some(host) => Err(UnprotectedStore(host.to_owned())),
            None => Ok(()),
        }
    }
}

impl FromStr for StoreUrl {
    type Err = StoreUrlError;

    fn from_str(text: &str) -> Result<Self, StoreUrlError> {
        let Some((scheme, rest)) = text.split_once(':') else {
            return Err(StoreUrlError("a store has a kind".to_owned()));
        };
        match (scheme, rest) {
            ("memory", "") => Ok(Self::Memory),
            ("memory", _) => Err(StoreUrlError("nothing follows memory:".to_owned())),
            ("sqlite", path) => {
                let path = path.strip_prefix("//").unwrap_or(path);
                match path {
                    "" => Err(StoreUrlError("sqlite: needs the path of a file".to_owned())),
                    path => Ok(Self::Sqlite(PathBuf::from(path))),
                }
            }
            ("postgres" | "postgresql", rest) if rest.starts_with("//") && rest.len() > 2 => {
                Ok(Self::Postgres(text.to_owned()))
            }
            // Nothing of the text is repeated: it may hold a password.
            _ => Err(StoreUrlError("this kind of store is not known".to_owned())),
        }
    }
}

impl fmt::Display for StoreUrl {
    /// Without the user and the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory:"),
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(url) => {
                let place = url.split_once("//").map_or("", |(_, rest)| rest);
                let place = place.rsplit_once('@').map_or(place, |(_, place)| place);
                write!(f, "postgres://{}", place.split('?').next().unwrap_or_default())
            }
        }
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stores_are_told_apart() {
        assert_eq!("memory:".parse(), Ok(StoreUrl::Memory));
        assert_eq!("sqlite:a/b.db".parse(), Ok(StoreUrl::Sqlite("a/b.db".into())));
        assert_eq!("sqlite:///var/b.db".parse(), Ok(StoreUrl::Sqlite("/var/b.db".into())));
        let url = "postgres://me:secret@db:5432/countermove?sslmode=require";
        assert_eq!(url.parse(), Ok(StoreUrl::Postgres(url.to_owned())));
        for bad in ["", "memory", "memory:x", "sqlite:", "postgres:db", "mysql://a/b", "/var/b.db"] {
            assert!(bad.parse::<StoreUrl>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        let url: StoreUrl = "postgres://me:sec@ret@db:5432/countermove?password=secret".parse().unwrap();
        assert_eq!(format!("{url} {url:?}"), "postgres://db:5432/countermove postgres://db:5432/countermove");
        let error = "pg://me:secret@db/x".parse::<StoreUrl>().unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn a_database_elsewhere_shows_its_certificate() {
        let check = |url: &str| url.parse::<StoreUrl>().unwrap().check_protected();
        for good in [
            "memory:",
            "sqlite:a.db",
            "postgres://localhost/x",
            "postgres://me:a@b@127.0.0.1:5432/x",
            "postgres://me@[::1]:5432/x",
            "postgres:///x?host=/run/postgresql",
            "postgres://db:5432/x?sslmode=verify-full&sslrootcert=ca.pem",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "postgres://db/x",
            "postgres://me:secret@10.0.0.1:5432/x",
            "postgres://db/x?sslmode=require",
            "postgres://db/x?sslmode=verify-full&sslmode=prefer",
            "postgres://localhost/x?host=db",
            "postgres://localhost/x?hostaddr=10.0.0.1",
        ] {
            let said = check(bad).expect_err(bad).to_string();
            assert!(said.contains("verify-full") && !said.contains("secret"), "{said}");
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_parser(text in "\\PC{0,60}") {
            let _ = text.parse::<StoreUrl>();
        }
    }
}
