//! A table of texts for a terminal, and numbers as people read them.

/// Rows below a heading, each column as wide as its widest text; the last one keeps its own width.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Begins with the heading.
    pub fn new(heading: &[&str]) -> Self {
        Table { rows: vec![heading.iter().map(|text| (*text).to_owned()).collect()] }
    }

    /// Adds a row.
    pub fn row(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }

    /// The table's lines, each ended by a line break.
    pub fn text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|text| text.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                let gap = " ".repeat(2 + width.saturating_sub(cell.chars().count()));
                line.push_str(cell);
                line.push_str(&gap);
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// `1,234,567`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `12.5 MiB`.
pub fn size(bytes: u64) -> String {
    bytesize::ByteSize::b(bytes).to_string()
}

/// `4m 7s`, to the second.
pub fn seconds(seconds: u64) -> String {
    humantime::format_duration(std::time::Duration::from_secs(seconds)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_text() {
        let mut table = Table::new(&["A", "LONG"]);
        table.row(vec!["größe".into(), "x".into()]);
        assert_eq!(table.text(), "A      LONG\ngröße  x\n");
    }

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1234567, "1,234,567")] {
            assert_eq!(thousands(number), text);
        }
        assert_eq!(size(13_107_200), "12.5 MiB");
        assert_eq!(seconds(247), "4m 7s");
    }
}
