//! The `genesis` program.
fn main() {}
