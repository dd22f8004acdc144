//! One operation, its f64 reference and its cost: how every kernel here is checked.
//!
//! ```text
//! cargo run --example 02_an_operation_and_its_reference
//! ```

use genesis_kernels::case::{Case, Input, Runnable};
use genesis_kernels::ops::conv3d::Conv3d;
use genesis_kernels::{Context, Isa};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let inputs = vec![Input::normal([1, 6, 7, 8, 5]), Input::normal([9, 5, 3, 3, 3]), Input::normal([9])];
    let case = Case::new("3x3x3, odd extents", Conv3d::same(3), inputs);
    println!("{}: {:?}", case.label(), case.cost());
    println!("reference against central differences: {:?}", case.gradient()?);
    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
        println!("{isa} against the reference: {:?}", case.parity(&Context::with_isa(2, isa))?);
    }
    Ok(())
}
