//! The engine from outside: scripts that people can check by eye, and random runs against an oracle.

// A test that unwraps nothing has failed, which is what it is for.
#![allow(clippy::unwrap_used)]

#[path = "engine/cluster.rs"]
mod cluster;
#[path = "engine/journal.rs"]
mod journal;
#[path = "engine/oracle.rs"]
mod oracle;
#[path = "engine/partials.rs"]
mod partials;
#[path = "engine/random.rs"]
mod random;
#[path = "engine/script.rs"]
mod script;
#[path = "engine/stages.rs"]
mod stages;
#[path = "engine/world.rs"]
mod world;
