//! Seats: how many connections, or sessions, are open, in total and per address.
//!
//! **Invariant:** a seat is given back when its holder is dropped, whoever holds it by then (hyper, or a session
//! after the upgrade). The map of addresses never holds more entries than there are seats taken.

use std::{net::IpAddr, sync::Arc};

use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::stats::{Counter, Gauge, Stats};

/// The seats of one listener; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Seats(Arc<Inner>);

/// How the numbers of seats are called.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SeatNames {
    /// How many are taken.
    pub(crate) open: &'static str,
    /// How many were ever taken, where that is counted.
    pub(crate) accepted: Option<&'static str>,
    /// The limit of all.
    pub(crate) total: &'static str,
    /// The limit of one address.
    pub(crate) per_address: &'static str,
}

impl SeatNames {
    /// Of connections.
    pub(super) const CONNECTIONS: Self = Self {
        open: "connections",
        accepted: Some("accepted"),
        total: "connections_max",
        per_address: "connections_per_address_max",
    };
}

#[derive(Debug)]
struct Inner {
    total_max: usize,
    per_address_max: usize,
    taken: Mutex<Taken>,
    open: Arc<Gauge>,
    accepted: Option<Arc<Counter>>,
    refused_total: Arc<Counter>,
    refused_address: Arc<Counter>,
}

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// One open connection, or session.
#[derive(Debug)]
pub(crate) struct Seat {
    inner: Arc<Inner>,
    address: IpAddr,
}

impl Seats {
    pub(crate) fn new(
        listener: &str,
        (total_max, per_address_max): (usize, usize),
        names: SeatNames,
        stats: &Stats,
    ) -> Self {
        let subject = || ("listener", listener.into(), None);
        Self(Arc::new(Inner {
            total_max,
            per_address_max,
            taken: Mutex::default(),
            open: stats.gauge(subject(), names.open),
            accepted: names.accepted.map(|name| stats.counter(subject(), name, "")),
            refused_total: stats.counter(subject(), "refused", names.total),
            refused_address: stats.counter(subject(), "refused", names.per_address),
        }))
    }

    /// Takes a seat; `None` when a limit is reached (counted).
    pub(crate) fn take(&self, address: IpAddr) -> Option<Seat> {
        let inner = &self.0;
        // One client may reach a dual-stack socket in both spellings.
        let address = address.to_canonical();
        let mut taken = inner.taken.lock();
        if taken.total >= inner.total_max {
            inner.refused_total.add(1);
            return None;
        }
        let of_address = taken.by_address.get(&address).copied().unwrap_or(0);
        if of_address >= inner.per_address_max {
            inner.refused_address.add(1);
            return None;
        }
        taken.by_address.insert(address, of_address + 1);
        taken.total += 1;
        if let Some(accepted) = &inner.accepted {
            accepted.add(1);
        }
        inner.open.add(1);
        Some(Seat { inner: inner.clone(), address })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.inner.taken.lock();
        taken.total -= 1;
        if let Some(count) = taken.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                taken.by_address.remove(&self.address);
            }
        }
        self.inner.open.add(-1);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn seats_are_bounded_in_total_and_per_address_and_come_back() {
        let stats = Stats::default();
        let seats = Seats::new("main", (3, 2), SeatNames::CONNECTIONS, &stats);
        let address = |last| IpAddr::V4(Ipv4Addr::new(10, 0, 0, last));
        let first = seats.take(address(1)).unwrap();
        let _second = seats.take(IpAddr::V6(Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped())).unwrap();
        assert!(seats.take(address(1)).is_none(), "two is the bound of one address");
        let _third = seats.take(address(2)).unwrap();
        assert!(seats.take(address(3)).is_none(), "three is the bound of all");
        drop(first);
        assert!(seats.take(address(3)).is_some());
        let refused = |reason| stats.counter(("listener", "main".into(), None), "refused", reason).get();
        assert_eq!((refused("connections_max"), refused("connections_per_address_max")), (1, 1));
        assert_eq!(seats.0.taken.lock().by_address.len(), 2, "an address without connections is forgotten");
    }
}
