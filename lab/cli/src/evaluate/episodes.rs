//! `--episodes`: what each player did in each scenario.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use countermove_simulator::evaluation::Episode;

use countermove::failure::Failure;

/// The file that they are written to; none unless one was asked for.
#[derive(Default)]
pub(super) struct Episodes {
    file: Option<(PathBuf, File)>,
}

impl Episodes {
    /// Makes the file, so that it does not show after an hour that it cannot be written.
    pub(super) fn create(path: Option<&Path>) -> Result<Self, Failure> {
        let create = |path: &Path| match File::create(path) {
            Ok(file) => Ok((path.to_owned(), file)),
            Err(error) => {
                Err(Failure::Input(format!("--episodes: {} cannot be written: {error}", path.display())))
            }
        };
        Ok(Self { file: path.map(create).transpose()? })
    }

    /// Writes down what a player did with the scenarios of a seed, one object a line.
    pub(super) fn write(&self, player: &str, seed: u64, episodes: &[Episode]) -> Result<(), Failure> {
        let Some((path, file)) = &self.file else { return Ok(()) };
        let mut lines = String::new();
        for episode in episodes {
            let mut object = episode.json();
            object["player"] = player.into();
            object["seed"] = seed.into();
            lines.push_str(&object.to_string());
            lines.push('\n');
        }
        let mut file = file;
        file.write_all(lines.as_bytes())
            .map_err(|error| Failure::Failed(format!("{} cannot be written: {error}", path.display())))
    }
}
