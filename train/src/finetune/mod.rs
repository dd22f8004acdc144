//! Fine-tuning for target tasks (floor 5): from labelled scans and pre-trained weights to a network
//! for the task.
//!
//! [`segment`] holds what only segmentation needs. Both tasks share the split of cases, the store that
//! keeps them in memory, and the network's start.
//!
//! The whole network is trained, its last layer drawn anew when the number of classes differs (Zhou et
//! al., *Models Genesis*, Medical Image Analysis 67 (2021) 101840).

mod network;
pub mod segment;
mod split;
mod store;

pub use segment::*;
pub use split::Split;
pub use store::CaseStore;
