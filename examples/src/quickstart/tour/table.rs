//! The table that the tour prints.

use std::io::{self, Write};

use super::Rows;

/// One line of the table.
pub(super) struct Row {
    way: &'static str,
    tried: String,
    expected: String,
    came_back: String,
    invariant: &'static str,
    ok: bool,
}

impl Row {
    /// What came back must be this text.
    pub(super) fn new(
        way: &'static str,
        tried: impl Into<String>,
        invariant: &'static str,
        expected: impl Into<String>,
        came_back: impl Into<String>,
    ) -> Self {
        let (expected, came_back) = (expected.into(), came_back.into());
        let ok = expected == came_back;
        Self {
            way,
            tried: tried.into(),
            expected,
            came_back,
            invariant,
            ok,
        }
    }

    /// What came back varies, and `ok` says whether it is as it should be.
    pub(super) fn holds(self, ok: bool) -> Self {
        Self { ok, ..self }
    }
}

/// Prints rows as they come.
pub(super) struct Table<'a, W> {
    out: &'a mut W,
    rows: usize,
    differing: usize,
}

impl<'a, W: Write> Table<'a, W> {
    pub(super) fn new(out: &'a mut W) -> io::Result<Self> {
        let head = ["", "", "tried", "what came back, HTTP | gRPC", "invariant"];
        line(out, head)?;
        Ok(Self {
            out,
            rows: 0,
            differing: 0,
        })
    }

    /// Rows that belong together. An error stands for all of them.
    pub(super) fn group(&mut self, title: &str, rows: Rows) -> io::Result<()> {
        writeln!(self.out, "{title}")?;
        let rows = rows.unwrap_or_else(|error| {
            let tried = "this part of the tour";
            vec![Row::new("", tried, "", "an answer", error.to_string())]
        });
        for row in rows {
            self.rows = self.rows.saturating_add(1);
            let mark = if row.ok { "ok" } else { "!!" };
            line(
                self.out,
                [mark, row.way, &row.tried, &row.came_back, row.invariant],
            )?;
            if !row.ok {
                self.differing = self.differing.saturating_add(1);
                let expected = format!("should be: {}", row.expected);
                line(self.out, ["", "", "", &expected, ""])?;
            }
        }
        self.out.flush()
    }

    /// Sums up, and says how many rows differ from what they should be.
    pub(super) fn end(self) -> io::Result<usize> {
        let how = match self.differing {
            0 => "all as they should be".to_owned(),
            some => format!("{some} NOT as they should be"),
        };
        let rows = self.rows;
        writeln!(
            self.out,
            "\n{rows} rows, {how}. ARCHITECTURE.md lists the invariants.\n"
        )?;
        Ok(self.differing)
    }
}

fn line(
    out: &mut impl Write,
    [mark, way, tried, came_back, invariant]: [&str; 5],
) -> io::Result<()> {
    let line = format!("  {mark:2}  {way:4}  {tried:43}  {came_back:42}  {invariant}");
    writeln!(out, "{}", line.trim_end())
}
