//! Certificates and secrets: whether they can be read, hold, and are kept from others.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use toml::Table;
use x509_parser::pem::Pem;

use super::{Finding, text};
use crate::args::Remote;

/// What ends sooner is said.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);
/// Largest file that is read, in bytes.
const LARGEST: u64 = 4 << 20;

/// Those that a program's settings name.
pub(super) fn of_settings(whose: &str, settings: &Table) -> Vec<Finding> {
    let mut findings = Vec::new();
    for key in ["tls-cert", "tls-ca", "etcd-cert", "etcd-ca"] {
        if let Some(path) = text(settings, key) {
            findings.push(certificate(&format!("{whose}'s --{key}"), Path::new(&path), SystemTime::now()));
        }
    }
    for key in ["tls-key", "etcd-key", "webhook-secret", "signing-key"] {
        let path = text(settings, key).map(PathBuf::from);
        // A signing key that is not there is made.
        if let Some(path) = path.filter(|path| key != "signing-key" || path.exists()) {
            findings.push(secret(&format!("{whose}'s --{key}"), &path));
        }
    }
    findings
}

/// Those of who calls.
pub(super) fn of_caller(remote: &Remote) -> Vec<Finding> {
    let now = SystemTime::now();
    let certificates = [("--ca", &remote.ca), ("--cert", &remote.cert)];
    let secrets = [("--key", &remote.key), ("--token-file", &remote.token_file)];
    let certificates = certificates
        .into_iter()
        .filter_map(|(flag, path)| Some(certificate(&format!("caller's {flag}"), path.as_deref()?, now)));
    let secrets = secrets
        .into_iter()
        .filter_map(|(flag, path)| Some(secret(&format!("caller's {flag}"), path.as_deref()?)));
    certificates.chain(secrets).collect()
}

/// Whether a file holds certificates that hold now and for a while.
fn certificate(subject: &str, path: &Path, now: SystemTime) -> Finding {
    let name = path.display();
    let bytes = match read(path) {
        Ok(bytes) => bytes,
        Err(problem) => {
            return Finding::bad(
                subject,
                format!("{name}: {problem}"),
                "name a file that this user may read",
            );
        }
    };
    let mut span: Option<(i64, i64)> = None;
    for pem in Pem::iter_from_buffer(&bytes) {
        let Ok(pem) = pem else { break };
        let Ok(certificate) = pem.parse_x509() else { continue };
        let validity = certificate.validity();
        let (from, to) = (validity.not_before.timestamp(), validity.not_after.timestamp());
        // All of them are needed.
        span = Some(span.map_or((from, to), |(first, last)| (first.max(from), last.min(to))));
    }
    let Some((from, to)) = span else {
        return Finding::bad(subject, format!("{name} holds no certificate in PEM"), "name one that does");
    };
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let days = |seconds: i64| seconds / (24 * 3600);
    let left = to.saturating_sub(now);
    let soon = i64::try_from(SOON.as_secs()).unwrap_or(i64::MAX);
    if now < from {
        let what = format!("{name} does not hold yet, for {} days", days(from.saturating_sub(now)) + 1);
        Finding::bad(subject, what, "look at the clock, or issue it anew")
    } else if left <= 0 {
        Finding::bad(
            subject,
            format!("{name} ran out {} days ago", days(-left)),
            "issue it anew; it is taken without a restart",
        )
    } else if left < soon {
        Finding::doubtful(
            subject,
            format!("{name} holds for {} more days", days(left)),
            "issue it anew; it is taken without a restart",
        )
    } else {
        Finding::good(subject, format!("{name} holds for {} more days", days(left)))
    }
}

/// Whether a secret is there and others cannot read it.
fn secret(subject: &str, path: &Path) -> Finding {
    let name = path.display();
    if let Err(problem) = read(path) {
        return Finding::bad(subject, format!("{name}: {problem}"), "name a file that this user may read");
    }
    let mode = std::fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode());
    match mode & 0o077 {
        0 => Finding::good(subject, format!("{name} is this user's alone")),
        _ => Finding::doubtful(subject, format!("others may read {name}"), format!("chmod 600 {name}")),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    use std::io::Read;
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > LARGEST {
        return Err("it is larger than 4 MiB".to_owned());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};
    use time::OffsetDateTime;

    use super::super::Standing;
    use super::*;

    /// A certificate that holds from 30 days ago for so many days from now.
    fn issued(folder: &Path, days: i64) -> PathBuf {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let now = OffsetDateTime::now_utc();
        (params.not_before, params.not_after) =
            (now - time::Duration::days(30), now + time::Duration::days(days));
        let path = folder.join(format!("{days}.pem"));
        std::fs::write(&path, params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()).unwrap();
        path
    }

    #[test]
    fn what_runs_out_is_said_before_it_has() {
        let folder = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        for (days, standing) in [(90, Standing::Good), (5, Standing::Doubtful), (-2, Standing::Bad)] {
            let finding = certificate("c", &issued(folder.path(), days), now);
            assert_eq!(finding.standing, standing, "{days} days: {}", finding.what);
        }
        // Of a chain each has to hold.
        let chain = folder.path().join("chain.pem");
        let both =
            [90, -2].map(|days| std::fs::read_to_string(issued(folder.path(), days)).unwrap()).concat();
        std::fs::write(&chain, both).unwrap();
        assert_eq!(certificate("c", &chain, now).standing, Standing::Bad);
        let early = now - Duration::from_secs(40 * 24 * 3600);
        assert!(certificate("c", &issued(folder.path(), 90), early).what.contains("does not hold yet"));
        assert_eq!(certificate("c", Path::new("no/such.pem"), now).standing, Standing::Bad);
        let empty = folder.path().join("empty.pem");
        std::fs::write(&empty, "nothing\n").unwrap();
        assert!(certificate("c", &empty, now).what.contains("no certificate"));
    }

    #[test]
    fn a_secret_is_for_its_user_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "secret").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(secret("s", &path).standing, Standing::Doubtful);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(secret("s", &path).standing, Standing::Good);
        assert_eq!(secret("s", Path::new("no/such")).standing, Standing::Bad);
    }
}
