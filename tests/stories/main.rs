//! Stories through HTTP and MQTT: what the product promises, told from outside on a whole server.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod api;
mod approvals;
mod attacks;
mod audit;
mod backups;
mod clients;
mod crash;
mod devices;
mod edge;
mod enrolment;
mod garbage;
mod given;
mod guides;
mod harness;
mod machine;
mod matrix;
mod operating;
mod pages;
mod posture;
mod program;
mod recovery;
mod restored;
mod scopes;
mod secrets;
mod storage;
mod tenants;
mod tokens;
mod trust;
