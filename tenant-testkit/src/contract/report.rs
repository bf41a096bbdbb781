//! What a probe found.

use std::fmt;

use super::Clause;

/// What became of one clause.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The layer keeps it.
    Held,
    /// The layer does not keep it; the message says what happened.
    Broken(String),
    /// The clause does not concern this layer.
    NotApplicable(&'static str),
    /// The layer does not keep it, and the test says why that is meant.
    Excepted(&'static str),
}

/// What a probe found, clause by clause.
///
/// `Display` lists the clauses; [`row`](Self::row) is the layer's row in a matrix of layers and clauses.
#[derive(Clone, Debug)]
pub struct Report {
    pub(super) layer: String,
    pub(super) outcomes: Vec<(Clause, Outcome)>,
}

impl Report {
    /// The layer's name, as the probe was given it.
    pub fn layer(&self) -> &str {
        &self.layer
    }

    /// All clauses in order, each with its outcome.
    pub fn outcomes(&self) -> &[(Clause, Outcome)] {
        &self.outcomes
    }

    /// What became of one clause.
    pub fn outcome(&self, clause: Clause) -> Option<&Outcome> {
        let mut outcomes = self.outcomes.iter();
        outcomes.find_map(|(known, outcome)| (*known == clause).then_some(outcome))
    }

    /// The clauses that the layer does not keep.
    pub fn broken(&self) -> Vec<Clause> {
        let broken = self.outcomes.iter();
        broken
            .filter_map(|(clause, outcome)| {
                matches!(outcome, Outcome::Broken(_)).then_some(*clause)
            })
            .collect()
    }

    /// The head of a Markdown table of [`row`](Self::row)s.
    pub fn header() -> String {
        let names = Clause::ALL.map(Clause::name).join(" | ");
        let rule = "|---".repeat(Clause::ALL.len());
        format!("| layer | {names} |\n|---{rule}|")
    }

    /// This layer's row: `✓` held, `✗` broken, `–` does not concern it, `(✗)` an exception.
    pub fn row(&self) -> String {
        let marks = self.outcomes.iter().map(|(_, outcome)| match outcome {
            Outcome::Held => "✓",
            Outcome::Broken(_) => "✗",
            Outcome::NotApplicable(_) => "–",
            Outcome::Excepted(_) => "(✗)",
        });
        format!(
            "| {} | {} |",
            self.layer,
            marks.collect::<Vec<_>>().join(" | ")
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the tower contract, kept by {}:", self.layer)?;
        for (clause, outcome) in &self.outcomes {
            match outcome {
                Outcome::Held => write!(f, "\n  held      {clause}")?,
                Outcome::Broken(why) => write!(f, "\n  BROKEN    {clause}\n            {why}")?,
                Outcome::NotApplicable(why) => write!(f, "\n  -         {clause} ({why})")?,
                Outcome::Excepted(why) => write!(f, "\n  excepted  {clause} ({why})")?,
            }
        }
        Ok(())
    }
}
