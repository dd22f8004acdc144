//! Synthetic chest CT: a whole thorax in Hounsfield units with labels, from a seed.
//!
//! The phantom gives demonstrations and tests a volume that behaves like a scan (lungs with vessels
//! and bronchi, heart, great vessels, bones, liver, nodules, partial volume effect, correlated
//! noise) where no patient's data may be shipped. Anatomy is defined in millimetres, so the same
//! `(seed, index)` shows the same patient at any size and spacing that leaves the field of view as
//! it is; another index is another patient.
//!
//! ```
//! use genesis_train::phantom::{PhantomConfig, generate};
//! let config = PhantomConfig::new([48, 48, 40], 1, 0);
//! let phantom = generate(&config, 1)?;
//! assert_eq!(phantom.hounsfield.len(), 48 * 48 * 40);
//! # Ok::<(), genesis_train::Error>(())
//! ```

mod body;
mod contour;
mod dataset;
mod geometry;
mod lungs;
mod nodules;
mod organs;
mod paint;
mod pulmonary;
mod render;
mod shape;
mod skeleton;
#[cfg(test)]
mod tests;
mod texture;
mod tissue;
mod tree;

pub use dataset::{write_dataset, write_volume};
pub use nodules::{Nodule, NoduleKind};
pub use render::generate;

/// The values of a label map.
pub mod label {
    /// Air around the patient and every tissue without a label of its own.
    pub const BACKGROUND: u8 = 0;
    /// Lung tissue, without the vessels and airways in it.
    pub const LUNG: u8 = 1;
    /// Nodules.
    pub const NODULE: u8 = 2;
    /// Muscle and chambers of the heart.
    pub const HEART: u8 = 3;
    /// Liver, without its veins.
    pub const LIVER: u8 = 4;
    /// Bones: spine, ribs, breastbone, collarbones, shoulder blades.
    pub const BONE: u8 = 5;
    /// Blood vessels of mediastinum, lungs and liver.
    pub const VESSEL: u8 = 6;
    /// Air in windpipe and bronchi.
    pub const AIRWAY: u8 = 7;
    /// `(label, lowest, highest)` mean HU over the voxels of a label, with and without contrast
    /// medium; edges shared with air pull lung and airways up and thin vessels and bones down.
    pub const MEAN_HOUNSFIELD: [(u8, f64, f64); 7] = [
        (BACKGROUND, -850.0, -550.0),
        (LUNG, -860.0, -720.0),
        (HEART, 30.0, 200.0),
        (LIVER, 40.0, 130.0),
        (BONE, 200.0, 450.0),
        (VESSEL, -20.0, 220.0),
        (AIRWAY, -1000.0, -880.0),
    ];
    /// The name of every value, in order.
    pub const NAMES: [&str; 8] =
        ["background", "lung", "nodule", "heart", "liver", "bone", "vessel", "airway"];
}

/// Extent in millimetres that a phantom shows unless a spacing is given: it holds the whole chest.
pub const FIELD_OF_VIEW: [f64; 3] = [360.0, 360.0, 300.0];

/// What to generate.
#[derive(Clone, Debug, PartialEq)]
pub struct PhantomConfig {
    /// Voxels along right, anterior and superior.
    pub size: [usize; 3],
    /// Voxel edge lengths in millimetres; the default spreads [`FIELD_OF_VIEW`] over the size.
    pub spacing: [f64; 3],
    /// Seed of the whole collection.
    pub seed: u64,
    /// Which patient of the collection.
    pub index: u64,
    /// Number of nodules; `None` draws 1 to 5. Fewer are placed where the lung leaves no room.
    pub nodules: Option<usize>,
    /// Standard deviation of the scanner's noise in HU in the middle of the body.
    pub noise: f64,
}

impl PhantomConfig {
    /// A whole chest of `size` voxels.
    pub fn new(size: [usize; 3], seed: u64, index: u64) -> Self {
        let spacing = std::array::from_fn(|k| FIELD_OF_VIEW[k] / size[k].max(1) as f64);
        Self { size, spacing, seed, index, nodules: None, noise: 13.0 }
    }
}

/// A synthetic chest CT; arrays are `[x][y][z]` with z fastest, axes right, anterior, superior.
#[derive(Clone, Debug, PartialEq)]
pub struct Phantom {
    /// Voxels per axis.
    pub size: [usize; 3],
    /// Voxel edge lengths in millimetres.
    pub spacing: [f64; 3],
    /// Intensities in Hounsfield units, -1024 to 3071.
    pub hounsfield: Vec<i16>,
    /// One value of [`label`] per voxel.
    pub labels: Vec<u8>,
    /// The nodules, in the order they were placed.
    pub nodules: Vec<Nodule>,
}

impl Phantom {
    /// Voxel index to world millimetres (RAS) with the volume's centre at the origin.
    pub fn affine(&self) -> [[f64; 4]; 4] {
        let mut affine = [[0.0; 4]; 4];
        for k in 0..3 {
            affine[k][k] = self.spacing[k];
            affine[k][3] = -0.5 * (self.size[k] as f64 - 1.0) * self.spacing[k];
        }
        affine[3][3] = 1.0;
        affine
    }
}
