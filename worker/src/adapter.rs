//! The adapters that ship with this program, each tuned for one known model on the prompts of the planner. `adapters/` has them
//! with their cards.

use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use countermove_model::ModelSource;

/// An adapter that ships.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ShippedAdapter {
    /// Name of the known model that it belongs to.
    model: &'static str,
    /// Its files, as PEFT names them.
    files: [(&'static str, &'static [u8]); 2],
}

/// The files of the adapter for a known model.
macro_rules! shipped {
    ($model:literal) => {
        ShippedAdapter {
            model: $model,
            files: [
                (
                    "adapter_config.json",
                    include_bytes!(concat!("../../adapters/", $model, "/adapter_config.json")),
                ),
                (
                    "adapter_model.safetensors",
                    include_bytes!(concat!("../../adapters/", $model, "/adapter_model.safetensors")),
                ),
            ],
        }
    };
}

static SHIPPED: [ShippedAdapter; 2] = [shipped!("smollm2-135m"), shipped!("qwen2.5-coder-0.5b")];

impl ShippedAdapter {
    /// The one for a model.
    pub(crate) fn of(model: &ModelSource) -> Option<&'static ShippedAdapter> {
        let ModelSource::Known(known) = model else { return None };
        SHIPPED.iter().find(|adapter| adapter.model == known.name)
    }
}

/// Which adapter to load beside a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdapterChoice {
    /// The one that ships for the model.
    Shipped,
    /// None.
    None,
    /// None any more: what was tuned is in the weights already.
    Merged,
    /// The one in a folder.
    Folder(PathBuf),
}

impl FromStr for AdapterChoice {
    type Err = std::convert::Infallible;

    /// `default`, `none`, `merged`, or a folder; `./none` is a folder of that name.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "default" => Self::Shipped,
            "none" => Self::None,
            "merged" => Self::Merged,
            folder => Self::Folder(folder.into()),
        })
    }
}

impl AdapterChoice {
    /// Its folder, in `home` for the one that ships, which is written there if it is not there yet; none where none ships for the
    /// model.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn folder(&self, model: &ModelSource, home: &Path) -> io::Result<Option<PathBuf>> {
        match self {
            Self::Shipped => ShippedAdapter::of(model).map(|shipped| unpack(shipped, home)).transpose(),
            Self::None | Self::Merged => Ok(None),
            Self::Folder(folder) => Ok(Some(folder.clone())),
        }
    }
}

fn unpack(shipped: &ShippedAdapter, home: &Path) -> io::Result<PathBuf> {
    let folder = home.join("adapters").join(format!("{}-{}", shipped.model, env!("CARGO_PKG_VERSION")));
    std::fs::create_dir_all(&folder)?;
    for (name, bytes) in shipped.files {
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
    use countermove_model::KnownModel;

    use super::*;

    #[test]
    fn the_shipped_adapter_is_unpacked_once_and_mended() {
        let home = std::env::temp_dir().join(format!("countermove-adapter-{}", std::process::id()));
        let model = ModelSource::default();
        let folder = AdapterChoice::Shipped.folder(&model, &home).unwrap().unwrap();
        let names = || {
            let mut names: Vec<_> =
                std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(names(), ["adapter_config.json", "adapter_model.safetensors"]);
        std::fs::write(folder.join("adapter_config.json"), "{").unwrap();
        AdapterChoice::Shipped.folder(&model, &home).unwrap();
        assert_eq!(std::fs::read(folder.join("adapter_config.json")).unwrap(), SHIPPED[0].files[0].1);
        assert_eq!(names().len(), 2);
        std::fs::remove_dir_all(&home).unwrap();
    }

    #[test]
    fn words_choose_and_everything_else_is_a_folder() {
        let choice = |text: &str| text.parse::<AdapterChoice>().unwrap();
        assert_eq!(choice("merged"), AdapterChoice::Merged);
        assert_eq!((choice("default"), choice("none")), (AdapterChoice::Shipped, AdapterChoice::None));
        assert_eq!(choice("./none"), AdapterChoice::Folder("./none".into()));
        let nowhere = Path::new("nowhere");
        assert_eq!(AdapterChoice::None.folder(&ModelSource::default(), nowhere).unwrap(), None);
        let other = ModelSource::Path("other.gguf".into());
        assert_eq!(AdapterChoice::Shipped.folder(&other, nowhere).unwrap(), None);
    }

    #[test]
    fn each_adapter_belongs_to_a_known_model() {
        for shipped in &SHIPPED {
            let known = KnownModel::named(shipped.model).unwrap();
            let config: serde_json::Value = serde_json::from_slice(shipped.files[0].1).unwrap();
            assert_eq!(config["base_model_name_or_path"], known.base);
            assert!(shipped.files[1].1.len() <= 16 << 20, "{} is too large", shipped.model);
        }
    }
}
