//! What a figure is, and the table of its numbers.

use super::ground::Ground;
use super::json::Json;
use super::stats::median;
use crate::process::Outcome;

/// Something to measure.
pub struct Figure {
    /// What one calls it on the command line.
    pub name: &'static str,
    /// What it says, in a line.
    pub description: &'static str,
    /// Measures, and puts in the numbers as they come, so that those before a failure are not lost.
    pub measure: fn(&Ground, &mut Rows) -> Outcome<()>,
}

/// One number of a figure, once for each run.
#[derive(Default)]
pub struct Row {
    /// What it is the number of.
    what: String,
    unit: &'static str,
    values: Vec<f64>,
    /// The row that it is compared with, by its `what`.
    base: Option<String>,
    rule: Option<Rule>,
    bar: Option<Bar>,
    /// Why there is no value.
    left_out: Option<String>,
    /// The panel of the chart that it is a part of, and what it is called there.
    shown_in: Option<(String, String)>,
}

/// What the median is to reach. A machine that is busy with other things does not fail for it.
#[derive(Clone, Copy)]
enum Bar {
    AtMost(f64),
    AtLeast(f64),
}

/// What all values must keep to.
#[derive(Clone, Copy)]
enum Rule {
    AtMost(f64),
    Exactly(f64),
    Between(f64, f64),
}

impl Row {
    /// Compares it with another row of the same figure, run by run.
    pub fn against(&mut self, base: impl Into<String>) -> &mut Self {
        self.base = Some(base.into());
        self
    }

    /// No value may be above this.
    pub fn at_most(&mut self, limit: f64) -> &mut Self {
        self.rule = Some(Rule::AtMost(limit));
        self
    }

    /// All values must be this.
    pub fn exactly(&mut self, expected: f64) -> &mut Self {
        self.rule = Some(Rule::Exactly(expected));
        self
    }

    /// All values must be in this range, ends included.
    pub fn between(&mut self, lowest: f64, highest: f64) -> &mut Self {
        self.rule = Some(Rule::Between(lowest, highest));
        self
    }

    /// The median is to be no more than this.
    pub fn reach_at_most(&mut self, bar: f64) -> &mut Self {
        self.bar = Some(Bar::AtMost(bar));
        self
    }

    /// The median is to be no less than this.
    pub fn reach_at_least(&mut self, bar: f64) -> &mut Self {
        self.bar = Some(Bar::AtLeast(bar));
        self
    }

    /// The chart has it as `label`, beside all others of the same panel.
    pub fn shown_in(&mut self, panel: impl Into<String>, label: impl Into<String>) -> &mut Self {
        self.shown_in = Some((panel.into(), label.into()));
        self
    }

    /// Panel and label of the chart, the median and its unit.
    pub fn chart(&self) -> Option<(&str, &str, f64, &'static str)> {
        let (panel, label) = self.shown_in.as_ref().filter(|_| !self.values.is_empty())?;
        Some((panel, label, median(&self.values), self.unit))
    }

    /// Whether the bar is reached; `None` without one, or without a value.
    fn reached(&self) -> Option<bool> {
        let bar = self.bar.filter(|_| !self.values.is_empty())?;
        let median = median(&self.values);
        Some(match bar {
            Bar::AtMost(most) => median <= most,
            Bar::AtLeast(least) => median >= least,
        })
    }

    /// Whether the rule is kept; `None` without one.
    fn ok(&self) -> Option<bool> {
        self.rule.map(|rule| match rule {
            Rule::AtMost(limit) => self.values.iter().all(|value| *value <= limit),
            Rule::Exactly(expected) => self.values.iter().all(|value| *value == expected),
            Rule::Between(lowest, highest) => self.values.iter().all(|value| (lowest..=highest).contains(value)),
        })
    }

