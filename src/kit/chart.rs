//! Charts as SVG, drawn by the server: geometry is in attributes, colour is a class, so that the strictest
//! Content-Security-Policy holds. Everything here is pure, and every text that comes from outside is escaped.
//!
//! Invariant: no path holds `NaN` or an infinity; a value that is not finite is a gap.

use std::fmt::Write;

use super::{Zone, local};
use crate::base::{Span, Timestamp};

mod small;
mod unit;

pub use small::{Cell, cell_rows, glyph, health_map, histogram, meter, segments, sparkline};
pub use unit::Unit;

/// Classes of lines in their order; a chart has at most this many.
pub const SERIES: [&str; 5] = ["d1", "d2", "d3", "d4", "d5"];

/// One reading, with the smallest and largest of the time that it stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reading {
    /// When.
    pub at: Timestamp,
    /// The value of the line.
    pub value: f64,
    /// The smallest.
    pub low: f64,
    /// The largest.
    pub high: f64,
}

/// One line of a chart.
#[derive(Clone, Debug)]
pub struct Line<'a> {
    /// What it is, for its key and its tooltips.
    pub name: &'a str,
    /// Its readings, oldest first.
    pub readings: &'a [Reading],
}

/// Lines over time.
#[derive(Clone, Debug)]
pub struct Chart<'a> {
    /// What it shows, for who cannot see it.
    pub label: &'a str,
    /// Left edge.
    pub from: Timestamp,
    /// Right edge.
    pub to: Timestamp,
    /// How values are written, and whether the scale is fixed.
    pub unit: Unit,
    /// At most five.
    pub lines: Vec<Line<'a>>,
    /// A line that the readings should stay below.
    pub threshold: Option<f64>,
    /// Readings further apart than this are not joined.
    pub gap: Span,
}

/// Width and height of the drawing area in its own units; it is stretched to the room that it has.
const WIDE: f64 = 1000.0;
const HIGH: f64 = 100.0;
/// Columns that answer with a tooltip.
const COLUMNS: i64 = 60;

