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

    proptest! {
        #[test]
        fn no_text_breaks_the_parser(text in "\\PC{0,60}") {
            let _ = text.parse::<StoreUrl>();
        }
    }
}
