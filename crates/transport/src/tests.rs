//! Over real sockets, with certificates that are made for each test.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyIdMethod, KeyPair, RevokedCertParams, SanType, SerialNumber,
};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;

/// An authority and the folder that it writes into.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: PathBuf,
}

impl Authority {
    fn new(folder: &Path, name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        std::fs::write(folder.join(format!("{name}.pem")), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { issuer: Issuer::new(params, key), folder: folder.to_owned() }
    }

    /// Writes a certificate with these URIs and this common name.
    fn issue(&self, file: &str, uris: &[&str], change: impl FnOnce(&mut CertificateParams)) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        for uri in uris {
            params.subject_alt_names.push(SanType::URI(Ia5String::try_from(*uri).unwrap()));
        }
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.folder.join(format!("{file}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.folder.join(format!("{file}.key")), key.serialize_pem()).unwrap();
    }

    /// Writes the list of what it has revoked.
    fn revoke(&self, file: &str, serials: &[u64]) {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: rcgen::date_time_ymd(2026, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2026, 1, 1),
            next_update: rcgen::date_time_ymd(2036, 1, 1),
            crl_number: SerialNumber::from(serials.len() as u64 + 1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        std::fs::write(self.folder.join(file), list.signed_by(&self.issuer).unwrap().pem().unwrap()).unwrap();
    }

    fn files(&self, name: &str, ca: &str) -> TlsFiles {
        let path = |ending: &str| self.folder.join(format!("{name}.{ending}"));
        TlsFiles {
            cert: path("pem"),
            key: path("key"),
            ca: Some(self.folder.join(format!("{ca}.pem"))),
            crl: None,
        }
    }

    fn tls(&self, name: &str, kind: Kind) -> Tls {
        Tls::load(self.files(name, "ca"), kind).unwrap()
    }
}

/// Whether a connection from one to the other carries a word there and back.
async fn meet(client: Arc<rustls::ClientConfig>, server: Arc<rustls::ServerConfig>) -> Result<(), String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let mut stream = TlsAcceptor::from(server).accept(socket).await?;
        let mut word = [0; 4];
        stream.read_exact(&mut word).await?;
        stream.write_all(&word).await?;
        stream.shutdown().await
    });
    let socket = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let called = async {
        let mut stream = TlsConnector::from(client).connect(name, socket).await?;
        stream.write_all(b"word").await?;
        let mut word = [0; 4];
        stream.read_exact(&mut word).await
    };
    let called = called.await.map(drop).map_err(|error| error.to_string());
    serving.abort();
    called
}

const COORDINATOR: &str = "spiffe://test/coordinator/c";
const WORKER: &str = "spiffe://test/worker/w";

fn authority(folder: &Path) -> Authority {
    let authority = Authority::new(folder, "ca");
    authority.issue("coordinator", &[COORDINATOR], |_| {});
    authority.issue("worker", &[WORKER], |_| {});
    authority
}

#[tokio::test]
async fn members_know_each_other_by_their_ids() {
    let folder = tempfile::tempdir().unwrap();
    let authority = authority(folder.path());
    let coordinator = authority.tls("coordinator", Kind::Coordinator);
    let worker = authority.tls("worker", Kind::Worker);
    assert_eq!(coordinator.id().unwrap().as_str(), COORDINATOR);
    meet(coordinator.client(Kind::Worker).unwrap(), worker.server()).await.unwrap();
    // A coordinator takes another one, and is taken for no worker.
    meet(coordinator.client(Kind::Coordinator).unwrap(), coordinator.server()).await.unwrap();
    assert!(meet(coordinator.client(Kind::Worker).unwrap(), coordinator.server()).await.is_err());
    // A worker calls nobody's worker.
    assert!(meet(worker.client(Kind::Worker).unwrap(), worker.server()).await.is_err());
}

