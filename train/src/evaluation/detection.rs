//! Free-response ROC of candidate detection, as the LUNA16 challenge scores it (Setio et al., *Medical
//! Image Analysis* 42, 2017; its `noduleCADEvaluationLUNA16.py`).

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// False positives a scan at which LUNA16 reads the sensitivity.
pub const FALSE_POSITIVE_RATES: [f64; 7] = [0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0];

/// A scored candidate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mark {
    /// The higher the surer.
    pub score: f64,
    /// The finding it hits, any number that tells findings apart over all scans; `None` for a false
    /// positive.
    pub finding: Option<usize>,
}

/// A point of the curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrocPoint {
    /// False positives a scan among candidates with at least the threshold's score.
    pub false_positives_per_scan: f64,
    /// Share of findings hit by such candidates.
    pub sensitivity: f64,
    /// The threshold; `None` for the first point, at which nothing is marked.
    pub threshold: Option<f64>,
}

/// The curve by falling threshold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Froc {
    /// Its points, from (0, 0); false positives and sensitivity never fall.
    pub points: Vec<FrocPoint>,
}

/// What LUNA16 reads off the curve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrocScores {
    /// [`FALSE_POSITIVE_RATES`].
    pub false_positives_per_scan: Vec<f64>,
    /// The sensitivities at those.
    pub sensitivities: Vec<f64>,
    /// Their mean: the competition performance metric, CPM.
    pub cpm: f64,
}

impl Froc {
    /// The curve of candidates over `scans` scans with `findings` findings in all, those no candidate
    /// hits included. Of several candidates that hit one finding the highest counts; the others are
    /// neither hits nor false positives.
    ///
    /// # Errors
    /// [`Error::Work`] without scans or findings, for a score that is not finite, and if more findings
    /// are hit than there are.
    pub fn new(marks: &[Mark], findings: usize, scans: usize) -> Result<Self> {
        if findings == 0 || scans == 0 {
            return Err(Error::Work(format!("no FROC of {findings} findings in {scans} scans")));
        }
        if let Some((at, mark)) = marks.iter().enumerate().find(|(_, mark)| !mark.score.is_finite()) {
            return Err(Error::Work(format!("the score of candidate {at} is {}", mark.score)));
        }
        let mut order = marks.to_vec();
        order.sort_by(|a, b| b.score.total_cmp(&a.score));
        let mut points = vec![FrocPoint { false_positives_per_scan: 0.0, sensitivity: 0.0, threshold: None }];
        let mut hit = HashSet::new();
        let mut false_positives = 0usize;
        for tie in order.chunk_by(|a, b| a.score == b.score) {
            for mark in tie {
                match mark.finding {
                    Some(finding) => _ = hit.insert(finding),
                    None => false_positives += 1,
                }
            }
            points.push(FrocPoint {
                false_positives_per_scan: false_positives as f64 / scans as f64,
                sensitivity: hit.len() as f64 / findings as f64,
                threshold: Some(tie[0].score),
            });
        }
        if hit.len() > findings {
            return Err(Error::Work(format!("candidates hit {} of {findings} findings", hit.len())));
        }
        Ok(Self { points })
    }

    /// The sensitivity at so many false positives a scan: linear between points, the higher of two at
    /// one place, and beyond the last point its sensitivity (NumPy's `interp`, as in LUNA16's script).
    pub fn sensitivity_at(&self, false_positives_per_scan: f64) -> f64 {
        let after =
            self.points.partition_point(|point| point.false_positives_per_scan <= false_positives_per_scan);
        let Some(below) = after.checked_sub(1).map(|at| self.points[at]) else { return 0.0 };
        let Some(above) = self.points.get(after) else { return below.sensitivity };
        let share = (false_positives_per_scan - below.false_positives_per_scan)
            / (above.false_positives_per_scan - below.false_positives_per_scan);
        below.sensitivity + (above.sensitivity - below.sensitivity) * share
    }

    /// Sensitivities at [`FALSE_POSITIVE_RATES`] and their mean.
    pub fn scores(&self) -> FrocScores {
        let sensitivities = FALSE_POSITIVE_RATES.map(|rate| self.sensitivity_at(rate));
        FrocScores {
            false_positives_per_scan: FALSE_POSITIVE_RATES.to_vec(),
            cpm: sensitivities.iter().sum::<f64>() / sensitivities.len() as f64,
            sensitivities: sensitivities.to_vec(),
        }
    }
}

