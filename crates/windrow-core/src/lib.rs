//! The engine and the hub's rules: no clock, no socket, no task, no environment. Time is an argument.
//!
//! In data order: `batch` → `registry`, `scan`, `avro`, `protobuf`, `csv` → `decode` → `expr` → `engine` → `written` → `out`, and on the way out `position` → `hub`.
//! `sql` makes `plan`s out of `spec`s before any record flows.

pub mod aggregate;
pub mod avro;
pub mod batch;
mod block;
mod csv;
pub mod decode;
pub mod engine;
pub mod expr;
pub mod hub;
pub mod journal;
pub mod ledger;
pub mod out;
mod partial;
mod paths;
pub mod plan;
pub mod position;
pub mod protobuf;
pub mod registry;
pub mod scan;
pub mod silence;
pub mod spec;
pub mod sql;
pub mod state;
pub mod suggest;
pub mod topics;
mod utf8;
pub mod value;
pub mod watermark;
pub mod window;
pub mod written;