#[tokio::test]
async fn what_was_revoked_is_taken_at_neither_end_and_the_list_is_read_anew() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "ca");
    for (file, id, serial) in
        [("coordinator", COORDINATOR, 11_u64), ("worker", WORKER, 12), ("worker-2", WORKER, 13)]
    {
        authority.issue(file, &[id], |params| params.serial_number = Some(SerialNumber::from(serial)));
    }
    let with_list = |name: &str, kind| {
        let files = TlsFiles { crl: Some(folder.path().join("crl.pem")), ..authority.files(name, "ca") };
        Tls::load(files, kind)
    };
    assert!(with_list("worker", Kind::Worker).is_err(), "a list that is named has to be there");
    authority.revoke("crl.pem", &[]);
    let [worker, second] = ["worker", "worker-2"].map(|name| with_list(name, Kind::Worker).unwrap());
    let coordinator = with_list("coordinator", Kind::Coordinator).unwrap();
    let call = async |worker: &Tls| meet(coordinator.client(Kind::Worker).unwrap(), worker.server()).await;
    call(&worker).await.unwrap();

    // The coordinator learns of the worker's, and the other worker is as it was.
    authority.revoke("crl.pem", &[12]);
    coordinator.reload().unwrap();
    let refused = call(&worker).await.unwrap_err();
    assert!(refused.contains("Revoked"), "{refused}");
    call(&second).await.unwrap();

    // The worker learns of the coordinator's.
    authority.revoke("crl.pem", &[11]);
    coordinator.reload().unwrap();
    second.reload().unwrap();
    assert!(call(&second).await.is_err());
    std::fs::write(folder.path().join("crl.pem"), "no list").unwrap();
    assert!(second.reload().is_err());
    assert!(call(&second).await.is_err(), "a bad list changes nothing");
}

#[tokio::test]
async fn a_worker_takes_no_other_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let authority = authority(folder.path());
    let worker = authority.tls("worker", Kind::Worker);
    let stranger = Authority::new(folder.path(), "stranger");
    stranger.issue("of-stranger", &[COORDINATOR], |_| {});
    authority.issue("user", &["spiffe://test/user/ann"], |_| {});
    authority.issue("other-domain", &["spiffe://other/coordinator/c"], |_| {});
    authority.issue("two-ids", &[COORDINATOR, "spiffe://test/coordinator/d"], |_| {});
    // The common name says coordinator, and counts for nothing.
    authority.issue("by-name", &[], |params| {
        params.distinguished_name.push(DnType::CommonName, COORDINATOR);
    });
    authority.issue("expired", &[COORDINATOR], |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    authority.issue("server-only", &[COORDINATOR], |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    let ca = folder.path().join("ca.pem");
    for name in ["of-stranger", "user", "other-domain", "two-ids", "by-name", "expired", "server-only"] {
        let (cert, key) =
            (folder.path().join(format!("{name}.pem")), folder.path().join(format!("{name}.key")));
        let client = ClientTls::load(Some(&ca), Some((&cert, &key))).unwrap();
        assert!(meet(client.config(), worker.server()).await.is_err(), "{name}");
    }
    let nobody = ClientTls::load(Some(&ca), None).unwrap();
    assert!(meet(nobody.config(), worker.server()).await.is_err(), "a certificate is asked for");
    // Each of them fails for what it is: the same client with the right one is taken.
    let (cert, key) = (folder.path().join("coordinator.pem"), folder.path().join("coordinator.key"));
    let right = ClientTls::load(Some(&ca), Some((&cert, &key))).unwrap();
    meet(right.config(), worker.server()).await.unwrap();
}

#[tokio::test]
async fn a_person_needs_no_certificate_and_knows_the_server_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let authority = authority(folder.path());
    let coordinator = authority.tls("coordinator", Kind::Coordinator);
    let ca = folder.path().join("ca.pem");
    meet(ClientTls::load(Some(&ca), None).unwrap().config(), coordinator.server()).await.unwrap();
    // Mozilla's authorities do not know ours.
    let public = ClientTls::load(None, None).unwrap();
    assert!(meet(public.config(), coordinator.server()).await.is_err());
    authority.issue("elsewhere", &[COORDINATOR], |params| {
        params.subject_alt_names[0] = SanType::DnsName("elsewhere".try_into().unwrap());
    });
    let elsewhere = authority.tls("elsewhere", Kind::Coordinator);
    let client = ClientTls::load(Some(&ca), None).unwrap();
    assert!(meet(client.config(), elsewhere.server()).await.is_err(), "it bears no name that was called");
    // A member is known by its id instead, at whatever address.
    meet(coordinator.client(Kind::Coordinator).unwrap(), elsewhere.server()).await.unwrap();
}

