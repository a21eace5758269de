//! `countermove certs`: an authority and certificates for trying a cluster with TLS.
//!
//! Each certificate bears the SPIFFE id of its holder, and those of coordinators and workers the names and addresses at which
//! they are called. Made again with the same authority, they take the place of the old ones, which running processes notice.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use time::{Duration, OffsetDateTime};

use crate::args::{CertsArgs, HolderKind};
use crate::failure::{Exit, Failure};
use crate::plan::write_out;

/// Name of the authority. It never changes, so that a key found on disk issues for the certificate beside it.
const AUTHORITY: &str = "Countermove authority for trying TLS";
/// Years for which the authority holds.
const YEARS: i64 = 10;
/// A clock may be a little behind that of the one that issues.
const SKEW: Duration = Duration::hours(1);

pub(crate) fn certs(arguments: &CertsArgs) -> Result<Exit, Failure> {
    let folder = &arguments.out;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| Failure::Input(format!("{} cannot be made: {error}", folder.display())))?;
    let (authority, made) = authority(folder)?;
    let mut written = if made { vec!["ca".to_owned()] } else { Vec::new() };
    for (holder, name) in holders(arguments) {
        let (certificate, key) = issue(arguments, &authority, holder, &name)?;
        write(&folder.join(format!("{name}.key")), &key.serialize_pem(), true)?;
        write(&folder.join(format!("{name}.pem")), &certificate.pem(), false)?;
        written.push(name);
    }
    let mut said = String::new();
    for name in written {
        said += &format!("{}\n", folder.join(format!("{name}.pem")).display());
    }
    write_out(said.as_bytes())?;
    Ok(Exit::Success)
}

/// All that are asked for, or one of each.
fn holders(arguments: &CertsArgs) -> Vec<(HolderKind, String)> {
    if arguments.holders.is_empty() {
        return HolderKind::ALL.map(|kind| (kind, kind.folder().to_owned())).to_vec();
    }
    arguments.holders.clone()
}

/// The authority in the folder, made if there is none, and whether it was.
fn authority(folder: &Path) -> Result<(Issuer<'static, KeyPair>, bool), Failure> {
    let (certificate, key) = (folder.join("ca.pem"), folder.join("ca.key"));
    if certificate.exists() != key.exists() {
        return Err(Failure::Input(format!(
            "{} and {} belong together, and one of them is missing",
            certificate.display(),
            key.display()
        )));
    }
    if key.exists() {
        let pem = std::fs::read_to_string(&key).map_err(|error| Failure::unreadable(&key, &error))?;
        let pair = KeyPair::from_pem(&pem)
            .map_err(|error| Failure::Input(format!("{} holds no private key: {error}", key.display())))?;
        return Ok((Issuer::new(authority_params()?, pair), false));
    }
    let pair = KeyPair::generate().map_err(failed)?;
    let params = authority_params()?;
    let own = params.self_signed(&pair).map_err(failed)?;
    write(&key, &pair.serialize_pem(), true)?;
    write(&certificate, &own.pem(), false)?;
    Ok((Issuer::new(params, pair), true))
}

fn authority_params() -> Result<CertificateParams, Failure> {
    let mut params = CertificateParams::new(Vec::new()).map_err(failed)?;
    params.distinguished_name = named(AUTHORITY);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let now = OffsetDateTime::now_utc();
    (params.not_before, params.not_after) = (now - SKEW, now + Duration::days(365 * YEARS));
    Ok(params)
}

fn issue(
    arguments: &CertsArgs,
    authority: &Issuer<'_, KeyPair>,
    holder: HolderKind,
    name: &str,
) -> Result<(Certificate, KeyPair), Failure> {
    let serves = holder != HolderKind::User;
    let hosts = if serves { arguments.host.clone() } else { Vec::new() };
    let mut params = CertificateParams::new(hosts)
        .map_err(|error| Failure::Input(format!("--host: this is no name and no address: {error}")))?;
    params.distinguished_name = named(name);
    let id = format!("spiffe://{}/{}/{name}", arguments.trust_domain, holder.folder());
    let id = Ia5String::try_from(id).map_err(|error| Failure::Input(format!("--trust-domain: {error}")))?;
    params.subject_alt_names.push(SanType::URI(id));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    if serves {
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
    }
    params.use_authority_key_identifier_extension = true;
    let now = OffsetDateTime::now_utc();
    (params.not_before, params.not_after) = (now - SKEW, now + Duration::days(arguments.days.into()));
    let key = KeyPair::generate().map_err(failed)?;
    let certificate = params.signed_by(&key, authority).map_err(failed)?;
    Ok((certificate, key))
}

/// A name for people; nothing goes by it.
fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

/// Writes a file in one step, so that who follows it never sees half of it. A secret is for its owner alone.
fn write(path: &Path, text: &str, is_secret: bool) -> Result<(), Failure> {
    let unwritable =
        |error: std::io::Error| Failure::Input(format!("{} cannot be written: {error}", path.display()));
    let mut half = path.as_os_str().to_owned();
    half.push(".new");
    let mode = if is_secret { 0o600 } else { 0o644 };
    let mut file: File = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&half)
        .map_err(unwritable)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(unwritable)?;
    std::fs::rename(&half, path).map_err(unwritable)
}

fn failed(error: rcgen::Error) -> Failure {
    Failure::Failed(format!("a certificate could not be made: {error}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn arguments(flags: &[&str]) -> CertsArgs {
        let all = ["countermove", "certs"].into_iter().chain(flags.iter().copied());
        match Cli::try_parse_from(all).unwrap().command {
            Command::Certs(arguments) => arguments,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_authority_issues_again_and_keeps_its_key_to_itself() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("certs");
        let flags = ["--out", out.to_str().unwrap(), "worker/w-1"];
        certs(&arguments(&flags)).unwrap();
        let read = |name: &str| std::fs::read_to_string(out.join(name)).unwrap();
        let (ca, first) = (read("ca.pem"), read("w-1.pem"));
        for secret in ["ca.key", "w-1.key"] {
            let mode = std::fs::metadata(out.join(secret)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{secret}");
        }
        certs(&arguments(&flags)).unwrap();
        assert_eq!(read("ca.pem"), ca, "the authority stays");
        assert_ne!(read("w-1.pem"), first, "the certificate is new");
        std::fs::remove_file(out.join("ca.key")).unwrap();
        assert!(certs(&arguments(&flags)).unwrap_err().to_string().contains("belong together"));
    }

    #[test]
    fn without_a_name_there_is_one_of_each() {
        let names = |flags: &[&str]| -> Vec<String> {
            holders(&arguments(flags)).into_iter().map(|(_, name)| name).collect()
        };
        assert_eq!(names(&[]), ["coordinator", "worker", "user"]);
        assert_eq!(names(&["user/ann", "worker/w-1"]), ["ann", "w-1"]);
        for bad in [
            &["worker/a/b"][..],
            &["user/"],
            &["user/ca"],
            &["ann"],
            &["--trust-domain", "A b"],
            &["--days", "0"],
        ] {
            let all = ["countermove", "certs"].iter().chain(bad);
            assert!(Cli::try_parse_from(all).is_err(), "{bad:?}");
        }
    }
}
