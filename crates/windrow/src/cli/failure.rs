//! Failures: what a command says at the end, and its exit code.

use std::process::ExitCode;

use crate::config::ConfigError;

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(super) enum Failure {
    /// The arguments contradict each other, or name what is not there.
    Usage(String),
    /// The configuration is wrong.
    Config(Vec<ConfigError>),
    /// It was tried and failed.
    Failed(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Failure {
    pub(super) fn failed(error: impl Into<anyhow::Error>) -> Self {
        Self::Failed(error.into())
    }

    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    /// Prints the failure and returns the exit code: 1, or 2 when it was asked wrongly.
    pub(super) fn tell(&self) -> ExitCode {
        match self {
            Self::Usage(message) => {
                eprintln!("error: {message}\n\nFor more information, try '--help'.");
                ExitCode::from(2)
            }
            Self::Config(errors) => {
                for error in errors {
                    eprintln!("{error}");
                }
                if let [_, _, ..] = errors.as_slice() {
                    eprintln!("{} mistakes", errors.len());
                }
                ExitCode::from(2)
            }
            Self::Failed(error) => {
                eprintln!("error: {error:#}");
                ExitCode::from(1)
            }
        }
    }
}
