//! The kernels for compute capability 9.0 alone: convolutions on warpgroups.

use crate::card::{Card, close};
use crate::convolution::moments;
use genesis_kernels::cuda::cases::{Convolution, on_hopper};
use genesis_kernels::cuda::{Format, Target};
use genesis_tensor::Shape;

/// Output and every gradient within their tolerances, the same bits in a second run, by these kernels and no other.
fn check(cases: &[Convolution]) {
    for case in cases {
        let [first, second] = [(); 2].map(|()| {
            let mut card = Card::on(Target::Sm90a);
            let parts = case.run(&mut card).unwrap();
            let products = card.counters.iter().filter(|(name, _)| name.contains("_hopper_"));
            assert_eq!(products.count(), 2 + case.channels.len(), "{}", case.label());
            parts
        });
        for (part, other) in first.iter().zip(&second) {
            let label = format!("{}: {}", case.label(), part.name);
            close(&label, &part.found, &part.wanted, part.tolerance);
            assert_eq!(part.found.values, other.found.values, "{label}");
        }
    }
}

/// Some of the cases that `genesis selftest --device cuda:0` runs all of: two inputs, part boxes, both tiles.
#[test]
fn convolutions() {
    let [plain, transposed] = on_hopper(Format::Bf16);
    check(&plain[..3]);
    check(&plain[6..8]);
    check(&transposed[..2]);
    let [plain, transposed] = on_hopper(Format::F16);
    check(&[&plain[4..5], &transposed[2..3]].concat());
}

/// Boxes that fill the result write moments; where they do not, the other kernels do, whose last piece may be short.
#[test]
fn moments_of_the_epilogue() {
    for (image, hopper) in [([2, 8, 8, 8], true), ([1, 8, 16, 32], true), ([3, 8, 8, 7], false)] {
        let [n, d, h, w] = image;
        let shapes = [Shape::from([n, d, h, w, 64]), Shape::from([128, 64, 1, 1, 1]), Shape::from([128])];
        let mut card = Card::on(Target::Sm90a);
        moments(&mut card, shapes);
        let ran = card.counters.iter().any(|(name, _)| name.contains("_hopper_"));
        assert_eq!(ran, hopper, "{image:?}");
    }
}
