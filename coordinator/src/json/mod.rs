//! The services as JSON over HTTP, at the same port as gRPC: `POST /package.Service/Method` with `content-type: application/json`.
//!
//! A call in JSON becomes one of gRPC and its answer becomes JSON again, so that gate, bounds, record and services know one kind of
//! call and no right is written down twice. It happens in two places. [`Json`] lies before the gate and knows the form of a call alone: it reads no
//! message. [`Codec::behind`] lies behind the gate and the bounds on messages, and makes the message of what was sent.
//!
//! Messages are what proto3's JSON mapping says. A call and its errors have the form of the Connect protocol's unary calls, so its
//! clients can be used. A call that streams answers with one message a line: whatever reads lines can follow an incident,
//! and who has a library that knows Connect's envelopes has gRPC or gRPC-Web as well.

mod answers;
mod errors;
mod messages;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use countermove_proto::FILE_DESCRIPTOR_SET;
use prost_reflect::{DescriptorError, DescriptorPool, MethodDescriptor};

use crate::incidents::Incidents;

pub(crate) use answers::Json;

/// Bytes of a message up to which it is read where calls are answered; what is longer is read by the threads that compute.
const AT_ONCE: usize = 64 << 10;

/// Reads and writes messages by their descriptors. Clones are the same.
#[derive(Clone)]
pub(crate) struct Codec {
    /// By the paths of their calls.
    methods: Arc<HashMap<String, MethodDescriptor>>,
    /// Messages of `google.rpc`, which errors hold.
    details: DescriptorPool,
    incidents: Incidents,
}

/// A call that came as JSON, as an extension of its request; the method is absent if there is no such call.
#[derive(Clone)]
struct Call(Option<MethodDescriptor>);

impl Codec {
    /// For the services of both programs; the gate knows which are served.
    ///
    /// # Errors
    /// If the descriptors of this build are broken.
    pub(crate) fn new(incidents: Incidents) -> Result<Self, DescriptorError> {
        let services = DescriptorPool::decode(FILE_DESCRIPTOR_SET)?;
        let methods = services.services().flat_map(|service| {
            let of = service.full_name().to_owned();
            service
                .methods()
                .map(move |method| (format!("/{of}/{}", method.name()), method))
                .collect::<Vec<_>>()
        });
        let details = DescriptorPool::decode(tonic_types::pb::FILE_DESCRIPTOR_SET)?;
        Ok(Self { methods: Arc::new(methods.collect()), details, incidents })
    }
}
