//! An executed operation as a line.

use super::event::{Speed, direction};
use genesis_autograd::Executed;

/// Direction, layer or operation, output, time, speed, share of the ceiling, bytes in use.
pub fn line(executed: &Executed, speed: &Speed, layer: Option<&str>) -> String {
    let format = format!("{:?}", executed.format).to_lowercase();
    format!(
        "trace: {:9} {:16} {:24} {:26} {format:4} {:9.3} ms {:8.1} GFLOP/s {:6.1} GB/s {:4.0} % {:6.3} GB live",
        direction(executed),
        executed.name,
        layer.unwrap_or("-"),
        executed.output.to_string(),
        executed.seconds * 1e3,
        speed.gflops,
        speed.gigabytes,
        100.0 * speed.share,
        executed.live_bytes as f64 / 1e9
    )
}
