//! Files that an evaluation writes.

use std::path::Path;

use crate::failure::Failure;

/// Writes a file whole.
pub(super) fn file(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|error| unwritable(path, &error))
}

/// Replaces what stands between `<!-- begin NAME -->` and `<!-- end NAME -->`. Everything else in the file stays.
pub(super) fn section(path: &Path, name: &str, text: &str) -> Result<(), Failure> {
    let page = std::fs::read_to_string(path).map_err(|error| Failure::unreadable(path, &error))?;
    let page = replace(&page, name, text).ok_or_else(|| {
        Failure::Input(format!(
            "--write: {} has no line `<!-- begin {name} -->` with `<!-- end {name} -->` below it, so there is no place for the \
             figures",
            path.display()
        ))
    })?;
    file(path, &page)
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
        assert_eq!(replace("<!-- end real -->\n<!-- begin real -->\n", "real", ""), None);
    }
}
