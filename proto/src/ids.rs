//! Identifiers as types of their own, so that one cannot be passed for another.
//!
//! Invariant: an id that exists is valid. Parsing is the only way in from outside, and formatting gives back what was
//! parsed.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// Longest id of a worker and longest name of a tenant, in bytes.
const MAX_LABEL: usize = 63;

/// Identifies an incident; `incidents/{uuid}` on the wire. Ids of later incidents sort after earlier ones.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IncidentId(Uuid);

/// Identifies a worker process; `workers/{id}` on the wire. Lower-case letters, digits, `-`, `.` and `_`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(String);

/// Names the one on whose account an incident is planned. Letters, digits, `-`, `.` and `_`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tenant(String);

/// Identifies a request, so that repeating it has no second effect. A UUID.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(Uuid);

/// Identifies a token by which a service calls; `tokens/{id}` on the wire. Its sixteen hexadecimal digits are no secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenId([u8; 8]);

/// Why a text is not an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct ParseIdError {
    text: String,
    expected: &'static str,
}

impl IncidentId {
    /// An id that nobody has, made from the clock and random bits.
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }

    /// The id with these bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// The resource name, `incidents/{uuid}`.
    pub fn name(&self) -> String {
        self.to_string()
    }

    /// The bytes of the UUID, for example to derive a seed from.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl WorkerId {
    /// An id made from random bits.
    pub fn generate() -> Self {
        Self(format!("w-{}", &Uuid::now_v7().simple().to_string()[20..]))
    }

    /// Checks an id as a worker chose it, without the `workers/` before it.
    ///
    /// # Errors
    /// The text is empty, longer than 63 bytes or has other characters than those named at [`WorkerId`].
    pub fn new(id: &str) -> Result<Self, ParseIdError> {
        let ok = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte);
        if id.is_empty() || id.len() > MAX_LABEL || !id.bytes().all(ok) {
            return Err(ParseIdError::new(
                id,
                "a worker id of 1 to 63 lower-case letters, digits, `-`, `.` and `_`",
            ));
        }
        Ok(Self(id.to_owned()))
    }

    /// The id without the `workers/` before it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The resource name, `workers/{id}`.
    pub fn name(&self) -> String {
        self.to_string()
    }
}

impl Tenant {
    /// Checks a name as a caller chose it; an empty one is the tenant `default`.
    ///
    /// # Errors
    /// The text is longer than 63 bytes or has other characters than those named at [`Tenant`].
    pub fn new(name: &str) -> Result<Self, ParseIdError> {
        let ok = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        if name.len() > MAX_LABEL || !name.bytes().all(ok) {
            return Err(ParseIdError::new(name, "a tenant of 1 to 63 letters, digits, `-`, `.` and `_`"));
        }
        Ok(if name.is_empty() { Self::default() } else { Self(name.to_owned()) })
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Tenant {
    fn default() -> Self {
        Self("default".to_owned())
    }
}

impl RequestId {
    /// An id that nobody has.
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }

    /// The bytes of the UUID.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl TokenId {
    /// The id with these bytes.
    pub fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// The id with these digits, without the `tokens/` before it.
    ///
    /// # Errors
    /// The text is something else than sixteen lower-case hexadecimal digits.
    pub fn new(digits: &str) -> Result<Self, ParseIdError> {
        let refused = || ParseIdError::new(digits, "a token's id of sixteen hexadecimal digits");
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if digits.len() != 16 || !digits.bytes().all(is_digit) {
            return Err(refused());
        }
        u64::from_str_radix(digits, 16).map(|id| Self(id.to_be_bytes())).map_err(|_| refused())
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }

    /// The digits, without the `tokens/` before them.
    pub fn digits(&self) -> String {
        format!("{:016x}", u64::from_be_bytes(self.0))
    }

    /// The resource name, `tokens/{id}`.
    pub fn name(&self) -> String {
        self.to_string()
    }
}

impl FromStr for TokenId {
    type Err = ParseIdError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let refused = || ParseIdError::new(name, "a token's name of the form `tokens/{id}`");
        name.strip_prefix("tokens/").and_then(|digits| Self::new(digits).ok()).ok_or_else(refused)
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tokens/{}", self.digits())
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl ParseIdError {
    fn new(text: &str, expected: &'static str) -> Self {
        // What a stranger sent is echoed in part only.
        Self { text: text.chars().take(80).flat_map(char::escape_default).collect(), expected }
    }
}

impl FromStr for IncidentId {
    type Err = ParseIdError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        name.strip_prefix("incidents/")
            .and_then(parse_uuid)
            .map(Self)
            .ok_or_else(|| ParseIdError::new(name, "an incident name of the form `incidents/{uuid}`"))
    }
}

impl FromStr for WorkerId {
    type Err = ParseIdError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        name.strip_prefix("workers/")
            .and_then(|id| Self::new(id).ok())
            .ok_or_else(|| ParseIdError::new(name, "a worker name of the form `workers/{worker}`"))
    }
}

