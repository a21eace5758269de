//! The header of a GGUF file, read with every count checked against the bytes that are left in the file.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use candle_core::quantized::GgmlDType;

use crate::error::LoadError;

/// A value in a GGUF header.
#[derive(Clone, Debug, PartialEq)]
pub enum MetaValue {
    /// Any unsigned integer.
    Unsigned(u64),
    /// Any signed integer.
    Signed(i64),
    /// Any floating point number.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// Text; bytes that are not UTF-8 are replaced.
    Text(String),
    /// A list of texts.
    Texts(Vec<String>),
    /// A list of integers.
    Integers(Vec<i64>),
    /// A list of floating point numbers.
    Floats(Vec<f32>),
    /// A list of a kind that no model needs (of lists, of truth values); its content is skipped.
    Skipped,
}

/// Where a tensor is in the file.
#[derive(Clone, Debug)]
pub(super) struct Tensor {
    pub(super) dtype: GgmlDType,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) start: u64,
}

/// A non-negative integer among the values of a header.
pub(super) fn unsigned(metadata: &HashMap<String, MetaValue>, key: &str) -> Option<u64> {
    match metadata.get(key)? {
        MetaValue::Unsigned(value) => Some(*value),
        MetaValue::Signed(value) => u64::try_from(*value).ok(),
        _ => None,
    }
}

/// Reader of a header that knows how many bytes the file has left.
pub(super) struct Header<'a> {
    path: &'a Path,
    reader: BufReader<&'a File>,
    position: u64,
    end: u64,
}

/// Deepest nesting of lists.
const DEEPEST: usize = 4;
/// Most dimensions of a tensor in the format.
const MOST_DIMENSIONS: u32 = 4;

/// Values, tensors, and the end of the values in the file.
pub(super) type Parsed = (HashMap<String, MetaValue>, HashMap<String, Tensor>, u64);

impl<'a> Header<'a> {
    /// Reads and checks a header: its values and the places of its tensors.
    pub(super) fn read(path: &'a Path, file: &'a File, bytes: u64) -> Result<Parsed, LoadError> {
        let mut header =
            Self { path, reader: BufReader::with_capacity(1 << 16, file), position: 0, end: bytes };
        if bytes < 24 || &header.array::<4>()? != b"GGUF" {
            return Err(header.malformed("this is not a GGUF file"));
        }
        match header.u32()? {
            2 | 3 => {}
            1 => return Err(header.malformed("GGUF version 1 is too old; convert the model again")),
            version if version.swap_bytes() <= 3 => {
                return Err(header.malformed("the file is big-endian; a little-endian one is needed"));
            }
            version => return Err(header.malformed(format!("GGUF version {version} is not known"))),
        }
        let tensor_count = header.count("tensors", 24)?;
        let value_count = header.count("header values", 13)?;
        let mut metadata = HashMap::new();
        for _ in 0..value_count {
            let key = header.string()?;
            let kind = header.u32()?;
            let value = header.value(kind, 0)?;
            if metadata.insert(key.clone(), value).is_some() {
                return Err(header.malformed(format!("the header has {key:?} twice")));
            }
        }
        let values_end = header.position;
        let mut infos = Vec::new();
        for _ in 0..tensor_count {
            infos.push(header.tensor()?);
        }
        let alignment = unsigned(&metadata, "general.alignment").unwrap_or(32);
        if !alignment.is_power_of_two() || alignment > 1 << 20 {
            return Err(header.malformed(format!("the alignment is {alignment}")));
        }
        let data = header.position.next_multiple_of(alignment);
        let mut tensors = HashMap::new();
        for (name, mut tensor, size) in infos {
            let start = data.checked_add(tensor.start);
            match start.and_then(|start| start.checked_add(size)) {
                Some(end) if end <= bytes => tensor.start = end - size,
                end => {
                    let wanted = end.map_or_else(|| "more".to_string(), |end| end.to_string());
                    return Err(header.malformed(format!(
                        "the file has {bytes} bytes, but tensor {name} ends at {wanted}; it was cut short, fetch it again"
                    )));
                }
            }
            if tensors.contains_key(&name) {
                return Err(header.malformed(format!("tensor {name} is there twice")));
            }
            tensors.insert(name, tensor);
        }
        Ok((metadata, tensors, values_end))
    }

    /// Name, place relative to the data and size of the next tensor.
    fn tensor(&mut self) -> Result<(String, Tensor, u64), LoadError> {
        let name = self.string()?;
        let dimensions = self.u32()?;
        if dimensions == 0 || dimensions > MOST_DIMENSIONS {
            return Err(self.malformed(format!("tensor {name} has {dimensions} dimensions")));
        }
        let mut lengths = [1_u64; MOST_DIMENSIONS as usize];
        for length in lengths.iter_mut().take(dimensions as usize) {
            *length = self.u64()?;
        }
        let code = self.u32()?;
        let start = self.u64()?;
        let Some(dtype) = block_type(code) else {
            return Err(LoadError::Unsupported {
                path: self.path.to_path_buf(),
                reason: format!(
                    "tensor {name} has GGUF type {code}; F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1 and Q2_K to Q6_K are supported"
                ),
            });
        };
        let columns = lengths[0];
        let rows = lengths[1..].iter().try_fold(1_u64, |product, length| product.checked_mul(*length));
        let size = rows.and_then(|rows| {
            let blocks = columns.is_multiple_of(dtype.block_size() as u64).then_some(columns)?;
            (blocks / dtype.block_size() as u64).checked_mul(dtype.type_size() as u64)?.checked_mul(rows)
        });
        let (Some(rows), Some(size)) = (rows, size.filter(|size| *size > 0)) else {
            return Err(self.malformed(format!("tensor {name} has impossible dimensions {lengths:?}")));
        };
        if size > self.end {
            return Err(self.malformed(format!(
                "tensor {name} takes {size} bytes, but the file has {}; it was cut short, fetch it again",
                self.end
            )));
        }
        // Both fit: neither is larger than the number of bytes in the file times a block's 256 weights.
        Ok((name, Tensor { dtype, rows: rows as usize, columns: columns as usize, start }, size))
    }

