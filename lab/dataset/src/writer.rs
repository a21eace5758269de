//! Writes examples: shards of JSON lines, or the published form.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::csle;
use crate::error::{DatasetError, io};
use crate::example::Example;
use crate::split::Split;

/// Most lines of a shard.
const SHARD: u64 = 50_000;

/// Makes the folder of a set, which has to be new or empty.
pub(crate) fn new_folder(folder: &Path) -> Result<(), DatasetError> {
    fs::create_dir_all(folder).map_err(io(folder))?;
    match fs::read_dir(folder).map_err(io(folder))?.next() {
        Some(_) => Err(DatasetError::NotEmpty { path: folder.to_owned() }),
        None => Ok(()),
    }
}

/// Takes examples and writes them.
pub(crate) trait Sink {
    /// Takes one example.
    fn take(&mut self, example: &Example) -> Result<(), DatasetError>;

    /// Writes what is left.
    fn finish(&mut self) -> Result<(), DatasetError>;
}

/// Shards of JSON lines: `train-00000.jsonl` and so on.
#[derive(Debug)]
pub(crate) struct Shards {
    folder: PathBuf,
    open: BTreeMap<Split, Shard>,
}

#[derive(Debug)]
struct Shard {
    path: PathBuf,
    file: BufWriter<File>,
    number: u64,
    lines: u64,
}

impl Shards {
    pub(crate) fn new(folder: &Path) -> Shards {
        Shards { folder: folder.to_owned(), open: BTreeMap::new() }
    }

    fn shard(&self, split: Split, number: u64) -> Result<Shard, DatasetError> {
        let path = self.folder.join(format!("{}-{number:05}.jsonl", split.name()));
        let file = BufWriter::new(File::create(&path).map_err(io(&path))?);
        Ok(Shard { path, file, number, lines: 0 })
    }
}

impl Sink for Shards {
    fn take(&mut self, example: &Example) -> Result<(), DatasetError> {
        let number = match self.open.get(&example.split) {
            Some(shard) if shard.lines < SHARD => None,
            Some(shard) => Some(shard.number + 1),
            None => Some(0),
        };
        if let Some(number) = number {
            let next = self.shard(example.split, number)?;
            if let Some(mut full) = self.open.insert(example.split, next) {
                full.file.flush().map_err(io(&full.path))?;
            }
        }
        if let Some(shard) = self.open.get_mut(&example.split) {
            // Numbers and strings alone: this cannot fail but for the disk.
            let line = serde_json::to_string(example).map_err(|error| io(&shard.path)(error.into()))?;
            shard.file.write_all(line.as_bytes()).map_err(io(&shard.path))?;
            shard.file.write_all(b"\n").map_err(io(&shard.path))?;
            shard.lines += 1;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), DatasetError> {
        for shard in self.open.values_mut() {
            shard.file.flush().map_err(io(&shard.path))?;
        }
        Ok(())
    }
}

/// The published form: `train.json` and so on, each with all instructions first and then all answers.
#[derive(Debug)]
pub(crate) struct Pairs {
    folder: PathBuf,
    open: BTreeMap<Split, Halves>,
}

/// A file of instructions, and one of answers that goes behind it in the end.
#[derive(Debug)]
struct Halves {
    path: PathBuf,
    instructions: BufWriter<File>,
    answers_path: PathBuf,
    answers: BufWriter<File>,
    count: u64,
}

impl Pairs {
    pub(crate) fn new(folder: &Path) -> Pairs {
        Pairs { folder: folder.to_owned(), open: BTreeMap::new() }
    }

    fn halves(&self, split: Split) -> Result<Halves, DatasetError> {
        let path = self.folder.join(format!("{}.json", split.name()));
        let answers_path = self.folder.join(format!("{}.answers.part", split.name()));
        let mut instructions = BufWriter::new(File::create(&path).map_err(io(&path))?);
        instructions.write_all(b"{\"instructions\": [").map_err(io(&path))?;
        let answers = File::options().read(true).write(true).create(true).truncate(true).open(&answers_path);
        let answers = BufWriter::new(answers.map_err(io(&answers_path))?);
        Ok(Halves { path, instructions, answers_path, answers, count: 0 })
    }
}

impl Sink for Pairs {
    fn take(&mut self, example: &Example) -> Result<(), DatasetError> {
        if !self.open.contains_key(&example.split) {
            let halves = self.halves(example.split)?;
            self.open.insert(example.split, halves);
        }
        let Some(halves) = self.open.get_mut(&example.split) else { return Ok(()) };
        let separator = if halves.count == 0 { "\n" } else { ",\n" };
        let pair = csle::Pair::of(example);
        for (file, path, text) in [
            (&mut halves.instructions, &halves.path, &pair.instruction),
            (&mut halves.answers, &halves.answers_path, &pair.answer),
        ] {
            let text = format!("{separator}{}", serde_json::Value::from(text.as_str()));
            file.write_all(text.as_bytes()).map_err(io(path))?;
        }
        halves.count += 1;
        Ok(())
    }

    fn finish(&mut self) -> Result<(), DatasetError> {
        for halves in self.open.values_mut() {
            let Halves { path, instructions, answers_path, answers, .. } = halves;
            answers.flush().map_err(io(answers_path))?;
            let part = answers.get_mut();
            part.seek(SeekFrom::Start(0)).map_err(io(answers_path))?;
            instructions.write_all(b"\n],\n\"answers\": [").map_err(io(path))?;
            std::io::copy(part, instructions).map_err(io(path))?;
            instructions.write_all(b"\n]}\n").map_err(io(path))?;
            instructions.flush().map_err(io(path))?;
            std::fs::remove_file(&*answers_path).map_err(io(answers_path))?;
        }
        self.open.clear();
        Ok(())
    }
}
