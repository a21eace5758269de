//! Lines whose columns a header names.

use super::csv;

/// More columns than any log has.
const MAX_COLUMNS: usize = 256;

/// The names of the columns of a log.
#[derive(Clone, Debug, Default)]
pub(super) struct Columns {
    names: Vec<String>,
    /// Whether commas part the values.
    is_listed: bool,
}

impl Columns {
    /// The columns that a header names, apart by blanks, by tabs or by commas.
    pub(super) fn named(header: &str) -> Columns {
        let header = header.trim();
        let is_listed = header.contains(',') && !header.contains(char::is_whitespace);
        let parts_names = |c: char| if is_listed { c == ',' } else { c.is_whitespace() };
        let names = header.split(parts_names).filter(|name| !name.is_empty());
        Columns { names: names.take(MAX_COLUMNS).map(str::to_owned).collect(), is_listed }
    }

    /// Whether there are any.
    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The values of a line; nothing if it has more or fewer than there are columns.
    pub(super) fn row<'a>(&'a self, line: &'a str) -> Option<Row<'a>> {
        if self.is_listed {
            let values: Vec<&str> = csv::fields(line).into_iter().map(|field| field.text).collect();
            return (values.len() == self.names.len()).then_some(Row { names: &self.names, values });
        }
        let mut values = Vec::with_capacity(self.names.len());
        let mut rest = line.trim();
        let is_tabbed = rest.contains('\t');
        while !rest.is_empty() && values.len() <= self.names.len() {
            let (value, behind) = match rest.strip_prefix('"') {
                // Proxies put into quotation marks what may hold blanks.
                Some(inner) if !is_tabbed => inner.split_once('"')?,
                _ if is_tabbed => rest.split_once('\t').unwrap_or((rest, "")),
                _ => rest.split_once(' ').unwrap_or((rest, "")),
            };
            values.push(value.trim());
            rest = if is_tabbed { behind } else { behind.trim_start() };
        }
        (values.len() == self.names.len() && !values.is_empty()).then_some(Row { names: &self.names, values })
    }
}

/// The values of one line.
#[derive(Clone, Debug)]
pub(super) struct Row<'a> {
    names: &'a [String],
    values: Vec<&'a str>,
}

impl<'a> Row<'a> {
    /// The value of a column; nothing if there is no such column or it is a dash.
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        let at = self.names.iter().position(|own| own == name)?;
        self.values.get(at).copied().filter(|value| !matches!(*value, "" | "-"))
    }

    /// The value of the first of these columns that has one.
    pub(super) fn first(&self, names: &[&str]) -> Option<&'a str> {
        names.iter().find_map(|name| self.get(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_their_columns() {
        let columns = Columns::named(" a b\tc");
        let row = columns.row("1 \"2 3\" -").unwrap();
        assert_eq!(
            (row.get("a"), row.get("b"), row.get("c"), row.get("d")),
            (Some("1"), Some("2 3"), None, None)
        );
        assert_eq!(columns.row("1\t2 x\t3").unwrap().first(&["c", "b"]), Some("3"));
        for line in ["", "1 2", "1 2 3 4", "\"1 2 3"] {
            assert!(columns.row(line).is_none(), "{line}");
        }
        assert!(Columns::default().is_empty() && Columns::default().row("x").is_none());
    }
}