    fn value(&mut self, kind: u32, depth: usize) -> Result<MetaValue, LoadError> {
        Ok(match kind {
            0 => MetaValue::Unsigned(self.array::<1>()?[0].into()),
            1 => MetaValue::Signed(i8::from_le_bytes(self.array()?).into()),
            2 => MetaValue::Unsigned(u16::from_le_bytes(self.array()?).into()),
            3 => MetaValue::Signed(i16::from_le_bytes(self.array()?).into()),
            4 => MetaValue::Unsigned(self.u32()?.into()),
            5 => MetaValue::Signed(i32::from_le_bytes(self.array()?).into()),
            6 => MetaValue::Float(f32::from_le_bytes(self.array()?).into()),
            7 => MetaValue::Bool(self.array::<1>()?[0] != 0),
            8 => MetaValue::Text(self.string()?),
            9 => self.list(depth)?,
            10 => MetaValue::Unsigned(self.u64()?),
            11 => MetaValue::Signed(i64::from_le_bytes(self.array()?)),
            12 => MetaValue::Float(f64::from_le_bytes(self.array()?)),
            other => return Err(self.malformed(format!("the header has a value of unknown type {other}"))),
        })
    }

    fn list(&mut self, depth: usize) -> Result<MetaValue, LoadError> {
        if depth == DEEPEST {
            return Err(self.malformed("the header nests lists too deeply"));
        }
        let kind = self.u32()?;
        let smallest = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            9 => 12,
            _ => 8,
        };
        let count = self.count("elements of a list", smallest)?;
        Ok(match kind {
            8 => {
                let mut texts = Vec::new();
                for _ in 0..count {
                    texts.push(self.string()?);
                }
                MetaValue::Texts(texts)
            }
            0..=5 | 10 | 11 => {
                let mut integers = Vec::new();
                for _ in 0..count {
                    integers.push(match self.value(kind, depth)? {
                        MetaValue::Unsigned(value) => i64::try_from(value).unwrap_or(i64::MAX),
                        MetaValue::Signed(value) => value,
                        _ => 0,
                    });
                }
                MetaValue::Integers(integers)
            }
            6 | 12 => {
                let mut floats = Vec::new();
                for _ in 0..count {
                    if let MetaValue::Float(value) = self.value(kind, depth)? {
                        floats.push(value as f32);
                    }
                }
                MetaValue::Floats(floats)
            }
            _ => {
                for _ in 0..count {
                    self.value(kind, depth + 1)?;
                }
                MetaValue::Skipped
            }
        })
    }

    /// A count of things that take at least `smallest` bytes each in what is left of the file.
    fn count(&mut self, what: &str, smallest: u64) -> Result<u64, LoadError> {
        let count = self.u64()?;
        let left = self.end - self.position;
        if count > left / smallest {
            return Err(self.malformed(format!(
                "the header claims {count} {what}, but only {left} bytes follow; the file was cut short or is damaged"
            )));
        }
        Ok(count)
    }

    fn string(&mut self) -> Result<String, LoadError> {
        let length = self.count("bytes of text", 1)?;
        let mut bytes = vec![0; length as usize];
        self.fill(&mut bytes)?;
        Ok(match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        })
    }

    fn u32(&mut self) -> Result<u32, LoadError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, LoadError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], LoadError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), LoadError> {
        if bytes.len() as u64 > self.end - self.position {
            return Err(self.malformed("the file ends within its header; it was cut short, fetch it again"));
        }
        self.reader
            .read_exact(bytes)
            .map_err(|source| LoadError::Io { path: self.path.to_path_buf(), source })?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    fn malformed(&self, reason: impl Into<String>) -> LoadError {
        LoadError::Malformed { path: self.path.to_path_buf(), reason: reason.into() }
    }
}

/// Block format by its number in the file.
fn block_type(code: u32) -> Option<GgmlDType> {
    Some(match code {
        0 => GgmlDType::F32,
        1 => GgmlDType::F16,
        2 => GgmlDType::Q4_0,
        3 => GgmlDType::Q4_1,
        6 => GgmlDType::Q5_0,
        7 => GgmlDType::Q5_1,
        8 => GgmlDType::Q8_0,
        10 => GgmlDType::Q2K,
        11 => GgmlDType::Q3K,
        12 => GgmlDType::Q4K,
        13 => GgmlDType::Q5K,
        14 => GgmlDType::Q6K,
        30 => GgmlDType::BF16,
        _ => return None,
    })
}