impl FromStr for RequestId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_uuid(text).map(Self).ok_or_else(|| ParseIdError::new(text, "a request id, which is a UUID"))
    }
}

impl fmt::Display for IncidentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "incidents/{}", self.0)
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "workers/{}", self.0)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Tenant {
    type Err = ParseIdError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::new(name)
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for IncidentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Reads a UUID in its usual form alone: 36 characters with hyphens, and not all zero.
fn parse_uuid(text: &str) -> Option<Uuid> {
    (text.len() == 36).then(|| Uuid::try_parse(text).ok()).flatten().filter(|uuid| !uuid.is_nil())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_come_back_as_they_were() {
        let incident = IncidentId::generate();
        assert_eq!(incident.name().parse(), Ok(incident));
        let worker = WorkerId::generate();
        assert_eq!(worker.name().parse(), Ok(worker));
        let request = RequestId::generate();
        assert_eq!(request.to_string().parse(), Ok(request));
        let token = TokenId::from_bytes([0, 1, 2, 3, 4, 5, 6, 0xff]);
        assert_eq!((token.digits().as_str(), token.name().parse()), ("00010203040506ff", Ok(token)));
        for wrong in
            ["tokens/", "tokens/1", "tokens/00010203040506FF", "tokens/+0010203040506ff", "00010203040506ff"]
        {
            assert!(wrong.parse::<TokenId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn later_incidents_sort_after_earlier_ones() {
        let ids: Vec<_> = (0..100).map(|_| IncidentId::generate()).collect();
        assert!(ids.is_sorted());
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for name in [
            "",
            "incidents/",
            "incidents/1",
            "workers/018f3c1e-0000-7000-8000-000000000001",
            "incidents/00000000-0000-0000-0000-000000000000",
            "incidents/018f3c1e000070008000000000000001",
            "incidents/{018f3c1e-0000-7000-8000-00000000001}",
        ] {
            assert!(name.parse::<IncidentId>().is_err(), "{name}");
        }
        for name in ["", "w", "workers/", "workers/A", "workers/a b", "workers/a/b", "incidents/a"] {
            assert!(name.parse::<WorkerId>().is_err(), "{name}");
        }
        assert!(WorkerId::new(&"a".repeat(64)).is_err());
        assert!("x".parse::<RequestId>().is_err());
    }

    #[test]
    fn a_tenant_is_a_short_plain_name_and_default_if_nobody_says() {
        assert_eq!(Tenant::new(""), Ok(Tenant::default()));
        assert_eq!(Tenant::new("Blue-Team_2.eu").unwrap().as_str(), "Blue-Team_2.eu");
        for name in ["a b", "a/b", "é", "\n", &"a".repeat(64)] {
            assert!(Tenant::new(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn an_error_echoes_little_and_no_control_characters() {
        let error = format!("\u{1b}[31m{}", "x".repeat(1000)).parse::<WorkerId>().unwrap_err().to_string();
        assert!(error.len() < 200 && !error.contains('\u{1b}'), "{error}");
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_is_the_inverse_of_formatting(text in ".{0,80}") {
            if let Ok(id) = text.parse::<WorkerId>() {
                prop_assert_eq!(id.to_string(), text.clone());
            }
            if let Ok(id) = text.parse::<IncidentId>() {
                prop_assert_eq!(id.to_string().to_lowercase(), text.to_lowercase());
            }
        }

        #[test]
        fn every_worker_id_has_a_name_that_parses(id in "[a-z0-9._-]{1,63}") {
            let worker = WorkerId::new(&id).unwrap();
            prop_assert_eq!(worker.name().parse(), Ok(worker));
        }
    }
}
