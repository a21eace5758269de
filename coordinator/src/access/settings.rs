//! Whom a coordinator takes calls from, as an operator writes it down: a TOML file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use countermove_planner::ActionClass;

use jsonwebtoken::Algorithm;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::grants::{Grant, Grants, Role, Where};
use super::issuer::{Issuer, Rule, Whose};
use super::keys::{Keys, address};
use super::policy::TwoApprovers;
use super::{Policy, signatures};
use countermove_transport::SpiffeId;

/// Algorithms that an issuer may sign with unless the file says others.
const ALGORITHMS: [&str; 3] = ["RS256", "ES256", "EdDSA"];
/// Seconds that an issuer's clock may be from ours unless the file says it.
const LEEWAY: u64 = 30;
/// Most that the file may say.
const MOST_LEEWAY: u64 = 300;
/// Shortest secret of the first token, in bytes.
const SHORTEST: usize = 32;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Who created an incident, or rejected its action, does not approve it.
    #[serde(default)]
    four_eyes: bool,
    /// What takes two people.
    #[serde(default)]
    two_approvers: Vec<TwoTable>,
    /// File with the secret of a caller that may do everything: to make the first tokens with.
    first_token: Option<PathBuf>,
    #[serde(default)]
    issuer: Vec<IssuerTable>,
    #[serde(default)]
    grant: Vec<GrantTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IssuerTable {
    url: String,
    audience: String,
    /// Where its keys are.
    keys: Option<String>,
    algorithms: Option<Vec<String>>,
    #[serde(default = "groups")]
    groups: String,
    /// Authorities of its own certificate.
    ca: Option<PathBuf>,
    leeway: Option<u64>,
}

fn groups() -> String {
    "groups".to_owned()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TwoTable {
    tenants: Vec<Where>,
    classes: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GrantTable {
    /// Of which issuer, if there are several.
    issuer: Option<String>,
    subject: Option<String>,
    group: Option<String>,
    certificate: Option<String>,
    tenants: Vec<Where>,
    roles: Vec<Role>,
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// It cannot be read.
    #[error("{file} cannot be read: {problem}")]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        problem: std::io::Error,
    },
    /// It says what makes no sense.
    #[error("{file}: {problem}")]
    Nonsense {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

/// Reads a file. Paths in it are from its own folder.
///
/// # Errors
/// See [`SettingsError`].
pub(super) fn read(path: &Path) -> Result<Policy, SettingsError> {
    let text = read_text(path)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    policy(&text, folder).map_err(|problem| match problem {
        Problem::Said(problem) => SettingsError::Nonsense { file: path.to_owned(), problem },
        Problem::File(error) => error,
    })
}

/// The file and those that it names.
pub(super) fn files(path: &Path) -> Vec<PathBuf> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let file = std::fs::read_to_string(path).ok().and_then(|text| toml::from_str::<File>(&text).ok());
    let named = file.into_iter().flat_map(|file| {
        let authorities = file.issuer.into_iter().filter_map(|issuer| issuer.ca);
        file.first_token.into_iter().chain(authorities)
    });
    std::iter::once(path.to_owned()).chain(named.map(|named| folder.join(named))).collect()
}

enum Problem {
    Said(String),
    File(SettingsError),
}

impl From<String> for Problem {
    fn from(said: String) -> Self {
        Self::Said(said)
    }
}

impl From<SettingsError> for Problem {
    fn from(error: SettingsError) -> Self {
        Self::File(error)
    }
}

fn read_text(path: &Path) -> Result<String, SettingsError> {
    std::fs::read_to_string(path)
        .map_err(|problem| SettingsError::Unreadable { file: path.to_owned(), problem })
}

fn policy(text: &str, folder: &Path) -> Result<Policy, Problem> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string().trim_end().replace('\n', " "))?;
    let mut issuers = Vec::new();
    for table in file.issuer {
        let known = issuers.iter().any(|issuer: &Issuer| issuer.url == table.url);
        if known {
            return Err(format!("the issuer {} stands there twice", table.url).into());
        }
        issuers.push(issuer(table, folder)?);
    }
    let mut certificates = Vec::new();
    for table in file.grant {
        let (whose, grants, named) = grant(table)?;
        match whose {
            GrantTo::Certificate(id) => certificates.push((id, grants)),
            GrantTo::Issued(whose) => {
                let issuer = match (&named, issuers.len()) {
                    (Some(url), _) => issuers.iter_mut().find(|issuer| issuer.url == *url),
                    (None, 1) => issuers.first_mut(),
                    (None, _) => {
                        return Err("a grant to a subject or a group names its issuer".to_owned().into());
                    }
                };
                let unknown = || format!("there is no issuer {}", named.clone().unwrap_or_default());
                issuer.ok_or_else(unknown)?.rules.push(Rule { whose, grants });
            }
        }
    }
    let first_token = match file.first_token {
        Some(path) => Some(first_token(&folder.join(path))?),
        None => None,
    };
    if issuers.is_empty() && certificates.is_empty() && first_token.is_none() {
        return Err("nobody may call: name an issuer, a certificate or a first token".to_owned().into());
    }
    let two_approvers = file.two_approvers.into_iter().map(two_approvers).collect::<Result<_, _>>()?;
    Ok(Policy { four_eyes: file.four_eyes, two_approvers, issuers, certificates, first_token })
}

