//! A model as training sees it: weights that stay as they are, and texts as the engine would encode them.
//!
//! Invariant: tokens of a prompt and of an answer are those of [`Engine::submit`](crate::Engine::submit) for the same
//! texts, and weights come in the order that published adapters are made for: rotated pairs are the halves of a head.

use std::fmt;
use std::path::Path;

use crate::chat::Chat;
use crate::config::{Architecture, DecoderConfig};
use crate::cpu::check_shapes;
use crate::error::LoadError;
use crate::tokenizer::Tokenizer;
use crate::weights::{Checkpoint, PARTS, Part, Role, Source, factor_names, read_adapter, tensor_name};

/// A model, open, none of whose weights is in memory.
pub struct BaseModel {
    checkpoint: Checkpoint,
    tokenizer: Tokenizer,
    chat: Chat,
}

/// The two factors of one projection's change, W + scale · B · A.
#[derive(Clone, Debug, PartialEq)]
pub struct Factors {
    /// Rows of A, columns of B.
    pub rank: usize,
    /// What their product is multiplied with.
    pub scale: f32,
    /// `rank` rows, one column for each input.
    pub a: Vec<f32>,
    /// One row for each output, `rank` columns.
    pub b: Vec<f32>,
}

impl fmt::Debug for BaseModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BaseModel").field("path", &self.checkpoint.path()).finish_non_exhaustive()
    }
}

impl BaseModel {
    /// Projections that an adapter may change.
    pub const PROJECTIONS: [Part; 7] = PARTS;

    /// Opens a GGUF file or a folder of safetensors and checks its headers.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn open(path: &Path) -> Result<Self, LoadError> {
        let checkpoint = Checkpoint::open(path)?;
        check_shapes(checkpoint.source())?;
        let (tokenizer, chat) = match checkpoint.gguf() {
            Some(file) => {
                let tokenizer = Tokenizer::from_gguf(file)?;
                let chat = Chat::from_gguf(file, &tokenizer)?;
                (tokenizer, chat)
            }
            None => {
                let tokenizer = Tokenizer::from_folder(path, checkpoint.config().vocab_size)?;
                let chat = Chat::from_folder(path, &tokenizer)?;
                (tokenizer, chat)
            }
        };
        Ok(Self { checkpoint, tokenizer, chat })
    }

    /// The GGUF file or the folder.
    pub fn path(&self) -> &Path {
        self.checkpoint.path()
    }

    /// Its own name, or that of its file or folder.
    pub fn name(&self) -> String {
        self.checkpoint.name()
    }

    /// SHA-256 of its weights.
    ///
    /// # Errors
    /// [`LoadError::Io`] if a file cannot be read.
    pub fn sha256(&self) -> Result<String, LoadError> {
        self.checkpoint.sha256()
    }

    /// Its shape and conventions.
    pub fn config(&self) -> &DecoderConfig {
        self.checkpoint.config()
    }

    /// Weights, counted.
    pub fn parameters(&self) -> u64 {
        self.config().parameters(self.shape(Role::Head).is_none())
    }

    /// Its tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Rows and columns of a tensor, or `None` if it is absent. A vector is one row.
    pub fn shape(&self, role: Role) -> Option<(usize, usize)> {
        self.checkpoint.shape(role)
    }

    /// A tensor's name in published safetensors; `None` if they never hold it.
    pub fn published_name(role: Role) -> Option<String> {
        tensor_name(role)
    }

    /// Names of a projection's factors, A and B, in PEFT's files.
    pub fn factor_names(role: Role) -> Option<[String; 2]> {
        factor_names(role)
    }

    /// A tensor, row by row; `None` if it is absent.
    ///
    /// # Errors
    /// [`LoadError`] if it cannot be read or holds what is no number.
    pub fn tensor(&self, role: Role) -> Result<Option<Vec<f32>>, LoadError> {
        let Some((rows, columns)) = self.shape(role) else { return Ok(None) };
        let mut values = Vec::new();
        self.checkpoint.rows(role, 0..rows, &mut values)?;
        let is_rotated = matches!(role, Role::Layer(_, Part::Query | Part::Key));
        if is_rotated && self.checkpoint.interleaved_rotation() {
            values = in_halves(&values, columns, self.config().head_dim);
        }
        Ok(Some(values))
    }

    /// Rotation frequency of each pair of dimensions of a head, in radians a position.
    ///
    /// # Errors
    /// [`LoadError`] if the file's own divisors cannot be read.
    pub fn rope_frequencies(&self) -> Result<Vec<f32>, LoadError> {
        let mut frequencies = self.config().rope_frequencies();
        if let Some(divisors) = self.tensor(Role::RopeFactors)? {
            frequencies.iter_mut().zip(divisors).for_each(|(frequency, divisor)| *frequency /= divisor);
        }
        Ok(frequencies)
    }

    /// Whether query, key and value projections have biases.
    pub fn has_projection_biases(&self) -> bool {
        self.config().architecture == Architecture::Qwen2
    }

    /// Whether query and key heads are normalised.
    pub fn has_head_norms(&self) -> bool {
        self.config().architecture == Architecture::Qwen3
    }

    /// Tokens of a prompt. `thinking` chooses the frame for answers that reason first.
    pub fn prompt(&self, system: &str, segments: &[String], thinking: bool) -> Vec<u32> {
        let encode = |text: &str, _, ids: &mut Vec<u32>| ids.extend(self.tokenizer.encode_data(text));
        self.chat.frame(thinking).prompt(system, segments, 0, encode).0
    }

    /// Tokens of an answer: the passage of reasoning, if there is one, the value, and the end of the turn.
    pub fn answer(&self, thinking: Option<&str>, value: &str) -> Vec<u32> {
        let data = |text: &str| self.tokenizer.encode_data(text);
        let tag = |text: &str| self.tokenizer.control(text).map_or_else(|| data(text), |id| vec![id]);
        let mut ids = Vec::new();
        if let Some(thinking) = thinking {
            for part in [tag("<think>"), data("\n"), data(thinking), tag("</think>"), data("\n")] {
                ids.extend(part);
            }
        }
        ids.extend(data(value));
        ids.extend(self.tokenizer.ends().first());
        ids
    }

    /// Reads an adapter in PEFT's format, with the projections that it changes in the order of the layers.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn read_adapter(&self, folder: &Path) -> Result<Vec<(Role, Factors)>, LoadError> {
        read_adapter(folder, self.checkpoint.source())
    }
}

/// Rows whose rotated pairs lie side by side, with the pairs as the halves of each head.
fn in_halves(stored: &[f32], columns: usize, head_dim: usize) -> Vec<f32> {
    let half = head_dim / 2;
    let mut ordered = Vec::with_capacity(stored.len());
    for row in 0..stored.len() / columns.max(1) {
        let (head, dim) = (row / head_dim, row % head_dim);
        let from = head * head_dim + dim % half * 2 + dim / half;
        ordered.extend_from_slice(&stored[from * columns..][..columns]);
    }
    ordered
}
