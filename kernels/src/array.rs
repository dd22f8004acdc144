//! The f64 arrays of the references: a shape and a `Vec`, nothing clever.

use genesis_tensor::{DType, Shape, Tensor};

/// A dense row-major array of f64.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// The extents.
    pub shape: Shape,
    /// The elements, row-major.
    pub values: Vec<f64>,
}

impl Array {
    /// An array of zeros.
    pub fn zeros(shape: impl Into<Shape>) -> Self {
        let shape = shape.into();
        Self { values: vec![0.0; shape.elements()], shape }
    }

    /// The elements of a tensor, widened.
    pub fn from_tensor(tensor: &Tensor) -> Self {
        let values = match tensor.dtype() {
            DType::F32 => tensor.as_slice().iter().map(|&v| f64::from(v)).collect(),
            DType::Bf16 => tensor.as_bf16().iter().map(|v| v.to_f64()).collect(),
        };
        Self { shape: tensor.shape(), values }
    }

    /// The same shape with `f` applied to every element.
    pub fn map(&self, f: impl Fn(f64) -> f64) -> Self {
        Self { shape: self.shape, values: self.values.iter().map(|&v| f(v)).collect() }
    }

    /// The same shape with `f` applied to pairs of elements.
    pub fn zip(&self, other: &Self, f: impl Fn(f64, f64) -> f64) -> Self {
        assert_eq!(self.shape, other.shape);
        Self {
            shape: self.shape,
            values: self.values.iter().zip(&other.values).map(|(&a, &b)| f(a, b)).collect(),
        }
    }

    /// Position of `[n, d, h, w, c]` in a rank-5 array.
    pub fn at(&self, index: [usize; 5]) -> usize {
        let dims = self.shape.dims();
        index.iter().zip(dims).fold(0, |position, (&i, &extent)| position * extent + i)
    }

    /// `‖self - reference‖ / ‖reference‖` in the Euclidean norm; infinite if either holds a NaN that
    /// the other does not, or if shapes differ. A reference of zeros compares absolutely.
    pub fn relative_error(&self, reference: &Self) -> f64 {
        if self.shape != reference.shape {
            return f64::INFINITY;
        }
        let (mut difference, mut size) = (0.0, 0.0);
        for (&a, &b) in self.values.iter().zip(&reference.values) {
            if a == b || (a.is_nan() && b.is_nan()) {
                size += if b.is_finite() { b * b } else { 0.0 };
                continue;
            }
            difference += (a - b) * (a - b);
            size += b * b;
        }
        let error = if size > 0.0 { (difference / size).sqrt() } else { difference.sqrt() };
        if error.is_nan() { f64::INFINITY } else { error }
    }
}
