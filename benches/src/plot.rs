//! Line charts as SVG, in few lines and without a library.

use std::fmt::Write as _;

/// One line of a chart.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Line {
    /// What it is, written at its end.
    pub name: String,
    /// Its colour, as SVG has it.
    pub colour: &'static str,
    /// Points, in the units of the axes.
    pub points: Vec<(f64, f64)>,
}

impl Line {
    /// A line.
    pub fn new(
        name: impl Into<String>,
        colour: &'static str,
        points: impl IntoIterator<Item = (f64, f64)>,
    ) -> Self {
        Self {
            name: name.into(),
            colour,
            points: points.into_iter().collect(),
        }
    }
}

/// A chart.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Chart {
    /// Above it.
    pub title: String,
    /// Below it.
    pub x: String,
    /// Whether the horizontal axis counts powers of ten.
    pub powers: bool,
    /// The lines.
    pub lines: Vec<Line>,
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 190.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 44.0;

/// 1, 2 or 5 times a power of ten, so that about five of them are as much as `whole`.
fn step(whole: f64) -> f64 {
    let rough = (whole / 5.0).max(f64::MIN_POSITIVE);
    let power = 10_f64.powf(rough.log10().floor());
    let times = [1.0, 2.0, 5.0]
        .into_iter()
        .find(|times| times * power >= rough);
    times.unwrap_or(10.0) * power
}

impl Chart {
    /// A chart of these lines.
    pub fn new(title: impl Into<String>, x: impl Into<String>, lines: Vec<Line>) -> Self {
        Self {
            title: title.into(),
            x: x.into(),
            powers: false,
            lines,
        }
    }

    /// Counts powers of ten on the horizontal axis.
    #[must_use]
    pub const fn in_powers(mut self) -> Self {
        self.powers = true;
        self
    }

    /// The chart as SVG.
    pub fn svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let across = |x: f64| if self.powers { x.max(1.0).log10() } else { x };
        let (mut from, mut to) = (f64::MAX, f64::MIN);
        let mut top = 0.0_f64;
        for (x, y) in points() {
            from = from.min(across(*x));
            to = to.max(across(*x));
            top = top.max(*y);
        }
        let every = step(top);
        let top = (top / every).ceil().max(1.0) * every;
        let x_at = |x: f64| {
            LEFT + (across(x) - from) / (to - from).max(f64::MIN_POSITIVE) * (WIDTH - LEFT - RIGHT)
        };
        let y_at = |y: f64| HEIGHT - BOTTOM - y / top * (HEIGHT - TOP - BOTTOM);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
             <text x=\"{LEFT}\" y=\"22\" font-size=\"14\">{}</text>\n",
            self.title
        );
        let mut text = |x: f64, y: f64, anchor: &str, says: &str| {
            // Writing to a string does not fail.
            let _ok = writeln!(
                svg,
                "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{says}</text>"
            );
        };
        let mut y = 0.0;
        while y <= top * 1.001 {
            text(LEFT - 6.0, y_at(y) + 4.0, "end", &format!("{y:.0}"));
            y += every;
        }
        let ends = if self.powers {
            (from.ceil(), 1.0)
        } else {
            (from, step(to - from))
        };
        let mut x = ends.0;
        while x <= to * 1.001 {
            let value = if self.powers { 10_f64.powf(x) } else { x };
            text(
                x_at(value),
                HEIGHT - BOTTOM + 18.0,
                "middle",
                &format!("{value:.0}"),
            );
            x += ends.1;
        }
        text(
            (LEFT + WIDTH - RIGHT) / 2.0,
            HEIGHT - 8.0,
            "middle",
            &self.x,
        );
        for line in &self.lines {
            if let Some((x, y)) = line.points.last() {
                text(x_at(*x) + 8.0, y_at(*y) + 4.0, "start", &line.name);
            }
        }
        for line in &self.lines {
            let path: Vec<String> = line
                .points
                .iter()
                .map(|(x, y)| format!("{:.1},{:.1}", x_at(*x), y_at(*y)))
                .collect();
            let _ok = writeln!(
                svg,
                "<polyline fill=\"none\" stroke=\"{}\" stroke-width=\"2\" points=\"{}\"/>",
                line.colour,
                path.join(" ")
            );
        }
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let _ok = writeln!(
            svg,
            "<path d=\"M{LEFT},{TOP} V{bottom} H{right}\" fill=\"none\" stroke=\"black\"/>\n</svg>"
        );
        svg
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_holds_its_lines() {
        let lines = vec![Line::new("one", "red", [(1.0, 3.0), (1_000.0, 7.0)])];
        let chart = Chart::new("title", "x", lines).in_powers();
        let svg = chart.svg();
        for part in ["title", "one", "1000", "polyline", "</svg>"] {
            assert!(svg.contains(part), "{part}");
        }
        assert!((19.9..20.1).contains(&step(51.0)));
        assert!((1.9..2.1).contains(&step(7.0)));
    }
}
