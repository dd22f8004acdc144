//! Factors of the learning rate: frozen parameters and discriminative rates (Howard and Ruder, *ULMFiT*, 2018).

use super::{ParameterId, Parameters};
use crate::{Error, Result};
use std::ops::Range;

impl Parameters {
    /// Multiplies the learning rate of every parameter whose name starts with `prefix` ("" is all) by
    /// `factor` instead of what was set before, 1 at first. Returns how many parameters that are.
    ///
    /// A factor of 0 freezes them: no gradient is computed, and the optimiser changes neither their bits
    /// nor its state of them, weight decay included. Weight decay of AdamW follows the rate otherwise.
    ///
    /// # Errors
    /// A prefix no name starts with; a factor that is negative or not finite.
    pub fn set_factor(&mut self, prefix: &str, factor: f32) -> Result<usize> {
        let fail = |cause: String| Err(Error::Parameter { name: prefix.into(), cause });
        if !(factor >= 0.0 && factor.is_finite()) {
            return fail(format!("a learning-rate factor must not be negative, was given {factor}"));
        }
        let mut count = 0;
        for (place, old) in self.places.iter().zip(&mut self.factors) {
            if place.name.starts_with(prefix) {
                *old = factor;
                count += 1;
            }
        }
        match count {
            0 => fail("no parameter's name starts so".into()),
            count => Ok(count),
        }
    }

    /// The factor of one parameter's learning rate; 1 for an id of another set.
    pub fn factor(&self, id: ParameterId) -> f32 {
        self.factors.get(id.0).copied().unwrap_or(1.0)
    }

    /// True if the factor is 0.
    pub fn is_frozen(&self, id: ParameterId) -> bool {
        self.factor(id) == 0.0
    }

    /// True if any parameter is frozen.
    pub fn has_frozen(&self) -> bool {
        self.factors.contains(&0.0)
    }

    /// Number of values that are not frozen.
    pub fn trained_count(&self) -> usize {
        let trained = self.places.iter().zip(&self.factors).filter(|(_, factor)| **factor != 0.0);
        trained.map(|(place, _)| place.shape.elements()).sum()
    }

    /// The flat buffer cut into ranges of one factor, in order, for an optimiser: one range if all
    /// parameters have the same. Padding belongs to the parameter before it.
    pub fn groups(&self) -> Vec<(Range<usize>, f32)> {
        let ends = self.places.iter().skip(1).map(|place| place.start).chain([self.flat.elements()]);
        let mut groups: Vec<(Range<usize>, f32)> = Vec::new();
        for ((place, end), &factor) in self.places.iter().zip(ends).zip(&self.factors) {
            match groups.last_mut() {
                Some((range, last)) if *last == factor => range.end = end,
                _ => groups.push((place.start..end, factor)),
            }
        }
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use genesis_tensor::Shape;

    #[test]
    fn neighbours_of_one_factor_are_one_group_that_covers_the_padding() {
        let shapes = [("a.x", 3), ("a.y", 17), ("b", 16), ("c", 1)];
        let list = shapes.map(|(name, count)| (name.to_string(), Shape::new(&[count])));
        let mut parameters = Parameters::new(&list).unwrap();
        assert_eq!(parameters.groups(), [(0..80, 1.0)]);
        assert_eq!(parameters.set_factor("a.", 0.0).unwrap(), 2);
        assert_eq!(parameters.set_factor("c", 0.5).unwrap(), 1);
        assert_eq!(parameters.groups(), [(0..48, 0.0), (48..64, 1.0), (64..80, 0.5)]);
        assert!(parameters.is_frozen(ParameterId(1)) && !parameters.is_frozen(ParameterId(2)));
        assert_eq!((parameters.count(), parameters.trained_count()), (37, 17));
        assert_eq!(parameters.set_factor("", 1.0).unwrap(), 4);
        assert!(!parameters.has_frozen());
    }

    #[test]
    fn an_unknown_prefix_and_a_bad_factor_are_errors() {
        let mut parameters = Parameters::new(&[("a".to_string(), Shape::new(&[1]))]).unwrap();
        let error = parameters.set_factor("down_tr", 0.0).unwrap_err().to_string();
        assert!(error.contains("down_tr"), "{error}");
        for bad in [-1.0, f32::NAN, f32::INFINITY] {
            assert!(parameters.set_factor("a", bad).is_err());
        }
        assert_eq!(parameters.factor(ParameterId(0)), 1.0);
    }
}