impl Chart<'_> {
    /// The plot: two drawings over each other, of which the first is stretched and the second holds the texts.
    pub fn draw(&self) -> String {
        let ticks = self.ticks();
        let (low, high) = (ticks.first().copied().unwrap_or(0.0), ticks.last().copied().unwrap_or(1.0));
        let y = |value: f64| {
            (HIGH - (value - low) / (high - low).max(f64::MIN_POSITIVE) * HIGH).clamp(-2.0, HIGH + 2.0)
        };
        let mut out = format!(
            "<div class=\"plot\"><svg class=\"p\" viewBox=\"0 0 {WIDE} {HIGH}\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{}\"><title>{}</title>",
            escape(&self.summary()),
            escape(self.label)
        );
        for tick in &ticks {
            let _ = write!(out, "<path class=\"grid\" d=\"M0 {0}H{WIDE}\"/>", round(y(*tick)));
        }
        for (line, class) in self.lines.iter().zip(SERIES) {
            self.line(&mut out, line, class, &y);
        }
        if let Some(bound) = self.threshold.filter(|t| *t >= low && *t <= high) {
            let _ = write!(out, "<path class=\"thr\" d=\"M0 {}H{WIDE}\"/>", round(y(bound)));
        }
        self.columns(&mut out);
        out.push_str("</svg><svg class=\"t\" aria-hidden=\"true\">");
        for tick in &ticks {
            let _ = write!(
                out,
                "<text class=\"y\" x=\"-8\" y=\"{}%\" dy=\"4\">{}</text>",
                round(y(*tick)),
                escape(&self.unit.tick(*tick, high))
            );
        }
        for (at, text) in self.times() {
            let _ = write!(
                out,
                "<text class=\"x\" x=\"{}%\" y=\"100%\" dy=\"19\">{text}</text>",
                round(self.x(at) / 10.0)
            );
        }
        out.push_str("</svg></div>");
        out
    }

    /// The last value of the first line, for the chart's head.
    pub fn latest(&self) -> Option<f64> {
        self.lines
            .first()
            .and_then(|line| line.readings.iter().rev().find(|r| r.value.is_finite()))
            .map(|r| r.value)
    }

    fn x(&self, at: Timestamp) -> f64 {
        let width = self.to.since(self.from).milliseconds().max(1) as f64;
        ((at.milliseconds() - self.from.milliseconds()) as f64 / width * WIDE).clamp(0.0, WIDE)
    }

    fn line(&self, out: &mut String, line: &Line<'_>, class: &str, y: &dyn Fn(f64) -> f64) {
        let inside = |r: &&Reading| r.at >= self.from && r.at <= self.to;
        let readings: Vec<&Reading> = line.readings.iter().filter(inside).collect();
        let (mut stroke, mut area, mut band) = (String::new(), String::new(), String::new());
        let joined = |pair: &[&Reading]| {
            pair[0].value.is_finite()
                && pair[1].value.is_finite()
                && pair[1].at.since(pair[0].at).milliseconds() <= self.gap.milliseconds()
        };
        let mut start = 0;
        for end in 1..=readings.len() {
            if end < readings.len() && joined(&readings[end - 1..=end]) {
                continue;
            }
            let part = &readings[start..end];
            start = end;
            let Some((first, last)) =
                part.first().zip(part.last()).filter(|(first, _)| first.value.is_finite())
            else {
                continue;
            };
            let mut path = String::new();
            for (n, r) in part.iter().enumerate() {
                let _ = write!(
                    path,
                    "{}{} {}",
                    if n == 0 { 'M' } else { 'L' },
                    round(self.x(r.at)),
                    round(y(r.value))
                );
            }
            if part.len() == 1 {
                path.push_str("h.1");
            } else {
                let (left, right) = (round(self.x(first.at)), round(self.x(last.at)));
                let _ = write!(area, "{path}L{right} {HIGH}L{left} {HIGH}Z");
                let spread = |r: &&&Reading| r.low.is_finite() && r.high.is_finite();
                if part.iter().filter(spread).any(|r| r.high > r.low) {
                    let edge = part.iter().filter(spread).map(|r| (r.at, r.high));
                    let back = part.iter().rev().filter(spread).map(|r| (r.at, r.low));
                    for (n, (at, value)) in edge.chain(back).enumerate() {
                        let _ = write!(
                            band,
                            "{}{} {}",
                            if n == 0 { 'M' } else { 'L' },
                            round(self.x(at)),
                            round(y(value))
                        );
                    }
                    band.push('Z');
                }
            }
            stroke.push_str(&path);
        }
        // Fills of many lines would only mix: an area has at most one neighbour, a band none.
        let many = self.lines.len();
        for (kind, path, most) in [("ar", area, 2), ("bd", band, 1), ("ln", stroke, usize::MAX)] {
            if !path.is_empty() && many <= most {
                let _ = write!(out, "<path class=\"{kind} {class}\" d=\"{path}\"/>");
            }
        }
    }

    /// Invisible columns whose titles say what the lines were there.
    fn columns(&self, out: &mut String) {
        let width = self.to.since(self.from).milliseconds() as i64;
        if width == 0 || self.lines.iter().all(|l| l.readings.is_empty()) {
            return;
        }
        let step = WIDE / COLUMNS as f64;
        for column in 0..COLUMNS {
            let left = self.from.milliseconds() + width * column / COLUMNS;
            let right = self.from.milliseconds() + width * (column + 1) / COLUMNS;
            let mut text = String::new();
            for line in self.lines.iter().take(SERIES.len()) {
                let within = |r: &&Reading| {
                    r.value.is_finite() && r.at.milliseconds() >= left && r.at.milliseconds() < right
                };
                if let Some(reading) = line.readings.iter().rev().find(within) {
                    let _ = write!(text, "\n{} {}", line.name, self.unit.text(reading.value));
                }
            }
            if !text.is_empty() {
                let at = local(Timestamp::from_milliseconds((left + right) / 2), "%d %b %H:%M:%S %Z");
                let _ = write!(
                    out,
                    "<rect class=\"hit\" x=\"{}\" width=\"{}\" height=\"{HIGH}\"><title>{at}{}</title></rect>",
                    round(column as f64 * step),
                    round(step),
                    escape(&text)
                );
            }
        }
    }

    fn summary(&self) -> String {
        let mut text = self.label.to_owned();
        for line in self.lines.iter().take(SERIES.len()) {
            if let Some(last) = line.readings.iter().rev().find(|r| r.value.is_finite()) {
                let _ = write!(text, ", {} now {}", line.name, self.unit.text(last.value));
            }
        }
        text
    }

    /// Values of the horizontal lines, lowest first: round numbers around everything that is drawn.
    fn ticks(&self) -> Vec<f64> {
        if self.unit == Unit::Percent {
            return vec![0.0, 25.0, 50.0, 75.0, 100.0];
        }
        let finite = self
            .lines
            .iter()
            .flat_map(|l| l.readings.iter())
            .flat_map(|r| [r.value, r.high, r.low])
            .filter(|v| v.is_finite());
        let (low, high) = finite.fold((0.0_f64, 0.0_f64), |(low, high), v| (low.min(v), high.max(v)));
        let base = self.unit.base(high.max(-low));
        let step = nice((high - low).max(self.unit.least()) / base / 4.0) * base;
        let first = (low / step).floor();
        let count = ((high / step).ceil() - first).clamp(1.0, 8.0) as i32;
        (0..=count).map(|n| (first + f64::from(n)) * step).collect()
    }

    /// Instants under the plot and how they are written.
    fn times(&self) -> Vec<(Timestamp, String)> {
        const STEPS: [i64; 18] = [
            5, 10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172_800,
            604_800, 2_592_000,
        ];
        let width = self.to.since(self.from).seconds() as i64;
        let step = STEPS.into_iter().find(|s| width / s <= 6).unwrap_or(2_592_000);
        let pattern = match step {
            ..60 => "%H:%M:%S",
            60..86400 if width > 86_400 => "%d %b %H:%M",
            60..86400 => "%H:%M",
            _ => "%d %b",
        };
        // Round on the clock of who looks.
        let ahead = Zone::on().ahead_seconds(self.from);
        let first = (self.from.seconds() + ahead + step - 1).div_euclid(step) * step - ahead;
        (first..=self.to.seconds())
            .step_by(step as usize)
            .take(8)
            .map(|s| Timestamp::from_milliseconds(s * 1000))
            .filter(|at| (20.0..=980.0).contains(&self.x(*at)))
            .map(|at| (at, local(at, pattern)))
            .collect()
    }
}

