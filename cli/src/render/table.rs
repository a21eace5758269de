//! Tables that fit their page.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table};

use super::text::one_line;

/// A table without lines around its cells, two spaces between columns. The first `kept` columns are never broken, since people copy what
/// stands in them; the others give way when the page is narrow. The first line is the head, and a line that goes on with a row begins
/// with a space, as long as the cells of the first column are not empty.
pub(super) fn table(head: &[&str], kept: usize, rows: Vec<Vec<String>>, columns: usize) -> Vec<String> {
    let mut table = Table::new();
    table
        .load_preset(NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(u16::try_from(columns).unwrap_or(u16::MAX))
        .set_header(head);
    for row in rows {
        table.add_row(row.iter().map(|cell| one_line(cell)));
    }
    let last = head.len().saturating_sub(1);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, if index == last { 0 } else { 2 }));
        column.set_cell_alignment(CellAlignment::Left);
        if index < kept {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect()
}

/// The table as text.
pub(super) fn lines(head: &[&str], kept: usize, rows: Vec<Vec<String>>, columns: usize) -> String {
    table(head, kept, rows, columns).iter().map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::text::width;
    use super::*;

    #[test]
    fn a_narrow_page_breaks_what_may_be_broken() {
        let rows = vec![
            vec!["018f3c1e-0000-7000-8000-000000000001".to_owned(), "awaits an outcome".to_owned()],
            vec!["b".to_owned(), "planning\u{1b}[2J".to_owned()],
        ];
        let wide = table(&["ID", "STATUS"], 1, rows.clone(), 80);
        assert_eq!(wide[1], "018f3c1e-0000-7000-8000-000000000001  awaits an outcome");
        assert_eq!(wide[2].split_whitespace().last(), Some("planning\\u{1b}[2J"));
        let narrow = table(&["ID", "STATUS"], 1, rows, 50);
        assert!(narrow.iter().all(|line| width(line) <= 50), "{narrow:#?}");
        assert_eq!(narrow[1], "018f3c1e-0000-7000-8000-000000000001  awaits an");
        assert_eq!(narrow[2].trim(), "outcome");
        assert!(narrow[2].starts_with(' '));
    }
}