    fn verdict(&self) -> String {
        if let Some(why) = self.left_out.as_ref().filter(|_| self.values.is_empty()) {
            return format!("left out: {why}");
        }
        let reached = if self.reached() == Some(true) { "reached" } else { "NOT REACHED" };
        match self.bar {
            Some(Bar::AtMost(most)) => return format!("{reached}, at most {}", shown(most)),
            Some(Bar::AtLeast(least)) => return format!("{reached}, at least {}", shown(least)),
            None => {}
        }
        let word = if self.ok() == Some(true) { "ok" } else { "NOT OK" };
        match self.rule {
            Some(Rule::AtMost(limit)) => format!("{word}, at most {}", shown(limit)),
            Some(Rule::Exactly(expected)) => format!("{word}, must be {}", shown(expected)),
            Some(Rule::Between(lowest, highest)) => format!("{word}, must be {} to {}", shown(lowest), shown(highest)),
            None => String::new(),
        }
    }
}

/// The numbers of a figure.
#[derive(Default)]
pub struct Rows {
    rows: Vec<Row>,
    /// What else there is to say.
    pub notes: Vec<String>,
}

impl Rows {
    /// Adds a run's value to a row.
    pub fn add(&mut self, what: impl Into<String>, unit: &'static str, value: f64) -> &mut Row {
        let row = self.row(what.into(), unit);
        row.values.push(value);
        row
    }

    /// Keeps the place of a row that cannot be measured, and says why.
    pub fn leave_out(&mut self, what: impl Into<String>, unit: &'static str, why: impl Into<String>) {
        self.row(what.into(), unit).left_out = Some(why.into());
    }

    fn row(&mut self, what: String, unit: &'static str) -> &mut Row {
        let at = self.rows.iter().position(|row| row.what == what).unwrap_or_else(|| {
            self.rows.push(Row { what, unit, ..Row::default() });
            self.rows.len() - 1
        });
        &mut self.rows[at]
    }

    /// What a chart shows.
    pub fn charts(&self) -> impl Iterator<Item = (&str, &str, f64, &'static str)> {
        self.rows.iter().filter_map(Row::chart)
    }

    /// Adds a note, once for all runs that have the same.
    pub fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// The rows whose rule is broken.
    pub fn broken(&self) -> Vec<String> {
        let broken = self.rows.iter().filter(|row| row.ok() == Some(false));
        broken
            .map(|row| format!("{}: {} {} ({})", row.what, shown(median(&row.values)), row.unit, row.verdict()))
            .collect()
    }

    /// The median of the ratios of each run: what other work on the machine does to both is not in it.
    fn ratio(&self, row: &Row) -> Option<f64> {
        let base = self.rows.iter().find(|other| Some(&other.what) == row.base.as_ref())?;
        let ratios: Vec<_> = row
            .values
            .iter()
            .zip(&base.values)
            .filter(|(_, base)| **base != 0.0)
            .map(|(value, base)| value / base)
            .collect();
        (!ratios.is_empty()).then(|| median(&ratios))
    }

    /// All of it, aligned for people.
    pub fn table(&self, name: &str) -> String {
        let heading = [name, "median", "unit", "lowest", "highest", "ratio", "rule"].map(str::to_owned);
        let lines = self.rows.iter().map(|row| {
            let lowest = row.values.iter().copied().fold(f64::INFINITY, f64::min);
            let highest = row.values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let ratio = self.ratio(row).map(|ratio| format!("×{}", shown(ratio))).unwrap_or_default();
            let (lowest, highest) =
                if row.values.len() > 1 { (shown(lowest), shown(highest)) } else { Default::default() };
            let value = if row.values.is_empty() { "–".to_owned() } else { shown(median(&row.values)) };
            [row.what.clone(), value, row.unit.to_owned(), lowest, highest, ratio, row.verdict()]
        });
        let notes = self.notes.iter().map(|note| format!("\n{note}"));
        aligned(&std::iter::once(heading).chain(lines).collect::<Vec<_>>()) + &notes.collect::<String>()
    }

    /// All of it, for programs.
    pub fn json(&self) -> Json {
        let rows = self.rows.iter().map(|row| {
            Json::Object(vec![
                ("what", Json::text(&row.what)),
                ("unit", Json::text(row.unit)),
                ("median", if row.values.is_empty() { Json::Null } else { Json::Number(median(&row.values)) }),
                ("values", Json::List(row.values.iter().copied().map(Json::Number).collect())),
                ("against", row.base.as_ref().map_or(Json::Null, Json::text)),
                ("ratio", self.ratio(row).map_or(Json::Null, Json::Number)),
                ("rule", if row.rule.is_some() { Json::text(row.verdict()) } else { Json::Null }),
                ("ok", row.ok().map_or(Json::Null, Json::Bool)),
                ("bar", if row.bar.is_some() { Json::text(row.verdict()) } else { Json::Null }),
                ("reached", row.reached().map_or(Json::Null, Json::Bool)),
                ("left_out", row.left_out.as_ref().map_or(Json::Null, Json::text)),
            ])
        });
        Json::List(rows.collect())
    }
}

