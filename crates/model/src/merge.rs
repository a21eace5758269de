//! A model with its adapter merged in, as files of their own.
//!
//! A GGUF file gives a GGUF file: the header's values and every tensor that the adapter leaves alone are copied byte by
//! byte, and what it changes is written as [`MergedType`] says. A folder of safetensors gives a folder: the files are
//! copied and the changed tensors overwritten in their own types.
//!
//! Invariant: the target appears whole or not at all, and an existing one is never replaced.

use std::fs::{self, File};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};

use crate::error::LoadError;
use crate::regular;
use crate::weights::{Checkpoint, Files, Gguf, PARTS, Role, SafetensorsFolder, Source, tensor_name};

/// How changed tensors are written to a GGUF file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MergedType {
    /// Eight bits and a scale for each 32 weights; 16-bit floating point where rows do not divide by 32.
    #[default]
    Q8_0,
    /// 16-bit floating point.
    F16,
}

/// Rows that are merged at a time.
const ROWS: usize = 256;

/// Writes the model at `model` with the adapter in `adapter` merged in to `target`: a file or a folder, as the model is.
///
/// # Errors
/// [`LoadError`] if model or adapter cannot be read, or the target is there already or cannot be written.
pub fn merge(model: &Path, adapter: &Path, target: &Path, merged: MergedType) -> Result<(), LoadError> {
    let checkpoint = Checkpoint::open(model)?.with_adapter(adapter)?;
    let io = |source| LoadError::Io { path: target.to_path_buf(), source };
    if target.exists() {
        return Err(io(std::io::Error::other("it is there already; name another file or folder")));
    }
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = target.with_file_name(name);
    let written = match checkpoint.files() {
        Files::Gguf(gguf) => write_gguf(&checkpoint, gguf, &part, merged),
        Files::Safetensors(folder) => write_folder(&checkpoint, folder, &part),
    };
    written.and_then(|()| fs::rename(&part, target).map_err(io)).inspect_err(|_| {
        // What is half written is of no use; that it cannot be removed is the lesser trouble.
        let _ = if part.is_dir() { fs::remove_dir_all(&part) } else { fs::remove_file(&part) };
    })
}

/// Projections that the adapter changes.
fn changed(checkpoint: &Checkpoint) -> impl Iterator<Item = Role> {
    let layers = checkpoint.config().layers;
    let all = (0..layers).flat_map(|layer| PARTS.map(|part| Role::Layer(layer, part)));
    all.filter(|&role| checkpoint.changes(role))
}

fn write_gguf(
    checkpoint: &Checkpoint,
    gguf: &Gguf,
    target: &Path,
    merged: MergedType,
) -> Result<(), LoadError> {
    let io = |source| LoadError::Io { path: target.to_path_buf(), source };
    let roles: Vec<(String, Role)> = changed(checkpoint).map(|role| (gguf.place(role).1, role)).collect();
    let role_of = |name: &str| roles.iter().find(|(known, _)| known == name).map(|&(_, role)| role);
    let type_of = |role: Option<Role>, own: GgmlDType, columns: usize| match (role, merged) {
        (None, _) => own,
        (Some(_), MergedType::Q8_0) if columns.is_multiple_of(GgmlDType::Q8_0.block_size()) => {
            GgmlDType::Q8_0
        }
        (Some(_), _) => GgmlDType::F16,
    };
    let tensors = gguf.tensors();
    let mut out = BufWriter::new(File::create(target).map_err(io)?);
    let mut head = b"GGUF".to_vec();
    head.extend(3_u32.to_le_bytes());
    head.extend((tensors.len() as u64).to_le_bytes());
    head.extend(gguf.raw_values()?);
    let alignment = gguf.unsigned("general.alignment").unwrap_or(32);
    let mut offset = 0_u64;
    for tensor in &tensors {
        let dtype = type_of(role_of(tensor.name), tensor.dtype, tensor.columns);
        head.extend((tensor.name.len() as u64).to_le_bytes());
        head.extend(tensor.name.bytes());
        let dimensions: &[usize] =
            if tensor.rows == 1 { &[tensor.columns] } else { &[tensor.columns, tensor.rows] };
        head.extend((dimensions.len() as u32).to_le_bytes());
        dimensions.iter().for_each(|dimension| head.extend((*dimension as u64).to_le_bytes()));
        head.extend(code(dtype).to_le_bytes());
        head.extend(offset.to_le_bytes());
        let bytes = tensor.rows * (tensor.columns / dtype.block_size()) * dtype.type_size();
        offset = (offset + bytes as u64).next_multiple_of(alignment);
    }
    out.write_all(&head).map_err(io)?;
    let mut position = head.len() as u64;
    for tensor in &tensors {
        let padding = position.next_multiple_of(alignment) - position;
        out.write_all(&vec![0; padding as usize]).map_err(io)?;
        position += padding;
        let role = role_of(tensor.name);
        let dtype = type_of(role, tensor.dtype, tensor.columns);
        for start in (0..tensor.rows).step_by(ROWS) {
            let rows = start..tensor.rows.min(start + ROWS);
            let bytes = match role {
                None => gguf.raw_rows(tensor.name, &rows)?,
                Some(role) => {
                    let mut values = Vec::new();
                    checkpoint.rows(role, rows, &mut values)?;
                    blocks(values, tensor.columns, dtype).map_err(|error| LoadError::Malformed {
                        path: gguf.path().to_path_buf(),
                        reason: format!("tensor {} cannot be written: {error}", tensor.name),
                    })?
                }
            };
            out.write_all(&bytes).map_err(io)?;
            position += bytes.len() as u64;
        }
    }
    let padding = position.next_multiple_of(alignment) - position;
    out.write_all(&vec![0; padding as usize]).map_err(io)?;
    out.into_inner().map_err(|error| io(error.into_error()))?.sync_all().map_err(io)
}

