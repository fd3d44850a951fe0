//! Muster: one binary that runs a whole site's fleet of agents on a network without internet.
//!
//! One package, one binary, slices on floors. Low floors are machines and know no domain word; capabilities are
//! meanings and stand in one total order; everything that the outside sees is derived from that one list.
//! `tests/architecture.rs` reads the sources and proves what this page says of imports.
//!
//! # Floors
//!
//! | floor | what it is | may use |
//! |---|---|---|
//! | [`base`] | plain values: identifiers, time, errors, limits | nothing of ours |
//! | [`wire`] | what server and agents say | base |
//! | [`engine`] | one folder per foreign machine | base, `clock`, `days`, `journal`; wire in the broker |
//! | [`kit`] | the contract between capabilities and the outside | base, wire, engine |
//! | [`capabilities`] | what the product can do | the floors below, and capabilities earlier in `ALL` |
//! | [`surface`] | REST, OpenAPI, console, live parts, ingest | the floors below, `ALL` |
//! | [`server`] | from a configuration to a running appliance | all below |
//! | [`agent`] | the agent program, and a simulated fleet | base, wire, some engines |
//! | [`cli`] | the command line | server, agent, base |
//!
//! A foreign crate is named by one engine (`redb` in `engine::store`, `rumqttd` in `engine::broker`, …).
//!
//! # Waists
//!
//! 1. The journal is the truth: a write is one numbered change, appended and synced before anybody is told; the tables
//!    of the store are derived from it and caught up after a crash.
//! 2. `Ctx` is who, when and where; only a permit that it gives opens a write.
//! 3. `Op` is a typed function declared once; REST route, OpenAPI entry, permission and audit verb follow from it.
//! 4. `Capability` is the trait of one slice: operations, pages, messages, jobs, followers.
//! 5. [`base::Error`]: the kind becomes the status, the message is for the reader, the source for the log.
//!
//! Down by call, up by event: a capability calls earlier ones only; what must flow the other way is an event in the same
//! change, which followers read at their own cursor.
//!
//! # Invariants
//!
//! - Acknowledged means synced: an HTTP answer, a PUBACK on `up/` topics and a task's result come after the disk.
//! - Commands and results are records; MQTT wakes and streams. A lost message loses no work.
//! - The gate derives every topic permission from the identity that TLS proved.
//! - Whether an agent is well follows from when it was last heard; no such flag is stored.
//! - Every queue, body, page and retention has a named limit ([`base::limits`]).
//! - Time and randomness come from [`engine::clock`].
//! - A tenant is the first part of every key and topic; nothing of one is ever given to another, and what is about the
//!   whole site is for the site's own tenant alone.
//! - What is told is of a closed catalogue: each capability declares its events, and telling another one is a defect.
//! - Whatever gives a secret or a file away stands in the journal before the first byte leaves.
//! - What an administrator marks is done only when a second person has approved exactly that, and at most once.
//! - The process opens no connection that its configuration does not name, and the console loads only itself.
//!
//! # An agent enrols
//!
//! An operator makes a join code: a secret, and the fingerprint of the site's authority. The agent makes a key, connects
//! to the gate as a joining session, checks the authority by the fingerprint, and publishes a signing request. The
//! server spends the code, writes the agent in one change, and answers with a certificate. From then on the agent
//! connects with it, and the gate knows its tenant and identifier from the certificate alone.
//!
//! # A task runs
//!
//! The task is a record before anything is sent. A wake-up goes to the agent if it is connected; if not, its next hello
//! asks. The agent writes the task into its ledger, reports that it has it, runs the command that its own configuration
//! names, and reports output and end. Each report is acknowledged when it is on the disk; a task runs at most once.
//!
//! # A sample is kept
//!
//! A metrics message comes through the gate, is checked by [`wire::Up::decode`], and goes to the journal of the series
//! engine; its PUBACK follows the sync. Blocks are written by day, so that retention is the removal of files.
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
