//! Assembly: from a configuration to a running appliance, and its orderly end.
//!
//! Invariant: no port opens before the configuration is read and checked whole.

pub mod config;
