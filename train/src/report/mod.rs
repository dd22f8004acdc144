//! What a run leaves for people to look at: pictures of cubes, loss curves, metrics as JSON lines,
//! TensorBoard events, the self-contained page of `genesis demo`, and the roofline of `genesis bench`.
//!
//! ```text
//! cubes, volumes ─ slice ─ montage ─┐
//!                                   ├─ picture ─ PNG ─┬─ samples/epoch-0001.png
//! metrics.jsonl ─ curves ───────────┘                 ├─ html     report.html
//!        └──────────── SVG ───────────────────────────┘  tensorboard events
//! ```

pub mod axis;
pub mod chart;
pub mod curves;
pub mod file;
pub mod html;
pub mod metrics;
pub mod montage;
pub mod picture;
mod placement;
pub mod roofline;
pub mod slice;
pub mod supersampled;
pub mod tensorboard;
