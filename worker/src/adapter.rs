//! The adapter that ships with this program, tuned for the default model on the prompts of the planner. `adapter/README.md`
//! is its card.

use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Files of the adapter, as PEFT names them.
const FILES: [(&str, &[u8]); 2] = [
    ("adapter_config.json", include_bytes!("../../adapter/adapter_config.json")),
    ("adapter_model.safetensors", include_bytes!("../../adapter/adapter_model.safetensors")),
];

/// Which adapter to load beside a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdapterChoice {
    /// The one that ships.
    Shipped,
    /// None.
    None,
    /// The one in a folder.
    Folder(PathBuf),
}

impl FromStr for AdapterChoice {
    type Err = std::convert::Infallible;

    /// `default`, `none`, or a folder; `./none` is a folder of that name.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "default" => Self::Shipped,
            "none" => Self::None,
            folder => Self::Folder(folder.into()),
        })
    }
}

impl AdapterChoice {
    /// Its folder, in `home` for the one that ships, which is written there if it is not there yet.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn folder(&self, home: &Path) -> io::Result<Option<PathBuf>> {
        match self {
            Self::Shipped => unpack(home).map(Some),
            Self::None => Ok(None),
            Self::Folder(folder) => Ok(Some(folder.clone())),
        }
    }
}

fn unpack(home: &Path) -> io::Result<PathBuf> {
    let folder = home.join("adapters").join(concat!("default-", env!("CARGO_PKG_VERSION")));
    std::fs::create_dir_all(&folder)?;
    for (name, bytes) in FILES {
        let file = folder.join(name);
        if std::fs::read(&file).is_ok_and(|known| known == bytes) {
            continue;
        }
        // Workers that start at the same time each write a file of their own; whichever is last changes nothing.
        let own = folder.join(format!("{name}.{}", std::process::id()));
        std::fs::write(&own, bytes)?;
        std::fs::rename(&own, &file)?;
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_adapter_is_unpacked_once_and_mended() {
        let home = std::env::temp_dir().join(format!("countermove-adapter-{}", std::process::id()));
        let folder = AdapterChoice::Shipped.folder(&home).unwrap().unwrap();
        let names = || {
            let mut names: Vec<_> =
                std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(names(), ["adapter_config.json", "adapter_model.safetensors"]);
        std::fs::write(folder.join("adapter_config.json"), "{").unwrap();
        AdapterChoice::Shipped.folder(&home).unwrap();
        assert_eq!(std::fs::read(folder.join("adapter_config.json")).unwrap(), FILES[0].1);
        assert_eq!(names().len(), 2);
        std::fs::remove_dir_all(&home).unwrap();
    }

    #[test]
    fn words_choose_and_everything_else_is_a_folder() {
        let choice = |text: &str| text.parse::<AdapterChoice>().unwrap();
        assert_eq!((choice("default"), choice("none")), (AdapterChoice::Shipped, AdapterChoice::None));
        assert_eq!(choice("./none"), AdapterChoice::Folder("./none".into()));
        assert_eq!(AdapterChoice::None.folder(Path::new("nowhere")).unwrap(), None);
    }
}
