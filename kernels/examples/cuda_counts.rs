//! Exact counts of every CUDA kernel on a named shape, by the emulator of the tests, for `cargo xtask cuda`: a line a
//! kernel, its cells parted by tabs. They are counts of the PTX, before any cache; no time is among them.

#[allow(dead_code, reason = "tests use the rest")]
#[path = "../tests/cuda/card.rs"]
mod card;
#[path = "../tests/cuda/scenes.rs"]
mod scenes;

use std::collections::BTreeSet;

fn main() {
    let mut known = BTreeSet::new();
    for scene in scenes::all() {
        let mut card = card::Card::default().counting();
        (scene.run)(&mut card);
        for ((name, counters), [read, written]) in card.counters.iter().zip(&card.touched) {
            if !known.insert(*name) {
                continue;
            }
            let mut numbers = Vec::new();
            for traffic in [counters.loads, counters.stores] {
                numbers.extend([traffic.requests, traffic.sectors, traffic.bytes]);
            }
            numbers.extend([counters.shared.wavefronts, counters.shared.ideal]);
            numbers.extend([counters.barriers, counters.divergences]);
            numbers.extend([counters.flops, counters.matrix_flops, *read, *written]);
            let cells: Vec<String> = numbers.iter().map(u64::to_string).collect();
            println!("{name}\t{}\t{}", scene.shape, cells.join("\t"));
        }
    }
}
