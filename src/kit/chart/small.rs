//! Small drawings: sparkline, meter, bar of segments, histogram, the fleet's cells, status glyphs.

use std::fmt::Write;

use super::{escape, round};

/// A line without axes. `tone` is a class (`warn`, `crit`, `off` or empty), `least` the smallest height of its scale.
pub fn sparkline(values: &[f64], tone: &str, (width, height): (f64, f64), least: f64) -> String {
    let finite = || values.iter().copied().filter(|v| v.is_finite());
    let high = finite().fold(least.max(f64::MIN_POSITIVE), f64::max);
    let low = finite().fold(0.0, f64::min);
    let step = (width - 3.0) / (values.len().max(2) - 1) as f64;
    let place = |n: usize, v: f64| {
        (round(1.0 + n as f64 * step), round(height - 2.0 - (v - low) / (high - low) * (height - 4.0)))
    };
    let (mut line, mut area, mut end) = (String::new(), String::new(), None);
    let mut run: Vec<(f64, f64)> = Vec::new();
    for n in 0..=values.len() {
        if let Some(value) = values.get(n).filter(|v| v.is_finite()) {
            run.push(place(n, *value));
            continue;
        }
        if let (Some(first), Some(last)) = (run.first(), run.last()) {
            let path: String = run
                .iter()
                .enumerate()
                .map(|(n, (x, y))| format!("{}{x} {y}", if n == 0 { 'M' } else { 'L' }))
                .collect();
            let _ = write!(area, "{path}L{} {height}L{} {height}Z", last.0, first.0);
            line.push_str(&path);
            if run.len() == 1 {
                line.push_str("h.1");
            }
            end = Some(*last);
        }
        run.clear();
    }
    let mut out = format!(
        "<svg class=\"spark {tone}\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" aria-hidden=\"true\">"
    );
    if let Some((x, y)) = end {
        let _ = write!(
            out,
            "<path class=\"a\" d=\"{area}\"/><path class=\"l\" d=\"{line}\"/><circle class=\"e\" cx=\"{x}\" cy=\"{y}\" r=\"2\"/>"
        );
    } else {
        let _ = write!(out, "<path class=\"n\" d=\"M1 {0}H{1}\"/>", height - 2.0, width - 1.0);
    }
    out.push_str("</svg>");
    out
}

/// A bar that is full at 100 percent; an unknown value draws the empty bar.
pub fn meter(percent: Option<f64>, tone: &str) -> String {
    let width = percent.filter(|p| p.is_finite()).map_or(0.0, |p| round(p.clamp(0.0, 100.0) * 0.52));
    format!(
        "<svg class=\"meter {tone}\" viewBox=\"0 0 52 6\" aria-hidden=\"true\"><rect width=\"{width}\" height=\"6\" rx=\"3\"/></svg>"
    )
}

/// One bar in parts: class (`ok`, `warn`, …) and count of each.
pub fn segments(parts: &[(&str, usize)]) -> String {
    let total: usize = parts.iter().map(|p| p.1).sum();
    let mut out = String::from(
        "<svg class=\"segbar\" viewBox=\"0 0 1000 8\" preserveAspectRatio=\"none\" aria-hidden=\"true\">",
    );
    let shown: Vec<_> = parts.iter().filter(|p| p.1 > 0).collect();
    let room = 1000.0 - 2.0 * shown.len().saturating_sub(1) as f64;
    let mut x = 0.0;
    for (class, count) in shown {
        let width = room * *count as f64 / total as f64;
        let _ = write!(
            out,
            "<rect class=\"f-{class}\" x=\"{}\" width=\"{}\" height=\"8\"/>",
            round(x),
            round(width.max(3.0))
        );
        x += width + 2.0;
    }
    out.push_str("</svg>");
    out
}

/// Lines of a log by time: ordinary, warnings, errors of each bucket.
pub fn histogram(buckets: &[(u32, u32, u32)]) -> String {
    let most = buckets.iter().map(|b| b.0 + b.1 + b.2).max().unwrap_or_default().max(1);
    let step = 1000.0 / buckets.len().max(1) as f64;
    let mut out = String::from(
        "<svg class=\"histo\" viewBox=\"0 0 1000 44\" preserveAspectRatio=\"none\" aria-hidden=\"true\">",
    );
    for (n, (info, warn, error)) in buckets.iter().enumerate() {
        let mut y = 44.0;
        for (class, count) in [("i", info), ("w", warn), ("e", error)] {
            let height = f64::from(*count) / f64::from(most) * 42.0;
            if *count > 0 {
                y -= height;
                let _ = write!(
                    out,
                    "<rect class=\"{class}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/>",
                    round(n as f64 * step + step * 0.12),
                    round(y),
                    round(step * 0.76),
                    round(height)
                );
            }
        }
    }
    out.push_str("</svg>");
    out
}

/// One agent in the fleet's map.
#[derive(Clone, Debug)]
pub struct Cell {
    /// Where it leads.
    pub href: String,
    /// Name and what is the matter.
    pub title: String,
    /// `ok`, `warn`, `crit`, `off` or `maint`.
    pub tone: &'static str,
}

/// How many cells stand in a column, and how large they are, for sites of these sizes: the largest that stand side by
/// side.
pub fn cell_rows(sites: &[usize]) -> (usize, f64) {
    const ROOM: f64 = 720.0;
    const BETWEEN: f64 = 32.0;
    let wide = |(rows, size): (usize, f64)| {
        let columns: usize = sites.iter().map(|cells| cells.div_ceil(rows)).sum();
        columns as f64 * (size + 3.0) + sites.len() as f64 * BETWEEN
    };
    let shapes = [(6, 28.0), (7, 24.0), (9, 20.0), (11, 17.0), (14, 14.0)];
    shapes.into_iter().find(|shape| wide(*shape) <= ROOM).unwrap_or((14, 14.0))
}

