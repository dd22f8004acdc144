//! From a configuration to the finished volume, slab by slab.

use super::body::Body;
use super::geometry::{Grid, smoothstep};
use super::lungs::Lungs;
use super::nodules::{self, Lesion};
use super::organs::Organs;
use super::paint::{Over, Slab, Solid};
use super::pulmonary;
use super::shape::Shape;
use super::skeleton::skeleton;
use super::texture::ScannerNoise;
use super::tissue::Background;
use super::tree::{Growth, grow};
use super::{Phantom, PhantomConfig, label};
use crate::error::{Error, Result};
use crate::workers::on_threads;
use genesis_tensor::random::{Purpose, Stream};
use std::sync::Mutex;

/// Planes per unit of work; fixed, so that results do not depend on the number of threads.
const SLAB: usize = 8;
/// Voxels of a volume of 2048 x 2048 x 512, beyond any chest CT.
const MOST_VOXELS: usize = 1 << 31;

fn check(config: &PhantomConfig) -> Result<()> {
    let [x, y, z] = config.size;
    let voxels = x.checked_mul(y).and_then(|v| v.checked_mul(z));
    if !voxels.is_some_and(|v| (1..=MOST_VOXELS).contains(&v)) {
        return Err(Error::Usage(format!(
            "a phantom of {x}x{y}x{z} voxels: every side must be at least 1 and the whole at most {MOST_VOXELS} voxels"
        )));
    }
    if let Some(bad) = config.spacing.iter().find(|s| !(0.05..=400.0).contains(*s)) {
        return Err(Error::Usage(format!("voxel spacing {bad} mm: must lie between 0.05 and 400")));
    }
    if !(0.0..=500.0).contains(&config.noise) {
        return Err(Error::Usage(format!("noise of {} HU: must lie between 0 and 500", config.noise)));
    }
    if config.nodules.is_some_and(|n| n > 200) {
        return Err(Error::Usage("more than 200 nodules do not fit a lung".into()));
    }
    Ok(())
}

/// Generates one phantom on up to `threads` threads; the result depends on `config` alone.
///
/// # Errors
/// [`Error::Usage`] for a size, spacing, noise or number of nodules that cannot be used.
pub fn generate(config: &PhantomConfig, threads: usize) -> Result<Phantom> {
    check(config)?;
    let grid = Grid { size: config.size, spacing: config.spacing.map(|s| s as f32) };
    let mut stream = Stream::new(config.seed, 0, config.index, Purpose::Phantom);
    let body = Body::new(&mut stream);
    let organs = Organs::new(&body, &mut stream);
    let lungs = Lungs::new(&body, &organs.bulges);
    let mut solids: Vec<Solid> = Vec::new();
    let pulmonary = pulmonary::trees(&body, &lungs, &organs, &mut stream);
    solids.extend(organs.solids);
    solids.extend(liver_veins(&body, &mut stream));
    solids.extend(skeleton(&body));
    solids.extend(organs.airways);
    solids.extend(pulmonary);
    solids.extend(organs.air);
    for solid in &mut solids {
        solid.shape = solid.shape.to_view(&body);
    }
    let count = config.nodules.unwrap_or_else(|| stream.between(1, 5));
    let mut lesions = nodules::place(&body, &lungs, &grid, &solids, count, &mut stream);
    for lesion in &mut lesions {
        solids.append(&mut lesion.spikes);
    }
    let solids: Vec<_> = solids
        .into_iter()
        .map(|solid| {
            let [low, high] = solid.painted(&grid);
            let reach = grid.range(0, low[0], high[0]);
            (solid, reach)
        })
        .collect();
    let scene = Scene {
        background: Background::new(&body, &lungs, &grid),
        noise: ScannerNoise::new(&grid, config.seed, config.index),
        amplitude: config.noise as f32,
        body: &body,
        grid: &grid,
        solids: &solids,
        lesions: &lesions,
    };
    let (hounsfield, labels) = scene.render(threads);
    let nodules = lesions.into_iter().map(|lesion| lesion.nodule).collect();
    Ok(Phantom { size: config.size, spacing: config.spacing, hounsfield, labels, nodules })
}

