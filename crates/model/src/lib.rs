//! The model engine: a decoder language model, its tokenizer and chat frame, and the batch that answers requests.
//!
//! [`Engine::start`] gives a [`Model`] a thread of its own. [`Engine::submit`] returns a stream of [`Event`]s. The same
//! [`Request`] always has the same answer: alone, in any batch, with a warm or a cold cache.
//!
//! Two halves meet in [`Backend`]. Scheduling, sampling and grammar never touch weights; kernels never see a request.

#[cfg(test)]
mod allocations;
mod answer;
mod backend;
mod base;
mod bench;
mod candle;
mod chat;
mod check;
mod config;
mod cpu;
mod cpu_list;
#[cfg(test)]
mod damage;
mod device;
mod digest;
mod engine;
mod error;
mod family;
mod grammar;
mod home;
mod hub;
mod kv;
mod memory;
mod merge;
mod model;
mod options;
mod regular;
mod request;
mod sampling;
mod scheduler;
mod score;
mod shapes;
mod source;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod tokenizer;
mod weights;

pub use backend::{Backend, DeviceMemory, Feed, HostMemory, LogitRows, Shape};
pub use base::{BaseModel, Factors};
pub use bench::{BenchOptions, BenchReport, bench, bench_shape};
#[cfg(feature = "cuda")]
pub use candle::gpu;
pub use check::{Agreement, SameBits, agreement, same_bits};
pub use config::{Architecture, DecoderConfig, RopeScaling};
pub use cpu_list::{CpuListError, allowed_cpus, check_allowed_cpus, parse_cpu_list};
pub use device::{Device, DeviceError, DeviceWeights};
pub use digest::sha256_file;
pub use engine::{Engine, EngineOptions, EngineStats};
pub use error::{EngineError, LoadError};
pub use family::{FAMILY, KnownModel, Origin};
pub use home::home;
pub use hub::{Fetch, OnFetch};
pub use kv::Scope;
pub use merge::{MergedType, merge};
pub use model::{LoadOptions, Model, ModelInfo, WeightFormat};
pub use options::option_values;
pub use request::{Completion, Event, Generation, Priority, Request, Weighed};
pub use score::score;
pub use shapes::shape_names;
pub use source::{ModelSource, SourceError};
pub use tokenizer::Tokenizer;
pub use weights::{Gguf, MetaValue, Part, Role};