/// The cells of one site, column by column. Offline is hollow, warning and critical carry a mark.
pub fn health_map(label: &str, cells: &[Cell], (rows, size): (usize, f64)) -> String {
    let rows = rows.max(1);
    let pitch = size + 3.0;
    let columns = cells.len().div_ceil(rows).max(1);
    let (width, height) = (columns as f64 * pitch - 3.0, rows.min(cells.len().max(1)) as f64 * pitch - 3.0);
    let mut out = format!(
        "<svg class=\"cells\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" role=\"group\" aria-label=\"{}\">",
        escape(label)
    );
    for (n, cell) in cells.iter().enumerate() {
        let (x, y) = ((n / rows) as f64 * pitch, (n % rows) as f64 * pitch);
        let inset = if cell.tone == "off" { 0.75 } else { 0.0 };
        let _ = write!(
            out,
            "<a href=\"{}\"><title>{}</title><rect class=\"{}\" x=\"{}\" y=\"{}\" width=\"{5}\" height=\"{5}\" rx=\"{6}\"/>",
            escape(&cell.href),
            escape(&cell.title),
            cell.tone,
            x + inset,
            y + inset,
            size - 2.0 * inset,
            round(size / 4.0),
        );
        let (cx, cy, arm) = (x + size / 2.0, y + size / 2.0, round(size / 5.0));
        let _ = match cell.tone {
            "crit" => write!(
                out,
                "<path class=\"m\" d=\"M{0} {1}l{2} {2}m0 -{2}l-{2} {2}\"/>",
                round(cx - arm),
                round(cy - arm),
                round(2.0 * arm)
            ),
            "warn" => write!(
                out,
                "<path class=\"m\" d=\"M{cx} {0}v{arm}m0 {1}v.1\"/>",
                round(cy - 1.2 * arm),
                round(arm * 1.1)
            ),
            _ => Ok(()),
        };
        out.push_str("</a>");
    }
    out.push_str("</svg>");
    out
}

/// The sign of a status: a shape of its own besides its colour.
pub fn glyph(tone: &str, word: &str) -> String {
    let shape = match tone {
        "ok" => {
            "<circle class=\"f\" cx=\"7\" cy=\"7\" r=\"6\"/><path class=\"k\" d=\"M4.3 7.2 6.3 9.2 9.8 5.2\"/>"
        }
        "warn" => {
            "<path class=\"f\" d=\"M7 1.2 13.4 12.4H.6Z\"/><path class=\"k\" d=\"M7 5.4v3.2M7 10.6v.1\"/>"
        }
        "crit" => "<circle class=\"f\" cx=\"7\" cy=\"7\" r=\"6\"/><path class=\"k\" d=\"M5 5 9 9M9 5 5 9\"/>",
        "maint" => {
            "<rect class=\"f\" x=\"1.5\" y=\"1.5\" width=\"11\" height=\"11\" rx=\"3\"/><path class=\"k\" d=\"M5.4 5v4M8.6 5v4\"/>"
        }
        "accent" => {
            "<circle class=\"h\" cx=\"7\" cy=\"7\" r=\"5\"/><circle class=\"f\" cx=\"7\" cy=\"7\" r=\"2.2\"/>"
        }
        _ => "<circle class=\"h\" cx=\"7\" cy=\"7\" r=\"5\" stroke-dasharray=\"2.6 2.6\"/>",
    };
    format!(
        "<svg class=\"st {tone}\" viewBox=\"0 0 14 14\" role=\"img\" aria-label=\"{}\">{shape}</svg>",
        escape(word)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_wild() {
        let cells: Vec<Cell> = ["ok", "warn", "crit", "off", "maint"]
            .map(|tone| Cell { href: "/agents/x".into(), title: "<b>\"".into(), tone })
            .into();
        for svg in [
            sparkline(&[], "", (80.0, 22.0), 1.0),
            sparkline(&[f64::NAN], "", (80.0, 22.0), 0.0),
            sparkline(&[1.0], "crit", (80.0, 22.0), 0.0),
            sparkline(&[1.0, f64::NAN, 0.0, -4.0], "", (80.0, 22.0), 0.0),
            sparkline(&[0.0, 0.0], "", (80.0, 22.0), 0.0),
            meter(None, ""),
            meter(Some(f64::NAN), ""),
            meter(Some(250.0), "crit"),
            segments(&[]),
            segments(&[("ok", 0)]),
            segments(&[("ok", 9), ("crit", 1)]),
            histogram(&[]),
            histogram(&[(0, 0, 0), (3, 1, 1)]),
            health_map("Lyon", &[], (0, 14.0)),
            health_map("Lyon", &cells, cell_rows(&[5])),
        ] {
            assert!(!svg.contains("NaN") && !svg.contains("inf") && !svg.contains("style="), "{svg}");
            assert!(!svg.contains("<b>"), "{svg}");
        }
    }

    #[test]
    fn a_site_is_drawn_by_columns() {
        let cells = vec![Cell { href: String::new(), title: String::new(), tone: "ok" }; 9];
        let svg = health_map("Lyon", &cells, (4, 10.0));
        assert!(svg.contains("width=\"36\" height=\"49\""), "{svg}");
        assert_eq!(svg.matches("<a ").count(), 9);
    }
}