/// The veins of the liver, which gather at the inferior vena cava under the diaphragm.
fn liver_veins(body: &Body, stream: &mut Stream) -> Vec<Solid> {
    let tips = (0..150)
        .map(|_| {
            let mut between = |low: f32, high: f32| low + (high - low) * stream.uniform();
            body.place(between(5.0, 105.0), between(-60.0, 60.0), between(-148.0, -72.0))
        })
        .collect();
    let growth = Growth { tip: 0.9, widest: 5.0, advance: 0.42 };
    let root = body.place(23.0, -4.0, -84.0);
    let hounsfield = 36.0 + 0.75 * body.contrast;
    grow(root, [0.6, 0.2, -0.6], tips, growth, stream)
        .iter()
        .flat_map(|branch| {
            let radii = [branch.radii[0], branch.radii[1]];
            branch.path.windows(2).map(move |w| Shape::Tube { a: w[0], b: w[1], radii })
        })
        .map(|tube| Solid::new(tube, hounsfield, Some(label::VESSEL)).over(Over::Liver))
        .collect()
}

struct Scene<'a> {
    background: Background<'a>,
    noise: ScannerNoise<'a>,
    amplitude: f32,
    body: &'a Body,
    grid: &'a Grid,
    /// What to paint in order, with the x planes each solid touches.
    solids: &'a [(Solid, (usize, usize))],
    lesions: &'a [Lesion],
}

impl Scene<'_> {
    fn render(&self, threads: usize) -> (Vec<i16>, Vec<u8>) {
        let [nx, ny, nz] = self.grid.size;
        let plane = ny * nz;
        let mut hounsfield = vec![0i16; nx * plane];
        let mut labels = vec![label::BACKGROUND; nx * plane];
        {
            let slabs = hounsfield.chunks_mut(SLAB * plane).zip(labels.chunks_mut(SLAB * plane)).enumerate();
            let queue = Mutex::new(slabs);
            let work = || {
                loop {
                    // A poisoned queue means another worker panicked; its panic is the one to see.
                    let next = queue.lock().map(|mut slabs| slabs.next());
                    let Ok(Some((i, (hounsfield, labels)))) = next else { break };
                    self.slab(i * SLAB, hounsfield, labels);
                }
            };
            on_threads(threads.min(nx.div_ceil(SLAB)), work);
        }
        (hounsfield, labels)
    }

    fn slab(&self, first: usize, out: &mut [i16], labels: &mut [u8]) {
        let [_, ny, nz] = self.grid.size;
        let last = first + out.len() / (ny * nz);
        let mut slab = Slab { grid: self.grid, first, last, hounsfield: vec![0.0; out.len()], labels };
        self.background.fill(&mut slab);
        for (solid, _) in self.solids.iter().filter(|(_, reach)| reach.0 < last && reach.1 > first) {
            slab.paint(solid, &self.body.texture);
        }
        for lesion in self.lesions {
            lesion.paint(self.body, &mut slab);
        }
        let noise = self.noise.planes(first, last);
        for x in first..last {
            for y in 0..ny {
                let [px, py, _] =
                    self.body.to_patient([self.grid.coordinate(0, x), self.grid.coordinate(1, y), 0.0]);
                // Most photons are lost on the way to the middle of the body: noisiest there.
                let radius = (px * px + (1.4 * py) * (1.4 * py)).sqrt();
                let amplitude = self.amplitude * (1.0 - 0.55 * smoothstep(20.0, 190.0, radius));
                let row = ((x - first) * ny + y) * nz;
                for z in row..row + nz {
                    let value = slab.hounsfield[z] + amplitude * noise[z];
                    out[z] = value.round().clamp(-1024.0, 3071.0) as i16;
                }
            }
        }
    }
}
