//! Messages from JSON and to JSON, and the layer that reads those of requests.

use countermove_proto::Error;
use countermove_serving::{Served, prepared};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use prost_reflect::prost::Message;
use prost_reflect::{DynamicMessage, MessageDescriptor};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Bytes;
use tonic::codegen::http::{Request, header};

use super::{AT_ONCE, Call, Codec};

impl Codec {
    /// The service, whose calls in JSON may have messages of so many bytes.
    pub(crate) fn behind<S: Served + 'static>(&self, service: S, longest: usize) -> impl Served + use<S> {
        let codec = self.clone();
        prepared(service, move |request| {
            let codec = codec.clone();
            async move {
                match request.extensions().get::<Call>().cloned() {
                    Some(call) => codec.read(call, request, longest).await,
                    None => Ok(request),
                }
            }
        })
    }

    /// The request with the message that its JSON says.
    async fn read(
        &self,
        call: Call,
        request: Request<Body>,
        longest: usize,
    ) -> Result<Request<Body>, Status> {
        let (head, body) = request.into_parts();
        let method = call.0.ok_or_else(|| Status::unimplemented("there is no such call"))?;
        if let Some(coding) =
            head.headers.get(header::CONTENT_ENCODING).filter(|coding| *coding != "identity")
        {
            return Err(Status::unimplemented(format!(
                "content-encoding {coding:?} is not read: send the message as it is"
            )));
        }
        let json = match Limited::new(body, longest).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                let most = longest >> 20;
                return Err(Error::invalid(
                    "",
                    format!("the message is longer than the {most} MiB that this call takes"),
                )
                .into());
            }
            // A body that breaks off is the end of its call.
            Err(error) => return Err(Status::cancelled(error.to_string())),
        };
        let length = json.len();
        let read = move || framed(&method.input(), json);
        let message = if length <= AT_ONCE { read()? } else { self.incidents.compute(read).await? };
        Ok(Request::from_parts(head, Body::new(Full::new(message))))
    }

    /// The JSON of a message.
    pub(super) async fn write(&self, of: MessageDescriptor, message: Bytes) -> Result<Vec<u8>, Error> {
        if message.len() <= AT_ONCE {
            json(of, message)
        } else {
            self.incidents.compute(move || json(of, message)).await
        }
    }
}

/// The message that a text in JSON says.
pub(super) fn parsed(of: &MessageDescriptor, text: &[u8]) -> Result<DynamicMessage, Error> {
    let mut json = serde_json::Deserializer::from_slice(text);
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(&mut json, &mut track);
    let message = DynamicMessage::deserialize(of.clone(), tracked).map_err(|error| {
        let field = track.path().to_string();
        Error::invalid(
            if field == "." { "" } else { &field },
            format!("the JSON is no {}: {error}", of.name()),
        )
    })?;
    let rest = json.end().map(|()| message);
    rest.map_err(|error| Error::invalid("", format!("the body is more than one message of JSON: {error}")))
}

/// The message that a text in JSON says, as gRPC sends one.
fn framed(of: &MessageDescriptor, text: Bytes) -> Result<Bytes, Error> {
    let message = parsed(of, &text)?;
    // Three forms of a large message at a time are one too many.
    drop(text);
    let length = message.encoded_len();
    let prefix = u32::try_from(length).map_err(|_| Error::invalid("", "the message is longer than 4 GiB"))?;
    let mut frame = Vec::with_capacity(5 + length);
    frame.push(0);
    frame.extend_from_slice(&prefix.to_be_bytes());
    message.encode(&mut frame).map_err(|error| Error::Internal(error.to_string()))?;
    Ok(frame.into())
}

fn json(of: MessageDescriptor, message: Bytes) -> Result<Vec<u8>, Error> {
    let message = DynamicMessage::decode(of, message).map_err(|error| Error::Internal(error.to_string()))?;
    serde_json::to_vec(&message)
        .map_err(|error| Error::Internal(format!("the answer has no form in JSON: {error}")))
}
