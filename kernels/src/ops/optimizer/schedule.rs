//! Learning rates over time: pure functions, nothing to save or restore.

/// A schedule. Time is counted in whatever unit the caller passes to [`Schedule::rate`], epochs or steps,
/// from 0.
///
/// ```
/// use genesis_kernels::ops::optimizer::Schedule;
/// // The original: halved every 40 epochs.
/// let schedule = Schedule::Step { every: 40, factor: 0.5 };
/// assert_eq!([0, 39, 40, 80].map(|epoch| schedule.rate(1.0, epoch)), [1.0, 1.0, 0.5, 0.25]);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Schedule {
    /// Always the base rate.
    Constant,
    /// base · factor^⌊time / every⌋ (PyTorch's `StepLR`). An `every` of 0 never decays.
    Step {
        /// Time between decays.
        every: u64,
        /// Factor of each decay.
        factor: f32,
    },
    /// Half a cosine from the base rate at time 0 down to `floor` at time `length`, and `floor` from then
    /// on (Loshchilov and Hutter, *SGDR*, 2017, without restarts).
    Cosine {
        /// Time at which the floor is reached.
        length: u64,
        /// The lowest rate.
        floor: f32,
    },
    /// base · (1 - time / length)^power, and 0 from `length` on (the "poly" policy of Chen et al., *DeepLab*,
    /// 2017; nnU-Net's, with power 0.9).
    Polynomial {
        /// Time at which 0 is reached.
        length: u64,
        /// The exponent, above 0.
        power: f32,
    },
    /// A straight line up: base · (time + 1) / length while time < length. Then the other schedule,
    /// which counts from the end of the warm-up.
    WarmUp {
        /// Duration of the warm-up.
        length: u64,
        /// What follows.
        then: Box<Schedule>,
    },
}

impl Schedule {
    /// The learning rate at `time`.
    pub fn rate(&self, base: f32, time: u64) -> f32 {
        self.precise(f64::from(base), time) as f32
    }

    fn precise(&self, base: f64, time: u64) -> f64 {
        match self {
            Self::Constant => base,
            Self::Step { every, factor } => {
                base * f64::from(*factor).powf(time.checked_div(*every).unwrap_or(0) as f64)
            }
            Self::Cosine { length, floor } => {
                let floor = f64::from(*floor);
                if time >= *length {
                    return floor;
                }
                let angle = std::f64::consts::PI * time as f64 / *length as f64;
                floor + (base - floor) * 0.5 * (1.0 + angle.cos())
            }
            Self::Polynomial { length, power } => {
                let left = length.saturating_sub(time) as f64 / (*length).max(1) as f64;
                base * left.powf(f64::from(*power))
            }
            Self::WarmUp { length, then } => match time.checked_sub(*length) {
                None => base * (time + 1) as f64 / *length as f64,
                Some(time) => then.precise(base, time),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_and_constants() {
        assert_eq!(Schedule::Constant.rate(0.3, 12_345), 0.3);
        let step = Schedule::Step { every: 3, factor: 0.1 };
        let rates = [0, 2, 3, 5, 6].map(|time| step.rate(2.0, time));
        for (given, wanted) in rates.iter().zip([2.0, 2.0, 0.2, 0.2, 0.02]) {
            assert!((given - wanted).abs() < 1e-8, "{given} for {wanted}");
        }
        assert_eq!(Schedule::Step { every: 0, factor: 0.5 }.rate(1.0, u64::MAX), 1.0);
    }

    #[test]
    fn the_cosine_goes_from_base_to_floor_and_stays() {
        let cosine = Schedule::Cosine { length: 10, floor: 0.1 };
        assert_eq!(cosine.rate(1.0, 0), 1.0);
        assert!((cosine.rate(1.0, 5) - 0.55).abs() < 1e-7);
        assert_eq!(cosine.rate(1.0, 10), 0.1);
        assert_eq!(cosine.rate(1.0, u64::MAX), 0.1);
        assert_eq!(Schedule::Cosine { length: 0, floor: 0.1 }.rate(1.0, 0), 0.1);
    }

    #[test]
    fn the_polynomial_falls_to_zero_and_stays() {
        let line = Schedule::Polynomial { length: 10, power: 1.0 };
        assert_eq!([0, 5, 10, 11, u64::MAX].map(|time| line.rate(1.0, time)), [1.0, 0.5, 0.0, 0.0, 0.0]);
        let nnunet = Schedule::Polynomial { length: 1000, power: 0.9 };
        assert!((nnunet.rate(0.01, 500) - 0.01 * 0.5f32.powf(0.9)).abs() < 1e-8);
        assert_eq!(Schedule::Polynomial { length: 0, power: 0.9 }.rate(1.0, 0), 0.0);
    }

    #[test]
    fn the_warm_up_rises_in_a_line_and_hands_over() {
        let schedule =
            Schedule::WarmUp { length: 4, then: Box::new(Schedule::Step { every: 2, factor: 0.5 }) };
        let rates = [0, 1, 2, 3, 4, 5, 6].map(|time| schedule.rate(1.0, time));
        assert_eq!(rates, [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 0.5]);
        let none = Schedule::WarmUp { length: 0, then: Box::new(Schedule::Constant) };
        assert_eq!(none.rate(1.0, 0), 1.0);
    }
}
