//! What a run tells: `metrics.jsonl`, TensorBoard events, `loss.png`, sample pictures, progress.