/// A candidate in space.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Number of its scan.
    pub scan: usize,
    /// Its position in mm, in the same frame as the findings'.
    pub position_mm: [f64; 3],
    /// Its score.
    pub score: f64,
}

/// A reference finding in space.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Finding {
    /// Number of its scan.
    pub scan: usize,
    /// Its centre in mm.
    pub centre_mm: [f64; 3],
    /// Its diameter in mm.
    pub diameter_mm: f64,
    /// Whether it must be found; a candidate on one that need not be (LUNA16's "irrelevant findings")
    /// is neither a hit nor a false positive.
    pub counts: bool,
}

/// Finds what each candidate hits: findings of its scan whose centre is nearer than their radius. A
/// candidate on several findings hits each. The numbers in the marks are indices into `findings`.
pub fn match_candidates(candidates: &[Candidate], findings: &[Finding]) -> Vec<Mark> {
    let mut by_scan: std::collections::HashMap<usize, Vec<usize>> = std::collections::HashMap::new();
    for (number, finding) in findings.iter().enumerate() {
        by_scan.entry(finding.scan).or_default().push(number);
    }
    let mut marks = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        let here = by_scan.get(&candidate.scan).map_or(&[][..], Vec::as_slice);
        let on = |finding: &Finding| {
            let square: f64 =
                (0..3).map(|axis| (finding.centre_mm[axis] - candidate.position_mm[axis]).powi(2)).sum();
            square < (0.5 * finding.diameter_mm).powi(2)
        };
        let hits: Vec<usize> = here.iter().copied().filter(|&number| on(&findings[number])).collect();
        let score = candidate.score;
        if hits.is_empty() {
            marks.push(Mark { score, finding: None });
        }
        let counted = hits.into_iter().filter(|&number| findings[number].counts);
        marks.extend(counted.map(|number| Mark { score, finding: Some(number) }));
    }
    marks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(score: f64, finding: Option<usize>) -> Mark {
        Mark { score, finding }
    }

    #[test]
    fn a_curve_by_hand() {
        let marks = [
            mark(0.9, Some(7)),
            mark(0.8, None),
            mark(0.7, Some(7)),
            mark(0.6, Some(3)),
            mark(0.6, None),
            mark(0.1, None),
        ];
        let froc = Froc::new(&marks, 4, 2).unwrap();
        let points: Vec<_> =
            froc.points.iter().map(|p| (p.false_positives_per_scan, p.sensitivity)).collect();
        assert_eq!(points, [(0.0, 0.0), (0.0, 0.25), (0.5, 0.25), (0.5, 0.25), (1.0, 0.5), (1.5, 0.5)]);
        let want = [0.25, 0.25, 0.25, 0.5, 0.5, 0.5, 0.5];
        assert_eq!(froc.scores().sensitivities, want);
        assert_eq!(froc.scores().cpm, 2.75 / 7.0);
        assert_eq!(froc.sensitivity_at(0.75), 0.375);
    }

    #[test]
    fn no_candidates_find_nothing() {
        assert_eq!(Froc::new(&[], 3, 2).unwrap().scores().cpm, 0.0);
    }

    #[test]
    fn bad_input_is_named() {
        assert!(Froc::new(&[], 0, 1).is_err() && Froc::new(&[], 1, 0).is_err());
        assert!(Froc::new(&[mark(f64::NAN, None)], 1, 1).unwrap_err().to_string().contains("candidate 0"));
        assert!(Froc::new(&[mark(0.1, Some(0)), mark(0.2, Some(1))], 1, 1).is_err());
    }

    #[test]
    fn candidates_hit_what_they_lie_on() {
        let finding =
            |scan, x, diameter_mm, counts| Finding { scan, centre_mm: [x, 0.0, 0.0], diameter_mm, counts };
        let findings =
            [finding(0, 0.0, 10.0, true), finding(0, 8.0, 10.0, true), finding(1, 50.0, 6.0, false)];
        let candidate = |scan, x, score| Candidate { scan, position_mm: [x, 0.0, 0.0], score };
        let candidates = [
            candidate(0, 4.0, 0.1),
            candidate(0, -5.0, 0.2),
            candidate(1, 4.0, 0.3),
            candidate(1, 50.0, 0.4),
            candidate(0, 9.0, 0.5),
        ];
        let want =
            [mark(0.1, Some(0)), mark(0.1, Some(1)), mark(0.2, None), mark(0.3, None), mark(0.5, Some(1))];
        assert_eq!(match_candidates(&candidates, &findings), want);
    }
}
