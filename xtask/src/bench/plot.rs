//! A chart of a figure: a panel for each thing that was measured, with a bar for each system.

use std::fmt::Write;
use std::path::Path;

use super::figure::{Rows, shown};
use crate::process::{Outcome, cannot};

const WIDTH: usize = 760;
const LABELS: usize = 190;
const NUMBERS: usize = 120;
const BAR: usize = 16;
const GAP: usize = 6;
const TITLE: usize = 30;
const MARGIN: usize = 24;

/// Writes the chart of `rows`; nothing when none of them is to be shown.
pub fn write(path: &Path, title: &str, rows: &Rows) -> Outcome<bool> {
    let panels = panels(rows);
    if panels.is_empty() {
        return Ok(false);
    }
    std::fs::write(path, svg(title, &panels)).map_err(cannot("write", path))?;
    Ok(true)
}

struct Panel<'a> {
    title: &'a str,
    unit: &'static str,
    bars: Vec<(&'a str, f64)>,
}

/// Panels in the order in which their first row came.
fn panels(rows: &Rows) -> Vec<Panel<'_>> {
    let mut panels: Vec<Panel> = Vec::new();
    for (title, label, value, unit) in rows.charts() {
        match panels.iter_mut().find(|panel| panel.title == title) {
            Some(panel) => panel.bars.push((label, value)),
            None => panels.push(Panel { title, unit, bars: vec![(label, value)] }),
        }
    }
    panels
}

fn svg(title: &str, panels: &[Panel]) -> String {
    let mut body = String::new();
    let mut y = MARGIN + 24;
    let _ = writeln!(body, r#"<text class="title" x="{MARGIN}" y="{y}">{}</text>"#, escaped(title));
    for panel in panels {
        y += TITLE + GAP;
        let _ = writeln!(
            body,
            r#"<text class="panel" x="{MARGIN}" y="{y}">{}<tspan class="unit"> {}</tspan></text>"#,
            escaped(panel.title),
            escaped(panel.unit)
        );
        y += GAP + 4;
        y = bars(&mut body, panel, y);
    }
    let height = y + MARGIN;
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}">
<style>
text {{ font: 12px system-ui, sans-serif; fill: #333 }}
.title {{ font-size: 18px; font-weight: 600 }}
.panel {{ font-size: 13px; font-weight: 600 }}
.unit, .number {{ font-weight: 400; fill: #777 }}
.ours {{ fill: #2f6fdb }}
.others {{ fill: #b9c2cf }}
</style>
<rect width="100%" height="100%" fill="#fff"/>
{body}</svg>
"##
    )
}

/// Adds the bars of a panel from `y` downwards, and returns where they end.
fn bars(body: &mut String, panel: &Panel, mut y: usize) -> usize {
    let longest = panel.bars.iter().map(|bar| bar.1).fold(f64::MIN_POSITIVE, f64::max);
    let room = (WIDTH - 2 * MARGIN - LABELS - NUMBERS) as f64;
    let left = MARGIN + LABELS;
    for (label, value) in &panel.bars {
        // One that is not to be seen is a line, so that it is not taken for a missing one.
        let width = (value / longest * room).max(1.0);
        let class = if label.starts_with("ours") { "ours" } else { "others" };
        let text = y + BAR - 4;
        let _ = writeln!(body, r#"<text x="{}" y="{text}" text-anchor="end">{}</text>"#, left - 8, escaped(label));
        let _ =
            writeln!(body, r#"<rect class="{class}" x="{left}" y="{y}" width="{width:.1}" height="{BAR}" rx="2"/>"#);
        let right = left as f64 + width + 6.0;
        let _ = writeln!(body, r#"<text class="number" x="{right:.1}" y="{text}">{}</text>"#, shown(*value));
        y += BAR + GAP;
    }
    y
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_panel_has_a_bar_for_each_system_in_proportion() {
        let mut rows = Rows::default();
        rows.add("a", "µs", 50.0).shown_in("one in flight <median>", "ours");
        rows.add("b", "µs", 100.0).shown_in("one in flight <median>", "NATS");
        rows.add("c", "1/s", 7.0).shown_in("rate", "ours");
        rows.add("not shown", "1/s", 7.0);
        let panels = panels(&rows);
        assert_eq!(panels.iter().map(|panel| panel.bars.len()).collect::<Vec<_>>(), [2, 1]);
        let svg = svg("title & more", &panels);
        assert!(svg.contains("title &amp; more") && svg.contains("&lt;median&gt;"), "{svg}");
        let widths: Vec<f64> = svg
            .split("height=\"16\"")
            .filter_map(|part| part.rsplit_once("width=\"")?.1.split('"').next()?.parse().ok())
            .collect();
        assert_eq!(widths[..2], [201.0, 402.0], "{svg}");
        assert_eq!(svg.matches("class=\"ours\"").count(), 2);
    }

    #[test]
    fn without_rows_to_show_there_is_no_file() {
        let path = std::env::temp_dir().join(format!("xtask-plot-{}", std::process::id()));
        assert!(!write(&path, "title", &Rows::default()).unwrap());
        assert!(!path.exists());
    }
}
