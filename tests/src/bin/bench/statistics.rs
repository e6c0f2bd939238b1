//! Owns medians and their intervals. Knows nothing of what is measured.

use serde_json::{Value, json};

/// The median of some values with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Median {
    pub(crate) value: f64,
    /// The interval's ends.
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// How many values.
    pub(crate) n: usize,
}

impl Median {
    /// The median, with the interval between two order statistics: no distribution is assumed, and no chance is drawn
    /// (Conover, "Practical Nonparametric Statistics": the ranks n/2 ∓ 1.96·√n/2).
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len();
        assert!(n > 0, "a median of nothing");
        let value = f64::midpoint(sorted[(n - 1) / 2], sorted[n / 2]);
        let half = 0.98 * (n as f64).sqrt();
        let rank = |at: f64| sorted[(at.max(1.0) as usize).min(n) - 1];
        let middle = n as f64 / 2.0;
        Self { value, low: rank((middle - half).floor()), high: rank((middle + half).ceil() + 1.0), n }
    }

    /// For `bench.json`.
    pub(crate) fn json(&self) -> Value {
        json!({"median": round(self.value), "low": round(self.low), "high": round(self.high), "n": self.n})
    }
}

impl std::fmt::Display for Median {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = f.precision().unwrap_or(3);
        let Self { value, low, high, n } = self;
        write!(f, "{value:.digits$} [{low:.digits$}, {high:.digits$}] n={n}")
    }
}

/// Six digits after the point.
pub(crate) fn round(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_stands_between_order_statistics() {
        let hundred = Median::of((1..=100).map(f64::from));
        // The table of the binomial distribution has ranks 40 and 61 for n = 100.
        assert_eq!((hundred.value, hundred.low, hundred.high, hundred.n), (50.5, 40.0, 61.0, 100));
        let three = Median::of([3.0, 1.0, 2.0]);
        assert_eq!((three.value, three.low, three.high), (2.0, 1.0, 3.0));
        assert_eq!(Median::of([4.0]).value, 4.0);
    }
}
