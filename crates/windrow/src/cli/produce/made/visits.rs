//! Visits of stores: what the producer of `visit-aggregator` sent, under its options.
//!
//! ```text
//! {"id":"6f1c…","account_id":352,"store_id":"default","timestamp":1589900041.12}
//! ```
//!
//! **Invariant:** a visit without a store is always among them, and no two have one `id`, also not those of two runs.

use std::{io::Write, ops::RangeInclusive};

use clap::Args;
use windrow_core::value::write_text;

use super::{Maker, ProduceArgs};
use crate::cli::{failure::Failure, generate::Random};

/// Topic and stream that the original's producer writes to, and partitions that it makes it with.
pub(in crate::cli::produce) const TOPIC: &str = "visits";
pub(in crate::cli::produce) const PARTITIONS: i32 = 4;

const FREQUENCY: f64 = 1.0;
/// The most is what `--rate` takes at most, too.
const FREQUENCIES: RangeInclusive<f64> = 0.001..=10_000_000.0;
const MESSAGES: u64 = 300;
const ACCOUNT: i64 = 352;
const STORE: &str = "default";

/// Options of `--preset visits`.
#[derive(Debug, Args)]
#[command(next_help_heading = "Made up: visits")]
pub(in crate::cli::produce) struct VisitArgs {
    /// Messages a second, also less than one [default: 1]
    #[arg(long, value_name = "N", value_parser = frequency, conflicts_with = "rate", allow_negative_numbers = true)]
    frequency: Option<f64>,
    /// How many [default: 300; with --rate: without end]
    #[arg(long, value_name = "N", conflicts_with = "count")]
    max_messages: Option<u64>,
    /// An account; may be given several times [default: 352]
    #[arg(long, value_name = "ID", allow_negative_numbers = true)]
    account_id: Vec<i64>,
    /// A store; may be given several times, a visit without one is always among them [default: default]
    #[arg(long, value_name = "ID")]
    store_id: Vec<String>,
}

fn frequency(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(n) if FREQUENCIES.contains(&n) => Ok(n),
        _ => {
            let (least, most) = (FREQUENCIES.start(), FREQUENCIES.end());
            Err(format!("a frequency is from {least} to {most} messages a second"))
        }
    }
}

impl VisitArgs {
    pub(super) fn frequency(&self) -> f64 {
        self.frequency.unwrap_or(FREQUENCY)
    }

    pub(super) fn count(&self, rate: Option<u32>) -> Option<u64> {
        self.max_messages.or(rate.is_none().then_some(MESSAGES))
    }

    /// Refuses options that another preset has no use for.
    pub(super) fn refuse(&self) -> Result<(), Failure> {
        let given = [
            ("--frequency", self.frequency.is_some()),
            ("--max-messages", self.max_messages.is_some()),
            ("--account-id", !self.account_id.is_empty()),
            ("--store-id", !self.store_id.is_empty()),
        ];
        match given.iter().find(|(_, is_given)| *is_given) {
            Some((name, _)) => Err(Failure::usage(format!("{name} belongs to --preset visits"))),
            None => Ok(()),
        }
    }
}

pub(super) struct Visited {
    random: Random,
    accounts: Vec<i64>,
    /// As they are written; the first is none.
    stores: Vec<Vec<u8>>,
}

impl Visited {
    pub(super) fn new(args: &ProduceArgs) -> Result<Self, Failure> {
        let seed = match args.seed {
            Some(seed) => seed,
            None => {
                getrandom::u64().map_err(|e| anyhow::anyhow!("the system gives no random numbers: {e}"))?
            }
        };
        let (accounts, stores) = (&args.visits.account_id, &args.visits.store_id);
        let stores =
            if stores.is_empty() { vec![STORE] } else { stores.iter().map(String::as_str).collect() };
        let written = stores.into_iter().map(|store| {
            let mut out = Vec::new();
            write_text(store, &mut out);
            out
        });
        Ok(Self {
            random: Random(seed),
            accounts: if accounts.is_empty() { vec![ACCOUNT] } else { accounts.clone() },
            stores: std::iter::once(b"null".to_vec()).chain(written).collect(),
        })
    }
}

impl Maker for Visited {
    fn push(&mut self, at_ms: i64, out: &mut Vec<u8>) {
        let r = &mut self.random;
        let account = self.accounts[r.below(self.accounts.len() as u64) as usize];
        let store = &self.stores[r.below(self.stores.len() as u64) as usize];
        let bytes = (u128::from(r.next()) << 64 | u128::from(r.next())).to_be_bytes();
        let id = uuid::Builder::from_random_bytes(bytes).into_uuid();
        // Writing to a Vec cannot fail.
        let _ = write!(out, "{{\"id\":\"{id}\",\"account_id\":{account},\"store_id\":");
        out.extend_from_slice(store);
        let _ = write!(out, ",\"timestamp\":{:?}}}", at_ms as f64 / 1_000.0);
    }
}
