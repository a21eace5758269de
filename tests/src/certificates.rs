//! An authority of the test's own, with certificates good and bad.

use std::path::{Path, PathBuf};

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, RevokedCertParams, SanType, SerialNumber,
};
use tempfile::TempDir;

/// Trust domain of the certificates.
const DOMAIN: &str = "test.local";

/// An authority, and the folder that holds what it issued. Dropping it takes the folder away.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: TempDir,
}

/// Files of one who has a certificate.
#[derive(Clone, Debug)]
pub struct Holder {
    /// The certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    serial: SerialNumber,
}

impl Authority {
    /// A new one.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn new() -> Self {
        let folder = TempDir::new().unwrap_or_else(|error| panic!("no folder for certificates: {error}"));
        let key = KeyPair::generate().unwrap_or_else(|error| panic!("{error}"));
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test authority");
        let certificate = params.self_signed(&key).unwrap_or_else(|error| panic!("{error}"));
        write(&folder.path().join("ca.pem"), &certificate.pem());
        Self { issuer: Issuer::new(params, key), folder }
    }

    /// Its own certificate.
    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A certificate of `spiffe://test.local/ID`, under the file names NAME.pem and NAME.key, which may be there already.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn issue(&self, name: &str, id: &str) -> Holder {
        self.issue_with(name, |params| {
            params.subject_alt_names.push(uri(&format!("spiffe://{DOMAIN}/{id}")));
        })
    }

    /// As [`Self::issue`], with what `change` makes of it; it has the names and addresses of this machine and no id.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn issue_with(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Holder {
        let failed = |error: rcgen::Error| -> ! { panic!("{name}: {error}") };
        let key = KeyPair::generate().unwrap_or_else(|error| failed(error));
        let names = ["localhost", "127.0.0.1"].map(str::to_owned);
        let mut params = CertificateParams::new(names).unwrap_or_else(|error| failed(error));
        params.distinguished_name = DistinguishedName::new();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let serial = SerialNumber::from(uuid::Uuid::now_v7().as_bytes().to_vec());
        params.serial_number = Some(serial.clone());
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap_or_else(|error| failed(error));
        let path = |ending: &str| self.folder.path().join(format!("{name}.{ending}"));
        let holder = Holder { cert: path("pem"), key: path("key"), serial };
        write(&holder.key, &key.serialize_pem());
        write(&holder.cert, &certificate.pem());
        holder
    }

    /// A certificate that names a coordinator by its common name alone, which counts for nothing.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn issue_by_common_name(&self, name: &str) -> Holder {
        self.issue_with(name, |params| {
            params.distinguished_name.push(DnType::CommonName, format!("spiffe://{DOMAIN}/coordinator/a"));
        })
    }

    /// A coordinator's certificate that has expired.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn issue_expired(&self, name: &str, id: &str) -> Holder {
        self.issue_with(name, |params| {
            params.subject_alt_names.push(uri(&format!("spiffe://{DOMAIN}/{id}")));
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        })
    }

    /// Writes the list of what it has revoked, these certificates and no others, and says where it is.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn revoke(&self, holders: &[&Holder]) -> PathBuf {
        let revoked = |holder: &&Holder| RevokedCertParams {
            serial_number: holder.serial.clone(),
            revocation_time: rcgen::date_time_ymd(2026, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2026, 1, 1),
            next_update: rcgen::date_time_ymd(2036, 1, 1),
            crl_number: SerialNumber::from(holders.len() as u64 + 1),
            issuing_distribution_point: None,
            revoked_certs: holders.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.issuer).and_then(|list| list.pem());
        let path = self.folder.path().join("crl.pem");
        write(&path, &list.unwrap_or_else(|error| panic!("{error}")));
        path
    }

    /// Flags of a server with this certificate.
    pub fn flags(&self, holder: &Holder) -> Vec<String> {
        let paths = [("--tls-cert", &holder.cert), ("--tls-key", &holder.key), ("--tls-ca", &self.ca())];
        paths.into_iter().flat_map(|(flag, path)| [flag.to_owned(), path.display().to_string()]).collect()
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

fn uri(text: &str) -> SanType {
    SanType::URI(Ia5String::try_from(text).unwrap_or_else(|error| panic!("{text}: {error}")))
}

/// In one step, as those do who renew certificates.
fn write(path: &Path, text: &str) {
    let half = path.with_extension("new");
    std::fs::write(&half, text)
        .and_then(|()| std::fs::rename(&half, path))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
