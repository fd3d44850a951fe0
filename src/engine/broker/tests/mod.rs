//! The gate from outside: clients of both versions over real sockets, honest and hostile.

mod bounds;
mod clients;
mod garbage;
mod happy;
mod isolation;
mod rig;
mod router;
