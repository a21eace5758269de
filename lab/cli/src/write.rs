//! Files that a laboratory run writes: charts, sections of a page.

use std::path::Path;

use countermove::failure::Failure;

/// Checks that there is a place for the figures, so that it does not show after an hour that there is none.
pub(crate) fn check(section: Option<&Path>, name: &str, chart: Option<&Path>) -> Result<(), Failure> {
    if let Some(path) = section {
        replace(&read(path)?, name, "").ok_or_else(|| no_place(path, name))?;
    }
    let folder = chart.and_then(Path::parent).filter(|folder| !folder.as_os_str().is_empty());
    match folder.filter(|folder| !folder.is_dir()) {
        Some(folder) => Err(Failure::Input(format!("--chart: there is no folder {}", folder.display()))),
        None => Ok(()),
    }
}

/// Writes a file whole.
pub(crate) fn file(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|error| unwritable(path, &error))
}

/// Replaces what stands between `<!-- begin NAME -->` and `<!-- end NAME -->`. Everything else in the file stays.
pub(crate) fn section(path: &Path, name: &str, text: &str) -> Result<(), Failure> {
    let page = replace(&read(path)?, name, text).ok_or_else(|| no_place(path, name))?;
    file(path, &page)
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| Failure::unreadable(path, &error))
}

fn no_place(path: &Path, name: &str) -> Failure {
    Failure::Input(format!(
        "--write: {} has no line `<!-- begin {name} -->` with `<!-- end {name} -->` below it, so there is no place for the \
         figures",
        path.display()
    ))
}

fn replace(page: &str, name: &str, text: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- begin {name} -->\n"), format!("<!-- end {name} -->"));
    let start = page.find(&begin)? + begin.len();
    let stop = start + page.get(start..)?.find(&end)?;
    Some(format!("{}\n{}\n{}", page.get(..start)?, text.trim_end(), page.get(stop..)?))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Input(format!("{} cannot be written: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_replaced_and_the_rest_stays() {
        let page = "# A\n<!-- begin real -->\nold\n<!-- end real -->\nrest\n";
        let once = replace(page, "real", "| new |\n").expect("a place");
        assert_eq!(once, "# A\n<!-- begin real -->\n\n| new |\n<!-- end real -->\nrest\n");
        assert_eq!(replace(&once, "real", "| new |\n"), Some(once.clone()), "again changes nothing");
        assert_eq!(replace(page, "simulated", ""), None);
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("page.md");
        std::fs::write(&path, page).expect("a file");
        assert!(check(Some(&path), "real", Some(Path::new("chart.svg"))).is_ok());
        let error = check(Some(&path), "simulated", None).unwrap_err().to_string();
        assert!(error.contains("page.md has no line `<!-- begin simulated -->`"), "{error}");
        let error = check(None, "real", Some(&folder.path().join("none/chart.svg"))).unwrap_err().to_string();
        assert!(error.starts_with("--chart: there is no folder "), "{error}");
        assert_eq!(replace("<!-- end real -->\n<!-- begin real -->\n", "real", ""), None);
    }
}