/// Numbers to the right, words to the left.
fn aligned(lines: &[[String; 7]]) -> String {
    const TO_THE_RIGHT: [bool; 7] = [false, true, false, true, true, true, false];
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..7).map(width).collect();
    let in_columns = lines.iter().map(|line| {
        let cells = line.iter().enumerate().map(|(column, text)| {
            let width = widths[column];
            if TO_THE_RIGHT[column] { format!("{text:>width$}") } else { format!("{text:width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    in_columns.collect::<Vec<_>>().join("\n")
}

/// Three digits are more than a shared machine is good for; whole numbers stay whole.
pub fn shown(number: f64) -> String {
    if number.fract() == 0.0 || number.abs() >= 100.0 {
        let digits = format!("{:.0}", number.abs());
        let mut grouped = String::new();
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at) % 3 == 0 {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        return if number < 0.0 { format!("-{grouped}") } else { grouped };
    }
    if number.abs() >= 10.0 { format!("{number:.1}") } else { format!("{number:.2}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_with_three_digits_or_whole() {
        let shown: Vec<_> = [0.0, 3.0, 0.456, 9.87, 45.67, 123.4, 1_234_567.8, -1_000.0].map(shown).into();
        assert_eq!(shown, ["0", "3", "0.46", "9.87", "45.7", "123", "1,234,568", "-1,000"]);
    }

    #[test]
    fn ratios_are_taken_run_by_run() {
        let mut rows = Rows::default();
        for (idle, busy) in [(1.0, 2.0), (10.0, 30.0), (2.0, 5.0)] {
            rows.add("idle", "µs", idle);
            rows.add("busy", "µs", busy).against("idle");
        }
        assert_eq!(rows.ratio(&rows.rows[1]), Some(2.5));
        assert_eq!(rows.ratio(&rows.rows[0]), None);
        let table = rows.table("name");
        assert_eq!(
            table.lines().nth(2).unwrap().split_whitespace().collect::<Vec<_>>(),
            ["busy", "5", "µs", "2", "30", "×2.50"]
        );
    }

    #[test]
    fn a_bar_is_for_the_median_and_breaks_nothing() {
        let mut rows = Rows::default();
        for value in [1.0, 2.0, 30.0] {
            rows.add("fast", "×", value).reach_at_least(2.0);
            rows.add("slow", "×", value).reach_at_most(1.5);
        }
        assert!(rows.broken().is_empty());
        let table = rows.table("name");
        assert!(table.lines().nth(1).unwrap().ends_with("  reached, at least 2"), "{table}");
        assert!(table.lines().nth(2).unwrap().ends_with("  NOT REACHED, at most 1.50"), "{table}");
        assert!(rows.json().to_string().contains(r#""reached":false"#));
    }

    #[test]
    fn what_is_left_out_keeps_its_row() {
        let mut rows = Rows::default();
        rows.leave_out("theirs", "µs", "the program theirs is missing");
        let table = rows.table("name");
        let line = table.lines().nth(1).unwrap();
        assert!(line.contains('–') && line.ends_with("left out: the program theirs is missing"), "{table}");
        assert_eq!(rows.charts().count(), 0);
        assert!(rows.json().to_string().contains(r#""median":null"#));
    }

    #[test]
    fn one_value_that_breaks_the_rule_is_enough() {
        let mut rows = Rows::default();
        for value in [1.0, 20.0, 3.0] {
            rows.add("growth", "MiB", value).at_most(16.0);
            rows.add("failed", "", 0.0).exactly(0.0);
        }
        assert_eq!(rows.broken(), ["growth: 3 MiB (NOT OK, at most 16)"]);
        assert!(rows.json().to_string().contains(r#""ok":false"#));
    }
}
