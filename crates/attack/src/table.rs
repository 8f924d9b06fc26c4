//! What came of the floods: figures, and those with a limit that was broken.

use std::fmt;

/// One figure.
struct Row {
    flood: &'static str,
    what: String,
    value: f64,
    unit: &'static str,
    /// It must not be above.
    most: Option<f64>,
}

impl Row {
    fn is_broken(&self) -> bool {
        self.most.is_some_and(|most| self.value > most)
    }
}

/// All figures.
#[derive(Default)]
pub struct Table(Vec<Row>);

impl Table {
    /// A figure that must not be above `most`.
    pub fn limited(&mut self, flood: &'static str, what: impl Into<String>, value: f64, unit: &'static str, most: f64) {
        self.0.push(Row { flood, what: what.into(), value, unit, most: Some(most) });
    }

    /// A figure without a limit.
    pub fn note(&mut self, flood: &'static str, what: impl Into<String>, value: f64, unit: &'static str) {
        self.0.push(Row { flood, what: what.into(), value, unit, most: None });
    }

    /// The figures above their limits, each in a few words.
    pub fn broken(&self) -> Vec<String> {
        let broken = self.0.iter().filter(|row| row.is_broken());
        broken.map(|row| format!("{}: {} {:.1} {}", row.flood, row.what, row.value, row.unit)).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<12} {:<44} {:>12} {:<9} {:>10}", "flood", "figure", "value", "", "at most")?;
        for row in &self.0 {
            let most = row.most.filter(|most| most.is_finite()).map(|most| format!("{most:.1}")).unwrap_or_default();
            let mark = if row.is_broken() { " BROKEN" } else { "" };
            let Row { flood, what, value, unit, .. } = row;
            writeln!(f, "{flood:<12} {what:<44} {value:>12.1} {unit:<9} {most:>10}{mark}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_above_its_limit_is_named_and_others_are_not() {
        let mut table = Table::default();
        table.limited("logins", "refused", 0.0, "", 0.0);
        table.note("logins", "took", 1e9, "s");
        assert!(table.broken().is_empty());
        table.limited("logins", "failed tasks", 1.0, "", 0.0);
        assert_eq!(table.broken(), ["logins: failed tasks 1.0 "]);
        assert!(table.to_string().contains("BROKEN"));
    }
}
