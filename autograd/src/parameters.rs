//! Parameters and their gradients, each in one flat f32 buffer, so that an optimiser is one pass.

mod factors;

use crate::{Error, Result};
use genesis_kernels::{Context, elementwise};
use genesis_tensor::{Shape, Tensor};

/// Position of a parameter in its [`Parameters`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ParameterId(pub usize);

/// Where one parameter lies in the flat buffers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The parameter's name, as in a PyTorch state dict.
    pub name: String,
    /// Its extents, in PyTorch's order.
    pub shape: Shape,
    /// Its first element in the buffer.
    pub start: usize,
}

/// Named parameters over one flat buffer.
#[derive(Clone, Debug)]
pub struct Parameters {
    flat: Tensor,
    places: Vec<Place>,
    /// What multiplies each parameter's learning rate.
    factors: Vec<f32>,
}

impl Parameters {
    /// Zero-valued parameters of the given names and shapes, in this order.
    ///
    /// # Errors
    /// A name that occurs twice; [`genesis_tensor::Error::OutOfMemory`].
    pub fn new(list: &[(String, Shape)]) -> Result<Self> {
        let mut places: Vec<Place> = Vec::with_capacity(list.len());
        let mut start = 0;
        for (name, shape) in list {
            if places.iter().any(|place| place.name == *name) {
                return Err(Error::Parameter { name: name.clone(), cause: "occurs twice".into() });
            }
            places.push(Place { name: name.clone(), shape: *shape, start });
            // Every parameter starts on a cache line.
            start += shape.elements().next_multiple_of(16);
        }
        Ok(Self { flat: Tensor::zeros([start])?, factors: vec![1.0; places.len()], places })
    }

    /// Where every parameter lies.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// Number of trainable values.
    pub fn count(&self) -> usize {
        self.places.iter().map(|place| place.shape.elements()).sum()
    }

    /// A view of one parameter. While views live, writing to the parameters copies the buffer; a
    /// tape drops its views during the backward pass.
    ///
    /// # Errors
    /// An id of another set.
    pub fn view(&self, id: ParameterId) -> Result<Tensor> {
        view(&self.flat, &self.places, id)
    }

    /// The values of one parameter, to write.
    ///
    /// # Errors
    /// As [`Parameters::view`].
    pub fn values_mut(&mut self, id: ParameterId) -> Result<&mut [f32]> {
        let place = place(&self.places, id)?;
        let range = place.start..place.start + place.shape.elements();
        Ok(&mut self.flat.as_mut_slice()?[range])
    }

    /// Brings the buffer to where `cx` computes.
    ///
    /// # Errors
    /// Memory; a card that failed.
    pub fn place(&mut self, cx: &Context) -> Result<()> {
        self.flat = cx.place(&self.flat)?;
        Ok(())
    }

    /// Brings the buffer to main memory, where [`Parameters::values_mut`] can write.
    ///
    /// # Errors
    /// As [`Parameters::place`].
    pub fn fetch(&mut self) -> Result<()> {
        self.flat = self.flat.to_host()?;
        Ok(())
    }

    /// The parameters in main memory; a clone if they are there.
    ///
    /// # Errors
    /// As [`Parameters::place`].
    pub fn to_host(&self) -> Result<Self> {
        Ok(Self { flat: self.flat.to_host()?, ..self.clone() })
    }

    /// Lets one parameter follow `batch`: p ← (1 - momentum)·p + momentum·factor·batch.
    ///
    /// # Errors
    /// As [`Parameters::view`]; another number of values.
    pub fn follow(
        &mut self,
        cx: &Context,
        id: ParameterId,
        batch: &Tensor,
        momentum: f32,
        factor: f32,
    ) -> Result<()> {
        let start = place(&self.places, id)?.start;
        Ok(elementwise::follow(cx, &mut self.flat, start, batch, momentum, factor)?)
    }

    /// The whole buffer (parameters are padded to multiples of 16 values with zeros).
    pub fn flat(&self) -> &Tensor {
        &self.flat
    }

    /// The whole buffer, to write.
    pub fn flat_mut(&mut self) -> &mut Tensor {
        &mut self.flat
    }

    /// A gradient buffer of the same layout, all zeros.
    ///
    /// # Errors
    /// [`genesis_tensor::Error::OutOfMemory`].
    pub fn zero_gradients(&self) -> Result<Gradients> {
        let flat = Tensor::zeros(self.flat.shape())?;
        Ok(Gradients { flat, arrived: vec![true; self.places.len()], places: self.places.clone() })
    }
}

/// Gradients of [`Parameters`], in the same layout.
#[derive(Debug)]
pub struct Gradients {
    flat: Tensor,
    places: Vec<Place>,
    /// False where the buffer holds an earlier step's gradient, which the next one to arrive replaces.
    arrived: Vec<bool>,
}