/// The smallest of 1, 2, 2.5, 5 and 10 times a power of ten that is not below `value`.
fn nice(value: f64) -> f64 {
    if !value.is_finite() || value <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 2.5, 5.0]
        .into_iter()
        .map(|n| n * power)
        .find(|n| *n >= value * 0.999_999)
        .unwrap_or(10.0 * power)
}

/// At most two digits after the point, and never `NaN`.
fn round(value: f64) -> f64 {
    if value.is_finite() { (value * 100.0).round() / 100.0 } else { 0.0 }
}

/// Text as it may stand in an element or a quoted attribute.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readings(values: &[f64], step: i64) -> Vec<Reading> {
        let at = |n: usize| Timestamp::from_milliseconds(1_790_000_000_000 + n as i64 * step);
        values.iter().enumerate().map(|(n, v)| Reading { at: at(n), value: *v, low: *v, high: *v }).collect()
    }

    fn chart<'a>(unit: Unit, readings: &'a [Reading], name: &'a str) -> Chart<'a> {
        let from = Timestamp::from_milliseconds(1_790_000_000_000);
        let lines = vec![Line { name, readings }];
        let to = from + Span::from_minutes(60);
        Chart { label: name, from, to, unit, lines, threshold: None, gap: Span::from_seconds(90) }
    }

    #[test]
    fn gaps_break_the_line_and_no_number_is_wild() {
        let values = [1.0, 2.0, f64::NAN, 4.0, 5.0, f64::INFINITY, 7.0];
        let svg = chart(Unit::Plain, &readings(&values, 60_000), "load").draw();
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        let stroke = svg.split("class=\"ln d1\" d=\"").nth(1).and_then(|s| s.split('"').next()).unwrap();
        assert_eq!(stroke.matches('M').count(), 3, "{stroke}");
        let far = chart(Unit::Plain, &readings(&[1.0, 2.0, 3.0], 120_000), "load").draw();
        assert_eq!(far.matches("h.1").count(), 3);
    }

    #[test]
    fn nothing_to_draw_is_drawn_too() {
        let svg = chart(Unit::BytesPerSecond, &[], "network").draw();
        assert!(svg.contains("class=\"grid\"") && !svg.contains("class=\"ln") && !svg.contains("NaN"));
        let mut empty = chart(Unit::Plain, &[], "x");
        empty.to = empty.from;
        assert!(!empty.draw().contains("NaN"));
    }

    #[test]
    fn text_from_outside_is_escaped() {
        let svg = chart(Unit::Percent, &readings(&[5.0], 1000), "<script>\"&'").draw();
        assert!(!svg.contains("<script>") && svg.contains("&lt;script&gt;&quot;&amp;&#39;"));
        assert!(!svg.contains("style="));
    }

    #[test]
    fn ticks_are_round_and_around_the_values() {
        for (values, unit) in [
            (vec![0.3, 7.9], Unit::Plain),
            (vec![-3.0, 12.0], Unit::Plain),
            (vec![1_500_000.0], Unit::BytesPerSecond),
            (vec![0.0], Unit::Plain),
            (vec![1e15], Unit::Plain),
        ] {
            let data = readings(&values, 1000);
            let ticks = chart(unit, &data, "x").ticks();
            assert!((2..=9).contains(&ticks.len()), "{values:?} {ticks:?}");
            let (low, high) = (ticks[0], ticks[ticks.len() - 1]);
            assert!(values.iter().all(|v| *v >= low && *v <= high), "{values:?} {ticks:?}");
        }
        assert_eq!(nice(0.3), 0.5);
        assert_eq!(nice(2.1), 2.5);
        assert_eq!(nice(7.0), 10.0);
    }

    #[test]
    fn times_are_few_and_round() {
        for minutes in [1, 15, 60, 360, 1440, 10_080, 100_000] {
            let mut chart = chart(Unit::Plain, &[], "x");
            chart.to = chart.from + Span::from_minutes(minutes);
            let times = chart.times();
            assert!((2..=7).contains(&times.len()), "{minutes}: {times:?}");
        }
    }
}
