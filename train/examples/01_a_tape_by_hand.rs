//! Reverse-mode differentiation in a few lines: y = relu(w) twice over, by hand and by tape.
//!
//! ```text
//! cargo run --example 01_a_tape_by_hand
//! ```

use genesis_autograd::{ParameterId, Parameters, Tape};
use genesis_kernels::{Context, ops::activation::Activation};
use genesis_tensor::{Shape, Tensor};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cx = Context::new(1);
    let mut parameters = Parameters::new(&[("w".into(), Shape::new(&[3]))])?;
    parameters.values_mut(ParameterId(0))?.copy_from_slice(&[-1.0, 0.5, 2.0]);
    let mut gradients = parameters.zero_gradients()?;

    // Every operation applied to a variable is computed at once and noted on the tape.
    let mut tape = Tape::training();
    let w = tape.parameter(ParameterId(0), parameters.view(ParameterId(0))?);
    let y = tape.apply(&cx, Activation::Sigmoid, &[&w])?;
    println!("w        {:?}", w.tensor().as_slice());
    println!("sigmoid  {:?}", y.tensor().as_slice());
    drop(w);

    // Backwards: one loop over the notes, last to first. The seed is the gradient of y itself.
    let by_hand: Vec<f32> = y.tensor().as_slice().iter().map(|y| y * (1.0 - y)).collect();
    tape.backward(&cx, y, Tensor::full([3], 1.0)?, &mut gradients)?;
    println!("dy/dw    {:?}", gradients.of(ParameterId(0))?.as_slice());
    println!("by hand  {by_hand:?}");
    Ok(())
}
