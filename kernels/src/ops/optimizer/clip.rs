//! The length of the gradient as a vector, and a limit to it (Pascanu et al., ICML 2013).

use super::card;
use crate::cpu::{PIECE, sum_pieces};
use crate::{Context, Result};
use genesis_tensor::Tensor;

/// The Euclidean norm of all gradients, summed in f64 in an order that no number of threads changes.
/// NaN or infinity in a gradient shows in it.
///
/// # Errors
/// A card that failed.
pub fn gradient_norm(cx: &Context, gradients: &Tensor) -> Result<f64> {
    if let Some(card) = &cx.card {
        return card::gradient_norm(card, gradients);
    }
    let [sum] = sum_pieces(cx, [gradients.as_slice()], |[g]| [f64::from(g) * f64::from(g)]);
    Ok(sum.sqrt())
}

/// Scales the gradients to the norm `limit` if theirs is larger, and returns what it was: PyTorch's
/// `clip_grad_norm_`, factor limit / (norm + 1e-6). A norm that is NaN or infinite leaves the gradients as
/// they are; the caller sees it in the result.
///
/// # Errors
/// When the gradients are shared with another tensor and memory for a copy runs out.
pub fn clip_gradients(cx: &Context, gradients: &mut Tensor, limit: f64) -> Result<f64> {
    if let Some(card) = &cx.card {
        return card::clip_gradients(card, gradients, limit);
    }
    let norm = gradient_norm(cx, gradients)?;
    let factor = limit / (norm + 1e-6);
    if factor < 1.0 && norm.is_finite() {
        let factor = factor as f32;
        cx.pool.run_pieces(gradients.as_mut_slice()?, PIECE, |_, piece| {
            cx.isa.run(|| piece.iter_mut().for_each(|g| *g *= factor));
        });
    }
    Ok(norm)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_norm_is_that_of_the_whole_vector_for_any_number_of_threads() {
        let values: Vec<f32> = (0..50_003).map(|i| ((i * 37 % 101) as f32 - 50.0) / 17.0).collect();
        let wanted = values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
        let gradients = Tensor::from_slice([values.len()], &values).unwrap();
        let norms = [1, 2, 5].map(|threads| gradient_norm(&Context::new(threads), &gradients).unwrap());
        assert!((norms[0] / wanted - 1.0).abs() < 1e-12);
        assert!(norms.iter().all(|norm| norm.to_bits() == norms[0].to_bits()));
    }

    #[test]
    fn only_what_is_too_long_is_clipped() {
        let cx = Context::new(2);
        let mut gradients = Tensor::from_slice([2], &[3.0, 4.0]).unwrap();
        assert_eq!(clip_gradients(&cx, &mut gradients, 6.0).unwrap(), 5.0);
        assert_eq!(gradients.as_slice(), [3.0, 4.0]);
        assert_eq!(clip_gradients(&cx, &mut gradients, 1.0).unwrap(), 5.0);
        assert!((gradient_norm(&cx, &gradients).unwrap() - 1.0).abs() < 1e-6);
        let mut bad = Tensor::from_slice([2], &[f32::NAN, 4.0]).unwrap();
        assert!(clip_gradients(&cx, &mut bad, 1.0).unwrap().is_nan());
        assert_eq!(bad.as_slice()[1], 4.0);
    }
}