/// Rows as blocks.
fn blocks(values: Vec<f32>, columns: usize, dtype: GgmlDType) -> candle_core::Result<Vec<u8>> {
    let rows = Tensor::from_vec(values, ((), columns), &Device::Cpu)?;
    Ok(QTensor::quantize(&rows, dtype)?.data()?.into_owned())
}

/// A block format's number in the file.
fn code(dtype: GgmlDType) -> u32 {
    match dtype {
        GgmlDType::F32 => 0,
        GgmlDType::F16 => 1,
        GgmlDType::Q4_0 => 2,
        GgmlDType::Q4_1 => 3,
        GgmlDType::Q5_0 => 6,
        GgmlDType::Q5_1 => 7,
        GgmlDType::Q8_0 => 8,
        GgmlDType::Q8_1 => 9,
        GgmlDType::Q2K => 10,
        GgmlDType::Q3K => 11,
        GgmlDType::Q4K => 12,
        GgmlDType::Q5K => 13,
        GgmlDType::Q6K => 14,
        GgmlDType::Q8K => 15,
        GgmlDType::BF16 => 30,
    }
}

fn write_folder(checkpoint: &Checkpoint, folder: &SafetensorsFolder, target: &Path) -> Result<(), LoadError> {
    let io = |path: &Path| {
        let path = path.to_path_buf();
        move |source| LoadError::Io { path, source }
    };
    fs::create_dir(target).map_err(io(target))?;
    for entry in fs::read_dir(folder.folder()).map_err(io(folder.folder()))? {
        let from = entry.map_err(io(folder.folder()))?.path();
        // Other weights in the folder (shards that no index names, other formats) would not be merged.
        let is_weights = from.extension().is_some_and(|extension| {
            ["safetensors", "bin", "gguf", "pt", "pth"].iter().any(|kind| extension == *kind)
        });
        if from.is_file() && (!is_weights || folder.paths().contains(&from)) {
            copy(&from, &target.join(from.file_name().unwrap_or_default()))?;
        }
    }
    for role in changed(checkpoint) {
        let Some(name) = tensor_name(role) else { continue };
        let place = folder.tensor_place(&name).ok_or_else(|| LoadError::Malformed {
            path: folder.folder().to_path_buf(),
            reason: format!("tensor {name} is missing"),
        })?;
        let path = target.join(place.path.file_name().unwrap_or_default());
        let mut file = File::options().write(true).open(&path).map_err(io(&path))?;
        file.seek(SeekFrom::Start(place.start)).map_err(io(&path))?;
        for start in (0..place.rows).step_by(ROWS) {
            let mut values = Vec::new();
            checkpoint.rows(role, start..place.rows.min(start + ROWS), &mut values)?;
            file.write_all(&place.bytes(&values)).map_err(io(&path))?;
        }
        file.sync_all().map_err(io(&path))?;
    }
    Ok(())
}

/// Copies a file's content alone: a copy of a file that may not be written can be.
fn copy(from: &Path, to: &PathBuf) -> Result<(), LoadError> {
    let io = |path: &Path| {
        let path = path.to_path_buf();
        move |source| LoadError::Io { path, source }
    };
    let mut content = regular::open(from).map_err(io(from))?;
    let mut file = File::create(to).map_err(io(to))?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = content.read(&mut buffer).map_err(io(from))?;
        if count == 0 {
            return file.sync_all().map_err(io(to));
        }
        file.write_all(&buffer[..count]).map_err(io(to))?;
    }
}
