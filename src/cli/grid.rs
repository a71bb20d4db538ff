//! Tables for people that fit a width.
//!
//! Ids are never split, and names are shortened in the middle. Columns that have no room are left out, the least important
//! first. Where a table has no room at all, each row is a card.

use std::io::{self, Write};

use comfy_table::{Attribute, Cell, Color, ColumnConstraint, ContentArrangement, Table, Width};

use super::output::{plain_table, stdout, wants_colour, write_table};

/// Below this width in columns, rows are cards.
const MIN_TABLE_WIDTH: usize = 100;

/// Spaces between two columns.
const GAP: usize = 2;

/// The longest word that is kept whole wherever it is: the id of an event is a UUID.
const LONGEST_ID: usize = 36;

/// How a column gives way where there is too little room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// It does not: ids, numbers, words.
    Whole,
    /// Names are shortened in the middle.
    Shortened,
    /// Sentences are wrapped between words. Names that are too long are shortened in the middle.
    Wrapped,
}

impl Fit {
    /// The least width of a column whose cells need this much, and whose longest word is so long.
    fn min_width(self, needed: usize, longest_word: usize) -> usize {
        match self {
            Self::Whole => needed,
            Self::Shortened => needed.min(16),
            Self::Wrapped => needed.min(30).max(longest_word.min(LONGEST_ID)),
        }
    }
}

/// A column of a table.
pub type GridColumn = (&'static str, Fit);

/// A cell of a table.
#[derive(Debug, Clone, Default)]
pub struct GridCell {
    /// What is in it.
    pub text: String,
    /// Its colour, where colours are wanted.
    pub colour: Option<Color>,
}

impl<T: Into<String>> From<T> for GridCell {
    fn from(text: T) -> Self {
        Self { text: text.into(), colour: None }
    }
}

impl From<GridCell> for Cell {
    fn from(GridCell { text, colour }: GridCell) -> Self {
        let cell = Self::new(text);
        match colour {
            Some(colour) => cell.fg(colour),
            None => cell,
        }
    }
}

/// A table on its way to stdout.
pub struct Grid<'a> {
    columns: &'a [GridColumn],
    /// The columns that are left out where there is no room, the first of them first.
    less: &'a [usize],
    rows: Vec<Vec<GridCell>>,
}

impl<'a> Grid<'a> {
    /// A table without rows. The column `KEY` names a row, or else the first one.
    pub const fn new(columns: &'a [GridColumn], less: &'a [usize]) -> Self {
        Self { columns, less, rows: Vec::new() }
    }

    /// Adds a row: a cell for each column.
    pub fn push(&mut self, row: Vec<GridCell>) {
        self.rows.push(row);
    }

