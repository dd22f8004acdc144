//! Events of the Trace Event Format (the document by Duca and Sinclair that Chrome and Perfetto follow).

use super::Ceiling;
use genesis_autograd::Executed;
use genesis_tensor::Shape;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::time::Instant;

/// One event: "X", a complete one, or "C", a counter's value. Times in microseconds.
#[derive(Debug, Serialize)]
pub struct Event {
    name: &'static str,
    cat: &'static str,
    ph: &'static str,
    ts: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    dur: Option<f64>,
    pid: u32,
    tid: u32,
    args: Map<String, Value>,
}

/// How fast an operation ran, and how fast it could have run.
#[derive(Clone, Copy, Debug)]
pub struct Speed {
    pub gflops: f64,
    pub gigabytes: f64,
    /// Of the time the measured ceilings allow, 1 at best.
    pub share: f64,
}

impl Speed {
    pub fn new(executed: &Executed, ceiling: Ceiling) -> Self {
        let work = if executed.backward { executed.cost.backward } else { executed.cost.forward };
        let (flops, bytes) = (work.flops as f64, work.bytes as f64);
        let seconds = executed.seconds.max(1e-9);
        let least = (flops / ceiling.flops_per_second(executed.format)).max(bytes / ceiling.bytes_per_second);
        Self { gflops: flops / seconds / 1e9, gigabytes: bytes / seconds / 1e9, share: least / seconds }
    }
}

/// What an operation was run for.
pub fn direction(executed: &Executed) -> &'static str {
    match (executed.backward, executed.recomputed) {
        (true, _) => "backward",
        (false, true) => "recompute",
        (false, false) => "forward",
    }
}

fn microseconds(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_secs_f64() * 1e6
}

fn rounded(value: f64) -> Value {
    json!((value * 1000.0).round() / 1000.0)
}

impl Event {
    fn new(name: &'static str, cat: &'static str, ph: &'static str, ts: f64) -> Self {
        Self { name, cat, ph, ts, dur: None, pid: 1, tid: 1, args: Map::new() }
    }

    pub fn operation(executed: &Executed, speed: &Speed, layer: Option<&str>, origin: Instant) -> Self {
        let ts = microseconds(origin, executed.start);
        let mut event = Self::new(executed.name, direction(executed), "X", ts);
        event.dur = Some(executed.seconds * 1e6);
        let inputs: Vec<String> = executed.inputs.iter().map(Shape::to_string).collect();
        let mut put = |key: &str, value: Value| event.args.insert(key.to_string(), value);
        if let Some(layer) = layer {
            put("layer", json!(layer));
        }
        put("inputs", json!(inputs));
        put("output", json!(executed.output.to_string()));
        put("format", json!(format!("{:?}", executed.format).to_lowercase()));
        put("GFLOP/s", rounded(speed.gflops));
        put("GB/s", rounded(speed.gigabytes));
        put("share of ceiling", rounded(speed.share));
        put("bytes saved", json!(executed.saved_bytes));
        put("bytes live", json!(executed.live_bytes));
        event
    }

    /// The bytes in use at the end of an operation, as a curve.
    pub fn live(executed: &Executed, origin: Instant) -> Self {
        let ts = microseconds(origin, executed.start) + executed.seconds * 1e6;
        let mut event = Self::new("bytes of tensors", "memory", "C", ts);
        event.args.insert("live".into(), json!(executed.live_bytes));
        event
    }

    pub fn span(name: &'static str, start: Instant, origin: Instant) -> Self {
        let mut event = Self::new(name, "run", "X", microseconds(origin, start));
        event.dur = Some(microseconds(start, Instant::now()));
        event
    }
}
