//! The hub's rules: random lives against a naive model, one rule at a time, and coming back from the log.
//!
//! **In** scripts and random operations. **Out** what clients have in the end. **Invariant:** the models share no code with
//! the hub but the filters' compiler.

mod model;
mod replay;
mod resume;
mod tables;
mod topics;
