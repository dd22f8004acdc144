//! Percentile bootstrap intervals (Efron 1979), the same for a seed on every machine.

use genesis_tensor::random::{Purpose, Stream};
use serde::{Deserialize, Serialize};

use super::ranking::{Ranking, area};
use super::statistics::{mean, percentile};

/// A confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Its nominal coverage, such as 0.95.
    pub confidence: f64,
}

/// How an interval is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bootstrap {
    /// Number of resamples.
    pub resamples: u32,
    /// Nominal coverage, between 0 and 1.
    pub confidence: f64,
    /// Seed of the resampling.
    pub seed: u64,
}

impl Default for Bootstrap {
    /// 2 000 resamples, 95 %, seed 0.
    fn default() -> Self {
        Self { resamples: 2000, confidence: 0.95, seed: 0 }
    }
}

impl Bootstrap {
    /// The interval of an AUC, positives and negatives resampled apart (stratified), so that both
    /// classes occur in every resample. `None` unless both occur, or without resamples.
    pub fn auc(&self, ranking: &Ranking) -> Option<Interval> {
        // The tie each case belongs to.
        let cases = |count: fn(&super::ranking::Tie) -> u64| -> Vec<usize> {
            let ties = ranking.ties.iter().enumerate();
            ties.flat_map(|(at, tie)| std::iter::repeat_n(at, count(tie) as usize)).collect()
        };
        let (positives, negatives) = (cases(|tie| tie.positives), cases(|tie| tie.negatives));
        let mut counts = vec![(0u64, 0u64); ranking.ties.len()];
        self.interval(|stream| {
            counts.fill((0, 0));
            for _ in 0..positives.len() {
                counts[*draw(&positives, stream)?].0 += 1;
            }
            for _ in 0..negatives.len() {
                counts[*draw(&negatives, stream)?].1 += 1;
            }
            area(counts.iter().copied())
        })
    }

    /// The interval of a mean over cases, such as a Dice. `None` without values or resamples.
    pub fn mean(&self, values: &[f64]) -> Option<Interval> {
        let mut sample = vec![0.0; values.len()];
        self.interval(|stream| {
            for place in &mut sample {
                *place = *draw(values, stream)?;
            }
            mean(&sample)
        })
    }

    /// The percentiles of a statistic over resamples, each with a stream of its own.
    fn interval(&self, mut statistic: impl FnMut(&mut Stream) -> Option<f64>) -> Option<Interval> {
        let mut values = Vec::with_capacity(self.resamples as usize);
        for resample in 0..self.resamples {
            let mut stream = Stream::new(self.seed, 0, u64::from(resample), Purpose::Other);
            values.push(statistic(&mut stream)?);
        }
        values.sort_by(f64::total_cmp);
        let tail = 50.0 * (1.0 - self.confidence);
        let (low, high) = (percentile(&values, tail)?, percentile(&values, 100.0 - tail)?);
        Some(Interval { low, high, confidence: self.confidence })
    }
}

/// One of the items, each as likely.
fn draw<'a, T>(items: &'a [T], stream: &mut Stream) -> Option<&'a T> {
    items.get(stream.between(0, items.len().checked_sub(1)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Normal scores, positives one standard deviation higher: AUC Φ(1/√2) = 0.7602.
    fn ranking(seed: u64) -> Ranking {
        let mut stream = Stream::new(seed, 1, 0, Purpose::Other);
        let labels: Vec<bool> = (0..120).map(|case| case % 3 == 0).collect();
        let scores: Vec<f64> =
            labels.iter().map(|&label| stream.normal() + f64::from(u8::from(label))).collect();
        Ranking::new(&scores, &labels).unwrap()
    }

    #[test]
    fn covers_the_truth_about_as_often_as_it_says() {
        let bootstrap = Bootstrap { resamples: 300, ..Bootstrap::default() };
        let covered = (0..200).filter(|&seed| {
            let interval = bootstrap.auc(&ranking(seed)).unwrap();
            (interval.low..=interval.high).contains(&0.7602)
        });
        // Of 200 intervals of 95 %: 190 expected, standard deviation 3; the percentile bootstrap of
        // small samples covers a little less.
        let covered = covered.count();
        assert!((176..=199).contains(&covered), "{covered} of 200");
    }

    #[test]
    fn the_seed_decides_everything() {
        let (ranking, bootstrap) = (ranking(7), Bootstrap::default());
        assert_eq!(bootstrap.auc(&ranking), bootstrap.auc(&ranking));
        assert_ne!(bootstrap.auc(&ranking), Bootstrap { seed: 1, ..bootstrap }.auc(&ranking));
        let narrow = Bootstrap { confidence: 0.5, ..bootstrap }.auc(&ranking).unwrap();
        let wide = bootstrap.auc(&ranking).unwrap();
        let auc = ranking.auc().unwrap();
        assert!(wide.low < narrow.low && narrow.low < auc && auc < narrow.high && narrow.high < wide.high);
    }

    #[test]
    fn a_mean_has_the_standard_errors_width() {
        let values: Vec<f64> = (0..400).map(|i| f64::from(i % 20)).collect();
        let interval = Bootstrap::default().mean(&values).unwrap();
        // Variance 33.25 (uniform on 0 … 19): 1.96 standard errors are 0.565.
        let half = 0.5 * (interval.high - interval.low);
        assert!((half - 0.565).abs() < 0.05 && (interval.low + half - 9.5).abs() < 0.05, "{interval:?}");
    }

    #[test]
    fn nothing_to_resample_is_undefined() {
        let bootstrap = Bootstrap::default();
        assert_eq!(bootstrap.auc(&Ranking::new(&[0.5, 0.6], &[true, true]).unwrap()), None);
        assert_eq!(bootstrap.mean(&[]), None);
        assert_eq!(Bootstrap { resamples: 0, ..bootstrap }.mean(&[1.0]), None);
    }
}
