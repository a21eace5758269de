//! Signatures of JSON web tokens, checked by the cryptography that TLS has here as well.
//!
//! The crate that reads tokens takes what checks them from outside. Only public keys check anything here: the algorithms with a
//! shared secret, and none at all, are not among those it can be asked for.

use std::sync::Once;

use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::signature::{Error as Mismatch, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey, VerificationAlgorithm,
};

/// Algorithms that an issuer may sign with, and what checks each.
const ALGORITHMS: [(Algorithm, Check); 9] = [
    (Algorithm::RS256, Check::Rsa(&RSA_PKCS1_2048_8192_SHA256)),
    (Algorithm::RS384, Check::Rsa(&RSA_PKCS1_2048_8192_SHA384)),
    (Algorithm::RS512, Check::Rsa(&RSA_PKCS1_2048_8192_SHA512)),
    (Algorithm::PS256, Check::Rsa(&RSA_PSS_2048_8192_SHA256)),
    (Algorithm::PS384, Check::Rsa(&RSA_PSS_2048_8192_SHA384)),
    (Algorithm::PS512, Check::Rsa(&RSA_PSS_2048_8192_SHA512)),
    (Algorithm::ES256, Check::Curve(&ECDSA_P256_SHA256_FIXED)),
    (Algorithm::ES384, Check::Curve(&ECDSA_P384_SHA384_FIXED)),
    (Algorithm::EdDSA, Check::Curve(&ED25519)),
];