    /// Prints it in so many columns. `None`: in as many as it needs.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub fn print(self, width: Option<u16>) -> io::Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let mut out = stdout();
        self.write(&mut out, width.map(usize::from), wants_colour())?;
        out.flush()
    }

    fn write(self, out: &mut impl Write, width: Option<usize>, colour: bool) -> io::Result<()> {
        let needed = self.needed_widths();
        let all = needed.iter().copied().map(Some).collect();
        let widths = match width {
            Some(width) if total(&needed) > width => self.widths_within(&needed, width),
            Some(_) | None => Some(all),
        };
        match (widths, width) {
            (Some(widths), _) => self.write_table(out, &widths, colour),
            (None, width) => self.write_cards(out, width.unwrap_or(MIN_TABLE_WIDTH)),
        }
    }

    /// How wide each column is, if nothing gives way.
    fn needed_widths(&self) -> Vec<usize> {
        let mut widths: Vec<_> = self.columns.iter().map(|(title, _)| length(title)).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(length(&cell.text));
            }
        }
        widths
    }

    /// How long the longest word of a column is.
    fn longest_word(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column));
        cells.flat_map(|cell| cell.text.split_whitespace()).map(length).max().unwrap_or_default()
    }

    /// True if a column has no room in so many columns of the terminal.
    pub fn leaves_out(&self, column: usize, width: Option<u16>) -> bool {
        let needed = self.needed_widths();
        let Some(width) = width.map(usize::from).filter(|width| total(&needed) > *width) else {
            return false;
        };
        let widths = self.widths_within(&needed, width);
        widths.is_some_and(|widths| widths.get(column).is_some_and(Option::is_none))
    }

    /// How wide each column is within `room`; `None` in it: it is left out. `None`: there is no room for a table.
    fn widths_within(&self, needed: &[usize], room: usize) -> Option<Vec<Option<usize>>> {
        if room < MIN_TABLE_WIDTH {
            return None;
        }
        let least = self.columns.iter().zip(needed).enumerate();
        let mut widths: Vec<_> = least
            .map(|(index, ((_, fit), needed))| Some(fit.min_width(*needed, self.longest_word(index))))
            .collect();
        let shown = |widths: &[Option<usize>]| total(&widths.iter().copied().flatten().collect::<Vec<_>>());
        let mut less = self.less.iter();
        while shown(&widths) > room {
            *widths.get_mut(*less.next()?)? = None;
        }
        let mut left = room - shown(&widths);
        for (width, needed) in widths.iter_mut().zip(needed) {
            let Some(width) = width else { continue };
            let more = left.min(needed.saturating_sub(*width));
            *width += more;
            left -= more;
        }
        Some(widths)
    }

    fn write_table(self, out: &mut impl Write, widths: &[Option<usize>], colour: bool) -> io::Result<()> {
        let mut table = plain_table(colour);
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(u16::MAX);
        let shown: Vec<_> =
            self.columns.iter().zip(widths).map(|(column, width)| Some((column, (*width)?))).collect();
        let titles =
            shown.iter().flatten().map(|((title, _), _)| Cell::new(title).add_attribute(Attribute::Bold));
        table.set_header(titles);
        for row in self.rows {
            let cells = row.into_iter().zip(&shown).filter_map(|(cell, shown)| {
                let ((_, fit), width) = (*shown)?;
                let text = match fit {
                    Fit::Whole => cell.text,
                    Fit::Shortened => shorten(&cell.text, width),
                    Fit::Wrapped => {
                        let words = cell.text.split_whitespace().map(|word| shorten(word, width));
                        wrap(&words.collect::<Vec<_>>().join(" "), width).join("\n")
                    }
                };
                Some(Cell::from(GridCell { text, ..cell }))
            });
            table.add_row(cells.collect::<Vec<_>>());
        }
        set_widths(&mut table, &shown.iter().flatten().map(|(_, width)| *width).collect::<Vec<_>>());
        write_table(out, table)
    }

    /// What is not known of a row is left out.
    fn write_cards(self, out: &mut impl Write, room: usize) -> io::Result<()> {
        let name = self.columns.iter().position(|(title, _)| *title == "KEY").unwrap_or_default();
        let indent =
            self.columns.iter().skip(1).map(|(title, _)| length(title)).max().unwrap_or_default() + 2 * GAP;
        let room = room.saturating_sub(indent).max(Fit::Shortened.min_width(usize::MAX, 0));
        for (index, row) in self.rows.iter().enumerate() {
            if index > 0 {
                writeln!(out)?;
            }
            if let Some(cell) = row.get(name) {
                writeln!(out, "{}", cell.text)?;
            }
            let cells = self.columns.iter().zip(row).enumerate();
            let others = cells.filter(|(index, (_, cell))| *index != name && cell.text != "-");
            for (_, ((title, fit), cell)) in others {
                let lines = match fit {
                    Fit::Whole => vec![cell.text.clone()],
                    Fit::Shortened => vec![shorten(&cell.text, room)],
                    Fit::Wrapped => wrap(&cell.text, room),
                };
                for (number, line) in lines.iter().enumerate() {
                    let title = if number == 0 { title } else { "" };
                    writeln!(out, "  {title:<width$}{line}", width = indent - GAP)?;
                }
            }
        }
        Ok(())
    }
}

