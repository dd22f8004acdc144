//! (statistics)