impl Gradients {
    /// Adds to the gradient of one parameter.
    ///
    /// # Errors
    /// A shape other than the parameter's.
    pub fn add(&mut self, cx: &Context, id: ParameterId, gradient: &Tensor) -> Result<()> {
        let place = place(&self.places, id)?;
        if place.shape.elements() != gradient.elements() {
            let cause = format!("wanted a gradient {}, was given {}", place.shape, gradient.shape());
            return Err(Error::Parameter { name: place.name.clone(), cause });
        }
        let start = place.start;
        self.flat = cx.place(&self.flat)?;
        let add = std::mem::replace(&mut self.arrived[id.0], true);
        Ok(elementwise::accumulate(cx, &mut self.flat, start, gradient, add)?)
    }

    /// Gives a value to parameters no gradient has reached since [`Gradients::restart`]: zero.
    ///
    /// # Errors
    /// As [`Gradients::clear`].
    pub(crate) fn settle(&mut self, cx: &Context) -> Result<()> {
        if self.arrived.iter().all(|&arrived| arrived) {
            return Ok(());
        }
        self.flat = cx.place(&self.flat)?;
        for (place, arrived) in self.places.iter().zip(&mut self.arrived) {
            if !std::mem::replace(arrived, true) {
                let range = place.start..place.start + place.shape.elements();
                elementwise::fill(cx, &mut self.flat, range, 0.0)?;
            }
        }
        Ok(())
    }

    /// The gradient of one parameter.
    ///
    /// # Errors
    /// An id of another set.
    pub fn of(&self, id: ParameterId) -> Result<Tensor> {
        view(&self.flat, &self.places, id)
    }

    /// The whole buffer.
    pub fn flat(&self) -> &Tensor {
        &self.flat
    }

    /// The whole buffer, to write.
    pub fn flat_mut(&mut self) -> &mut Tensor {
        &mut self.flat
    }

    /// Sets every gradient to zero.
    ///
    /// # Errors
    /// [`genesis_tensor::Error::OutOfMemory`] if a view still shares the buffer.
    pub fn clear(&mut self, cx: &Context) -> Result<()> {
        self.flat = cx.place(&self.flat)?;
        let whole = 0..self.flat.elements();
        elementwise::fill(cx, &mut self.flat, whole, 0.0)?;
        self.arrived.fill(true);
        Ok(())
    }

    /// [`Gradients::clear`] without its pass over memory, for a backward pass that follows: until then
    /// the values are unspecified.
    pub fn restart(&mut self) {
        self.arrived.fill(false);
    }
}

fn place(places: &[Place], id: ParameterId) -> Result<&Place> {
    places
        .get(id.0)
        .ok_or_else(|| Error::Parameter { name: format!("#{}", id.0), cause: "does not exist".into() })
}

fn view(flat: &Tensor, places: &[Place], id: ParameterId) -> Result<Tensor> {
    let place = place(places, id)?;
    Ok(flat.window(place.start, place.shape)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_views_of_one_buffer() {
        let list = [("a".to_string(), Shape::new(&[2, 3])), ("b".to_string(), Shape::new(&[5]))];
        let mut parameters = Parameters::new(&list).unwrap();
        parameters.values_mut(ParameterId(1)).unwrap().fill(2.0);
        assert_eq!(parameters.view(ParameterId(1)).unwrap().as_slice(), [2.0; 5]);
        assert_eq!(parameters.view(ParameterId(0)).unwrap().as_slice(), [0.0; 6]);
        assert_eq!(parameters.flat().as_slice()[16..21], [2.0; 5]);
        assert_eq!(parameters.count(), 11);
        assert!(parameters.view(ParameterId(2)).is_err());
        let twice = [("a".to_string(), Shape::new(&[1])), ("a".to_string(), Shape::new(&[1]))];
        assert!(Parameters::new(&twice).is_err());
    }

    #[test]
    fn after_a_restart_the_first_gradient_replaces_and_what_none_reaches_is_zero() {
        let cx = Context::new(2);
        let list = [("a".to_string(), Shape::new(&[20_000])), ("b".to_string(), Shape::new(&[5]))];
        let mut gradients = Parameters::new(&list).unwrap().zero_gradients().unwrap();
        let [a, b] = [20_000, 5].map(|count| Tensor::full([count], 1.5).unwrap());
        for (id, gradient) in [(0, &a), (0, &a), (1, &b)] {
            gradients.add(&cx, ParameterId(id), gradient).unwrap();
        }
        assert!(gradients.of(ParameterId(0)).unwrap().as_slice().iter().all(|&g| g == 3.0));
        gradients.restart();
        gradients.add(&cx, ParameterId(0), &a).unwrap();
        gradients.settle(&cx).unwrap();
        assert!(gradients.of(ParameterId(0)).unwrap().as_slice().iter().all(|&g| g == 1.5));
        assert_eq!(gradients.of(ParameterId(1)).unwrap().as_slice(), [0.0; 5]);
        gradients.add(&cx, ParameterId(0), &a).unwrap();
        assert!(gradients.of(ParameterId(0)).unwrap().as_slice().iter().all(|&g| g == 3.0));
    }
}