fn two_approvers(table: TwoTable) -> Result<TwoApprovers, String> {
    if table.tenants.is_empty() || table.classes.is_empty() {
        return Err("two_approvers: it names tenants and classes of actions".to_owned());
    }
    let class = |name: &String| name.parse().map_err(|error| format!("two_approvers: {error}"));
    let classes: Vec<ActionClass> = table.classes.iter().map(class).collect::<Result<_, _>>()?;
    Ok(TwoApprovers { tenants: table.tenants, classes })
}

fn issuer(table: IssuerTable, folder: &Path) -> Result<Issuer, Problem> {
    signatures::install();
    let url = table.url;
    address(&url)?;
    if table.audience.is_empty() {
        return Err(
            format!("the issuer {url} needs an audience, or tokens for others would count here").into()
        );
    }
    let names = table.algorithms.unwrap_or_else(|| ALGORITHMS.map(str::to_owned).to_vec());
    let algorithm = |name: &String| {
        signatures::algorithm(name).ok_or_else(|| {
            format!("{name:?} is no algorithm of signatures by public keys that is known here, such as RS256")
        })
    };
    let algorithms: Vec<Algorithm> = names.iter().map(algorithm).collect::<Result<_, _>>()?;
    if algorithms.is_empty() {
        return Err(format!("the issuer {url} may sign by no algorithm").into());
    }
    let leeway = table.leeway.unwrap_or(LEEWAY);
    if leeway > MOST_LEEWAY {
        return Err(format!("a leeway of {leeway} s is too long, up to {MOST_LEEWAY} s are taken").into());
    }
    let at = table.keys.as_deref().map(address).transpose()?;
    let ca = table.ca.map(|path| folder.join(path));
    let tls = countermove_transport::web_client(ca.as_deref()).map_err(|error| error.to_string())?;
    let ca = match &ca {
        None => Vec::new(),
        Some(path) => read_text(path)?.into_bytes(),
    };
    Ok(Issuer {
        keys: Arc::new(Keys::new(url.clone(), at, ca, tls)),
        url,
        audience: table.audience,
        algorithms,
        groups: table.groups,
        leeway,
        rules: Vec::new(),
    })
}

enum GrantTo {
    Issued(Whose),
    Certificate(SpiffeId),
}

fn grant(table: GrantTable) -> Result<(GrantTo, Grants, Option<String>), String> {
    let whose = match (table.subject, table.group, table.certificate) {
        (Some(subject), None, None) => GrantTo::Issued(Whose::Subject(subject)),
        (None, Some(group), None) => GrantTo::Issued(Whose::Group(group)),
        (None, None, Some(id)) => {
            let id: SpiffeId = id.parse().map_err(|error| format!("a grant's certificate: {error}"))?;
            if id.kind().is_some() {
                return Err(format!("{id} is a process of the cluster, which has no role of a person"));
            }
            GrantTo::Certificate(id)
        }
        _ => return Err("a grant is to a subject, a group or a certificate: to one of them".to_owned()),
    };
    if table.tenants.is_empty() || table.roles.is_empty() {
        return Err("a grant names tenants and roles".to_owned());
    }
    let grants = table.tenants.into_iter().map(|tenant| Grant { tenant, roles: table.roles.clone() });
    Ok((whose, Grants::new(grants.collect()), table.issuer))
}

