//! A straight line through measured points.

/// A straight line: what there is without sessions, and what each session adds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    pub intercept: f64,
    pub slope: f64,
}

impl Line {
    /// Fits a line to points `(x, y)` by least squares. The x of two points have to differ.
    #[must_use]
    pub fn fit(points: &[(f64, f64)]) -> Self {
        let count = points.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
        let (mean_x, mean_y) = (mean(|point| point.0), mean(|point| point.1));
        let covariance: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
        let variance: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
        let slope = covariance / variance;
        Self { intercept: mean_y - slope * mean_x, slope }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_on_a_line_give_that_line() {
        let line = Line::fit(&[(1.0, 5.0), (2.0, 7.0), (4.0, 11.0)]);
        assert_eq!(line, Line { intercept: 3.0, slope: 2.0 });
    }

    #[test]
    fn deviations_on_both_sides_cancel_out() {
        let line = Line::fit(&[(0.0, 1.0), (1.0, -1.0), (2.0, -1.0), (3.0, 1.0)]);
        assert_eq!(line, Line { intercept: 0.0, slope: 0.0 });
    }
}
