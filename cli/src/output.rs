//! What a verb prints: a table for people, JSON with stable field names for programs.

use clap::ValueEnum;
use serde::Serialize;
use std::fmt;
use std::io::Write;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Json,
}

impl Format {
    /// Prints `value` as JSON, or what `text` makes of it. A reader that has gone away (`| head`) is no
    /// failure.
    pub fn print<T: Serialize>(self, value: &T, text: impl FnOnce(&T) -> String) -> anyhow::Result<()> {
        let out = self.render(value, text)?;
        let mut stdout = std::io::stdout().lock();
        match stdout.write_all(out.as_bytes()).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn render<T: Serialize>(self, value: &T, text: impl FnOnce(&T) -> String) -> anyhow::Result<String> {
        let mut out = match self {
            Format::Text => text(value),
            Format::Json => serde_json::to_string_pretty(value)?,
        };
        if !out.is_empty() && !out.ends_with('\n') {
            out.push('\n');
        }
        Ok(out)
    }
}

/// Left-aligned columns, as wide as their widest cell; the last one is never padded.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new<const N: usize>(head: [&str; N]) -> Self {
        Self { rows: vec![head.map(str::to_owned).to_vec()] }
    }

    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| printable(&cell)).to_vec());
    }
}

/// Names come from users: no control character reaches the terminal.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|c| c.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(&format!("{cell:<width$}  "));
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_nothing_trails() {
        let mut table = Table::new(["NAME", "STATE"]);
        table.row(["a-long-name".into(), "up".into()]);
        table.row(["b".into(), String::new()]);
        assert_eq!(table.to_string(), "NAME         STATE\na-long-name  up\nb\n");
    }

    #[test]
    fn a_name_cannot_drive_the_terminal() {
        let mut table = Table::new(["NAME"]);
        table.row(["x\u{1b}[2Jy\n".into()]);
        assert_eq!(table.to_string(), "NAME\nx\u{fffd}[2Jy\u{fffd}\n");
    }

    #[test]
    fn text_ends_with_one_newline_and_nothing_stays_nothing() {
        assert_eq!(Format::Text.render(&1, |_| "one".into()).unwrap(), "one\n");
        assert_eq!(Format::Text.render(&1, |_| String::new()).unwrap(), "");
        assert_eq!(Format::Json.render(&vec![1], |_| String::new()).unwrap(), "[\n  1\n]\n");
    }
}