fn set_widths(table: &mut Table, widths: &[usize]) {
    for (column, width) in table.column_iter_mut().zip(widths) {
        let width = u16::try_from(width + GAP).unwrap_or(u16::MAX);
        column.set_constraint(ColumnConstraint::Absolute(Width::Fixed(width)));
    }
}

fn length(text: &str) -> usize {
    text.chars().count()
}

fn total(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1)
}

/// A text of at most so many characters: what is in its middle is left out.
fn shorten(text: &str, longest: usize) -> String {
    let count = length(text);
    if count <= longest {
        return text.to_owned();
    }
    let kept = longest.saturating_sub(1);
    let head: String = text.chars().take(kept.div_ceil(2)).collect();
    let tail: String = text.chars().skip(count - kept / 2).collect();
    format!("{head}…{tail}")
}

/// Lines of at most so many characters, as far as words allow it.
pub fn wrap(text: &str, longest: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if length(line) + 1 + length(word) <= longest => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) | None => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [GridColumn; 5] = [
        ("KEY", Fit::Whole),
        ("USER", Fit::Shortened),
        ("ACCOUNT", Fit::Whole),
        ("FROM", Fit::Whole),
        ("WHAT", Fit::Wrapped),
    ];

    fn printed(width: Option<usize>) -> String {
        let mut grid = Grid::new(&COLUMNS, &[3]);
        let sentence = "A sentence that is longer than what is left of a narrow line.";
        let user = "a-user-with-a-very-long-name-that-ends@example.com";
        grid.push(
            ["ACCAEXAMPLEKEY0000001", user, "111122223333", "198.51.100.27", sentence].map(Into::into).into(),
        );
        grid.push(["ACCAEXAMPLEKEY0000002", "b", "111122223333", "-", "-"].map(Into::into).into());
        let mut out = Vec::new();
        grid.write(&mut out, width, false).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_table_is_as_wide_as_it_may_be() {
        insta::assert_snapshot!("natural", printed(None));
        for width in [160, 120, 100] {
            let table = printed(Some(width));
            assert!(table.lines().all(|line| length(line) <= width), "{width}\n{table}");
            assert!(table.contains("ACCAEXAMPLEKEY0000001") && table.contains("111122223333"), "{table}");
            insta::assert_snapshot!(format!("columns-{width}"), table);
        }
    }

    #[test]
    fn there_are_cards_where_there_is_no_room_for_a_table() {
        for width in [99, 40] {
            insta::assert_snapshot!(format!("cards-{width}"), printed(Some(width)));
        }
    }

    #[test]
    fn words_are_never_split() {
        const COLUMNS: [GridColumn; 2] = [("USER", Fit::Whole), ("WHAT", Fit::Wrapped)];
        const ID: &str = "5d1c003f-7b1e-4c3a-9f00-abc00000003f";
        let user = "u".repeat(64);
        let arn = format!("arn:aws:sts::111122223333:assumed-role/{}/jan.kowalski", "r".repeat(64));
        let sentence = format!("The call {ID} by {arn} failed, and so did many others.");
        let mut grid = Grid::new(&COLUMNS, &[]);
        grid.push([user.as_str(), &sentence].map(Into::into).into());
        let mut out = Vec::new();
        grid.write(&mut out, Some(105), false).unwrap();
        let table = String::from_utf8(out).unwrap();
        assert!(table.contains(ID) && table.contains(&user), "{table}");
        assert!(table.contains("arn:aws:sts::") && table.contains("/jan.kowalski\n"), "{table}");
        assert!(table.lines().all(|line| length(line) <= 105), "{table}");
    }

    #[test]
    fn names_are_shortened_in_the_middle() {
        assert_eq!(shorten("jan.kowalski", 12), "jan.kowalski");
        assert_eq!(shorten("jan.kowalski@example.com", 12), "jan.ko…e.com");
        assert_eq!(shorten("jan", 1), "…");
    }
}