/// The hash of the first token.
fn first_token(path: &Path) -> Result<[u8; 32], Problem> {
    use std::os::unix::fs::PermissionsExt;
    let text = read_text(path)?;
    let secret = text.trim();
    if secret.len() < SHORTEST || secret.contains(['.', ' ']) || secret.starts_with(super::tokens::PREFIX) {
        return Err(format!(
            "first_token: {} holds no secret of {SHORTEST} letters and digits or more; `openssl rand -hex 32` makes one",
            path.display()
        )
        .into());
    }
    if std::fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o077 != 0) {
        tracing::warn!(file = %path.display(), "others can read the first token: chmod 600 it");
    }
    Ok(Sha256::digest(secret).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        four_eyes = true
        [[issuer]]
        url = "https://idp.example"
        audience = "countermove"
        algorithms = ["ES256"]
        [[grant]]
        group = "soc"
        tenants = ["blue", "red"]
        roles = ["viewer", "responder"]
        [[grant]]
        certificate = "spiffe://example/user/export"
        tenants = ["*"]
        roles = ["viewer"]
    "#;

    fn read(text: &str) -> Result<Policy, String> {
        policy(text, Path::new("/nonexistent")).map_err(|problem| match problem {
            Problem::Said(said) => said,
            Problem::File(error) => error.to_string(),
        })
    }

    #[test]
    fn what_an_operator_writes_is_understood() {
        let policy = read(GOOD).unwrap();
        assert!(policy.four_eyes);
        assert_eq!(
            (policy.issuers.len(), policy.issuers[0].rules.len(), policy.certificates.len()),
            (1, 1, 1)
        );
        assert_eq!(policy.issuers[0].algorithms, [Algorithm::ES256]);
    }

    #[test]
    fn what_makes_no_sense_is_said_in_one_sentence() {
        for (bad, word) in [
            ("", "nobody may call"),
            ("four_eyes = 1", "four_eyes"),
            ("unknown = true", "unknown"),
            (&format!("{GOOD}[[two_approvers]]\ntenants = [\"*\"]\nclasses = [\"some\"]"), "takes_down"),
            (&format!("{GOOD}[[two_approvers]]\ntenants = []\nclasses = [\"all\"]"), "tenants"),
            (&GOOD.replace("\"countermove\"", "\"\""), "audience"),
            (&GOOD.replace("ES256", "HS256"), "HS256"),
            (&GOOD.replace("ES256", "none"), "none"),
            (&GOOD.replace("https://idp", "http://idp"), "https://"),
            (&GOOD.replace("\"soc\"", "\"soc\"\nsubject = \"ann\""), "one of them"),
            (&GOOD.replace("\"viewer\", ", "\"owner\", "), "owner"),
            (&GOOD.replace("\"blue\"", "\"a b\""), "tenant"),
            (&GOOD.replace("user/export", "worker/w-1"), "process of the cluster"),
            (&GOOD.replace("\"soc\"", "\"soc\"\nissuer = \"https://other\""), "no issuer https://other"),
            (&format!("first_token = \"no-file\"\n{GOOD}"), "no-file"),
        ] {
            let said = read(bad).err().unwrap_or_else(|| panic!("{bad}"));
            assert!(said.contains(word) && !said.contains('\n'), "{word}: {said}");
        }
    }

    #[test]
    fn the_first_token_is_long() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("first");
        for (secret, good) in [("short", false), (&"a1".repeat(32)[..], true), (&"a.b".repeat(32)[..], false)]
        {
            std::fs::write(&path, format!("{secret}\n")).unwrap();
            assert_eq!(first_token(&path).is_ok(), good, "{secret}");
        }
    }
}