#[derive(Clone, Copy)]
enum Check {
    Rsa(&'static RsaParameters),
    Curve(&'static dyn VerificationAlgorithm),
}

/// The algorithm of this name, if an issuer may sign with it.
pub(super) fn algorithm(name: &str) -> Option<Algorithm> {
    let known: Algorithm = name.parse().ok()?;
    ALGORITHMS.iter().any(|(algorithm, _)| *algorithm == known).then_some(known)
}

/// Has tokens checked by this module, in the whole process.
pub(super) fn install() {
    static PROVIDER: CryptoProvider = CryptoProvider {
        signer_factory: |_, _| Err(Error::from(ErrorKind::InvalidAlgorithm)),
        verifier_factory: verifier,
        key_utils: KeyUtils::new_unimplemented(),
    };
    static ONCE: Once = Once::new();
    // Nobody else installs one; if somebody did, theirs would be asked and ours not, which a test would show.
    ONCE.call_once(|| {
        let _ = PROVIDER.install_default();
    });
}

struct Checker {
    algorithm: Algorithm,
    check: Check,
    key: DecodingKey,
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, Error> {
    let found = ALGORITHMS.iter().find(|(known, _)| known == algorithm);
    let Some(&(algorithm, check)) = found.filter(|_| key.family() == algorithm.family()) else {
        return Err(ErrorKind::InvalidAlgorithm.into());
    };
    Ok(Box::new(Checker { algorithm, check, key: key.clone() }))
}

impl Verifier<Vec<u8>> for Checker {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), Mismatch> {
        let checked = match (self.check, self.key.kind()) {
            (Check::Rsa(check), DecodingKeyKind::RsaModulusExponent { n, e }) => {
                RsaPublicKeyComponents { n, e }.verify(check, message, signature)
            }
            (Check::Curve(check), DecodingKeyKind::SecretOrDer(key)) => {
                UnparsedPublicKey::new(check, key).verify(message, signature)
            }
            _ => Err(ring::error::Unspecified),
        };
        checked.map_err(|ring::error::Unspecified| Mismatch::new())
    }
}

impl JwtVerifier for Checker {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with openssl: `openssl dgst -sha256 -sign key.pem`, with `-sigopt rsa_padding_mode:pss` for the second, of
    /// `header.payload`.
    const MODULUS: &str = "a8fc2c9abc505d320a3e50e0af919e014c4f141471c0ce9b110cc8d89031ae2f4308abea67fb3ec8369d1cbb584da493618b93aa732feaf0bdef9a53257ed2c37c27fa70077f4120be81b6ceb0b7fabb321cda0501b8522bf6f8ca73946a8e9c6304ffaca54b10971d40960e2b5f815fac3d270a3f8d7c77a25a229e62cf4db0c3e1ae3a73ada62cb67dd665a5fbb09e0f35320e5e9d38dcb77a141c35e99f25e1fe6086cb7af95d3ef0a4d9acfea9ca566c513c055411bef9bf458e57b3be6ad137d317df5c0d2eec0af1cd9de856b1a9763019f79bb6e15e2d26fbde4bd39ce57f3d40371113671eb57b2ca488cce9f5087467682e400f93601b4b8e0502fb";
    const PKCS1: &str = "3091b8ab12b1f084b14ceb8507593d93c467882b07947f7bea2baed106dde40b243e244f03d7bd48731dc9bc4c45f9ff8e22e784016875c9a5784ef66fca11ff2864ab3ca083740f0e5f372986354c8f98d4b1a988dcc8cf7adadbfcf8cbae2b647fe7bdd0eb7ef74ce4cb99fe32c1c52561b37f23281bcfc31fe85367a54125eb46ec29383686a1277b891749f434e82d02a12cab2ae7a0c933dcd80e8c9f1f05f2fc0c0b7b4cd6161035931e8d27b475bc7c5b482399038cb5148c10a8401f2594f827ddc9062a030e633f7e7e39e1b14e279184b6dd32cb7b4200b2f99e0ac9944d65782b75106d069087bcc0f832af156240d3ff74275d85e059aef26619";
    const PSS: &str = "19a7d5b7404d5e0a82cb768386659ea82981e9b5868e60057372145b1036a6290f6cad9ffaf80fbe73c2d138c4a33ca39c7d996a111efb6bb4102fe8502cf57cde59533a5fc9036231d180632fa11fcdcd40c0d668721834fc29e5a775bd629b28bde81c0759a241e92ffa401658f7bd201f72328d8e30909d538751f041d63711c1fcca299fbc0edfad8e9c787433a89d6e60d0ea8c709ee61655efe1899ce253018745333eeb98b67307e3a33dd8dc02c3548e4fd62a13661d8d59a4a1d51c63c595fc31a5abf7702af722e503184fc8471e739f5d8ce0b8f7f822136373a37fbcd4c5be8df7a19ca0445b759d0d61df1ce0c83c4b3fc18b0c4d47390eb3e7";

    #[test]
    fn signatures_by_rsa_are_those_that_others_make() {
        let bytes = |text: &str| hex::decode(text).unwrap();
        let key = DecodingKey::from_rsa_raw_components(&bytes(MODULUS), &[1, 0, 1]);
        for (algorithm, right, wrong) in [(Algorithm::RS256, PKCS1, PSS), (Algorithm::PS256, PSS, PKCS1)] {
            let checker = verifier(&algorithm, &key).unwrap();
            assert!(checker.verify(b"header.payload", &bytes(right)).is_ok(), "{algorithm:?}");
            assert!(checker.verify(b"header.payloae", &bytes(right)).is_err(), "{algorithm:?}");
            assert!(checker.verify(b"header.payload", &bytes(wrong)).is_err(), "{algorithm:?}");
        }
        assert!(verifier(&Algorithm::ES256, &key).is_err());
    }

    #[test]
    fn only_public_keys_check_anything() {
        for name in ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"] {
            assert!(algorithm(name).is_some(), "{name}");
        }
        for name in ["none", "None", "NONE", "HS256", "HS384", "HS512", "", "rs256", "ES512"] {
            assert!(algorithm(name).is_none(), "{name}");
        }
        let secret = DecodingKey::from_secret(b"0123456789abcdef0123456789abcdef");
        for algorithm in [Algorithm::HS256, Algorithm::RS256, Algorithm::ES256] {
            assert!(verifier(&algorithm, &secret).is_err(), "{algorithm:?}");
        }
        // A key of one kind checks nothing of another.
        let public = DecodingKey::from_ed_der(&[1; 32]);
        assert!(
            verifier(&Algorithm::ES256, &public).is_err() && verifier(&Algorithm::EdDSA, &public).is_ok()
        );
    }
}
