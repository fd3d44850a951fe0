//! Muster: one binary that runs a whole site's fleet of agents on a network without internet.
#![recursion_limit = "256"]

pub mod agent;
pub mod base;
pub mod capabilities;
pub mod cli;
pub mod engine;
pub mod kit;
pub mod server;
pub mod surface;
pub mod wire;
