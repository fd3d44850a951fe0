//! One folder per foreign machine; no domain word inside. An engine imports base, and of the engines only `clock`, which
//! is where time and randomness come from, `journal`, which is how all of them keep what they acknowledge, and `days`,
//! the files of one day each in which series and logs keep what has left their journals.

pub mod archive;
pub mod broker;
pub mod clock;
pub mod crypto;
pub mod days;
pub mod host;
pub mod http;
pub mod index;
pub mod jobs;
pub mod journal;
pub mod logs;
pub mod outbound;
pub mod series;
pub mod store;
pub mod trace;
