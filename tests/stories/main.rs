//! Stories through HTTP and MQTT: what the product promises, told from outside on a whole server.

mod api;
mod crash;
mod devices;
mod enrolment;
mod garbage;
mod harness;
mod machine;
mod pages;