#[test]
fn a_certificate_fits_its_process() {
    let folder = tempfile::tempdir().unwrap();
    let authority = authority(folder.path());
    let load = |name: &str, kind| Tls::load(authority.files(name, "ca"), kind);
    let wrong = load("worker", Kind::Coordinator).unwrap_err().to_string();
    assert!(
        wrong.contains("worker.pem") && wrong.contains("spiffe://TRUST-DOMAIN/coordinator/NAME"),
        "{wrong}"
    );
    let missing = load("nobody", Kind::Worker).unwrap_err().to_string();
    assert!(missing.contains("nobody.pem"), "{missing}");
    let mixed = TlsFiles { key: folder.path().join("worker.key"), ..authority.files("coordinator", "ca") };
    assert!(matches!(Tls::load(mixed, Kind::Coordinator), Err(TlsError::Refused(_))));
    std::fs::write(folder.path().join("worker.key"), "no key").unwrap();
    assert!(matches!(load("worker", Kind::Worker), Err(TlsError::Nothing { what: "private key", .. })));
    // Without an authority it serves people alone, and needs no id.
    authority.issue("plain", &[], |_| {});
    let files = TlsFiles { ca: None, ..authority.files("plain", "ca") };
    assert_eq!(Tls::load(files, Kind::Coordinator).unwrap().id(), None);
}

#[tokio::test(start_paused = true)]
async fn new_certificates_are_taken_and_bad_ones_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let authority = authority(folder.path());
    let worker = authority.tls("worker", Kind::Worker);
    let following = tokio::spawn(worker.clone().follow());
    let look = || tokio::time::sleep(std::time::Duration::from_secs(6));
    look().await;
    let first = worker.server();
    look().await;
    assert!(Arc::ptr_eq(&first, &worker.server()), "nothing changed");
    std::fs::write(folder.path().join("worker.pem"), "nonsense").unwrap();
    look().await;
    assert!(Arc::ptr_eq(&first, &worker.server()), "what cannot be used changes nothing");
    authority.issue("worker", &["spiffe://test/worker/renamed"], |_| {});
    look().await;
    assert_eq!(worker.id().unwrap().as_str(), "spiffe://test/worker/renamed");
    assert!(!Arc::ptr_eq(&first, &worker.server()));
    following.abort();
}

#[test]
fn plain_text_leaves_the_machine_only_if_somebody_says_so() {
    let plain = Dial::members(None, Kind::Worker, false);
    let to = |dial: &Dial, url: &str| dial.to(url, |endpoint| endpoint).map(drop);
    assert_eq!(to(&plain, "http://127.0.0.1:1"), Ok(()));
    assert_eq!(to(&plain, "http://[::1]:1"), Ok(()));
    assert!(matches!(to(&plain, "http://10.0.0.1:1"), Err(DialError::Plain(_))));
    assert!(matches!(to(&plain, "http://worker-1:1"), Err(DialError::Plain(_))));
    assert!(matches!(to(&plain, "https://10.0.0.1:1"), Err(DialError::NoTls(_))));
    assert!(matches!(to(&plain, "nonsense"), Err(DialError::Address(_))));
    assert_eq!(to(&Dial::members(None, Kind::Worker, true), "http://10.0.0.1:1"), Ok(()));
}
