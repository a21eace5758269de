//! What callers show to prove who they are.

use std::cell::RefCell;
use std::fs;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countermove_coordinator::access::{Gate, MemoryTokens, PolicyFile, Tokens};
use ring::signature::{Ed25519KeyPair, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tonic::Code;
use tonic::codegen::http::{HeaderMap, HeaderValue, header::AUTHORIZATION};

use crate::network::{Served, metadata, no_fault, with};

/// The header that goes with a signature.
const HEADER: &str = r#"{"alg":"EdDSA","kid":"1"}"#;

/// A coordinator that takes tokens of one issuer.
struct Gated {
    served: Served,
    issuer: String,
    key: Ed25519KeyPair,
}

impl Gated {
    fn start() -> Self {
        let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key of 32 bytes");
        let public = URL_SAFE_NO_PAD.encode(key.public_key());
        let keys = format!(
            r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","alg":"EdDSA","use":"sig","kid":"1","x":"{public}"}}]}}"#
        );
        let mut url = String::new();
        let served = Served::coordinator(async || {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            url = format!("http://{}", listener.local_addr().expect("its address"));
            tokio::spawn(publish(listener, keys));
            let path = crate::folder().join("auth.toml");
            let policy = format!(
                "[[issuer]]\nurl = \"{url}\"\naudience = \"fuzz\"\nkeys = \"{url}\"\nalgorithms = [\"EdDSA\", \"ES256\", \"RS256\"]\n\
                 [[grant]]\ngroup = \"soc\"\ntenants = [\"blue\"]\nroles = [\"viewer\"]\n"
            );
            fs::write(&path, policy).expect("the folder can be written");
            let policy = PolicyFile::open(path).expect("a policy that can be used");
            Gate::new(Some(policy), Tokens::new(Arc::new(MemoryTokens::default())), None)
        });
        Self { served, issuer: url, key }
    }

    /// How a call with this authorization ends.
    fn shown(&self, authorization: &[u8]) -> Option<Code> {
        let value = HeaderValue::from_bytes(authorization).ok()?;
        let headers = metadata(HeaderMap::from_iter([(AUTHORIZATION, value)]));
        let path = "/countermove.v1.AccessService/GetCaller".to_owned();
        match self.served.call(path, false, Vec::new(), headers) {
            Ok(_) => Some(Code::Ok),
            Err(status) => {
                no_fault(&status, true);
                Some(status.code())
            }
        }
    }

    fn signed(&self, header: &[u8], claims: &[u8]) -> Vec<u8> {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(message.as_bytes()));
        format!("Bearer {message}.{signature}").into_bytes()
    }

    fn claims(&self) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        format!(
            r#"{{"iss":"{}","aud":"fuzz","sub":"ann","groups":["soc"],"exp":{}}}"#,
            self.issuer,
            now + 3600
        )
    }

    fn token(&self, data: &[u8]) {
        let Some((&how, data)) = data.split_first() else { return };
        match how % 4 {
            // Whatever somebody makes up: nobody is let in by it.
            0 => assert_ne!(self.shown(data), Some(Code::Ok), "a token that nobody made"),
            1 => assert_ne!(
                self.shown(&[b"Bearer ", data].concat()),
                Some(Code::Ok),
                "a token that nobody made"
            ),
            // What an issuer may sign.
            2 => {
                let claims = String::from_utf8_lossy(data).replace("ISSUER", &self.issuer);
                self.shown(&self.signed(HEADER.as_bytes(), claims.as_bytes()));
            }
            // Any header with claims that are in order.
            _ => drop(self.shown(&self.signed(data, self.claims().as_bytes()))),
        }
    }
}

/// Says the keys to whoever asks.
async fn publish(listener: TcpListener, keys: String) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut request = [0; 1024];
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{keys}",
            keys.len()
        );
        // Who has gone already needs no answer.
        let _ = stream.read(&mut request).await;
        let _ = stream.write_all(answer.as_bytes()).await;
    }
}

thread_local! {
    static GATED: RefCell<Option<(u32, Gated)>> = const { RefCell::new(None) };
}

/// The authorization of a call: a byte for what the rest is.
pub fn token(data: &[u8]) {
    GATED.with(|kept| with(kept, Gated::start, |gated| gated.token(data)));
}
